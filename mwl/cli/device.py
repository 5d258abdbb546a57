"""`mwl device …`: scanners and other DICOM peers."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mwl.cli import fleet, frame, setting, trying
from mwl.errors import Fault, Outage, Reason, Rejected

if TYPE_CHECKING:
    from sqlmodel import Session

    from mwl.config import DeviceTable
    from mwl.db.tables import Device, Knock

app = frame.app(
    "Register scanners, see what they would be shown, and who knocked without being registered."
)

_DEVICES = {
    "ae_title": "AE title",
    "host": "host",
    "port": "port",
    "modality": "modality",
    "station_name": "station",
    "location": "location",
    "aliases": "also",
    "may": "may",
    "mpps": "MPPS",
    "commit_report": "report",
    "tls": "TLS",
    "certificate": "certificate",
    "origin": "from",
    "seen_at": "seen last",
}
_KNOCKS = {
    "calling_ae_title": "calling",
    "called_ae_title": "called",
    "address": "address",
    "admitted": "admitted",
    "count": "times",
    "last_at": "last",
}


@app.command()
def add(
    context: typer.Context,
    ae_title: Annotated[str, typer.Argument(metavar="AE_TITLE", help="Its AE title.")],
    host: Annotated[
        str | None, typer.Option(metavar="HOST", help="Where it listens, if it does.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(metavar="PORT", help="The port that it listens on.")
    ] = None,
    modality: Annotated[str | None, typer.Option(metavar="CODE", help="CT, MR, DX, US …")] = None,
    station_name: Annotated[
        str | None, typer.Option(metavar="NAME", help="The name of its station.")
    ] = None,
    location: Annotated[str | None, typer.Option(metavar="TEXT", help="Where it stands.")] = None,
    may: Annotated[
        list[str] | None,
        typer.Option(
            metavar="WHAT",
            help="What it is let do beyond C-ECHO: worklist, mpps, store, commit, query, retrieve; "
            "may be given several times.",
        ),
    ] = None,
    mpps: Annotated[
        bool | None,
        typer.Option("--mpps/--no-mpps", help="Whether it tells of its work by MPPS."),
    ] = None,
    commit_report: Annotated[
        str | None,
        typer.Option(metavar="HOW", help="Where it is told of commitment: new association, same."),
    ] = None,
    tls: Annotated[
        bool | None, typer.Option("--tls/--no-tls", help="Whether we call it over TLS.")
    ] = None,
    certificate: Annotated[
        str | None,
        typer.Option(
            metavar="WHICH",
            help="It comes in over TLS with this one alone: sha256:FINGERPRINT, or a name in it.",
        ),
    ] = None,
    alias: Annotated[
        list[str] | None,
        typer.Option(
            metavar="AE_TITLE", help="A further AE title of its; may be given several times."
        ),
    ] = None,
    zone: Annotated[
        str | None, typer.Option(metavar="ZONE", help="Its clock's, like Europe/Lisbon.")
    ] = None,
    close_images: Annotated[
        str | None,
        typer.Option(metavar="WHERE", help="Where images of its orders are kept: here, elsewhere."),
    ] = None,
    stated: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="What it is shown, or in which letters: worklist.modalities=CT,PT, "
            "worklist.synonyms.CR=CR,DX, characters.sets=ISO_IR 100 and the others of "
            "config/mwl.toml; may be given several times.",
        ),
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Change a registered one.")] = False,
) -> None:
    """Register a scanner, so that it may associate, and steps of its modality go to it.

    With --replace, what no option gives stays as it is; "" empties a text or a list.
    """
    from mwl import devices

    options = {
        "host": host,
        "port": port,
        "modality": modality,
        "station_name": station_name,
        "location": location,
        "may": may or None,
        "mpps": mpps,
        "commit_report": commit_report,
        "tls": tls,
        "certificate": certificate,
        "aliases": None if alias is None else [each for each in alias if each],
        "zone": zone,
        "close_images": close_images,
        **setting.tables(stated or []),
    }
    given = {name: value for name, value in options.items() if value is not None}
    device = _checked(ae_title=ae_title, **given)
    now, actor = frame.now(), frame.actor()
    with frame.database(frame.settings(context)) as database:
        database.write(
            lambda session: devices.register(session, actor, device, now=now, replace=replace)
        )
    typer.echo(f"registered: {device.ae_title}")
    fleet.note_keywords([device])


@app.command()
def show(
    context: typer.Context,
    ae_title: Annotated[str, typer.Argument(metavar="AE_TITLE", help="One of its AE titles.")],
    as_json: Annotated[bool, typer.Option("--json", help="As a JSON object.")] = False,
) -> None:
    """Show all that is set of a scanner, and what is known of it."""
    from mwl import devices

    with frame.database(frame.settings(context)) as database, database.read() as session:
        found = devices.named(session, ae_title)
    table = devices.table_of(found).model_dump(mode="json")
    known = {
        "origin": found.origin,
        "seen_at": frame.instant(found.seen_at),
        "seen_address": found.seen_address,
        "oddities": found.oddities,
    }
    if as_json:
        typer.echo(json.dumps({**table, **known}, ensure_ascii=False))
        return
    within = {name: table.pop(name) for name in ("worklist", "characters")}
    for name, inner in within.items():
        table |= {f"{name}.{key}": value for key, value in inner.items()}
    known["oddities"] = devices.in_words(found.oddities)
    rows = ({"key": key, "value": _written(value)} for key, value in {**table, **known}.items())
    frame.print_table({"key": "setting", "value": "is"}, rows)


app.command("try")(trying.try_)


@app.command("import")
def import_(
    context: typer.Context,
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="[[device]] tables, in TOML; - is stdin.")
    ],
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove those by hand that are not in the file.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")
    ] = False,
) -> None:
    """Make scanners what a file says of them: all of it, or nothing where anything is wrong.

    What a table doesn't say is as ever, as in the settings; what the settings own is left to
    them.
    """
    from mwl import devices

    given = fleet.read(file)
    now, actor = frame.now(), frame.actor()
    with frame.database(frame.settings(context)) as database:
        if dry_run:
            with database.read() as session:
                found = devices.differences(session, given, prune=prune)
        else:
            found = database.write(
                lambda session: devices.bring(session, actor, given, now=now, prune=prune)
            )
    fleet.tell(found, dry_run=dry_run)
    fleet.note_keywords(given)


@app.command()
def export(
    context: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE", help="Where to; - is stdout.")] = "-",
) -> None:
    """Write all registered scanners as [[device]] tables, for `import` or the settings."""
    from mwl import devices

    with frame.database(frame.settings(context)) as database, database.read() as session:
        tables = [devices.table_of(each) for each in devices.listing(session)]
    fleet.write(file, tables)


@app.command()
def remove(
    context: typer.Context,
    ae_title: Annotated[str, typer.Argument(metavar="AE_TITLE", help="Its AE title.")],
) -> None:
    """Forget a scanner: it may not associate any more, where only known ones may."""
    from mwl import devices

    now, actor = frame.now(), frame.actor()

    def forget(session: "Session") -> str:
        found = devices.named(session, ae_title)
        return devices.forget(session, actor, found.id or 0, now=now)

    with frame.database(frame.settings(context)) as database:
        typer.echo(f"removed: {database.write(forget)}")


@app.command()
def test(
    context: typer.Context,
    ae_title: Annotated[str, typer.Argument(metavar="AE_TITLE", help="Its AE title.")],
) -> None:
    """Ask a scanner for an answer (C-ECHO), and say what is wrong if none comes."""
    from mwl import devices
    from mwl.roles.secured import keys_of
    from mwl.scu import Peer, echo

    settings = frame.settings(context)
    now, actor = frame.now(), frame.actor()
    with frame.database(settings) as database:
        with database.read() as session:
            found = devices.named(session, ae_title)
        if not (found.host and found.port):
            raise Rejected(
                Fault(Reason.MISSING, found.ae_title, "has no address: --host and --port give it")
            )
        keys = keys_of(settings) if found.tls else None
        result = echo(Peer.of(found), settings.dicom.ae_title, keys=keys)
        subject = devices.subject_of(found.ae_title)
        database.write(lambda session: devices.note_test(session, actor, subject, result, now=now))
    if not result.well:
        raise Outage(f"{found.ae_title}: {result.text}")
    typer.echo(f"{found.ae_title}: {result.text}")


@app.command("list")
def list_(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """List the registered devices, and the unknown ones that knocked."""
    from mwl import devices

    with frame.database(frame.settings(context)) as database, database.read() as session:
        known = [_device(each) for each in devices.listing(session)]
        strangers = [_knock(each) for each in devices.knocks(session)]
    if as_json:
        for row in [*known, *strangers]:
            typer.echo(json.dumps(row, ensure_ascii=False))
        return
    if known:
        frame.print_table(_DEVICES, ({**row, **_told(row)} for row in known))
        _print_oddities(known)
    else:
        typer.echo("no device is registered: `mwl device add AE_TITLE` registers one")
    if strangers:
        typer.echo("\nknocked without being registered:")
        frame.print_table(_KNOCKS, ({**row, **_shown(row)} for row in strangers))


def _checked(**values: Any) -> "DeviceTable":
    from pydantic import ValidationError

    from mwl.config import DeviceTable, of_device

    try:
        return DeviceTable(**values)
    except ValidationError as error:
        fault = error.errors()[0]
        frame.refuse(f"{_option(fault['loc'])}: {of_device(fault)}")


def _option(place: "tuple[int | str, ...]") -> str:
    """Name the option that gave a value."""
    from mwl.config import DeviceTable, dotted
    from mwl.config.base import Table

    name = str(place[0])
    if name == "ae_title":
        return "AE_TITLE"
    field = DeviceTable.model_fields.get(name)
    if field is None or isinstance(field.default, Table):
        return f"--set {dotted(place)}"
    return {"aliases": "--alias"}.get(name, f"--{name.replace('_', '-')}")


def _device(row: "Device") -> dict[str, Any]:
    values = row.model_dump(include={*_DEVICES, "oddities"})
    return {"kind": "device", **values, "seen_at": frame.instant(row.seen_at)}


def _knock(row: "Knock") -> dict[str, Any]:
    values = row.model_dump(include={*_KNOCKS, "first_at"})
    times = {name: values[name].isoformat(timespec="seconds") for name in ("first_at", "last_at")}
    return {"kind": "knock", **values, **times}


def _print_oddities(rows: list[dict[str, Any]]) -> None:
    from mwl import devices

    odd = [row for row in rows if row["oddities"]]
    if odd:
        typer.echo("\nwhat their association requests get wrong, and we overlook:")
    for row in odd:
        typer.echo(f"{row['ae_title']} {devices.in_words(row['oddities'])}")


def _written(value: Any) -> str:
    from mwl import toml_values

    return "" if value is None or value in ("", [], {}) else toml_values.value(value)


def _told(row: dict[str, Any]) -> dict[str, str]:
    """Write a device for a line of a table: of a fingerprint its beginning does."""
    rule = row["certificate"]
    certificate = f"{rule[:15]}…" if rule.startswith("sha256:") else rule
    listed = {name: ", ".join(row[name]) for name in ("aliases", "may")}
    return {**listed, "certificate": certificate}


def _shown(row: dict[str, Any]) -> dict[str, str]:
    """Say what stands for nothing in words."""
    return {
        "admitted": "yes" if row["admitted"] else "no",
        "calling_ae_title": row["calling_ae_title"] or "(blank)",
        "called_ae_title": row["called_ae_title"] or "(blank)",
    }

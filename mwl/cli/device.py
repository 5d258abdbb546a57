"""`mwl device …`: scanners and other DICOM peers."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mwl.cli import frame
from mwl.errors import Fault, Outage, Reason, Rejected

if TYPE_CHECKING:
    from sqlmodel import Session

    from mwl.config import DeviceTable
    from mwl.db.tables import Device, Knock

app = frame.app("Register scanners, test them, and see who knocked without being registered.")

_DEVICES = {
    "ae_title": "AE title",
    "host": "host",
    "port": "port",
    "modality": "modality",
    "station_name": "station",
    "location": "location",
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
            help="What it is let do beyond C-ECHO: worklist, mpps, store, commit, query, retrieve.",
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
    replace: Annotated[bool, typer.Option("--replace", help="Change a registered one.")] = False,
) -> None:
    """Register a scanner, so that it may associate, and steps of its modality go to it.

    With --replace, what no option gives stays as it is; "" empties a text.
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
    }
    given = {name: value for name, value in options.items() if value is not None}
    device = _checked(ae_title=ae_title, **given)
    now, actor = frame.now(), frame.actor()
    with frame.database(frame.settings(context)) as database:
        database.write(
            lambda session: devices.register(session, actor, device, now=now, replace=replace)
        )
    typer.echo(f"registered: {device.ae_title}")


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

    from mwl.config import DeviceTable, describe

    try:
        return DeviceTable(**values)
    except ValidationError as error:
        fault = error.errors()[0]
        option = str(fault["loc"][0]).replace("_", "-")
        where = "AE_TITLE" if option == "ae-title" else f"--{option}"
        frame.refuse(f"{where}: {describe(fault)}")


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


def _told(row: dict[str, Any]) -> dict[str, str]:
    """Write a device for a line of a table: of a fingerprint its beginning does."""
    rule = row["certificate"]
    certificate = f"{rule[:15]}…" if rule.startswith("sha256:") else rule
    return {"may": ", ".join(row["may"]), "certificate": certificate}


def _shown(row: dict[str, Any]) -> dict[str, str]:
    """Say what stands for nothing in words."""
    return {
        "admitted": "yes" if row["admitted"] else "no",
        "calling_ae_title": row["calling_ae_title"] or "(blank)",
        "called_ae_title": row["called_ae_title"] or "(blank)",
    }

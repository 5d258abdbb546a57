"""`mwl worklist …`: see the worklist, and keep it on the day when the RIS is down."""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo

import typer

from mwl.cli import exchange, frame
from mwl.errors import Rejected
from mwl.orders import YEARS, OrderState, StepState

if TYPE_CHECKING:
    from sqlmodel import Session

    from mwl.audit import Action
    from mwl.config import Settings
    from mwl.worklist.manual import Done, Which

app = frame.app("See the worklist; add, change, cancel, reopen entries; import and export.")

Accession = Annotated[str, typer.Option(metavar="NUMBER", help="The accession number.")]
StepId = Annotated[str, typer.Option(metavar="ID", help="The scheduled procedure step ID.")]
_NAME = "Family^Given^Middle^Prefix^Suffix"
Name = Annotated[str | None, typer.Option(metavar="NAME", help=f"A DICOM name: {_NAME}.")]
BirthDate = Annotated[str | None, typer.Option(metavar="DATE", help="YYYYMMDD.")]
Sex = Annotated[str | None, typer.Option(metavar="SEX", help="F, M or O.")]
Modality = Annotated[str | None, typer.Option(metavar="CODE", help="CT, MR, DX, US …")]
Description = Annotated[str | None, typer.Option(metavar="TEXT", help="What is to be done.")]
Start = Annotated[
    str | None,
    typer.Option(
        metavar="TIME", help="When, by the site's clock: 2026-07-01T10:30; a UTC offset may follow."
    ),
]
Station = Annotated[
    list[str] | None,
    typer.Option(metavar="AE_TITLE", help="A scanner's AE title; may be given several times."),
]

# Steps have most of the states that orders have.
_OF_ORDERS = [state for state in OrderState if state not in StepState.__members__]
_STATES = ", ".join([*StepState, *_OF_ORDERS])

_COLUMNS = {
    "start": "start",
    "status": "status",
    "order_status": "order",
    "modality": "mod",
    "station_ae_title": "station",
    "accession_number": "accession",
    "patient_id": "patient ID",
    "patient_name": "name",
    "sps_id": "step",
    "flags": "flags",
}


@app.command("list")
def list_(
    context: typer.Context,
    accession: Annotated[
        str | None, typer.Option(metavar="NUMBER", help="Only this accession number.")
    ] = None,
    status: Annotated[
        str | None,
        typer.Option(metavar="STATE", help=f"Only what is in this state: {_STATES}."),
    ] = None,
    flagged: Annotated[
        bool, typer.Option("--flagged", help="Only orders with a flag for a person; says why.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    limit: Annotated[
        int, typer.Option(metavar="N", min=1, max=1_000_000, help="At most so many.")
    ] = 1_000_000,
) -> None:
    """List the entries, whatever their state, by start time.

    An order with a flag for a person is marked with "!", and so is one of which a scanner holds
    an old copy.
    """
    from mwl.worklist.listing import listing

    given = frame.settings(context)
    with frame.database(given) as database:
        entries = listing(
            database,
            zone=given.site.zone_info,
            accession=accession,
            status=_state(status),
            flagged=flagged,
            limit=limit,
        )
        if as_json:
            for entry in entries:
                typer.echo(json.dumps(entry, ensure_ascii=False))
        else:
            # The marks tell where to look, and --flagged what for: the texts are long.
            mark = "; ".join if flagged else lambda flags: "!" * bool(flags)
            rows = (
                {**each, "flags": mark([*each["flags"], *each["warnings"]])} for each in entries
            )
            frame.print_table(_COLUMNS, rows)


@app.command()
def add(
    context: typer.Context,
    patient_id: Annotated[
        str, typer.Option(metavar="ID", help="The patient's identifier; needed.")
    ] = "",
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help=f"A DICOM name: {_NAME}; needed.")
    ] = None,
    birth_date: BirthDate = None,
    sex: Sex = None,
    modality: Annotated[
        str | None, typer.Option(metavar="CODE", help="CT, MR, DX, US …; needed.")
    ] = None,
    accession: Accession = "",
    issuer: Annotated[
        str, typer.Option(metavar="TEXT", help="Who issued the patient's identifier.")
    ] = "",
    description: Description = None,
    start: Start = None,
    station: Station = None,
) -> None:
    """Put a patient on the worklist by hand; without --start, for now."""
    from mwl.audit import Action
    from mwl.worklist import manual

    given = frame.settings(context)
    entry = manual.Entry(
        patient_id=patient_id,
        issuer=issuer,
        patient_name=name,
        birth_date=birth_date,
        sex=sex,
        accession_number=accession or None,
        modality=modality,
        description=description,
        start=_instant(start, given.site.zone_info),
        stations=tuple(station) if station else None,
    )
    zone, now = given.site.zone_info, frame.now()
    done = _audited(
        given, Action.CREATE, None, lambda session: manual.add(session, entry, now=now, zone=zone)
    )
    _report("added", done)


@app.command()
def change(
    context: typer.Context,
    accession: Accession = "",
    step: StepId = "",
    name: Name = None,
    birth_date: BirthDate = None,
    sex: Sex = None,
    modality: Modality = None,
    description: Description = None,
    start: Start = None,
    station: Station = None,
    new_accession: Annotated[
        str | None, typer.Option(metavar="NUMBER", help="The accession number from now on.")
    ] = None,
) -> None:
    """Change the entry with this accession number or step ID; the rest stays."""
    from mwl.audit import Action
    from mwl.worklist import manual

    given = frame.settings(context)
    entry = manual.Entry(
        accession_number=new_accession,
        patient_name=name,
        birth_date=birth_date,
        sex=sex,
        modality=modality,
        description=description,
        start=_instant(start, given.site.zone_info),
        stations=tuple(station) if station else None,
    )
    if entry == manual.Entry():
        frame.refuse("nothing to change: give --start, --station, --name or another option")
    which, zone, now = _which(accession, step), given.site.zone_info, frame.now()
    done = _audited(
        given,
        Action.CHANGE,
        which,
        lambda session: manual.change(session, which, entry, now=now, zone=zone),
        **{field: str(value) for field, value in asdict(entry).items() if value},
    )
    _report("changed", done)


@app.command()
def cancel(context: typer.Context, accession: Accession = "", step: StepId = "") -> None:
    """Take an entry from the scanners' lists; it stays on record as CANCELED."""
    from mwl import procedures
    from mwl.audit import Action
    from mwl.roles import following

    which, now, given = _which(accession, step), frame.now(), frame.settings(context)
    effects = following.effects(given)
    done = _audited(
        given,
        Action.CANCEL,
        which,
        lambda session: procedures.cancel(session, which, effects=effects, now=now),
    )
    _report("cancelled", done)


@app.command()
def arrive(context: typer.Context, accession: Accession = "", step: StepId = "") -> None:
    """Note that the patient has come; scanners that show it see ARRIVED."""
    from mwl.audit import Action
    from mwl.worklist import manual

    which, now, given = _which(accession, step), frame.now(), frame.settings(context)
    done = _audited(
        given, Action.ARRIVE, which, lambda session: manual.arrive(session, which, now=now)
    )
    _report("arrived", done)


@app.command()
def ready(context: typer.Context, accession: Accession = "", step: StepId = "") -> None:
    """Note that the patient is ready to be scanned; scanners that show it see READY."""
    from mwl.audit import Action
    from mwl.worklist import manual

    which, now, given = _which(accession, step), frame.now(), frame.settings(context)
    work = partial(manual.ready, which=which, now=now)
    _report("ready", _audited(given, Action.READY, which, work))


@app.command()
def depart(context: typer.Context, accession: Accession = "", step: StepId = "") -> None:
    """Note that the patient has left, though the scanner has not ended its work."""
    from mwl.audit import Action
    from mwl.worklist import manual

    which, now, given = _which(accession, step), frame.now(), frame.settings(context)
    work = partial(manual.depart, which=which, now=now)
    _report("departed", _audited(given, Action.DEPART, which, work))


@app.command()
def close(context: typer.Context, accession: Accession = "", step: StepId = "") -> None:
    """Close a COMPLETED order by hand: its images won't all come, or are elsewhere."""
    from mwl import closing
    from mwl.audit import Action
    from mwl.outbox import Destinations
    from mwl.worklist import manual

    which, now, given = _which(accession, step), frame.now(), frame.settings(context)
    told = Destinations.of(given.hl7.destination)

    def work(session: "Session") -> "Done":
        closing.close(session, manual.order_of(session, which), now, told)
        return manual.Done([])

    _audited(given, Action.CLOSE, which, work)
    typer.echo("closed")


@app.command()
def reopen(context: typer.Context, accession: Accession = "", step: StepId = "") -> None:
    """Put an entry that was cancelled, ended, begun, held back or has expired on the lists.

    One that was cancelled and scanned all the same becomes what the scanner told instead,
    and the RIS hears of it.
    """
    from mwl import procedures
    from mwl.audit import Action
    from mwl.roles import following

    which, now, given = _which(accession, step), frame.now(), frame.settings(context)
    effects = following.effects(given)
    done = _audited(
        given,
        Action.REOPEN,
        which,
        lambda session: procedures.reopen(session, which, effects=effects, now=now),
    )
    _report("reopened", done)


app.command("import")(exchange.import_)
app.command()(exchange.export)
app.command()(exchange.sources)
app.command()(exchange.fetch)


def _audited(
    given: "Settings",
    action: "Action",
    which: "Which | None",
    work: "Callable[[Session], Done]",
    **stated: str,
) -> "Done":
    """Do `work` in one transaction with its record; `which` is None where its entry is new."""
    from mwl.worklist import manual

    def both(session: "Session") -> "Done":
        order = None
        with suppress(Rejected):  # which the work will say better
            # Asked before: it may have another accession number afterwards.
            order = manual.order_of(session, which) if which else None
        done = work(session)
        if order is None:
            order = manual.order_of(session, manual.Which(sps_id=done.sps_ids[0]))
        detail = {"step": ", ".join(done.sps_ids)} if done.sps_ids else {}
        frame.record(session, action, f"order:{order}", **detail, **stated)
        return done

    with frame.database(given) as database:
        return database.write(both)


def _state(name: str | None) -> StepState | OrderState | None:
    if name is None:
        return None
    if name.upper() in StepState.__members__:
        return StepState(name.upper())
    if name.upper() in OrderState.__members__:
        return OrderState(name.upper())
    return frame.refuse(f"--status {name}: there is no such state; there are {_STATES}")


def _which(accession: str, step: str) -> "Which":
    from mwl.worklist.manual import Which

    if not (accession or step):
        frame.refuse("which entry? Give --accession or --step")
    return Which(accession, step)


def _instant(text: str | None, zone: ZoneInfo) -> datetime | None:
    if text is None:
        return None
    try:
        start = datetime.fromisoformat(text)
    except ValueError:
        frame.refuse(f"--start {text}: write a date and time like 2026-07-01T10:30")
    if start.year not in YEARS:
        frame.refuse(f"--start {text}: the year must be {YEARS[0]} to {YEARS[-1]}")
    return start if start.tzinfo else start.replace(tzinfo=zone)


def _report(verb: str, done: "Done") -> None:
    typer.echo(f"{verb}: step {', '.join(done.sps_ids)}")
    for flag in done.flags:
        typer.echo(f"note: {flag}")

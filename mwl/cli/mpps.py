"""`mwl mpps …`: what scanners told of their work, and what they left for a person."""

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from mwl.cli import frame

if TYPE_CHECKING:
    from sqlmodel import Session


app = frame.app("See what scanners told of their work (MPPS); link it, or end what is stuck.")

_COLUMNS = {
    "received_at": "begun",
    "status": "status",
    "ae_title": "scanner",
    "modality": "mod",
    "accession_number": "accession",
    "patient_id": "patient ID",
    "steps": "steps",
    "instances": "listed",
    "sop_instance_uid": "UID",
    "flags": "flags",
}
_Uid = Annotated[str, typer.Argument(metavar="UID", help="As `mwl mpps list` shows it.")]


@app.command("list")
def list_(
    context: typer.Context,
    stuck: Annotated[
        bool, typer.Option("--stuck", help="Only what has been in progress for too long.")
    ] = False,
    unscheduled: Annotated[
        bool, typer.Option("--unscheduled", help="Only what has not found all its orders.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    limit: Annotated[
        int, typer.Option(metavar="N", min=1, max=1_000_000, help="At most so many.")
    ] = 1000,
) -> None:
    """List performed procedure steps, the latest first.

    Too long is more than `mpps.stuck_h` of the settings.
    """
    from mwl.procedures import listing

    given = frame.settings(context)
    with frame.database(given) as database:
        entries = listing(
            database,
            now=frame.now(),
            stuck=timedelta(hours=given.mpps.stuck_h) if stuck else None,
            unscheduled=unscheduled,
            limit=limit,
        )
        if as_json:
            for entry in entries:
                typer.echo(json.dumps(entry, ensure_ascii=False))
        else:
            rows = ({**entry, "flags": "; ".join(entry["flags"])} for entry in entries)
            frame.print_table(_COLUMNS, rows)


@app.command()
def link(
    context: typer.Context,
    uid: _Uid,
    accession: Annotated[
        str, typer.Option(metavar="NUMBER", help="The accession number of the order; needed.")
    ] = "",
    sps: Annotated[
        str, typer.Option(metavar="ID", help="Only this scheduled procedure step of it.")
    ] = "",
) -> None:
    """Link a performed step with the order that it was made for.

    The order's steps become what the scanner told, and the RIS hears of it. Without --sps,
    all steps under the accession number are meant.
    """
    from mwl import procedures
    from mwl.audit import Action
    from mwl.procedures import browse
    from mwl.roles import following

    if not accession:
        frame.refuse("which order? Give --accession")
    given, now = frame.settings(context), frame.now()
    which, effects = procedures.Which(accession, sps), following.effects(given)

    def work(session: "Session") -> list[str]:
        steps = procedures.link(session, uid, which, effects=effects, now=now)
        subject = f"mpps:{browse.row(session, uid)}"
        frame.record(session, Action.LINK, subject, uid=uid, accession=accession, steps=steps)
        return steps

    with frame.database(given) as database:
        steps = database.write(work)
    typer.echo(f"linked: step {', '.join(steps)}")


@app.command()
def end(
    context: typer.Context,
    uid: _Uid,
    completed: Annotated[bool, typer.Option("--completed", help="The work was done.")] = False,
    discontinued: Annotated[
        bool, typer.Option("--discontinued", help="The work was given up.")
    ] = False,
) -> None:
    """End a performed step that its scanner left in progress.

    What the scanner says of it later is refused.
    """
    from mwl import procedures
    from mwl.audit import Action
    from mwl.performed import PerformedState
    from mwl.procedures import browse
    from mwl.roles import following

    if completed == discontinued:
        frame.refuse("how did it end? Give --completed or --discontinued")
    state = PerformedState.COMPLETED if completed else PerformedState.DISCONTINUED
    given, now = frame.settings(context), frame.now()
    effects = following.effects(given)

    def work(session: "Session") -> list[str]:
        by = frame.person()
        flags = procedures.end(session, uid, state, by=by, effects=effects, now=now)
        subject = f"mpps:{browse.row(session, uid)}"
        frame.record(session, Action.CHANGE, subject, uid=uid, ended=state.value)
        return flags

    with frame.database(given) as database:
        flags = database.write(work)
    typer.echo(f"ended: {state}")
    for flag in flags:
        typer.echo(f"note: {flag}")

"""`mwl outbox …`: what other systems are to be told, and what became of it."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from mwl.cli import frame

if TYPE_CHECKING:
    from sqlmodel import Session


app = frame.app("See what other systems are told, and decide for what they refused.")

_STATES = "waiting, blocked, done, parked, dropped"  # outbox.State, whose import costs 0.1 s

_COLUMNS = {
    "id": "ID",
    "destination": "destination",
    "kind": "kind",
    "subject": "subject",
    "event": "event",
    "state": "state",
    "attempts": "attempts",
    "next_at": "next",
    "control_id": "control ID",
    "error": "error",
    "created_at": "queued",
}
_Ids = Annotated[
    list[int],
    typer.Argument(
        metavar="ID", min=1, max=frame.LARGEST_ID, help="As `mwl outbox list` shows it."
    ),
]


@app.callback()
def _group() -> None:
    """See what other systems are told, and decide for what they refused."""


@app.command("list")
def list_(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    state: Annotated[
        str | None, typer.Option(metavar="STATE", help=f"Only in this state: {_STATES}.")
    ] = None,
    destination: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only for this destination.")
    ] = None,
    limit: Annotated[
        int, typer.Option(metavar="N", min=1, max=100_000, help="At most so many.")
    ] = 1000,
) -> None:
    """List deliveries, the newest first.

    A parked one was refused by its receiver: `resend` or `drop` it. Blocked ones speak of
    the same order or MPPS as a parked one before them, and wait for that.
    """
    from mwl import outbox

    with frame.database(frame.settings(context)) as database, database.read() as session:
        rows = outbox.listing(session, state=state, destination=destination, limit=limit)
    if as_json:
        for row in rows:
            typer.echo(json.dumps(row, ensure_ascii=False))
    else:
        frame.print_table(_COLUMNS, rows)


@app.command()
def resend(
    context: typer.Context,
    ids: _Ids,
    anew: Annotated[
        bool,
        typer.Option(
            "--anew", help="Write the message again, by today's settings, with a new control ID."
        ),
    ] = False,
) -> None:
    """Send deliveries again, now: the same bytes, unless --anew."""
    from mwl import outbox
    from mwl.audit import Action

    now = frame.now()

    def work(session: "Session") -> None:
        outbox.resend(session, ids, now=now, anew=anew)
        for each in sorted(set(ids)):
            frame.record(session, Action.RESEND, f"delivery:{each}", anew=anew)

    with frame.database(frame.settings(context)) as database:
        database.write(work)
    typer.echo(f"waiting to be sent: {_named(ids)}")


@app.command()
def drop(context: typer.Context, ids: _Ids) -> None:
    """Give deliveries up, so that what waits behind them goes on."""
    from mwl import outbox
    from mwl.audit import Action

    now = frame.now()

    def work(session: "Session") -> None:
        outbox.drop(session, ids, now=now)
        for each in sorted(set(ids)):
            frame.record(session, Action.DROP, f"delivery:{each}")

    with frame.database(frame.settings(context)) as database:
        database.write(work)
    typer.echo(f"dropped: {_named(ids)}")


def _named(ids: list[int]) -> str:
    return ", ".join(map(str, sorted(set(ids))))

"""`mwl commit …`: what scanners want to be sure of before they delete it."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from mwl.cli import frame

if TYPE_CHECKING:
    from sqlmodel import Session

app = frame.app("See what storage commitment was asked for, and report it again.")

_STATES = "waiting, judged, queued, reported, untold"  # commitment.State, costly to import

_COLUMNS = {
    "id": "ID",
    "received_at": "received",
    "ae_title": "asked by",
    "state": "state",
    "instances": "instances",
    "committed": "committed",
    "open": "open",
    "failed": "failed",
    "reported_at": "reported",
    "delivery": "delivery",
    "error": "error",
    "transaction_uid": "transaction",
}


@app.callback()
def _group() -> None:
    """See what storage commitment was asked for, and report it again."""


@app.command("list")
def list_(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    state: Annotated[
        str | None, typer.Option(metavar="STATE", help=f"Only in this state: {_STATES}.")
    ] = None,
    limit: Annotated[
        int, typer.Option(metavar="N", min=1, max=100_000, help="At most so many.")
    ] = 1000,
) -> None:
    """List requests for storage commitment, the newest first.

    Failed instances are counted by their reason: 0110 the bytes are lost, changed or
    quarantined, 0112 it never came, 0119 it is of another class, 0122 its class is not
    taken, 0131 the transaction was used before, 0213 the bytes were out of reach. An untold
    report had nobody to go to: its association was gone, and who asked has no address.
    """
    from mwl import commitment

    with frame.database(frame.settings(context)) as database, database.read() as session:
        rows = commitment.listing(session, state=state, limit=limit)
    if as_json:
        for row in rows:
            typer.echo(json.dumps(row, ensure_ascii=False))
    else:
        frame.print_table(_COLUMNS, ({**row, "failed": _counts(row["failed"])} for row in rows))


@app.command()
def report(
    context: typer.Context,
    request: Annotated[
        int,
        typer.Argument(
            metavar="ID", min=1, max=frame.LARGEST_ID, help="As `mwl commit list` shows it."
        ),
    ],
) -> None:
    """Report a request again, as it was judged, to the address of who asked.

    Also one that was parked because it was refused. What was judged can be judged anew by
    its scanner alone: it asks again.
    """
    from mwl import commitment
    from mwl.audit import Action

    now = frame.now()

    def work(session: "Session") -> None:
        commitment.report_again(session, request, now)
        frame.record(session, Action.RESEND, f"commitment:{request}")

    with frame.database(frame.settings(context)) as database:
        database.write(work)
    typer.echo(f"queued: the report of commitment {request}")


def _counts(failed: dict[str, int]) -> str:
    return ", ".join(f"{reason}: {count}" for reason, count in failed.items())

"""`mwl messages …`: the journal of HL7 messages."""

import json
from typing import Annotated

import typer

from mwl.cli import frame

app = frame.app("Look into the journal of HL7 messages.")

_STATES = "applied, noted, stale, rejected, failed"  # journal.State, whose import costs 0.1 s

_COLUMNS = {
    "received_at": "received",
    "control_id": "control ID",
    "type": "type",
    "state": "state",
    "ack_code": "answer",
    "error": "error",
    "flags": "flags",
}


@app.callback()
def _group() -> None:
    """Look into the journal of HL7 messages."""


@app.command("list")
def list_(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    state: Annotated[
        str | None, typer.Option(metavar="STATE", help=f"Only in this state: {_STATES}.")
    ] = None,
    control_id: Annotated[
        str | None, typer.Option(metavar="ID", help="Only this control ID (MSH-10).")
    ] = None,
    flagged: Annotated[
        bool, typer.Option("--flagged", help="Only messages with a flag for a person.")
    ] = False,
    limit: Annotated[
        int, typer.Option(metavar="N", min=1, max=100_000, help="At most so many.")
    ] = 1000,
) -> None:
    """List messages, the newest first: what came, and what became of it.

    A flag is what a person should see of a message: a value that was not understood, say,
    though the message was accepted.
    """
    from mwl import journal

    with frame.database(frame.settings(context)) as database:
        with database.read() as session:
            wanted = journal.Wanted(state=state or "", control_id=control_id or "", flagged=flagged)
            found = journal.search(session, wanted, limit=limit)
        rows = [
            {
                "control_id": row.control_id,
                "type": row.type,
                "state": row.state,
                "ack_code": row.ack_code,
                "error": row.error,
                "flags": row.flags,
                "received_at": row.received_at.isoformat(timespec="milliseconds"),
            }
            for row in found
        ]
    if as_json:
        for entry in rows:
            typer.echo(json.dumps(entry, ensure_ascii=False))
    else:
        frame.print_table(_COLUMNS, ({**row, "flags": "; ".join(row["flags"])} for row in rows))

"""`mwl messages …`: the journal of HL7 messages."""

import json
from typing import Annotated

import typer

from mwl.cli import frame

app = frame.app("Look into the journal of HL7 messages.")

_COLUMNS = {
    "received_at": "received",
    "control_id": "control ID",
    "type": "type",
    "state": "state",
    "error": "error",
}


@app.callback()
def _group() -> None:
    """Look into the journal of HL7 messages."""


@app.command("list")
def list_(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    state: Annotated[str | None, typer.Option(help="Only messages in this state.")] = None,
    control_id: Annotated[str | None, typer.Option(help="Only this control ID (MSH-10).")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many.")] = 1000,
) -> None:
    """List messages, the newest first: what came, and what became of it."""
    from mwl import journal

    with frame.database(frame.settings(context)) as database:
        with database.read() as session:
            found = journal.search(session, state=state, control_id=control_id, limit=limit)
        rows = [
            {
                "control_id": row.control_id,
                "type": row.type,
                "state": row.state,
                "error": row.error,
                "received_at": row.received_at.isoformat(timespec="milliseconds"),
            }
            for row in found
        ]
    if as_json:
        for entry in rows:
            typer.echo(json.dumps(entry, ensure_ascii=False))
    else:
        frame.print_table(_COLUMNS, rows)

"""`mwl messages …`: the journal of HL7 messages."""

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from mwl.cli import frame, replaying

if TYPE_CHECKING:
    from hl7.outline import Node, Outline

app = frame.app("Look into the journal of HL7 messages.")

_STATES = "applied, noted, stale, rejected, failed"  # journal.State, whose import costs 0.1 s

_COLUMNS = {
    "id": "ID",
    "received_at": "received",
    "control_id": "control ID",
    "type": "type",
    "state": "state",
    "ack_code": "answer",
    "error": "error",
    "flags": "flags",
}
_Id = Annotated[
    int,
    typer.Argument(
        metavar="ID", min=1, max=frame.LARGEST_ID, help="As `mwl messages list` shows it."
    ),
]


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
    message_type: Annotated[
        str | None, typer.Option("--type", metavar="TYPE", help="Only this type, as ORM^O01.")
    ] = None,
    patient: Annotated[
        str | None, typer.Option(metavar="ID", help="Only about the patient of this ID.")
    ] = None,
    accession: Annotated[
        str | None, typer.Option(metavar="NUMBER", help="Only about this accession number.")
    ] = None,
    error: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Only refused ones whose error says this.")
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
            wanted = journal.Wanted(
                state=state or "",
                control_id=control_id or "",
                type=message_type or "",
                patient=patient or "",
                accession=accession or "",
                error=error or "",
                flagged=flagged,
            )
            found = journal.search(session, wanted, limit=limit)
        rows = [
            {
                "id": row.id,
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


@app.command()
def size(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Tell how large the journal is, and what will be removed when.

    It knows this without looking at the messages, of which there may be millions.
    """
    from mwl import journal

    given = frame.settings(context)
    with frame.database(given) as database, database.read() as session:
        found = journal.size(session, now=frame.now())
    if not as_json:
        for sentence in journal.outlook(found, given.journal):
            typer.echo(sentence)
        return
    told = {
        "messages": found.messages,
        "bytes": found.bytes,
        "daily_bytes": found.daily_bytes,
        "first": frame.instant(found.first) or None,
        "oldest": frame.instant(found.oldest) or None,
        "held": found.held,
        "keep_days": given.journal.keep_days,
        "max_bytes": given.journal.max_bytes,
    }
    typer.echo(json.dumps(told))


@app.command()
def show(context: typer.Context, message: _Id) -> None:
    """Show a message: as it came, field by field, what became of it, and the answer."""
    from hl7.outline import outline
    from mwl import journal
    from mwl.roles.profiles import mapping_profiles

    given = frame.settings(context)
    profiles = mapping_profiles(given)
    with frame.database(given) as database, database.read() as session:
        kept = journal.kept(session, message)
    row = kept.row
    charset = profiles.charset_of(kept.raw, row.listener)
    typer.echo(f"{row.type} {row.control_id} from {row.source} at {frame.instant(row.received_at)}")
    typer.echo(f"{row.state} {row.ack_code}".rstrip())
    for text in filter(None, (row.error, *row.flags)):
        typer.echo(f"  {text}")
    if not kept.size:
        typer.echo("Its text is kept no longer.")
    for heading, raw in (("As it came", kept.raw), ("Answer", row.ack)):
        if raw:
            _print(heading, outline(raw, charset))


app.command()(replaying.replay)


def _print(heading: str, read: "Outline") -> None:
    typer.echo(f"\n{heading}, {read.encoding}:")
    for line in read.lines:
        typer.echo(f"  {line.text}{line.end}")
    typer.echo("")
    for segment in read.segments:
        typer.echo(f"  {segment.place}  {segment.title}".rstrip())
        for depth, node in _nodes(segment.fields):
            value = "" if node.parts else node.value.replace("\n", "\n" + " " * 60)
            place = f"{'  ' * depth}{node.place}"
            typer.echo(f"  {place:<18} {node.name:<38} {value}".rstrip())
    if read.fault:
        typer.echo(f"  not a message: {read.fault}")
    if read.is_cut:
        typer.echo("  there is more than is shown here")


def _nodes(nodes: "Sequence[Node]", depth: int = 1) -> "Iterator[tuple[int, Node]]":
    for node in nodes:
        yield depth, node
        yield from _nodes(node.parts, depth + 1)

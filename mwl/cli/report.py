"""`mwl report …`: reports of examinations that others sent."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mwl.cli import frame

if TYPE_CHECKING:
    from mwl.reports import Found

app = frame.app("See the reports that came by ORU^R01.")

_STATUSES = "PRELIMINARY, FINAL, CORRECTED, CANCELED"  # reports.Status, whose import costs 0.1 s
_COLUMNS = {
    "id": "ID",
    "received_at": "received",
    "status": "status",
    "title": "report",
    "patient_id": "patient ID",
    "accession_number": "accession",
    "order": "order",
    "flags": "flags",
}
_Id = Annotated[
    int,
    typer.Argument(
        metavar="ID", min=1, max=frame.LARGEST_ID, help="As `mwl report list` shows it."
    ),
]
_Json = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]


@app.command("list")
def list_(
    context: typer.Context,
    text: Annotated[
        str,
        typer.Argument(metavar="TEXT", help="A patient ID, an accession or an order number."),
    ] = "",
    status: Annotated[
        str, typer.Option(metavar="STATUS", help=f"Only in this status: {_STATUSES}.")
    ] = "",
    unlinked: Annotated[
        bool, typer.Option("--unlinked", help="Only those whose order is not known.")
    ] = False,
    as_json: _Json = False,
    limit: Annotated[
        int, typer.Option(metavar="N", min=1, max=100_000, help="At most so many.")
    ] = 1000,
) -> None:
    """List reports, the latest version of each, the newest first."""
    from mwl import reports

    wanted = reports.Wanted(text, status, unlinked)
    with frame.database(frame.settings(context)) as database, database.read() as session:
        rows = [_told(row) for row in reports.search(session, wanted, limit=limit)]
    if as_json:
        for row in rows:
            typer.echo(json.dumps(row, ensure_ascii=False))
    else:
        frame.print_table(_COLUMNS, ({**row, "flags": "; ".join(row["flags"])} for row in rows))


@app.command()
def show(
    context: typer.Context,
    report: _Id,
    part: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, max=frame.LARGEST_ID, help="Only this part, for --output."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the part's bytes there; no file is replaced."),
    ] = None,
) -> None:
    """Show a report: what it says, whom it is about, its versions and documents.

    A document, a PDF say, is not shown here: --part N --output FILE writes it to a file.
    """
    from mwl import reports

    if (part is None) != (output is None):
        frame.refuse("--part N and --output FILE belong together")
    with frame.database(frame.settings(context)) as database, database.read() as session:
        if part is not None and output is not None:
            _write(output, bytes(reports.document(session, report, part).content))
        else:
            _print(reports.one(session, report))


def _write(output: Path, content: bytes) -> None:
    try:
        with output.open("xb") as file:
            file.write(content)
    except OSError as error:
        frame.refuse(f"{output}: {error.strerror}")
    typer.echo(f"{output}: {len(content)} bytes")


def _print(found: "Found") -> None:
    row = found.row
    facts = {
        "report": row.title,
        "status": row.status,
        "patient": f"{row.patient_name} {row.patient_id}".strip(),
        "accession": row.accession_number,
        "order": f"{row.imaging_order}, by {row.linked_by}" if row.imaging_order else "not known",
        "interpreted by": row.interpreter,
        "issued": frame.instant(row.issued_at),
        "received": f"{frame.instant(row.received_at)} from {row.source}",
        "versions": ", ".join(str(each.id) for each in found.versions),
    }
    for label, value in facts.items():
        if value:
            typer.echo(f"{label:<15} {_plain(value)}")
    for flag in row.flags:
        typer.echo(f"{'!':<15} {flag}")
    for each in found.parts:
        typer.echo("")
        typer.echo(_plain(" ".join(filter(None, (each["label"], each["abnormal"])))))
        if each["text"] is None:
            said = f"{each['media_type']}, {each['size']} bytes"
            typer.echo(f"  part {each['position']}: {said}; --part {each['position']} writes it")
            continue
        for line in each["text"].split("\n"):
            typer.echo(f"  {_plain(line)}")


def _plain(text: str) -> str:
    """Leave out what a terminal would take for commands."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _told(row: Any) -> dict[str, Any]:
    same = ("id", "status", "title", "patient_id", "patient_name", "accession_number", "flags")
    return {
        **{name: getattr(row, name) for name in same},
        "order": row.imaging_order,
        "received_at": frame.instant(row.received_at),
    }

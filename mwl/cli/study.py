"""`mwl study …`: what the archive holds, and which order it belongs to."""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mwl.cli import frame

if TYPE_CHECKING:
    from sqlmodel import Session

    from mwl.archive.by_hand import Linked

app = frame.app("See the archive's studies; link one to its order by hand, or take it from that.")

_STUDIES = {
    "received_at": "received",
    "study_date": "date",
    "accession_number": "accession",
    "patient_id": "patient ID",
    "patient_name": "name",
    "description": "description",
    "instances": "images",
    "imaging_order": "order",
    "matched_by": "by",
    "differs": "contradicted",
    "study_instance_uid": "study UID",
}
_QUARANTINED = {
    "received_at": "received",
    "source": "from",
    "patient_id": "patient ID",
    "reason": "reason",
    "sop_instance_uid": "SOP instance UID",
    "study_instance_uid": "study UID",
}


@app.command("list")
def list_(
    context: typer.Context,
    unmatched: Annotated[
        bool, typer.Option("--unmatched", help="Only studies whose order is not known.")
    ] = False,
    quarantined: Annotated[
        bool,
        typer.Option(
            "--quarantined", help="What contradicts the archive and is kept out of sight, instead."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    limit: Annotated[
        int, typer.Option(metavar="N", min=1, max=1_000_000, help="At most so many.")
    ] = 1_000_000,
) -> None:
    """List studies in the order in which they came, with the order that each belongs to."""
    from mwl.archive import listing

    if unmatched and quarantined:
        frame.refuse("--unmatched lists studies, --quarantined single images: give one of them")
    with frame.database(frame.settings(context)) as database:
        if quarantined:
            rows, columns = listing.quarantined(database, limit=limit), _QUARANTINED
        else:
            rows, columns = listing.studies(database, unmatched=unmatched, limit=limit), _STUDIES
        _print(rows, columns, as_json)


@app.command()
def link(
    context: typer.Context,
    study_uid: Annotated[str, typer.Argument(metavar="STUDY_UID", help="Study Instance UID.")],
    accession: Annotated[
        str, typer.Option(metavar="NUMBER", help="The accession number of the order.")
    ] = "",
    order: Annotated[
        int | None,
        typer.Option(metavar="ROW", help="The order's number here, where several share one."),
    ] = None,
) -> None:
    """Say by hand which order a study belongs to; what was known before gives way."""
    from mwl import archive
    from mwl.archive import browse
    from mwl.audit import Action

    if not accession and order is None:
        frame.refuse("which order? Give --accession or --order")

    def work(session: "Session") -> "Linked":
        done = archive.link(session, study_uid, accession=accession, order=order)
        subject = f"study:{browse.study_of_uid(session, study_uid)}"
        detail = {"order": done.imaging_order, "accession": done.accession_number}
        frame.record(session, Action.LINK, subject, **detail)
        return done

    with frame.database(frame.settings(context)) as database:
        linked = database.write(work)
    typer.echo(f"linked: order {linked.imaging_order}, accession {linked.accession_number}")
    for flag in linked.flags:
        typer.echo(f"note: {flag}")


@app.command()
def unlink(
    context: typer.Context,
    study_uid: Annotated[str, typer.Argument(metavar="STUDY_UID", help="Study Instance UID.")],
) -> None:
    """Take a study from its order, and show it as its images say; a person links it anew."""
    from mwl import archive
    from mwl.archive import browse
    from mwl.audit import Action

    def work(session: "Session") -> int:
        order = archive.unlink(session, study_uid)
        subject = f"study:{browse.study_of_uid(session, study_uid)}"
        frame.record(session, Action.UNLINK, subject, order=order)
        return order

    with frame.database(frame.settings(context)) as database:
        order = database.write(work)
    typer.echo(f"unlinked: from order {order}")


def _print(rows: Iterator[dict[str, Any]], columns: dict[str, str], as_json: bool) -> None:
    if as_json:
        for row in rows:
            typer.echo(json.dumps(row, ensure_ascii=False))
        return
    frame.print_table(columns, rows)

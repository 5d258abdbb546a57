"""`mwl story`: what happened to an order, and what comes next."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from mwl.cli import frame

if TYPE_CHECKING:
    from sqlmodel import Session

    from mwl.story import Entry, Story

Json = Annotated[bool, typer.Option("--json", help="One JSON object an order, instead of text.")]


def story(
    context: typer.Context,
    accession: Annotated[
        str, typer.Argument(metavar="ACCESSION", help="The accession number of the order.")
    ] = "",
    order: Annotated[
        int | None,
        typer.Option(
            metavar="NUMBER",
            min=1,
            max=frame.LARGEST_ID,
            help="The number that its page has instead.",
        ),
    ] = None,
    brief: Annotated[
        bool, typer.Option("--brief", help="One line an entry, without what is beside.")
    ] = False,
    json: Json = False,
) -> None:
    """Tell all that happened to an order, from its first message on, and what comes next.

    In the order of time: each HL7 message and what it changed, which scanner was shown the
    order and what it said then, the MPPS, images, storage commitment, what the RIS was told,
    and what people did. It begins with what ends the order next, or why nothing does. Lines
    with "!" are worth a look. Times are the site's.

    Every order with this accession number is told; the number of an entry, like message:17,
    is what its page is called by.
    """
    from mwl import story as stories
    from mwl.roles.following import close_rules

    if not accession and order is None:
        frame.refuse("which order? Give its accession number, or --order NUMBER")
    given, now = frame.settings(context), frame.now()
    zone = given.site.zone_info
    with frame.database(given) as database, database.read() as session:
        rows = [order] if order is not None else stories.by_accession(session, accession)
        close = close_rules(given)
        told = [stories.tell(session, row, close, now=now, zone=zone) for row in rows]
        found = [each for each in told if each is not None]
        heard = "" if found or order is not None else _heard(session, accession)
    if not found:
        typer.echo(f"mwl: no order on file has {_asked(accession, order)}{heard}", err=True)
        raise typer.Exit(frame.FAILED)
    for each in found:
        if json:
            _print_json(each)
        else:
            _print(each, zone, brief)


def _asked(accession: str, order: int | None) -> str:
    return f"the number {order}" if order is not None else f"the accession number {accession}"


def _heard(session: "Session", accession: str) -> str:
    """Say what the latest message became that names an order which is not there."""
    from mwl import journal

    for row in journal.search(session, journal.Wanted(accession=accession), limit=1):
        why = f": {row.error}" if row.error else ""
        return f", but message {row.id} names it, {row.state}{why} (`mwl messages show {row.id}`)"
    return ", and no message that is kept names it"


def _print_json(told: "Story") -> None:
    from json import dumps

    typer.echo(dumps(as_json(told), ensure_ascii=False))


def as_json(told: "Story") -> dict[str, Any]:
    """Give a story as programs read it."""
    subject = told.subject
    return {
        "order": subject.order["id"],
        "status": subject.order["status"],
        "patient_id": subject.patient["patient_id"],
        "patient_name": subject.patient["patient_name"],
        "accession_numbers": subject.accession_numbers,
        "flags": subject.order["flags"],
        "warnings": told.warnings,
        "next": {
            "text": told.outlook.text,
            "points": told.outlook.points,
            "asks": told.outlook.asks,
        },
        "entries": [
            {
                "at": entry.at.isoformat(),
                "kind": str(entry.kind),
                "text": entry.text,
                "state": str(entry.state),
                "notes": entry.notes,
                "facts": [list(fact) for fact in entry.facts],
                "about": entry.about,
            }
            for entry in told.entries
        ],
    }


def _print(told: "Story", zone: Any, brief: bool) -> None:
    subject = told.subject
    order, patient = subject.order, subject.patient
    numbers = ", ".join(subject.accession_numbers) or "no accession number"
    typer.echo(f"{numbers}  {order['status']}  (order {order['id']} of {order['source']})")
    typer.echo(
        f"{patient['patient_id']}  {patient['patient_name']}  "
        f"{patient['birth_date']} {patient['sex']}".rstrip()
    )
    for alias in subject.aliases:
        typer.echo(f"  also {alias['patient_id']}, merged")
    for flag in order["flags"]:
        typer.echo(f"! {flag}")
    for warning in told.warnings:
        typer.echo(f"! {warning}")
    typer.echo(f"\n{told.outlook.text}")
    for point in told.outlook.points:
        typer.echo(f"  - {point}")
    typer.echo("")
    for entry in told.entries:
        _print_entry(entry, zone, brief)


def _print_entry(entry: "Entry", zone: Any, brief: bool) -> None:
    at = f"{entry.at.astimezone(zone):%Y-%m-%d %H:%M:%S}"
    state = f"  [{entry.state}]" if entry.state else ""
    typer.echo(f"{at}  {entry.kind:<10}  {entry.text}{state}")
    margin = " " * 33
    for note in entry.notes:
        typer.echo(f"{margin}! {note}")
    if brief:
        return
    for label, value in entry.facts:
        lines = value.splitlines() or [""]
        typer.echo(f"{margin}{label}: {lines[0]}")
        for line in lines[1:]:
            typer.echo(f"{margin}  {line}")
    if ":" in entry.about:
        typer.echo(f"{margin}see {entry.about}")

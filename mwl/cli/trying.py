"""`mwl device try`: what a scanner would be shown now, as text."""

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mwl.cli import frame

if TYPE_CHECKING:
    from mwl.worklist.trying import Shown, Tried

_COLUMNS = {
    "start": "start",
    "patient_id": "patient ID",
    "patient_name": "name",
    "accession_number": "accession",
    "modality": "mod",
    "station": "station",
    "description": "description",
    "character_set": "letters",
}
_HIDDEN = {
    "start": "start",
    "patient_id": "patient ID",
    "patient_name": "name",
    "modality": "mod",
    "station": "for",
    "state": "state",
}


def try_(
    context: typer.Context,
    ae_title: Annotated[str, typer.Argument(metavar="AE_TITLE", help="What it calls itself.")],
    day: Annotated[
        str | None,
        typer.Option(metavar="DAY", help='YYYYMMDD, or a range; "" is any. Else its today.'),
    ] = None,
    modality: Annotated[
        str | None, typer.Option(metavar="CODE", help='"" is any. Else its own.')
    ] = None,
    station: Annotated[
        str | None, typer.Option(metavar="AE_TITLE", help='"" is any. Else its own.')
    ] = None,
    patient_id: Annotated[str, typer.Option(metavar="ID", help="Only this patient.")] = "",
    name: Annotated[str, typer.Option(metavar="NAME", help="Doe* or Doe^Jane.")] = "",
    accession: Annotated[str, typer.Option(metavar="NUMBER", help="Only this one.")] = "",
    character_set: Annotated[
        str, typer.Option(metavar="SET", help="The (0008,0005) that it asks in; else none.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="As a JSON object.")] = False,
) -> None:
    """Show what a scanner would be answered now, by the code that answers scanners.

    It is taken to ask as usual: for today, by its modality and its AE title. Nobody is told
    that it was shown anything. The exit code is 1 if it is not let ask, or its query fails.
    """
    from mwl import logs
    from mwl.scp.trying import see
    from mwl.worklist.trying import Asked

    asked = Asked(day, modality, station, patient_id, name, accession, character_set)
    given = frame.settings(context)
    logs.configure("error")  # what is told stands below
    with frame.database(given) as database:
        tried = see(database, given, ae_title, asked, frame.now())
    if as_json:
        typer.echo(json.dumps(_as_json(tried), ensure_ascii=False))
    else:
        _print(tried)
    if tried.refused or tried.status:
        raise typer.Exit(frame.FAILED)


def _print(tried: "Tried") -> None:
    if tried.answers:
        frame.print_table(_COLUMNS, map(_answer, tried.answers))
        typer.echo()
    for line in _lines(tried):
        typer.echo(line)
    if tried.hidden:
        typer.echo("\nwhat people see, and it does not:")
        frame.print_table(_HIDDEN, map(_hidden, tried.hidden))
        if tried.more_hidden:
            typer.echo("and there may be more")


def _lines(tried: "Tried") -> Iterator[str]:
    """Say how it ends, and what a person should know of it."""
    asked = tried.asked
    keys = {"day": asked.day, "modality": asked.modality, "station": asked.station}
    said = ", ".join(f"{name} {value or 'any'}" for name, value in keys.items())
    yield f"asked for {said}"
    if tried.refused:
        yield f"it is not let ask: {tried.refused}"
    if tried.status:
        yield f"the query fails: {tried.status:04X} {tried.comment}"
    cut = f" of {tried.more}, and it is not told" if tried.is_cut else ""
    listed = len(tried.answers)
    first = f"; the first {listed} are listed" if listed < tried.count else ""
    yield f"{tried.count} {'entry' if tried.count == 1 else 'entries'}{cut}{first}"
    for each in tried.answers:
        for keyword, text in each.rewritten.items():
            number = each.attributes.get("AccessionNumber", "")
            yield f"{number}: {keyword} is {text}, told in other letters"


def _answer(shown: "Shown") -> dict[str, str]:
    its = shown.attributes
    start = its.get("ScheduledProcedureStepStartDate", "")
    return {
        "start": f"{start} {its.get('ScheduledProcedureStepStartTime', '')[:4]}",
        "patient_id": its.get("PatientID", ""),
        "patient_name": its.get("PatientName", ""),
        "accession_number": its.get("AccessionNumber", ""),
        "modality": its.get("Modality", ""),
        "station": its.get("ScheduledStationAETitle", "").replace("\\", ", "),
        "description": its.get("ScheduledProcedureStepDescription", ""),
        "character_set": shown.character_set + (" !" if shown.rewritten else ""),
    }


def _hidden(item: Any) -> Mapping[str, str]:
    return {
        "start": f"{item.start_local[:8]} {item.start_local[8:12]}",
        "patient_id": item.patient_id,
        "patient_name": item.patient_name,
        "modality": item.modality,
        "station": ", ".join(item.stations) or "any",
        "state": item.shown_state,
    }


def _as_json(tried: "Tried") -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "ae_title": tried.ae_title,
        "asked": asdict(tried.asked),
        "refused": tried.refused,
        "status": f"{tried.status:04X}",
        "comment": tried.comment,
        "count": tried.count,
        "matching": tried.more,
        "cut": tried.is_cut,
        "answers": [asdict(each) for each in tried.answers],
        "hidden": None if tried.hidden is None else [*map(_hidden, tried.hidden)],
        "more_hidden": tried.more_hidden,
    }

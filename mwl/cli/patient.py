"""`mwl patient …`: who is on file, under which numbers; take a merge back."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mwl.cli import frame

if TYPE_CHECKING:
    from sqlmodel import Session

    from mwl.worklist.unmerging import Unmerged

app = frame.app("See patients, their numbers, merges and links; take a merge back.")

_PATIENTS = {
    "patient_id": "patient ID",
    "issuer": "issuer",
    "patient_name": "name",
    "birth_date": "born",
    "sex": "sex",
    "merged_into": "merged into",
}
_MERGES = {
    "merge": "merge",
    "made": "made",
    "loser": "patient ID",
    "survivor": "merged into",
    "orders": "orders",
    "studies": "studies",
    "mpps": "MPPS",
    "source": "by",
    "control_id": "message",
    "ended": "ended",
}
_CONFLICTS = {
    "message": "message",
    "received_at": "received",
    "source": "from",
    "type": "type",
    "patient_id": "patient ID",
    "accession_number": "accession",
    "error": "error",
}
_Json = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]
_Limit = Annotated[int, typer.Option(metavar="N", min=1, max=1_000_000, help="At most so many.")]
_Issuer = Annotated[
    str, typer.Option(metavar="TEXT", help="Who gave the number, where several did.")
]


@app.command("list")
def list_(
    context: typer.Context,
    text: Annotated[
        str, typer.Argument(metavar="[TEXT]", help="A patient ID, or how a name begins.")
    ] = "",
    as_json: _Json = False,
    limit: _Limit = 100,
) -> None:
    """List patients, the newest first."""
    from mwl.worklist import patients

    with frame.database(frame.settings(context)) as database, database.read() as session:
        rows = patients.search(session, text, limit=limit)
        into = {row.id: row.patient_id for row in rows}
        _print(
            ({**_patient(row), "merged_into": _into(session, row, into)} for row in rows),
            _PATIENTS,
            as_json,
        )


@app.command()
def show(
    context: typer.Context,
    patient_id: Annotated[str, typer.Argument(metavar="PATIENT_ID")],
    issuer: _Issuer = "",
    as_json: _Json = False,
) -> None:
    """Show a patient: other numbers, merges, links, orders and studies."""
    from mwl import story
    from mwl.worklist import patients

    with frame.database(frame.settings(context)) as database, database.read() as session:
        found = story.patient(session, patients.one(session, patient_id, issuer))
    assert found is not None
    merged = [_merge(each) for each in found.merges]
    record: dict[str, Any] = {
        **_patient(found.patient),
        "merged_into": found.survivor["patient_id"] if found.survivor else "",
        "aliases": [each["patient_id"] for each in found.aliases],
        "linked_with": [each.patient_id for each in found.links],
        "merges": merged,
        "orders": [each.accession_number or str(each.id) for each in found.orders],
        "studies": [each.study_instance_uid for each in found.studies],
        "mpps": [each.sop_instance_uid for each in found.mpps],
    }
    if as_json:
        typer.echo(json.dumps(record, ensure_ascii=False))
        return
    for name, value in record.items():
        if name != "merges":
            shown = ", ".join(value) if isinstance(value, list) else value
            typer.echo(f"{name.replace('_', ' ')}: {shown or 'none'}")
    if merged:
        frame.print_table(_MERGES, merged)


@app.command()
def merges(context: typer.Context, as_json: _Json = False, limit: _Limit = 100) -> None:
    """List merges, the newest first, with what each has moved."""
    from mwl.worklist import patients

    with frame.database(frame.settings(context)) as database, database.read() as session:
        rows = patients.merges(session, limit=limit)
    _print(map(_merge, rows), _MERGES, as_json)


@app.command()
def conflicts(context: typer.Context, as_json: _Json = False, limit: _Limit = 100) -> None:
    """List messages that were refused because they name somebody else than is on file.

    `mwl messages replay ID --same-patient` takes the new name; else mend it at the sender.
    """
    from mwl.worklist import patients

    with frame.database(frame.settings(context)) as database, database.read() as session:
        rows = [row._asdict() for row in patients.conflicts(session, limit=limit)]
    told = (
        {**row, "message": row["id"], "received_at": frame.instant(row["received_at"])}
        for row in rows
    )
    _print(({name: row[name] for name in _CONFLICTS} for row in told), _CONFLICTS, as_json)


@app.command()
def unmerge(
    context: typer.Context,
    merge: Annotated[
        int,
        typer.Argument(
            metavar="MERGE", min=1, max=frame.LARGEST_ID, help="As `mwl patient merges` shows it."
        ),
    ],
) -> None:
    """Take a merge back: these are two patients after all.

    What was the merged patient's goes back, and what came under that number since: orders,
    studies, reports. What came under the survivor's number stays.
    """
    from mwl.audit import Action
    from mwl.worklist import unmerging

    now = frame.now()

    def work(session: "Session") -> "Unmerged":
        done = unmerging.unmerge(session, merge, by=frame.person(), now=now)
        subject, detail = unmerging.told(done)
        frame.record(session, Action.UNMERGE, subject, **detail)
        return done

    with frame.database(frame.settings(context)) as database:
        done = database.write(work)
    typer.echo(f"undone: orders given back {done.orders}, studies {done.studies}")
    for flag in done.flags:
        typer.echo(f"note: {flag}")


def _patient(row: Any) -> dict[str, str]:
    names = ("patient_id", "issuer", "patient_name", "birth_date", "sex")
    return {name: row[name] if isinstance(row, dict) else getattr(row, name) for name in names}


def _into(session: "Session", row: Any, known: dict[int, str]) -> str:
    from mwl.story import subjects

    if row.merged_into is None:
        return ""
    if row.merged_into not in known:
        found = subjects.one_patient(session.connection(), row.merged_into)
        known[row.merged_into] = found["patient_id"] if found else ""
    return known[row.merged_into]


def _merge(row: Any) -> dict[str, Any]:
    return {
        "merge": row.id,
        "made": frame.instant(row.stated_at),
        "loser": row.loser_id,
        "survivor": row.survivor_id,
        **{kind: row.counts.get(kind, 0) for kind in ("orders", "studies", "mpps")},
        "source": row.source,
        "control_id": row.control_id,
        "ended": f"{frame.instant(row.ended_at)} by {row.ended_by}" if row.ended_at else "",
    }


def _print(rows: Any, columns: dict[str, str], as_json: bool) -> None:
    if as_json:
        for row in rows:
            typer.echo(json.dumps(row, ensure_ascii=False))
    else:
        frame.print_table(columns, rows)

"""Images that were taken for a patient's own, and are not any more: a merge was undone.

While two numbers were one patient, images under either belonged into the studies of both. Once
they are told apart, each image is judged anew by whom its study's patient is known as.
"""

from typing import Any

from sqlalchemy import Connection, bindparam, select

from mwl.archive import following
from mwl.archive.patients import aliases
from mwl.db import Prepared
from mwl.db.tables import Study
from mwl.studies import Aliases, Person

_STUDY = Study.__table__  # type: ignore[attr-defined]
_OF_PATIENT = Prepared(
    select(_STUDY)
    .where(_STUDY.c.patient == bindparam("patient"))
    .order_by(_STUDY.c.id)
    .with_for_update(key_share=True)
)


def reconsider(conn: Connection, patient: int) -> None:
    """Mark the studies of a patient, by row, whose images name somebody else since."""
    for study in _OF_PATIENT.all(conn, {"patient": patient}):
        others = following.others_said(study)
        gone = [other for other in others if not _is_known(conn, study, other)]
        if gone:
            following.disown(conn, study, gone)


def _is_known(conn: Connection, study: Any, other: Person) -> bool:
    said, now = following.person_said(study), following.person_now(study)
    people = [said, now, *aliases(conn, study.patient, (said, now, other))]
    return Aliases.of(people).are_of(other)

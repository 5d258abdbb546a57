"""Names in the archive's index, where fuzzy matching was agreed on."""

import pytest

from mwl import archive, matching
from mwl.archive.query import Level, Query, find
from tests import name_oracle
from tests.archive_rows import received, study_uid

NAMES = [
    "Müller^Anna",
    "Meyer^Karl",
    "Miller^Ann",
    "Иванов^Иван",
    "Yamada^Tarou=山田^太郎=やまだ^たろう",
    "O'Neil^Sean^^Dr.",
    "",
    "Anna^Müller-Lüdenscheidt",
]
KEYS = ["mueller", "anna muller", "Maier", "Iwanow", "山田", "tarou*", "ONeil", "Anna\\Karl", "x"]


@pytest.fixture
def kept(database):
    for number, name in enumerate(NAMES, 1):
        referring = NAMES[-number]
        told = {"PatientName": name, "ReferringPhysicianName": referring}
        archive.store(
            database,
            received(number, series=number, study=number, PatientID=f"P{number}", **told),
        )
    return database


def found(database, level, **keys):
    column = "patient_id" if level is Level.PATIENT else "study_instance_uid"
    with database.read() as session:
        rows = find(session, Query(level, (column,), keys)).rows
    return {row[0] for row in rows}


@pytest.mark.parametrize("key", KEYS)
def test_patients_and_physicians_are_found_as_the_oracle_says(kept, key):
    matcher = matching.fuzzy_name(key, "PatientName")
    numbers = [n for n, name in enumerate(NAMES, 1) if name_oracle.is_match(key, name)]
    patients = {f"P{number}" for number in numbers}
    studies = {study_uid(number) for number in numbers}
    assert found(kept, Level.PATIENT, patient_name=matcher) == patients
    for level in (Level.STUDY, Level.SERIES, Level.IMAGE):
        assert found(kept, level, patient_name=matcher) == studies
    mirrored = {study_uid(len(NAMES) + 1 - number) for number in numbers}
    assert found(kept, Level.STUDY, referring_physician=matcher) == mirrored

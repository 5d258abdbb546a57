"""What the archive's index finds, page by page, and by which of its own indexes."""

import json
import re

import pytest
from sqlalchemy import text, update

from mwl import archive, matching
from mwl.archive.query import Level, Query, find, finding, pages
from mwl.db.tables import Patient, Study
from mwl.matching import Range, Single
from tests.archive_rows import NOW, received, study_uid

UID = ("study_instance_uid",)
# By study, as they are stored: more of one day than a page holds, and one of none.
DATES = ["20300103", "20300101", "20300102", "", *["20300102"] * 7, "20300101", "20300103"]


@pytest.fixture
def studies(database):
    for number, date in enumerate(DATES, 1):
        archive.store(database, received(number, series=number, study=number, StudyDate=date))
    return database


def numbers(*dates):
    """List the studies of `dates`: by date, then as they were stored."""
    return [n for date in dates for n, each in enumerate(DATES, 1) if each == date]


def paged(database, **keys):
    """Read pages of three rows; the numbers of the studies, in their order."""
    read = [list(page) for page in pages(database, Query(Level.STUDY, UID, keys))]
    assert all(len(page) == 3 for page in read[:-1])
    return [int(row[0].rpartition(".")[2]) for page in read for row in page]


@pytest.mark.parametrize(
    ("dates", "found"),
    [
        (Range("20300102", "20300102"), ["20300102"]),
        (Range("20300102", ""), ["20300102", "20300103"]),
        (Range("", "20300102"), ["20300101", "20300102"]),
        (Range("20300101", "20300103"), ["20300101", "20300102", "20300103"]),
        (Range("20300104", ""), []),
        (Range("20300103", "20300101"), []),
    ],
)
def test_studies_of_equal_dates_are_each_found_once(studies, monkeypatch, dates, found):
    monkeypatch.setattr(finding, "PAGE_ROWS", 3)
    assert paged(studies, study_date=dates) == numbers(*found)


def test_other_keys_narrow_dates_down(studies, monkeypatch):
    monkeypatch.setattr(finding, "PAGE_ROWS", 3)
    dates = Range("20300102", "20300103")
    assert paged(studies, study_date=dates, accession_number=Single("ACC6")) == [6]
    assert paged(studies, study_date=dates, accession_number=Single("ACC2")) == []


def test_without_a_date_studies_come_as_they_were_stored(studies, monkeypatch):
    monkeypatch.setattr(finding, "PAGE_ROWS", 3)
    assert paged(studies) == list(range(1, len(DATES) + 1))
    assert paged(studies, modalities=Single("CT")) == list(range(1, len(DATES) + 1))


def test_below_a_study_its_date_changes_no_order(studies):
    keys = {"study_instance_uid": Single(study_uid(5)), "study_date": Range("20300102", "")}
    for level in (Level.SERIES, Level.IMAGE):
        with studies.read() as session:
            assert len(find(session, Query(level, UID, keys)).rows) == 1
            none = find(session, Query(level, UID, {**keys, "study_date": Range("2031", "")}))
            assert none.rows == []


def planned(session, after=None, level=Level.STUDY, **keys):
    """Tell how SQLite goes about it."""
    conn = session.connection()
    driver = conn.connection.driver_connection
    asked = []
    told = ("patient_id",) if level is Level.PATIENT else UID
    driver.set_trace_callback(asked.append)
    try:
        page = find(session, Query(level, told, keys), after=after, limit=3)
    finally:
        driver.set_trace_callback(None)
    (statement,) = (each for each in asked if each.startswith(("SELECT", "WITH")))
    plan = conn.execute(text("EXPLAIN QUERY PLAN " + statement.replace(":", "\\:")))
    return page, "\n".join(row.detail for row in plan)


def test_a_days_studies_are_read_from_the_index_of_dates(sqlite_database):
    for number in range(1, 6):
        archive.store(sqlite_database, received(number, series=number, study=number))
    with sqlite_database.read() as session:
        page, first = planned(session, study_date=Range("20300102", "20300102"))
        _, second = planned(session, page.after, study_date=Range("20300102", "20300102"))
        _, patients = planned(session, patient_id=Single("P1"), study_date=Range("20300101", ""))
    for plan in (first, second):
        inner, _, _ = plan.partition("SCAN page")
        assert "USING COVERING INDEX ix_study_date (study_date>? AND study_date<?)" in inner
        assert "TEMP B-TREE" not in inner  # the index gives the order too
        assert "SCAN study" not in plan
    # A patient has few studies: that is the better way in.
    assert "ix_study_date" not in patients


ID, NAME = Single("P1"), matching.name("doe^n*", "")
DAY = Range("20300102", "20300102")
BY_STUDY_UID = {"study_instance_uid": Single(study_uid(1))}


@pytest.mark.parametrize(
    ("level", "keys", "index"),
    [
        (Level.STUDY, {"patient_id": ID}, "ix_study_patient_id (patient_id=?)"),
        (Level.STUDY, {"patient_name": NAME}, "ix_study_name_key (name_key>? AND name_key<?)"),
        (Level.STUDY, {"patient_name": matching.name("山田*", "")}, "ix_study_name_groups"),
        (Level.STUDY, {"accession_number": ID}, "ix_study_accession_number"),
        (Level.STUDY, BY_STUDY_UID, "(study_instance_uid=?)"),
        (Level.STUDY, {"study_date": DAY, "modality": ID}, "ix_study_date (study_date>?"),
        (Level.STUDY, {"series_instance_uid": ID}, "ix_series_series_instance_uid"),
        (Level.STUDY, {"sop_instance_uid": ID}, "(sop_instance_uid=?"),
        (Level.PATIENT, {"patient_id": ID}, "ix_study_patient_id (patient_id=? AND patient_id_is"),
        (Level.PATIENT, {"patient_name": NAME}, "ix_study_name_key (name_key>? AND name_key<?)"),
        (Level.PATIENT, {"study_date": DAY}, "ix_study_date"),
        (Level.SERIES, BY_STUDY_UID, "(study_instance_uid=?)"),
        (Level.SERIES, {"study_date": DAY, "modality": ID}, "ix_study_date"),
        (Level.SERIES, {"patient_id": ID}, "ix_study_patient_id"),
        (Level.SERIES, {"series_instance_uid": ID}, "ix_series_series_instance_uid"),
        (Level.IMAGE, {**BY_STUDY_UID, "series_instance_uid": ID}, "ix_instance_series"),
        (Level.IMAGE, {"sop_instance_uid": ID}, "(sop_instance_uid=?"),
    ],
)
def test_every_kind_of_query_reads_an_index(sqlite_database, level, keys, index):
    with sqlite_database.read() as session:
        _, plan = planned(session, level=level, **keys)
    assert index in plan
    walked = [
        line for line in plan.splitlines() if re.match(r"SCAN (study|series|instance)\b", line)
    ]
    assert not walked, plan


def test_patients_are_walked_from_one_to_the_next(sqlite_database):
    with sqlite_database.read() as session:
        _, plan = planned(session, level=Level.PATIENT)
    # Each step: the next issuer of an identifier, else the next identifier; then the newest
    # study that the patient has.
    for step in (
        "next USING COVERING INDEX ix_study_patient_id (patient_id=? AND patient_id_issuer>?)",
        "next USING COVERING INDEX ix_study_patient_id (patient_id>?)",
        "of_patient USING COVERING INDEX ix_study_patient_id (patient_id=? AND patient_id_is",
    ):
        assert step in plan
    assert "TEMP B-TREE FOR GROUP" not in plan


def test_a_walk_goes_on_where_no_patient_of_a_page_matches(database, monkeypatch):
    monkeypatch.setattr(finding, "PAGE_ROWS", 2)
    for number in range(1, 8):
        sex = "F" if number == 6 else "M"
        one = received(number, series=number, study=number, PatientSex=sex)
        archive.store(database, one)
    query = Query(Level.PATIENT, ("patient_id",), {"sex": Single("F")})
    assert [row[0] for page in pages(database, query) for row in page] == ["P6"]


def test_a_patient_who_is_known_has_other_identifiers(database):
    archive.store(database, received(1, series=1, study=1))
    archive.store(database, received(2, series=2, study=2))
    known = Patient(
        patient_id="P1", other_ids=[["X7", "LAB", "PI"]], created_at=NOW, updated_at=NOW
    )

    def know(session):
        session.add(known)
        session.flush()
        session.connection().execute(
            update(Study).where(Study.patient_id == "P1").values(patient=known.id)
        )

    database.write(know)
    with database.read() as session:
        rows = find(session, Query(Level.PATIENT, ("patient_id", "other_ids"))).rows
    assert [(row[0], json.loads(row[1])) for row in rows] == [
        ("P1", [["X7", "LAB", "PI"]]),
        ("P2", []),
    ]

"""Studies find the orders that asked for them, whichever comes first."""

import pytest
from sqlalchemy import select, update

from mwl import archive
from mwl.archive import linking
from mwl.archive.known import known_of
from mwl.db.tables import ImagingOrder, Patient, Study
from mwl.errors import Rejected
from mwl.studies import MatchedBy, Person
from tests.archive_rows import NOW, received, study_uid
from tests.worklist_rows import insert_items, item


def insert(database, *items):
    database.write(lambda session: insert_items(session, items))


def links(database):
    table = Study.__table__
    with database.read() as session:
        found = session.connection().execute(select(table).order_by(table.c.id)).all()
    return [(row.requested_procedure, row.matched_by) for row in found]


def change(database, table, **values):
    database.write(lambda s: s.connection().execute(update(table.__table__).values(**values)))


# Order 1 is patient P1's, with accession ACC1, and so on; study 1 is its study.
STRANGE = {"study_instance_uid": "1.9.9"}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, (1, "accession")),
        ({"IssuerOfPatientID": "HOSP"}, (1, "accession")),
        ({"IssuerOfPatientID": "ELSEWHERE"}, (None, "")),
        ({"AccessionNumber": ""}, (1, "study")),
        ({"AccessionNumber": "", **STRANGE}, (None, "")),
        (STRANGE, (1, "accession")),
        ({"PatientID": "P2", **STRANGE}, (None, "")),
        ({"PatientID": "NONE", "AccessionNumber": ""}, (None, "")),
        # Without an identifier, the name and the birth date say who it is.
        ({"PatientID": "", **STRANGE}, (1, "accession")),
        ({"PatientID": "", "PatientBirthDate": "", **STRANGE}, (None, "")),
        ({"PatientID": "", "PatientBirthDate": ""}, (1, "study")),
        (
            {
                **STRANGE,
                "AccessionNumber": "",
                "RequestAttributes": [{"AccessionNumber": "ACC1", "RequestedProcedureID": "RP1"}],
            },
            (1, "request"),
        ),
        (
            {
                **STRANGE,
                "AccessionNumber": "",
                "RequestAttributes": [
                    {"ScheduledProcedureStepID": "SPS1", "StudyInstanceUID": study_uid(1)}
                ],
            },
            (1, "request"),
        ),
        (
            {**STRANGE, "RequestAttributes": [{"AccessionNumber": "ACC2"}]},
            (None, ""),  # ACC2 is another patient's
        ),
    ],
)
def test_a_study_finds_its_order_when_its_first_image_comes(database, given, expected):
    insert(database, item(1), item(2))
    archive.store(database, received(1, PatientName="Doe^Number1", **given))
    assert links(database) == [expected]


def test_an_order_that_comes_later_is_found_by_the_sweep(database):
    archive.store(database, received(1))
    archive.store(database, received(2, study=2, series=2, AccessionNumber=""))
    archive.store(database, received(3, study=3, series=3, PatientID="P9"))
    requested = [{"AccessionNumber": "ACC4"}]
    archive.store(
        database,
        received(4, study=4, series=4, AccessionNumber="", RequestAttributes=requested),
    )
    assert archive.link_unmatched(database, NOW) == 0
    insert(database, item(1), item(2), item(3), item(4))
    assert archive.link_unmatched(database, NOW) == 3
    assert links(database) == [(1, "accession"), (2, "study"), (None, ""), (4, "request")]
    assert archive.link_unmatched(database, NOW) == 0


def test_a_series_that_names_its_request_links_a_study_that_had_none(database):
    insert(database, item(1))
    archive.store(database, received(1, AccessionNumber="", **STRANGE))
    assert links(database) == [(None, "")]
    requested = [{"AccessionNumber": "ACC1"}]
    archive.store(
        database,
        received(2, series=2, AccessionNumber="", RequestAttributes=requested, **STRANGE),
    )
    assert links(database) == [(1, "request")]


def test_a_link_stays_whatever_comes_later(database):
    insert(database, item(1), item(2, order={"source": "B"}))
    change(database, ImagingOrder, patient=1)
    archive.store(database, received(1))
    requested = [{"AccessionNumber": "ACC2"}]
    archive.store(database, received(2, series=2, RequestAttributes=requested))
    assert archive.link_unmatched(database, NOW) == 0
    assert links(database) == [(1, "accession")]


def test_images_with_a_merged_identifier_belong_to_the_survivor(database):
    insert(database, item(1), item(2), item(3))
    # P1 became P2, and P2 became P3, who has all the orders now.
    for loser, survivor in ((1, 2), (2, 3)):
        database.write(
            lambda s, a=loser, b=survivor: s.connection().execute(
                update(Patient.__table__).where(Patient.__table__.c.id == a).values(merged_into=b)
            )
        )
    change(database, ImagingOrder, patient=3)
    archive.store(database, received(1, **STRANGE))
    assert links(database) == [(1, "accession")]


def test_merges_that_form_a_loop_end_somewhere(database):
    insert(database, item(1), item(2))
    change(database, Patient, merged_into=1)
    archive.store(database, received(1, **STRANGE))
    assert links(database) == [(1, "accession")]


def test_another_identifier_of_the_same_patient_will_do(database):
    insert(database, item(1, patient={"other_ids": [["X7", "OTHER", "MR"], ["Y7", "", ""]]}))
    archive.store(database, received(1, PatientID="X7", IssuerOfPatientID="HOSP", **STRANGE))
    archive.store(
        database,
        received(2, series=2, PatientID="Y7", study_instance_uid="1.9.8"),
    )
    assert links(database) == [(None, ""), (1, "accession")]


def test_an_accession_number_that_two_orders_share_links_neither(database):
    same = {"accession_number": "SAME"}
    insert(database, item(1, procedure=same), item(2, procedure=same))
    change(database, ImagingOrder, patient=1)
    archive.store(database, received(1, AccessionNumber="SAME", **STRANGE))
    archive.store(database, received(2, series=2, study=2, PatientID="P1", AccessionNumber="SAME"))
    # The second has the Study Instance UID that was planned for one of them.
    assert links(database) == [(None, ""), (2, "accession")]


def test_what_a_person_is_to_look_at_is_left_to_them(database):
    archive.store(database, received(1))
    change(database, Study, matched_by=MatchedBy.WRONG_ENTRY)
    insert(database, item(1))
    assert archive.link_unmatched(database, NOW) == 0
    requested = [{"AccessionNumber": "ACC1"}]
    archive.store(database, received(2, series=2, RequestAttributes=requested))
    assert links(database) == [(None, MatchedBy.WRONG_ENTRY)]
    database.write(lambda session: archive.link(session, study_uid(1), accession="ACC1"))
    assert links(database) == [(1, "hand")]


def test_a_run_is_bounded_and_all_have_their_turn(sqlite_database, monkeypatch):
    monkeypatch.setattr(linking, "_NEXT", 3)
    monkeypatch.setattr(
        linking,
        "_NEXT_UNMATCHED",
        linking.Prepared(
            linking._UNMATCHED.where(linking._STUDY.c.id > linking.bindparam("after"))
            .order_by(linking._STUDY.c.id)
            .limit(3)
        ),
    )
    newest = linking.Prepared(linking._UNMATCHED.order_by(linking._STUDY.c.id.desc()).limit(1))
    monkeypatch.setattr(linking, "_NEWEST_UNMATCHED", newest)
    for number in range(1, 9):
        archive.store(sqlite_database, received(number, study=number, series=number))
    asked = []

    def find(_, evidence):
        asked.append(evidence.study_instance_uid)
        return linking.Found()

    monkeypatch.setattr(linking, "find", find)
    for _ in range(3):
        archive.link_unmatched(sqlite_database, NOW)
    assert len(asked) == 4 + 4 + 2
    assert set(asked) == {study_uid(n) for n in range(1, 9)}
    assert known_of(sqlite_database).swept_to == 0


def test_the_look_ups_walk_no_table(sqlite_database):
    """Each is an index's; a walk would grow with the archive or with the worklist."""
    statements = []

    def note(statement):
        statements.append(statement)

    with sqlite_database.read() as session:
        conn = session.connection()
        driver = conn.connection.driver_connection
        driver.set_trace_callback(note)
        evidence = linking.Evidence(
            "1.2",
            "A1",
            Person("P1", "", "Doe", ""),
            ({"AccessionNumber": "A2", "RequestedProcedureID": "R1"},),
        )
        linking.find(conn, evidence)
        linking._NEWEST_UNMATCHED.all(conn, {})
        linking._NEXT_UNMATCHED.all(conn, {"after": 0})
        driver.set_trace_callback(None)
        plans = [
            (statement, row[3])
            for statement in statements
            if statement.lstrip().startswith("SELECT")
            for row in driver.execute(f"EXPLAIN QUERY PLAN {statement}").fetchall()
        ]
    assert plans
    walks = [plan for plan in plans if plan[1].startswith("SCAN") and "INDEX" not in plan[1]]
    assert walks == []


def test_a_study_is_linked_by_hand_whoever_it_was_linked_to(database):
    insert(database, item(1), item(2, order={"status": "CANCELED"}))
    archive.store(database, received(1))
    linked = database.write(lambda session: archive.link(session, study_uid(1), order=2))
    assert (linked.imaging_order, linked.accession_number) == (2, "ACC2")
    assert linked.flags == [
        "the images name another patient than the order",
        "the order is CANCELED",
        "it was linked to another procedure before",
    ]
    assert links(database) == [(2, "hand")]


def test_what_cannot_be_linked_by_hand_is_named(database):
    archive.store(database, received(1))
    for given in ({"accession": "NONE"}, {"order": 77}, {}):
        with pytest.raises(Rejected):
            database.write(
                lambda session, given=given: archive.link(session, study_uid(1), **given)
            )
    with pytest.raises(Rejected, match="no such study"):
        database.write(lambda session: archive.link(session, "1.2", order=1))

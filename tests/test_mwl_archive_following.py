"""Studies follow their patient and their order, and come back when there is nothing to follow."""

import re
import threading
from contextlib import suppress

import pytest
from sqlalchemy import select, update

from mwl import archive, worklist
from mwl.archive import following, query
from mwl.db.tables import Patient, RequestedProcedure, Study
from mwl.errors import Rejected
from mwl.names import words_key
from mwl.orders import Action
from mwl.patients import Identifier, PatientChange, PatientMerge, PatientUpdate
from mwl.studies import Identity, Outcome, Person
from tests.archive_rows import NOW, received, study_uid
from tests.test_mwl_worklist_apply import ZONE, apply, order, patient, procedure, step
from tests.worklist_rows import insert_items, item

OLD, NEW = "Doe^Number1", "Roe^Number1"


def insert(database, *items):
    database.write(lambda session: insert_items(session, items))


def tell(database, number="P1", issuer="HOSP", **fields):
    """Hear of a patient as by an ADT^A08."""
    change = PatientUpdate("ADT", PatientChange(Identifier(number, issuer), fields=fields))
    return database.write(lambda session: worklist.update_patient(session, change, now=NOW))


def merge(database, loser, survivor, **fields):
    """Hear of a merge as by an ADT^A40, or of a new number as by an ADT^A47."""
    change = PatientMerge(
        "ADT", PatientChange(Identifier(survivor, "HOSP"), fields=fields), Identifier(loser, "HOSP")
    )
    return database.write(lambda session: worklist.merge_patients(session, change, now=NOW))


def studies(database):
    table = Study.__table__
    with database.read() as session:
        return session.connection().execute(select(table).order_by(table.c.id)).all()


def study(database):
    (row,) = studies(database)
    return row


def identity(row):
    return Identity(*(getattr(row, name) for name in following.COLUMNS))


def store(database, number=1, **given):
    return archive.store(database, received(number, **given)).outcome


def test_a_linked_study_takes_the_name_of_its_patient_and_gives_it_back(database):
    insert(database, item(1))
    store(database)
    assert (study(database).coerced, study(database).as_received) == (False, {})
    tell(database, patient_name=NEW, sex="O")
    row = study(database)
    assert identity(row) == (NEW, "P1", "", "19800229", "O", "ACC1")
    assert (row.name_key, row.coerced) == (NEW.lower(), True)
    assert row.name_words == words_key(NEW)
    assert row.as_received == {"patient_name": OLD, "sex": "F"}
    tell(database, patient_name=OLD, sex="F")
    row = study(database)
    assert identity(row) == (OLD, "P1", "", "19800229", "F", "ACC1")
    assert (row.coerced, row.as_received) == (False, {})


def test_a_patient_renamed_before_the_images_came_is_named_as_now(database):
    insert(database, item(1, patient={"patient_name": NEW}))
    store(database)
    assert (study(database).patient_name, study(database).coerced) == (NEW, True)


def test_what_the_record_leaves_empty_stays_as_the_images_say(database):
    insert(database, item(1))
    store(database, IssuerOfPatientID="HOSP")
    tell(database, patient_name="", birth_date="", sex="")
    row = study(database)
    assert identity(row) == (OLD, "P1", "HOSP", "19800229", "F", "ACC1")
    assert not row.coerced


def test_what_images_lack_the_record_adds_but_for_an_issuer_alone(database):
    insert(database, item(1))
    store(database, PatientBirthDate="", PatientSex="")
    row = study(database)
    assert identity(row) == (OLD, "P1", "", "19800229", "F", "ACC1")
    assert row.as_received == {"birth_date": "", "sex": ""}


def test_case_and_empty_components_are_no_other_name(database):
    insert(database, item(1, patient={"patient_name": "DOE^NUMBER1^^^"}))
    store(database)
    assert (study(database).patient_name, study(database).coerced) == (OLD, False)


def test_a_merge_takes_the_studies_along(database):
    insert(database, item(1), item(2))
    store(database)
    merge(database, "P1", "P2", patient_name="Doe^Number2")
    row = study(database)
    assert identity(row) == ("Doe^Number2", "P2", "HOSP", "19800229", "F", "ACC1")
    assert row.patient == 2
    tell(database, "P2", patient_name="Poe^Number2")
    assert study(database).patient_name == "Poe^Number2"
    # Late images come as whoever their scanner takes the patient for.
    assert store(database, 2) is Outcome.STORED
    assert store(database, 3, PatientID="P2", PatientName="Poe^Number2") is Outcome.STORED
    assert store(database, 4, PatientID="P3") is Outcome.QUARANTINED
    assert len(studies(database)) == 1


def test_a_patient_under_a_new_number_is_still_the_same(database):
    insert(database, item(1, patient={"mother_name": "Doe^Ada"}))
    store(database)
    merge(database, "P1", "P9")  # ADT^A47: the new number is all that it says
    row = study(database)
    assert identity(row) == (OLD, "P9", "HOSP", "19800229", "F", "ACC1")
    assert row.as_received == {"patient_id": "P1", "patient_id_issuer": ""}
    with database.read() as session:
        found = session.connection().execute(select(Patient.__table__)).all()
    assert [each.mother_name for each in found if each.patient_id == "P9"] == ["Doe^Ada"]


def test_a_merge_that_becomes_known_later_leads_there_too(database):
    insert(database, item(1), item(2))
    merge(database, "P1", "P2")
    store(database)
    assert (study(database).patient_id, study(database).patient) == ("P2", 2)


def test_an_accession_number_that_an_order_changes_reaches_its_studies(database):
    apply(database, order(procedures=[procedure(uid=study_uid(1))]))
    store(database, PatientName="Doe^Jane", PatientBirthDate="19800101", AccessionNumber="")
    assert study(database).accession_number == "A1"
    changed = [procedure(uid=study_uid(1), accession_number="A2")]
    apply(database, order(Action.UPDATE, 1, procedures=changed))
    assert study(database).accession_number == "A2"
    assert study(database).as_received == {"accession_number": ""}


def test_demographics_in_an_order_reach_the_studies(database):
    apply(database, order(procedures=[procedure(uid=study_uid(1))]))
    store(database, PatientName="Doe^Jane", PatientBirthDate="19800101")
    again = [procedure("RP2", step("S2"), uid="1.2.4")]
    apply(database, order(number="F2", patient=patient(name="Roe^Jane"), procedures=again))
    assert study(database).patient_name == "Roe^Jane"


def test_a_study_without_an_order_follows_the_patient_it_must_be_of(database):
    insert(database, item(1))
    given = {"study": 7, "AccessionNumber": "NONE", "PatientID": "P1"}
    store(database, PatientName=OLD, **given)
    assert (study(database).patient, study(database).requested_procedure) == (1, None)
    tell(database, patient_name=NEW)
    assert (study(database).patient_name, study(database).coerced) == (NEW, True)


@pytest.mark.parametrize(
    "given",
    [
        {"PatientID": "P2"},
        {"IssuerOfPatientID": "ELSEWHERE"},
        {"PatientName": "Who^Ever", "PatientBirthDate": "19010101"},
        {"PatientName": "Who^Ever", "PatientBirthDate": ""},  # the number alone
        {"PatientID": ""},
        {"RequestAttributes": [{"AccessionNumber": "ACC2"}]},  # another patient's order
    ],
)
def test_a_study_in_doubt_is_as_its_images_say(database, given):
    insert(database, item(1), item(2))
    values = {"PatientID": "P1", "PatientName": OLD, "AccessionNumber": "NONE", **given}
    store(database, study=7, **values)
    before = identity(study(database))
    tell(database, patient_name=NEW)
    tell(database, "P2", patient_name="Zoe^Number2")
    assert (study(database).patient, study(database).coerced) == (None, False)
    assert identity(study(database)) == before


def test_a_number_that_two_issuers_gave_is_in_doubt(database):
    insert(database, item(1), item(2, patient={"patient_id": "P1", "issuer_key": "OTHER"}))
    store(database, study=7, AccessionNumber="NONE", PatientID="P1", PatientName=OLD)
    assert study(database).patient is None


def test_the_sweep_finds_whose_a_study_is_once_the_patient_is_known(database):
    store(database)
    tell(database, patient_name=OLD)
    assert study(database).patient is None
    archive.link_unmatched(database, NOW)
    assert study(database).patient is not None
    tell(database, patient_name=NEW)
    assert study(database).patient_name == NEW
    # The order comes last, and is found by what the images say.
    insert(database, item(5, patient={"patient_id": "X"}))
    values = {"study_instance_uid": study_uid(1)}
    database.write(lambda s: s.connection().execute(update(RequestedProcedure).values(**values)))
    assert archive.link_unmatched(database, NOW) == 0  # another patient's


def test_what_a_person_links_is_the_orders_patients_until_it_is_unlinked(database):
    insert(database, item(1), item(2))
    store(database)
    database.write(lambda session: archive.link(session, study_uid(1), order=2))
    row = study(database)
    assert identity(row) == ("Doe^Number2", "P2", "HOSP", "19800229", "F", "ACC2")
    assert store(database, 2, PatientID="P2", PatientName="Doe^Number2") is Outcome.STORED
    assert store(database, 3) is Outcome.STORED
    tell(database, patient_name=NEW)  # of whom it was
    assert study(database).patient_name == "Doe^Number2"
    assert database.write(lambda session: archive.unlink(session, study_uid(1))) == 2
    row = study(database)
    assert identity(row) == (OLD, "P1", "", "19800229", "F", "ACC1")
    assert (row.patient, row.coerced, row.matched_by) == (None, False, "hand")
    assert store(database, 4, PatientID="P2", PatientName="Doe^Number2") is Outcome.QUARANTINED
    archive.link_unmatched(database, NOW)
    assert study(database).requested_procedure is None  # a person has spoken
    with pytest.raises(Rejected, match="no order"):
        database.write(lambda session: archive.unlink(session, study_uid(1)))


def test_late_images_under_the_old_name_make_the_study_go_out_under_the_new(database):
    insert(database, item(1, patient={"patient_name": NEW}))
    store(database, 1, PatientName=NEW)
    assert not study(database).coerced
    assert store(database, 2, PatientName=OLD) is Outcome.STORED
    row = study(database)
    assert (row.patient_name, row.coerced) == (NEW, True)
    database.write(lambda session: archive.unlink(session, study_uid(1)))
    assert not study(database).coerced


def test_who_a_study_was_never_known_as_is_noted_on_the_way_out_too(database, capsys):
    insert(database, item(1))
    store(database)
    tell(database, patient_name=NEW)
    assert store(database, 2, PatientName="") is Outcome.STORED
    assert following.aliases(outgoing(database)) is None
    capsys.readouterr()
    for number in (3, 4):
        assert store(database, number, PatientName="Poe^Edgar") is Outcome.STORED
        told = capsys.readouterr().out
        assert (told.count("archive.contradicts"), "Poe" in told) == (1, False)
    assert following.differs(study(database))
    known = following.aliases(outgoing(database))
    assert known.are_of(Person("P1", "", NEW, "19800229"))
    assert known.are_of(Person("", "", OLD.upper(), ""))
    assert not known.are_of(Person("P1", "", "Poe^Edgar", "19800229"))
    tell(database, patient_name="Poe^Edgar")
    assert following.aliases(outgoing(database)).are_of(Person("P1", "", "Poe^Edgar"))


def test_what_is_not_known_of_a_patient_nobody_contradicts(database):
    insert(database, item(1, patient={"birth_date": ""}))
    store(database, PatientBirthDate="")
    tell(database, patient_name=NEW)
    assert store(database, 2, PatientName=NEW) is Outcome.STORED
    assert not following.differs(study(database))


def test_what_the_record_knows_better_than_the_first_image_may_be_contradicted(database):
    insert(database, item(1))
    store(database, PatientBirthDate="")
    assert store(database, 2, series=2, PatientBirthDate="19010101") is Outcome.STORED
    assert following.differs(study(database))
    known = following.aliases(outgoing(database))
    assert not known.are_of(Person("P1", "", OLD, "19010101"))


def test_nameless_images_of_another_name_are_not_named_after_who_came_later(database):
    insert(database, item(1))
    nobody = {"PatientID": "", "PatientName": "Poe^Edgar", "AccessionNumber": ""}
    store(database, study=7, **nobody)
    given = {"study": 7, "PatientID": "P1", "PatientName": OLD, "AccessionNumber": ""}
    assert store(database, 2, **given) is Outcome.STORED
    assert following.differs(study(database))
    assert study(database).patient_name == OLD
    assert store(database, 3, **{**given, **nobody}) is Outcome.QUARANTINED


def outgoing(database):
    with database.read() as session:
        return query.objects(session, {})[0].identity


def test_former_names_are_remembered_once_and_not_for_ever(database):
    insert(database, item(1))
    for name in ("A", "B", "b^", "A", "B"):
        tell(database, patient_name=name)
    with database.read() as session:
        (names,) = session.connection().execute(select(Patient.__table__.c.former_names)).one()
    assert names == [OLD.casefold(), "b", "a"]
    for number in range(40):
        tell(database, patient_name=f"N{number}")
    with database.read() as session:
        (names,) = session.connection().execute(select(Patient.__table__.c.former_names)).one()
    assert names == [f"n{number}" for number in range(23, 39)]


def test_a_nameless_study_of_an_order_is_named_by_its_images_without_contradiction(database):
    insert(database, item(1), item(2))
    store(database, 1, PatientID="", PatientName="", PatientBirthDate="")
    assert (study(database).patient_id, study(database).coerced) == ("P1", True)
    assert store(database, 2, PatientID="P2", PatientName="Doe^Number2") is Outcome.QUARANTINED
    assert store(database, 3) is Outcome.STORED
    assert (study(database).as_received, study(database).coerced) == ({}, False)


def test_an_order_that_changes_no_demographics_asks_nothing_of_studies(sqlite_database):
    database, asked = sqlite_database, []

    def traced(change):
        def work(session):
            driver = session.connection().connection.driver_connection
            driver.set_trace_callback(asked.append)
            worklist.apply(session, change, now=NOW, zone=ZONE)
            driver.set_trace_callback(None)

        asked.clear()
        database.write(work)
        return [each for each in asked if re.search(r"\bstudy\b", each)]

    apply(database, order(procedures=[procedure(uid=study_uid(1))]))
    store(database, PatientName="Doe^Jane", PatientBirthDate="19800101")
    another = [procedure("RP2", step("S2"), uid="1.2.4")]
    assert traced(order(number="F2", procedures=another)) == []
    assert traced(order(Action.UPDATE, 1, procedures=[procedure(uid=study_uid(1))])) == []
    renamed = {"patient": patient(name="Roe^Jane"), "procedures": [procedure(uid=study_uid(1))]}
    assert len(traced(order(Action.UPDATE, 2, **renamed))) == 3  # read, accession, written
    assert study(database).patient_name == "Roe^Jane"


def test_a_study_and_a_change_of_its_patient_at_once_never_miss_each_other(database):
    """Images of one patient come while the patient is renamed over and over."""
    insert(database, *(item(n, patient={"patient_id": f"P{n}"}) for n in range(1, 9)))

    def rename():
        for turn in range(6):
            for n in range(1, 9):
                tell(database, f"P{n}", patient_name=f"Turn{turn}^Number{n}")

    def come():
        for n in range(1, 9):
            store(database, n, study=n, series=n)

    threads = [threading.Thread(target=work) for work in (rename, come)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    names = {(row.patient_id, row.patient_name) for row in studies(database)}
    assert names == {(f"P{n}", f"Turn5^Number{n}") for n in range(1, 9)}


def test_whatever_happens_at_once_each_study_ends_as_its_order_says(database):
    """Images come, patients are renamed and merged, and people link and unlink."""
    people = range(1, 7)
    insert(database, *(item(n) for n in people))

    def rename():
        for turn in range(4):
            for n in people:
                with suppress(Rejected):  # once it is merged away
                    tell(database, f"P{n}", patient_name=f"Turn{turn}^Number{n}")

    def unite():
        for n in (1, 3, 5):
            merge(database, f"P{n}", f"P{n + 1}")

    def come():
        for n in people:
            store(database, n, study=n, series=n)

    def think_again():
        for n in (2, 4, 6, 1):
            with suppress(Rejected):  # it has not come yet
                database.write(lambda s, n=n: archive.link(s, study_uid(n), order=7 - n))
            with suppress(Rejected):
                database.write(lambda s, n=n: archive.unlink(s, study_uid(n % 6 + 1)))

    threads = [threading.Thread(target=work) for work in (rename, unite, come, think_again)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    before = studies(database)
    assert len(before) == 6
    for row in before:
        database.write(lambda s, row=row: following.follow(s.connection(), row.id))
    assert studies(database) == before


def test_the_statements_find_their_rows_by_indexes(sqlite_database):
    insert(sqlite_database, item(1), item(2))
    store(sqlite_database)
    plans = []
    with sqlite_database.read() as session:
        driver = session.connection().connection.driver_connection
        for statement in (
            *("_BY_ROW", "_OF_PATIENT", "_OF_PROCEDURE", "_ACCESSION", "_SUBJECT", "_MOVE"),
            *("_PATIENT_ROW", "_CLAIM"),
        ):
            prepared = getattr(following, statement)._statement
            text = str(prepared.compile(dialect=session.connection().dialect))
            values = [None] * text.count("?")
            plans += driver.execute(f"EXPLAIN QUERY PLAN {text}", values).fetchall()
    assert plans
    assert [plan[3] for plan in plans if plan[3].startswith("SCAN")] == []

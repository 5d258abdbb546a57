"""Images of the wrong worklist entry are set aside, one by one; nobody else's are."""

import pytest
from sqlmodel import select

from mwl import archive, procedures
from mwl.archive.query import Level, Query, find, objects
from mwl.db.tables import PerformedStep, Study
from mwl.performed import PerformedState
from mwl.procedures.wrong import FLAG, UNLISTED
from mwl.studies import WRONG_ENTRY_REASON, Outcome
from tests import archive_rows
from tests.closing_rows import only, told
from tests.test_mwl_closing_journey import IMAGES, STUDY, UID
from tests.test_mwl_closing_journey import Site as Journey

WRONG = "110514^DCM^Incorrect worklist entry selected"
PROPER = "1.2.9.2"
OTHERS = [archive_rows.instance_uid(number) for number in (3, 4)]


class Site(Journey):
    """A scanner whose operator took the wrong entry, and then the right one."""

    def was_wrong(self, images, uid=UID):
        self.end(PerformedState.DISCONTINUED, uid=uid, images=images, reason=WRONG)

    def scan(self):
        """Scan the patient of the entry, as it should be, into the same study."""
        self.begin(uid=PROPER)
        self.image(3)
        self.image(4)
        self.end(uid=PROPER, images=OTHERS)

    def served(self):
        with self.database.read() as session:
            return [row.sop_instance_uid for row in objects(session, {})]

    def set_aside(self):
        found = archive.quarantined(self.database)
        return {each["sop_instance_uid"]: each["reason"] for each in found}

    def study(self):
        return only(self.database, Study)

    def flags(self, uid=UID):
        wanted = select(PerformedStep.flags).where(PerformedStep.sop_instance_uid == uid)
        with self.database.read() as session:
            return session.exec(wanted).one()


@pytest.fixture
def site(database):
    site = Site(database)
    site.message()
    site.begin()
    return site


def test_a_wrong_entry_without_images_leaves_the_proper_scan_alone(site):
    site.was_wrong([])
    site.scan()
    for _ in range(3):
        site.clock()
    assert (site.status, site.set_aside()) == ("CLOSED", {})
    assert site.study().requested_procedure is not None
    assert told(site.database) == ["IP", "IP", "CM", "CLOSED"]


def test_a_wrong_entry_after_the_proper_scan_leaves_it_alone(site):
    site.begin(uid=PROPER)
    site.was_wrong([])
    site.image(3)
    site.clock()
    site.end(uid=PROPER, images=OTHERS[:1])
    site.clock()
    assert (site.status, site.served()) == ("CLOSED", OTHERS[:1])


def test_what_a_wrong_entry_lists_is_set_aside(site):
    site.image(1)
    site.was_wrong(IMAGES[:1])
    assert site.set_aside() == {IMAGES[0]: WRONG_ENTRY_REASON}
    assert site.served() == []
    left = site.study()
    assert (left.requested_procedure, left.matched_by) == (None, "wrong entry")


def test_a_study_that_a_wrong_entry_leaves_is_as_its_images_say(site):
    site.image(1)
    shown = site.study()
    assert (shown.patient_name, shown.coerced) == ("Doe^Jane", True)
    site.was_wrong(IMAGES[:1])
    left = site.study()
    assert (left.patient_name, left.patient, left.coerced) == ("Doe^Number1", None, False)
    # The proper scan into it is the order's again.
    site.scan()
    for _ in range(3):
        site.clock(later_min=1)
    assert (site.study().patient_name, site.study().coerced) == ("Doe^Jane", True)


def test_what_was_set_aside_is_not_found(site):
    site.image(1)
    found = [found_at(site, level) for level in Level]
    assert found == [[("1", "P1")], *[[("1", STUDY)]] * 3]
    site.image(2)
    assert found_at(site, Level.STUDY) == [("2", STUDY)]
    site.was_wrong(IMAGES[:1])
    assert [found_at(site, level) for level in Level] == found
    site.begin(uid=PROPER)
    site.was_wrong(IMAGES, uid=PROPER)
    assert [found_at(site, level) for level in Level] == [[], [], [], []]


def found_at(site, level):
    told = ("study_instances", "study_instance_uid")
    if level is Level.PATIENT:
        told = ("patient_instances", "patient_id")
    with site.database.read() as session:
        rows = find(session, Query(level, told)).rows
        return [tuple(row[:2]) for row in rows]


def test_what_comes_after_its_end_is_set_aside_too(site):
    site.was_wrong(IMAGES)
    site.image(1)
    site.image(2)
    site.clock()
    assert set(site.set_aside()) == set(IMAGES)
    assert site.served() == []


def test_the_same_entry_is_scanned_again_into_the_same_study(site):
    site.image(1)
    site.was_wrong(IMAGES)
    site.scan()
    site.image(2)
    for _ in range(3):
        site.clock(later_min=1)
    assert (site.status, site.served()) == ("CLOSED", OTHERS)
    assert set(site.set_aside()) == set(IMAGES)
    assert site.study().matched_by != "wrong entry"


def test_what_another_mpps_lists_too_is_not_set_aside(site):
    site.begin(uid=PROPER)
    site.image(1)
    site.image(2)
    site.end(uid=PROPER, images=IMAGES[:1])
    site.was_wrong(IMAGES)
    site.clock()
    assert (site.served(), set(site.set_aside())) == (IMAGES[:1], {IMAGES[1]})
    assert site.status == "CLOSED"
    assert site.study().requested_procedure is not None


def test_images_of_another_study_from_another_scanner_are_not_set_aside(site):
    other = archive_rows.received(9, series=9, study=9, source="CT9")
    archive.store(site.database, other)
    site.was_wrong([other.sop_instance_uid])
    site.clock()
    assert (site.served(), site.set_aside()) == ([other.sop_instance_uid], {})


def test_what_was_set_aside_stays_so_when_it_is_sent_again(site):
    site.image(1)
    site.was_wrong(IMAGES[:1])
    again = archive_rows.received(1, PatientID="P1", AccessionNumber="A1")
    assert archive.store(site.database, again).outcome is Outcome.REPEATED
    newer = archive_rows.received(1, PatientID="P1", AccessionNumber="A1", content="more")
    assert archive.store(site.database, newer).outcome is Outcome.QUARANTINED
    assert site.served() == []


def test_a_person_is_told_whether_images_were_listed(site):
    site.was_wrong([])
    assert UNLISTED in site.flags()
    site.begin(uid=PROPER)
    site.was_wrong(IMAGES, uid=PROPER)
    assert FLAG in site.flags(PROPER)


def test_nothing_is_written_where_nothing_is_to_change(site, monkeypatch):
    site.image(1)
    site.was_wrong(IMAGES[:1])
    site.clock()

    def refused(_work):
        raise AssertionError("a transaction that writes nothing")

    monkeypatch.setattr(site.database, "write", refused)
    procedures.link_unscheduled(site.database, site.now(), effects=procedures.Effects())

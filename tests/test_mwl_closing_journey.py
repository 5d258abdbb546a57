"""From order to CLOSED by the services themselves, in every order that things may come in."""

from dataclasses import replace
from datetime import timedelta
from itertools import permutations
from zoneinfo import ZoneInfo

import pytest

from mwl import archive, closing, procedures, worklist
from mwl.config import Close
from mwl.db.tables import ScheduledStep
from mwl.orders import Action, OrderChange, ProcedureChange, StepChange
from mwl.patients import Identifier, PatientChange
from mwl.performed import Created, Listed, Modified, PerformedState, Request
from tests import archive_rows
from tests.closing_rows import CT, TOLD, device, only, order, told
from tests.worklist_rows import NOW

ZONE = ZoneInfo("Europe/Berlin")
EFFECTS = closing.effects(Close(), TOLD)
STUDY, UID = archive_rows.study_uid(1), "1.2.9.1"
IMAGES = [archive_rows.instance_uid(number) for number in (1, 2)]


def minutes(number):
    return NOW + timedelta(minutes=number)


class Site:
    """One order, one scanner, two images, by the minute."""

    def __init__(self, database):
        self.database = database
        self.minute = 0

    def now(self):
        self.minute += 1
        return minutes(self.minute)

    def message(self, action=Action.CREATE, **stated):
        step = StepChange("SPS1", NOW, ("CT1",), {"modality": "CT"})
        change = OrderChange(
            source="RIS^HOSPITAL",
            action=action,
            number=Identifier("F1", "RIS"),
            patient=PatientChange(Identifier("P1"), fields={"patient_name": "Doe^Jane"}),
            procedures=[
                ProcedureChange(
                    "RP1", "RP1", STUDY, fields={"accession_number": "A1"}, steps=[step]
                )
            ],
            **stated,
        )
        now = self.now()
        return self.database.write(lambda s: worklist.apply(s, change, now=now, zone=ZONE))

    def begin(self, uid=UID):
        requests = (Request(STUDY, "SPS1", "A1"),)
        created = Created(uid, "CT1", "1.2.840.10008.1.2", b"", requests, patient_id="P1")
        now = self.now()
        self.database.write(lambda s: procedures.start(s, created, effects=EFFECTS, now=now))

    def end(self, state=PerformedState.COMPLETED, uid=UID, images=IMAGES, reason=None):
        listed = tuple(Listed(CT, each) for each in images)
        modified = Modified(
            uid, "CT1", "1.2.840.10008.1.2", b"", state, discontinuation=reason, listed=listed
        )
        now = self.now()
        self.database.write(lambda s: procedures.update(s, modified, effects=EFFECTS, now=now))

    def report(self):
        self.begin()
        self.end()

    def image(self, number):
        came = archive_rows.received(number, PatientID="P1", AccessionNumber="A1")
        archive.store(self.database, replace(came, received_at=self.now()))

    def clock(self, later_min=0):
        self.minute += later_min
        now = self.now()
        archive.link_unmatched(self.database, now)
        procedures.link_unscheduled(self.database, now, effects=EFFECTS)
        closing.sweep(self.database, Close(), now, TOLD)

    @property
    def status(self):
        return order(self.database).status


@pytest.fixture
def site(database):
    return Site(database)


ORDER, REPORT, FIRST, SECOND = "order", "report", "first image", "second image"


@pytest.mark.parametrize("came", list(permutations([ORDER, REPORT, FIRST, SECOND])), ids=", ".join)
def test_an_order_closes_whatever_came_first(site, came):
    """All twenty-four ways in which an order, its MPPS and its images may come."""
    parts = {
        ORDER: site.message,
        REPORT: site.report,
        FIRST: lambda: site.image(1),
        SECOND: lambda: site.image(2),
    }
    for part in came[:-1]:
        parts[part]()
    site.clock()
    if ORDER in came[:-1]:
        assert site.status != "CLOSED"
    parts[came[-1]]()
    site.clock()
    assert site.status == "CLOSED"
    assert order(site.database).closed_by == "archived"
    assert told(site.database) == ["IP", "CM", "CLOSED"]


def test_a_scan_goes_its_way_and_what_is_late_changes_nothing(site):
    site.message()
    site.begin()
    assert (site.status, told(site.database)) == ("IN_PROGRESS", ["IP"])
    site.image(1)
    site.image(2)
    site.end()
    assert (site.status, told(site.database)) == ("CLOSED", ["IP", "CM", "CLOSED"])
    closed_at = order(site.database).closed_at
    site.image(3)
    site.begin(uid="1.2.9.2")
    site.clock()
    site.end(uid="1.2.9.2", images=["1.2.9.9"])
    site.message()
    site.message(Action.UPDATE, at=minutes(90))
    site.message(Action.CANCEL, at=minutes(91))
    site.clock(later_min=100_000)
    assert (site.status, order(site.database).closed_at) == ("CLOSED", closed_at)
    assert only(site.database, ScheduledStep).state == "COMPLETED"
    assert told(site.database) == ["IP", "CM", "CLOSED"]


def test_a_second_mpps_that_is_given_up_does_not_keep_an_order_open(site):
    site.message()
    site.begin()
    site.begin(uid="1.2.9.2")
    site.end()
    site.image(1)
    site.image(2)
    site.clock()
    assert site.status == "IN_PROGRESS"
    site.end(PerformedState.DISCONTINUED, uid="1.2.9.2", images=[])
    site.clock()
    assert site.status == "CLOSED"


def test_a_scan_of_the_wrong_entry_closes_nothing(site):
    site.message()
    site.begin()
    site.image(1)
    site.end(PerformedState.DISCONTINUED, images=IMAGES[:1], reason="110514^DCM^Wrong")
    site.clock(later_min=100)
    assert site.status == "SCHEDULED"


def test_a_scanner_without_mpps_is_done_when_it_is_quiet(site):
    site.message()
    site.database.write(lambda s: device(s, "CT1", mpps=False, now=NOW))
    site.image(1)
    site.clock()
    site.clock(later_min=100)
    site.image(2)
    site.clock(later_min=100)
    assert site.status == "SCHEDULED"
    site.clock(later_min=30)
    assert order(site.database).closed_by == "quiet"
    assert told(site.database) == ["IP", "CM", "CLOSED"]
    # The MPPS that nobody expected is added.
    site.report()
    site.clock()
    assert (site.status, told(site.database)) == ("CLOSED", ["IP", "CM", "CLOSED"])


def test_an_expired_order_that_is_scanned_after_all_closes(site):
    site.message()
    site.clock(later_min=31 * 24 * 60)
    assert site.status == "EXPIRED"
    site.report()
    site.image(1)
    site.image(2)
    site.clock()
    assert (site.status, told(site.database)) == ("CLOSED", ["IP", "CM", "CLOSED"])
    assert not only(site.database, ScheduledStep).expired

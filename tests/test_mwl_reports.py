"""Reports that came: linked with their orders, in their versions, never lost."""

import base64
from datetime import UTC, datetime, timedelta

import pytest

from hl7 import profile
from hl7.inbound import Inbound
from hl7.profiles import Profiles
from mwl import reports
from mwl.db.tables import ImagingOrder, Patient, ScheduledStep
from mwl.errors import Reason, Rejected
from mwl.outbox import Destination, Destinations
from mwl.reports import Wanted
from tests.builders import adt_a40, orm, oru
from tests.feeding import DELIVERY, MESSAGE, Feed
from tests.hl7_mapping import BERLIN, document

NOW = datetime(2030, 1, 2, 12, tzinfo=UTC)
PATIENT = Patient.__table__  # type: ignore[attr-defined]
ORDER = ImagingOrder.__table__  # type: ignore[attr-defined]
STEP = ScheduledStep.__table__  # type: ignore[attr-defined]
OTHER = {"PID_3": "PID9^^^ADT1^MR", "PID_5": "Roe^Richard", "PID_7": "19700101"}


@pytest.fixture
def feed(database):
    return Feed(database, now=NOW)


def listed(database, **wanted):
    with database.read() as session:
        return reports.search(session, Wanted(**wanted))


def only(database):
    (row,) = listed(database)
    return row


def found(database, row=1):
    with database.read() as session:
        return reports.one(session, row)


def reports_of(database, order):
    with database.read() as session:
        return reports.of_order(session, order)


def last_state(feed):
    row = feed.rows(MESSAGE)[-1]
    return row.state, row.ack_code


def test_a_report_is_linked_with_its_order(database, feed):
    feed.send(orm())
    feed.send(oru())
    row = only(database)
    assert (row.imaging_order, row.patient, row.linked_by) == (1, 1, "filler order number")
    assert (row.status, row.title, row.flags) == ("FINAL", "CT head", [])
    assert last_state(feed) == ("applied", "AA")
    message = feed.rows(MESSAGE)[-1]
    assert (message.imaging_order, message.patient) == (1, 1)
    assert message.changes == {"report:1": "created"}
    assert found(database).message == message.id


@pytest.mark.parametrize(
    ("fields", "by"),
    [
        ({"OBR_3": None}, "placer order number"),
        ({"OBR_3": "F9", "OBR_2": "P9"}, "accession number"),
        ({"OBR_3": None, "OBR_2": None, "OBR_18": None, "ZDS_1": None}, "Study Instance UID"),
    ],
)
def test_each_way_leads_to_the_order(database, feed, fields, by):
    feed.send(orm())
    uid = "OBX|2|ST|113014^DICOM Study^DCM||1.2.826.0.1.3680043.8.498.1||||||F"
    feed.send(oru(after=uid, **fields))
    assert (only(database).imaging_order, only(database).linked_by) == (1, by)


def test_the_sender_of_a_report_may_be_another_than_the_orders(database, feed):
    feed.send(orm())
    feed.send(oru(MSH_3="DICTATION", MSH_4="RADIOLOGY"))
    assert only(database).imaging_order == 1


def test_of_two_orders_the_senders_own_is_meant(database, feed):
    feed.send(orm(MSH_3="OTHER", OBR_18="ACC2", ZDS_1="1.2.3"))
    feed.send(orm())
    feed.send(oru())
    assert only(database).imaging_order == 2


def test_an_order_of_another_patient_is_never_taken(database, feed):
    feed.send(orm())
    feed.send(oru(**OTHER))
    row = only(database)
    assert (row.imaging_order, row.patient) == (None, None)
    assert row.flags == ["it names an order of another patient, or several: not linked"]
    assert last_state(feed) == ("applied", "AA")


def test_a_report_of_nobody_who_is_known_is_kept_flagged_and_listed(database, feed):
    feed.send(oru(**OTHER))
    row = only(database)
    assert (row.patient_id, row.patient_name, row.patient) == ("PID9", "Roe^Richard", None)
    assert row.flags == ["a report of an order that is not known here"]
    assert [each.id for each in listed(database, unlinked=True)] == [row.id]
    assert last_state(feed) == ("applied", "AA")
    assert feed.rows(ORDER) == []


def test_the_message_of_such_a_report_is_found_by_what_it_names(database, feed):
    feed.send(oru(**OTHER, OBR_18="A9"))
    message = feed.rows(MESSAGE)[-1]
    assert (message.patient_id, message.accession_number) == ("PID9", "A9")


def test_a_linked_report_goes_with_its_order_to_another_patient(database, feed):
    feed.send(orm(PID_3="PID2^^^ADT1^MR"))
    feed.send(oru(PID_3="PID2^^^ADT1^MR"))
    feed.send(adt_a40())
    survivor = feed.rows(ORDER)[0].patient
    with database.read() as session:
        assert [row.id for row in reports.of_patient(session, [survivor])] == [1]
        others = [row.id for row in feed.rows(PATIENT) if row.id != survivor]
        assert list(reports.of_patient(session, others)) == []
    assert [row.id for row in listed(database, text="PID1")] == [1]


def test_a_report_of_a_known_patient_without_an_order_is_the_patients(database, feed):
    feed.send(orm())
    feed.send(oru(OBR_2="P9", OBR_3="F9", OBR_18="A9"))
    row = only(database)
    assert (row.imaging_order, row.patient) == (None, 1)


def test_a_report_under_a_merged_identifier_is_the_survivors(database, feed):
    feed.send(orm(PID_3="PID2^^^ADT1^MR"))
    feed.send(adt_a40())
    feed.send(oru(PID_3="PID2^^^ADT1^MR"))
    assert (only(database).imaging_order, only(database).flags) == (1, [])


def test_an_order_that_comes_later_gets_its_report(database, feed):
    feed.send(oru())
    feed.send(oru(**OTHER, OBR_3="F9", OBR_2=None, OBR_18=None))
    assert reports.link_late(database, Destinations(), NOW) == 0
    feed.send(orm())
    assert reports.link_late(database, Destinations(), NOW) == 1
    (first,) = listed(database, text="PID1")
    assert (first.imaging_order, first.linked_by) == (1, "filler order number")
    assert reports.link_late(database, Destinations(), NOW) == 0
    feed.send(orm(**OTHER, ORC_3="F9", OBR_3="F9", OBR_18="A9", ZDS_1="1.2.3"))
    assert reports.link_late(database, Destinations(), NOW + timedelta(days=31)) == 0
    assert reports.link_late(database, Destinations(), NOW) == 1


def test_a_later_version_supersedes_and_the_older_is_kept(database, feed):
    feed.send(orm())
    feed.send(oru(OBR_25="P", OBX_5="Perhaps bleeding."))
    feed.send(oru(OBX_5="No bleeding."))
    feed.send(oru(OBR_25="C", OBX_5="Bleeding!"))
    assert [row.id for row in listed(database)] == [3]
    kept = found(database, 1)
    assert [row.id for row in kept.versions] == [3, 2, 1]
    assert [row.superseded_by for row in kept.versions] == [None, 3, 2]
    assert [row.status for row in kept.versions] == ["CORRECTED", "FINAL", "PRELIMINARY"]
    assert kept.parts[0]["text"] == "Perhaps bleeding."
    assert len(reports_of(database, 1)) == 3


def test_another_code_or_patient_or_number_is_another_report(database, feed):
    feed.send(oru())
    feed.send(oru(OBR_4="MRHEAD^MR head"))
    feed.send(oru(OBR_3="FO2^RIS"))
    feed.send(oru(**OTHER))
    feed.send(oru(OBR_2=None, OBR_3=None))
    feed.send(oru(OBR_2=None, OBR_3=None))
    assert len(listed(database)) == 6


@pytest.mark.parametrize(
    "other",
    [{"PID_3": "PID1^^^OTHER^MR"}, {"PID_5": "Roe^Richard", "PID_7": "19700101"}, {"PID_3": None}],
)
def test_a_report_of_somebody_else_hides_none_of_the_orders_own(database, feed, other):
    feed.send(orm())
    feed.send(oru(OBX_5="hers"))
    feed.send(oru(OBX_5="another's", **(OTHER | {"PID_3": "PID1^^^ADT1^MR"} | other)))
    feed.send(oru(OBX_5="hers again", OBR_25="C"))
    assert [row.superseded_by for row in reports_of(database, 1)] == [3, None]
    assert [row.id for row in found(database, 1).versions] == [3, 1]
    assert [row.id for row in found(database, 2).versions] == [2]
    assert found(database, 2).row.superseded_by is None


def test_a_version_under_the_surviving_identifier_supersedes_that_of_the_merged_one(database, feed):
    feed.send(orm(PID_3="PID2^^^ADT1^MR"))
    feed.send(oru(PID_3="PID2^^^ADT1^MR"))
    feed.send(adt_a40())
    feed.send(oru(OBR_25="C"))
    assert [row.superseded_by for row in reports_of(database, 1)] == [2, None]
    assert [row.id for row in found(database, 2).versions] == [2, 1]


def test_a_version_that_names_less_stays_with_its_order(database, feed):
    feed.send(orm())
    feed.send(oru(OBR_3="R7", OBR_2=None))
    feed.send(oru(OBR_3="R7", OBR_2=None, OBR_18=None, OBR_25="C"))
    assert only(database).linked_by == "accession number"
    assert [row.superseded_by for row in reports_of(database, 1)] == [2, None]


def test_a_version_that_was_sent_before_is_kept_as_an_older_one(database, feed):
    feed.send(oru(MSH_7="20300101120000", OBX_5="newer"))
    feed.send(oru(MSH_7="20300101110000", OBX_5="older", OBR_25="P"))
    assert last_state(feed) == ("stale", "AA")
    assert only(database).id == 1
    older = found(database, 2)
    assert older.row.superseded_by == 1
    assert "older than the version of this report that is here" in older.row.flags


def test_a_preliminary_report_after_a_final_one_is_flagged(database, feed):
    feed.send(orm())
    feed.send(oru())
    feed.send(oru(OBR_25="P"))
    assert only(database).flags == ["a preliminary report after a final one"]


def test_the_same_message_again_is_no_second_report(database, feed):
    text = oru()
    feed.send(text)
    feed.send(text)
    assert len(listed(database)) == 1


def test_documents_are_kept_as_they_were_sent(database, feed):
    content = b"%PDF-1.4\n" + bytes(range(256)) * 400
    data = base64.b64encode(content).decode()
    feed.send(oru(OBX_2="ED", OBX_5=f"^AP^PDF^Base64^{data}"))
    with database.read() as session:
        kept = reports.document(session, 1, 1)
        (told,) = reports.documents(session, 1)
    assert (bytes(kept.content), kept.size, kept.kind) == (content, len(content), "pdf")
    assert "content" not in told
    assert told["text"] is None


def test_what_is_not_there_is_refused(database):
    with database.read() as session:
        for ask in (lambda: reports.one(session, 9), lambda: reports.document(session, 9, 1)):
            with pytest.raises(Rejected) as caught:
                ask()
            assert caught.value.faults[0].reason is Reason.UNKNOWN_KEY


def test_lists_are_searched_and_have_pages(database, feed):
    feed.send(orm())
    for number in range(1, 6):
        feed.send(oru(OBR_3=f"F{number}", OBR_2=None, OBR_25="FP"[number % 2]))
    feed.send(oru())
    with database.read() as session:
        first = reports.search(session, limit=2)
        last = first[-1]
        after = (last.received_at, last.id)
        rest = reports.search(session, after=after)
        assert [row.id for row in (*first, *rest)] == [6, 5, 4, 3, 2, 1]
        before = (rest[-1].received_at, rest[-1].id)
        back = reports.search(session, before=before, limit=2)
        assert [row.id for row in back] == [3, 2]
    assert {row.id for row in listed(database, status="preliminary")} == {1, 3, 5}
    assert len(listed(database, text="ACC1")) == 6
    assert len(listed(database, text="FO1")) == 6  # of its order
    assert len(listed(database, text="PID1")) == 6
    assert listed(database, text="nobody") == []
    assert listed(database, since=NOW + timedelta(days=1)) == []
    with pytest.raises(Rejected):
        listed(database, status="good")


# ---- completing ----------------------------------------------------------------------------


@pytest.fixture
def completing(database):
    """Give a feed whose final reports complete their orders; RIS and PACS are told."""
    given = profile.parse(document(report={"completes_order": True}), "test.toml")
    events = frozenset({"IP", "CM", "DC"})
    told = Destinations(
        (Destination("RIS", events, peer="RIS^HOSPITAL"), Destination("PACS", events, peer="PACS"))
    )
    made = Feed(database, now=NOW)
    made._inbound = Inbound(
        database, Profiles.single(given, BERLIN), told=told, clock=lambda: made.now
    )
    return made


def states(feed):
    (order,) = feed.rows(ORDER)
    return order.status, [step.state for step in feed.rows(STEP)]


def told(feed):
    return [(row.destination, row.payload["event"]) for row in feed.rows(DELIVERY)]


def test_by_default_a_report_completes_nothing(database, feed):
    feed.send(orm())
    feed.send(oru())
    assert states(feed) == ("SCHEDULED", ["SCHEDULED"])


def test_a_final_report_completes_its_order_and_all_but_its_sender_hear_of_it(completing):
    completing.send(orm())
    completing.send(oru())
    assert states(completing) == ("COMPLETED", ["COMPLETED"])
    assert told(completing) == [("PACS", "IP"), ("PACS", "CM")]
    message = completing.rows(MESSAGE)[-1]
    assert message.changes["step:1"] == {"state": ["SCHEDULED", "COMPLETED"]}


def test_an_order_that_comes_after_its_report_is_completed_then(database, completing):
    completing.send(oru())
    completing.send(orm())
    assert states(completing) == ("SCHEDULED", ["SCHEDULED"])
    told_of = Destinations((Destination("PACS", frozenset({"CM"}), peer="PACS"),))
    assert reports.link_late(database, told_of, NOW) == 1
    assert states(completing) == ("COMPLETED", ["COMPLETED"])
    assert told(completing) == [("PACS", "CM")]


@pytest.mark.parametrize(
    ("fields", "after"),
    [
        ({}, ["COMPLETED", "SCHEDULED"]),
        ({"OBR_4": "MRKNEE"}, ["SCHEDULED", "COMPLETED"]),
        ({"OBR_4": "REPORT", "OBR_18": "ACC2"}, ["SCHEDULED", "COMPLETED"]),
        ({"ZDS_1": "1.2.3", "OBR_4": "REPORT"}, ["SCHEDULED", "COMPLETED"]),
        ({"OBR_4": "REPORT", "OBR_18": None}, ["COMPLETED", "COMPLETED"]),
    ],
)
def test_of_several_procedures_a_report_completes_those_that_it_is_about(completing, fields, after):
    second = "OBR||PO1^RIS|FO1^RIS|MRKNEE^Knee^99RIS||||||||||||||ACC2|RP2|SPS2||||MR"
    completing.send(orm(after=[second, "ZDS|1.2.3"]))
    completing.send(oru(**fields))
    assert states(completing)[1] == after
    flags = completing.rows(MESSAGE)[-1].flags
    assert any("the others are left" in flag for flag in flags) is ("SCHEDULED" in after)


def test_once_it_is_completed_nobody_is_told_again(completing):
    completing.send(orm())
    completing.send(oru())
    completing.send(oru(OBR_25="C"))
    assert len(told(completing)) == 2


@pytest.mark.parametrize("status", ["P", "X", "A"])
def test_no_other_report_completes(completing, status):
    completing.send(orm())
    completing.send(oru(OBR_25=status))
    assert states(completing) == ("SCHEDULED", ["SCHEDULED"])
    assert told(completing) == []


@pytest.mark.parametrize(("control", "state"), [("CA", "CANCELED"), ("DC", "DISCONTINUED")])
def test_a_final_report_never_goes_backwards(completing, control, state):
    completing.send(orm())
    completing.send(orm(ORC_1=control, ORC_5=None))
    before = told(completing)
    completing.send(oru())
    assert states(completing) == (state, [state])
    assert told(completing) == before
    assert f"a final report of a step that is {state}: left as it is" in (
        completing.rows(MESSAGE)[-1].flags
    )


def test_a_report_of_another_patient_completes_nothing(completing):
    completing.send(orm())
    completing.send(oru(**OTHER))
    assert states(completing) == ("SCHEDULED", ["SCHEDULED"])

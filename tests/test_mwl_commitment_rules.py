"""What commitment promises, and how a report is encoded: without a database."""

from datetime import timedelta
from io import BytesIO

import pytest
from pydicom.filereader import read_dataset

from mwl.commitment import Failure, Reference, Report, encode, is_taken
from mwl.commitment.rules import Held, digest, judge, pause
from tests.archive_rows import CT, MR, NOW

ASKED = Reference(CT, "1.2.3.4")


def held(source="CT1", *, sop_class=CT, content=b"a"):
    return Held(1, sop_class, "key", 400, 1000, content, source)


def decide(served=None, quarantined=(), *, takes=True):
    return judge(ASKED, "CT1", served, quarantined, takes=lambda uid: takes)


def test_an_instance_that_is_here_is_to_be_checked_whoever_stored_it():
    for source in ("CT1", "PACS"):
        served = held(source)
        assert decide(served) is served


def test_an_instance_of_another_class_conflicts():
    assert decide(held(sop_class=MR)) is Failure.CLASS_INSTANCE_CONFLICT


def test_a_missing_instance_is_waited_for_unless_it_can_not_come():
    assert decide() is None
    assert decide(takes=False) is Failure.REFERENCED_SOP_CLASS_NOT_SUPPORTED


def test_what_is_here_of_a_class_that_we_do_not_take_any_more_is_kept_all_the_same():
    served = held()
    assert decide(served, takes=False) is served


def test_a_requester_whose_own_version_is_quarantined_is_not_told_to_delete_it():
    assert decide(held("CT2"), [held("CT1", content=b"b")]) is Failure.PROCESSING_FAILURE


def test_somebody_elses_quarantined_version_is_not_the_requesters_concern():
    served = held("CT1")
    assert decide(served, [held("CT2", content=b"b")]) is served


def test_a_quarantined_version_with_the_served_bytes_is_as_good():
    served = held("CT2")
    assert decide(served, [held("CT1")]) is served


def test_what_is_only_quarantined_is_not_committed():
    assert decide(None, [held("CT2")]) is Failure.PROCESSING_FAILURE


def test_a_list_is_told_from_another_whatever_its_order():
    one, two = Reference(CT, "1.2"), Reference(CT, "1.3")
    assert digest([one, two]) == digest([two, one])
    assert digest([one]) != digest([one, one]) != digest([one, two])
    assert digest([one]) != digest([Reference(MR, "1.2")])


def test_looks_grow_rarer_but_never_stop():
    pauses = [pause(NOW, NOW + timedelta(seconds=age)) for age in (0, 5, 60, 100_000)]
    assert pauses == [timedelta(seconds=each) for each in (1, 1, 6, 30)]


@pytest.mark.parametrize("status", [0x0000, 0x0107, 0x0116, 0xB000])
def test_success_and_warnings_mean_that_the_report_arrived(status):
    assert is_taken(status)


@pytest.mark.parametrize("status", [0x0110, 0x0112, 0x0211, 0xA700, 0xC001, 0xFE00])
def test_a_failure_means_that_it_did_not(status):
    assert not is_taken(status)


@pytest.mark.parametrize("explicit", [True, False])
@pytest.mark.parametrize("failed", [0, 1, 3])
def test_a_report_is_what_pydicom_reads(explicit, failed):
    reasons = [Failure.NO_SUCH_OBJECT_INSTANCE] * failed + [Failure.NONE] * (3 - failed)
    asked = [Reference(CT, f"1.2.840.{n}") for n in range(3)]
    report = Report("2.25.17", list(zip(asked, reasons, strict=True)))
    data = encode(report, explicit=explicit)
    read = read_dataset(BytesIO(data), is_implicit_VR=not explicit, is_little_endian=True)
    assert report.event_type == (2 if failed else 1)
    assert read.TransactionUID == "2.25.17"
    assert ("FailedSOPSequence" in read) == (failed > 0)
    assert ("ReferencedSOPSequence" in read) == (failed < 3)
    told = {
        item.ReferencedSOPInstanceUID: (item.ReferencedSOPClassUID, item.get("FailureReason"))
        for item in [*read.get("FailedSOPSequence", []), *read.get("ReferencedSOPSequence", [])]
    }
    assert told == {
        each.sop_instance_uid: (CT, int(reason) or None)
        for each, reason in zip(asked, reasons, strict=True)
    }

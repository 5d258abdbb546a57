"""IHE Scheduled Workflow, walked through against the running bridge, with what goes wrong in it.

One day of one department. Each act is called by what happens, and each step by the transaction
of IHE's Radiology framework that it is: RAD-1 and RAD-12 (patients), RAD-2 to RAD-4 and RAD-13
(orders), RAD-5 (the list), RAD-6 and RAD-7 (what a scanner did), RAD-8, RAD-10 and RAD-16 (images).
"""

from collections import defaultdict
from pathlib import Path

from mwl.story import Kind
from tests import modality
from tests.builders import adt, adt_a08, adt_a40
from tests.department import _create
from tests.mllp_peer import Ris
from tests.swf import Case, Department, order, written

WRONG_ENTRY, EQUIPMENT_FAILURE = "110514", "110501"  # PS3.16 CID 9300


def test_a_day_of_scheduled_workflow(tmp_path: Path) -> None:
    with Department(tmp_path) as here:
        as_it_should_be(here)
        cancelled_while_on_the_list(here)
        given_up_by_the_scanner(here)
        the_wrong_patient_chosen(here)
        scanned_before_it_was_ordered(here)
        images_after_the_end(here)
        merged_while_the_scanner_is_at_work(here)
        one_examination_for_two_orders(here)
        what_the_ris_has_heard(here)
        an_hour_without_the_ris(here)
        what_another_manager_has_heard(here)
        assert "Traceback" not in here.server.log


def as_it_should_be(here: Department) -> None:
    case = Case(1)
    # RAD-1 registers the patient; RAD-4 schedules the step, RAD-13 moves it.
    assert here.say(adt("A04", MSH_7=written("07:40"), **case.person)) == "AA"
    assert here.order(case, "07:45") == "AA"
    assert here.order(case, "07:50", ORC_1="XO", ORC_7="^^^20300102101500^^R") == "AA"
    # RAD-5, by DCMTK.
    (entry,) = here.worklist(case)
    assert (entry["PatientName"], entry["PatientID"]) == (case.name, case.patient)
    assert (entry["StudyInstanceUID"], entry["ScheduledProcedureStepID"]) == (case.study, case.step)
    assert entry["ScheduledProcedureStepStartTime"] == "101500"
    # RAD-6, by dcmjs-dimse.
    begun = modality.perform(here.port, modality.begin(case.mpps, case.study, case.step))
    assert begun == [{"op": "create", "status": 0}]
    assert here.status(case) == "IN_PROGRESS"
    # RAD-8, by DCMTK; RAD-7 and RAD-10, by dcmjs-dimse, which hears the report itself.
    images = case.make(3)
    here.storescu(images)
    made = [(each.SOPClassUID, each.SOPInstanceUID) for each in images]
    ended = modality.perform(
        here.port,
        modality.complete(case.mpps, f"{case.study}.1", made),
        modality.commit("1.2.8.1", made),
        listen=here.reports_port,
        wait=1,
    )
    assert [each["status"] for each in ended if each["op"] != "report"] == [0, 0]
    assert [each["type"] for each in ended if each["op"] == "report"] == [1]
    # It has left the list, and RAD-3 tells the RIS.
    assert here.status(case) == "CLOSED"
    assert here.worklist(case) == []
    here.expects(case, "IP", "CM", "CM")
    # RAD-16, by DCMTK.
    assert {each.SOPInstanceUID for each in here.retrieve(case)} == {uid for _, uid in made}


def cancelled_while_on_the_list(here: Department) -> None:
    case = Case(2)
    here.order(case, "08:00")
    assert len(here.worklist(case)) == 1  # RAD-5: the scanner has it in hand
    assert here.order(case, "08:05", ORC_1="CA", ORC_5="CA") == "AA"  # RAD-4, cancel
    assert (here.status(case), here.worklist(case)) == ("CANCELED", [])
    # Whoever scans all the same is heard (RAD-6, 8, 7), and does not bring the order back.
    assert here.begin(case) == 0x0000
    assert here.store(case.make(1)) == [0x0000]
    assert here.end(case) == 0x0000
    assert here.status(case) == "CANCELED"
    assert "begun by a scanner after it was CANCELED" in here.flags(case)
    here.expects(case)


def given_up_by_the_scanner(here: Department) -> None:
    case = Case(3)
    here.order(case, "08:10")
    here.begin(case)  # RAD-6
    assert here.end(case, state="DISCONTINUED", reason=EQUIPMENT_FAILURE) == 0x0000  # RAD-7
    assert (here.status(case), here.worklist(case)) == ("DISCONTINUED", [])
    here.expects(case, "IP", "DC")


def the_wrong_patient_chosen(here: Department) -> None:
    chosen, meant = Case(4), Case(5)
    here.order(chosen, "08:20"), here.order(meant, "08:21")
    # RAD-6 and RAD-8 in the name of who was chosen; RAD-7 says that that was wrong.
    here.begin(chosen)
    here.store(chosen.make(2))
    assert here.end(chosen, state="DISCONTINUED", reason=WRONG_ENTRY) == 0x0000
    assert here.status(chosen) == "SCHEDULED"
    assert len(here.worklist(chosen)) == 1  # RAD-5: still to be done
    # Who was meant is examined as it should be.
    here.begin(meant)
    here.store(meant.make(2))
    here.end(meant)
    assert here.status(meant) == "CLOSED"
    # So is who was chosen, later, into the study that has the other's images set aside.
    here.begin(chosen, uid="1.2.9.4")
    proper = chosen.make(1, SeriesInstanceUID=f"{chosen.study}.2")
    here.store(proper)
    here.end(chosen, uid="1.2.9.4", images=proper)
    here.until(lambda: here.status(chosen) == "CLOSED")
    served = {each.SOPInstanceUID for each in here.retrieve(chosen)}
    assert served == {each.SOPInstanceUID for each in proper}
    # The wrong work ended nothing: RAD-3 has no DC.
    here.expects(chosen, "IP", "IP", "CM", "CM")
    here.expects(meant, "IP", "CM", "CM")


def scanned_before_it_was_ordered(here: Department) -> None:
    case = Case(6)
    # An emergency: the scanner makes a study of its own (RAD-6, 8, 7).
    asked = _create(case.number).ScheduledStepAttributesSequence[0]
    asked.AccessionNumber = asked.RequestedProcedureID = asked.ScheduledProcedureStepID = ""
    here.begin(case, ScheduledStepAttributesSequence=[asked])
    here.store(case.make(2, AccessionNumber=""))
    here.end(case)
    assert here.study(case).requested_procedure is None
    # RAD-4: its order comes, and has the study's UID.
    assert here.order(case, "08:45") == "AA"
    here.until(lambda: here.status(case) == "CLOSED")
    assert "linked by its study" in here.flags(case)
    here.expects(case, "IP", "CM", "CM")


def images_after_the_end(here: Department) -> None:
    case = Case(7)
    here.order(case, "09:00")
    here.begin(case)
    here.store(case.make(2))
    here.end(case)
    assert here.status(case) == "CLOSED"
    # RAD-8, late; then an append case: the scanner goes on with the same step (RAD-6, 8, 7).
    here.store(case.make(1))
    assert here.begin(case, uid="1.2.9.7") == 0x0000
    more = case.make(1, SeriesInstanceUID=f"{case.study}.2")
    here.store(more)
    assert here.end(case, uid="1.2.9.7", images=more) == 0x0000
    assert here.status(case) == "CLOSED"
    told = [(each.kind, each.text) for each in here.story(case)]
    assert sum(int(text.split()[0]) for kind, text in told if kind is Kind.IMAGES) == 4
    assert [kind for kind, _ in told].count(Kind.PERFORMED) == 4
    here.expects(case, "IP", "CM", "CM")  # it ends once


def merged_while_the_scanner_is_at_work(here: Department) -> None:
    case, next_one = Case(8), Case(9, patient="PID8")
    here.order(case, "09:10"), here.order(next_one, "09:11")
    assert len(here.worklist(case)) == 1
    here.begin(case)  # RAD-6, in the old name
    # RAD-12: the patient is somebody whom we knew under another number.
    survivor = {"PID_3": "PID80^^^ADT1^MR", "PID_5": "Roe^Janet"}
    merge = adt_a40(MSH_7=written("09:15"), **survivor, MRG_1="PID8^^^ADT1^MR")
    assert here.say(merge) == "AA"
    here.store(case.make(2))
    assert here.end(case) == 0x0000  # RAD-7, in the old name
    assert here.status(case) == "CLOSED"
    # The new one everywhere: RAD-16, RAD-5, and RAD-3 below.
    shown = [(str(each.PatientName), each.PatientID) for each in here.retrieve(case)]
    assert shown == [("Roe^Janet", "PID80")] * 2
    (entry,) = here.worklist(next_one)
    assert (entry["PatientName"], entry["PatientID"]) == ("Roe^Janet", "PID80")
    here.expects(case, "IP", "CM", "CM")


def one_examination_for_two_orders(here: Department) -> None:
    """A group case (IHE RAD TF-1 3.3): one MPPS for the steps of two orders."""
    head, neck = Case(10), Case(11, patient="PID10")
    here.order(head, "09:20"), here.order(neck, "09:21")
    assert here.begin(head, neck) == 0x0000
    assert (here.status(head), here.status(neck)) == ("IN_PROGRESS", "IN_PROGRESS")
    here.store(head.make(2))
    assert here.end(head) == 0x0000
    assert (here.status(head), here.status(neck)) == ("CLOSED", "CLOSED")
    here.expects(head, "IP", "CM", "CM")
    here.expects(neck, "IP", "CM", "CM")


def what_the_ris_has_heard(here: Department) -> None:
    """RAD-3: begun, completed or discontinued, closed (a second CM), in order, each once."""
    here.until(lambda: here.waiting("ris") == [])
    for case, events in here.expected:
        assert here.told(case) == [(case.accession, event) for event in events], case.number
    ends = [each for each in here.ris.parsed() if each.text("ORC-5") == "CM"]
    merged = [each for each in ends if each.text("OBR-18") == "ACC8"]
    assert {(each.text("PID-3.1"), each.text("PID-5.1")) for each in merged} == {("PID80", "Roe")}


def an_hour_without_the_ris(here: Department) -> None:
    first, second, late, gone, known = (Case(number) for number in range(12, 17))
    for case in (first, second, known):
        here.order(case, "09:30")
    here.ris.stop()
    # The scanner works on (RAD-6, 7), and what the RIS is to hear of it waits.
    here.begin(first), here.begin(second)
    here.end(second, images=[]), here.end(first, images=[])
    here.until(lambda: here.waiting("ris") and here.waiting("ris")[-1]["error"])
    # Its backlog comes in some order: RAD-13 before RAD-4, a cancel before what it cancels,
    # RAD-12 the later one first.
    moved = {"ORC_1": "XO", "ORC_7": "^^^20300102150000^^R", "PID_5": "Doe-Roe^Jane"}
    renamed = {**known.person, "PID_5": "Poe^Anna"}
    backlog = (
        order(late, "10:20", **moved),
        order(gone, "10:40", ORC_1="CA", ORC_5="CA"),
        adt_a08(MSH_7=written("10:50"), **renamed),
        adt_a08(MSH_7=written("10:30"), **{**known.person, "PID_5": "Po^Ana"}),
        order(gone, "10:10"),
        order(late, "10:05"),
    )
    assert here.say(*backlog) == "AA AA AA AA AA AA"
    # RAD-5: what was written last holds.
    (entry,) = here.worklist(late)
    assert entry["PatientName"] == "Doe-Roe^Jane"
    assert entry["ScheduledProcedureStepStartTime"] == "150000"
    assert here.worklist(gone) == []
    assert [each["PatientName"] for each in here.worklist(known)] == ["Poe^Anna"]
    # The RIS is back, and is told (RAD-3) in the order that it happened in.
    with Ris(here.ris.port) as here.ris:
        here.until(lambda: len(here.ris.messages) == 4)
        assert here.told(first, second) == [
            *((first.accession, "IP"), (second.accession, "IP")),
            *((second.accession, "CM"), (first.accession, "CM")),
        ]
    assert here.status(gone) == ""  # of it is known that it was cancelled, and no more


def what_another_manager_has_heard(here: Department) -> None:
    """RAD-6 and RAD-7 as the PPS manager passes them on: N-CREATE first, and each once."""
    here.until(lambda: here.waiting("dose") == [])
    heard = defaultdict(list)
    for operation, uid in here.dose.told:
        heard[uid].append(operation)
    assert len(heard) == 13
    assert set(map(tuple, heard.values())) == {("N-CREATE", "N-SET")}

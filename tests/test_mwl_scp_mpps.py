"""MPPS over real associations, from pynetdicom's SCU and from raw data sets."""

import struct
from copy import deepcopy
from datetime import timedelta

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pynetdicom import AE
from pynetdicom.sop_class import (
    ModalityPerformedProcedureStep,
    ModalityPerformedProcedureStepRetrieve,
)
from sqlalchemy import select
from sqlmodel import SQLModel

from mwl.config.devices import DeviceCharacters
from mwl.dataset import MAX_BYTES
from mwl.errors import Outage
from mwl.net.codec import COMMAND
from mwl.net.dimse import CommandField, Element, encode_command, fragments
from mwl.net.limits import Limits
from mwl.outbox import Destination, Destinations
from mwl.procedures import Effects
from mwl.scp.guarded import Guarded
from mwl.scp.mpps import MppsRetrieveService, MppsService
from tests import dicom_server, iod, worklist_model
from tests.identifiers import encoded
from tests.modality import BEGUN
from tests.worklist_rows import NOW, insert_items, item

serve, dial = dicom_server.serve_fixture, dicom_server.dial_fixture

MPPS, RETRIEVE = ModalityPerformedProcedureStep, ModalityPerformedProcedureStepRetrieve
CT = "1.2.840.10008.5.1.4.1.1.2"
STUDY = "1.2.826.0.1.3680043.8.498.1"
UID = "1.2.826.0.1.3680043.8.498.900"
IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
LATER = NOW + timedelta(minutes=5)


def begin(charset=None, **stated):
    """Make an N-CREATE's attributes for step SPS1; None leaves one out."""
    step = Dataset()
    step.StudyInstanceUID, step.AccessionNumber = STUDY, "ACC1"
    step.RequestedProcedureID = step.RequestedProcedureDescription = ""
    step.ScheduledProcedureStepID, step.ScheduledProcedureStepDescription = "SPS1", ""
    step.ScheduledProtocolCodeSequence = step.ReferencedStudySequence = []
    data = Dataset()
    if charset is not None:
        data.SpecificCharacterSet = charset
    values = {
        "ScheduledStepAttributesSequence": [step],
        **BEGUN,
        "IssuerOfPatientID": "HOSP",
        **stated,
    }
    for keyword, value in values.items():
        if value is not None:
            setattr(data, keyword, Sequence(value) if isinstance(value, list) else value)
    return data


def end(state="COMPLETED", instances=(("1.2.840.10008.5.1.4.1.1.2", "9.1"),), **stated):
    """Make an N-SET's attributes."""
    data, series = Dataset(), Dataset()
    series.PerformingPhysicianName = series.OperatorsName = series.SeriesDescription = ""
    series.ProtocolName, series.SeriesInstanceUID, series.RetrieveAETitle = "HEAD", "8.1", ""
    series.ReferencedImageSequence = Sequence([reference(*each) for each in instances])
    series.ReferencedNonImageCompositeSOPInstanceSequence = []
    values = {
        "PerformedProcedureStepStatus": state,
        "PerformedProcedureStepEndDate": "20300102",
        "PerformedProcedureStepEndTime": "0945",
        "PerformedSeriesSequence": [series],
        **stated,
    }
    for keyword, value in values.items():
        if value is not None:
            setattr(data, keyword, Sequence(value) if isinstance(value, list) else value)
    return data


def reference(sop_class, instance):
    made = Dataset()
    made.ReferencedSOPClassUID, made.ReferencedSOPInstanceUID = sop_class, instance
    return made


def reason(code="110514", scheme="DCM"):
    made = Dataset()
    made.CodeValue, made.CodingSchemeDesignator, made.CodeMeaning = code, scheme, "why"
    return [made]


class Flaky:
    """A database that may be out."""

    def __init__(self, database):
        self.kept, self.out = database, False

    def write(self, work):
        if self.out:
            raise Outage("database: gone")
        return self.kept.write(work)

    def read(self):
        if self.out:
            raise Outage("database: gone")
        return self.kept.read()


class Site:
    def __init__(self, database, serve):
        self.database = Flaky(database)
        self.denied = set()
        self.characters = DeviceCharacters()
        effects = Effects(told=Destinations((Destination("ris"),)))
        services = [
            MppsService(
                self.database,
                effects,
                clock=lambda: LATER,
                characters=lambda _title: self.characters,
            ),
            MppsRetrieveService(self.database),
        ]
        self.server = serve(
            *(
                Guarded(each, lambda peer: peer.calling_title not in self.denied)
                for each in services
            ),
            limits=Limits(max_data_set_bytes=MAX_BYTES),
        )
        database.write(lambda session: insert_items(session, [item(1)]))

    def all(self, name):
        table = SQLModel.metadata.tables[name]
        with self.database.kept.read() as session:
            rows = session.connection().execute(select(table).order_by(*table.primary_key))
            return [dict(row) for row in rows.mappings()]

    @property
    def step(self):
        return self.all("scheduled_step")[0]["state"]

    @property
    def performed(self):
        return self.all("performed_step")[0]

    def news(self):
        return [row["payload"]["event"] for row in self.all("delivery")]


@pytest.fixture
def site(database, serve):
    return Site(database, serve)


@pytest.fixture
def scanner(site):
    """pynetdicom's SCU, each operation on an association of its own, as scanners do."""
    return Scanner(site.server.address)


class Scanner:
    def __init__(self, address, syntax=IMPLICIT):
        self.address, self.syntax = address, syntax

    def _on(self, sop_class, operate, syntax=None):
        ae = AE(ae_title="CT1")
        ae.add_requested_context(sop_class, [syntax or self.syntax])
        host, port = self.address
        association = ae.associate(host, port, ae_title="MWL")
        assert association.is_established
        try:
            return operate(association)
        finally:
            association.release()

    def create(self, data, uid=UID):
        return self._on(MPPS, lambda a: a.send_n_create(data, MPPS, uid)[0])

    def set(self, data, uid=UID):
        return self._on(MPPS, lambda a: a.send_n_set(data, MPPS, uid)[0])

    def get(self, *tags, uid=UID, syntax=None):
        return self._on(RETRIEVE, lambda a: a.send_n_get(list(tags), RETRIEVE, uid), syntax)


def test_a_scanner_begins_and_completes(site, scanner):
    assert scanner.create(begin()).Status == 0x0000
    assert (site.step, site.news()) == ("STARTED", ["IP"])
    assert site.performed["flags"] == []
    assert scanner.set(end()).Status == 0x0000
    assert (site.step, site.news()) == ("COMPLETED", ["IP", "CM"])
    performed = site.performed
    assert performed["start_local"] == "20300102093000"
    assert performed["end_local"] == "20300102094500"
    assert (performed["patient_id"], performed["patient_id_issuer"]) == ("P1", "HOSP")
    assert (performed["ae_title"], performed["modality"]) == ("CT1", "CT")
    (listed,) = site.all("performed_instance")
    assert listed["sop_instance_uid"] == "9.1"
    assert listed["series_instance_uid"] == "8.1"


def test_non_images_are_listed_too(site, scanner):
    data = end()
    series = data.PerformedSeriesSequence[0]
    series.ReferencedNonImageCompositeSOPInstanceSequence = Sequence([reference("1.2", "9.9")])
    scanner.create(begin())
    scanner.set(data)
    assert [row["sop_instance_uid"] for row in site.all("performed_instance")] == ["9.1", "9.9"]


def test_a_uid_of_ours_where_the_scanner_gives_none(site, dial):
    answer, _ = exchange(dial(site.server), CommandField.N_CREATE, begin(), uid="")
    assert status(answer) == 0x0000
    given = answer.text(Element.AFFECTED_SOP_INSTANCE_UID)
    assert given.startswith("2.25.")
    assert site.performed["sop_instance_uid"] == given


def test_a_repeated_create_is_0111(site, scanner):
    assert scanner.create(begin()).Status == 0x0000
    assert scanner.create(begin()).Status == 0x0111
    assert len(site.all("performed_message")) == 1


@pytest.mark.parametrize("state", ["COMPLETED", "DISCONTINUED", "FINISHED"])
def test_a_create_that_is_not_in_progress_is_0106_with_the_attribute(site, dial, state):
    data = begin(PerformedProcedureStepStatus=state)
    answer, offending = exchange(dial(site.server), CommandField.N_CREATE, data)
    assert status(answer) == 0x0106
    assert parsed(offending).PerformedProcedureStepStatus == state
    assert "(0040,0252)" in answer.text(Element.ERROR_COMMENT)
    assert site.all("performed_step") == []


@pytest.mark.parametrize(
    ("keyword", "tag"),
    [
        ("ScheduledStepAttributesSequence", 0x00400270),
        ("PerformedProcedureStepID", 0x00400253),
        ("PerformedStationAETitle", 0x00400241),
        ("PerformedProcedureStepStartDate", 0x00400244),
        ("PerformedProcedureStepStartTime", 0x00400245),
        ("PerformedProcedureStepStatus", 0x00400252),
        ("Modality", 0x00080060),
    ],
)
def test_a_missing_attribute_is_0120_and_an_empty_one_0121(site, dial, keyword, tag):
    answer, _ = exchange(dial(site.server), CommandField.N_CREATE, begin(**{keyword: None}))
    assert status(answer) == 0x0120
    listed = answer.elements[Element.ATTRIBUTE_IDENTIFIER_LIST]
    assert listed == struct.pack("<HH", tag >> 16, tag & 0xFFFF)
    empty = [] if keyword.endswith("Sequence") else ""
    answer, held = exchange(dial(site.server), CommandField.N_CREATE, begin(**{keyword: empty}))
    assert status(answer) == 0x0121
    assert [element.tag for element in parsed(held)] == [tag]
    assert site.all("performed_step") == []


def test_a_step_without_a_study_uid_is_refused(site, dial):
    data = begin()
    del data.ScheduledStepAttributesSequence[0].StudyInstanceUID
    answer, _ = exchange(dial(site.server), CommandField.N_CREATE, data)
    assert status(answer) == 0x0120
    assert answer.elements[Element.ATTRIBUTE_IDENTIFIER_LIST] == b"\x20\0\x0d\0"


@pytest.mark.parametrize(
    "bad",
    [
        {"PerformedProcedureStepStartDate": b"20301301"},
        {"PerformedProcedureStepStartTime": b"250000"},
    ],
)
def test_a_date_that_is_none_is_0106(site, dial, bad):
    (keyword, value), *_ = bad.items()
    good = encoded(begin(), explicit=False)
    old = {"PerformedProcedureStepStartDate": b"20300102"}.get(keyword, b"093000.25 ")
    raw = good.replace(old, value.ljust(len(old)), 1)
    assert raw != good
    answer, _ = exchange(dial(site.server), CommandField.N_CREATE, raw)
    assert status(answer) == 0x0106


@pytest.mark.parametrize("uid", ["../../etc/passwd", "1..2", "1.2/3", "a.b", "1." * 33])
def test_a_uid_that_is_none_is_0117(site, dial, uid):
    for field, data in ((CommandField.N_CREATE, begin()), (CommandField.N_SET, end())):
        answer, _ = exchange(dial(site.server), field, data, uid=uid)
        assert status(answer) == 0x0117
    answer, _ = exchange(dial(site.server), CommandField.N_GET, None, uid=uid, sop_class=RETRIEVE)
    assert status(answer) == 0x0117


def test_a_set_before_its_create_is_0112(site, scanner):
    assert scanner.set(end()).Status == 0x0112
    assert site.step == "SCHEDULED"


def test_a_set_after_the_end_is_0110_and_a710(site, scanner):
    scanner.create(begin())
    scanner.set(end())
    before = site.performed
    answer = scanner.set(end("DISCONTINUED"))
    assert (answer.Status, answer.ErrorID) == (0x0110, 0xA710)
    assert answer.ErrorComment == "Performed Procedure Step Object may no longer be updated"
    assert site.performed == before
    assert site.step == "COMPLETED"


def test_in_progress_again_is_accepted(site, scanner):
    scanner.create(begin())
    data = Dataset()
    data.PerformedProcedureStepStatus = "IN PROGRESS"
    assert scanner.set(data).Status == 0x0000
    assert (site.step, site.news()) == ("STARTED", ["IP"])


def test_an_unknown_status_in_a_set_is_0106(site, scanner):
    scanner.create(begin())
    assert scanner.set(end("SUSPENDED")).Status == 0x0106
    assert site.step == "STARTED"


@pytest.mark.parametrize(
    "missing",
    [
        "PerformedProcedureStepEndDate",
        "PerformedProcedureStepEndTime",
    ],
)
def test_completed_without_an_end_is_refused_unless_it_was_said_before(site, scanner, missing):
    scanner.create(begin())
    assert scanner.set(end(**{missing: None})).Status == 0x0121  # N-CREATE left it empty
    assert site.step == "STARTED"
    ahead = Dataset()
    setattr(ahead, missing, "20300102" if missing.endswith("Date") else "094500")
    assert scanner.set(ahead).Status == 0x0000
    assert scanner.set(end(**{missing: None})).Status == 0x0000
    assert site.step == "COMPLETED"


def test_completed_without_any_series_ever_named_is_0120(site, scanner):
    scanner.create(begin(PerformedSeriesSequence=None))
    assert scanner.set(end(PerformedSeriesSequence=None)).Status == 0x0120
    assert scanner.set(end(PerformedSeriesSequence=[])).Status == 0x0000
    assert "lacks (0040,0340)" in site.performed["flags"][-1]


SERIES_UID = "SeriesInstanceUID"
SOP_CLASS, SOP_INSTANCE = "ReferencedSOPClassUID", "ReferencedSOPInstanceUID"
LISTS = ["ReferencedImageSequence", "ReferencedNonImageCompositeSOPInstanceSequence"]


def lists(where, keyword, value, state="COMPLETED"):
    """Make an N-SET one of whose UIDs is changed, in its series or its second reference."""
    data = end(state, [(CT, "9.1"), (CT, "9.2")])
    (series,) = data.PerformedSeriesSequence
    references = series.ReferencedImageSequence
    series.ReferencedImageSequence = []
    setattr(series, where, references)
    changed = series if keyword in series else references[1]
    if value is None:
        delattr(changed, keyword)
    else:
        changed.add_new(keyword, "LO", value)  # pydicom warns of such a UI
        changed[keyword].VR = "UI"
    return data


@pytest.mark.parametrize(
    ("value", "code"), [(None, 0x0120), ("", 0x0121), ("..", 0x0106), ("<script>", 0x0106)]
)
@pytest.mark.parametrize("keyword", [SERIES_UID, SOP_CLASS, SOP_INSTANCE])
@pytest.mark.parametrize("where", LISTS)
def test_completed_names_all_that_it_lists(site, scanner, where, keyword, value, code):
    scanner.create(begin())
    answer = scanner.set(lists(where, keyword, value))
    assert answer.Status == code
    assert f"({Tag(keyword).group:04X},{Tag(keyword).element:04X})" in answer.ErrorComment
    assert (site.step, site.all("performed_instance")) == ("STARTED", [])
    assert scanner.set(end()).Status == 0x0000
    assert site.step == "COMPLETED"


def test_what_was_listed_before_has_to_be_named_at_the_end(site, scanner):
    scanner.create(begin())
    assert scanner.set(lists(LISTS[0], SOP_INSTANCE, None, "IN PROGRESS")).Status == 0x0000
    assert scanner.set(end(PerformedSeriesSequence=None)).Status == 0x0120
    assert site.step == "STARTED"


@pytest.mark.parametrize("value", [None, ""])
@pytest.mark.parametrize("keyword", [SERIES_UID, SOP_CLASS, SOP_INSTANCE])
def test_discontinued_may_leave_out_names_and_shows_it(site, scanner, keyword, value):
    scanner.create(begin())
    assert scanner.set(lists(LISTS[0], keyword, value, "DISCONTINUED")).Status == 0x0000
    tag = Tag(keyword)
    assert f"lacks ({tag.group:04X},{tag.element:04X})" in site.performed["flags"][-1]


@pytest.mark.parametrize("value", [None, ""])
def test_a_protocol_name_is_missed_but_not_required(site, scanner, value):
    scanner.create(begin())
    assert scanner.set(lists(LISTS[0], "ProtocolName", value)).Status == 0x0000
    assert site.step == "COMPLETED"
    assert "lacks (0018,1030)" in site.performed["flags"][-1]


def test_uids_with_letters_are_listed(site, scanner):
    scanner.create(begin())
    assert scanner.set(lists(LISTS[0], SOP_INSTANCE, "1.2.CT-7_a")).Status == 0x0000
    instances = [row["sop_instance_uid"] for row in site.all("performed_instance")]
    assert sorted(instances) == ["1.2.CT-7_a", "9.1"]


def test_discontinued_needs_nothing_else(site, scanner):
    scanner.create(begin())
    data = Dataset()
    data.PerformedProcedureStepStatus = "DISCONTINUED"
    assert scanner.set(data).Status == 0x0000
    assert (site.step, site.news()) == ("DISCONTINUED", ["IP", "DC"])


def test_the_wrong_worklist_entry_is_scheduled_again(site, scanner):
    scanner.create(begin())
    data = end("DISCONTINUED", PerformedProcedureStepDiscontinuationReasonCodeSequence=reason())
    assert scanner.set(data).Status == 0x0000
    assert (site.step, site.news()) == ("SCHEDULED", ["IP"])
    assert site.performed["discontinuation"] == "110514^DCM^why"


def test_two_items_are_two_steps(site, scanner):
    site.database.write(lambda session: insert_items(session, [item(2)]))
    data = begin()
    second = deepcopy(data.ScheduledStepAttributesSequence[0])
    second.StudyInstanceUID = "1.2.826.0.1.3680043.8.498.2"
    second.ScheduledProcedureStepID = "SPS2"
    data.ScheduledStepAttributesSequence.append(second)
    assert scanner.create(data).Status == 0x0000
    assert [row["state"] for row in site.all("scheduled_step")] == ["STARTED", "STARTED"]


def test_a_cancelled_step_stays_cancelled_and_the_scan_is_kept(site, scanner):
    table = SQLModel.metadata.tables["scheduled_step"]
    site.database.write(lambda s: s.connection().execute(table.update().values(state="CANCELED")))
    assert scanner.create(begin()).Status == 0x0000
    assert scanner.set(end()).Status == 0x0000
    assert (site.step, site.performed["state"]) == ("CANCELED", "COMPLETED")
    assert len(site.all("performed_link")) == 1
    assert "CANCELED" in site.performed["flags"][0]


def test_what_an_n_create_should_have_is_shown_not_refused(site, scanner):
    data = begin(PatientSex=None, StudyID=None)
    assert scanner.create(data).Status == 0x0000
    assert site.performed["flags"] == ["the MPPS lacks (0010,0040) (0020,0010)"]


# --- as received


def test_each_data_set_is_read_with_its_own_character_set(site, dial, scanner):
    first = begin(charset="ISO_IR 100", PatientName="Müller^Jörg")
    raw = encoded(first, explicit=True)
    assert "Müller".encode("latin-1") in raw
    assert status(exchange(dial(site.server), CommandField.N_CREATE, raw, explicit=True)[0]) == 0
    assert site.performed["patient_name"] == "Müller^Jörg"
    second = end("IN PROGRESS", PerformedProcedureStepDescription="頭部")
    second.SpecificCharacterSet = "ISO_IR 192"
    assert scanner.set(second).Status == 0x0000
    assert site.all("performed_message")[0]["data_set"] == raw
    answer, held = scanner.get(syntax=EXPLICIT)
    assert answer.Status == 0x0000
    assert held.SpecificCharacterSet == "ISO_IR 192"
    assert (str(held.PatientName), held.PerformedProcedureStepDescription) == (
        "Müller^Jörg",
        "頭部",
    )


@pytest.mark.parametrize(
    ("terms", "name"),
    [
        ("ISO_IR 192", "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
        ("ISO_IR 144", "Люкceмбypг"),
        ("GB18030", "Wang^XiaoDong=王^小东"),
        ("ISO_IR 166", "นามสกุล"),
    ],
)
def test_names_of_every_script_come_and_go(site, scanner, terms, name):
    assert scanner.create(begin(charset=terms, PatientName=name)).Status == 0x0000
    assert site.performed["patient_name"] == name
    assert str(scanner.get()[1].PatientName) == name


def test_undeclared_bytes_are_flagged(site, dial):
    raw = encoded(begin(), explicit=False).replace(b"Doe^Number1", "Döe^Number1".encode("latin-1"))
    exchange(dial(site.server), CommandField.N_CREATE, raw)
    assert site.performed["patient_name"] == "Döe^Number1"
    assert site.performed["flags"] == ["character set undeclared"]


def test_a_label_that_is_none_or_wrong_gives_way_to_what_is_assumed_of_the_scanner(site, dial):
    site.characters = DeviceCharacters(assumed="ISO_IR 101")
    raw = encoded(begin(), explicit=False).replace(
        b"Doe^Number1", "Růž^Ča12345".encode("iso8859_2")
    )
    exchange(dial(site.server), CommandField.N_CREATE, raw)
    assert site.performed["patient_name"] == "Růž^Ča12345"
    assert site.performed["flags"] == ["character set assumed"]


# --- N-GET


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT])
def test_all_that_was_received_is_merged(site, scanner, syntax):
    scanner.create(begin())
    scanner.set(end("IN PROGRESS", PerformedSeriesSequence=[]))
    scanner.set(end(instances=[("1.2", "9.1"), ("1.2", "9.2")]))
    answer, held = scanner.get(syntax=syntax)
    assert answer.Status == 0x0000
    assert held.PerformedProcedureStepStatus == "COMPLETED"
    assert held.PerformedProcedureStepEndTime == "0945"
    assert held.ScheduledStepAttributesSequence[0].ScheduledProcedureStepID == "SPS1"
    series = held.PerformedSeriesSequence[0]
    assert [each.ReferencedSOPInstanceUID for each in series.ReferencedImageSequence] == [
        "9.1",
        "9.2",
    ]
    assert (held.SOPInstanceUID, held.SOPClassUID) == (UID, MPPS)
    assert iod.faults(held, worklist_model.MPPS) == []
    assert "SpecificCharacterSet" not in held


def test_requested_attributes_alone(site, scanner):
    scanner.create(begin())
    answer, held = scanner.get(0x00400252, 0x00100020)
    assert answer.Status == 0x0000
    assert [element.keyword for element in held] == ["PatientID", "PerformedProcedureStepStatus"]
    answer, held = scanner.get(0x00400252, 0x00102160)
    assert answer.Status == 0x0001
    assert [element.keyword for element in held] == ["PerformedProcedureStepStatus"]


def test_numbers_come_back_whole(site, scanner):
    data = begin()
    data.TotalTimeOfFluoroscopy, data.TotalNumberOfExposures = 256, 1
    scanner.create(data)
    for syntax in (IMPLICIT, EXPLICIT):
        _, held = scanner.get(syntax=syntax)
        assert (held.TotalTimeOfFluoroscopy, held.TotalNumberOfExposures) == (256, 1)


def test_whose_the_work_is_never_changes(site, scanner):
    scanner.create(begin())
    data = end()
    data.PatientID = "P2"
    assert scanner.set(data).Status == 0x0000
    assert site.performed["patient_id"] == scanner.get()[1].PatientID == "P1"
    assert site.performed["flags"] == ["N-SET must not state (0010,0020): not taken"]


def test_an_unknown_instance_is_0112(scanner):
    assert scanner.get()[0].Status == 0x0112


# --- who may, and what is no MPPS


def test_who_may_not_is_told_0124(site, scanner):
    site.denied.add("CT1")
    assert scanner.create(begin()).Status == 0x0124
    assert scanner.get()[0].Status == 0x0124
    assert site.all("performed_step") == []


def test_another_class_than_the_contexts_is_0118(site, dial):
    answer, _ = exchange(
        dial(site.server), CommandField.N_CREATE, begin(), command_class="1.2.840.10008.1.1"
    )
    assert status(answer) == 0x0118


def test_get_on_the_class_that_creates_is_unrecognized(site, dial):
    answer, _ = exchange(dial(site.server), CommandField.N_GET, None)
    assert status(answer) == 0x0211


# --- faults


def test_while_the_database_is_out_nothing_is_accepted(site, scanner):
    site.database.out = True
    assert scanner.create(begin()).Status == 0x0213
    assert scanner.get()[0].Status == 0x0213
    site.database.out = False
    assert scanner.create(begin()).Status == 0x0000
    site.database.out = True
    assert scanner.set(end()).Status == 0x0213
    assert site.step == "STARTED"
    site.database.out = False
    assert scanner.set(end()).Status == 0x0000
    assert site.step == "COMPLETED"


def test_a_defect_of_ours_is_0110_and_the_association_lives(site, dial, monkeypatch):
    def fail(*_, **__):
        raise KeyError("Doe^Jane")

    monkeypatch.setattr("mwl.procedures.start", fail)
    client = dial(site.server)
    answer, _ = exchange(client, CommandField.N_CREATE, begin())
    assert status(answer) == 0x0110
    assert "Doe" not in answer.text(Element.ERROR_COMMENT)
    monkeypatch.undo()
    assert status(again(client, CommandField.N_CREATE, begin())) == 0x0000


@pytest.mark.parametrize("cut", [1, 10, 100, 400])
def test_a_truncated_data_set_is_refused(site, dial, cut):
    raw = encoded(begin(), explicit=False)
    answer, _ = exchange(dial(site.server), CommandField.N_CREATE, raw[:-cut])
    assert status(answer) in {0x0110, 0x0120}
    assert site.all("performed_step") == []


def test_deep_nesting_is_refused(site, dial):
    raw = encoded(begin(), explicit=False)
    head = struct.pack("<HHI", 0x0040, 0x0340, 0xFFFFFFFF)
    start = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    stop = struct.pack("<HHI", 0xFFFE, 0xE00D, 0) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    raw += (head + start) * 400 + stop * 400
    answer, _ = exchange(dial(site.server), CommandField.N_CREATE, raw)
    assert status(answer) == 0x0213
    assert site.all("performed_step") == []


def test_a_study_of_twenty_thousand_instances_is_listed(site, scanner):
    scanner.create(begin())
    many = [("1.2.840.10008.5.1.4.1.1.2", f"1.2.826.0.1.3680043.9.{n}") for n in range(20_000)]
    assert scanner.set(end(instances=many)).Status == 0x0000
    assert len(site.all("performed_instance")) == 20_000


def test_an_association_lost_in_a_message_leaves_nothing(site, dial):
    raw = encoded(begin(), explicit=False)
    client = associated(dial(site.server))
    whole = message(CommandField.N_CREATE, raw)
    for part in (whole[: len(whole) // 2], whole[:-1], whole[:20]):
        client.send(part)
        client.close()
        client = associated(dial(site.server))
    assert site.all("performed_step") == []
    assert status(again(client, CommandField.N_CREATE, begin())) == 0x0000


def test_what_a_scanner_was_answered_is_kept_though_it_never_read_the_answer(site, dial, scanner):
    client = associated(dial(site.server))
    client.send(message(CommandField.N_CREATE, encoded(begin(), explicit=False)))
    client.read_message()
    client.close()
    assert scanner.create(begin()).Status == 0x0111
    assert scanner.set(end()).Status == 0x0000


# --- raw requests


def associated(client, sop_class=MPPS, *, explicit=False):
    return client.associate(
        (sop_class,), calling="CT1", transfer_syntaxes=(EXPLICIT if explicit else IMPLICIT,)
    )


def message(field, raw, uid=UID, sop_class=MPPS):
    is_create = field == CommandField.N_CREATE
    elements = {
        Element.AFFECTED_SOP_CLASS_UID if is_create else Element.REQUESTED_SOP_CLASS_UID: sop_class,
        Element.COMMAND_FIELD: field,
        Element.MESSAGE_ID: 7,
        Element.DATA_SET_TYPE: 0x0101 if raw is None else 1,
    }
    if uid:
        name = (
            Element.AFFECTED_SOP_INSTANCE_UID if is_create else Element.REQUESTED_SOP_INSTANCE_UID
        )
        elements[name] = uid
    pdus = list(fragments(1, COMMAND, encode_command(elements), 16384))
    if raw is not None:
        pdus += fragments(1, 0, raw, 16384)
    return b"".join(pdus)


def exchange(client, field, data, *, uid=UID, sop_class=MPPS, command_class=None, explicit=False):
    associated(client, sop_class, explicit=explicit)
    raw = encoded(data, explicit=explicit) if isinstance(data, Dataset) else data
    client.send(message(field, raw, uid, command_class or sop_class))
    return client.read_message()


def again(client, field, data):
    client.send(message(field, encoded(data, explicit=False)))
    return client.read_message()[0]


def status(command):
    return command.number(Element.STATUS)


def parsed(raw):
    file = DicomBytesIO(raw)
    file.is_little_endian, file.is_implicit_VR = True, True
    return dcmread(file, force=True)

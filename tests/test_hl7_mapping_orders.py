from datetime import UTC, datetime

import pytest

from mwl.orders import Action, OrderChange, StudyUidPolicy
from mwl.patients import Identifier, PatientMerge, PatientUpdate
from mwl.worklist.kept import code, person, written
from tests.builders import adt_a08, adt_a40, omg, omi, orm
from tests.hl7_mapping import faults, mapper, order, procedure, read, step, wheres

IPC = "IPC|ACC1|RP1|1.2.3|{}|CT|P1^Head^99RIS|ROOM|BASEMENT|{}"


def known_as(identifier, name):
    """Give what is kept of a person of whom no more is said."""
    return written([person(identifier, "L", name, "UNKNOWN")])


def test_an_order_without_ipc_lands_column_by_column():
    change = order(
        orm(
            PID_6="Roe^Ann",
            PID_11="Street 1^^Town^^12345^NO",
            PID_13="555-1234",
            PID_15="nb^Norwegian",
            PV1_3="W1^R2^B3",
            PV1_8="7^Chen^Li",
            ORC_17="D1^Cardiology",
            ORC_28="V^Very restricted",
            OBR_12="MRSA^Contact isolation",
            OBR_13="Pacemaker",
            OBR_30="WALK",
            OBR_31="R10^Abdominal pain",
            OBR_34="9&Okafor&Ada",
        )
    )
    assert (change.source, change.action, change.control) == (
        "RIS^HOSPITAL",
        Action.CREATE,
        "NW SC",
    )
    assert change.at == datetime(2025, 1, 1, 11, 0, tzinfo=UTC)
    assert change.number == change.filler == Identifier("FO1", "RIS")
    assert change.placer == Identifier("PO1", "RIS")
    assert change.patient.id == Identifier("PID1", "ADT1")
    assert change.patient.fields == {
        "patient_name": "Doe^Jane^Q",
        "birth_date": "19800229",
        "sex": "F",
        "mother_name": "Roe^Ann",
        "address": "Street 1 Town 12345 NO",
        "phone": "555-1234",
        "language": "nb",
        "medical_alerts": "Pacemaker",
    }
    assert change.fields == {
        "admission_id": "V1",
        "admission_issuer": "ADT1",
        "current_patient_location": "W1 R2 B3",
        "route_of_admissions": "O",
        "referring_physician": "Chen^Li",
        "referring_physician_id": known_as("7", "Chen^Li"),
        "requesting_physician": "Welby^Marcus",
        "requesting_physician_id": known_as("123", "Welby^Marcus"),
        "requesting_service": "Cardiology",
        "patient_state": "Contact isolation",
        "confidentiality": "Very restricted",
    }
    (found,) = change.procedures
    assert (found.key, found.requested_procedure_id, found.study_uid, found.snapshot) == (
        "RP1",
        "RP1",
        "1.2.826.0.1.3680043.8.498.1",
        False,
    )
    assert found.fields == {
        "accession_number": "ACC1",
        "accession_issuer": None,
        "description": "CT head",
        "code_value": "CTHEAD",
        "code_scheme": "99RIS",
        "code_meaning": "CT head",
        "code_items": None,
        "priority": "ROUTINE",
        "reason": "Abdominal pain",
        "reason_codes": written([code("R10", "L", "Abdominal pain")]),
        "transport": "WALK",
    }
    (one,) = found.steps
    assert (one.sps_id, one.stations) == ("SPS1", None)
    assert one.start == datetime(2030, 1, 2, 8, 30, tzinfo=UTC)
    assert one.fields == {
        "modality": "CT",
        "performing_physician": "Okafor^Ada",
        "performing_physician_id": known_as("9", "Okafor^Ada"),
        "description": "CT head",
        "protocol_value": "CTHEAD",
        "protocol_scheme": "99RIS",
        "protocol_meaning": "CT head",
        "protocol_items": None,
    }
    assert change.flags == []


def test_ipc_decides_the_columns_whatever_the_message_type():
    text = orm(IPC=[IPC.format("S9", "CT1~CT2")], OBR_18="OTHER", OBR_19="RP9", OBR_24="MR")
    found = procedure(text)
    assert (found.key, found.study_uid, found.snapshot) == ("RP1", "1.2.3", True)
    assert found.fields["accession_number"] == "ACC1"
    (one,) = found.steps
    assert (one.sps_id, one.stations) == ("S9", ("CT1", "CT2"))
    assert one.fields == {
        "modality": "CT",
        "description": "Head",
        "protocol_value": "P1",
        "protocol_scheme": "99RIS",
        "protocol_meaning": "Head",
        "protocol_items": None,
        "station_name": "ROOM",
        "location": "BASEMENT",
    }


def test_an_omi_without_ipc_is_read_like_an_orm():
    text = omi(without=["IPC"], OBR_18="ACC1", OBR_19="RP1", OBR_20="SPS1", OBR_24="CT")
    found = procedure(text)
    assert not found.snapshot
    assert found.steps[0].sps_id == "SPS1"


@pytest.mark.parametrize(
    ("field", "fallback", "read_back"),
    [
        ("IPC_1", {"OBR_18": "ACC2"}, lambda p: p.fields["accession_number"] == "ACC2"),
        ("IPC_2", {"OBR_19": "RP2"}, lambda p: p.key == "RP2"),
        ("IPC_3", {"ZDS_1": "1.2.9"}, lambda p: p.study_uid == "1.2.9"),
        ("IPC_4", {"OBR_20": "S2"}, lambda p: p.steps[0].sps_id == "S2"),
        ("IPC_5", {"OBR_24": "MR"}, lambda p: p.steps[0].fields["modality"] == "MR"),
        ("IPC_6", {}, lambda p: p.steps[0].fields["protocol_value"] == "CTHEAD"),
    ],
)
def test_each_cell_with_ipc_falls_back_to_the_one_without(field, fallback, read_back):
    assert read_back(procedure(omi(**{field: None}, **fallback)))


def test_absent_and_empty_fields_say_nothing_and_quotes_delete():
    change = order(orm(PID_8=None, PV1_19='""', OBR_18='""', OBR_24='""', OBR_31='""'))
    assert "sex" not in change.patient.fields
    assert change.fields["admission_id"] is None
    assert change.fields["admission_issuer"] is None
    (found,) = change.procedures
    assert found.fields["accession_number"] is None
    assert found.fields["reason"] is None
    assert found.steps[0].fields["modality"] is None
    assert '""' not in str(change)


def test_a_deleted_first_place_is_no_reason_to_ask_the_next():
    assert procedure(omi(IPC_1='""', OBR_18="ACC2")).fields["accession_number"] is None


def test_deleted_stations_are_none_at_all():
    assert step(omi(IPC_9='""')).stations == ()
    assert step(omi(IPC_9=None)).stations is None


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"TQ1_7": "20300103080000", "ORC_7": "^^^20300104080000"}, 3),
        ({"ORC_7": "^^^20300104080000", "OBR_27": "^^^20300105080000"}, 4),
        ({"ORC_7": None, "OBR_27": "^^^20300105080000", "OBR_36": "20300106080000"}, 5),
        ({"ORC_7": None, "OBR_36": "20300106080000"}, 6),
    ],
)
def test_the_start_comes_from_the_first_of_four_places(fields, expected):
    assert step(orm(**fields)).start == datetime(2030, 1, expected, 7, 0, tzinfo=UTC)


def test_no_start_is_none():
    assert step(orm(ORC_7=None)).start is None


def test_a_source_in_another_zone_has_its_own_wall_clock():
    by = mapper(time={"zone": "America/New_York"})
    assert step(orm(), by).start == datetime(2030, 1, 2, 14, 30, tzinfo=UTC)


def test_the_offset_of_msh_7_speaks_for_others_by_option_only():
    text = orm(MSH_7="20300101120000-0500")
    assert order(text).at == datetime(2030, 1, 1, 17, 0, tzinfo=UTC)
    assert step(text).start == datetime(2030, 1, 2, 8, 30, tzinfo=UTC)
    by = mapper(time={"msh7_offset": True})
    assert step(text, by).start == datetime(2030, 1, 2, 14, 30, tzinfo=UTC)


def test_a_message_time_that_is_none_leaves_the_order_of_arrival():
    change = order(orm(MSH_7="yesterday"))
    assert change.at is None
    assert change.flags[0].startswith("MSH-7: ")
    assert order(orm(MSH_7=None)).at is None


@pytest.mark.parametrize(
    ("ahead", "taken"), [("20300102120000+0000", True), ("20300102120001+0000", False)]
)
def test_a_message_is_from_no_later_than_tomorrow(ahead, taken):
    change = order(orm(MSH_7=ahead))
    assert (change.at is not None) is taken
    assert bool(change.flags) is not taken


@pytest.mark.parametrize("sent", ["20251026025000", "202510260210", "20251026025959.9"])
def test_in_the_hour_that_comes_twice_messages_count_in_order_of_arrival(sent):
    change = order(orm(MSH_7=sent))
    assert change.at is None
    assert change.flags == [
        "MSH-7: the clock was put back over this time: taken in order of arrival"
    ]
    told_apart = order(orm(MSH_7=f"{sent}+0100"))
    assert (told_apart.at is None, told_apart.flags) == (False, [])


@pytest.mark.parametrize("offset", ["", "+0100"])
def test_a_message_time_without_seconds_counts_from_the_end_of_its_minute(offset):
    change = order(orm(MSH_7=f"202501011200{offset}"))
    assert change.at == datetime(2025, 1, 1, 11, 0, 59, tzinfo=UTC)
    assert change.flags == []


@pytest.mark.parametrize("sent", ["2025010112", "2025010112+0100", "20250101", "20250101+0100"])
def test_a_message_time_without_minutes_leaves_the_order_of_arrival(sent):
    change = order(orm(MSH_7=sent))
    assert change.at is None
    assert change.flags == ["MSH-7: no hour and minute: taken in order of arrival"]


# ---- identity ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "number", "where"),
    [
        ({}, Identifier("FO1", "RIS"), "ORC-3"),
        ({"ORC_3": None}, Identifier("FO1", "RIS"), "OBR-3"),
        ({"ORC_3": None, "OBR_3": None}, Identifier("PO1", "RIS"), "ORC-2"),
        ({"ORC_3": None, "OBR_3": None, "ORC_2": None}, Identifier("PO1", "RIS"), "OBR-2"),
        ({"ORC_3": "F1"}, Identifier("F1"), "ORC-3"),
        ({"ORC_3": "F1^NS^1.2.3^ISO"}, Identifier("F1", "NS", "1.2.3", "ISO"), "ORC-3"),
        ({"ORC_3": "F1^^1.2.3^ISO"}, Identifier("F1", "", "1.2.3", "ISO"), "ORC-3"),
        ({"ORC_3": "F\\T\\1^N\\T\\S"}, Identifier("F&1", "N&S"), "ORC-3"),
    ],
)
def test_an_order_is_known_by_its_filler_number_else_its_placers(fields, number, where):
    change = order(orm(**fields))
    assert (change.number, change.where) == (number, where)


@pytest.mark.parametrize(
    ("fields", "key", "procedure_id"),
    [
        ({}, "RP1", "RP1"),
        ({"OBR_19": None}, "CTHEAD", None),
        ({"OBR_19": None, "OBR_4": "^x^^ALT^y"}, "ALT", None),
        ({"OBR_19": None, "OBR_4": "^CT head"}, "CT head", None),
    ],
)
def test_a_procedure_is_known_by_obr_19_else_the_code(fields, key, procedure_id):
    found = procedure(orm(**fields))
    assert (found.key, found.requested_procedure_id) == (key, procedure_id)


def test_a_code_that_dicom_cannot_hold_still_tells_procedures_apart():
    change = order(orm(OBR_19=None, OBR_4="C" * 17 + "^CT head"))
    (found,) = change.procedures
    assert found.key == "C" * 17
    assert found.fields["code_value"] is None
    assert found.fields["description"] == "CT head"
    assert any(flag.startswith("OBR-4.1: ") for flag in change.flags)


def test_a_code_without_scheme_or_text_is_complete_all_the_same():
    fields = procedure(orm(OBR_4="CTHEAD")).fields
    assert [fields[name] for name in ("code_value", "code_scheme", "code_meaning")] == [
        "CTHEAD",
        "L",
        "CTHEAD",
    ]
    assert fields["description"] == "CTHEAD"


def test_the_accession_number_may_come_from_elsewhere_with_its_issuer():
    by = mapper(procedure={"accession_number": ["OBR-18", "ORC-3"]})
    fields = procedure(orm(OBR_18=None), by).fields
    assert (fields["accession_number"], fields["accession_issuer"]) == ("FO1", "RIS")
    fields = procedure(omi(IPC_1="A1^NS^1.2.3^ISO")).fields
    assert (fields["accession_number"], fields["accession_issuer"]) == ("A1", "NS^1.2.3^ISO")


def test_the_policy_for_study_uids_travels_with_the_order():
    by = mapper(procedure={"study_uid_policy": "from_accession"})
    assert order(orm(), by).study_uid_policy is StudyUidPolicy.FROM_ACCESSION


def test_each_ipc_is_a_step_of_its_own():
    text = omi(IPC=[IPC.format("S1", "CT1"), IPC.format("S2", "CT2")])
    found = procedure(text)
    assert [(one.sps_id, one.stations) for one in found.steps] == [
        ("S1", ("CT1",)),
        ("S2", ("CT2",)),
    ]


def test_ipcs_of_different_procedures_are_kept_apart():
    other = "IPC|ACC2|RP2|1.2.4|S2|CT|P2^Neck^99RIS|||CT1"
    change = order(omi(IPC=[IPC.format("S1", "CT1"), other]))
    assert [(p.key, p.study_uid, p.fields["accession_number"]) for p in change.procedures] == [
        ("RP1", "1.2.3", "ACC1"),
        ("RP2", "1.2.4", "ACC2"),
    ]


def obr(number="FO1", accession="ACC1", procedure_id="RP1", sps_id="SPS1", code="CTHEAD"):
    return (
        f"OBR||PO1^RIS|{number}^RIS|{code}^text^99RIS{'|' * 14}{accession}|{procedure_id}"
        f"|{sps_id}||||CT"
    )


def orc(control="NW", number="FO1"):
    return f"ORC|{control}||{number}^RIS||||^^^20300102093000"


def orders(*lines: str) -> str:
    return orm(without=["ORC", "OBR", "ZDS"], after=lines)


def test_obrs_of_one_procedure_are_steps_of_it():
    found = procedure(orders(orc(), obr(sps_id="S1"), obr(sps_id="S2")))
    assert [one.sps_id for one in found.steps] == ["S1", "S2"]


def test_one_zds_at_the_end_speaks_of_its_whole_procedure():
    found = procedure(orders(orc(), obr(sps_id="S1"), obr(sps_id="S2"), "ZDS|1.2.7"))
    assert found.study_uid == "1.2.7"
    text = orders(
        orc(), obr(sps_id="S1"), orc(number="FO2"), obr(number="FO2", sps_id="S2"), "ZDS|1.2.7"
    )
    assert [change.procedures[0].study_uid for change in read(text)] == ["1.2.7", "1.2.7"]


def test_obrs_of_different_procedures_are_procedures_of_one_order():
    text = orders(orc(), obr(), obr(accession="ACC2", procedure_id="RP2", sps_id="S2"), "ZDS|1.2.7")
    change = order(text)
    assert [(p.key, p.study_uid) for p in change.procedures] == [("RP1", None), ("RP2", "1.2.7")]


def test_obrs_with_numbers_of_their_own_are_different_orders():
    text = orders(orc(number=""), obr(), obr(number="FO2", accession="ACC2", procedure_id="RP2"))
    changes = read(text)
    assert [change.number.id for change in changes] == ["FO1", "FO2"]
    assert changes[0].patient is changes[1].patient


def test_several_orders_in_one_message_are_read_in_their_order():
    text = orders(
        orc(), obr(), orc("CA", "FO2"), obr("FO2", procedure_id="RP2"), orc("HD", "FO3"), obr("FO3")
    )
    assert [(change.number.id, change.action) for change in read(text)] == [
        ("FO1", Action.CREATE),
        ("FO2", Action.CANCEL),
        ("FO3", Action.HOLD),
    ]


def test_a_replacement_cancels_the_old_order_and_creates_the_new():
    text = orders(orc("RP"), obr(), orc("RO", "FO2"), obr("FO2", "ACC2", "RP2", "S2"))
    assert [(change.number.id, change.action) for change in read(text)] == [
        ("FO1", Action.CANCEL),
        ("FO2", Action.CREATE),
    ]


def test_steps_that_nothing_tells_apart_are_refused():
    assert wheres(orders(orc(), obr(sps_id=""), obr(sps_id=""))) == [("missing", "OBR-20")]
    (fault,) = faults(orders(orc(), obr(sps_id=""), obr(sps_id="")))
    assert fault.occurrence == 2


def test_two_different_steps_of_one_name_are_refused():
    text = omi(IPC=[IPC.format("S1", "CT1"), IPC.format("S1", "CT2")])
    assert wheres(text) == [("duplicate key", "IPC-4")]


def test_the_same_step_twice_is_one():
    text = omi(IPC=[IPC.format("S1", "CT1"), IPC.format("S1", "CT1")])
    assert len(procedure(text).steps) == 1


def test_one_procedure_with_two_accession_numbers_is_refused():
    assert wheres(orders(orc(), obr(), obr(accession="ACC2", sps_id="S2"))) == [
        ("duplicate key", "OBR")
    ]


def test_a_snapshot_stated_in_two_parts_is_none():
    first, second = IPC.format("S1", "CT1"), IPC.format("S2", "CT1")
    changes = read(
        omi(
            without=["ORC", "TQ1", "OBR", "IPC"],
            after=[orc("PA"), obr(), first, orc("NW"), obr(), second],
        )
    )
    assert [[p.snapshot for p in change.procedures] for change in changes] == [[False], [False]]
    (whole,) = read(
        omi(
            without=["ORC", "TQ1", "OBR", "IPC"],
            after=[orc("NW"), obr(), first, orc("NW"), obr(), second],
        )
    )
    assert [p.snapshot for p in whole.procedures] == [True]
    assert [one.sps_id for one in whole.procedures[0].steps] == ["S1", "S2"]


def test_an_order_without_orc_is_an_update():
    change = order(orm(without=["ORC"]))
    assert (change.action, change.number.id, change.where) == (Action.UPDATE, "FO1", "OBR-3")
    assert "an order without ORC: taken as an update" in change.flags


def test_orders_of_two_patients_in_one_message_are_refused():
    assert wheres(orm(after=["PID|||PID2^^^ADT1", orc(number="FO2"), obr("FO2")])) == [
        ("sequence", "PID")
    ]


def test_an_order_message_without_orders_is_refused():
    assert wheres(orm(without=["ORC", "OBR", "ZDS"])) == [("sequence", "ORC")]
    assert wheres(orm(without=["OBR", "ZDS"])) == [("sequence", "ORC")]


def test_more_than_a_thousand_steps_are_refused():
    text = omi(IPC=[IPC.format(f"S{n}", "CT1") for n in range(1001)])
    assert ("sequence", "OBR") in wheres(text)


# ---- ORC-1 and ORC-5 ----------------------------------------------------------------------

CONTROL = [
    *[("NW", status, Action.CREATE) for status in ("SC", "IP", "")],
    ("SN", "", Action.CREATE),
    ("RO", "", Action.CREATE),
    *[("XO", status, Action.UPDATE) for status in ("SC", "")],
    ("PA", "", Action.UPDATE),
    ("CH", "", Action.UPDATE),
    ("SC", "SC", Action.NOTE),
    ("SC", "A", Action.NOTE),
    ("SC", "", Action.NOTE),
    *[
        (control, status, action)
        for control in ("SC", "XO")
        for status, action in (
            ("IP", Action.START),
            ("CM", Action.COMPLETE),
            ("DC", Action.DISCONTINUE),
            ("CA", Action.CANCELED),
        )
    ],
    *[("CA", status, Action.CANCEL) for status in ("CA", "")],
    *[(control, "", Action.CANCEL) for control in ("OC", "CR", "RP", "OD")],
    *[("DC", status, Action.DISCONTINUE) for status in ("CA", "")],
    *[(control, "", Action.HOLD) for control in ("HD", "OH", "HR")],
    *[(control, "", Action.RELEASE) for control in ("RL", "OE")],
    *[(control, "", Action.NOTE) for control in ("NA", "OK", "SR", "RE", "XX", "DR", "UA", "MC")],
]


@pytest.mark.parametrize(("control", "status", "action"), CONTROL)
def test_orc_1_and_orc_5_say_what_is_asked(control, status, action):
    change = order(orm(ORC_1=control, ORC_5=status))
    assert change.action is action
    assert change.control == f"{control} {status}".strip()
    assert change.flags == []


def test_a_status_that_nobody_expects_is_flagged():
    change = order(orm(ORC_1="NW", ORC_5="ZZ"))
    assert change.action is Action.CREATE
    assert change.flags == ["ORC-5: not expected with NW: taken as create"]


def test_a_cancel_speaks_of_what_it_names():
    change = order(orm(ORC_1="CA"))
    assert [(p.key, [one.sps_id for one in p.steps]) for p in change.procedures] == [
        ("RP1", ["SPS1"])
    ]
    assert order(orm(ORC_1="CA", without=["OBR", "ZDS"])).procedures == []
    assert order(orm(ORC_1="CA", OBR_4=None, OBR_19=None, OBR_20=None)).procedures == []


# ---- notes and patients -------------------------------------------------------------------


def test_notes_belong_to_what_they_stand_behind():
    text = orm(
        without=["PV1", "ORC", "OBR", "ZDS"],
        after=[
            "NTE|1||of the patient",
            "NTE|2||more",
            orc(),
            "NTE|1||of the order",
            obr(),
            "OBX|1|ST|^Body Weight||65|kg",
            "NTE|1||of the procedure~again",
        ],
    )
    change = order(text)
    assert change.patient.fields["comments"] == "of the patient\r\nmore"
    assert change.fields["comments"] == "of the order"
    assert change.procedures[0].fields["comments"] == "of the procedure\r\nagain"


def test_a_note_is_nobody_elses():
    change = order(orm(after=["NTE|1||of the procedure"]))
    assert "comments" not in change.patient.fields
    assert "comments" not in change.fields


def test_allergies_are_several_values():
    text = orm(
        without=["ORC", "OBR", "ZDS"],
        after=["AL1|1||^Penicillin", "AL1|2||L^Latex", "AL1|3||NUTS", orc(), obr()],
    )
    assert order(text).patient.fields["allergies"] == "Penicillin\\Latex\\NUTS"


@pytest.mark.parametrize(
    ("pid_3", "expected"),
    [
        ("1^^^A", Identifier("1", "A")),
        ("1", Identifier("1")),
        ("1^^^A&1.2.3&ISO", Identifier("1", "A", "1.2.3", "ISO")),
        ("1^^^A^XX~2^^^B^MR", Identifier("2", "B")),
        ("1^^^A^PI~2^^^B^MR", Identifier("2", "B")),
        ("1^^^A~2^^^B^PI", Identifier("2", "B")),
        ("1^^^A^XX~2^^^B", Identifier("2", "B")),
        ("1^^^A^SS~2^^^B^XX", Identifier("2", "B")),
        ("1^^^A^NNDNK~2^^^B^XX", Identifier("2", "B")),
    ],
)
def test_the_patient_id_is_chosen_by_type(pid_3, expected):
    assert order(orm(PID_3=pid_3)).patient.id == expected


def test_the_configured_authority_goes_before_the_type():
    by = mapper(patient_identifier={"authorities": ["B", "1.2.3"]})
    assert order(orm(PID_3="1^^^A^MR~2^^^B^XX"), by).patient.id == Identifier("2", "B")
    assert order(orm(PID_3="1^^^A^MR~2^^^&1.2.3&ISO"), by).patient.id.id == "2"


def test_a_national_number_is_the_patient_id_only_if_told():
    by = mapper(patient_identifier={"types": ["NI"]})
    assert order(orm(PID_3="1^^^A^MR~2^^^B^NI"), by).patient.id == Identifier("2", "B")


def test_an_identifier_without_issuer_has_the_feeds():
    by = mapper(patient_identifier={"default_issuer": "HOSP^1.2.3^ISO"})
    assert order(orm(PID_3="1"), by).patient.id == Identifier("1", "HOSP", "1.2.3", "ISO")
    assert order(orm(PID_3="1^^^A"), by).patient.id == Identifier("1", "A")


def test_all_other_identifiers_are_kept_with_their_type():
    text = orm(PID_2="9^^^C", PID_3="1^^^A^MR~2^^^B^SS", PID_4="7^^^D~" + "x" * 70)
    change = order(text)
    assert change.patient.others == (
        (Identifier("2", "B"), "SS"),
        (Identifier("9", "C"), ""),
        (Identifier("7", "D"), ""),
    )
    assert "PID-4: an identifier that can't be kept: not taken" in change.flags


def test_demographics_alone_are_a_patient_update():
    (change,) = read(adt_a08(PID_8='""'))
    assert isinstance(change, PatientUpdate)
    assert change.source == "RIS^HOSPITAL"
    assert change.patient.id == Identifier("PID1", "ADT1")
    assert change.patient.fields["sex"] is None


def test_a_merge_names_survivor_and_prior():
    (change,) = read(adt_a40(MRG_1="8^^^OTHER^MR~PID2^^^ADT1^PI"))
    assert isinstance(change, PatientMerge)
    assert change.patient.id == Identifier("PID1", "ADT1")
    assert change.prior == Identifier("PID2", "ADT1")


def test_several_merges_come_in_one_message():
    changes = read(adt_a40(after=["PID|||PID3^^^ADT1", "MRG|PID4^^^ADT1"]))
    assert [(c.patient.id.id, c.prior.id) for c in changes] == [("PID1", "PID2"), ("PID3", "PID4")]


def test_a_merge_without_prior_is_refused():
    assert wheres(adt_a40(MRG_1=None)) == [("missing", "MRG-1")]
    assert wheres(adt_a40(without=["PID", "MRG"])) == [("sequence", "PID")]


def test_custom_delimiters_change_nothing():
    standard = omg(PV1_8="7^Chen&&^Li")
    custom = standard.translate(str.maketrans("|^~\\&", "#:*?!")).replace("MSH#:*?!", "MSH#:*?!", 1)
    (one,), (other,) = read(standard), read(custom)
    assert isinstance(one, OrderChange)
    assert one == other


@pytest.mark.parametrize("unused", ["9" * 70 + "^^^NAT^NI", "a\\F\\b\x07^^^H^PI"])
def test_an_identifier_that_is_not_used_may_be_at_fault(unused):
    change = order(orm(PID_3=f"{unused}~P1^^^ADT1^MR"))
    assert (change.patient.id, change.patient.others) == (Identifier("P1", "ADT1"), None)
    assert change.flags == ["PID-3: an identifier that can't be kept: not taken"]


def test_the_identifier_that_counts_is_never_replaced_for_its_fault():
    assert wheres(orm(PID_3=f"{'9' * 70}^^^ADT1^MR~N1^^^NAT^NI")) == [("too long", "PID-3.1")]


def test_the_first_repetition_of_identifiers_may_be_empty():
    assert order(orm(PID_3="~s5^^^H")).patient.id == Identifier("s5", "H")
    merge = adt_a40(MRG_1="~PID2^^^ADT1^MR")
    (change,) = read(merge)
    assert isinstance(change, PatientMerge)
    assert change.prior == Identifier("PID2", "ADT1")


@pytest.mark.parametrize("unknown", ["19800000", "19800200", "00000000"])
def test_a_birth_date_with_zeros_is_not_taken(unknown):
    change = order(orm(PID_7=unknown))
    assert "birth_date" not in change.patient.fields
    assert change.flags == ["PID-7: no whole date: not taken"]


@pytest.mark.parametrize("unknown", ["FOO", None, " ", '""'])
def test_a_modality_that_is_not_known_is_none(unknown):
    assert not step(orm(OBR_24=unknown)).fields.get("modality")


@pytest.mark.parametrize("deleted", ['""', '""^""', '""^^""', '""^""~'])
def test_a_name_of_nothing_but_null_values_is_deleted(deleted):
    change = order(orm(PID_5=deleted, PV1_8=deleted))
    assert change.patient.fields["patient_name"] is None
    assert change.fields["referring_physician"] is None
    assert order(orm(PID_5='Doe^""')).patient.fields["patient_name"] == "Doe"


def test_a_deleted_time_leaves_the_next_place_its_turn():
    start = step(omg(TQ1_7='""', ORC_7="^^^20300102093000")).start
    assert start == datetime(2030, 1, 2, 8, 30, tzinfo=UTC)
    assert step(omg(TQ1_7='""', ORC_7='^^^""')).start is None


def test_two_obr_that_differ_in_their_placer_alone_are_two_orders():
    second = "OBR|2|PO2^RIS||MRKNEE^MR knee^99RIS||||||||||||||ACC2|RP2|SPS2||||MR"
    text = orm(ORC_3=None, OBR_3=None, without=["ZDS"], after=second)
    numbers = [change.number for change in read(text)]
    assert numbers == [Identifier("PO1", "RIS"), Identifier("PO2", "RIS")]
    of_one_filler = orm(ORC_3="FO1^RIS", OBR_3=None, without=["ZDS"], after=second)
    assert [change.number for change in read(of_one_filler)] == [Identifier("FO1", "RIS")]


@pytest.mark.parametrize("nameless", [None, " ", '""', "^^"])
def test_a_new_order_without_the_patients_name_is_flagged(nameless):
    flag = "a new order without the patient's name"
    assert order(orm(PID_5=nameless)).flags == [flag]
    assert order(orm(PID_5=nameless, ORC_1="CA")).flags == []


# ---- blanks -----------------------------------------------------------------------------


def test_a_blank_order_number_is_none():
    assert order(orm(ORC_3="  ^RIS")).number == Identifier("FO1", "RIS")
    assert order(orm(ORC_3=" ^RIS", OBR_3=" ")).number == Identifier("PO1", "RIS")
    text = orm(ORC_2=" ", ORC_3=" ^RIS", OBR_2="\\.sp\\", OBR_3=" ^RIS")
    assert wheres(text) == [("missing", "ORC-3")]


def test_a_blank_patient_identifier_is_none():
    assert wheres(orm(PID_3=" ^^^ADT1^MR")) == [("missing", "PID-3")]
    assert order(orm(PID_3=" ^^^ADT1^MR~P2^^^ADT1^MR")).patient.id == Identifier("P2", "ADT1")


def test_blank_times_and_codes_say_nothing():
    padded = order(orm(ORC_7="^^^    ", PID_7=" ", PID_8=" ", OBR_20=" ", ZDS_1=" "))
    assert padded.patient.fields.keys() == {"patient_name"}
    (found,) = padded.procedures
    assert (found.study_uid, found.steps[0].sps_id, found.steps[0].start) == (None, None, None)
    assert padded.flags == []


def test_blank_texts_delete_nothing():
    full = orm(ORC_1="XO", OBR_31=" ", OBR_4="CTHEAD^ ^L", PID_11=" ^ ", after="NTE|1||  ")
    change = order(full)
    (found,) = change.procedures
    assert not {"reason", "comments"} & found.fields.keys()
    assert (found.fields["description"], found.fields["code_meaning"]) == ("CTHEAD", "CTHEAD")
    assert change.patient.fields.keys() == {"patient_name", "birth_date", "sex"}


def test_a_blank_text_leaves_the_next_place_its_turn():
    assert procedure(orm(OBR_44="X1^ ")).fields["description"] == "CT head"

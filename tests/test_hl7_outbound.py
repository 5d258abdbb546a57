from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.parser import parse_message, parse_segment
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from hl7 import er7, profile, strictness
from hl7.inbound import Inbound
from hl7.mapping import Mapper, envelope
from hl7.outbound import Style, render
from hl7.profiles import Profiles
from mwl import charsets
from mwl.config import Destination, shipped
from mwl.db.tables import Delivery
from mwl.orders import Action
from mwl.outbox import Destinations, status_facts
from tests.builders import omg, omi, orm

DELIVERY = Delivery.__table__

NOW = datetime(2030, 7, 2, 10, 0, 5, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")

VERSIONS = {
    "ORM^O01": ["2.3", "2.3.1", "2.4", "2.5", "2.5.1", "2.6"],
    "OMG^O19": ["2.4", "2.5", "2.5.1", "2.6", "2.7", "2.8", "2.8.1", "2.8.2"],
    "OMI^O23": ["2.5", "2.5.1", "2.6", "2.7", "2.8", "2.8.1", "2.8.2"],
    "ORU^R01": ["2.3", "2.3.1", "2.4", "2.5", "2.5.1", "2.6", "2.7", "2.8", "2.8.1", "2.8.2"],
}
KINDS = [(message, version) for message, versions in VERSIONS.items() for version in versions]


def step(number=1, **values):
    return {
        "sps_id": f"SPS{number}",
        "state": "STARTED",
        "modality": "CT",
        "station_ae_titles": "CT1\\CT2",
        "station_name": "CT-ROOM-1",
        "location": "BASEMENT",
        "start_local": "20300702113000",
        "description": "Head without contrast",
        "protocol_value": "HEADP",
        "protocol_scheme": "99RIS",
        "protocol_meaning": "Head plain",
        **values,
    }


def procedure(*steps, number=1, **values):
    return {
        "requested_procedure_id": f"RP{number}",
        "study_instance_uid": f"1.2.3.{number}",
        "accession_number": f"ACC{number}",
        "accession_issuer": "HOSP^1.2.4^ISO",
        "description": "CT head",
        "code_value": "CTHEAD",
        "code_scheme": "99RIS",
        "code_meaning": "CT of the head",
        "priority": "STAT",
        **values,
        "steps": list(steps or [step()]),
    }


def fact(*procedures, event="IP", order=None, patient=None, **performed):
    return {
        "version": 1,
        "event": event,
        "at": NOW.isoformat(),
        "order": {
            "source": "RIS^HOSPITAL",
            "order_number": "FO1",
            "order_namespace": "RIS",
            "placer_number": "PO1",
            "placer_issuer": "HIS^1.2.5^ISO",
            "filler_number": "FO1",
            "filler_issuer": "RIS",
            "admission_id": "V1",
            "admission_issuer": "ADT1",
            "route_of_admissions": "I",
            **(order or {}),
        },
        "patient": {
            "patient_id": "PID1",
            "issuer": "HOSP^1.2.6^ISO",
            "patient_name": "Doe^Jane^Q^Dr^MD",
            "birth_date": "19800229",
            "sex": "F",
            **(patient or {}),
        },
        "procedures": list(procedures or [procedure()]),
        "performed": {
            "start": "20300702113500",
            "end": "20300702115500",
            "station": "CT1",
            "modality": "CT",
            **performed,
        },
    }


def rendered(given, message="ORM^O01", version="2.5.1", **style):
    return render(given, Style(message, version, **style), control_id="7-AB", now=NOW, zone=BERLIN)


def read(raw):
    decoded = charsets.decode(raw, er7.character_sets(raw))
    assert not decoded.flags
    return er7.Message.parse(decoded.text, decoded.encoding)


def texts(message, *places):
    return [message.text(place) for place in places]


# hl7apy's strict parser raises on what v2.7 withdrew, wherever it stands empty.
READ_BY_HL7APY = [(message, version) for message, version in KINDS if version < "2.7"]


def within_the_standard(message, version, event):
    # OBR-18 is an ST, in which an issuer is more than the standard has room for.
    issuer = {} if message == "OMI^O23" else {"accession_issuer": ""}
    given = fact(procedure(step(1), step(2), **issuer), procedure(number=2, **issuer), event=event)
    return rendered(given, message, version)


@pytest.mark.parametrize(("message", "version"), READ_BY_HL7APY)
@pytest.mark.parametrize("event", ["IP", "CM"])
def test_hl7apy_finds_every_version_in_order(message, version, event):
    raw = within_the_standard(message, version, event)
    lines = [line for line in raw.decode().split("\r") if line and not line.startswith("ZDS")]
    for line in lines:
        segment = parse_segment(line, version=version, validation_level=VALIDATION_LEVEL.STRICT)
        assert segment.validate(report_file=None)
    if message != "ORM^O01":  # where hl7apy wants all of OBR, RQD, RQ1 … instead of one
        parsed = parse_message(
            "\r".join(lines), validation_level=VALIDATION_LEVEL.STRICT, find_groups=True
        )
        assert parsed.validate(report_file=None)


@pytest.mark.parametrize(("message", "version"), KINDS)
@pytest.mark.parametrize("event", ["IP", "CM"])
def test_we_hold_ourselves_to_what_we_hold_others_to(message, version, event):
    assert strictness.faults(read(within_the_standard(message, version, event))) == []


@pytest.mark.parametrize(("message", "version"), KINDS)
def test_every_kind_says_whose_order_it_is_and_what_became_of_it(message, version):
    found = read(rendered(fact(event="CM"), message, version, application="RIS^1.2^ISO"))
    assert texts(found, "MSH-3", "MSH-5.1", "MSH-5.3", "MSH-7", "MSH-10", "MSH-11", "MSH-12") == [
        *("MWL", "RIS", "ISO", "20300702120005+0200", "7-AB", "P", version)
    ]
    assert "^".join(texts(found, "MSH-9.1", "MSH-9.2")) == message
    assert texts(found, "PID-3.1", "PID-3.4.1", "PID-3.4.2", "PID-3.4.3") == [
        *("PID1", "HOSP", "1.2.6", "ISO")
    ]
    assert found.first("PID").whole(5) == "Doe^Jane^Q^MD^Dr"
    assert texts(found, "PID-7", "PID-8", "PV1-2", "PV1-19.1", "PV1-19.4.1") == [
        *("19800229", "F", "I", "V1", "ADT1")
    ]
    assert texts(found, "ORC-1", "ORC-5", "ORC-2.1", "ORC-2.2", "ORC-2.3", "ORC-3.1") == [
        *("SC", "CM", "PO1", "HIS", "1.2.5", "FO1")
    ]
    assert texts(found, "OBR-2.1", "OBR-3.1", "OBR-4.1", "OBR-4.2", "OBR-4.3", "OBR-4.4") == [
        *("PO1", "FO1", "CTHEAD", "CT of the head", "99RIS", "HEADP")
    ]
    assert texts(found, "OBR-7", "OBR-8", "OBR-18", "OBR-19", "OBR-21", "OBR-24", "OBR-25") == [
        *("20300702113500", "20300702115500", "ACC1", "RP1", "CT1", "CT", "A")
    ]
    start, priority = ("TQ1-7", "TQ1-9") if found.first("TQ1") else ("OBR-27.4", "OBR-27.6")
    assert texts(found, start, priority, "OBR-22") == ["20300702113000", "S", "20300702120005+0200"]
    assert "1.2.3.1" in rendered(fact(event="CM"), message, version).decode()


@pytest.mark.parametrize(
    ("event", "status", "results"),
    [("IP", "IP", "I"), ("CM", "CM", "A"), ("CLOSED", "CM", "R"), ("DC", "DC", "X")],
)
def test_an_event_is_a_status_and_a_result_status(event, status, results):
    found = read(rendered(fact(event=event)))
    assert texts(found, "ORC-5", "OBR-25") == [status, results]
    assert bool(found.text("OBR-8")) == (event != "IP")  # what goes on has no end


def test_our_own_mapping_reads_back_what_was_ordered():
    # As a change of the order, whose every field is looked at.
    raw = rendered(fact(event="CM"), "OMI^O23").replace(b"\rORC|SC|", b"\rORC|XO|")
    message = read(raw.replace(b"||CM|", b"||SC|"))
    mapper = Mapper(profile.load(shipped("hl7/default.toml")), BERLIN)
    (change,) = mapper.read(message, envelope(message), NOW)
    assert change.action is Action.UPDATE
    assert change.number == ("FO1", "RIS", "", "")
    assert change.placer == ("PO1", "HIS", "1.2.5", "ISO")
    assert change.patient.id == ("PID1", "HOSP", "1.2.6", "ISO")
    assert change.patient.fields["patient_name"] == "Doe^Jane^Q^Dr^MD"
    (stated,) = change.procedures
    assert (stated.requested_procedure_id, stated.study_uid) == ("RP1", "1.2.3.1")
    assert stated.fields["accession_number"] == "ACC1"
    assert stated.fields["accession_issuer"] == "HOSP^1.2.4^ISO"
    (exam,) = stated.steps
    assert (exam.sps_id, exam.stations) == ("SPS1", ("CT1",))
    assert exam.start == datetime(2030, 7, 2, 11, 30, tzinfo=BERLIN)


def test_with_ipc_a_procedure_is_an_obr_and_a_step_an_ipc():
    given = fact(procedure(step(1), step(2)), procedure(step(3), number=2))
    found = read(rendered(given, "OMI^O23"))
    names = [segment.name for segment in found.segments]
    assert names[3:] == ["ORC", "TQ1", "OBR", "IPC", "IPC", "ORC", "TQ1", "OBR", "IPC"]
    assert [ipc.get(4) for ipc in found.all("IPC")] == ["SPS1", "SPS2", "SPS3"]


def test_without_ipc_a_step_is_an_obr():
    given = fact(procedure(step(1), step(2)), procedure(step(3), number=2))
    found = read(rendered(given))
    assert [obr.get(20) for obr in found.all("OBR")] == ["SPS1", "SPS2", "SPS3"]
    assert [zds.get(1) for zds in found.all("ZDS")] == ["1.2.3.1", "1.2.3.1", "1.2.3.2"]


@pytest.mark.parametrize(("event", "told"), [("IP", ["SPS1"]), ("CM", ["SPS1", "SPS2"])])
def test_what_was_cancelled_or_has_not_begun_is_not_spoken_of(event, told):
    given = fact(
        procedure(step(1), step(2, state="SCHEDULED")),
        procedure(step(3, state="CANCELED"), number=2),
        event=event,
    )
    assert [obr.get(20) for obr in read(rendered(given)).all("OBR")] == told


def test_an_entry_of_our_own_has_our_number():
    order = {"placer_number": "", "filler_number": "", "order_number": "MWL-1"}
    found = read(rendered(fact(order=order | {"order_namespace": "", "admission_id": ""})))
    assert texts(found, "ORC-2", "ORC-3", "OBR-3") == ["", "MWL-1", "MWL-1"]


def test_no_value_is_read_as_a_delimiter():
    odd = "a|b^c~d\\e&f\rg"
    given = fact(
        procedure(step(1, sps_id=odd), code_meaning=odd, accession_number='""'),
        patient={"patient_id": odd, "patient_name": "O|Neil^A&B"},
    )
    found = read(rendered(given))
    assert [segment.name for segment in found.segments] == [
        *("MSH", "PID", "PV1", "ORC", "OBR", "ZDS")
    ]
    assert texts(found, "PID-3.1", "PID-5.1", "PID-5.2", "OBR-4.2", "OBR-20", "OBR-18") == [
        *(odd, "O|Neil", "A&B", odd, odd, '""')
    ]


_TEXTS = st.text(
    st.sampled_from('ab é山|^~\\&#\r\n"FSTREXH.0\x7f\ufdd0'), min_size=1, max_size=12
).filter(str.strip)


@settings(max_examples=60)
@given(_TEXTS, _TEXTS, _TEXTS, st.sampled_from(KINDS))
def test_every_text_comes_back_as_it_was(number, issuer, meaning, kind):
    issuer = issuer.replace("^", "") or "x"
    given = fact(
        procedure(code_meaning=meaning),
        order={"placer_number": number, "placer_issuer": issuer},
        patient={"patient_id": number},
    )
    found = read(rendered(given, *kind))
    said = texts(found, "PID-3.1", "ORC-2.1", "ORC-2.2", "OBR-4.2")
    expected = [number, number, issuer, meaning]
    assert said == [each.replace("\ufdd0", "\ufffd") for each in expected]


def test_groups_of_a_name_are_repetitions():
    name = "Yamada^Tarou=山田^太郎=やまだ^たろう"
    found = read(rendered(fact(patient={"patient_name": name})))
    pid = found.first("PID")
    assert [pid.get(5, number, 8) for number in (1, 2, 3)] == ["A", "I", "P"]
    assert [pid.get(5, number, 1) for number in (1, 2, 3)] == ["Yamada", "山田", "やまだ"]


@pytest.mark.parametrize(
    ("name", "charset", "said"),
    [
        ("Doe^Jane", "8859/1", "8859/1"),
        ("Müller^Jörg", "8859/1", "8859/1"),
        ("Dvořák^Jiří", "8859/2", "8859/2"),
        ("Dvořák^Jiří", "8859/1", "UNICODE UTF-8"),
        ("Müller^Jörg", "ASCII", "UNICODE UTF-8"),
        ("Müller^Jörg", "", "UNICODE UTF-8"),
        ("Doe^Jane", "", ""),
        ("Müller^Jörg", "nonsense", "UNICODE UTF-8"),
        ("Yamada^Tarou=山田^太郎", "ISO IR87", "ISO IR87"),
        ("Yamada^Tarou=山田^太郎", "ISO IR14", "UNICODE UTF-8"),
        ("Иванов^Иван", "8859/5", "8859/5"),
    ],
)
def test_what_a_set_can_not_say_goes_as_utf_8(name, charset, said):
    raw = rendered(fact(patient={"patient_name": name}), charset=charset)
    found = read(raw)
    assert found.text("MSH-18") == said
    pid = found.first("PID")
    assert [pid.get(5, n + 1, 1) for n in range(name.count("=") + 1)] == [
        group.split("^")[0] for group in name.split("=")
    ]


@pytest.mark.parametrize(("message", "version"), KINDS)
def test_a_destination_may_ask_for_every_kind(message, version):
    assert Destination(name="ris", host="ris", port=1, message=message, version=version)


@pytest.mark.parametrize(
    ("message", "version", "why"),
    [
        ("ORM^O01", "2.7", "withdrawn with 2.7"),
        ("ORM^O01", "2.8.2", "withdrawn with 2.7"),
        ("OMG^O19", "2.3.1", "came with 2.4"),
        ("OMI^O23", "2.4", "came with 2.5"),
        ("ORU^R01", "2.2", "version"),
        ("ORU^R01", "2.9", "version"),
    ],
)
def test_a_destination_asks_for_what_its_version_has(message, version, why):
    with pytest.raises(ValueError, match=why):
        Destination(name="ris", host="ris", port=1, message=message, version=version)


def test_a_destination_asks_for_a_set_that_there_is_and_for_an_event():
    given = {"name": "ris", "host": "h", "port": 1}
    assert Destination(**given, charset="8859/1").charset == "8859/1"
    for wrong in ({"charset": "UNICODE UTF8X"}, {"events": []}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Destination(**given, **wrong)


def test_a_fact_of_another_version_is_refused():
    with pytest.raises(ValueError, match="version"):
        rendered({**fact(), "version": 2})


# ---- who assigned a number, there and back ----------------------------------------------


def ei(number, issuer):
    return "^".join([number, *issuer.split("^")]).rstrip("^")


def cx(number, issuer, type_=""):
    return f"{number}^^^{issuer.replace('^', '&')}^{type_}".rstrip("^")


USUAL = [(message, version) for message, version in KINDS if version == "2.5.1"]
ISSUERS = ["", "HOSP", "HOSP^1.2.6^ISO", "^1.2.6^ISO", "^ris.example^DNS"]


def ordered(kind, number, issuer):
    """Order with every number of one issuer; ORM and OMG say the accession's in OBR-18."""
    placer, filler, accession = (ei(f"{name}{number}", issuer) for name in ("PO", "FO", "ACC"))
    study = {"IPC_3": f"1.2.3.{number}"} if kind is omi else {"ZDS_1": f"1.2.3.{number}"}
    return kind(
        PID_3=cx(f"PID{number}", issuer),
        PV1_19=cx(f"V{number}", issuer),
        ORC_2=placer,
        ORC_3=filler,
        OBR_2=placer,
        OBR_3=filler,
        **{"IPC_1" if kind is omi else "OBR_18": accession},
        **study,
    )


@pytest.mark.parametrize("kind", [orm, omg, omi])
def test_who_assigned_a_number_is_told_as_it_came(sqlite_database, kind):
    profiles = Profiles.single(profile.load(shipped("hl7/default.toml")), BERLIN)
    way_in = Inbound(sqlite_database, profiles, clock=lambda: NOW)
    for number, issuer in enumerate(ISSUERS):
        answer = way_in.receive(ordered(kind, number, issuer).encode(), "127.0.0.1:1")
        assert b"MSA|AA" in answer
    payloads = facts_of_all_orders(sqlite_database)
    for number, (issuer, payload) in enumerate(zip(ISSUERS, payloads, strict=True)):
        placer, filler, accession = (ei(f"{name}{number}", issuer) for name in ("PO", "FO", "ACC"))
        every = kind is orm and number == 2
        for message, version in KINDS if every else USUAL:
            found = read(rendered(payload, message, version))
            place = "IPC-1" if message == "OMI^O23" else "OBR-18"
            assert [found.whole(each) for each in ("ORC-2", "ORC-3", "OBR-2", "OBR-3", place)] == [
                *(placer, filler, placer, filler, accession)
            ]
            typed = version >= "2.7"
            assert found.first("PID").raw(3) == cx(f"PID{number}", issuer, "PI" if typed else "")
            assert found.first("PV1").raw(19) == cx(f"V{number}", issuer, "VN" if typed else "")


def facts_of_all_orders(database):
    told = Destinations.of([Destination(name="ris", host="127.0.0.1", port=1)])

    def work(session):
        conn = session.connection()
        for (order,) in conn.exec_driver_sql("SELECT id FROM imaging_order ORDER BY id").all():
            status_facts(session, told, order, "IP", NOW)
        return [row.payload for row in conn.execute(select(DELIVERY).order_by(DELIVERY.c.id))]

    return database.write(work)

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hl7apy.parser import parse_message
from hl7apy.validation import VALIDATION_LEVEL
from hypothesis import given, settings
from hypothesis import strategies as st

from hl7 import er7
from hl7.ack import MAX_FAULTS, Code, acknowledge, code_for
from mwl.errors import Fault, Reason
from tests.builders import orm

NOW = datetime(2030, 1, 2, 9, 30, tzinfo=timezone(timedelta(hours=1)))
MISSING = Fault(Reason.MISSING, "PID-3.1", "a patient ID is needed")
TOO_LONG = Fault(Reason.TOO_LONG, "OBR-18", "an accession number has 16 characters", 2)


def answer(
    request: str | None, code: Code = Code.AA, *faults: Fault, encoding: str = "utf-8"
) -> er7.Message:
    parsed = er7.Message.parse(request, encoding) if request is not None else None
    raw = acknowledge(parsed, code, faults, now=NOW, control_id="9")
    return er7.Message.parse(raw.decode(encoding), encoding)


def test_the_header_goes_back_the_other_way() -> None:
    ack = answer(orm(MSH_10="77", MSH_11="T", MSH_12="2.3.1"))
    got = {number: ack.header.raw(number) for number in (3, 4, 5, 6, 7, 9, 10, 11, 12)}
    assert got == {
        3: "MWL",
        4: "RADIOLOGY",
        5: "RIS",
        6: "HOSPITAL",
        7: "20300102093000+0100",
        9: "ACK^O01^ACK",
        10: "9",
        11: "T",
        12: "2.3.1",
    }
    assert ack.text("MSA-1") == "AA"
    assert ack.text("MSA-2") == "77"
    assert [segment.name for segment in ack.segments] == ["MSH", "MSA"]


@pytest.mark.parametrize(
    ("version", "message_type"),
    [("2.2", "ACK"), ("2.3", "ACK"), ("2.3.1", "ACK^O01^ACK"), ("2.8.2", "ACK^O01^ACK"),
     ("", "ACK^O01^ACK"), ("nonsense", "ACK^O01^ACK")],
)  # fmt: skip
def test_the_message_type_fits_the_version(version: str, message_type: str) -> None:
    assert answer(orm(MSH_12=version)).header.raw(9) == message_type


def test_each_fault_has_its_err_segment() -> None:
    ack = answer(orm(), Code.AE, MISSING, TOO_LONG)
    first, second = ack.all("ERR")
    assert first.raw(2) == "PID^1^3^1^1"
    assert first.raw(3) == "101^Required field missing^HL70357"
    assert first.raw(4) == "E"
    assert first.get(8) == "a patient ID is needed"
    assert second.raw(2) == "OBR^2^18^1"
    assert second.get(3) == "104"
    assert ack.text("MSA-3") == "PID-3.1: a patient ID is needed"


def test_before_v2_5_err_has_one_field_that_repeats() -> None:
    ack = answer(orm(MSH_12="2.4"), Code.AE, MISSING, TOO_LONG)
    (err,) = ack.all("ERR")
    assert err.raw(1, 1) == "PID^1^3^101&Required field missing&HL70357"
    assert err.raw(1, 2) == "OBR^2^18^104&Value too long&HL70357"


@pytest.mark.parametrize(
    ("where", "location"),
    [
        ("PID-3(2).4.1", "PID^1^3^2^4^1"),
        ("ZDS", "ZDS^1"),
        ("OBX(3)-5", "OBX^3^5^1"),
        ("", ""),
        ("--to", ""),
        ("PatientID", ""),
    ],
)
def test_a_fault_is_located_as_far_as_it_says_where(where: str, location: str) -> None:
    ack = answer(orm(), Code.AE, Fault(Reason.MALFORMED, where, "no"))
    assert ack.all("ERR")[0].raw(2) == location


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_a_condition_of_table_0357(reason: Reason) -> None:
    condition = answer(orm(), Code.AE, Fault(reason, "MSH", "x")).text("ERR-3")
    assert condition in {*map(str, range(100, 105)), *map(str, range(200, 208))}


@pytest.mark.parametrize(
    ("reasons", "code"),
    [
        ([], "AA"),
        ([Reason.MISSING], "AE"),
        ([Reason.OTHER_PATIENT], "AE"),
        ([Reason.DUPLICATE_KEY], "AE"),
        ([Reason.FINAL], "AE"),
        ([Reason.UNSUPPORTED_TYPE], "AR"),
        ([Reason.UNSUPPORTED_EVENT], "AR"),
        ([Reason.UNSUPPORTED_PROCESSING], "AR"),
        ([Reason.UNSUPPORTED_VERSION], "AR"),
        ([Reason.UNKNOWN_KEY], "AR"),
        ([Reason.INTERNAL], "AR"),
        ([Reason.MISSING, Reason.UNKNOWN_KEY], "AR"),
    ],
)
def test_content_is_ae_and_rejection_is_ar(reasons: list[Reason], code: str) -> None:
    assert code_for([Fault(reason, "", "x") for reason in reasons]) == code


def test_faults_with_an_aa_are_warnings() -> None:
    assert answer(orm(), Code.AA, MISSING).text("ERR-4") == "W"


def test_what_has_no_header_is_answered_without_one() -> None:
    ack = answer(None, Code.AE, Fault(Reason.SEQUENCE, "MSH", "a message begins with MSH"))
    assert ack.header.raw(9) == "ACK"
    assert ack.text("MSH-12") == "2.5.1"
    assert ack.get("MSA-2") is None
    assert ack.text("ERR-2.1") == "MSH"
    assert ack.text("ERR-3") == "100"


def test_a_header_alone_is_enough_to_answer() -> None:
    raw = orm(MSH_10="B\xfcro7").encode("latin-1") + b"\0"
    ack = acknowledge(er7.header(raw), Code.AE, [MISSING], now=NOW, control_id="9")
    assert b"MSA|AE|B\xfcro7|" in ack


def test_delimiters_are_the_senders() -> None:
    request = "MSH*:+!?*RIS****20300101**ORM:O01*7*P*2.5.1\rPID*1\r"
    raw = acknowledge(er7.Message.parse(request), Code.AE, [MISSING], now=NOW, control_id="9")
    assert raw.startswith(b"MSH*:+!?***RIS**")
    assert b"\rERR**PID:1:3:1:1*101:Required field missing:HL70357*E*" in raw


def test_texts_are_escaped_and_echoes_are_not_escaped_again() -> None:
    fault = Fault(Reason.MALFORMED, "PID-7", "a|b^c\rd")
    ack = answer(orm(MSH_10="1\\T\\2"), Code.AE, fault)
    assert ack.text("ERR-8") == "a|b^c\rd"
    assert ack.text("MSA-2") == "1&2"
    assert len(ack.segments) == 3


@pytest.mark.parametrize("request_line", ["MSH|^|", "MSH|^~|", "MSH|^~\\|"])
def test_a_sender_without_all_delimiters_gets_no_others(request_line: str) -> None:
    for version in ("2.3", "2.5"):
        request = er7.Message.parse(request_line + f"RIS||||20300101||ORM^O01|7|P|{version}\r")
        raw = acknowledge(
            request, Code.AE, [Fault(Reason.MISSING, "PID-3", "a|b")], now=NOW, control_id="9"
        )
        assert b"\0" not in raw
        ack = er7.Message.parse(raw.decode())
        assert ack.delimiters == request.delimiters
        assert ack.text("MSA-2") == "7"


@pytest.mark.parametrize(
    ("declared", "encoding"), [("8859/1", "latin-1"), ("UNICODE UTF-8", "utf-8"), ("", "utf-8")]
)
def test_msh_18_and_msh_10_come_back_byte_for_byte(declared: str, encoding: str) -> None:
    request = orm(MSH_3="Köln", MSH_10="Ä1", MSH_18=declared)
    fault = Fault(Reason.MISSING, "PID-3", "Größe")
    parsed = er7.Message.parse(request, encoding)
    raw = acknowledge(parsed, Code.AE, [fault], now=NOW, control_id="9")
    assert "|Köln|".encode(encoding) in raw
    assert "|Ä1|".encode(encoding) in raw
    ack = er7.Message.parse(raw.decode(encoding))
    assert ack.text("MSH-18") == declared
    # Without MSH-18 texts of our own are ASCII.
    assert ack.text("ERR-8") == ("Größe" if declared else "Gr??e")


def test_what_we_say_is_bounded() -> None:
    faults = [Fault(Reason.MALFORMED, "PID-7", "x" * 10_000)] * 1000
    request = er7.Message.parse(orm(MSH_3="y" * 100_000))
    raw = acknowledge(request, Code.AE, faults, now=NOW, control_id="9")
    assert raw.count(b"\rERR|") == MAX_FAULTS
    assert len(raw) < 20_000


# Not before v2.3.1: hl7apy finds a message by its structure, which MSH-9 didn't name until then.
@pytest.mark.parametrize("version", ["2.3.1", "2.4", "2.5", "2.5.1", "2.6"])
@pytest.mark.parametrize("faults", [(), (MISSING, TOO_LONG)], ids=["AA", "AE"])
def test_hl7apy_finds_nothing_wrong_with_an_ack(version: str, faults: tuple[Fault, ...]) -> None:
    request = er7.Message.parse(orm(MSH_12=version, MSH_18="8859/1"), "latin-1")
    raw = acknowledge(request, code_for(faults), faults, now=NOW, control_id="9")
    message = parse_message(
        raw.decode("latin-1"), validation_level=VALIDATION_LEVEL.STRICT, find_groups=False
    )
    assert message.validate()


@settings(deadline=None)
@given(st.text(), st.text(max_size=300), st.sampled_from(list(Reason)))
def test_whatever_a_fault_says_the_answer_is_a_message(
    where: str, text: str, reason: Reason
) -> None:
    request = er7.Message.parse(orm())
    raw = acknowledge(
        request, Code.AE, [Fault(reason, where, text)], now=NOW.astimezone(UTC), control_id="9"
    )
    ack = er7.Message.parse(raw.decode())
    assert [segment.name for segment in ack.segments] == ["MSH", "MSA", "ERR"]
    assert ack.text("MSA-2") == request.text("MSH-10")

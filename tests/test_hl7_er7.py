import string
import time
from pathlib import Path

import pytest
from hl7apy.parser import parse_message
from hypothesis import given, settings
from hypothesis import strategies as st

from hl7.er7 import (
    DELETE,
    MAX_FIELDS,
    MAX_REPETITIONS,
    MAX_SEGMENTS,
    Delimiters,
    Message,
    ParseError,
    escape,
    header,
    path,
    unescape,
)
from tests.builders import omi, orm

SAMPLES = sorted((Path(__file__).parent / "data" / "hl7").glob("*.hl7"))


def parsed(*lines: str, msh: str = "MSH|^~\\&|RIS") -> Message:
    return Message.parse("\r".join((msh, *lines)))


def test_places_are_named_as_in_the_standard() -> None:
    message = parsed(
        "PID|||A^^^NS&1.2.3&ISO~B^^^NS2",
        "OBX|1||x",
        "OBX|2||y",
    )
    assert message.get("PID-3.1") == "A"
    assert message.get("PID-3") == "A"
    assert message.get("PID-3.4.2") == "1.2.3"
    assert message.get("PID-3(2).1") == "B"
    assert message.get("PID-3(2).4.1") == "NS2"
    assert message.get("OBX-3") == "x"
    assert message.get("OBX(2)-3") == "y"
    for absent in ("PID-3(3)", "PID-3.9", "PID-3.1.2", "PID-4", "PID-99", "OBX(3)-3", "ZZZ-1"):
        assert message.get(absent) is None


def test_msh_1_is_the_separator() -> None:
    message = parsed(msh="MSH|^~\\&|RIS|HOSP|||20300101||ORM^O01|7|P|2.5.1")
    assert message.get("MSH-1") == "|"
    assert message.get("MSH-2") == message.whole("MSH-2") == "^~\\&"
    assert message.get("MSH-3") == "RIS"
    assert message.get("MSH-9.2") == "O01"
    assert message.text("MSH-12") == "2.5.1"
    assert message.text("MSH-18") == ""


def test_empty_keeps_and_two_quotes_delete() -> None:
    message = parsed('PID|1||A^""^^""&x~""|""|^|""^Jane')
    assert message.get("PID-2") is None
    assert message.get("PID-3.2") is DELETE
    assert message.get("PID-3.4.1") is DELETE
    assert message.get("PID-3.4.2") == "x"
    assert message.get("PID-3(2)") is DELETE
    assert message.get("PID-4") is DELETE
    assert message.get("PID-5.1") is None
    assert message.get("PID-6.1") is DELETE
    assert message.get("PID-6.2") == "Jane"
    assert message.text("PID-4") == ""


def test_deleting_a_field_deletes_all_that_is_below_it() -> None:
    message = parsed('PID|||""|""^x')
    for place in ("PID-3.1", "PID-3.4", "PID-3.4.2", "PID-4.1.3"):
        assert message.get(place) is DELETE
        assert message.whole(place) is DELETE
    assert message.get("PID-3(2)") is None


def test_whole_places_keep_what_nobody_escaped() -> None:
    message = parsed("OBR||||CT1^CT thorax & abdomen^99RIS|a^b&c~d|F^^|x\\T\\y&z")
    assert message.get("OBR-4.2") == "CT thorax "
    assert message.whole("OBR-4.2") == "CT thorax & abdomen"
    assert message.whole("OBR-5") == "a^b&c"
    assert message.whole("OBR-5(2)") == "d"
    assert message.whole("OBR-6") == "F"
    assert message.whole("OBR-7") == "x&y&z"
    assert message.whole("OBR-4.9") is None
    assert message.whole("OBR-99") is None


def test_repetitions_can_be_counted_off() -> None:
    pid = parsed('PID|||A~B~|""').first("PID")
    assert pid is not None
    assert [pid.count(field) for field in (1, 3, 4, 9)] == [0, 3, 1, 0]
    assert pid.raw(3, 2) == "B"


def test_segments_are_found_by_name_and_know_their_occurrence() -> None:
    message = parsed("ORC|1", "OBR|1", "ZZZ", "ORC|2", "OBR|2")
    assert [segment.name for segment in message.segments] == [
        "MSH", "ORC", "OBR", "ZZZ", "ORC", "OBR",
    ]  # fmt: skip
    assert [segment.occurrence for segment in message.all("ORC")] == [1, 2]
    assert message.first("PID") is None
    assert message.all("PID") == ()


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n", "\n\r", "\r\r", "\n\n", "\r\n\r\n"])
def test_any_line_end_ends_a_segment(end: str) -> None:
    text = end.join(["MSH|^~\\&|RIS", "PID|||A", "ZDS|1.2", ""])
    for start in ("", "\ufeff", "\r\n", " \n", "\x0b"):
        message = Message.parse(start + text)
        assert [segment.name for segment in message.segments] == ["MSH", "PID", "ZDS"]
        assert message.get("MSH-3") == "RIS"
        assert message.get("PID-3") == "A"
        assert message.get("ZDS-1") == "1.2"


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n"])
def test_a_line_break_left_in_a_text_stays_in_it(end: str) -> None:
    lines = ["MSH|^~\\&", "OBR||1|first", "second", "", "THIRD line|4", "PID|||A", "ZZZ", "PV1||O"]
    message = Message.parse(end.join(lines))
    assert message.get("OBR-3") == "first\nsecond\n\nTHIRD line"
    assert message.get("OBR-4") == "4"
    assert message.get("PID-3") == "A"
    assert [segment.name for segment in message.segments][2:] == ["PID", "ZZZ", "PV1"]


def test_a_sample_has_a_line_break_within_a_field() -> None:
    (sample,) = (sample for sample in SAMPLES if sample.stem == "ORU_R01-PDF")
    message = Message.parse(sample.read_bytes().decode())
    assert message.text("OBX(4)-5.5").endswith("0K\nA0KJSVFT0YNCg==".removeprefix("0K"))
    assert message.text("OBX(4)-11") == "F"


def test_other_delimiters_than_the_usual() -> None:
    message = Message.parse("MSH*:+!?\rPID***A:B?C+D*x!F!y")
    assert message.get("PID-3.2.2") == "C"
    assert message.get("PID-3(2)") == "D"
    assert message.get("PID-4") == "x*y"


def test_the_truncation_character_of_v2_7() -> None:
    message = Message.parse("MSH|^~\\&#|RIS\rPID|||A\\P\\B|cut off#")
    assert message.delimiters == Delimiters(truncation="#")
    assert message.get("PID-3") == "A#B"
    assert message.get("PID-4") == "cut off#"
    assert escape("A#B", message.delimiters) == "A\\P\\B"


def test_delimiters_that_msh_2_leaves_out_delimit_nothing() -> None:
    message = Message.parse("MSH|^~|RIS\rPID|||A&B\\F\\~C^D")
    assert message.get("PID-3") == "A&B\\F\\"
    assert message.get("PID-3(2).2") == "D"
    assert message.whole("PID-3") == "A&B\\F\\"
    assert escape("a|b", message.delimiters) == "a b"


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("", "MSH"),
        ("GET / HTTP/1.1\r\n", "MSH"),
        ("PID|||A", "MSH"),
        ("FHS|^~\\&\rBHS|^~\\&\rMSH|^~\\&", "MSH"),
        ("MSH", "MSH-2"),
        ("MSH|", "MSH-2"),
        ("MSH||RIS", "MSH-2"),
        ("MSH|^~\\&#!|RIS", "MSH-2"),
        ("MSH|^^\\&|RIS", "MSH-2"),
        ("MSH|^|~\\&|RIS\rMSH|^", "MSH"),
        ("MSHA^~\\&ARIS", "MSH-2"),
        ('MSH|^~\\"|RIS', "MSH-2"),
        ("MSH|^~\\é|RIS", "MSH-2"),
        ("MSH\r^~\\&\rRIS", "MSH-2"),
        ("MSH|^~\\&|A\rPID|1\rMSH|^~\\&|B", "MSH"),
        ("MSH|^~\\&|\0", ""),
    ],
)
def test_what_could_lose_data_is_no_message(text: str, where: str) -> None:
    with pytest.raises(ParseError) as caught:
        Message.parse(text)
    assert caught.value.where == where


def test_counts_are_bounded() -> None:
    start = "MSH|^~\\&\r"
    Message.parse(start + "NTE|1\r" * (MAX_SEGMENTS - 2))
    with pytest.raises(ParseError, match="segments"):
        Message.parse(start + "NTE|1\r" * MAX_SEGMENTS)
    with pytest.raises(ParseError, match="segments"):
        Message.parse((start + "NTE|1\r" * MAX_SEGMENTS).replace("\r", "\n"))
    Message.parse(start + "PID" + "|" * (MAX_FIELDS - 1))
    with pytest.raises(ParseError, match=r"PID: .*fields"):
        Message.parse(start + "PID" + "|" * MAX_FIELDS)
    pid = Message.parse(start + "PID|" + "~" * MAX_REPETITIONS).first("PID")
    assert pid is not None
    with pytest.raises(ParseError, match=r"PID-1: .*repetitions"):
        pid.count(1)


def test_a_field_of_nothing_but_delimiters_costs_no_more_than_its_bytes() -> None:
    hostile = "~^&" * 1_000_000
    message = Message.parse("MSH|^~\\&\rPID|||" + hostile)
    assert message.get("PID-3.1") is None
    assert message.whole("PID-3(2).1") is None


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("a\\F\\b\\S\\c\\T\\d\\R\\e\\E\\f", "a|b^c&d~e\\f"),
        ("\\E\\F\\E\\", "\\F\\"),
        ("\\X41\\\\X42\\", "AB"),
        ("\\X4142\\", "AB"),
        ("OPERA\\XC7\\\\XC3\\O", "OPERAÇÃO"),
        ("\\XC3\\\\X87\\", "Ç"),
        ("\\XC387\\", "Ç"),
        ("\\XC387\\\\XC7\\", "Ã\x87Ç"),
        ("\\X00\\", "\\X00\\"),
        ("\\X4\\", "\\X4\\"),
        ("\\Xzz\\", "\\Xzz\\"),
        ("one\\.br\\two\\.BR\\", "one\ntwo\n"),
        ("a\\.sp2\\b\\.sp+1\\c\\.sk3\\d\\.in+4\\e\\.ce\\f", "a\n\nb\nc   de\nf"),
        ("\\.sk9999\\", " " * 100),
        ("\\H\\loud\\N\\", "loud"),
        ("C:\\TEMP\\x", "C:\\TEMP\\x"),
        ("C:\\TEMP\\F\\x", "C:\\TEMP|x"),
        ("\\", "\\"),
        ("\\\\", "\\\\"),
        ("\\Zlocal\\", "\\Zlocal\\"),
        ("\\P\\", "#"),
        ("\\M2442\\;3ED\\C2842\\^x", "山田^x"),
        ("\\M2442\\é", "é"),
        ("\\C2842\\plain", "plain"),
    ],
)
def test_escapes(written: str, meant: str) -> None:
    assert unescape(written) == meant


def test_escapes_of_single_byte_sets_speak_of_the_messages_bytes() -> None:
    greek = "Διονυσιος".encode("iso8859_7").decode("latin-1")
    assert unescape(f"\\C2D46\\{greek}", encoding="latin-1") == "Διονυσιος"
    assert unescape("\\XC4\\", encoding="iso8859_7") == "Δ"
    assert unescape("\\C2949\\\xd4\xcf", encoding="latin-1") == "ﾔﾏ"
    assert unescape("\\C2D62\\\xa6", encoding="latin-1") == "Š"
    assert unescape("\\M242941\\\xd5\xc5", encoding="latin-1") == "张"


LEGAL = sorted(set(string.punctuation) - {'"'})
DELIMITERS = st.permutations(LEGAL).flatmap(
    lambda marks: st.sampled_from([Delimiters(*marks[:5]), Delimiters(*marks[:6])])
)


@settings(deadline=None)
@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), DELIMITERS)
def test_any_text_in_any_legal_delimiters_comes_back(text: str, delimiters: Delimiters) -> None:
    written = escape(text, delimiters)
    assert unescape(written, delimiters) == text
    field = delimiters.field
    message = Message.parse(f"MSH{field}{delimiters.msh_2}\rZZZ{field}{written}{field}end")
    assert message.delimiters == delimiters
    assert message.get("ZZZ-1") == message.whole("ZZZ-1") == (text or None)
    assert message.get("ZZZ-2") == "end"


@settings(deadline=None)
@given(st.text("\\FSTREPXCMHN.br0123456789ABab|^~&", max_size=40))
def test_texts_full_of_would_be_escapes_come_back(text: str) -> None:
    assert unescape(escape(text)) == text


def test_what_looks_like_delete_can_be_said() -> None:
    assert escape('""') != '""'
    assert unescape(escape('""')) == '""'


@settings(deadline=None)
@given(st.text(max_size=200))
def test_no_text_makes_the_reader_fail_otherwise(text: str) -> None:
    for candidate in (text, "MSH|^~\\&|" + text):
        try:
            message = Message.parse(candidate)
        except ParseError:
            continue
        for place in ("MSH-3", "MSH-9.2.1", "PID-3(2).4.1"):
            message.get(place)
            message.whole(place)


@pytest.mark.parametrize(
    "name", ["PID-3", "PID-3.1", "PID-3(2).4.1", "OBX(2)-5", "ZDS-1.1", "OBX(12)-5(3).2.4"]
)
def test_a_path_says_its_own_name(name: str) -> None:
    assert str(path(name)) == name


@pytest.mark.parametrize(
    "name", ["", "PID", "PID-", "PID-0", "pid-3", "PID.3", "PID-3.", "PID-3()", "PID-3.1.1.1", "3"]
)
def test_a_name_of_no_place_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="names no HL7 field"):
        path(name)


def test_the_header_is_read_before_decoding() -> None:
    raw = b"\xef\xbb\xbf\r\nMSH|^~\\&|M\xfcller||||||ORM|7|P|2.5||||||8859/1~ISO IR87\nPID|\0"
    msh = header(raw)
    assert msh is not None
    assert msh.get("MSH-3") == "Müller"
    assert [msh.header.get(18, repetition) for repetition in (1, 2, 3)] == [
        "8859/1", "ISO IR87", None,
    ]  # fmt: skip
    assert msh.encoding == "latin-1"
    assert header(b"PID|1") is None
    assert header(b"") is None
    assert header(b"MSH|") is None


def test_patients_do_not_show_in_what_a_log_prints() -> None:
    message = Message.parse(orm(PID_5="Secret^Jane"))
    assert "Secret" not in repr(message)
    assert "Secret" not in repr(message.segments)


@pytest.mark.parametrize(
    "sample",
    # hl7apy takes the line break within a field for the end of a segment.
    [sample for sample in SAMPLES if sample.stem != "ORU_R01-PDF"],
    ids=lambda sample: sample.stem,
)
def test_hl7apy_reads_the_same_fields_in_the_samples(sample: Path) -> None:
    text = sample.read_bytes().decode().replace("\r\n", "\r")
    message = Message.parse(text)
    theirs = parse_message(text, find_groups=False)
    assert [segment.name for segment in theirs.children] == [
        segment.name for segment in message.segments
    ]
    compared = 0
    for ours, oracle in zip(message.segments, theirs.children, strict=True):
        if ours.name == "MSH":
            continue
        by_number: dict[int, list[str]] = {}
        for field in oracle.children:
            if field.name is None:  # beyond what its tables know
                continue
            by_number.setdefault(int(field.name.split("_")[1]), []).append(field.to_er7())
        for number, repetitions in by_number.items():
            for repetition, raw in enumerate(repetitions, start=1):
                leaf = ours.raw(number, repetition)
                theirs_read = raw.replace("\\E\\", "\\")  # it takes escapes for text
                assert leaf.rstrip("^&") == theirs_read.rstrip("^&"), f"{ours.name}-{number}"
                compared += 1
    assert compared > 5


def test_hl7apy_reads_the_same_leaves() -> None:
    text = omi()
    message = Message.parse(text)
    theirs = parse_message(text, find_groups=False)
    for name, oracle in {
        "PID-3.1": theirs.pid.pid_3.cx_1,
        "PID-3.4.1": theirs.pid.pid_3.cx_4.hd_1,
        "PID-5.2": theirs.pid.pid_5.xpn_2,
        "PID-8": theirs.pid.pid_8,
        "PV1-19.1": theirs.pv1.pv1_19.cx_1,
        "ORC-2.2": theirs.orc.orc_2.ei_2,
        "OBR-4.2": theirs.obr.obr_4.ce_2,
        "OBR-16.3": theirs.obr.obr_16.xcn_3,
        "TQ1-7": theirs.tq1.tq1_7,
        "IPC-3": theirs.ipc.ipc_3.ei_1,
    }.items():
        assert message.get(name) == oracle.to_er7(), name


def test_reading_an_order_is_a_hundred_times_faster_than_hl7apy() -> None:
    text = orm()
    places = [path(f"{name}-{n}") for name in ("PID", "ORC", "OBR", "PV1") for n in range(2, 9)]

    def read() -> None:
        message = Message.parse(text)
        for place in places:
            message.get(place)

    def seconds(work: object, times: int) -> float:
        assert callable(work)
        best = 1e9
        for _ in range(3):
            start = time.process_time()
            for _ in range(times):
                work()
            best = min(best, (time.process_time() - start) / times)
        return best

    theirs = seconds(lambda: parse_message(text, find_groups=False), 5)
    assert theirs > 100 * seconds(read, 300)


@pytest.mark.parametrize("odd", ["a~b", "a\\T\\b", "a&b", '""'])
def test_a_segment_is_plain_without_anything_below_its_components(odd):
    message = Message.parse(f"MSH|^~\\&|RIS\rPID|1||a^b\rPV1||{odd}\rOBR||c\n")
    assert [segment.odd for segment in message.segments] == [None, (), None, ()]
    assert [segment.find_odd() for segment in message.segments] == [None, (), [2], ()]

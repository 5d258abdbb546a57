import pytest
from hypothesis import given
from hypothesis import strategies as st

from hl7 import mllp, names
from hl7.outline import LONGEST_VALUE, MOST_LINES, MOST_NODES, Node, Outline, outline
from tests.builders import omi, orm


def node(read: Outline, place: str) -> Node:
    """Find a node by its place; the innermost of that name."""
    found = [each for each in nodes(read) if each.place == place]
    return found[-1]


def nodes(read: Outline) -> list[Node]:
    def below(each: Node) -> list[Node]:
        return [each, *(found for part in each.parts for found in below(part))]

    return [found for segment in read.segments for each in segment.fields for found in below(each)]


def text_of(read: Outline) -> str:
    return "".join(f"{line.text}{line.end}" for line in read.lines)


def test_segments_and_fields_have_the_names_of_the_standard():
    read = outline(omi().encode())
    assert [(each.place, each.title) for each in read.segments[:2]] == [
        ("MSH", "Message header"),
        ("PID", "Patient identification"),
    ]
    assert node(read, "MSH-1").value == "|"
    assert node(read, "MSH-10").name == "Message control ID"
    assert (node(read, "PID-5").name, node(read, "PID-5").value) == ("Patient name", "Doe^Jane^Q")
    assert (node(read, "PID-5.2").name, node(read, "PID-5.2").value) == ("Given name", "Jane")
    assert node(read, "IPC-9").name == "Scheduled AE title"
    assert node(read, "TQ1-1").name == "Set ID"


def test_names_are_those_of_the_sender_s_version():
    assert node(outline(orm(MSH_12="2.3", OBR_4="A").encode()), "OBR-2").name == (
        names.spoken(names.field("2.3", "OBR", 2))
    )
    old = node(outline(orm(MSH_12="2.2", PID_3="1").encode()), "PID-3").name
    new = node(outline(orm(MSH_12="2.5.1", PID_3="1").encode()), "PID-3").name
    assert (old, new) == ("Patient ID internal ID", "Patient identifier list")


@pytest.mark.parametrize("version", ["", "9.9", "<b>", "2.5.1^USA"])
def test_a_version_that_nobody_knows_is_read_as_2_5_1(version):
    assert node(outline(orm(MSH_12=version).encode()), "PID-8").name == "Administrative sex"


def test_a_segment_of_a_later_version_than_the_sender_s_is_named_all_the_same():
    assert node(outline(omi(MSH_12="2.3").encode()), "IPC-5").name == "Modality"


def test_a_z_segment_has_no_names_but_ihe_s():
    read = outline(orm(after="ZZZ|1|a^b").encode())
    assert read.segments[-1].title == ""
    assert (node(read, "ZZZ-2.2").name, node(read, "ZZZ-2.2").value) == ("", "b")
    assert node(read, "ZDS-1.1").value.startswith("1.2.826")


def test_repetitions_components_and_subcomponents_are_parts_with_their_places():
    read = outline(orm(PID_3="1^^^A&1.2&ISO~2&x").encode())
    assert node(read, "PID-3(2)").value == "2&x"
    assert node(read, "PID-3(2).1.2").value == "x"
    assert node(read, "PID-3.4.2").value == "1.2"
    assert node(read, "PID-3.4.2").name == "Universal ID"
    assert "PID-3.2" not in [each.place for each in nodes(read)]  # it says nothing


def test_values_are_unescaped_and_what_is_to_be_deleted_shows():
    read = outline(orm(OBR_13=r"a\T\b\F\c\.br\d", PID_13='""').encode())
    assert node(read, "OBR-13").value == "a&b|c\nd"
    assert node(read, "PID-13").value == '""'


def test_segments_of_one_name_are_counted():
    read = outline(orm(after=["NTE|1||first", "NTE|2||second"]).encode())
    assert node(read, "NTE(2)-3").value == "second"


def test_line_ends_and_controls_are_visible():
    read = outline(b"MSH|^~\\&|A\r\nPID|||1\x0b\rNTE|x\nZZZ")
    assert read.lines == [
        ("MSH|^~\\&|A", "‹CR›‹LF›"),
        ("PID|||1‹VT›", "‹CR›"),
        ("NTE|x", "‹LF›"),
        ("ZZZ", ""),
    ]


def test_text_is_decoded_as_declared():
    read = outline(orm(MSH_18="8859/1", PID_5="Müller").encode("latin-1"))
    assert (node(read, "PID-5").value, read.encoding) == ("Müller", "iso8859_1")
    read = outline(orm(PID_5="Müller").encode("cp1252"), "8859/1")
    assert node(read, "PID-5").value == "Müller"


@pytest.mark.parametrize(
    ("raw", "fault", "place", "value"),
    [
        (b"", "begins with MSH", None, None),
        (b"\0\1\2", "MSH", "?", "‹NUL›‹SOH›‹STX›"),
        (b"GET / HTTP/1.1", "begins with MSH", "?", "GET / HTTP/1.1"),
        (b"MSH|^~\\&|A\rMSH|^~\\&|B", "a second MSH", "MSH(2)-3", "B"),
        (b"FHS|^~\\&|A\rMSH|^~\\&|B\rPID|||7", "begins with MSH", "PID-3", "7"),
        (b"MSH|^~\\&|A\rPID|||1\x002", "NUL", "PID-3", "1‹NUL›2"),
        (b"MSH#^~\\&#A\rPID#" + b"#" * 1200, "more than 1000 fields", "MSH-3", "A"),
    ],
)
def test_what_is_no_message_is_shown_all_the_same(raw, fault, place, value):
    read = outline(raw)
    assert fault in read.fault
    if place:
        assert node(read, place).value == value


def test_of_ten_mebibytes_the_beginning_is_shown():
    report = f"{orm()}OBX|1|ED|PDF||^^^Base64^{'A' * 10 * 1024 * 1024}\rNTE|1||end"
    read = outline(report.encode())
    assert (read.is_cut, read.fault) == (True, "")
    value = node(read, "OBX-5.5").value
    assert (len(value), value[-1]) == (LONGEST_VALUE + 1, "…")
    assert node(read, "PID-5.1").value == "Doe"
    assert len(text_of(read)) < 200_000


def test_a_cut_through_a_character_does_not_change_how_it_is_read():
    for shift in range(4):
        read = outline(f"{orm()}NTE|1||{'a' * shift}{'漢' * 100_000}".encode())
        assert (read.encoding, read.is_cut) == ("utf-8", True)


def test_what_has_too_many_parts_is_cut():
    read = outline(orm(after="OBX|1|TX|x||" + "a^&~" * 50_000).encode())
    assert read.is_cut
    assert len(nodes(read)) <= MOST_NODES + 1


def test_what_has_too_many_lines_is_cut():
    read = outline(orm().encode() + b"\r" * 100_000 + b"ZZZ|1")
    assert (read.is_cut, len(read.lines)) == (True, MOST_LINES)


@given(st.binary(max_size=400) | st.builds(lambda tail: orm().encode() + tail, st.binary()))
def test_it_reads_any_bytes(raw):
    read = outline(raw)
    assert all(each.place for each in nodes(read))
    text = "".join([text_of(read), *(each.value for each in nodes(read))])
    assert all(each == "\n" or each >= " " for each in text)


_BITS = [
    *(b"MSH|^~\\&|", b"MSH^|~", b"PID|", b"OBX|", b"UNICODE UTF-8", b"ISO IR87"),
    *(b"\r", b"\n", b"|", b"^", b"~", b"&", b"\\", b"\\X0D\\", b"\\.br\\", b'""'),
    *(b"\0", b"\xff", "ü".encode(), b"\x1b$B"),
]


@given(st.lists(st.sampled_from(_BITS), max_size=60).map(b"".join))
def test_it_reads_whatever_is_made_of_hl7(raw):
    read = outline(raw)
    assert len(nodes(read)) <= MOST_NODES + 1
    assert read.segments or not raw.strip(b"\r\n \0")


def test_two_answers_that_went_out_together_are_no_fault() -> None:
    answers = [
        b"MSH|^~\\&|||||||ACK|%d|P|2.5\rMSA|%s|7\r" % each for each in ((1, b"CA"), (2, b"AA"))
    ]
    shown = outline(mllp.join(answers))
    assert shown.fault == ""
    places = [segment.place for segment in shown.segments]
    assert places == ["MSH", "MSA", "MSH(2)", "MSA(2)"]
    assert outline(b"".join(answers)).fault

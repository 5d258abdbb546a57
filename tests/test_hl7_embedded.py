"""Documents in OBX-5: lifted out of a message's bytes, decoded whatever lines break them."""

import base64
import time
import tracemalloc

import pytest

from hl7 import embedded
from hl7.embedded import SHORTEST, NotDecodableError, decode, lift
from hl7.er7 import Message
from tests.builders import oru

PDF = b"%PDF-1.4\n" + bytes(range(256)) * 200
DATA = base64.b64encode(PDF).decode()


def lifted(text: str) -> tuple[str, dict[str, bytes]]:
    rest, found = lift(text.encode())
    return rest.decode(), {mark: bytes(data) for mark, data in found.items()}


def ed(data: str = DATA, encoding: str = "Base64", **fields: str) -> str:
    return oru(OBX_2="ED", OBX_5=f"RIS^Application^PDF^{encoding}^{data}", **fields)


def test_a_long_document_is_lifted_and_a_mark_stands_in_its_place():
    rest, found = lifted(ed())
    ((mark, data),) = found.items()
    assert data == DATA.encode()
    assert len(rest) < 1000
    message = Message.parse(rest)
    assert message.get("OBX-5.5") == mark
    assert message.get("OBX-11") == "F"


def test_what_is_around_stays_as_it_was():
    text = ed(after=["NTE|1||after"])
    rest, found = lifted(text)
    (mark,) = found
    assert rest.replace(mark, DATA) == text


def test_a_short_message_is_the_same_object():
    raw = oru().encode()
    assert lift(raw)[0] is raw


@pytest.mark.parametrize("encoding", ["Base64", "BASE64", "base64", "Hex"])
def test_either_encoding_is_lifted(encoding):
    data = PDF.hex() if encoding == "Hex" else DATA
    _, found = lifted(ed(data, encoding))
    (kept,) = found.values()
    assert decode(memoryview(kept), encoding) == PDF


def test_documents_of_several_segments_are_lifted_each():
    more = f"OBX|2|ED|X||^AP^PDF^Base64^{DATA}|\rOBX|3|ED|X||^AP^PDF^Base64^{DATA[:-4]}\r"
    _, found = lifted(ed() + more)
    assert list(map(len, found.values())) == [len(DATA), len(DATA), len(DATA) - 4]


@pytest.mark.parametrize(
    "ends", ["", "\r", "\n", "\r\n", "\rNTE|1||x\r", "\nNTE|1||x\n", "^x|", "|||F"]
)
def test_data_end_with_their_component_field_or_segment(ends):
    text = f"{oru()}OBX|9|ED|X||^AP^PDF^Base64^{DATA}{ends}"
    _, found = lifted(text)
    assert list(found.values()) == [DATA.encode()]


@pytest.mark.parametrize(
    "broken_by", ["\r\n", "\n", "\\.br\\", "\\X0D\\\\X0A\\", "\\X0D0A\\", "~", " "]
)
def test_lines_that_break_data_mean_nothing(broken_by):
    lines = [DATA[at : at + 76] for at in range(0, len(DATA), 76)]
    text = ed(broken_by.join(lines))
    _, found = lifted(text)
    (data,) = found.values()
    assert decode(memoryview(data), "Base64") == PDF


def test_other_delimiters_are_those_of_the_header():
    text = ed().replace("|", "*").replace("^", "$")
    _, found = lifted(text)
    assert list(found.values()) == [DATA.encode()]


def test_a_pdf_where_a_text_belongs_is_lifted_too():
    _, found = lifted(oru(OBX_2="TX", OBX_5=DATA))
    assert list(found.values()) == [DATA.encode()]


@pytest.mark.parametrize(
    "text",
    [
        oru(OBX_2="TX", OBX_5="A" * 2 * SHORTEST),
        oru(OBX_2="ED", OBX_5="^Text^text/xml^A^" + "<" * 2 * SHORTEST),
        oru(NTE_3=f"OBX|1|ED|X||^AP^PDF^Base64^{DATA}"),
        "MSH" + "|" * 2 * SHORTEST,
        "X" * 2 * SHORTEST,
    ],
)
def test_what_is_no_encoded_document_stays(text):
    assert lifted(text) == (text, {})


@pytest.mark.parametrize("data", ["", "QUJD", "QUI=", "QUI", "QQ"])
def test_padding_may_be_missing(data):
    assert decode(data, "Base64") == b"ABC"[: len(data.rstrip("=")) * 3 // 4]


@pytest.mark.parametrize(
    ("data", "encoding"), [("QUJ%", "Base64"), ("Q", "Base64"), ("äöü", "Base64"), ("4g", "Hex")]
)
def test_what_is_not_encoded_is_not_taken(data, encoding):
    with pytest.raises(NotDecodableError):
        decode(data, encoding)


HOSTILE = {
    "no line end": lambda n: "A" * n,
    "segments without data": lambda n: "OBX|1|ED|X||^AP^PDF^Base64^\r" * (n // 28),
    "data without end": lambda n: "OBX|1|ED|X||^AP^PDF^Base64^" + "QUJD" * (n // 4),
    "beginnings without end": lambda n: "\nOBX|1|ED|" * (n // 10),
    "lines": lambda n: "\n" * n,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_time_is_linear(name):
    took = []
    for size in (200_000, 1_600_000):
        raw = (oru() + HOSTILE[name](size)).encode()
        best = min(_timed(raw) for _ in range(5))
        took.append(best)
    assert took[1] < 30 * max(took[0], 0.0005)  # quadratic: 64


def _timed(raw: bytes) -> float:
    begun = time.thread_time()  # other work of this machine is none of ours
    lift(raw)
    return time.thread_time() - begun


def test_lifting_copies_no_document():
    raw = ed("QUJD" * 2_000_000).encode()
    tracemalloc.start()
    try:
        rest, found = lift(raw)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
    assert len(rest) < 1000
    assert len(found) == 1


def test_marks_are_not_to_be_guessed():
    assert embedded._MARK not in oru()
    assert len(embedded._MARK) > 20

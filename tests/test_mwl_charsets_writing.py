"""Texts in each Specific Character Set: byte for byte as PS3.5 prints them, and read by others."""

import re
import struct
import subprocess
from pathlib import Path

import pydicom.charset
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mwl.charsets import Script, script, specific_character_set
from tests.peers import dcmtk

JAPANESE = "Yamada^Tarou=山田^太郎=やまだ^たろう"
HALF_WIDTH = "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"
KOREAN = "Hong^Gildong=洪^吉洞=홍^길동"
# PS3.5 annexes H to K: the set, the text, its bytes.
ANNEXES = {
    "H.3.1": (
        r"\ISO 2022 IR 87",
        JAPANESE,
        b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
    ),
    "H.3.2": (
        r"ISO 2022 IR 13\ISO 2022 IR 87",
        HALF_WIDTH,
        (
            b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J"
            b"=\x1b$B$d$^$@\x1b(J^\x1b$B$?$m$&\x1b(J"
        ),
    ),
    "I.2": (
        r"\ISO 2022 IR 149",
        KOREAN,
        (
            b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7"
            b"=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf"
        ),
    ),
    "I.3": (
        r"\ISO 2022 IR 149",
        "The 1st line includes 길동.\r\nThe 2nd line includes 길동, too.\r\nThe 3rd line.",
        (
            b"\x1b$)CThe 1st line includes \xb1\xe6\xb5\xbf.\r\n"
            b"\x1b$)CThe 2nd line includes \xb1\xe6\xb5\xbf, too.\r\nThe 3rd line."
        ),
    ),
    "J.1": ("ISO_IR 192", "Wang^XiaoDong=王^小東=", "Wang^XiaoDong=王^小東=".encode()),
    "J.3": ("GB18030", "Wang^XiaoDong=王^小东=", b"Wang^XiaoDong=\xcd\xf5^\xd0\xa1\xb6\xab="),
    "J.4": ("GBK", "The 1st line includes中文.", b"The 1st line includes\xd6\xd0\xce\xc4."),
    "K.2": (
        r"\ISO 2022 IR 58",
        "Zhang^XiaoDong=张^小东=",
        b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab=",
    ),
    "K.3": (
        r"\ISO 2022 IR 58",
        "1.第一行文字。\r\n2.第二行文字。",
        (
            b"1.\x1b$)A\xb5\xda\xd2\xbb\xd0\xd0\xce\xc4\xd7\xd6\xa1\xa3\r\n"
            b"2.\x1b$)A\xb5\xda\xb6\xfe\xd0\xd0\xce\xc4\xd7\xd6\xa1\xa3"
        ),
    ),
}
# A name in each set of one byte; the first ones are of the annexes and of the widely used
# collection of names in many scripts.
SINGLE_BYTES = {
    "ISO_IR 100": ("Buc^Jérôme", b"Buc^J\xe9r\xf4me"),
    "ISO_IR 101": ("Wałęsa", b"Wa\xb3\xeasa"),
    "ISO_IR 109": ("antaŭnomo", b"anta\xfdnomo"),
    "ISO_IR 110": ("vārds", b"v\xe0rds"),
    "ISO_IR 144": ("Люкceмбypг", b"\xbb\xee\xdace\xdc\xd1yp\xd3"),
    "ISO_IR 127": ("قباني^لنزار", b"\xe2\xc8\xc7\xe6\xea^\xe4\xe6\xd2\xc7\xd1"),
    "ISO_IR 126": ("Διονυσιος", b"\xc4\xe9\xef\xed\xf5\xf3\xe9\xef\xf2"),
    "ISO_IR 138": ("שרון^דבורה", b"\xf9\xf8\xe5\xef^\xe3\xe1\xe5\xf8\xe4"),
    "ISO_IR 148": ("Çavuşoğlu", b"\xc7avu\xfeo\xf0lu"),
    "ISO_IR 203": ("Š€ž^Œuvre", b"\xa6\xa4\xb8^\xbcuvre"),
    "ISO_IR 166": ("นามสกุล", b"\xb9\xd2\xc1\xca\xa1\xd8\xc5"),
    "ISO_IR 13": ("ﾔﾏﾀﾞ^ﾀﾛｳ", b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3"),
}
EXTENDED = {
    r"ISO 2022 IR 100\ISO 2022 IR 144": (
        "JéЛюкé^Ренé^né",
        b"J\xe9\x1b-L\xbb\xee\xda\x1b-A\xe9^\x1b-L\xc0\xd5\xdd\x1b-A\xe9^n\xe9",
    ),
    r"ISO 2022 IR 6\ISO 2022 IR 126\ISO 2022 IR 203": (
        "Διο^Š",
        b"\x1b-F\xc4\xe9\xef^\x1b-b\xa6",
    ),
    r"\ISO 2022 IR 87\ISO 2022 IR 159": (
        "山丂 x",
        b"\x1b$B;3\x1b$(D0!\x1b(B x",
    ),
    r"ISO 2022 IR 100\ISO 2022 IR 87": (
        "é山é",
        b"\xe9\x1b$B;3\x1b(B\xe9",
    ),
    "ISO 2022 IR 149": ("홍", b"\x1b$)C\xc8\xab"),  # no set for a first value, and often one
}
WRITTEN = [
    *ANNEXES.values(),
    *((term, *case) for term, case in SINGLE_BYTES.items()),
    *((term, *case) for term, case in EXTENDED.items()),
]
TERMS = list(dict.fromkeys(["", *(term for term, *_ in WRITTEN)]))


def writing(term: str) -> Script:
    found = script(term)
    assert found is not None
    return found


@pytest.mark.parametrize(("term", "text", "raw"), WRITTEN)
def test_a_text_is_written_as_the_standard_prints_it(term: str, text: str, raw: bytes) -> None:
    assert writing(term).encode(text) == raw
    assert writing(term).says(text)
    assert specific_character_set(raw, term.split("\\"))[0::2] == (text, ())


@pytest.mark.parametrize(
    ("term", "text", "raw"),
    # pydicom 3 knows no ISO_IR 203, and reads no escape of IR 58.
    [case for case in WRITTEN if "203" not in case[0] and "IR 58" not in case[0]],
)
def test_pydicom_reads_what_is_written(term: str, text: str, raw: bytes) -> None:
    codecs = pydicom.charset.convert_encodings(term.split("\\"))
    delimiters = set(b"\r\n\t\f^=")
    assert pydicom.charset.decode_bytes(raw, codecs, delimiters) == text


# DCMTK has no ISO_IR 203 and, with glibc's iconv, neither IR 87 nor IR 159 (pydicom has); and
# it takes no set of two bytes as the first.
FOR_DCMTK = [case for case in WRITTEN if not re.search("203|87|159|^ISO 2022 IR 149", case[0])]


def test_dcmtk_reads_what_is_written(tmp_path: Path) -> None:
    """Each text is a name in a data set of its own; dcmdump shows them in UTF-8."""
    names = [(term, text) for term, text, _ in FOR_DCMTK if "\n" not in text]
    files = [tmp_path / f"{number:02}" for number in range(len(names))]
    for file, (term, text) in zip(files, names, strict=True):
        name = element(0x00100010, padded(writing(term).encode(text)))
        file.write_bytes(element(0x00080005, padded(term.encode())) + name)
    command = [dcmtk("dcmdump"), "-f", "-ti", "+U8", "+L", *map(str, files)]
    shown = subprocess.run(command, capture_output=True, timeout=30, check=True).stdout.decode()
    assert re.findall(r"PN \[(.*?) *\]", shown) == [text for _, text in names]


def padded(value: bytes) -> bytes:
    return value + b" " * (len(value) & 1)


def element(tag: int, value: bytes) -> bytes:
    """Write an element in Implicit VR Little Endian."""
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value)) + value


def test_what_a_set_cannot_say_raises_and_never_becomes_a_question_mark() -> None:
    for term, text in (
        ("ISO_IR 100", "Ž"),
        ("", "é"),
        ("ISO_IR 203", "¤"),
        ("ISO_IR 100", "\x85"),
        ("ISO_IR 13", "¥"),
        (r"\ISO 2022 IR 87", "髙"),
        (r"\ISO 2022 IR 149", "똠"),
        (r"\ISO 2022 IR 87", "\x1b"),
        ("ISO_IR 100", "\x1b(B"),
        ("ISO_IR 192", "\ud800"),
    ):
        assert not writing(term).says(text)
        with pytest.raises(UnicodeEncodeError):
            writing(term).encode(text)


@pytest.mark.parametrize("term", ["Not Supplied", r"ISO_IR 100\nonsense", "ISO_IR 999"])
def test_a_set_that_is_unknown_is_not_written(term: str) -> None:
    assert script(term) is None


def test_a_set_without_code_extensions_stands_alone() -> None:
    assert writing(r"GB18030\ISO IR 192").encode("王") == "王".encode("gb18030")
    assert writing(r"ISO_IR 192\ISO 2022 IR 87").encode("山") == "山".encode()
    assert writing("ISO-IR 100").encode("é") == b"\xe9"
    assert writing("ISO 2022 IR 100").encode("é") == b"\xe9"


_CHARACTERS = st.one_of(
    st.characters(exclude_categories=["Cs"]),
    st.sampled_from("^=\\ aZ~éÉŁЖאب山田やﾔ홍길王东€Šก\r\n\t"),
)


@settings(max_examples=400, deadline=None)
@given(st.text(_CHARACTERS, max_size=20), st.sampled_from(TERMS))
def test_what_is_written_reads_the_same_or_is_refused(text: str, term: str) -> None:
    found = writing(term)
    try:
        raw = found.encode(text)
    except UnicodeEncodeError:
        assert not found.says(text)
        return
    assert found.says(text)
    assert raw.count(b"?") == text.count("?") or not raw.isascii() or b"\x1b" in raw
    read = specific_character_set(raw, term.split("\\"))
    # Letters that happen to be valid UTF-8 are read as that, or doubted.
    assume(not read.flags)
    assert read.text == text

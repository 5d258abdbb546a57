"""What character sets are called: HL7's MSH-18 and DICOM's (0008,0005), and Python's codecs."""

import re
from functools import lru_cache

# More than anybody names of (0008,0005), and longer (a CS has 16 characters).
MAX_TERMS = 16
MAX_TERM = 64

_ISO_8859 = {number: f"iso8859_{number}" for number in (*range(1, 12), *range(13, 17))}

# Table 0211, without the 8859 parts. Python has no codec for CNS 11643-1992, and a stream
# of MLLP or a DICOM element can't hold UTF-16: there UNICODE can only mean UTF-8.
_HL7 = {
    "ASCII": "ascii",
    "ISO IR6": "ascii",
    "ISO IR14": "shift_jis",  # JIS X 0201 is its single bytes
    "ISO IR87": "iso2022_jp",
    "ISO IR159": "iso2022_jp_2",
    "GB 18030-2000": "gb18030",
    "KS X 1001": "euc_kr",
    "BIG-5": "cp950",
    "UNICODE": "utf-8",
    "UNICODE UTF-8": "utf-8",
}
# Names that are in no table, and meant well.
_COLLOQUIAL = {
    "UTF-8": "utf-8",
    "UTF8": "utf-8",
    "UNICODE UTF8": "utf-8",
    "US-ASCII": "ascii",
    "GB18030": "gb18030",
    "GBK": "gbk",
    "BIG5": "cp950",
}
# PS3.3 tables C.12-2 to C.12-5, by ISO-IR number; with or without "2022" the text is the same.
_ISO_IR = {
    6: "ascii",
    100: "iso8859_1",
    101: "iso8859_2",
    109: "iso8859_3",
    110: "iso8859_4",
    144: "iso8859_5",
    127: "iso8859_6",
    126: "iso8859_7",
    138: "iso8859_8",
    148: "iso8859_9",
    203: "iso8859_15",
    166: "iso8859_11",
    13: "shift_jis",
    192: "utf-8",
    87: "iso2022_jp",
    159: "iso2022_jp_2",
    149: "euc_kr",
    58: "gb2312",
}
# ISO 2022 escape sequences and the codec of what follows (PS3.3 tables C.12-3, C.12-4).
ESCAPES = {
    b"\x1b(B": "ascii",
    b"\x1b(J": "shift_jis",
    b"\x1b)I": "shift_jis",
    b"\x1b-A": "iso8859_1",
    b"\x1b-B": "iso8859_2",
    b"\x1b-C": "iso8859_3",
    b"\x1b-D": "iso8859_4",
    b"\x1b-L": "iso8859_5",
    b"\x1b-G": "iso8859_6",
    b"\x1b-F": "iso8859_7",
    b"\x1b-H": "iso8859_8",
    b"\x1b-M": "iso8859_9",
    b"\x1b-b": "iso8859_15",
    b"\x1b-T": "iso8859_11",
    b"\x1b$B": "iso2022_jp",
    b"\x1b$@": "iso2022_jp",
    b"\x1b$(D": "iso2022_jp_2",
    b"\x1b$)C": "euc_kr",
    b"\x1b$)A": "gb2312",
}
# Its codecs want to see the escape that brought them.
TWO_BYTES_IN_G0 = frozenset({"iso2022_jp", "iso2022_jp_2"})
TWO_BYTES = TWO_BYTES_IN_G0 | {"euc_kr", "gb2312"}
INTO_G1 = frozenset(escape for escape in ESCAPES if escape[1] == 0x2D or b")" in escape)
_8859 = re.compile(r"(?:ISO[ _-]?)?8859[/_-](\d{1,2})")
_WINDOWS_NAME = re.compile(r"(?:WINDOWS|CP)[ _-]?(125[0-8])")
_DICOM_TERM = re.compile(r"ISO[ _-]?(?:2022[ _-])?IR[ _-]?(\d{1,3})")


@lru_cache(maxsize=256)
def hl7_codec(name: str) -> str | None:
    """Give the codec of a name of table 0211, or None."""
    label = name.upper()
    if match := _8859.fullmatch(label):
        return _ISO_8859.get(int(match[1]))
    if match := _WINDOWS_NAME.fullmatch(label):
        return f"cp{match[1]}"
    return _HL7.get(label) or _COLLOQUIAL.get(label) or dicom_codec(name)


def is_readable(label: str) -> bool:
    """Tell whether texts are read by a label, values parted by backslashes; "" is ASCII."""
    return all(hl7_codec(name.strip()) for name in label.split("\\") if name.strip())


@lru_cache(maxsize=256)
def dicom_codec(term: str) -> str | None:
    """Give the codec of a defined term of (0008,0005), however it is punctuated, or None."""
    label = term.strip().upper()
    if label in {"GB18030", "GBK"}:
        return label.lower()
    if label == "ISO 2022 GBK":
        return "gbk"
    match = _DICOM_TERM.fullmatch(label)
    return _ISO_IR.get(int(match[1])) if match else None

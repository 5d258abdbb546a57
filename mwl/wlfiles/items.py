"""Read a worklist item, from a file or an answer, as what its attributes say.

A file is one data set, with file meta information or without, as DCMTK keeps both. It is read
by the strict and bounded reader that reads identifiers: half a file, still being copied, must
not become half an order.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from mwl import charsets
from mwl.dataset import MAX_BYTES, DataSet, Element, character_sets, read
from mwl.errors import Fault, Reason, Rejected
from mwl.net.pdu import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from mwl.scp.attributes import tag_of, vr_of

_META_START = b"\x02\x00\x00\x00UL\x04\x00"  # PS3.10 7.1: (0002,0000), the group's length
_TRANSFER_SYNTAX = 0x00020010
_NUMBER = "US"

# PS3.5 table 6.2-1. An identifier is never shortened.
_LONGEST = {
    "PatientID": 64,
    "AccessionNumber": 16,
    "RequestedProcedureID": 16,
    "ScheduledProcedureStepID": 16,
    "StudyInstanceUID": 64,
    "Modality": 16,
}

_tag = lru_cache(maxsize=1024)(tag_of)


@dataclass(frozen=True, slots=True)
class Item:
    """A data set or an item of one, by keyword; `terms` are its values of (0008,0005)."""

    keys: DataSet
    terms: tuple[str, ...] = ()

    def text(self, keyword: str) -> str:
        """Read a value, "" if absent or empty; several are parted by backslashes."""
        tag = _tag(keyword)
        key = self.keys.get(tag) if tag is not None else None
        return self.value(key) if key is not None else ""

    def value(self, key: Element) -> str:
        """Read the value of an element of it, as `text` does."""
        value = key.value
        if not value:
            return ""
        if key.vr == _NUMBER:
            return str(int.from_bytes(value[:2], "little"))
        if value.isascii() and b"\x1b" not in value:
            text = value.decode("ascii")  # as it is in all sets
        else:
            text = charsets.specific_character_set(value, self.terms).text
        if "\0" in text:
            text = text.replace("\0", "")
        if "\\" in text:
            return "\\".join(part.strip() for part in text.split("\\"))
        return text.strip()

    def items(self, keyword: str) -> list["Item"]:
        """Give the items of a sequence; none where it is absent."""
        tag = _tag(keyword)
        key = self.keys.get(tag) if tag is not None else None
        return [Item(item, self.terms) for item in key.items] if key else []

    def first(self, keyword: str) -> "Item":
        """Give the first item of a sequence; an empty one where there is none."""
        return next(iter(self.items(keyword)), _NOTHING)

    def identifier(self, keyword: str) -> str:
        """Read one value, that is never shortened. Rejected: TOO_LONG, MALFORMED."""
        value, longest = self.text(keyword), _LONGEST[keyword]
        if "\\" in value:
            raise Rejected(Fault(Reason.MALFORMED, keyword, "several values"))
        if len(value) > longest:
            raise Rejected(Fault(Reason.TOO_LONG, keyword, f"more than {longest} characters"))
        return value


_NOTHING = Item({})


def parse(data: bytes, *, explicit: bool, assumed: str = "") -> Item:
    """Read a data set in Explicit or Implicit VR Little Endian. Raises Rejected.

    `assumed` is the Specific Character Set of its texts where it names none.
    """
    keys = read(data, explicit=explicit, vr_of=vr_of)
    return Item(keys, character_sets(keys) or tuple(filter(None, assumed.split("\\"))))


def load(file: Path | str) -> Item:
    """Read a worklist file. Raises Rejected, also where the file can't be read."""
    try:
        with open(file, "rb") as opened:  # noqa: PTH123 - a Path for each is a tenth of the time
            data = opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise Rejected(Fault(Reason.MALFORMED, "", error.strerror or "can't be read")) from error
    if data[128:132] != b"DICM":
        # A VR where one would be is no length: that would be of 16 KiB at least.
        return parse(data, explicit=data[4:6].isalpha() and data[4:6].isupper())
    explicit, body = _after_meta(data[132:])
    return parse(body, explicit=explicit)


def _after_meta(data: bytes) -> tuple[bool, bytes]:
    """Read file meta information; say whether what follows has explicit VRs."""
    if not data.startswith(_META_START):
        raise Rejected(Fault(Reason.MALFORMED, "", "no file meta information"))
    end = 12 + int.from_bytes(data[8:12], "little")
    syntax = _syntax(data[:end])
    if syntax == EXPLICIT_VR_LITTLE_ENDIAN.encode():
        return True, data[end:]
    if syntax == IMPLICIT_VR_LITTLE_ENDIAN.encode():
        return False, data[end:]
    raise Rejected(
        Fault(Reason.MALFORMED, "TransferSyntaxUID", "not little endian; dcmconv +te helps")
    )


def _syntax(meta: bytes) -> bytes:
    found = read(meta, explicit=True, vr_of=vr_of).get(_TRANSFER_SYNTAX)
    return found.value if found is not None else b""

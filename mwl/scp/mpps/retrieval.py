"""An MPPS as N-GET answers it: what was received, merged over time, in one character set."""

from collections.abc import Iterable, Mapping
from struct import Struct

from mwl.charsets import specific_character_set
from mwl.dataset import SHORT_FORM, DataSet, Element, character_sets
from mwl.performed import PerformedState
from mwl.procedures import Received
from mwl.scp.elements import Writer
from mwl.scp.mpps import tags
from mwl.scp.mpps.reading import read
from mwl.scp.mpps.requirements import NOT_ALLOWED_IN_SET

MPPS_CLASS = "1.2.840.10008.3.1.2.3.3"
_UTF_8 = "ISO_IR 192"
# VRs that (0008,0005) speaks of (PS3.5 6.1.2.2).
_TEXTS = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
_LONGEST_SHORT_FORM = 0xFFFE
_AT = Struct("<HH")


def merged(received: Received) -> dict[int, Element]:
    """Merge what was received, the later over the earlier; texts become UTF-8."""
    found: dict[int, Element] = {}
    for operation, transfer_syntax, data in received.messages:
        data_set = _in_utf_8(read(data, transfer_syntax), ())
        allowed = operation == "N-CREATE"
        found |= {
            tag: data_set[tag] for tag in data_set if allowed or tag not in NOT_ALLOWED_IN_SET
        }
    if received.state is not PerformedState.IN_PROGRESS:
        # A person may have ended it.
        found[tags.STATUS] = Element(tags.STATUS, "CS", received.state.encode())
    return found


def identified(held: Mapping[int, Element], uid: str) -> dict[int, Element]:
    """Add what the command set said of an MPPS: its SOP Class and Instance UID."""
    identifiers = {tags.SOP_CLASS_UID: MPPS_CLASS, tags.SOP_INSTANCE_UID: uid}
    added = {tag: Element(tag, "UI", text.encode()) for tag, text in identifiers.items()}
    return {**held, **added}


def requested(value: bytes) -> tuple[int, ...]:
    """Read Attribute Identifier List (0000,1005)."""
    whole = len(value) - len(value) % _AT.size
    return tuple(group << 16 | number for group, number in _AT.iter_unpack(value[:whole]))


def chosen(held: Mapping[int, Element], wanted: Iterable[int]) -> dict[int, Element]:
    """Take what is wanted; nothing named: all."""
    wanted = tuple(wanted)
    return {tag: held[tag] for tag in wanted if tag in held} if wanted else dict(held)


def encode(elements: Mapping[int, Element], *, explicit: bool) -> bytes:
    """Write a data set whose texts are UTF-8; it says so where that is more than ASCII."""
    written = dict(elements)
    written.pop(tags.SPECIFIC_CHARACTER_SET, None)
    if not _is_ascii(written):
        term = Element(tags.SPECIFIC_CHARACTER_SET, "CS", _UTF_8.encode())
        written[tags.SPECIFIC_CHARACTER_SET] = term
    return write(written, explicit=explicit)


def write(elements: Mapping[int, Element], *, explicit: bool) -> bytes:
    """Write a data set with its values as they are, in Explicit VR Little Endian or Implicit."""
    return _write(Writer(explicit), elements, explicit=explicit)


def _write(writer: Writer, elements: Mapping[int, Element], *, explicit: bool) -> bytes:
    parts = []
    for tag in sorted(elements):
        element = elements[tag]
        if element.vr == "SQ":
            parts.append(writer.open_sequence(tag))
            for item in element.items:
                inner = _write(writer, item, explicit=explicit)
                parts += (writer.open_item(), inner, writer.close_item())
            parts.append(writer.close_sequence())
            continue
        vr = element.vr
        if explicit and vr in SHORT_FORM and len(element.value) > _LONGEST_SHORT_FORM:
            vr = "UN"  # PS3.5 6.2.2, note 2: too long for its VR's form
        parts.append(writer.element(tag, vr, element.value))
    return b"".join(parts)


def _in_utf_8(data_set: DataSet, terms: tuple[str, ...]) -> dict[int, Element]:
    terms = character_sets(data_set) or terms
    made = {}
    for tag, element in data_set.items():
        if tag == tags.SPECIFIC_CHARACTER_SET:
            continue
        if element.vr == "SQ":
            items = tuple(_in_utf_8(item, terms) for item in element.items)
            made[tag] = Element(tag, "SQ", items=items)
        elif element.vr in _TEXTS:
            value = specific_character_set(element.value, terms).text.encode()
            made[tag] = Element(tag, element.vr, value)
        else:
            made[tag] = element
    return made


def _is_ascii(elements: Mapping[int, Element]) -> bool:
    return all(
        all(_is_ascii(item) for item in element.items)
        if element.vr == "SQ"
        else element.vr not in _TEXTS or element.value.isascii()
        for element in elements.values()
    )

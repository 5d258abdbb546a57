"""Data sets on their way out, under the patient's present name (IHE PIR, RAD-12).

The files of the archive stay as they were received, to the byte: storage commitment, digests
and whoever asks what a scanner really sent rely on it. Of a study that follows its patient
(`mwl.archive.following`) these attributes are replaced while an instance is sent, at the top
level, each in its place: Patient's Name, Patient ID and its issuer, Patient's Birth Date,
Patient's Sex, and the Accession Number. Issuers that are told otherwise, (0010,0024) and
(0008,0051), go with the identifiers that they were of. Other Patient IDs stay.

No Original Attributes Sequence (0400,0561) is added. PS3.3 C.12.1 leaves that open, and PIR
doesn't ask for it; it would put the name that was wrong, perhaps another patient's, into every
copy. What the images said is kept here, and shown.

A value is written in the data set's own character set. Where that can't say it, the data set
is written in UTF-8 (ISO_IR 192) up to its pixel data, every text in it decoded by the set in
force where it stands; sequences get undefined length then, for lengths change. Nothing is
held but what is on its way and one text (and up to the patient's attributes the head of an
image whose study has images that contradict it: those go out as they are); behind the last
attribute, or the pixel data's tag, bytes pass through as they come.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from re import findall
from struct import Struct

from mwl.dataset import ITEM, ITEM_END, SEQUENCE_END, SHORT_FORM
from mwl.net.pdu import EXPLICIT_VR_BIG_ENDIAN
from mwl.patients import folded
from mwl.scp import repertoire
from mwl.scp.attributes import vr_of
from mwl.scp.pieces import Pieces, Source, Unwritable, deflated, inflated
from mwl.scp.storage.syntaxes import DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN
from mwl.studies import Aliases, Identity, Person, is_other_issuer

_CHARACTER_SET = 0x00080005
_ACCESSION_NUMBER = 0x00080050
_PATIENT_ID = 0x00100020
_ISSUER = 0x00100021
_PATIENT_NAME = 0x00100010
_BIRTH_DATE = 0x00100030
# In the order of mwl.studies.Identity.
_ATTRIBUTES = (
    (_PATIENT_NAME, "PN"),
    (_PATIENT_ID, "LO"),
    (_ISSUER, "LO"),
    (_BIRTH_DATE, "DA"),
    (0x00100040, "CS"),
    (_ACCESSION_NUMBER, "SH"),
)
_LAST = 0x00100040
# What tells the issuer of an identifier once more, with that identifier.
_WITH = {0x00080051: _ACCESSION_NUMBER, 0x00100024: _PATIENT_ID}
_PIXELS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
_DELIMITERS = frozenset({ITEM, ITEM_END, SEQUENCE_END})
_BEHIND_ALL = 1 << 32

_UNDEFINED = 0xFFFFFFFF
_HEADER = 8  # bytes of tag, VR and a short length; of tag and length
_LONGEST_SHORT_FORM = 0xFFFE
_MAX_DEPTH = 64
_LONGEST_TEXT = 4 * 1024 * 1024  # bytes that are decoded at once
_LONGEST_OLD = 4096  # of a value that is replaced; a longer one is another
_BUFFER = 64 * 1024
_LONGEST_HEAD = 1024 * 1024  # bytes that are held to learn whom an image shows
_NOBODY = Identity("", "", "", "", "", "")
_FRAGMENTED = frozenset({b"OB", b"OW"})
_LONG_FORM = frozenset(findall("..", "OBODOFOLOVOWSQSVUCUNURUTUV"))  # PS3.5 7.1.2


def coerced(
    pieces: Pieces, identity: Identity, transfer_syntax: str, only: Aliases | None = None
) -> Iterator[bytes | memoryview]:
    """Replace in a data set what `identity` says otherwise; what it leaves empty stays.

    With `only`, a data set that names somebody else than these goes out as it is.
    Raises Unwritable for lengths that don't add up, and what `pieces` raises.
    """
    if transfer_syntax == DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN:
        return deflated(coerced(inflated(pieces), identity, "", only))
    is_big = transfer_syntax == EXPLICIT_VR_BIG_ENDIAN
    if only is None:
        return _Rewriter(pieces, identity, is_big=is_big).pieces()
    return _of_one_patient(pieces, identity, only, is_big)


def _of_one_patient(
    pieces: Pieces, identity: Identity, only: Aliases, is_big: bool
) -> Iterator[bytes | memoryview]:
    source, head = iter(pieces), list[bytes]()

    def read() -> Iterator[bytes]:
        for piece in source:
            head.append(bytes(piece))
            yield head[-1]

    person = _Rewriter(read(), _NOBODY, is_big=is_big).person()
    whole = chain(head, source)
    if person is None or not only.are_of(person):
        yield from whole
    else:
        yield from _Rewriter(whole, identity, is_big=is_big).pieces()


@dataclass(slots=True)
class _Level:
    """A sequence or an item that is open; `end` is where, None: at its delimiter."""

    is_item: bool
    end: int | None
    explicit: bool
    terms: tuple[str, ...]
    is_left_out: bool = False
    is_fragmented: bool = False  # the items are fragments of pixel data


class _Rewriter:
    """Walk the elements up to the last that is replaced, or, in UTF-8, up to the pixels."""

    def __init__(self, pieces: Pieces, identity: Identity, *, is_big: bool) -> None:
        self._source = Source(pieces)
        order = ">" if is_big else "<"
        self._tag, self._short, self._long = (Struct(order + each) for each in ("HH", "H", "I"))
        values = zip(_ATTRIBUTES, identity, strict=True)
        self._wanted = {tag: (vr, _fitted(text)) for (tag, vr), text in values}
        self._encoded: dict[int, bytes] = {}
        self._left = sorted(self._wanted)  # tags that have not come by yet
        self._changed: set[int] = set()
        self._explicit: bool | None = None
        self._terms: tuple[str, ...] | None = None
        self._to_utf_8 = False
        self._levels: list[_Level] = []
        self._out = bytearray()
        self._copied = 0  # bytes of a value that pass through
        self._said: dict[int, str] = {}
        self._unread = False  # one of the values was too long

    def pieces(self) -> Iterator[bytes | memoryview]:
        goes_on = True
        while goes_on:
            goes_on = self._next()
            while self._copied or len(self._out) >= _BUFFER:
                part = self._source.part(self._copied) if self._copied else b""
                self._copied -= len(part)
                self._emit(part)
                if len(self._out) >= _BUFFER:
                    yield bytes(self._out)
                    self._out.clear()
        if self._out:
            yield bytes(self._out)
        yield from self._source.rest()

    def person(self) -> Person | None:
        """Read whom it shows, and write nothing; None: that is not within a decent head."""
        while self._next():
            while self._copied:
                self._copied -= len(self._source.part(self._copied))
            self._out.clear()
            if self._source.at > _LONGEST_HEAD:
                return None
        if self._unread:
            return None
        said = {tag: self._said.get(tag, "") for tag, _ in _ATTRIBUTES}
        date = said[_BIRTH_DATE].replace(".", "")
        return Person(said[_PATIENT_ID], "", said[_PATIENT_NAME], date)

    # --- one thing after another

    def _next(self) -> bool:
        """Write what comes next; False: from here on all is as it was."""
        source, levels = self._source, self._levels
        while levels and levels[-1].end == source.at:
            self._close()
        if source.is_over():
            if levels:
                raise Unwritable("the data set is cut short")
            self._insert_before(_BEHIND_ALL)
            return False
        head = source.take(_HEADER) if levels else source.begin(_HEADER)
        if len(head) < _HEADER:
            return self._padded(head)
        group, number = self._tag.unpack_from(head)
        tag = group << 16 | number
        if not levels:
            return self._at_top(tag, head)
        if tag in _DELIMITERS:
            self._delimited(tag, head)
        elif not levels[-1].is_item:
            raise Unwritable("an element outside an item")
        elif tag == _CHARACTER_SET and self._to_utf_8:
            *_, length = self._read_header(head, levels[-1].explicit)
            levels[-1].terms = repertoire.terms_of(self._value(length, _LONGEST_OLD))
        else:
            self._element(tag, head)
        return True

    def _at_top(self, tag: int, head: bytes) -> bool:
        if self._explicit is None:
            # Some senders write Implicit VR whatever was agreed on, or the reverse of it.
            self._explicit = _is_explicit(head)
        if tag == 0:
            return self._padded(head)
        if tag in _DELIMITERS:
            raise Unwritable("an item outside a sequence")
        if tag == _CHARACTER_SET and self._terms is None:
            self._declare(head)
            return True
        self._insert_before(tag)
        if (self._to_utf_8 and tag in _PIXELS) or (not self._to_utf_8 and tag > _LAST):
            self._emit(head)
            return False
        if self._left and tag == self._left[0]:
            self._replace(self._left.pop(0), head)
        else:
            self._element(tag, head, is_left_out=self._is_obsolete(tag))
        return True

    def _padded(self, head: bytes) -> bool:
        """Stop where the elements do: zeros are padding that some put behind a data set."""
        if not head.startswith(b"\0" * min(len(head), 4)):
            raise Unwritable("something else than elements")
        self._insert_before(_BEHIND_ALL)
        self._emit(head)
        return False

    def _is_obsolete(self, tag: int) -> bool:
        # The second is one that comes twice, or out of order.
        return _WITH.get(tag) in self._changed or tag in self._changed

    def _delimited(self, tag: int, head: bytes) -> None:
        (length,) = self._long.unpack_from(head, 4)
        level = self._levels[-1]
        if tag == ITEM:
            if level.is_item:
                raise Unwritable("an item outside a sequence")
            if level.is_fragmented or (length != _UNDEFINED and not self._to_utf_8):
                self._check_end(length)
                self._emit(head)
                self._copied = length
                return
            self._open(_Level(True, length, level.explicit, level.terms))
            self._emit(self._packed(ITEM, _UNDEFINED))
        elif level.end is not None or level.is_item != (tag == ITEM_END):
            raise Unwritable("a delimiter that ends nothing")
        else:
            self._close()

    def _element(self, tag: int, head: bytes, *, is_left_out: bool = False) -> None:
        level = self._levels[-1] if self._levels else None
        explicit = level.explicit if level else bool(self._explicit)
        head, vr, length = self._read_header(head, explicit)
        if length == _UNDEFINED or (self._to_utf_8 and vr == b"SQ"):
            self._sequence(head, vr, length, is_left_out=is_left_out)
            return
        self._check_end(length)
        if is_left_out or (not tag & 0xFFFF and (self._to_utf_8 or level is None)):
            # PS3.5 7.2: group lengths are retired, and would be wrong.
            self._skip(length)
        elif self._to_utf_8 and vr.decode("latin-1") in repertoire.DEPENDENT:
            terms = level.terms if level else self._terms
            self._write_text(tag, vr, self._value(length, _LONGEST_TEXT), terms or (), explicit)
        else:
            self._emit(head)
            self._copied = length

    def _sequence(self, head: bytes, vr: bytes, length: int, *, is_left_out: bool) -> None:
        above = self._levels[-1] if self._levels else None
        explicit = above.explicit if above else bool(self._explicit)
        terms = above.terms if above else self._terms or ()
        # PS3.5 6.2.2: UN of undefined length is a sequence in Implicit VR.
        level = _Level(False, length, explicit and vr != b"UN", terms, is_left_out)
        level.is_fragmented = explicit and vr in _FRAGMENTED
        if explicit and not level.is_fragmented and vr not in (b"SQ", b"UN"):
            raise Unwritable("an element of undefined length that is no sequence")
        self._open(level)
        self._emit(head[:-4] + self._long.pack(_UNDEFINED))

    # --- what is replaced

    def _declare(self, head: bytes) -> None:
        """Read (0008,0005), and write it as it will be."""
        head, _, length = self._read_header(head, bool(self._explicit))
        value = self._value(length, _LONGEST_OLD)
        self._choose(repertoire.terms_of(value))
        if self._to_utf_8:
            self._write(_CHARACTER_SET, "CS", repertoire.UTF_8.encode())
        else:
            self._emit(head + value)

    def _choose(self, terms: tuple[str, ...]) -> None:
        """Encode the new values in the data set's own sets, or decide for UTF-8."""
        self._terms = terms
        encoded = {tag: repertoire.encoded(text, terms) for tag, (_, text) in self._wanted.items()}
        self._to_utf_8 = None in encoded.values()
        if self._to_utf_8:
            self._changed.add(_CHARACTER_SET)
        for tag, (_, text) in self._wanted.items():
            self._encoded[tag] = encoded[tag] or text.encode()

    def _insert_before(self, tag: int) -> None:
        """Write what is wanted and was not there."""
        if self._terms is None and tag > _CHARACTER_SET:
            self._choose(())
            if self._to_utf_8:
                self._write(_CHARACTER_SET, "CS", repertoire.UTF_8.encode())
        while self._left and self._left[0] < tag:
            wanted = self._left.pop(0)
            # An issuer alone is not added to a number that is as it was.
            if self._encoded[wanted] and (wanted != _ISSUER or _PATIENT_ID in self._changed):
                self._write_wanted(wanted)

    def _replace(self, tag: int, head: bytes) -> None:
        head, read, length = self._read_header(head, bool(self._explicit))
        vr, new = self._wanted[tag]
        if length > _LONGEST_OLD:
            if length == _UNDEFINED:
                raise Unwritable("an element of undefined length that is no sequence")
            self._skip(length)
            self._unread = True
            self._write_wanted(tag)
            return
        raw = self._source.take(length)
        terms = self._terms or ()
        old = repertoire.decoded(raw.rstrip(b"\0 "), terms).strip(" \0")
        self._said[tag] = old
        if tag == _ISSUER and _PATIENT_ID in self._changed:
            self._write_wanted(tag)
        elif not new or _is_same(tag, old, new):
            if self._to_utf_8 and vr in repertoire.DEPENDENT:
                self._write_text(tag, read, raw, terms, bool(self._explicit))
            else:
                self._emit(head + raw)
        else:
            self._write_wanted(tag)

    def _write_wanted(self, tag: int) -> None:
        self._changed.add(tag)
        self._write(tag, self._wanted[tag][0], self._encoded[tag])

    # --- reading and writing

    def _read_header(self, head: bytes, explicit: bool) -> tuple[bytes, bytes, int]:
        """Read the rest of a header; return it whole, the VR, and the length."""
        if not explicit:
            group, number = self._tag.unpack_from(head)
            return head, vr_of(group << 16 | number).encode(), self._long.unpack_from(head, 4)[0]
        vr = head[4:6]
        if vr.decode("latin-1") in SHORT_FORM:
            return head, vr, self._short.unpack_from(head, 6)[0]
        if not (vr.isalpha() and vr.isupper()):
            raise Unwritable("an element without a VR")
        head += self._source.take(4)
        return head, vr, self._long.unpack_from(head, _HEADER)[0]

    def _value(self, length: int, most: int) -> bytes:
        if length > most:
            raise Unwritable("a text that is too long to be decoded")
        return self._source.take(length)

    def _skip(self, length: int) -> None:
        while length:
            length -= len(self._source.part(length))

    def _write_text(
        self, tag: int, vr: bytes, raw: bytes, terms: tuple[str, ...], explicit: bool
    ) -> None:
        """Write a text in UTF-8."""
        text = repertoire.decoded(raw, terms)
        self._write(tag, vr.decode("latin-1"), text.encode("utf-8", "replace"), explicit)

    def _write(self, tag: int, vr: str, value: bytes, explicit: bool | None = None) -> None:
        value += b" " * (len(value) & 1)
        explicit = self._explicit if explicit is None else explicit
        head = self._tag.pack(tag >> 16, tag & 0xFFFF)
        if not explicit:
            head += self._long.pack(len(value))
        elif vr not in SHORT_FORM:
            head += vr.encode() + b"\0\0" + self._long.pack(len(value))
        elif len(value) > _LONGEST_SHORT_FORM:
            head += b"UN\0\0" + self._long.pack(len(value))  # PS3.5 6.2.2
        else:
            head += vr.encode() + self._short.pack(len(value))
        self._emit(head + value)

    def _packed(self, tag: int, length: int) -> bytes:
        return self._tag.pack(tag >> 16, tag & 0xFFFF) + self._long.pack(length)

    def _emit(self, data: bytes | memoryview) -> None:
        if not (self._levels and self._levels[-1].is_left_out):
            self._out += data

    # --- levels

    def _open(self, level: _Level) -> None:
        """Go into a sequence or an item, whose `end` is its length as yet."""
        if len(self._levels) >= 2 * _MAX_DEPTH:
            raise Unwritable(f"sequences nest deeper than {_MAX_DEPTH}")
        if level.end == _UNDEFINED:
            level.end = None
        elif level.end is not None:
            self._check_end(level.end)
            level.end += self._source.at
        if self._levels:
            level.is_left_out |= self._levels[-1].is_left_out
        self._levels.append(level)

    def _close(self) -> None:
        # Delimiters are always written: what had a length of its own has it no more.
        self._emit(self._packed(ITEM_END if self._levels[-1].is_item else SEQUENCE_END, 0))
        self._levels.pop()

    def _check_end(self, length: int) -> None:
        """Refuse what reaches beyond what holds it; that may be beyond an open one, too."""
        end = next((each.end for each in reversed(self._levels) if each.end is not None), None)
        if end is not None and self._source.at + length > end:
            raise Unwritable("an element is longer than what holds it")


def _is_explicit(head: bytes) -> bool:
    vr = head[4:6].decode("latin-1")
    return vr in SHORT_FORM or vr in _LONG_FORM


def _is_same(tag: int, old: str, new: str) -> bool:
    if tag == _PATIENT_NAME:
        return folded(old) == folded(new)  # an accent is put right, too
    if tag == _ISSUER:
        return not is_other_issuer(old, new)
    return old == new


def _fitted(text: str) -> str:
    """Make it one value: a backslash would make it two."""
    return text.replace("\\", " ").strip(" ")

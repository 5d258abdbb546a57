"""How an operation is refused: its status, why, and on account of which attributes."""

from collections.abc import Iterable
from struct import Struct

from mwl.dataset import DataSet, Element
from mwl.net import dimse, status
from mwl.scp.mpps.tags import shown

_MAX_COMMENT = 64  # PS3.7 E.1: (0000,0902) is an LO
_MAX_VALUE = 64  # of an offending value, in bytes
_AT = Struct("<HH")

Elements = dict[int, int | str | bytes]


class Refused(Exception):
    """An operation that fails; `comment` holds no patient data.

    `missing` goes into Attribute Identifier List, `offending` into the data set of the
    response (PS3.7 10.1.5.1.7 and annex C.4, C.5).
    """

    def __init__(
        self,
        code: int,
        comment: str,
        *,
        missing: Iterable[int] = (),
        offending: DataSet | None = None,
        error_id: int | None = None,
    ) -> None:
        super().__init__(comment)
        self.code, self.comment, self.error_id = code, comment, error_id
        self.missing = tuple(missing)
        self.offending = offending or {}

    def elements(self) -> Elements:
        """Give what the response's command set says beside the status."""
        elements: Elements = {dimse.Element.ERROR_COMMENT: self.comment[:_MAX_COMMENT]}
        if self.error_id is not None:
            elements[dimse.Element.ERROR_ID] = self.error_id
        if self.missing:
            elements[dimse.Element.ATTRIBUTE_IDENTIFIER_LIST] = b"".join(
                _AT.pack(tag >> 16, tag & 0xFFFF) for tag in self.missing
            )
        return elements


def missing(tags: Iterable[int]) -> Refused:
    """Refuse for attributes that are not there."""
    tags = tuple(tags)
    return Refused(status.MISSING_ATTRIBUTE, f"missing {_names(tags)}", missing=tags)


def empty(tags: Iterable[int]) -> Refused:
    """Refuse for attributes that are there without a value."""
    tags = tuple(tags)
    return Refused(
        status.MISSING_ATTRIBUTE_VALUE,
        f"no value in {_names(tags)}",
        offending={tag: Element(tag, "UN") for tag in tags},
    )


def invalid(element: Element, why: str, *within: int) -> Refused:
    """Refuse for a value, quoted in the response; `within` are the sequences that hold it."""
    offending = Element(element.tag, element.vr, element.value[:_MAX_VALUE])
    held: DataSet = {element.tag: offending}
    for tag in reversed(within):
        held = {tag: Element(tag, "SQ", items=(held,))}
    return Refused(status.INVALID_ATTRIBUTE_VALUE, f"{shown(element.tag)} {why}", offending=held)


def _names(tags: Iterable[int]) -> str:
    return " ".join(map(shown, tags))

"""Instances on their way out: C-STORE as sub-operation, in a context that was agreed on."""

from collections.abc import Iterable, Iterator, Mapping

import structlog

from mwl.archive.query import Stored
from mwl.errors import Outage
from mwl.net.association import Association
from mwl.net.dimse import CommandField, Context, Element
from mwl.net.pdu import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from mwl.objects import Missing, ObjectStore
from mwl.scp.reencoding import Unwritable, reencoded

log = structlog.get_logger(__name__)

_MEDIUM = 0  # (0000,0700)
# Either can be written as the other.
_UNCOMPRESSED = frozenset({EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN})


class Sender:
    """Send instances to the peer of an association, one after another."""

    def __init__(self, association: Association, objects: ObjectStore) -> None:
        self._association, self._objects = association, objects
        self._contexts = _by_class(association.contexts)
        self._without: set[tuple[str, str]] = set()  # told of already

    def send(self, row: Stored) -> int | None:
        """Send one; return the peer's status, None if it could not be sent.

        PeerReleased, CutShort and whatever else ends an association.
        """
        context = self._context(row.sop_class_uid, row.transfer_syntax)
        if context is None:
            self._tell_without(row)
            return None
        try:
            response = self._association.request(
                context.id,
                {
                    Element.COMMAND_FIELD: int(CommandField.C_STORE),
                    Element.PRIORITY: _MEDIUM,
                    Element.AFFECTED_SOP_CLASS_UID: row.sop_class_uid,
                    Element.AFFECTED_SOP_INSTANCE_UID: row.sop_instance_uid,
                },
                self._data_set(row, context.transfer_syntax),
            )
        except (Missing, Outage, Unwritable) as error:
            log.warning("retrieve.failed", sop_instance_uid=row.sop_instance_uid, error=str(error))
            return None
        return response.number(Element.STATUS)

    def _context(self, sop_class: str, transfer_syntax: str) -> Context | None:
        contexts = self._contexts.get(sop_class, {})
        if transfer_syntax in _UNCOMPRESSED and transfer_syntax not in contexts:
            other = next((each for each in contexts if each in _UNCOMPRESSED), transfer_syntax)
            return contexts.get(other)
        return contexts.get(transfer_syntax)

    def _data_set(self, row: Stored, transfer_syntax: str) -> Iterable[bytes | memoryview]:
        if transfer_syntax == row.transfer_syntax:
            return self._stored(row)
        return reencoded(self._stored(row), explicit=transfer_syntax == EXPLICIT_VR_LITTLE_ENDIAN)

    def _stored(self, row: Stored) -> Iterator[bytes]:
        """Read the data set; Missing where it isn't all there."""
        # Half a data set can't be taken back: look before a word of it is sent.
        if self._objects.size(row.key) != row.size:
            raise Missing(f"object {row.key} is not there as it was stored")
        left = row.size - row.data_set_offset
        for piece in self._objects.read(row.key, row.data_set_offset):
            left -= len(piece)
            yield piece
        if left:
            raise Missing(f"object {row.key} ends {left} bytes before its end")

    def _tell_without(self, row: Stored) -> None:
        missing = (row.sop_class_uid, row.transfer_syntax)
        if missing not in self._without:
            self._without.add(missing)
            log.warning(
                "retrieve.no_context",
                calling=self._association.calling_title,
                sop_class=row.sop_class_uid,
                transfer_syntax=row.transfer_syntax,
            )


def _by_class(contexts: Mapping[int, Context]) -> dict[str, dict[str, Context]]:
    """Sort the contexts in which the peer takes instances, by class and transfer syntax."""
    by_class: dict[str, dict[str, Context]] = {}
    for context in contexts.values():
        if context.may_invoke:
            of_class = by_class.setdefault(context.abstract_syntax, {})
            of_class.setdefault(context.transfer_syntax, context)
    return by_class

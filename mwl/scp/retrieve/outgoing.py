"""Instances on their way out: C-STORE as sub-operation, in a context that was agreed on."""

from collections.abc import Callable, Iterable, Mapping

import structlog

from mwl.archive import following
from mwl.archive.query import Stored
from mwl.errors import MwlError, Outage
from mwl.net.association import Association, DataSet
from mwl.net.dimse import CommandField, Context, Element
from mwl.net.messages import Elements
from mwl.objects import Missing
from mwl.pictures import Busy, Decoder, Unshowable
from mwl.scp.coercion import coerced
from mwl.scp.pieces import Unwritable
from mwl.scp.retrieve.conversion import converted, target
from mwl.scp.retrieve.shelf import Shelf
from mwl.scp.retrieve.tally import Sent
from mwl.studies import Identity

log = structlog.get_logger(__name__)

_MEDIUM = 0  # (0000,0700)


def _nothing() -> None:
    pass


class Sender:
    """Send instances to the peer of an association, one after another.

    `more` adds to the command set of each. `look` is called in the midst of long ones; what
    it raises stops the one under way.
    """

    def __init__(
        self,
        association: Association,
        shelf: Shelf,
        decoder: Decoder,
        more: Elements | None = None,
        look: Callable[[], None] = _nothing,
    ) -> None:
        self._association, self._shelf, self._decoder = association, shelf, decoder
        self._more, self._look = more or {}, look
        self._contexts = _by_class(association.contexts)
        self._without: set[tuple[str, str]] = set()  # told of already

    def send(self, row: Stored) -> Sent:
        """Send one. PeerReleased, CutShort and whatever else ends an association."""
        contexts = self._contexts.get(row.sop_class_uid, {})
        syntax = target(row.transfer_syntax, contexts)
        if syntax is None:
            self._tell_without(row)
            return Sent(None, "no presentation context was accepted for it")
        try:
            response = self._association.request(
                contexts[syntax].id,
                {
                    Element.COMMAND_FIELD: int(CommandField.C_STORE),
                    Element.PRIORITY: _MEDIUM,
                    Element.AFFECTED_SOP_CLASS_UID: row.sop_class_uid,
                    Element.AFFECTED_SOP_INSTANCE_UID: row.sop_instance_uid,
                    **self._more,
                },
                self._data_set(row, syntax),
                None if self._look is _nothing else self._look,
            )
        except (Missing, Outage) as error:
            return _failed(row, error, "it can't be read from the archive")
        except (Unwritable, Unshowable, Busy) as error:
            return _failed(row, error, f"it can't be converted: {error}")
        code = response.number(Element.STATUS)
        return Sent(code, f"a peer answered C-STORE with {code:04X}" if code else "")

    def _data_set(self, row: Stored, syntax: str) -> DataSet:
        """Give the data set as it goes out: under the patient's present name, if it is theirs."""
        if syntax == row.transfer_syntax and row.identity is None:
            return self._shelf.direct(row, self._look) or self._shelf.pieces(row, self._look)
        pieces: Iterable[bytes | memoryview] = self._shelf.pieces(row, self._look)
        if row.identity is not None:
            now, only = Identity.of(row.identity), following.aliases(row.identity)
            pieces = coerced(pieces, now, row.transfer_syntax, only)
        if syntax == row.transfer_syntax:
            return pieces
        return converted(pieces, row, syntax, self._decoder)

    def _tell_without(self, row: Stored) -> None:
        missing = (row.sop_class_uid, row.transfer_syntax)
        if missing not in self._without:
            self._without.add(missing)
            log.warning(
                "retrieve.no_context",
                to=self._association.address,
                sop_class=row.sop_class_uid,
                transfer_syntax=row.transfer_syntax,
            )


def _failed(row: Stored, error: MwlError, reason: str) -> Sent:
    log.warning("retrieve.failed", sop_instance_uid=row.sop_instance_uid, error=str(error))
    return Sent(None, reason)


def _by_class(contexts: Mapping[int, Context]) -> dict[str, dict[str, Context]]:
    """Sort the contexts in which the peer takes instances, by class and transfer syntax."""
    by_class: dict[str, dict[str, Context]] = {}
    for context in contexts.values():
        if context.may_invoke:
            of_class = by_class.setdefault(context.abstract_syntax, {})
            of_class.setdefault(context.transfer_syntax, context)
    return by_class

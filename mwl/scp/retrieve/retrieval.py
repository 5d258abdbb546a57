"""One C-GET or C-MOVE, from its identifier to its final response."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from time import monotonic
from typing import Protocol

import structlog

from mwl import dataset
from mwl.archive import query
from mwl.db import Database
from mwl.errors import Outage, ProtocolError, Rejected
from mwl.matching import Matcher
from mwl.net import status
from mwl.net.association import Association, PeerReleased
from mwl.net.dimse import CommandField, Message
from mwl.net.options import Options
from mwl.net.pdu import EXPLICIT_VR_LITTLE_ENDIAN
from mwl.scp import levels
from mwl.scp.attributes import vr_of
from mwl.scp.elements import Writer
from mwl.scp.final import DEFECT, Final, Mismatch, mismatched, unreadable
from mwl.scp.levels import Root
from mwl.scp.retrieve.tally import Sent, Tally

log = structlog.get_logger(__name__)

OPTIONS = Options(relational=True)

_FAILED_SOP_INSTANCE_UID_LIST = 0x00080058
_LONGEST_SHORT_FORM = 0xFFFE
_AHEAD = 4  # instances that are fetched while one is sent
_LOOK_S = 0.5  # between looks for the peer while one instance is on its way
_PAUSE_S = 0.05  # between pending responses: hundreds a second serve nobody
_TELL_S = 5.0  # the longest that a peer hears nothing


class Outlet(Protocol):
    """Where the instances go."""

    def begin(self, kinds: Sequence[query.Kind]) -> None:
        """Learn what is to go, before the first."""

    def expect(self, row: query.Stored) -> None:
        """Learn what comes soon."""

    def send(self, row: query.Stored) -> Sent:
        """Send one. Whatever ends the association of whoever asked."""

    def end(self) -> None:
        """Learn that this was all. Raises nothing."""


class Retrieval:
    """A request to retrieve, and how far it is. `root` is its information model."""

    def __init__(
        self, database: Database, association: Association, message: Message, root: Root
    ) -> None:
        self._database, self._root = database, root
        self.association, self.message = association, message
        self._explicit = message.context.transfer_syntax == EXPLICIT_VR_LITTLE_ENDIAN
        self._level = ""
        self._tally = Tally()
        self._look_at = monotonic() + _LOOK_S
        self._told_at = 0.0

    def perform(self, outlet: Outlet) -> None:
        """Send what is asked for, and answer."""
        try:
            final = self._run(outlet)
        except PeerReleased:
            log.info("retrieve.released", calling=self.association.calling_title)
            return  # it awaits nothing but the end
        self.answer(final)

    def answer(self, final: Final) -> None:
        """Send the final response."""
        log.info(
            f"retrieve.{CommandField(self.message.command.field).name[2:].lower()}",
            calling=self.association.calling_title,
            root=self._root.name,
            query_level=self._level,
            **self._tally.told(),
            status=f"{final.status:04X}",
            comment=final.comment,
        )
        self.association.send_response(
            self.message, final.status, elements=final.elements(), data_set=self._failed_list()
        )

    def look(self) -> None:
        """See to the peer while something takes long: hear it, and tell it how far we are.

        Whatever ends its association.
        """
        now = monotonic()
        if now < self._look_at:
            return
        self._look_at = now + _LOOK_S
        self._is_cancelled()
        if now >= self._told_at + _TELL_S:
            self._tell()

    def _run(self, outlet: Outlet) -> Final:
        try:
            return self._performed(outlet)
        except Mismatch as error:
            return mismatched(error)
        except Rejected as error:
            return unreadable(error)
        except Outage as error:
            return self._out(error)
        except (ProtocolError, OSError):
            raise  # the peer's end of it, or the network's
        except Exception:
            log.exception("retrieve.defect")
            return DEFECT

    def _performed(self, outlet: Outlet) -> Final:
        asked = self._asked()
        kinds = self._kinds(asked)
        self._tally.remaining = sum(kind.instances for kind in kinds)
        try:
            outlet.begin(kinds)
            for row in _announced(self._rows(asked), outlet.expect):
                if self._is_cancelled():
                    return Final(status.CANCEL, counts=self._tally.elements(remaining=True))
                self._tally.count(outlet.send(row), row.sop_instance_uid)
                if self._tally.remaining and monotonic() >= self._told_at + _PAUSE_S:
                    self._tell()
        finally:
            outlet.end()
        counts = self._tally.elements(remaining=False)
        return Final(self._tally.status(), self._tally.reason, counts=counts)

    def _asked(self) -> list[dict[str, Matcher]]:
        """Read the identifier: the keys of as many queries as its list of UIDs takes."""
        keys = dataset.read(self.message.data_set or b"", explicit=self._explicit, vr_of=vr_of)
        level, above, uids = levels.name(keys, self._root, self.message.context.options)
        self._level = str(level)
        return [{**above, query.UNIQUE_KEYS[level]: part} for part in query.uid_lists(uids)]

    def _kinds(self, asked: Sequence[Mapping[str, Matcher]]) -> list[query.Kind]:
        with self._database.read() as session:
            return [kind for keys in asked for kind in query.kinds(session, keys)]

    def _rows(self, asked: Sequence[Mapping[str, Matcher]]) -> Iterator[query.Stored]:
        """Read page after page; while the peer takes what they name, no read is open."""
        for keys in asked:
            after = 0
            while True:
                with self._database.read() as session:
                    rows = query.objects(session, keys, after=after, limit=query.PAGE_ROWS)
                yield from rows
                if len(rows) < query.PAGE_ROWS:
                    break
                after = rows[-1].row

    def _is_cancelled(self) -> bool:
        return self.association.cancelled(self.message.command.message_id)

    def _tell(self) -> None:
        """Send a pending response."""
        self._told_at = monotonic()
        counts = self._tally.elements(remaining=True)
        self.association.send_response(self.message, status.PENDING, elements=counts)

    def _out(self, error: Outage) -> Final:
        log.warning("retrieve.outage", error=str(error))
        if self._tally.is_empty:
            return Final(status.UNABLE_TO_CALCULATE_MATCHES, "the archive is not available now")
        self._tally.give_up()
        counts = self._tally.elements(remaining=False)
        return Final(self._tally.status(), "the archive went away meanwhile", counts=counts)

    def _failed_list(self) -> bytes | None:
        """Encode (0008,0058), None if nothing failed."""
        uids = self._tally.failed_uids
        if not uids:
            return None
        value = "\\".join(uids).encode("latin-1", "replace")
        value += b"\0" * (len(value) % 2)
        # PS3.5 6.2.2: what is too long for a short form is UN.
        vr = "UI" if len(value) <= _LONGEST_SHORT_FORM else "UN"
        return Writer(self._explicit).element(_FAILED_SOP_INSTANCE_UID_LIST, vr, value)


def _announced(
    rows: Iterable[query.Stored], expect: Callable[[query.Stored], None]
) -> Iterator[query.Stored]:
    """Give rows, each announced while those before it are sent."""
    coming: deque[query.Stored] = deque()
    for row in rows:
        expect(row)
        coming.append(row)
        if len(coming) > _AHEAD:
            yield coming.popleft()
    yield from coming

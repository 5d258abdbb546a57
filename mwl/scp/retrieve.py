"""Study Root Retrieve by C-GET as SCP (PS3.4 annex C.4.3): what is kept goes out as it is.

Each instance is a C-STORE on the same association, its bytes read from the object store
while they are sent. A presentation context must have been accepted for its SOP class and
the transfer syntax it is kept in; between the two uncompressed Little Endian ones the data
set is written anew. What can't be sent is a failed sub-operation, and the others go on.

Statuses (table C.4-3), with the counts of sub-operations:

- 0000 all went; B000 some did, (0008,0058) lists the others; A702 none did;
- FE00 the peer gave up; A900, with the attribute: the identifier names no level of the
  Study Root, or not what lies above it; C001: it can't be read;
- A701 the database is in trouble, and nobody knows how many there are.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import structlog

from mwl import dataset
from mwl.archive import query
from mwl.db import Database
from mwl.errors import Outage, ProtocolError, Rejected
from mwl.matching import Matcher
from mwl.net import status
from mwl.net.association import Association, PeerReleased
from mwl.net.dimse import CommandField, Element, Message
from mwl.net.pdu import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from mwl.objects import ObjectStore
from mwl.scp import levels
from mwl.scp.attributes import vr_of
from mwl.scp.elements import Writer
from mwl.scp.final import DEFECT, Final, Mismatch, unreadable
from mwl.scp.outgoing import Sender

log = structlog.get_logger(__name__)

STUDY_ROOT_GET = "1.2.840.10008.5.1.4.1.2.2.3"

_FAILED_SOP_INSTANCE_UID_LIST = 0x00080058
_LONGEST_SHORT_FORM = 0xFFFE
_LARGEST_US = 0xFFFF


@dataclass(frozen=True, slots=True)
class RetrieveService:
    """Study Root Query/Retrieve Information Model – GET.

    `storage` is what may be sent: by SOP class, the transfer syntaxes it may be kept in.
    """

    database: Database
    objects: ObjectStore
    storage: Mapping[str, tuple[str, ...]]

    @property
    def abstract_syntaxes(self) -> tuple[str, ...]:
        return (STUDY_ROOT_GET,)

    @property
    def transfer_syntaxes(self) -> tuple[str, ...]:
        # No deflated one: 29 KB of it inflate to 30 MB.
        return (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)

    @property
    def operations(self) -> frozenset[CommandField]:
        return frozenset({CommandField.C_GET})

    @property
    def invokes(self) -> Mapping[str, tuple[str, ...]]:
        return self.storage

    def handle(self, association: Association, message: Message) -> None:
        """Answer one C-GET-RQ, sub-operations and all."""
        retrieval = _Retrieval(self, association, message)
        try:
            final = retrieval.run()
        except PeerReleased:
            log.info("retrieve.released", calling=association.calling_title)
            return  # it awaits nothing but the end
        log.info(
            "retrieve.get",
            calling=association.calling_title,
            level=retrieval.level,
            **retrieval.tally.told(),
            status=f"{final.status:04X}",
            comment=final.comment,
        )
        association.send_response(
            message, final.status, elements=final.elements(), data_set=retrieval.failed_list()
        )


@dataclass(slots=True)
class _Tally:
    """How the sub-operations stand."""

    remaining: int = 0
    completed: int = 0
    warning: int = 0
    failed: int = 0
    failed_uids: list[str] = field(default_factory=list)

    def count(self, code: int | None, sop_instance_uid: str) -> None:
        """Count one by its status; None: it could not be performed."""
        self.remaining = max(0, self.remaining - 1)
        if code == status.SUCCESS:
            self.completed += 1
        elif code is not None and _is_warning(code):
            self.warning += 1
        else:
            self.failed += 1
            self.failed_uids.append(sop_instance_uid)

    def told(self) -> dict[str, int]:
        """Tell the counts, for a log."""
        return {"completed": self.completed, "warning": self.warning, "failed": self.failed}

    def elements(self, *, remaining: bool) -> dict[int, int | str | bytes]:
        """Tell the counts in a command set; PS3.7 9.1.3.1: what remains, not in the end."""
        counts = {
            Element.NUMBER_OF_COMPLETED_SUB_OPERATIONS: self.completed,
            Element.NUMBER_OF_FAILED_SUB_OPERATIONS: self.failed,
            Element.NUMBER_OF_WARNING_SUB_OPERATIONS: self.warning,
        }
        if remaining:
            counts[Element.NUMBER_OF_REMAINING_SUB_OPERATIONS] = self.remaining
        return {number: min(count, _LARGEST_US) for number, count in counts.items()}

    def status(self) -> int:
        """Choose the final status."""
        if not self.failed:
            return status.SUB_OPERATIONS_WITH_FAILURES if self.warning else status.SUCCESS
        if self.completed or self.warning:
            return status.SUB_OPERATIONS_WITH_FAILURES
        return status.UNABLE_TO_PERFORM_SUB_OPERATIONS


def _is_warning(code: int) -> bool:
    # PS3.7 C.1.2 and annex C.
    return code >> 12 == 0xB or code in {0x0001, 0x0107, 0x0116}


class _Retrieval:
    """One C-GET, from its identifier to its last sub-operation."""

    def __init__(
        self, service: RetrieveService, association: Association, message: Message
    ) -> None:
        self._service, self._association, self._message = service, association, message
        self._explicit = message.context.transfer_syntax == EXPLICIT_VR_LITTLE_ENDIAN
        self.level = ""
        self.tally = _Tally()

    def run(self) -> Final:
        try:
            return self._performed()
        except Mismatch as error:
            return Final(status.IDENTIFIER_DOES_NOT_MATCH, str(error), error.tag)
        except Rejected as error:
            return unreadable(error)
        except Outage as error:
            return self._out(error)
        except (ProtocolError, OSError):
            raise  # the peer's end of it, or the network's
        except Exception:
            log.exception("retrieve.defect")
            return DEFECT

    def failed_list(self) -> bytes | None:
        """Encode (0008,0058), None if nothing failed."""
        uids = self.tally.failed_uids
        if not uids:
            return None
        value = "\\".join(uids).encode("latin-1", "replace")
        value += b"\0" * (len(value) % 2)
        # PS3.5 6.2.2: what is too long for a short form is UN.
        vr = "UI" if len(value) <= _LONGEST_SHORT_FORM else "UN"
        return Writer(self._explicit, "").element(_FAILED_SOP_INSTANCE_UID_LIST, vr, value)

    def _performed(self) -> Final:
        keys = dataset.read(self._message.data_set or b"", explicit=self._explicit, vr_of=vr_of)
        level, above, uids = levels.name(keys)
        self.level = str(level)
        asked = [{**above, query.UNIQUE_KEYS[level]: part} for part in query.uid_lists(uids)]
        with self._service.database.read() as session:
            self.tally.remaining = sum(query.count(session, part) for part in asked)
        sender = Sender(self._association, self._service.objects)
        for row in self._rows(asked):
            if self._association.cancelled(self._message.command.message_id):
                return Final(status.CANCEL, counts=self.tally.elements(remaining=True))
            self.tally.count(sender.send(row), row.sop_instance_uid)
            if self.tally.remaining:
                pending = self.tally.elements(remaining=True)
                self._association.send_response(self._message, status.PENDING, elements=pending)
        return Final(self.tally.status(), counts=self.tally.elements(remaining=False))

    def _rows(self, asked: list[dict[str, Matcher]]) -> Iterator[query.Stored]:
        """Read page after page; while the peer takes what they name, no read is open."""
        for keys in asked:
            after = 0
            while True:
                with self._service.database.read() as session:
                    rows = query.objects(session, keys, after=after, limit=query.PAGE_ROWS)
                yield from rows
                if len(rows) < query.PAGE_ROWS:
                    break
                after = rows[-1].row

    def _out(self, error: Outage) -> Final:
        log.warning("retrieve.outage", error=str(error))
        tally = self.tally
        if not (tally.remaining or tally.completed or tally.warning or tally.failed):
            return Final(status.UNABLE_TO_CALCULATE_MATCHES, "the archive is not available now")
        # What remains is not known by name any more.
        tally.failed += tally.remaining
        counts = tally.elements(remaining=False)
        return Final(tally.status(), "the archive went away meanwhile", counts=counts)

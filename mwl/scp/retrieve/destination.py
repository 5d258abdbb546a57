"""A device that instances are moved to, and the associations with it."""

from collections.abc import Callable, Iterator, Sequence
from itertools import count

import structlog

from mwl.archive.query import Kind, Stored
from mwl.errors import Outage, ProtocolError
from mwl.net.association import Association, CutShort
from mwl.net.framing import ReadTimeout, WriteTimeout
from mwl.net.pdu import ProposedContext
from mwl.scp.retrieve.conversion import PLAIN
from mwl.scp.retrieve.outgoing import Sender
from mwl.scp.retrieve.shelf import Shelf
from mwl.scp.retrieve.tally import Sent

log = structlog.get_logger(__name__)

_MOST_CONTEXTS = 128  # PS3.8 9.3.2.2: odd identifiers from 1 to 255

Proposal = tuple[ProposedContext, ...]


class MoverGone(Exception):
    """Whoever asked is gone: `error` is how its association ended."""

    def __init__(self, error: ProtocolError) -> None:
        super().__init__(str(error))
        self.error = error


class Destination:
    """Takes instances, in as many associations as their presentation contexts need.

    They are opened when the first instance for one comes: `open_` raises Outage,
    ProtocolError. One that breaks is opened again for the next instance, but only once
    between two that went; then the rest fails at once, for nobody waits for a dead machine
    a hundred times. `through` makes what sends on one; it may raise MoverGone in mid-way.
    """

    def __init__(
        self,
        open_: Callable[[Proposal], Association],
        through: Callable[[Association], Sender],
        shelf: Shelf,
    ) -> None:
        self._open, self._through, self._shelf = open_, through, shelf
        self._proposals: list[Proposal] = []
        self._of_class: dict[str, int] = {}  # to the number of its proposal
        self._associations: dict[int, tuple[Association, Sender]] = {}
        self._is_well = True  # as far as was seen last
        self._lost = ""  # why it is given up

    def begin(self, kinds: Sequence[Kind]) -> None:
        """Plan the associations."""
        for number, classes in enumerate(_shares(kinds)):
            ids = count(1, 2)
            self._proposals.append(
                tuple(
                    ProposedContext(next(ids), sop_class, syntaxes)
                    for sop_class, ways in classes.items()
                    for syntaxes in ways
                )
            )
            self._of_class |= dict.fromkeys(classes, number)

    def expect(self, row: Stored) -> None:
        """Learn what comes soon."""
        if not self._lost:
            self._shelf.expect(row)

    def send(self, row: Stored) -> Sent:
        """Send one; whatever becomes of the association, the mover's goes on.

        What ended the mover's own, if that is over.
        """
        try:
            return self._sent(row)
        finally:
            self._shelf.forget(row)

    def _sent(self, row: Stored) -> Sent:
        number = self._of_class.get(row.sop_class_uid)
        if number is None:
            return Sent(None, "it came while the others were sent")
        if self._lost:
            return Sent(None, self._lost)
        try:
            sent = self._sender(number).send(row)
        except MoverGone as gone:
            raise self._aborted(gone) from None
        except CutShort as error:
            if isinstance(error.__cause__, MoverGone):
                raise self._aborted(error.__cause__) from None
            return self._broken(number, row, error)
        except (Outage, ProtocolError) as error:
            return self._broken(number, row, error)
        self._is_well = True
        return sent

    def end(self) -> None:
        """Release the associations."""
        self._shelf.close()
        for association, _ in self._associations.values():
            try:
                association.release()
            except ProtocolError as error:
                # All was answered: how it leaves is its own affair.
                log.info("retrieve.destination_left", error=str(error))
        self._associations.clear()

    def _aborted(self, gone: MoverGone) -> ProtocolError:
        for association, _ in self._associations.values():
            association.abort()
        self._associations.clear()
        return gone.error

    def _sender(self, number: int) -> Sender:
        if number not in self._associations:
            association = self._open(self._proposals[number])
            self._associations[number] = association, self._through(association)
        return self._associations[number][1]

    def _broken(self, number: int, row: Stored, error: Outage | ProtocolError) -> Sent:
        """Count one as failed by its association, and decide whether there'll be another."""
        reason = str(error)
        log.warning("retrieve.broken", sop_instance_uid=row.sop_instance_uid, error=str(error))
        association, _ = self._associations.pop(number, (None, None))
        if association is not None:
            association.abort(error if isinstance(error, ProtocolError) else None)
        is_slow = isinstance(error, ReadTimeout | WriteTimeout)
        if association is None or is_slow or not self._is_well:
            self._lost = reason
        self._is_well = False
        return Sent(None, reason)


def _shares(kinds: Sequence[Kind]) -> Iterator[dict[str, list[tuple[str, ...]]]]:
    """Share classes out to associations: of each the transfer syntaxes of its contexts."""
    kept: dict[str, list[str]] = {}
    for kind in kinds:
        of_class = kept.setdefault(kind.sop_class_uid, [])
        if kind.transfer_syntax not in of_class:
            of_class.append(kind.transfer_syntax)
    share: dict[str, list[tuple[str, ...]]] = {}
    taken = 0
    for sop_class, syntaxes in kept.items():
        ways = _ways(syntaxes)
        if taken + len(ways) > _MOST_CONTEXTS:
            yield share
            share, taken = {}, 0
        share[sop_class] = ways
        taken += len(ways)
    if share:
        yield share


def _ways(kept: Sequence[str]) -> list[tuple[str, ...]]:
    """Propose each as it is kept, and the uncompressed ones to who doesn't take that."""
    others = tuple(each for each in PLAIN if each not in kept)
    return [(each,) for each in kept] + ([others] if others else [])

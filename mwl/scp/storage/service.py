"""C-STORE as SCP: what is answered 0000 is on disk, and in the index.

The order of things: the data set goes to the object store as it comes; its header is looked
at; the object is made durable; the index row is committed; then the answer. Whatever ends
before the row leaves at most an object that nobody knows, and `mwl verify` finds it.

- A700 where the disk, the bucket or the database is in trouble: the scanner may try again.
- A900 where the data set is not what its command says, or lacks a UID that it must have, or has one
  there that can be none.
- C000 where it can't be read: cut short, with lengths that don't add up, or with native
  pixels under a transfer syntax that compresses them.
- 0117 where the SOP Instance UID can't be one.

What contradicts the archive is quarantined, and that is a success: the bytes are kept.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import structlog

from mwl import archive
from mwl.archive import Outcome, Received
from mwl.charsets import Texts
from mwl.config.devices import DeviceCharacters
from mwl.db import Database
from mwl.errors import Outage, Rejected
from mwl.net.association import Association
from mwl.net.dimse import Command, CommandField, Context, Message
from mwl.net.status import DATA_SET_DOES_NOT_MATCH
from mwl.objects import ObjectStore
from mwl.scp.answers import any_characters
from mwl.scp.final import Final
from mwl.scp.storage.answer import (
    BAD_INSTANCE_UID,
    DEFECT,
    INDEX_OUT,
    NO_DATA_SET,
    STORED,
    Refused,
    answer_to,
    mismatch,
)
from mwl.scp.storage.attributes import (
    SERIES_INSTANCE_UID,
    SOP_CLASS_UID,
    SOP_INSTANCE_UID,
    STUDY_INSTANCE_UID,
    attributes,
    plain,
)
from mwl.scp.storage.header import Header
from mwl.scp.storage.incoming import Incoming
from mwl.scp.storage.pause import Pause
from mwl.scp.storage.syntaxes import IMAGE_CLASSES, STORAGE_CLASSES, TRANSFER_SYNTAXES

log = structlog.get_logger(__name__)


def _utc_now() -> datetime:
    return datetime.now(UTC)


@lru_cache(maxsize=256)
def _tell_once(calling: str, flags: tuple[str, ...]) -> None:
    """Log that texts weren't what they are labelled: not for each of a thousand slices."""
    log.warning("storage.characters", calling=calling, characters=flags)


@dataclass(frozen=True, slots=True)
class StorageService:
    """Storage of whatever carries its pixels; `private_classes` are taken beside the standard's.

    `characters` tells which sets are those of who calls itself so.
    """

    database: Database
    objects: ObjectStore
    private_classes: tuple[str, ...] = ()
    clock: Callable[[], datetime] = _utc_now
    pause: Pause = field(default_factory=Pause)
    characters: Callable[[str], DeviceCharacters] = any_characters

    @property
    def abstract_syntaxes(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*STORAGE_CLASSES, *self.private_classes)))

    @property
    def transfer_syntaxes(self) -> tuple[str, ...]:
        return TRANSFER_SYNTAXES

    @property
    def theirs_first(self) -> frozenset[str]:
        # What is kept as it came is best taken as the scanner has it. What nobody knows may
        # be an image.
        return IMAGE_CLASSES.union(self.private_classes)

    @property
    def operations(self) -> frozenset[CommandField]:
        return frozenset({CommandField.C_STORE})

    def receive(self, association: Association, context: Context, command: Command) -> Incoming:
        """Take a data set as it comes."""
        incoming = Incoming(context, command.sop_instance, self.objects, association.calling_title)
        if not archive.is_uid(command.sop_instance):
            incoming.fail(Refused(BAD_INSTANCE_UID))
        elif self.pause.is_on():
            incoming.fail(Refused(INDEX_OUT))
        return incoming

    def handle(self, association: Association, message: Message) -> None:
        """Answer one C-STORE-RQ whose data set has come."""
        answer = self._answer(message.sink)
        if answer.status:
            log.warning(
                "storage.refused",
                calling=association.calling_title,
                sop_instance=message.command.sop_instance[:64],
                status=f"{answer.status:04X}",
                comment=answer.comment,
            )
        association.send_response(message, answer.status, elements=answer.elements())

    def _answer(self, sink: object) -> Final:
        if not isinstance(sink, Incoming):
            return NO_DATA_SET
        try:
            header = sink.header()
            study, series = _study_and_series(sink, header)
            texts = Texts((), self.characters(sink.source).assumed)
            described = attributes(header, big=sink.is_big, texts=texts)
            if texts.flags:
                _tell_once(sink.source, tuple(sorted(texts.flags)))
            sink.finish()
            return self._indexed(self._received(sink, study, series, described))
        except Exception as error:
            sink.fail(error)  # what was written is gone before anybody is told
            answer = answer_to(error)
            if answer is None:
                log.exception("storage.defect", exc_info=error)
                return DEFECT
            if isinstance(error, Outage):
                log.warning("storage.outage", error=str(error))
            return answer

    def _received(
        self, incoming: Incoming, study: str, series: str, described: dict[str, Any]
    ) -> Received:
        context = incoming.context
        return Received(
            study_instance_uid=study,
            series_instance_uid=series,
            sop_instance_uid=incoming.sop_instance,
            sop_class_uid=context.abstract_syntax,
            transfer_syntax=context.transfer_syntax,
            source=incoming.source,
            key=incoming.key,
            size=incoming.size,
            data_set_offset=incoming.data_set_offset,
            sha256=incoming.sha256,
            attributes=described,
            received_at=self.clock(),
        )

    def _indexed(self, received: Received) -> Final:
        """Commit the index row of an object that is durable."""
        try:
            stored = archive.store(self.database, received)
        except Rejected as error:
            self._forget(received.key)
            return Final(DATA_SET_DOES_NOT_MATCH, str(error.faults[0]))
        except Outage as error:
            # The row may be there all the same: nobody may remove the object.
            log.warning("storage.index_outage", error=str(error), key=received.key)
            self.pause.begin()
            return INDEX_OUT
        if stored.outcome is Outcome.REPEATED:
            self._forget(received.key)
        return STORED

    def _forget(self, key: str) -> None:
        with suppress(Outage):  # then `mwl verify` finds it
            self.objects.delete(key)


def _study_and_series(incoming: Incoming, header: Header) -> tuple[str, str]:
    """Tell their UIDs. Raises Refused where the data set is not what its command says."""
    values = header.values
    if plain(values, SOP_CLASS_UID) != incoming.context.abstract_syntax:
        raise mismatch("SOP Class UID is not the command's", SOP_CLASS_UID)
    if plain(values, SOP_INSTANCE_UID) != incoming.sop_instance:
        raise mismatch("SOP Instance UID is not the command's", SOP_INSTANCE_UID)
    study, series = plain(values, STUDY_INSTANCE_UID), plain(values, SERIES_INSTANCE_UID)
    _require_uid(study, "Study Instance UID", STUDY_INSTANCE_UID)
    _require_uid(series, "Series Instance UID", SERIES_INSTANCE_UID)
    return study, series


def _require_uid(uid: str, name: str, tag: int) -> None:
    if not uid:
        raise mismatch(f"no {name}", tag)
    if not archive.is_uid(uid):
        raise mismatch(f"this {name} is none", tag)

"""A scanner: what it asks and tells, an association for each.

That is how scanners behave: one to ask for the worklist, one for each word of MPPS, one to
send a series, one to have it committed. Whatever is not answered as it should be raises
Failed, whose text is a line for a person.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from pydicom.dataset import Dataset

from mwl.demo import datasets
from mwl.demo.association import Answer, Association, Elements, Failed
from mwl.demo.datasets import Code
from mwl.demo.entries import Entry, new_uid
from mwl.net.dimse import CommandField, Element

VERIFICATION = "1.2.840.10008.1.1"
WORKLIST = "1.2.840.10008.5.1.4.31"
MPPS = "1.2.840.10008.3.1.2.3.3"
COMMITMENT = "1.2.840.10008.1.20.1"
WELL_KNOWN_INSTANCE = "1.2.840.10008.1.20.1.1"
_REQUEST_COMMITMENT = 1  # PS3.4 J.3.2.1: the action type


@dataclass(frozen=True, slots=True)
class Report:
    """What the server told of instances whose commitment was asked for."""

    kept: int
    failed: int


@dataclass(frozen=True, slots=True)
class Scanner:
    """One scanner, and the server that it talks to."""

    ae_title: str
    host: str
    port: int
    called: str

    def echo(self) -> None:
        """Knock: C-ECHO."""
        with self._associated(VERIFICATION) as association:
            about: Elements = {Element.AFFECTED_SOP_CLASS_UID: VERIFICATION}
            _check(*association.ask(CommandField.C_ECHO, VERIFICATION, about))

    def worklist(self, modality: str, day: date, accession: str = "") -> list[Entry]:
        """Ask for the entries of a day (C-FIND)."""
        keys = datasets.worklist_keys(modality, day, accession)
        about: Elements = {Element.AFFECTED_SOP_CLASS_UID: WORKLIST}
        with self._associated(WORKLIST) as association:
            *found, final = association.ask(CommandField.C_FIND, WORKLIST, about, keys)
            _check(final)
        return [Entry.of(answer.data_set) for answer in found]

    def begin(self, entry: Entry, now: datetime) -> str:
        """Tell that the work has begun (MPPS N-CREATE); give the UID of what was begun."""
        uid = new_uid()
        about: Elements = {
            Element.AFFECTED_SOP_CLASS_UID: MPPS,
            Element.AFFECTED_SOP_INSTANCE_UID: uid,
        }
        said = datasets.begun(entry, self.ae_title, now)
        with self._associated(MPPS) as association:
            _check(*association.ask(CommandField.N_CREATE, MPPS, about, said))
        return uid

    def end(
        self, uid: str, images: Sequence[Dataset], now: datetime, reason: Code | None = None
    ) -> None:
        """Tell that the work is done, or given up for a reason (MPPS N-SET)."""
        about: Elements = {
            Element.REQUESTED_SOP_CLASS_UID: MPPS,
            Element.REQUESTED_SOP_INSTANCE_UID: uid,
        }
        said = datasets.ended(images, now, reason)
        with self._associated(MPPS) as association:
            _check(*association.ask(CommandField.N_SET, MPPS, about, said))

    def store(self, images: Sequence[Dataset]) -> None:
        """Send a series (C-STORE)."""
        classes = tuple(dict.fromkeys(str(image.SOPClassUID) for image in images))
        with self._associated(*classes) as association:
            for image in images:
                sop_class = str(image.SOPClassUID)
                about: Elements = {
                    Element.AFFECTED_SOP_CLASS_UID: sop_class,
                    Element.AFFECTED_SOP_INSTANCE_UID: str(image.SOPInstanceUID),
                }
                _check(*association.ask(CommandField.C_STORE, sop_class, about, image))

    def commit(self, images: Sequence[Dataset]) -> Report:
        """Have images committed (N-ACTION), and wait for the report on the same association."""
        with self._associated(COMMITMENT) as association:
            self._ask(association, images)
            return report_of(association.take_report())

    def ask_commitment(self, images: Sequence[Dataset]) -> None:
        """Have images committed, and leave: the report comes by an association to us."""
        with self._associated(COMMITMENT) as association:
            self._ask(association, images)

    def _ask(self, association: Association, images: Sequence[Dataset]) -> None:
        about: Elements = {
            Element.REQUESTED_SOP_CLASS_UID: COMMITMENT,
            Element.REQUESTED_SOP_INSTANCE_UID: WELL_KNOWN_INSTANCE,
            Element.ACTION_TYPE_ID: _REQUEST_COMMITMENT,
        }
        asked = datasets.commitment(images, new_uid())
        _check(*association.ask(CommandField.N_ACTION, COMMITMENT, about, asked))

    def _associated(self, *sop_classes: str) -> Association:
        return Association((self.host, self.port), self.called, self.ae_title, sop_classes)


def report_of(information: Dataset) -> Report:
    """Read what an N-EVENT-REPORT says (PS3.4 table J.3-2)."""
    kept = information.get("ReferencedSOPSequence") or []
    failed = information.get("FailedSOPSequence") or []
    return Report(len(kept), len(failed))


def _check(answer: Answer) -> None:
    if answer.status != 0x0000:
        operation = CommandField(answer.command.field & 0x7FFF).name.replace("_", "-")
        comment = answer.command.text(Element.ERROR_COMMENT)
        told = f"{operation} was answered {answer.status:04X}"
        raise Failed(f"{told}: {comment}" if comment else told)

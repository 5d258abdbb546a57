"""A scanner that asks for storage commitment, by pynetdicom; and where it is told of it."""

import queue
import warnings
from contextlib import contextmanager

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from mwl.commitment import STORAGE_COMMITMENT_PUSH_MODEL, WELL_KNOWN_INSTANCE

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from pynetdicom import AE, evt

SYNTAXES = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
PATIENCE_S = 30


def action(references, uid="1.2.3"):
    """Make the action information of a request."""
    information = Dataset()
    information.TransactionUID = uid
    information.ReferencedSOPSequence = []
    for each in references:
        item = Dataset()
        item.ReferencedSOPClassUID = each.sop_class_uid
        item.ReferencedSOPInstanceUID = each.sop_instance_uid
        information.ReferencedSOPSequence.append(item)
    return information


class Reports:
    """What was reported, in its order; `status` is what each is answered with."""

    def __init__(self, status=0x0000):
        self.status = status
        self.callers = []
        self._told = queue.Queue()

    def take(self, event):
        self.callers.append(event.assoc.requestor.ae_title)
        self._told.put((event.event_type, event.event_information))
        return self.status, None

    def next(self, patience_s=PATIENCE_S):
        """Wait for one: event type, Transaction UID, committed UIDs, failures by UID."""
        event_type, told = self._told.get(timeout=patience_s)
        good = [item.ReferencedSOPInstanceUID for item in told.get("ReferencedSOPSequence", [])]
        bad = {
            item.ReferencedSOPInstanceUID: item.FailureReason
            for item in told.get("FailedSOPSequence", [])
        }
        return event_type, str(told.TransactionUID), good, bad

    def is_empty(self):
        return self._told.empty()


@contextmanager
def association(port, reports=None, title="CT1", syntaxes=SYNTAXES):
    """Associate; `reports` takes what is told on the same association."""
    entity = AE(ae_title=title)
    entity.add_requested_context(STORAGE_COMMITMENT_PUSH_MODEL, syntaxes)
    handlers = [(evt.EVT_N_EVENT_REPORT, reports.take)] if reports else []
    opened = entity.associate("127.0.0.1", port, ae_title="MWL", evt_handlers=handlers)
    assert opened.is_established
    try:
        yield opened
    finally:
        opened.release() if opened.is_established else opened.abort()


def request(opened, references, uid="1.2.3"):
    """Ask for commitment; return the status."""
    status, _ = opened.send_n_action(
        action(references, uid), 1, STORAGE_COMMITMENT_PUSH_MODEL, WELL_KNOWN_INSTANCE
    )
    return status.Status


@contextmanager
def listener(reports, port=0, roles=(False, True), title="CT1", tls=None):
    """Take reports on new associations; give the port. `roles` None: it ignores proposals."""
    entity = AE(ae_title=title)
    entity.require_called_aet = True
    scu, scp = roles or (None, None)
    entity.add_supported_context(
        STORAGE_COMMITMENT_PUSH_MODEL, SYNTAXES, scu_role=scu, scp_role=scp
    )
    server = entity.start_server(
        ("127.0.0.1", port),
        block=False,
        evt_handlers=[(evt.EVT_N_EVENT_REPORT, reports.take)],
        ssl_context=tls,
    )
    try:
        yield server.socket.getsockname()[1]
    finally:
        server.shutdown()

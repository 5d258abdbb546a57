"""Whether who is sent HL7 messages or MPPS, or asked for a worklist, is there, by the settings."""

from hl7 import client
from mwl.config import Destination, Forward, MppsForward, Settings, WorklistSource
from mwl.devices import Answer
from mwl.errors import ConfigError
from mwl.roles.secured import hl7_keys_of, keys_of
from mwl.scu import Peer, takes
from mwl.scu.performed import SOP_CLASS as MPPS
from mwl.scu.worklist import SOP_CLASS as WORKLIST

Peers = Destination | Forward | MppsForward | WorklistSource


def reach(settings: Settings, to: Peers) -> Answer:
    """See whether it is there, and send nothing; whatever is wrong is told in the answer."""
    if isinstance(to, MppsForward):
        # By our own title: which scanners it knows is seen when there is something to tell.
        return _takes(settings, to, settings.dicom.ae_title, MPPS, "MPPS")
    if isinstance(to, WorklistSource):
        calling = to.calling or settings.dicom.ae_title
        return _takes(settings, to, calling, WORKLIST, "worklist queries")
    return _receiver(settings, to)


def _receiver(settings: Settings, to: Destination | Forward) -> Answer:
    try:
        # Read for each test: it is rare, and certificates may be new ones.
        tls = hl7_keys_of(settings).verifier(to.certificate) if to.tls else None
    except ConfigError as error:
        return Answer(False, str(error))
    return client.reach(to.host, to.port, tls=tls)


def _takes(
    settings: Settings, to: MppsForward | WorklistSource, calling: str, sop_class: str, what: str
) -> Answer:
    try:
        keys = keys_of(settings) if to.tls else None
    except ConfigError as error:
        return Answer(False, str(error))
    peer = Peer(to.ae_title, to.host, to.port, to.tls, to.certificate)
    return takes(peer, calling, sop_class, what, keys=keys)

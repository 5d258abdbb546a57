"""Whether who is sent HL7 messages or MPPS is there to take them, by the settings."""

from hl7 import client
from mwl.config import Destination, Forward, MppsForward, Settings
from mwl.devices import Answer
from mwl.errors import ConfigError
from mwl.roles.secured import hl7_keys_of, keys_of
from mwl.scu import Peer, takes
from mwl.scu.performed import SOP_CLASS


def reach(settings: Settings, to: Destination | Forward | MppsForward) -> Answer:
    """See whether it is there, and send nothing; whatever is wrong is told in the answer."""
    return _manager(settings, to) if isinstance(to, MppsForward) else _receiver(settings, to)


def _receiver(settings: Settings, to: Destination | Forward) -> Answer:
    try:
        # Read for each test: it is rare, and certificates may be new ones.
        tls = hl7_keys_of(settings).verifier(to.certificate) if to.tls else None
    except ConfigError as error:
        return Answer(False, str(error))
    return client.reach(to.host, to.port, tls=tls)


def _manager(settings: Settings, to: MppsForward) -> Answer:
    """Ask for an association for MPPS by our own title.

    Which scanners it knows as well is seen when there is something to tell of one.
    """
    try:
        keys = keys_of(settings) if to.tls else None
    except ConfigError as error:
        return Answer(False, str(error))
    peer = Peer(to.ae_title, to.host, to.port, to.tls, to.certificate)
    return takes(peer, settings.dicom.ae_title, SOP_CLASS, "MPPS", keys=keys)

"""Whether who is sent HL7 messages or MPPS is there to take them, by the settings."""

from hl7.client import reach
from mwl.config import Destination, Forward, MppsForward, Settings
from mwl.devices import Answer
from mwl.errors import ConfigError
from mwl.roles.secured import hl7_keys_of, keys_of
from mwl.scu import Peer, takes
from mwl.scu.performed import SOP_CLASS


def reach_receiver(settings: Settings, to: Destination | Forward) -> Answer:
    """Connect, and send nothing; whatever is wrong is told in the answer."""
    try:
        # Read for each test: it is rare, and certificates may be new ones.
        tls = hl7_keys_of(settings).verifier(to.certificate) if to.tls else None
    except ConfigError as error:
        return Answer(False, str(error))
    return reach(to.host, to.port, tls=tls)


def reach_manager(settings: Settings, to: MppsForward) -> Answer:
    """Ask for an association for MPPS, and send none; whatever is wrong is told in the answer.

    We call by our own title: which scanners it knows, too, is seen when they have something
    to tell.
    """
    try:
        keys = keys_of(settings) if to.tls else None
    except ConfigError as error:
        return Answer(False, str(error))
    peer = Peer(to.ae_title, to.host, to.port, to.tls, to.certificate)
    return takes(peer, settings.dicom.ae_title, SOP_CLASS, "MPPS", keys=keys)

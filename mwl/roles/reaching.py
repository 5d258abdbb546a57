"""Whether who is sent HL7 messages takes connections, by the settings."""

from hl7.client import reach
from mwl.config import Destination, Forward, Settings
from mwl.devices import Answer
from mwl.errors import ConfigError
from mwl.roles.secured import hl7_keys_of


def reach_receiver(settings: Settings, to: Destination | Forward) -> Answer:
    """Connect, and send nothing; whatever is wrong is told in the answer."""
    try:
        # Read for each test: it is rare, and certificates may be new ones.
        tls = hl7_keys_of(settings).verifier(to.certificate) if to.tls else None
    except ConfigError as error:
        return Answer(False, str(error))
    return reach(to.host, to.port, tls=tls)

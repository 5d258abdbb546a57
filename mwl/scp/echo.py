"""Verification (PS3.4 annex A): C-ECHO says that we are there."""

from mwl.net.association import Association
from mwl.net.dimse import CommandField, Message
from mwl.net.pdu import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from mwl.net.status import SUCCESS

VERIFICATION = "1.2.840.10008.1.1"


class EchoService:
    """Verification as SCP."""

    abstract_syntaxes = (VERIFICATION,)
    # Nothing is ever encoded; these are what every peer offers.
    transfer_syntaxes = (IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN)
    operations = frozenset({CommandField.C_ECHO})

    def handle(self, association: Association, message: Message) -> None:
        """Answer C-ECHO-RQ."""
        association.send_response(message, SUCCESS)  # PS3.4 A.4

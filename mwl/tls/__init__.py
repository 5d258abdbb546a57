"""TLS for every port and for whom we call: contexts, certificates, and a socket over it.

The profile is that of PS3.15 B.12, "BCP 195 RFC 8996 TLS Secure Transport Connection
Profile": TLS 1.2 and 1.3, nothing older. Nothing here knows what is spoken over it.
"""

from mwl.tls.certificates import Shown, check_rule, expiry, matches
from mwl.tls.contexts import Files, Keys, Verifier
from mwl.tls.dialing import connect
from mwl.tls.socket import TlsClosed, TlsError, TlsSocket

__all__ = [
    "Files",
    "Keys",
    "Shown",
    "TlsClosed",
    "TlsError",
    "TlsSocket",
    "Verifier",
    "check_rule",
    "connect",
    "expiry",
    "matches",
]

"""Certificates: whose one is, whether it is the one that is asked for, when it expires.

A rule says which certificate a peer must show: "sha256:" and its fingerprint in hexadecimal,
colons or not, or a name: the subject's common name, or a DNS name or URI among its
alternative names (RFC 5280 4.2.1.6).
"""

import re
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

_FINGERPRINT = "sha256:"
_NAMES = frozenset({"DNS", "URI"})

# ASN.1 tags (X.690 8.1.2), as far as a certificate's validity is behind them.
_SEQUENCE, _VERSION = 0x30, 0xA0
_UTC_TIME, _GENERALIZED_TIME = 0x17, 0x18
_LONG_LENGTH = 0x80


@dataclass(frozen=True, slots=True)
class Shown:
    """The certificate that a peer showed, and that was found valid.

    `fingerprint` is its SHA-256 in hexadecimal; `names` are those that a rule may name.
    """

    fingerprint: str
    names: tuple[str, ...]

    def __str__(self) -> str:
        return f"{', '.join(self.names) or 'nameless'} ({_FINGERPRINT}{self.fingerprint})"


def shown(connection: ssl.SSLObject) -> Shown | None:
    """Read the certificate that the peer of a handshake showed; None: it showed none.

    None too where the context did not ask for one: an unverified certificate is no proof.
    """
    verified, der = connection.getpeercert(), connection.getpeercert(binary_form=True)
    if not verified or der is None:
        return None
    return Shown(sha256(der).hexdigest(), tuple(dict.fromkeys(_names(verified))))


def _names(certificate: Any) -> Iterator[str]:
    for part in certificate.get("subject", ()):
        yield from (value for kind, value in part if kind == "commonName")
    yield from (value for kind, value in certificate.get("subjectAltName", ()) if kind in _NAMES)


def check_rule(rule: str) -> str:
    """Give a rule in one spelling. ValueError: a fingerprint that is none."""
    rule = rule.strip()
    if not rule.lower().startswith(_FINGERPRINT):
        return rule
    digits = rule[len(_FINGERPRINT) :].replace(":", "").lower()
    if not re.fullmatch(r"[0-9a-f]{64}", digits):
        raise ValueError("a fingerprint is sha256: and 64 hexadecimal digits")
    return _FINGERPRINT + digits


def matches(rule: str, certificate: Shown) -> bool:
    """Tell whether a certificate is the one that `rule` asks for."""
    if rule.lower().startswith(_FINGERPRINT):
        return check_rule(rule) == _FINGERPRINT + certificate.fingerprint
    return rule.casefold() in {name.casefold() for name in certificate.names}


def expiry(pem: str) -> datetime:
    """Tell when the first of a PEM file's certificates ends. ValueError: there is none."""
    parts = pem.split(ssl.PEM_HEADER)[1:]
    bodies = [part.partition(ssl.PEM_FOOTER) for part in parts]
    whole = [f"{ssl.PEM_HEADER}{body}{ssl.PEM_FOOTER}" for body, footer, _ in bodies if footer]
    if not whole:
        raise ValueError("no certificate in PEM form")
    return min(_not_after(ssl.PEM_cert_to_DER_cert(each)) for each in whole)


def _not_after(der: bytes) -> datetime:
    # RFC 5280 4.1: Certificate > TBSCertificate > version, serial number, signature,
    # issuer, validity > notBefore, notAfter. The version may be left out.
    (certificate,) = _elements(der)
    signed = next(_elements(certificate[1]))
    fields = [each for each in _elements(signed[1]) if each[0] != _VERSION]
    times = list(_elements(fields[3][1]))
    kind, text = times[1]
    if kind == _UTC_TIME:  # RFC 5280 4.1.2.5.1: 50 and more are of the last century
        text = (b"19" if text[:2] >= b"50" else b"20") + text
    elif kind != _GENERALIZED_TIME:
        raise ValueError("no certificate: its validity can't be read")
    return datetime.strptime(text.decode("ascii"), "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield tag and content of each element in DER (X.690 8.1), as far as `data` goes."""
    at = 0
    while at + 2 <= len(data):
        tag, length = data[at], data[at + 1]
        at += 2
        if length & _LONG_LENGTH:
            size = length & ~_LONG_LENGTH
            length = int.from_bytes(data[at : at + size])
            at += size
        if at + length > len(data):
            raise ValueError("no certificate: it is cut off")
        yield tag, data[at : at + length]
        at += length

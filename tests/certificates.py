"""Certificates for tests: an authority of a test's own, and what it signs.

authority = Authority(folder, "ca")
ours = authority.issue("server", dns=["localhost"], ip=["127.0.0.1"])
ours.certificate, ours.key     # PEM files
authority.certificate          # PEM file
"""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

_DAY = timedelta(days=1)
_PEM = serialization.Encoding.PEM


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, as PEM files."""

    certificate: Path
    key: Path

    @property
    def fingerprint(self) -> str:
        """SHA-256, in hexadecimal."""
        loaded = x509.load_pem_x509_certificate(self.certificate.read_bytes())
        return loaded.fingerprint(hashes.SHA256()).hex()


class Authority:
    """Signs certificates; its files, and theirs, are in `folder`."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named(name)
        built = _builder(self._name, self._name, self._key.public_key(), timedelta(days=3650))
        built = built.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self.certificate = folder / f"{name}.pem"
        signed = built.sign(self._key, hashes.SHA256())
        self.certificate.write_bytes(signed.public_bytes(_PEM))

    def issue(
        self,
        name: str,
        *,
        dns: Sequence[str] = (),
        ip: Sequence[str] = (),
        uri: Sequence[str] = (),
        lasts: timedelta = timedelta(days=365),
        password: str = "",
        use_rsa: bool = False,
        file: str = "",
    ) -> Pair:
        """Sign a certificate of common name `name`; one that lasts less than nothing is over."""
        key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey = (
            rsa.generate_private_key(65537, 2048)
            if use_rsa
            else ec.generate_private_key(ec.SECP256R1())
        )
        built = _builder(_named(name), self._name, key.public_key(), lasts)
        others: list[x509.GeneralName] = [x509.DNSName(each) for each in dns]
        others += [x509.UniformResourceIdentifier(each) for each in uri]
        others += [x509.IPAddress(ipaddress.ip_address(each)) for each in ip]
        if others:
            built = built.add_extension(x509.SubjectAlternativeName(others), critical=False)
        file = file or name
        pair = Pair(self._folder / f"{file}.pem", self._folder / f"{file}.key")
        pair.certificate.write_bytes(built.sign(self._key, hashes.SHA256()).public_bytes(_PEM))
        locked = (
            serialization.BestAvailableEncryption(password.encode())
            if password
            else serialization.NoEncryption()
        )
        form = serialization.PrivateFormat.PKCS8
        pair.key.write_bytes(key.private_bytes(_PEM, form, locked))
        return pair


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey,
    lasts: timedelta,
) -> x509.CertificateBuilder:
    end = datetime.now(UTC) + lasts
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(end - timedelta(days=3650))
        .not_valid_after(end)
    )

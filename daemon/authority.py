"""A certification authority for a site that has none of its own: EC P-256, files of PEM.

A certificate names its holder by AE title (the common name) and by host names and addresses; both
ends of an association can use it.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from daemon.errors import CannotIssue, CertificateUnusable

CA_DAYS = 3650
DAYS = 397  # a year and a month's grace
CLOCKS_APART = dt.timedelta(hours=1)
_HOST = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?)(?:\.[A-Za-z0-9-]{1,63})*")
CA_CERTIFICATE, CA_KEY = "ca.pem", "ca.key"


@dataclass(frozen=True, slots=True)
class Shown:
    """What a certificate says."""

    subject: str
    names: tuple[str, ...]
    issuer: str
    not_before: dt.datetime
    not_after: dt.datetime
    fingerprint: str  # sha256: and 64 hexadecimal digits

    def days_left(self, now: dt.datetime) -> float:
        """Days until it expires; negative after that."""
        return (self.not_after - now) / dt.timedelta(days=1)


def make_authority(folder: Path, name: str, days: int, now: dt.datetime) -> tuple[Path, Path]:
    """Make an authority in a folder; return its certificate and its key.

    Raises CannotIssue where one is there, or the folder cannot be written.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = _builder(subject, subject, key, days, now)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_key_usage(ca=True), critical=True)
    certificate = builder.sign(key, hashes.SHA256())
    return _write(folder / CA_CERTIFICATE, folder / CA_KEY, [certificate], key)


def issue(
    folder: Path,
    out: Path,
    ae_title: str,
    hosts: Sequence[str],
    days: int,
    now: dt.datetime,
) -> tuple[Path, Path]:
    """Issue a certificate to an AE title at host names or addresses; return it and its key.

    The files are out/AE.pem and out/AE.key. Raises CannotIssue.
    """
    authority, signing = _authority(folder)
    if authority.not_valid_after_utc < now + dt.timedelta(days=days):
        left = (authority.not_valid_after_utc - now) / dt.timedelta(days=1)
        raise CannotIssue(
            f"the authority itself ends in {left:.0f} days: ask for fewer than {days}"
        )
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, ae_title)])
    builder = _builder(subject, authority.subject, key, days, now, signing)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), True)
    builder = builder.add_extension(_key_usage(ca=False), critical=True)
    usage = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    builder = builder.add_extension(x509.ExtendedKeyUsage(usage), critical=False)
    if hosts:
        names = x509.SubjectAlternativeName([_general_name(one) for one in hosts])
        builder = builder.add_extension(names, critical=False)
    file = "".join(one if one.isalnum() or one in "-_." else "_" for one in ae_title).lstrip(".")
    certificate = builder.sign(signing, hashes.SHA256())
    return _write(out / f"{file}.pem", out / f"{file}.key", [certificate], key)


def show(path: Path) -> Shown:
    """Read the first certificate of a PEM file. Raises CertificateUnusable."""
    try:
        certificate = x509.load_pem_x509_certificates(path.read_bytes())[0]
    except OSError as error:
        raise CertificateUnusable(f"{path} cannot be read: {error.strerror}") from None
    except ValueError:
        raise CertificateUnusable(f"{path} holds no certificate in PEM form") from None
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        names = tuple(str(one.value) for one in extension.value)
    except x509.ExtensionNotFound:
        names = ()
    return Shown(
        certificate.subject.rfc4514_string(),
        names,
        certificate.issuer.rfc4514_string(),
        certificate.not_valid_before_utc,
        certificate.not_valid_after_utc,
        f"sha256:{certificate.fingerprint(hashes.SHA256()).hex()}",
    )


def _authority(folder: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    try:
        certificate = x509.load_pem_x509_certificate((folder / CA_CERTIFICATE).read_bytes())
        key = serialization.load_pem_private_key((folder / CA_KEY).read_bytes(), None)
        certificate.verify_directly_issued_by(certificate)
        ours = certificate.public_key() == key.public_key()
    except OSError as error:
        raise CannotIssue(
            f"there is no authority in {folder} ({error.strerror}): hilum tls make-ca makes one"
        ) from None
    except (ValueError, TypeError, InvalidSignature):
        ours = False
    if not ours or not isinstance(key, ec.EllipticCurvePrivateKey):
        raise CannotIssue(f"{folder} holds no authority that hilum tls make-ca made")
    return certificate, key


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    days: int,
    now: dt.datetime,
    signing: ec.EllipticCurvePrivateKey | None = None,
) -> x509.CertificateBuilder:
    issuers = (signing or key).public_key()
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCKS_APART)
        .not_valid_after(now + dt.timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuers), critical=False)
    )


def _key_usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, key_cert_sign=ca, crl_sign=ca,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        if len(host) > 253 or not _HOST.fullmatch(host):
            raise CannotIssue(f'"{host}" is neither a host name nor an address') from None
        return x509.DNSName(host)


def _write(
    certificate_file: Path,
    key_file: Path,
    certificates: Sequence[x509.Certificate],
    key: ec.EllipticCurvePrivateKey,
) -> tuple[Path, Path]:
    """Write both, and neither over one that is there. The key is for its owner alone."""
    for path in (certificate_file, key_file):
        if path.exists():
            raise CannotIssue(f"{path} is there already; move it away to make another")
    text = b"".join(one.public_bytes(serialization.Encoding.PEM) for one in certificates)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    try:
        certificate_file.parent.mkdir(parents=True, exist_ok=True)
        for path, content, mode in ((key_file, secret, 0o600), (certificate_file, text, 0o644)):
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
                file.write(content)
    except OSError as error:
        raise CannotIssue(f"{error.filename} cannot be written: {error.strerror}") from None
    return certificate_file, key_file

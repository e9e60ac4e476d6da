"""DICOM TLS after BCP 195 (PS3.15 B.12): TLS 1.2 and 1.3, and certificates looked at again.

A certificate is renewed by putting new files in place of the old. They are taken up by the next
connection; files that cannot be used leave those before in use.
"""

from __future__ import annotations

import hashlib
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from daemon import logs
from daemon.errors import CertificateUnusable
from daemon.events import Event
from daemon.settings import DicomTlsSettings, PacsTlsSettings

# RFC 9325 section 4.2; those of TLS 1.3 are OpenSSL's own, all of which that section allows.
SUITES = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
)
LOOK_EVERY_S = 1.0
Stamp = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class PeerCertificate:
    """What a certificate that was verified says of its holder."""

    fingerprint: str  # sha256: and 64 hexadecimal digits
    names: frozenset[str]  # common names, and DNS names, URIs and addresses

    @classmethod
    def of(cls, peer: ssl.SSLSocket) -> PeerCertificate | None:
        """Return that of a peer, None where it came with none."""
        der = peer.getpeercert(binary_form=True)
        if not der:
            return None
        told: Any = peer.getpeercert() or {}
        names = {value for part in told.get("subject", ()) for key, value in part
                 if key == "commonName"}  # fmt: skip
        names |= {value for _, value in told.get("subjectAltName", ()) if isinstance(value, str)}
        return cls(f"sha256:{hashlib.sha256(der).hexdigest()}", frozenset(names))


class Credentials:
    """A TLS context that follows its files. Safe to use from several threads."""

    def __init__(
        self, what: str, files: tuple[Path, ...], build: Callable[[], ssl.SSLContext]
    ) -> None:
        """Read the files; `what` names them in the log. Raises CertificateUnusable."""
        self._what = what
        self._files = files
        self._build = build
        self._lock = threading.Lock()
        self._seen = _stamp(files)
        self._looked_at = time.monotonic()
        self._context = build()
        self.trouble: str | None = None  # why newer files are not in use
        self._log = logs.get()

    def context(self) -> ssl.SSLContext:
        """Return the context of the newest files that can be used."""
        with self._lock:
            now = time.monotonic()
            if now - self._looked_at >= LOOK_EVERY_S:
                self._looked_at = now
                self._look()
            return self._context

    def _look(self) -> None:
        stamp = _stamp(self._files)
        if stamp == self._seen:
            return
        self._seen = stamp
        try:
            self._context = self._build()
        except CertificateUnusable as error:
            self.trouble = str(error)
            self._log.error(Event.CERTIFICATE_REFUSED, setting=self._what, reason=self.trouble)
        else:
            self.trouble = None
            self._log.info(Event.CERTIFICATE_TAKEN_UP, setting=self._what)


def _stamp(files: tuple[Path, ...]) -> Stamp:
    """What changes when a file does."""
    found = []
    for file in files:
        try:
            status = file.stat()
        except OSError:
            found.append((0, 0, 0))
        else:
            found.append((status.st_mtime_ns, status.st_size, status.st_ino))
    return tuple(found)


def server_credentials(settings: DicomTlsSettings) -> Credentials:
    """Return those of the DICOM port. Raises CertificateUnusable."""
    files = (settings.certificate, settings.key, settings.ca)
    return Credentials("dicom.tls", files, lambda: server_context(settings))


def server_context(settings: DicomTlsSettings) -> ssl.SSLContext:
    """Return how the DICOM port speaks TLS. Raises CertificateUnusable."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _harden(context)
    # A caller's certificate is looked at in each association anew
    context.options |= ssl.OP_NO_TICKET | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.num_tickets = 0
    required = settings.client_certificate == "required"
    context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
    _load(context, "dicom.tls", settings.ca, settings.certificate, settings.key)
    return context


class Attempt:
    """One handshake with a PACS: ended after so long in all; says afterwards why it failed.

    pynetdicom takes it for a context, and keeps the reason of a failure to itself.
    """

    def __init__(self, context: ssl.SSLContext, seconds: float) -> None:
        self._context = context
        self.seconds = seconds
        self.failure = ""

    def wrap_socket(self, plain: socket.socket, **options: Any) -> ssl.SSLSocket:
        """Return the socket that is to be connected."""
        wrapped = self._context.wrap_socket(plain, **options)
        assert isinstance(wrapped, _ClientSocket)
        wrapped.attempt = self
        return wrapped


class _ClientSocket(ssl.SSLSocket):
    attempt: Attempt

    def do_handshake(self, block: bool = False) -> None:
        usual, deadline = self.gettimeout(), time.monotonic() + self.attempt.seconds
        self.settimeout(0)
        try:
            while True:
                try:
                    return super().do_handshake(block)
                except ssl.SSLWantReadError:
                    _await(self, deadline, reading=True)
                except ssl.SSLWantWriteError:
                    _await(self, deadline, reading=False)
        except ssl.SSLCertVerificationError as error:
            self.attempt.failure = f"its certificate was refused: {error.verify_message}"
            raise
        except OSError as error:
            self.attempt.failure = f"no TLS: {_why(error)}"
            raise
        finally:
            self.settimeout(usual)


def _await(peer: socket.socket, deadline: float, *, reading: bool) -> None:
    left = deadline - time.monotonic()
    sets = ([peer], []) if reading else ([], [peer])
    if left <= 0 or not any(select.select(*sets, [], left)):
        raise TimeoutError("the handshake did not come to its end")


def client_context(settings: PacsTlsSettings) -> ssl.SSLContext:
    """Return how we speak TLS to a PACS: its name is verified. Raises CertificateUnusable."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.sslsocket_class = _ClientSocket
    _harden(context)
    _load(context, "pacs.tls", settings.ca, settings.certificate, settings.key)
    return context


@lru_cache(64)
def client_credentials(settings: PacsTlsSettings) -> Credentials:
    """Return those for a PACS, the same for the same settings. Raises CertificateUnusable."""
    files = tuple(one for one in (settings.ca, settings.certificate, settings.key) if one)
    return Credentials("pacs.tls", files, lambda: client_context(settings))


def _harden(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(":".join(SUITES))
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION


def _load(
    context: ssl.SSLContext, what: str, ca: Path, certificate: Path | None, key: Path | None
) -> None:
    """Read the files. Raises CertificateUnusable, which names the one at fault."""
    try:
        context.load_verify_locations(ca)
    except (OSError, ssl.SSLError) as error:
        raise CertificateUnusable(f"{what}.ca {ca} cannot be used: {_why(error)}") from None
    if certificate is None:
        return
    try:
        # A key with a pass phrase would be asked for on the terminal
        context.load_cert_chain(certificate, key, password=lambda: b"")
    except (OSError, ssl.SSLError) as error:
        raise CertificateUnusable(
            f"{what}.certificate {certificate} with key {key} cannot be used: {_why(error)}"
        ) from None


def _why(error: OSError) -> str:
    return str(getattr(error, "reason", None) or error.strerror or error)

"""Syslog over TLS: RFC 5424 messages in RFC 5425 frames, as PS3.15 A.6 lays down.

Syslog has no acknowledgement. What was written counts as taken once the collector's system has it
(`unread` is 0) and the connection has lived on for a while (`daemon.audit.sender`).
"""

from __future__ import annotations

import array
import fcntl
import os
import socket
import ssl
import termios
from contextlib import suppress
from datetime import UTC, datetime

from daemon.errors import DaemonError
from daemon.settings import AuditSettings

PRI = 85  # facility 10, security; severity 5, normal but significant
MSGID = "DICOM+RFC3881"
BOM = b"\xef\xbb\xbf"
CONNECT_S = 10.0
SEND_S = 10.0  # until the collector's system has taken a batch


class CollectorAway(DaemonError):
    """The collector of audit messages cannot be reached."""


def frame(xml: bytes, at: float, host: str, process: int) -> bytes:
    """Return a message in its frame: length in octets, space, message."""
    moment = datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds")
    head = f"<{PRI}>1 {moment.replace('+00:00', 'Z')} {host} hilum {process} {MSGID} - "
    message = head.encode() + BOM + xml
    return str(len(message)).encode() + b" " + message


def client_context(chosen: AuditSettings) -> ssl.SSLContext:
    """Return TLS for the settings; 1.2 or later. Raises CollectorAway for files that are none."""
    try:
        context = ssl.create_default_context(cafile=chosen.ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if chosen.certificate is not None:
            context.load_cert_chain(chosen.certificate, chosen.key)
    except (OSError, ssl.SSLError) as error:
        raise CollectorAway(f"The files of [audit] cannot be used: {_why(error)}.") from error
    return context


class Line:
    """A connection to the collector."""

    def __init__(self, chosen: AuditSettings) -> None:
        """Connect. Raises CollectorAway."""
        context, host = client_context(chosen), str(chosen.host)
        try:
            raw = socket.create_connection((host, chosen.port), CONNECT_S)
        except OSError as error:
            raise CollectorAway(f"{host}:{chosen.port}: {_why(error)}.") from error
        try:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(SEND_S * 1000))
            self._socket = context.wrap_socket(raw, server_hostname=host)
        except (OSError, ssl.SSLError) as error:
            raw.close()
            raise CollectorAway(f"{host}:{chosen.port}: {_why(error)}.") from error
        self._socket.settimeout(SEND_S)

    def send(self, frames: bytes) -> None:
        """Write frames. Raises CollectorAway."""
        try:
            self._socket.sendall(frames)
        except (OSError, ssl.SSLError) as error:
            raise CollectorAway(f"The connection broke: {_why(error)}.") from error

    def check(self) -> None:
        """Raise CollectorAway where the collector has closed the connection."""
        self._socket.settimeout(0)
        try:
            if not self._socket.recv(4096):
                raise CollectorAway("The collector closed the connection.")
        except (ssl.SSLWantReadError, BlockingIOError):
            pass
        except (OSError, ssl.SSLError) as error:
            raise CollectorAway(f"The connection broke: {_why(error)}.") from error
        finally:
            self._socket.settimeout(SEND_S)

    @property
    def unread(self) -> int:
        """How many bytes the collector's system has not acknowledged yet (TIOCOUTQ)."""
        held = array.array("i", [0])
        with suppress(OSError):
            fcntl.ioctl(self._socket.fileno(), termios.TIOCOUTQ, held)
        return held[0]

    def close(self) -> None:
        """Close it, however it stands."""
        with suppress(OSError, ValueError):
            self._socket.close()


def own_name() -> str:
    """This machine's name as a syslog header may hold it."""
    name = "".join(c for c in socket.gethostname() if "!" <= c <= "~")
    return name[:255] or "-"


def own_process() -> int:
    """The number of this process, for the header."""
    return os.getpid()


def _why(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is refused: {error.verify_message}"
    return error.strerror or type(error).__name__

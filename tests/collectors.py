"""Collectors of audit messages: rsyslog as Debian has it, and one of our own that can go away."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.harness import free_port, until

_OPENSSL = shutil.which("openssl") or "openssl"
RSYSLOG = shutil.which("rsyslogd") or "/usr/sbin/rsyslogd"


@dataclass(frozen=True)
class Authority:
    """An authority of a test's own, with a server's certificate and a client's."""

    ca: Path
    server: tuple[Path, Path]  # certificate, key
    client: tuple[Path, Path]


def make_authority(folder: Path) -> Authority:
    """Make keys and certificates, good for 127.0.0.1, with openssl."""
    folder.mkdir()
    ca, ca_key = folder / "ca.pem", folder / "ca.key"
    _openssl(
        "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test CA",
        "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=keyCertSign,cRLSign",
        "-keyout", ca_key, "-out", ca,
    )  # fmt: skip
    made = []
    for name in ("server", "client"):
        key, request, signed = (folder / f"{name}.{end}" for end in ("key", "csr", "pem"))
        extensions = folder / f"{name}.ext"
        extensions.write_text("subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")
        _openssl(
            "req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}",
            "-keyout", key, "-out", request,
        )  # fmt: skip
        _openssl(
            "x509", "-req", "-in", request, "-CA", ca, "-CAkey", ca_key, "-CAcreateserial",
            "-days", "2", "-extfile", extensions, "-out", signed,
        )  # fmt: skip
        made.append((signed, key))
    return Authority(ca, made[0], made[1])


def _openssl(*arguments: str | Path) -> None:
    subprocess.run([_OPENSSL, *arguments], check=True, capture_output=True)


@contextmanager
def rsyslog(folder: Path, keys: Authority, port: int | None = None) -> Iterator[tuple[int, Path]]:
    """Run rsyslogd, which asks for the client's certificate; give its port and what it wrote."""
    port = port or free_port()
    folder.mkdir(exist_ok=True)
    written, config = folder / "audit.log", folder / "rsyslog.conf"
    config.write_text(f"""
global(workDirectory="{folder}" maxMessageSize="64k"
  defaultNetstreamDriver="gtls" defaultNetstreamDriverCAFile="{keys.ca}"
  defaultNetstreamDriverCertFile="{keys.server[0]}"
  defaultNetstreamDriverKeyFile="{keys.server[1]}")
module(load="imtcp" streamDriver.name="gtls" streamDriver.mode="1"
  streamDriver.authMode="x509/certvalid")
template(name="whole" type="string" string="%msgid%\\t%msg%\\n")
input(type="imtcp" port="{port}" address="127.0.0.1")
action(type="omfile" file="{written}" template="whole")
""")
    process = subprocess.Popen(
        [RSYSLOG, "-n", "-f", config, "-i", folder / "pid"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        until(lambda: _listens(port), 20)
        yield port, written
    finally:
        process.terminate()
        process.wait(20)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@dataclass
class Collector:
    """Takes RFC 5425 frames over TLS; `close` drops every connection, read or not."""

    keys: Authority
    port: int
    messages: list[bytes] = field(default_factory=list)
    reading: bool = True
    version: str | None = None
    _open: list[socket.socket] = field(default_factory=list)
    _listening: socket.socket | None = None

    def start(self) -> None:
        """Listen, on the same port each time."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=self.keys.ca)
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_cert_chain(*self.keys.server)
        self._listening = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(context, self._listening), daemon=True).start()

    def close(self) -> None:
        """Go away."""
        if self._listening is not None:
            with suppress(OSError):
                self._listening.shutdown(socket.SHUT_RDWR)
            self._listening.close()
        for one in self._open:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._open.clear()

    def _accept(self, context: ssl.SSLContext, listening: socket.socket) -> None:
        while True:
            try:
                raw, _ = listening.accept()
                secured = context.wrap_socket(raw, server_side=True)
            except ssl.SSLError:
                continue
            except OSError:
                return
            self._open.append(secured)
            self.version = secured.version()
            threading.Thread(target=self._read, args=(secured,), daemon=True).start()

    def _read(self, secured: ssl.SSLSocket) -> None:
        with suppress(OSError, ValueError):
            if not self.reading:
                return  # as a collector that died before it read
            stream = secured.makefile("rb")
            while length := self._length(stream.read):
                self.messages.append(stream.read(length))

    @staticmethod
    def _length(read: object) -> int:
        digits = b""
        while (one := read(1)) not in (b" ", b""):  # type: ignore[operator]
            digits += one
        return int(digits or 0)

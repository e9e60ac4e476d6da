"""The door of the listener: who comes in gets a thread only after a whole request.

One thread accepts every connection, does the TLS handshakes and reads the A-ASSOCIATE-RQs, all at
once and without waiting for any. Up to there a peer costs us a socket. Only who is let in is handed
to pynetdicom, which has two threads for each association.
"""

from __future__ import annotations

import ipaddress
import os
import selectors
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from daemon import logs
from daemon.events import Event
from daemon.settings import DicomSettings
from daemon.tls import Credentials, PeerCertificate
from daemon.transport import ABORT

A_ASSOCIATE_RQ = 0x01
HEADER_BYTES = 6
# PS3.8 table 9-11: 68 bytes before the items; 128 contexts with every transfer syntax have 80 KiB.
REQUEST_BYTES = range(68, (1 << 17) + 1)
CALLED_AE, CALLING_AE = slice(10, 26), slice(26, 42)
AT_ONCE = 64  # connections accepted between two looks at the others
LEAVING_S = 2.0  # for a rejected peer to read why, and to close
BREATH_S = 0.05  # where no descriptor is left
TICK_S = 0.5

Address = tuple[Any, ...]  # as the socket gives it


@dataclass(frozen=True, slots=True)
class Request:
    """A connection with a whole A-ASSOCIATE-RQ; AE titles without their padding."""

    peer: socket.socket
    address: Address
    said: bytes
    calling_ae: str
    called_ae: str
    certificate: PeerCertificate | None


@dataclass(eq=False, slots=True)
class Visitor:
    """A connection that has not asked yet, or was sent away."""

    peer: socket.socket
    address: Address
    until: float
    shaken: bool
    leaving: bool = False
    said: bytearray = field(default_factory=bytearray)


class Door(threading.Thread):
    """Accepts connections; hands those that ask for an association over.

    `admit` is given each request. It returns None where it has taken the socket, or the PDU that
    the peer is told, before the connection is closed.
    """

    def __init__(
        self,
        listening: socket.socket,
        settings: DicomSettings,
        credentials: Credentials | None,
        admit: Callable[[Request], bytes | None],
        refused: Callable[[str, str], None],
    ) -> None:
        """`refused` is told the address and the reason of a connection that is just closed."""
        super().__init__(name="door", daemon=True)
        self._listening = listening
        self._settings = settings
        self._credentials = credentials
        self._admit = admit
        self._refused = refused
        self._visitors: set[Visitor] = set()
        self._hosts: Counter[str] = Counter()
        self._closing = False
        self._wake = os.eventfd(0, os.EFD_NONBLOCK)
        self._selector = selectors.DefaultSelector()
        listening.setblocking(False)
        self._selector.register(listening, selectors.EVENT_READ, None)
        self._selector.register(self._wake, selectors.EVENT_READ, None)
        self._log = logs.get()

    @property
    def visitors(self) -> int:
        """How many connections have not asked for an association yet."""
        return len(self._visitors)

    def close(self) -> None:
        """Stop accepting, and close what has not been handed over."""
        self._closing = True
        os.eventfd_write(self._wake, 1)
        self.join(5)

    def run(self) -> None:
        """Serve until closed."""
        while not self._closing:
            for key, _ in self._selector.select(TICK_S if self._visitors else None):
                if key.data is not None:
                    self._attend(key.data)
                elif key.fileobj is self._listening:
                    self._accept()
            self._close_the_late(time.monotonic())
        for visitor in list(self._visitors):
            self._close(visitor)
        self._selector.close()
        self._listening.close()
        os.close(self._wake)

    def _accept(self) -> None:
        for _ in range(AT_ONCE):
            try:
                peer, address = self._listening.accept()
            except (BlockingIOError, ConnectionError):
                return
            except OSError as error:  # no descriptor, or no memory
                self._log.error(Event.FAULT, **logs.whereabouts(error))
                time.sleep(BREATH_S)
                return
            with suppress(OSError):
                if not self._greet(peer, address):
                    peer.close()

    def _greet(self, peer: socket.socket, address: Address) -> bool:
        """Take a connection up, if there is room; return whether."""
        whole = self._settings.max_connections
        if len(self._visitors) >= whole or self._hosts[host_of(address)] >= max(1, whole // 4):
            self._refused(address[0], "too many connections without a request")
            return False
        peer.setblocking(False)
        credentials = self._credentials
        if credentials is not None:
            peer = credentials.context().wrap_socket(
                peer, server_side=True, do_handshake_on_connect=False
            )
        until = time.monotonic() + self._settings.request_timeout_s
        visitor = Visitor(peer, address, until, shaken=credentials is None)
        self._selector.register(peer, selectors.EVENT_READ, visitor)
        self._visitors.add(visitor)
        self._hosts[host_of(address)] += 1
        return True

    def _attend(self, visitor: Visitor) -> None:
        """Go on with a connection as far as it goes without waiting."""
        try:
            if visitor.leaving:
                gone = not visitor.peer.recv(1 << 16)
            else:
                gone = not (self._shake(visitor) and self._listen_to(visitor))
        except (BlockingIOError, ssl.SSLWantReadError):
            self._selector.modify(visitor.peer, selectors.EVENT_READ, visitor)
        except ssl.SSLWantWriteError:
            self._selector.modify(visitor.peer, selectors.EVENT_WRITE, visitor)
        except (OSError, ValueError) as error:
            if isinstance(error, ssl.SSLError) and not visitor.leaving:
                self._refused(visitor.address[0], f"TLS: {error.reason or 'no handshake'}")
            self._close(visitor)
        else:
            if gone:
                self._close(visitor)

    def _shake(self, visitor: Visitor) -> bool:
        if not visitor.shaken:
            assert isinstance(visitor.peer, ssl.SSLSocket)
            visitor.peer.do_handshake()
            visitor.shaken = True
        return True

    def _listen_to(self, visitor: Visitor) -> bool:
        """Read the request, and decide; return whether the connection is not to be closed."""
        said = visitor.said
        while True:
            wanted = HEADER_BYTES
            if len(said) >= HEADER_BYTES:
                length = int.from_bytes(said[2:6], "big")
                if said[0] != A_ASSOCIATE_RQ or length not in REQUEST_BYTES:
                    self._refused(visitor.address[0], "no request for an association")
                    self._forget(visitor)
                    self._send_away(visitor, ABORT)
                    return True
                wanted += length
            if len(said) == wanted:
                self._decide(visitor)
                return True
            # Never more than the request: what follows is pynetdicom's to read
            some = visitor.peer.recv(wanted - len(said))
            if not some:
                return False
            said += some

    def _decide(self, visitor: Visitor) -> None:
        self._forget(visitor)
        peer = visitor.peer
        certificate = PeerCertificate.of(peer) if isinstance(peer, ssl.SSLSocket) else None
        said = bytes(visitor.said)
        peer.settimeout(self._settings.idle_timeout_s)
        answer = self._admit(
            Request(
                peer, visitor.address, said, _title(said[CALLING_AE]), _title(said[CALLED_AE]),
                certificate,
            )
        )  # fmt: skip
        if answer is not None:
            self._send_away(visitor, answer)

    def _send_away(self, visitor: Visitor, answer: bytes) -> None:
        """Say why, and give the peer a moment to close.

        Closing at once could take the answer along, where something is left to read.
        """
        peer = visitor.peer
        peer.settimeout(0)
        with suppress(OSError):
            peer.sendall(answer)
            peer.shutdown(socket.SHUT_WR)
        visitor.leaving, visitor.said = True, bytearray()
        visitor.until = time.monotonic() + LEAVING_S
        self._visitors.add(visitor)
        self._hosts[host_of(visitor.address)] += 1
        self._selector.register(peer, selectors.EVENT_READ, visitor)

    def _close_the_late(self, now: float) -> None:
        for visitor in [one for one in self._visitors if one.until < now]:
            if not visitor.leaving:
                self._refused(visitor.address[0], "no request in time")
            self._close(visitor)

    def _forget(self, visitor: Visitor) -> None:
        self._selector.unregister(visitor.peer)
        self._visitors.discard(visitor)
        host = host_of(visitor.address)
        self._hosts[host] -= 1
        if not self._hosts[host]:
            del self._hosts[host]

    def _close(self, visitor: Visitor) -> None:
        if visitor in self._visitors:
            self._forget(visitor)
        with suppress(OSError):
            visitor.peer.close()


def _title(padded: bytes) -> str:
    """An AE title; what is no AE title becomes one that nobody has."""
    return padded.decode("ascii", errors="replace").strip(" \0")


def host_of(address: Address) -> str:
    """Whose share a connection counts to: one host may have any address of an IPv6 network."""
    peer = ipaddress.ip_address(address[0])
    if isinstance(peer, ipaddress.IPv4Address) or peer.ipv4_mapped:
        return str(address[0])
    return str(ipaddress.ip_network((int(peer), 64), strict=False))

"""An association's socket: bounded in size and time, and read in large pieces.

pynetdicom reads 4096 bytes at a time (2,500 calls for an image of 10 MB), believes a PDU header
that announces 4 GiB, waits for the rest of a PDU for ever, and takes messages without end.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from pynetdicom.association import Association
from pynetdicom.transport import AssociationSocket

from daemon.errors import PeerMisbehaved
from daemon.settings import DicomSettings

P_DATA_TF = 0x04
PDU_TYPES = range(0x01, 0x08)
HEADER_BYTES = 6
COMMAND, LAST = 0b01, 0b10  # message control header, PS3.8 annex E.2
MAX_COMMAND_BYTES = 1 << 16
MAX_FRAGMENTS = 256  # in one PDU; each becomes objects of some hundred bytes
ABORT = b"\x07\x00\x00\x00\x00\x04\x00\x00\x02\x00"  # A-ABORT by the provider, PS3.8 table 9-26


class Budget:
    """Bytes that all associations together may hold of messages that are coming in."""

    def __init__(self, whole: int) -> None:
        self._left = whole
        self._lock = threading.Lock()

    def take(self, count: int) -> bool:
        """Take so many bytes; return whether they were there."""
        with self._lock:
            if count > self._left:
                return False
            self._left -= count
            return True

    def give(self, count: int) -> None:
        """Give bytes back."""
        with self._lock:
            self._left += count


@dataclass(frozen=True, slots=True)
class Limits:
    """What one association may cost, in bytes and seconds."""

    pdu_bytes: int
    pdu_s: float
    message_bytes: int
    message_s: float
    association_bytes: int
    association_s: float

    @classmethod
    def of(cls, settings: DicomSettings) -> Limits:
        """Return those of the settings."""
        return cls(
            # A sender may take our limit for less than the whole PDU
            pdu_bytes=max(1 << 20, 2 * settings.max_pdu_bytes),
            pdu_s=settings.idle_timeout_s,
            message_bytes=settings.max_message_bytes,
            message_s=settings.message_timeout_s,
            association_bytes=settings.max_association_bytes,
            association_s=settings.association_timeout_s,
        )


class Wire(AssociationSocket):  # type: ignore[misc]
    """The socket of one association that we accept.

    A peer that goes beyond a limit gets an A-ABORT, where that can be sent, and the connection is
    closed: pynetdicom does that at an OSError, which PeerMisbehaved is.
    """

    def __init__(
        self,
        association: Association,
        peer: socket.socket,
        limits: Limits,
        budget: Budget,
        said: bytes,
        complain: Callable[[str], None],
    ) -> None:
        """`said` is the A-ASSOCIATE-RQ that was read already; `complain` is told what was wrong."""
        super().__init__(association, client_socket=peer)
        self._limits = limits
        self._budget = budget
        self._said = memoryview(said)
        self._complain = complain
        self._opened_at = time.monotonic()
        self._bytes = 0
        self._kind: int | None = None  # of the PDU whose header was read
        self._fragments: list[tuple[int, int]] = []
        self._command_bytes = self._message_bytes = 0
        self._message_since: float | None = None
        self._given_up = False

    @property
    def ready(self) -> bool:
        """Whether a PDU is to be read: not while one message waits to be handled."""
        if self._given_up:
            return False
        if self._said:
            return True
        late = self._late(time.monotonic())
        if late:
            self._give_up(late)
            self.event_queue.put("Evt17")  # as if the peer had closed the connection
            return False
        if self.assoc.dimse.msg_queue.qsize():
            return False
        return bool(super().ready)

    def recv(self, nr_bytes: int) -> bytearray:
        """Read a PDU's header, or the rest of it. Raises PeerMisbehaved."""
        try:
            content = self._read(nr_bytes)
            if self._kind is None:
                kind = content[0] if len(content) == HEADER_BYTES else 0
                self._kind = kind if kind in PDU_TYPES else None
            else:
                if self._kind == P_DATA_TF:
                    self._weigh(content)
                self._kind = None
        except PeerMisbehaved as error:
            self._give_up(str(error))
            raise
        return content

    def close(self) -> None:
        """Close the connection, and give back what an unfinished message had taken."""
        self._end_message()
        super().close()

    def _shutdown_socket(self) -> None:
        """Close the socket, also where the peer was first: pynetdicom leaves it open then."""
        self._end_message()
        peer = self.socket
        if peer is not None:
            with suppress(OSError):
                peer.shutdown(socket.SHUT_RDWR)
            peer.close()

    def _read(self, size: int) -> bytearray:
        if self._said:
            taken, self._said = self._said[:size], self._said[size:]
            return bytearray(taken)
        assert self.socket is not None
        return receive(self.socket, self._limits.pdu_bytes, self._limits.pdu_s, size)

    def _weigh(self, pdu: bytearray) -> None:
        """Count a P-DATA-TF (PS3.8 table 9-22) before anything is made of it."""
        now = time.monotonic()
        self._bytes += len(pdu)
        at = fragments = 0
        while at + HEADER_BYTES <= len(pdu):
            size, control = int.from_bytes(pdu[at : at + 4], "big"), pdu[at + 5]
            at, fragments = at + 4 + size, fragments + 1
            if fragments > MAX_FRAGMENTS:
                raise PeerMisbehaved(f"a PDU of more than {MAX_FRAGMENTS} fragments")
            self._add(size, control, now)
        late = self._late(now)
        if late:
            raise PeerMisbehaved(late)

    def _add(self, size: int, control: int, now: float) -> None:
        """Count one fragment to its message. Raises PeerMisbehaved."""
        if self._message_since is None:
            self._message_since = now
        if control & COMMAND:
            self._command_bytes += size
            if self._command_bytes > MAX_COMMAND_BYTES:
                raise PeerMisbehaved(f"a command of more than {MAX_COMMAND_BYTES} bytes")
        elif self._message_bytes + size > self._limits.message_bytes:
            raise PeerMisbehaved(f"a message of more than {self._limits.message_bytes} bytes")
        elif not self._budget.take(size):
            raise PeerMisbehaved("a message for which there is no room beside the others")
        else:
            self._message_bytes += size
        if control & LAST:
            self._end_message()

    def _end_message(self) -> None:
        """A command is whole, or a data set is: what comes next is counted from nothing."""
        self._budget.give(self._message_bytes)
        self._command_bytes = self._message_bytes = 0
        self._message_since = None

    def _late(self, now: float) -> str:
        """What has lasted too long, if anything."""
        if self._message_since is not None:
            if now - self._message_since > self._limits.message_s:
                return "a message that did not come to its end"
            return ""
        if now - self._opened_at > self._limits.association_s:
            return "an association that lasted too long"
        if self._bytes > self._limits.association_bytes:
            return "an association that brought too much"
        return ""

    def _give_up(self, why: str) -> None:
        if self._given_up:
            return
        self._given_up = True
        self._complain(why)
        with suppress(OSError, ValueError):
            assert self.socket is not None
            self.socket.settimeout(0.2)
            self.socket.sendall(ABORT)


def receive(peer: socket.socket, largest: int, seconds: float, size: int) -> bytearray:
    """Read `size` bytes, fewer where the peer has closed the connection.

    Raises PeerMisbehaved.
    """
    if size > largest:
        raise PeerMisbehaved(f"a PDU of {size} bytes")
    content = bytearray(size)
    rest = memoryview(content)
    usual, deadline = peer.gettimeout(), time.monotonic() + seconds
    try:
        while rest:
            peer.settimeout(max(0.001, deadline - time.monotonic()))
            count = peer.recv_into(rest)
            if count == 0:
                break
            rest = rest[count:]
    except TimeoutError:
        raise PeerMisbehaved("a PDU that did not come to its end") from None
    finally:
        peer.settimeout(usual)
    return content[: size - len(rest)] if rest else content

"""Callers of a listener that behave as they are told, well or badly, by raw PDUs (PS3.8 9.3)."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable

from daemon.contexts import COMPUTED_RADIOGRAPHY, VERIFICATION

EXPLICIT_LE = "1.2.840.10008.1.2.1"
ECHO_CONTEXT, STORE_CONTEXT = 1, 3
WAIT_S = 20.0


class TurnedAway(Exception):
    """The listener rejected the association, or closed the connection before it answered."""


# -- PDUs ----------------------------------------------------------------------------------------


def pdu(kind: int, body: bytes) -> bytes:
    return struct.pack(">BxI", kind, len(body)) + body


def _item(kind: int, body: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(body)) + body


def associate_rq(calling: str = "CR1", called: str = "HILUM") -> bytes:
    """An A-ASSOCIATE-RQ that proposes Verification and CR, in explicit VR."""
    contexts = b"".join(
        _item(0x20, bytes([number, 0, 0, 0])
              + _item(0x30, syntax.encode()) + _item(0x40, EXPLICIT_LE.encode()))
        for number, syntax in ((ECHO_CONTEXT, VERIFICATION), (STORE_CONTEXT, COMPUTED_RADIOGRAPHY))
    )  # fmt: skip
    user = _item(0x51, struct.pack(">I", 16384)) + _item(0x52, b"1.2.826.0.1.3680043.10.88.1")
    titles = called.ljust(16).encode() + calling.ljust(16).encode()
    body = struct.pack(">HH", 1, 0) + titles + bytes(32)
    return pdu(0x01, body + _item(0x10, b"1.2.840.10008.3.1.1.1") + contexts + _item(0x50, user))


RELEASE_RQ = pdu(0x05, bytes(4))
ABORT = pdu(0x07, bytes(4))


def _element(element: int, value: bytes) -> bytes:
    """An element of a command set: implicit VR, little endian (PS3.7 6.3.1)."""
    return struct.pack("<HHI", 0, element, len(value)) + value


def _uid(uid: str) -> bytes:
    return uid.encode() + b"\0" * (len(uid) % 2)


def _message(context: int, command: bytes, dataset: bytes = b"") -> bytes:
    command = _element(0x0000, struct.pack("<I", len(command))) + command
    parts = [(0x03, command)] + ([(0x02, dataset)] if dataset else [])
    return b"".join(
        pdu(0x04, struct.pack(">IBB", len(part) + 2, context, flags) + part)
        for flags, part in parts
    )


def c_echo() -> bytes:
    command = (
        _element(0x0002, _uid(VERIFICATION))
        + _element(0x0100, struct.pack("<H", 0x0030))
        + _element(0x0110, struct.pack("<H", 1))
        + _element(0x0800, struct.pack("<H", 0x0101))
    )
    return _message(ECHO_CONTEXT, command)


def c_store(uid: str, dataset: bytes) -> bytes:
    """A C-STORE-RQ of a CR image; its data set goes in one PDU."""
    command = (
        _element(0x0002, _uid(COMPUTED_RADIOGRAPHY))
        + _element(0x0100, struct.pack("<H", 0x0001))
        + _element(0x0110, struct.pack("<H", 1))
        + _element(0x0700, struct.pack("<H", 2))
        + _element(0x0800, struct.pack("<H", 0))
        + _element(0x1000, _uid(uid))
    )
    return _message(STORE_CONTEXT, command, dataset)


def small_image(uid: str) -> bytes:
    """The data set of an image too small to be analysed, in explicit VR."""

    def element(group: int, number: int, vr: str, value: bytes) -> bytes:
        if vr == "OB":
            return struct.pack("<HH2sxxI", group, number, vr.encode(), len(value)) + value
        return struct.pack("<HH2sH", group, number, vr.encode(), len(value)) + value

    def short(value: int) -> bytes:
        return struct.pack("<H", value)

    return b"".join(
        element(*one)
        for one in (
            (0x0008, 0x0016, "UI", _uid(COMPUTED_RADIOGRAPHY)),
            (0x0008, 0x0018, "UI", _uid(uid)),
            (0x0020, 0x000D, "UI", _uid(f"{uid}.1")),
            (0x0028, 0x0002, "US", short(1)),
            (0x0028, 0x0004, "CS", b"MONOCHROME2 "),
            (0x0028, 0x0010, "US", short(16)),
            (0x0028, 0x0011, "US", short(16)),
            (0x0028, 0x0100, "US", short(8)),
            (0x0028, 0x0101, "US", short(8)),
            (0x0028, 0x0102, "US", short(7)),
            (0x0028, 0x0103, "US", short(0)),
            (0x7FE0, 0x0010, "OB", bytes(256)),
        )
    )


# -- callers -------------------------------------------------------------------------------------


class Caller:
    """One TCP connection to a listener."""

    def __init__(self, port: int) -> None:
        try:
            self.socket = socket.create_connection(("127.0.0.1", port), WAIT_S)
        except ConnectionError:
            raise TurnedAway from None

    def close(self, *, reset: bool = False) -> None:
        """Close the connection; `reset` leaves without a FIN, as a machine that is switched off."""
        if reset:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def ask(self, content: bytes, wanted: int) -> bytes:
        """Send, and return the body of the next PDU. Raises TurnedAway where it is another."""
        try:
            self.socket.sendall(content)
            kind, length = struct.unpack(">BxI", self._read(6))
            body = self._read(length)
        except (ConnectionError, TimeoutError):
            raise TurnedAway from None
        if kind != wanted:
            raise TurnedAway(f"PDU {kind:02X}H")
        return body

    def _read(self, size: int) -> bytes:
        content = b""
        while len(content) < size:
            more = self.socket.recv(size - len(content))
            if not more:
                raise TurnedAway
            content += more
        return content

    def associate(self) -> None:
        self.ask(associate_rq(), 0x02)

    def release(self) -> None:
        self.ask(RELEASE_RQ, 0x06)


def status_of(answer: bytes) -> int:
    """The status of a response that came in one P-DATA-TF (PS3.7 annex E, 0000,0900)."""
    at = answer.index(struct.pack("<HHI", 0, 0x0900, 2))
    return int(struct.unpack_from("<H", answer, at + 8)[0])


def with_caller(port: int, act: Callable[[Caller], None], *, reset: bool = False) -> None:
    """Connect, act, and leave."""
    caller = Caller(port)
    try:
        act(caller)
    finally:
        caller.close(reset=reset)

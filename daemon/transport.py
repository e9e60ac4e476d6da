"""Reading from a peer's socket: bounded in size and time, and in large pieces.

pynetdicom reads 4096 bytes at a time (2,500 calls for an image of 10 MB), believes a PDU header
that announces 4 GiB, and waits for the rest of a PDU for ever.
"""

from __future__ import annotations

import socket
import time
from functools import partial

from pynetdicom.events import Event

from daemon.errors import PeerMisbehaved


def bound(event: Event, largest: int, seconds: float) -> None:
    """Handle EVT_CONN_OPEN: no PDU may have more bytes than that, or take longer to come."""
    opened = event.assoc.dul.socket
    opened.recv = partial(receive, opened.socket, largest, seconds)


def receive(peer: socket.socket, largest: int, seconds: float, size: int) -> bytearray:
    """Read `size` bytes, fewer where the peer has closed the connection.

    Raises PeerMisbehaved, which is an OSError: pynetdicom closes the connection at one.
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

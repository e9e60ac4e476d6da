"""What the service tells systemd: that it is ready, that it stops, and that it is alive.

One datagram each to the socket that NOTIFY_SOCKET names (sd_notify(3), Type=notify). Under another
manager there is no such variable, and nothing is sent.
"""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress


class Notifier:
    """Speaks to the service manager; what it cannot tell is no fault of the service."""

    def __init__(self) -> None:
        """Take the socket and the watchdog's interval from the environment."""
        self._address = os.environ.get("NOTIFY_SOCKET", "")
        if self._address.startswith("@"):  # the abstract namespace
            self._address = "\0" + self._address[1:]
        self.every_s = _watchdog_s() / 2 if self._address else 0.0
        self._ready = False
        self._due = 0.0

    def ready(self) -> None:
        """Say once that the service does its work."""
        if not self._ready:
            self._ready = True
            self._tell("READY=1")

    def stopping(self) -> None:
        """Say that the service ends."""
        self._tell("STOPPING=1")

    def alive(self) -> None:
        """Say that the caller's loop turns, twice in the watchdog's interval; else do nothing."""
        now = time.monotonic()
        if self.every_s and now >= self._due:
            self._due = now + self.every_s
            self._tell("WATCHDOG=1")

    def _tell(self, state: str) -> None:
        if not self._address:
            return
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.settimeout(1.0)
            sender.sendto(state.encode(), self._address)


def _watchdog_s() -> float:
    """The watchdog's interval in seconds; 0 where it is off, or meant for another process."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return 0.0
    told = os.environ.get("WATCHDOG_USEC", "")
    return int(told) / 1e6 if told.isdecimal() else 0.0

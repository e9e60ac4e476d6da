"""What every process of the service has in common: how it starts, and how it is told to stop."""

from __future__ import annotations

import argparse
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

from daemon import logs
from daemon.settings import Settings, load

# A child that ends with this status found a fault that a restart may mend.
EXIT_FAULT = 70
DRAIN_S = 8.0  # SIGTERM to exit, at most; the supervisor kills after 10 s


class Stop:
    """Becomes set by SIGTERM or SIGINT, or when the supervisor has died.

    The supervisor holds the writing end of a pipe; that end closes with the supervisor's
    process however it ends, so that no child of a killed service lives on.
    """

    def __init__(self, life_fd: int | None = None) -> None:
        self._event = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._event.set())
        if life_fd is not None:
            threading.Thread(target=self._watch, args=(life_fd,), daemon=True).start()

    def _watch(self, life_fd: int) -> None:
        os.read(life_fd, 1)
        # The lock on the storage root went with the supervisor: another service may
        # start now, so this process must not go on for even one statement.
        os._exit(EXIT_FAULT)

    def __bool__(self) -> bool:
        return self._event.is_set()

    def set(self) -> None:
        """Ask the process to stop."""
        self._event.set()

    def wait(self, seconds: float) -> bool:
        """Sleep until stopped or for so long; return whether stopped."""
        return self._event.wait(seconds)


def run(role: str, body: Callable[[Settings, Stop, str], int]) -> int:
    """Parse a child's command line, set logging up and run its body; return the exit status.

    `body` gets the settings, the stop signal and the name under which the process makes claims.
    """
    parser = argparse.ArgumentParser(prog=f"daemon.{role}")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--life-fd", type=int)
    parser.add_argument("--owner", default=role)
    arguments = parser.parse_args()
    logs.configure(role)
    return body(load(arguments.config), Stop(arguments.life_fd), arguments.owner)

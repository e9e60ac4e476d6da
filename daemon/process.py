"""What every process of the service has in common: how it is told to stop, and how it is told
that there is work."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import threading
from collections.abc import Iterable
from contextlib import suppress

# A child that ends with this status found a fault that a restart may mend.
EXIT_FAULT = 70
LARGE_BYTES = 1 << 20
_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8  # of malloc.h
LISTENING = "supervisor-listening"  # the bell that a listener rings once it listens
DRAIN_S = 8.0  # SIGTERM to exit, at most; the supervisor kills after 10 s


def give_memory_back() -> None:
    """Have each large block go back to the system when it is freed.

    glibc keeps blocks of the size of the largest freed so far on its heap, where a small one above
    a freed image holds all of it. Elsewhere than on glibc nothing is changed.
    """
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES)
        libc.mallopt(_M_ARENA_MAX, 2)


class Stop:
    """Becomes set by SIGTERM or SIGINT, or when the supervisor has died.

    The supervisor holds the writing end of a pipe; that end closes with the supervisor's
    process however it ends, so that no child of a killed service lives on.
    """

    def __init__(self, life_fd: int | None = None) -> None:
        self._stopped = False
        self._pid = os.getpid()
        self.descriptor = os.eventfd(0)  # readable from the stop on
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._told())
        if life_fd is not None:
            threading.Thread(target=self._watch, args=(life_fd,), daemon=True).start()

    def _watch(self, life_fd: int) -> None:
        os.read(life_fd, 1)
        # The lock on the storage root went with the supervisor: another service may
        # start now, so this process must not go on for even one statement.
        os._exit(EXIT_FAULT)

    def _told(self) -> None:
        if os.getpid() == self._pid:  # a fork has this handler until it sets its own
            self.set()

    def __bool__(self) -> bool:
        return self._stopped

    def set(self) -> None:
        """Ask the process to stop."""
        self._stopped = True
        os.eventfd_write(self.descriptor, 1)

    def wait(self, seconds: float) -> bool:
        """Sleep until stopped or for so long; return whether stopped."""
        sleep(seconds, self.descriptor)
        return self._stopped


class Bell:
    """Wakes one waiting thread, in this process or in another of the service, when there is work.

    Ring it after the COMMIT that made the work. Who waits looks for work first, and waits where
    there is none, in one line: ``bell.wait(stop, seconds)``. A ring since the last wait ends the
    next one at once, so that none falls between the look and the wait; several rings are one.
    Nothing may depend on a ring (work also comes due by the clock, from the command line and from
    other hosts): after `seconds` the wait ends anyhow.
    """

    def __init__(self) -> None:
        """Make one; a process forked from this one has it too."""
        self.descriptor = os.eventfd(0, os.EFD_NONBLOCK)

    def ring(self) -> None:
        """Wake the one who waits, or spare it its next wait."""
        os.eventfd_write(self.descriptor, 1)

    def wait(self, stop: Stop, seconds: float) -> bool:
        """Sleep until rung, stopped or for so long; return whether stopped."""
        sleep(seconds, self.descriptor, stop.descriptor)
        self.rung()
        return bool(stop)

    def rung(self) -> bool:
        """Return at once whether it was rung since the last look."""
        with suppress(BlockingIOError):
            os.eventfd_read(self.descriptor)
            return True
        return False


class Bells:
    """The bells of a service, each named by who waits on it: ``worker-0``, ``delivery-PACS``.

    The supervisor makes them and every process inherits them, so that they outlive a restart of
    any. Where there are none nobody hears a ring, and the waits time out.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._bells = {name: Bell() for name in names}

    def of(self, name: str) -> Bell:
        """The bell to wait on under that name."""
        return self._bells.get(name) or Bell()

    def ring(self, role: str) -> None:
        """Ring for everyone of a role: ``worker`` or ``delivery``; or ``supervisor``."""
        for name, bell in self._bells.items():
            if name.startswith(f"{role}-"):
                bell.ring()


def sleep(seconds: float, *descriptors: int) -> None:
    """Sleep until one of the descriptors is readable, or for so long."""
    waiting = select.poll()
    for descriptor in descriptors:
        waiting.register(descriptor, select.POLLIN)
    waiting.poll(max(0.0, seconds) * 1000)

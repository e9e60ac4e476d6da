"""How long one image may take, and how much memory: past either, the worker's process ends.

The kernel keeps both limits, so that a decoder that never returns, or holds the interpreter's lock,
is ended like any other. What was claimed is put back, and counts as an attempt.
"""

from __future__ import annotations

import resource
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

IMAGE_S = 20.0
"""For reading one image, and again for the network on it."""

IMAGE_BYTES = 1536 << 20
"""Beyond what the model takes: two images of 64 million pixels as JPEG 2000, which is unpacked to
four bytes a pixel, twice. What asks for more is refused it: MemoryError, or the decoder's abort."""

_ENDS = {
    -signal.SIGALRM: f"it took longer than {IMAGE_S:g} s",
    -signal.SIGABRT: "a decoder gave up, as it does without memory",
    -signal.SIGSEGV: "a decoder read where it may not",
    -signal.SIGKILL: "it was killed",
}


def why_ended(status: int) -> str:
    """Say why a process ended, by its exit status; negative is a signal."""
    return _ENDS.get(status, f"it ended with status {status}")


class TimeLimit:
    """Ends the process by SIGALRM when a piece of work takes longer than it may.

    Several threads may each have a piece of work; the earliest deadline is the alarm's.
    """

    def __init__(self, seconds: float) -> None:
        """Nothing is limited yet. To be made in the main thread."""
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # the kernel's own: a handler would wait
        self._seconds = seconds
        self._deadlines: dict[int, float] = {}  # on the monotonic clock, by thread
        self._lock = threading.Lock()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Limit what this thread does within the block."""
        me = threading.get_ident()
        self._set(me, time.monotonic() + self._seconds)
        try:
            yield
        finally:
            self._set(me, None)

    def _set(self, thread: int, deadline: float | None) -> None:
        with self._lock:
            self._deadlines.pop(thread, None)
            if deadline is not None:
                self._deadlines[thread] = deadline
            first = min(self._deadlines.values(), default=None)
            left = 0.0 if first is None else max(0.001, first - time.monotonic())
            signal.setitimer(signal.ITIMER_REAL, left)


def limit_memory(beyond_bytes: int = IMAGE_BYTES) -> None:
    """Let this process and its children take so much more memory than now, and no more.

    RLIMIT_DATA counts private writable memory alone: neither a mapped file of weights nor address
    space that is only reserved, as RLIMIT_AS would. Elsewhere than on Linux nothing is changed.
    """
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return
    now = next(int(line.split()[1]) << 10 for line in status.splitlines() if "VmData" in line)
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = now + beyond_bytes
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (wanted, hard))

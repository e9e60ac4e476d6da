"""The storage root: one service at a time holds it, or one on each host that shares it."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType

from storage.errors import AlreadyServing
from storage.objects import make_folder


class RootLock:
    """The exclusive hold on a storage root, given up at the end of the block or process."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __enter__(self) -> RootLock:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()

    def release(self) -> None:
        """Give the root up."""
        os.close(self._descriptor)


def lock_root(root: Path, host: str = "") -> RootLock:
    """Take the storage root for this process and those it forks. Raises AlreadyServing.

    `host`: of the hosts that share the root, each holds its own part.
    """
    make_folder(root)
    descriptor = os.open(root / f"lock{host}", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise AlreadyServing(f"Another Hilum service holds the storage root {root}.") from error
    return RootLock(descriptor)

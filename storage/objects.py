"""The object store: files named by the SHA-256 of their bytes, never changed.

::

    root/incoming/<uuid4>            being written, swept at start
    root/objects/<ab>/<sha256>       whole, synced, read-only by agreement
"""

from __future__ import annotations

import errno
import hashlib
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from uuid import uuid4

from storage.errors import ObjectDamaged, ObjectMissing, OutOfSpace, SyncFailed
from storage.records import Sha256

_REMEMBERED = 10_000  # objects found sound
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT}


@dataclass(frozen=True, slots=True)
class Stored:
    """What `ObjectStore.put` made durable."""

    sha256: Sha256
    size_bytes: int


class ObjectStore:
    """Content-addressed files under one root. Safe from several threads and processes."""

    def __init__(self, root: Path, reserve_bytes: int = 0) -> None:
        """Make the folders and their entries durable.

        `reserve_bytes` of free space are left untouched, so that the database can still
        commit when the store refuses.
        """
        self._incoming = root / "incoming"
        self._objects = root / "objects"
        self._reserve_bytes = reserve_bytes
        make_folder(self._incoming)
        make_folder(self._objects)
        # All 256 now: a folder made by the put that first needs it could be used by a second
        # put before the first one has synced its entry.
        for number in range(256):
            (self._objects / f"{number:02x}").mkdir(mode=0o700, exist_ok=True)
        # Also where they were here: their maker may have been killed before its sync.
        sync_folder(self._objects)
        sync_folder(root)

    def put(self, *chunks: bytes) -> Stored:
        """Store the concatenated chunks; on return they survive a loss of power.

        Bytes that are here already are written again over the old file, which also heals a
        damaged one.

        Raises OutOfSpace, and SyncFailed, after which nothing that this process has written
        can be trusted and it must end.
        """
        size = sum(len(chunk) for chunk in chunks)
        if self._free_bytes() - size < self._reserve_bytes:
            raise OutOfSpace
        digest = hashlib.sha256()
        for chunk in chunks:
            digest.update(chunk)
        sha256 = Sha256(digest.hexdigest())
        incoming = self._incoming / str(uuid4())
        target = self.path(sha256)
        try:
            _write(incoming, chunks)
            incoming.replace(target)
            sync_folder(target.parent)
        except OSError as error:
            if error.errno in _NO_SPACE:
                raise OutOfSpace from error
            raise
        finally:
            incoming.unlink(missing_ok=True)
        return Stored(sha256, size)

    def path(self, sha256: Sha256) -> Path:
        """Where the object is, or would be."""
        return self._objects / sha256[:2] / sha256

    def exists(self, sha256: Sha256) -> bool:
        """Whether there is a file of that name; `read` alone verifies its bytes."""
        return self.path(sha256).is_file()

    def read(self, sha256: Sha256) -> bytes:
        """Return the object's bytes, verified. Raises ObjectMissing and ObjectDamaged."""
        try:
            content = self.path(sha256).read_bytes()
        except FileNotFoundError as error:
            raise ObjectMissing(f"Object {sha256} is not in the object store.") from error
        if hashlib.sha256(content).hexdigest() != sha256:
            raise ObjectDamaged(f"Object {sha256} no longer has the hash of its name.")
        return content

    def remove(self, objects: Iterable[Sha256]) -> None:
        """Delete objects for good; one that is gone already is no fault."""
        folders = set()
        for sha256 in objects:
            path = self.path(sha256)
            path.unlink(missing_ok=True)
            folders.add(path.parent)
        for folder in folders:
            sync_folder(folder)

    def sweep(self, idle_s: float = 0.0) -> int:
        """Remove what a killed process left in incoming/; return how many files.

        Only at start, under the root lock: it would take the files of a running `put`. Where other
        hosts share the root, `idle_s` spares what was written to since so many seconds.
        """
        latest, swept = time.time() - idle_s, 0
        for leftover in self._incoming.iterdir():
            with suppress(FileNotFoundError):  # another host has just renamed it
                if leftover.stat().st_mtime <= latest:
                    leftover.unlink()
                    swept += 1
        return swept

    def _free_bytes(self) -> int:
        figures = os.statvfs(self._objects)
        return figures.f_bavail * figures.f_frsize


class RecentObjects:
    """Reads objects, and keeps the bytes of the last ones, verified, for who needs them again.

    Safe from several threads.
    """

    def __init__(self, objects: ObjectStore, limit_bytes: int) -> None:
        """Keep no more than so many bytes."""
        self._objects = objects
        self._limit_bytes = limit_bytes
        self._kept: dict[Sha256, bytes] = {}
        self._lock = Lock()

    def read(self, sha256: Sha256) -> bytes:
        """Return the object's bytes. Raises ObjectMissing and ObjectDamaged."""
        with self._lock:
            content = self._kept.pop(sha256, None)
        if content is None:
            content = self._objects.read(sha256)
        with self._lock:
            self._kept[sha256] = content
            while sum(map(len, self._kept.values())) > self._limit_bytes:
                del self._kept[next(iter(self._kept))]
        return content


class VerifiedObjects:
    """Gives the files of sound objects, for who sends them on in pieces.

    A file is hashed when it is first asked for, and again when it has changed since. Safe from
    several threads.
    """

    def __init__(self, objects: ObjectStore) -> None:
        """Remember the last ones that were sound."""
        self._objects = objects
        self._sound: dict[Sha256, tuple[int, int, int]] = {}

    def path(self, sha256: Sha256) -> Path:
        """Return the file of an object. Raises ObjectMissing and ObjectDamaged."""
        path = self._objects.path(sha256)
        try:
            with path.open("rb") as file:
                state = _state(os.fstat(file.fileno()))
                if self._sound.get(sha256) != state:
                    if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                        raise ObjectDamaged(f"Object {sha256} no longer has the hash of its name.")
                    self._sound[sha256] = state
        except FileNotFoundError as error:
            raise ObjectMissing(f"Object {sha256} is not in the object store.") from error
        except OSError as error:  # the disk cannot read it
            raise ObjectDamaged(f"Object {sha256} cannot be read.") from error
        if len(self._sound) > _REMEMBERED:
            self._sound.clear()
        return path


def _state(figures: os.stat_result) -> tuple[int, int, int]:
    return (figures.st_ino, figures.st_size, figures.st_mtime_ns)


def make_folder(folder: Path) -> None:
    """Make a folder and its missing parents, each new entry synced. Raises SyncFailed."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Make a folder's entries durable. Raises SyncFailed."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)


def sync(descriptor: int) -> None:
    """Sync once, never twice: after a failure the kernel may report success on lost pages."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        raise SyncFailed from error


def _write(path: Path, chunks: tuple[bytes, ...]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        for chunk in chunks:
            rest = memoryview(chunk)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
        sync(descriptor)
    finally:
        os.close(descriptor)

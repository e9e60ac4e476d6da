"""A loss of power after an object was put: what was synced is there, and nothing else.

The disk that the loss leaves is told by the syncs that were asked for: a file's bytes are those of
its last sync, and a folder's entries those of its own. Each sync is needed: without it the object
is lost.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from storage.objects import ObjectStore

CONTENT = b"an image"


class Disk:
    """What would survive; `ignored` syncs are answered and not done, as by a disk that lies."""

    def __init__(self, ignored: Callable[[Path], bool]) -> None:
        self._ignored = ignored
        self._content: dict[int, bytes] = {}  # by inode
        self._entries: dict[int, dict[str, int]] = {}

    def sync(self, descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if self._ignored(path):
            return
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            self._entries[status.st_ino] = {one.name: one.inode() for one in os.scandir(path)}
        else:
            self._content[status.st_ino] = path.read_bytes()

    def read(self, ground: Path, path: Path) -> bytes | None:
        """Return the bytes after the loss, None where the file has no name or never had bytes."""
        inode = ground.stat().st_ino
        for part in path.relative_to(ground).parts:
            found = self._entries.get(inode, {}).get(part)
            if found is None:
                return None
            inode = found
        return self._content.get(inode)


@pytest.mark.parametrize(
    ("ignored", "survives"),
    [
        pytest.param(lambda _: False, True, id="every sync is done"),
        pytest.param(lambda p: p.parent.name == "incoming", False, id="the file is not synced"),
        pytest.param(lambda p: len(p.name) == 2, False, id="nor its folder"),
        pytest.param(lambda p: p.name == "objects", False, id="nor the folders' folder"),
        pytest.param(lambda p: p.name == "root", False, id="nor the root"),
        pytest.param(lambda p: p.name == "new", False, id="nor the root's new parent"),
    ],
)
def test_an_object_that_was_put_survives_and_no_sync_is_too_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ignored: Callable[[Path], bool], survives: bool
) -> None:
    ground = tmp_path / "ground"
    ground.mkdir()
    disk = Disk(ignored)
    monkeypatch.setattr(os, "fsync", disk.sync)
    store = ObjectStore(ground / "new" / "root")
    stored = store.put(CONTENT)
    assert store.read(stored.sha256) == CONTENT  # before the loss nobody sees a difference
    assert (disk.read(ground, store.path(stored.sha256)) == CONTENT) is survives


def test_no_object_has_its_name_before_it_has_its_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every sync of a put, a loss leaves the whole object or none."""
    ground, seen = tmp_path, list[bytes | None]()
    disk = Disk(lambda _: False)
    monkeypatch.setattr(os, "fsync", disk.sync)
    store = ObjectStore(ground / "root")

    def sync(descriptor: int) -> None:
        disk.sync(descriptor)
        folder = store.path(stored.sha256).parent
        names = disk._entries.get(folder.stat().st_ino, {})
        seen.append(disk.read(ground, store.path(stored.sha256)) if names else None)

    stored = store.put(CONTENT)
    store.remove([stored.sha256])
    monkeypatch.setattr(os, "fsync", sync)
    store.put(CONTENT)
    assert seen == [None, CONTENT]

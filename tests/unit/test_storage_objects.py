"""The object store: content-addressed, durable, verified."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest

from storage.errors import ObjectDamaged, ObjectMissing, OutOfSpace, SyncFailed
from storage.objects import ObjectStore, RecentObjects
from tests.storing import sha256

ENOUGH = 1 << 62  # more bytes than any disk has


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return ObjectStore(tmp_path / "a" / "root")


def incoming(store: ObjectStore) -> list[Path]:
    return list(store.path(sha256("")).parents[2].glob("incoming/*"))


def test_what_is_put_is_read_back_under_its_hash(store: ObjectStore) -> None:
    stored = store.put(b"preamble", b"", b"dataset")

    assert stored.sha256 == hashlib.sha256(b"preambledataset").hexdigest()
    assert stored.size_bytes == 15
    assert store.exists(stored.sha256)
    assert store.read(stored.sha256) == b"preambledataset"
    assert store.path(stored.sha256).parent.name == stored.sha256[:2]
    assert incoming(store) == []


def test_the_same_bytes_again_leave_one_file(store: ObjectStore) -> None:
    first = store.put(b"image")
    assert store.put(b"ima", b"ge") == first
    assert len(list(store.path(first.sha256).parent.iterdir())) == 1


def test_a_damaged_object_is_refused_and_healed_by_the_next_put(store: ObjectStore) -> None:
    stored = store.put(b"image" * 1000)
    path = store.path(stored.sha256)
    content = bytearray(path.read_bytes())
    content[2500] ^= 1
    path.write_bytes(content)

    with pytest.raises(ObjectDamaged, match=stored.sha256):
        store.read(stored.sha256)
    store.put(b"image" * 1000)
    assert store.read(stored.sha256) == b"image" * 1000


def test_an_object_that_is_gone_is_named(store: ObjectStore) -> None:
    assert not store.exists(sha256("never put"))
    with pytest.raises(ObjectMissing, match=sha256("never put")):
        store.read(sha256("never put"))


def test_what_was_read_last_is_read_once(store: ObjectStore) -> None:
    first, second, third = (store.put(bytes([n]) * 1000).sha256 for n in range(3))
    recent = RecentObjects(store, 2500)
    for sha in (first, second, first):
        recent.read(sha)
    store.path(first).unlink()
    store.path(second).unlink()
    assert recent.read(first) == bytes(1000)
    recent.read(third)  # the limit is reached: the one that nobody wanted again goes
    assert recent.read(first) == bytes(1000)
    with pytest.raises(ObjectMissing):
        recent.read(second)


def test_a_reserve_that_would_be_touched_refuses_before_writing(tmp_path: Path) -> None:
    store = ObjectStore(tmp_path, reserve_bytes=ENOUGH)
    with pytest.raises(OutOfSpace):
        store.put(b"image")
    assert not store.exists(sha256("image"))


def test_the_reserve_counts_what_is_about_to_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = os.statvfs(tmp_path)
    monkeypatch.setattr(os, "statvfs", lambda _: figures)  # others write to this disk too
    free_bytes = figures.f_bavail * figures.f_frsize
    store = ObjectStore(tmp_path, reserve_bytes=free_bytes - 5)
    assert store.put(b"image").size_bytes == 5
    with pytest.raises(OutOfSpace):
        store.put(b"images")


def test_a_full_disk_is_out_of_space_and_leaves_nothing(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write

    def fills_up(descriptor: int, data: bytes) -> int:
        if len(data) < 1000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, data[:1000])

    monkeypatch.setattr(os, "write", fills_up)
    with pytest.raises(OutOfSpace):
        store.put(b"x" * 2500)
    assert incoming(store) == []
    assert not store.exists(sha256("x" * 2500))


def test_a_short_write_is_continued(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:7]))
    content = bytes(range(256))
    assert store.read(store.put(content, content).sha256) == content * 2


def test_a_failed_sync_is_told_and_never_tried_again(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def fails_once(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == 1:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fails_once)
    with pytest.raises(SyncFailed):
        store.put(b"image")
    assert len(calls) == 1


def test_sweep_removes_what_a_killed_put_left(tmp_path: Path) -> None:
    store = ObjectStore(tmp_path)
    kept = store.put(b"image")
    (tmp_path / "incoming" / "half").write_bytes(b"half an im")
    assert store.sweep() == 1
    assert store.sweep() == 0
    assert store.read(kept.sha256) == b"image"


def test_opening_again_keeps_everything(tmp_path: Path) -> None:
    stored = ObjectStore(tmp_path).put(b"image")
    assert ObjectStore(tmp_path).read(stored.sha256) == b"image"

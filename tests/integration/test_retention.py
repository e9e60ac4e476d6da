"""Retention on real files, and which duties the delivery process has."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from daemon import retention as rules
from daemon.delivery import _duties
from daemon.process import Bells
from daemon.retention import Sweeper
from daemon.settings import Settings, StorageSettings
from storage.outbox import Outbox
from storage.records import DeliveryState, Sha256
from storage.retention import Retention
from tests.couriers import Never
from tests.storing import Storage, analysed, arrival, make_report, new_report, open_storage


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(tmp_path)


def answered(storage: Storage, count: int) -> list[Sha256]:
    """Have so many images of the year 1970 answered; return their files."""
    files = []
    for number in range(count):
        stored = storage.objects.put(f"image {number}".encode())
        image = replace(arrival(f"1.{number}", received_at=100), sha256=stored.sha256)
        storage.queue.accept(image)
        job = storage.queue.claim("w1", 60, 100)
        assert job is not None
        storage.queue.finish(job, analysed(), f"9.{number}", 0, 100)
        study = storage.studies.claim_due("w1", 60, 100)
        assert study is not None
        storage.studies.reported(study, new_report(f"7.{number}"), [], 100)
        files.append(stored.sha256)
    return files


def test_old_files_go_in_batches(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "BATCH", 2)
    files = answered(storage, 5)
    assert Sweeper(30, storage.database, storage.objects).step(Never()) == rules.EVERY_S
    assert not any(storage.objects.exists(sha256) for sha256 in files)


def test_a_run_has_an_end(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "BATCH", 1)
    monkeypatch.setattr(rules, "RUN", 2)
    files = answered(storage, 5)
    Sweeper(30, storage.database, storage.objects).step(Never())
    assert sum(storage.objects.exists(sha256) for sha256 in files) == 3


def test_what_is_young_stays(storage: Storage) -> None:
    (file,) = answered(storage, 1)
    Sweeper(36500, storage.database, storage.objects).step(Never())
    assert storage.objects.exists(file)


def test_a_file_that_cannot_be_deleted_is_tried_again(storage: Storage) -> None:
    (file,) = answered(storage, 1)
    path = storage.objects.path(file)
    path.unlink()
    path.mkdir()  # a folder in its place: unlink fails for root too
    sweeper = Sweeper(30, storage.database, storage.objects)
    assert sweeper.step(Never()) == rules.EVERY_S
    assert Retention(storage.database).begin(0, 9) == [file]
    path.rmdir()
    sweeper.step(Never())
    assert Retention(storage.database).begin(0, 9) == []


def test_each_pacs_has_its_courier_and_where_it_is_asked_to_commit_a_notary(
    storage: Storage, tmp_path: Path
) -> None:
    make_report(storage, "7.1", "9.1", 100, "a", "b")
    for pacs in "ab":
        for delivery in storage.outbox.claim(pacs, 9, "d1", 60, 100):
            storage.outbox.stored(delivery, "0000", 100, commit=True)
    peers = [
        {"name": name, "ae_title": name, "host": "h", "port": 104, "storage_commitment": asked}
        for name, asked in (("a", True), ("b", False))
    ]
    settings = Settings(
        storage=StorageSettings(root=tmp_path, retention_days=0),
        pacs=peers,  # type: ignore[arg-type]
    )
    duties = [
        type(duty).__name__
        for duty, _ in _duties(settings, storage.database, storage.objects, "d", Bells())
    ]
    assert duties == ["Courier", "Notary", "Courier", "Checker"]
    assert {row.pacs: row.state for row in Outbox(storage.database).rows()} == {
        "a": DeliveryState.COMMITTING,
        "b": DeliveryState.STORED,  # no longer to be committed to
    }

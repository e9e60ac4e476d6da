"""Any result can be made again from the audit trail: the same bundle, thresholds and numbers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from daemon.audit.replay import CannotReplay, replay
from daemon.listener import Listener
from daemon.serving import Serving
from daemon.settings import Settings
from daemon.shelf import Shelf
from daemon.simulate import Form, Kind, make_object, send
from daemon.worker import Worker
from storage.audit import Audit, AuditQuery
from storage.ledger import Ledger
from storage.people import Action
from storage.retention import Retention
from storage.schema import instance
from tests.bundles import another
from tests.storing import Storage, open_storage


@dataclass
class Ward:
    """A listener and a worker with the default bundle, in this process."""

    settings: Settings
    storage: Storage
    serving: Serving
    worker: Worker
    port: int
    images: list[Path]

    def take(self, number: int) -> str:
        """Receive and classify a radiograph; return its SOP Instance UID."""
        image = make_object(self.images[number], Form(Kind.DX, 12))
        assert send([image], "127.0.0.1", self.port, "DX1", "HILUM")[0].status == 0x0000
        while self.worker.step(ahead=False):
            pass
        return str(image.SOPInstanceUID)

    def again(self, uid: str, row: int | None = None) -> Any:
        return replay(self.settings.storage.root, self.storage.database, uid, row)


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory, demo_images: list[Path]) -> Iterator[Ward]:
    folder = tmp_path_factory.mktemp("ward")
    root = folder / "root"
    settings = Settings(
        dicom={"bind": "127.0.0.1", "port": 0},
        storage={"root": root, "database_url": f"sqlite:///{root}/hilum.db"},
        report={"study_quiet_s": 0, "heat_map": "none"},
    )
    storage = open_storage(root)
    listener = Listener(settings, storage.objects, lambda: storage.queue)
    serving = Serving(settings, storage.database, "worker-0")
    worker = Worker(settings, storage.objects, storage.database, serving.open(), "worker-0")
    yield Ward(settings, storage, serving, worker, listener.start(), demo_images)
    listener.stop(1.0)


def test_the_numbers_are_the_same_to_the_last_bit(ward: Ward) -> None:
    found = ward.again(ward.take(0))
    assert found.exact
    assert found.tolerance == 0
    assert len(found.findings) == 5
    assert all(one.now == one.then for one in found.findings)
    assert found.same


def test_after_a_change_of_threshold_the_one_of_then_is_held_against(ward: Ward) -> None:
    uid = ward.take(1)
    ledger = Ledger(ward.storage.database)
    serving = ledger.serving()
    assert serving is not None
    then = serving.thresholds["pneumonia"]
    ledger.set_threshold(serving.model.digest, "pneumonia", 0.999, "admin", "a test", 1.0)
    found = ward.again(uid)
    assert {one.finding: one.threshold for one in found.findings}["pneumonia"] == then
    assert found.same
    ledger.set_threshold(serving.model.digest, "pneumonia", None, "admin", "a test", 2.0)


def test_after_a_promotion_the_bundle_of_then_is_taken(ward: Ward, tmp_path: Path) -> None:
    uid = ward.take(2)
    ledger = Ledger(ward.storage.database)
    before = ledger.serving()
    assert before is not None
    folder = another(tmp_path / "second", "second")
    manifest = json.loads((folder / "manifest.json").read_bytes())
    for finding in manifest["findings"]:
        finding["calibration"]["intercept"] += 0.5
    (folder / "manifest.json").write_text(json.dumps(manifest))
    made = Shelf(ward.settings.storage.root).take(folder, ledger, 3.0, "admin")
    ledger.promote(made.digest, "admin", "a test", 3.0)
    found = ward.again(uid)
    assert found.digest == before.model.digest
    assert found.same
    ledger.rollback("admin", "a test", 4.0)


def test_a_number_that_was_never_found_is_told(ward: Ward) -> None:
    """The trail is rewritten, hashes and all: the image itself speaks against it."""
    uid = ward.take(3)
    audit = Audit(ward.storage.database)
    (row,) = audit.search(AuditQuery(subject=uid, action=Action.INSTANCE_ANALYSED), 1)
    false = dict(row.detail) | {"probability.pneumonia": 0.5}
    audit.append(row.actor, Action.INSTANCE_ANALYSED, uid, false, at=row.at + 1)
    found = ward.again(uid)
    assert not found.same
    assert ward.again(uid, row.id).same


def test_what_is_missing_is_named(ward: Ward) -> None:
    with pytest.raises(CannotReplay, match=r"no result of 1\.2\.3"):
        ward.again("1.2.3")
    uid = ward.take(4)
    (row,) = Audit(ward.storage.database).search(
        AuditQuery(subject=uid, action=Action.INSTANCE_ANALYSED), 1
    )
    bundle = Ledger(ward.storage.database).find(str(row.detail["digest"]))
    folder = Shelf(ward.settings.storage.root).folder / bundle.folder
    hidden = folder.with_name("hidden")
    folder.rename(hidden)
    try:
        with pytest.raises(CannotReplay, match="not on the shelf"):
            ward.again(uid)
    finally:
        hidden.rename(folder)
    sha256 = row.detail["sha256"]
    file = next(ward.settings.storage.root.rglob(f"*{sha256}*"))
    kept = file.read_bytes()
    file.chmod(0o600)
    file.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    with pytest.raises(CannotReplay, match="damaged"):
        ward.again(uid)
    file.unlink()
    with pytest.raises(CannotReplay, match="lost"):
        ward.again(uid)
    with ward.storage.database.write() as connection:
        connection.execute(
            instance.update().where(instance.c.sha256 == sha256).values(removal="deleting")
        )
    Retention(ward.storage.database).end([sha256])  # type: ignore[list-item]
    with pytest.raises(CannotReplay, match="Retention has deleted"):
        ward.again(uid)

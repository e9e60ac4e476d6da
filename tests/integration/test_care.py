"""Care of the database: backups, restoring, checks, and what a start finds."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from daemon.recovery import recover
from daemon.settings import Settings, load
from storage.alarms import Alarms
from storage.backup import back_up
from storage.database import Database, open_database
from storage.errors import AlreadyServing, DatabaseDamaged, Refused, StorageError
from storage.objects import ObjectStore
from storage.queue import Queue
from storage.records import Arrival, Sha256
from storage.root import lock_root
from storage.runs import Runs
from storage.schedule_records import RunState
from storage.schedules import Schedules
from storage.sqlite import sqlite
from tests import soak
from tests.harness import hilum, write_config
from tests.storing import arrival

IMAGES = 60


@dataclass
class House:
    """A storage with some images, as a service that has stopped left it."""

    config: Path
    root: Path
    settings: Settings
    database: Database
    objects: ObjectStore
    held: list[Sha256]

    @property
    def file(self) -> Path:
        return self.root / "hilum.sqlite"

    def hilum(self, *arguments: str, expect: int = 0) -> Any:
        done = hilum(*arguments, "--config", str(self.config))
        assert done.returncode == expect, done.stdout + done.stderr
        return json.loads(done.stdout) if "--json" in arguments else done.stdout + done.stderr

    def alarms(self) -> dict[str, Any]:
        return {one.subject: one.detail for one in Alarms(self.database).open()}


@pytest.fixture
def house(tmp_path: Path) -> House:
    config = write_config(tmp_path, None)
    settings = load(config)
    root, database = settings.storage.root, open_database(settings.storage.url)
    objects = ObjectStore(root)
    database.migrate(root / "backups")
    held = []
    for number in range(IMAGES):
        stored = objects.put(f"image {number}".encode() * 500)
        one = arrival(f"1.2.{number}")
        Queue(database).accept(Arrival(
            one.sop_instance_uid, one.sop_class_uid, one.transfer_syntax_uid, stored.sha256,
            stored.size_bytes, one.calling_ae, one.called_ae, one.peer_address, number,
        ))  # fmt: skip
        held.append(stored.sha256)
    return House(config, root, settings, database, objects, held)


def flip(path: Path, at: int) -> None:
    path.chmod(0o600)
    content = bytearray(path.read_bytes())
    content[at] ^= 0xFF
    path.write_bytes(content)


def damage_database(house: House) -> None:
    """Write nonsense over the pages of a table's rows, as a failing disk does."""
    house.database.close()
    with sqlite.connect(house.file) as connection:
        (page,) = connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'job'"
        ).fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    connection.close()
    content = bytearray(house.file.read_bytes())
    content[(page - 1) * size : page * size] = b"\x5a" * size
    house.file.write_bytes(content)


def test_a_backup_is_restored_and_what_is_missing_is_listed(house: House) -> None:
    made = house.hilum("db", "backup", "--json")
    assert made["rows"] > 2 * IMAGES
    Queue(house.database).accept(arrival("9.9"))  # after the backup: lost with the disk
    house.database.close()
    lost, damaged = house.held[3], house.held[4]
    house.objects.remove([lost])
    flip(house.objects.path(damaged), 100)
    house.file.rename(house.file.with_suffix(".lost"))

    found = house.hilum("db", "restore", made["file"], "--json", expect=1)
    assert (found["objects"], found["missing"], found["damaged"]) == (IMAGES, [lost], [damaged])
    rows = Queue(house.database).rows()
    assert {row.sop_instance_uid for row in rows} == {f"1.2.{n}" for n in range(IMAGES)}
    assert house.database.quick_check() == []
    # and a restored database serves: a start finds the same two, and raises them
    recover(house.settings)
    assert house.alarms()["objects"] == {"lost": 1, "damaged": 1, "first": [lost, damaged]}


def test_a_restore_overwrites_nothing_and_waits_for_no_service(house: House) -> None:
    from storage.care import restore

    made = back_up(house.database, house.root / "backups", 3, 0, time.time())
    with pytest.raises(Refused, match="overwrites nothing"):
        restore(made.file, house.file, house.root)
    house.database.close()
    house.file.unlink()
    with lock_root(house.root), pytest.raises(AlreadyServing, match="Stop it"):
        restore(made.file, house.file, house.root)
    flip(made.file, made.size_bytes // 2)
    flip(made.file, 4096 + 3)
    with pytest.raises(DatabaseDamaged, match="backup is not sound"):
        restore(made.file, house.file, house.root)
    assert not house.file.exists()
    assert not [one for one in house.root.iterdir() if "partial" in one.name]


def run_check(house: House) -> Any:
    number = Schedules(house.database).run_now("check", "ada", time.time())
    house.hilum("run", str(number))
    return Runs(house.database).show(number)


def test_a_scheduled_check_raises_what_is_damaged_until_it_is_sound(house: House) -> None:
    damaged, lost = house.held[5], house.held[6]
    path = house.objects.path(lost)
    kept = path.read_bytes()
    path.unlink()
    flip(house.objects.path(damaged), 0)
    ended = run_check(house)
    assert ended.state is RunState.FAILED
    assert ended.reason == (
        f"1 of {IMAGES} objects are missing; 1 of {IMAGES - 1} objects read are damaged"
    )
    assert house.alarms() == {"objects": {"lost": 1, "damaged": 1, "first": [lost, damaged]}}
    flip(house.objects.path(damaged), 0)
    path.write_bytes(kept)
    ended = run_check(house)
    assert (ended.state, ended.outcome["sound"], ended.outcome["hashed"]) == (
        RunState.DONE, True, IMAGES,
    )  # fmt: skip
    assert house.alarms() == {}


def test_a_damaged_page_is_found_by_a_check_and_at_a_start_and_is_not_backed_up(
    house: House,
) -> None:
    good = back_up(house.database, house.root / "backups", 1, 0, time.time())
    damage_database(house)
    found = house.hilum("db", "check", "--json", expect=1)
    assert found["database"]
    assert not found["sound"]
    with pytest.raises(StorageError, match="damaged"):
        recover(house.settings)
    with pytest.raises(DatabaseDamaged):
        back_up(house.database, house.root / "backups", 1, 0, time.time() + 60)
    assert good.file.exists()  # the last sound one stays
    soak.record(soak.DAMAGE, tried=3, seen="found and raised", limit="found", good=True)


def test_a_row_without_its_parent_is_a_fault(house: House) -> None:
    from storage.copies import faults

    house.database.close()
    with sqlite.connect(house.file) as connection:
        connection.execute("DELETE FROM instance WHERE id = 1")
    connection.close()
    assert faults(house.file) == ["row 1 of job refers to a row of instance that is gone"]

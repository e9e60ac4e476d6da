"""What `hilum check` says of schedules that nobody keeps, of the canary, and of who is silent."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from daemon.check_schedules import look
from daemon.errors import SettingsError
from daemon.settings import Settings, load
from storage.alarm_records import AlarmKind
from storage.alarms import Alarms
from storage.database import Database
from storage.schedule_records import RunKind, Timing
from storage.schedules import Schedules
from tests.harness import write_config
from tests.storing import open_storage

DAY = 86400.0


@pytest.fixture
def database(tmp_path: Path) -> Database:
    storage = open_storage(tmp_path / "root")
    return storage.database


def found(database: Database, settings: Settings, now: float) -> dict[str, dict[str, Any]]:
    return {one.what: asdict(one) for one in look(settings, database, now)}


def configured(folder: Path, **sections: dict[str, Any]) -> Settings:
    return load(write_config(folder, 1104, **sections))


def test_a_schedule_that_nobody_keeps_is_a_fault(tmp_path: Path, database: Database) -> None:
    settings, now = configured(tmp_path), time.time()
    timing = Timing("30 2 * * *", None, "UTC", None)
    Schedules(database).add("nightly", RunKind.BACKUP, timing, "ada", now)
    assert found(database, settings, now)["schedules"]["good"]
    late = found(database, settings, now + 2 * DAY)["schedules"]
    assert not late["good"]
    assert "nightly came due at" in late["says"]


def test_a_canary_that_cannot_fly_is_a_fault_before_it_is_due(
    tmp_path: Path, database: Database
) -> None:
    now = time.time()
    assert "canary" not in found(database, configured(tmp_path), now)
    timing = Timing("30 3 * * *", None, "UTC", None)
    Schedules(database).add("nightly", RunKind.CANARY, timing, "ada", now)
    assert "dicom.port is 0" in found(database, configured(tmp_path), now)["canary"]["says"]
    closed = {"port": 11112, "allowed_callers": ["CR1@10.0.0.5"]}
    told = found(database, configured(tmp_path, dicom=closed), now)["canary"]
    assert not told["good"]
    assert told["remedy"] == 'add "HILUM_CANARY@127.0.0.1" to dicom.allowed_callers'
    good = found(database, configured(tmp_path, dicom={"port": 11112}), now)["canary"]
    assert good["good"], good


def test_who_is_silent_is_named(tmp_path: Path, database: Database) -> None:
    settings, now = configured(tmp_path), time.time()
    assert "silence" not in found(database, settings, now)
    Alarms(database).raise_(AlarmKind.SILENCE, "CR1", {"last_at": now, "expected": 9.0}, now)
    Alarms(database).raise_(AlarmKind.CANARY, "canary", {"run": 1, "reason": "Lost."}, now)
    says = found(database, settings, now)["silence"]["says"]
    assert "nothing has come from CR1 since" in says
    assert "the canary has not come through: Lost." in says


def test_a_pacs_that_is_not_there_is_named(tmp_path: Path) -> None:
    config = write_config(tmp_path, 1104, canary={"pacs": ["other"]})
    with pytest.raises(SettingsError, match=r'canary.pacs: there is no PACS "other"'):
        load(config)

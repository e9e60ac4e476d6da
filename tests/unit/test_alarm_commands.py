"""`hilum alarms`, on a storage that no service holds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from daemon.cli import app
from storage.alarm_records import AlarmKind
from storage.alarms import Alarms
from storage.errors import NotFound
from tests.storing import open_storage

RUN = CliRunner()


@pytest.fixture
def alarms(tmp_path: Path) -> Alarms:
    (tmp_path / "hilum.toml").write_text(
        f'[storage]\nroot = "{tmp_path}"\ndatabase_url = "sqlite:///{tmp_path}/hilum.db"\n'
    )
    return Alarms(open_storage(tmp_path).database)


def hilum(folder: Path, *arguments: str) -> str:
    done = RUN.invoke(app, ["alarms", *arguments, "--config", str(folder / "hilum.toml")])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


def test_alarms_are_listed_acknowledged_and_closed(alarms: Alarms, tmp_path: Path) -> None:
    assert hilum(tmp_path, "list") == "No alarm is open.\n"
    moved = {"tone": {"direction": "higher", "shift": 2.3, "since": 7}}
    detail = {"measures": moved, "against": "the bundle's reference"}
    one = alarms.raise_(AlarmKind.INPUT_DRIFT, "CR1", detail, 10, station="CR1")
    shown = " ".join(hilum(tmp_path, "list").replace("│", "").split())
    assert "Images have changed" in shown
    assert "2.3 deviations over 7 images" in shown

    assert "is acknowledged by" in hilum(tmp_path, "acknowledge", str(one.id))
    found = json.loads(hilum(tmp_path, "list", "--json"))
    assert [(a["id"], a["state"]) for a in found["open"]] == [(one.id, "acknowledged")]
    assert found["closed"] == []
    assert "is closed" in hilum(tmp_path, "close", str(one.id), "--reason", "mended")
    assert alarms.open() == ()
    assert "mended" in hilum(tmp_path, "list", "--json", "--closed", "3")
    with pytest.raises(NotFound, match="no open alarm"):
        hilum(tmp_path, "acknowledge", str(one.id))

"""Acts at the command line are rows of the trail; a patient is named only where it is allowed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update
from typer.testing import CliRunner

from daemon.audit.sender import patients
from daemon.cli import app
from daemon.settings import Settings
from storage.audit import Audit
from storage.database import open_database
from storage.people import Action
from storage.queue import Queue
from storage.schema import study_header
from tests.harness import write_config
from tests.storing import arrival, make_report, open_storage


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = write_config(tmp_path, None)
    (tmp_path / "root").mkdir()
    database = open_database(f"sqlite:///{tmp_path}/root/hilum.sqlite")
    database.migrate(tmp_path / "backups")
    Queue(database).accept(arrival("1.2.3"))
    database.close()
    return path


def hilum(config: Path, *arguments: str, status: int = 0) -> str:
    done = CliRunner().invoke(app, [*arguments, "--config", str(config)])
    assert done.exit_code == status, done.output
    return done.stdout


def rows(config: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(hilum(config, "audit", "list", "--json"))
    return found


def test_what_is_done_to_the_queue_by_hand_is_in_the_trail(config: Path) -> None:
    hilum(config, "queue", "quarantine", "1", "--reason", "a test")
    hilum(config, "queue", "retry", "1")
    hilum(config, "queue", "retry", "1", status=1)  # it is not in quarantine: no row
    done = [row for row in rows(config) if row["action"].startswith("job.")]
    assert [row["action"] for row in done] == [Action.JOB_RETRIED, Action.JOB_QUARANTINED]
    assert done[1]["detail"] == {"reason": "a test"}
    assert all(row["actor"].startswith("cli") for row in done)


def test_a_look_at_the_trail_is_a_row_of_it(config: Path) -> None:
    hilum(config, "audit", "show", "1")
    hilum(config, "audit", "export", "--format", "json")
    ways = [row["detail"]["way"] for row in rows(config) if row["action"] == Action.AUDIT_READ]
    assert ways == ["export", "show"]
    hilum(config, "audit", "list", "--since", "yesterday", status=1)


@pytest.mark.parametrize("allowed", [True, False])
def test_a_patient_is_looked_up_only_where_the_settings_say_so(
    tmp_path: Path, allowed: bool
) -> None:
    storage = open_storage(tmp_path)
    make_report(storage, "7.1", "9.1", 1.0)
    with storage.database.write() as connection:
        connection.execute(update(study_header).values(patient_id="P-1", issuer="clinic"))
    found = patients(Settings(audit={"patient_id": allowed}), storage.database)("9.1")
    assert (found is not None) is allowed
    assert found is None or (found.patient_id, found.issuer) == ("P-1", "clinic")
    assert Settings().audit.patient_id is False


def test_nothing_in_the_trail_names_a_patient(tmp_path: Path) -> None:
    storage = open_storage(tmp_path)
    make_report(storage, "7.1", "9.1", 1.0)
    known = {
        "outcome", "sha256", "bytes", "sop_class", "transfer_syntax", "called_ae", "study",
        "bundle", "digest", "engine", "reason", "version", "images", "beside", "for", "pacs",
        "status",
    }  # fmt: skip
    for row in Audit(storage.database).after(0, 99):
        named = {name for name in row.detail if not name.startswith(("probability.", "threshold."))}
        assert named <= known, row.action

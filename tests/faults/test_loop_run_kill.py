"""kill -9 in each stage of a recalibration: computed, written, registered; one candidate all the
same.

Between the gate's judgement and the end of the run: tests/integration/test_learning_runs.py.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from storage.ledger import Ledger
from storage.runs import Runs
from storage.schedule_records import RunState
from storage.schedules import Schedules
from tests.harness import until
from tests.learning import open_hospital
from tests.loop import small_bundle

pytestmark = pytest.mark.slow


@pytest.mark.timeout(900)
def test_a_recalibration_killed_in_each_stage_ends_in_one_candidate(tmp_path: Path) -> None:
    bundle = small_bundle(tmp_path / "bundle")
    hospital = open_hospital(tmp_path, 7, bundle, training={"gate_min_cases": 5})
    hospital.import_all()
    runs, ledger = Runs(hospital.database), Ledger(hospital.database)
    number = Schedules(hospital.database).run_now("recalibrate", "ada", time.time())
    folder = hospital.settings.storage.root / "runs" / str(number)
    command = [sys.executable, "-m", "daemon", "run", str(number), "--config", str(hospital.config)]

    def killed(when: Callable[[], object]) -> None:
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
            until(lambda: process.poll() is not None or when(), 400, 0.001)
            process.kill()
        assert runs.put_back(time.time() + 60) == (number,)
        with hospital.database.write() as connection:  # the time brought forward, and no give-up
            connection.exec_driver_sql("UPDATE run SET not_before = 0, attempts = 0")

    killed(lambda: runs.show(number).done > 0)
    assert len(ledger.models()) == 1
    killed((folder / "candidate").exists)
    written = (folder / "candidate" / "manifest.json").read_bytes()
    killed(lambda: len(ledger.models()) == 2)
    (made, first) = ledger.models()

    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    run = runs.show(number)
    assert (run.state, run.candidate) == (RunState.DONE, made.digest), run.reason
    assert run.outcome is not None
    assert run.outcome["verdict"]["images"] > 0
    assert [one.digest for one in ledger.models()] == [made.digest, first.digest]
    shelf = hospital.settings.storage.root / "models"
    assert (shelf / made.folder / "manifest.json").read_bytes() == written, "made once"
    assert {one.name for one in shelf.iterdir()} == {"lock", made.folder, first.folder}
    serving = ledger.serving()
    assert serving is not None
    assert serving.model.digest == first.digest
    hospital.database.close()

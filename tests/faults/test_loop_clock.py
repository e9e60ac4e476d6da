"""The clock of the whole service jumps a day ahead and back: each due time has one run, no image
is lost or reported twice."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.runs import Runs
from storage.schedule_records import Run, RunState
from tests.harness import Pacs, Service, running, write_config
from tests.loop import Loop, small_bundle

SHIM = Path(__file__).parent / "clock"
DAY_S = 86400.0

pytestmark = pytest.mark.slow


class Clock:
    """The service's clock: so many seconds ahead of the machine's."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.set(0)

    def set(self, seconds: float) -> None:
        draft = self._file.with_suffix(".new")
        draft.write_text(f"{seconds}")
        draft.rename(self._file)

    def environment(self) -> dict[str, str]:
        return {"PYTHONPATH": str(SHIM), "HILUM_TEST_CLOCK": str(self._file)}


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    return Clock(tmp_path / "clock")


@pytest.fixture
def loop(tmp_path: Path, pacs: Pacs, clock: Clock) -> Iterator[Loop]:
    bundle = small_bundle(tmp_path / "bundle")
    config = write_config(
        tmp_path, pacs.port,
        report={"heat_map": "none"}, classifier={"bundle": str(bundle), "engine": "f32"},
    )  # fmt: skip
    service = Service(tmp_path, config)
    with running(service, environment=clock.environment()):
        yield Loop(service, pacs)


def runs(loop: Loop) -> list[Run]:
    database = loop.database()
    found = sorted(Runs(database).rows(), key=lambda one: one.due_at)
    database.close()
    return found


@pytest.mark.timeout(240)
def test_a_day_ahead_and_back(loop: Loop, clock: Clock) -> None:
    service = loop.service
    added = service.hilum(
        "schedule", "add", "hourly", "--kind", "backup", "--every", "1h", "--json"
    )
    assert added.returncode == 0, added.stderr
    first_due = json.loads(added.stdout)["next_due"]
    loop.send(1)
    assert runs(loop) == []

    clock.set(DAY_S)
    service.saw("run.ended", 40)
    loop.send(1)
    (one,) = runs(loop)
    assert one.state is RunState.DONE
    assert (one.missed, one.due_at) == (23, pytest.approx(first_due + 23 * 3600, abs=1))

    clock.set(0)  # an hour's due times come again by the clock, and have had their run
    loop.send(1)
    clock.set(DAY_S + 1800)
    loop.send(1)
    assert len(runs(loop)) == 1

    clock.set(DAY_S + 3600)
    service.saw("run.ended", 40, count=2)
    loop.send(1)
    due = [run.due_at for run in runs(loop)]
    assert due == pytest.approx([first_due + 23 * 3600, first_due + 24 * 3600], abs=1)
    assert {run.state for run in runs(loop)} == {RunState.DONE}
    assert not service.events("process.died")
    assert not service.events("process.killed")
    assert len(loop.pacs.stored) == len(loop.sent), "one report of each image"

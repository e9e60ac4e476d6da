"""A PACS that is down for hours, hangs, resets or answers late: one copy of each, in order."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon import courier as rules
from storage.records import DeliveryState
from tests import soak
from tests.couriers import Bench, Never
from tests.harness import Pacs, until
from tests.proxy import Proxy, Script

TIME_OUT_S = 1


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "FIRST_DELAY_S", 0.05)
    monkeypatch.setattr(rules, "LAST_DELAY_S", 0.2)


def wait_for_a_pacs(folder: Path, pacs: Pacs, reports: int) -> None:
    """Let reports gather while the PACS is down: three versions of each study."""
    port = pacs.port
    pacs.stop()
    bench = Bench(folder, pacs)
    wanted: dict[str, list[str]] = {}
    for number in range(reports):
        study = f"1.9.{number % (reports // 3)}"
        wanted.setdefault(study, []).append(bench.report(study))
    for _ in range(3):
        assert bench.courier.step(Never()) > 0
    pacs.start(port)
    began = time.monotonic()
    bench.run(lambda: len(pacs.stored) >= reports, 60 + reports / 10)

    def all_stored() -> bool:
        return bench.queue.counts().deliveries[DeliveryState.STORED] == reports

    bench.run(all_stored, 60)
    took = time.monotonic() - began
    came: dict[str, list[str]] = {}
    for one in pacs.stored:
        came.setdefault(str(one.StudyInstanceUID), []).append(str(one.SOPInstanceUID))
    assert came == wanted  # none twice, none missing, each study's in its order
    seen = f"{reports} delivered in order, none twice, {reports / took:.0f} a second"
    soak.record(soak.PACS_DOWN, tried=reports, seen=seen, limit="none lost or twice", good=True)
    bench.close()


def test_200_reports_wait_for_a_pacs(tmp_path: Path, pacs: Pacs) -> None:
    wait_for_a_pacs(tmp_path, pacs, 201)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_5000_reports_wait_for_a_pacs(tmp_path: Path, pacs: Pacs) -> None:
    wait_for_a_pacs(tmp_path, pacs, 5001)


FAULTS = {
    "hangs before the association": Script(hang_after=1),
    "hangs in the report": Script(hang_after=400),
    "resets before the association": Script(reset_after=1),
    "resets in the report": Script(reset_after=400),
    "answers after the time-out": Script(answers_after_s=1.8),
}


@pytest.fixture(params=FAULTS)
def proxy(request: pytest.FixtureRequest, pacs: Pacs) -> Iterator[Proxy]:
    with Proxy(pacs.port, FAULTS[request.param], FAULTS[request.param]) as between:
        yield between


def test_a_pacs_behind_a_bad_line_has_one_copy_and_holds_no_thread(
    tmp_path: Path, pacs: Pacs, proxy: Proxy
) -> None:
    bench = Bench(tmp_path, Pacs(port=proxy.port), timeout_s=TIME_OUT_S)
    uid = bench.report("1.9.1")
    began = time.monotonic()
    bench.courier.step(Never())
    took = time.monotonic() - began
    assert took < TIME_OUT_S + 5
    assert bench.rows()[0].state is DeliveryState.PENDING
    bench.run(bench.all_in(DeliveryState.STORED), 30)
    assert proxy.connections >= 2
    assert {str(one.SOPInstanceUID) for one in pacs.stored} == {uid}  # it keeps one of a UID
    bench.close()
    until(lambda: not _requestors(), TIME_OUT_S + 5)
    seen = f"held for {took:.1f} s with a time-out of {TIME_OUT_S} s; one copy"
    soak.record(soak.PACS_SILENT, tried=1, seen=seen, limit="time-out + 5 s; one copy", good=True)


def _requestors() -> list[str]:
    """The threads of associations that we asked for; pynetdicom names them so."""
    return [one.name for one in threading.enumerate() if one.name.startswith("RequestorThread")]

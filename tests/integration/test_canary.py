"""The canary through the real service into a real PACS, and what is an alarm."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from pydicom import dcmread
from sqlalchemy import func, select

from daemon import canary as its
from daemon.canary import draw, fly, hatch
from daemon.errors import CanaryLost
from daemon.settings import Settings, load
from storage.alarms import Alarms
from storage.database import Database, open_database
from storage.runs import Runs
from storage.schedule_records import Run, RunState
from storage.schedules import Schedules
from storage.schema import (
    holdout_patient,
    image_header,
    instance,
    label,
    study_finding,
    study_header,
)
from tests.certificates import Certificates
from tests.harness import Orthanc, Service, free_port, running, until, write_config
from tests.listener_process import ListenerProcess

pytestmark = [
    pytest.mark.slow,
    pytest.mark.peer,
    pytest.mark.timeout(300),
    pytest.mark.usefixtures("service"),
    pytest.mark.skipif(not Orthanc.installed(), reason="needs Orthanc"),
]


@pytest.fixture(scope="module")
def pacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    orthanc = Orthanc(tmp_path_factory.mktemp("pacs")).start()
    yield orthanc
    orthanc.stop()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, pacs: Orthanc) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("canary")
    config = write_config(
        folder, pacs.dicom_port, dicom={"port": free_port()}, canary={"within_s": 8},
        report={"send_negative": False},
    )  # fmt: skip
    with running(Service(folder, config)) as made:
        yield made


@pytest.fixture(scope="module")
def database(service: Service) -> Iterator[Database]:
    opened = open_database(load(service.config).storage.url)
    yield opened
    opened.close()


def flown(database: Database) -> Run:
    """Have a canary sent now; return its run when it has ended."""
    runs, number = Runs(database), Schedules(database).run_now("canary", "ada", time.time())
    until(lambda: runs.show(number).state.is_final, 90, 0.1)
    return runs.show(number)


def reasons(database: Database) -> list[str]:
    return [one.detail["reason"] for one in Alarms(database).open() if one.kind == "canary"]


def test_a_canary_goes_round_and_is_found_in_the_pacs(
    service: Service, pacs: Orthanc, database: Database
) -> None:
    run = flown(database)
    assert run.state is RunState.DONE, run.reason
    found: Any = run.outcome
    assert found["pacs"] == {"test": "found by C-FIND"}
    assert len(found["findings"]) == 5
    (report,) = [one for one in pacs.held() if one.StudyInstanceUID == found["study"]]
    assert (report.PatientName, report.PatientID) == ("HILUM^CANARY", "HILUM-CANARY")
    assert report.IssuerOfPatientID == "HILUM"
    with database.read() as connection:
        for table in (study_header, study_finding, image_header, label, holdout_patient):
            assert connection.execute(select(func.count()).select_from(table)).scalar_one() == 0
        kept = connection.execute(select(instance.c.sha256)).scalar_one()
    stored = load(service.config).storage.root / "objects"
    (file,) = [one for one in stored.rglob("*") if one.name.startswith(kept)]
    assert dcmread(file).QualityControlImage == "YES"
    assert not reasons(database)


def test_a_worker_that_stands_still_is_an_alarm_and_the_next_canary_clears_it(
    service: Service, database: Database
) -> None:
    assert service.process is not None
    children = psutil.Process(service.process.pid).children()
    (worker,) = [one for one in children if one.name() == "hilum-worker-0"]
    worker.send_signal(signal.SIGSTOP)
    try:
        run = flown(database)
    finally:
        worker.send_signal(signal.SIGCONT)
    assert run.state is RunState.FAILED
    assert "does a worker run?" in str(run.reason)
    until(lambda: reasons(database) == [str(run.reason)], 20)
    again = flown(database)
    assert again.state is RunState.DONE, again.reason
    until(lambda: not reasons(database), 20)


def test_another_score_than_the_known_one_is_an_alarm(database: Database) -> None:
    change = "UPDATE canary_score SET probability = probability {} 0.03 WHERE finding = 'pneumonia'"
    with database.write() as connection:
        connection.exec_driver_sql(change.format("+"))
    run = flown(database)
    with database.write() as connection:
        connection.exec_driver_sql(change.format("-"))
    assert run.state is RunState.FAILED
    assert "score is not the known one: pneumonia" in str(run.reason)
    until(lambda: str(run.reason) in reasons(database), 20)


def test_a_pacs_that_is_off_is_an_alarm_in_time(pacs: Orthanc, database: Database) -> None:
    pacs.stop()
    run = flown(database)
    assert run.state is RunState.FAILED
    assert "its report waits for test" in str(run.reason)
    assert (run.ended_at or 0) - (run.started_at or 0) < 20
    until(lambda: str(run.reason) in reasons(database), 20)
    (alarm,) = [one for one in Alarms(database).open() if one.kind == "canary"]
    assert alarm.count >= 2, "one alarm stands for both"


def test_a_changed_pixel_is_found_before_it_is_sent(tmp_path: Path) -> None:
    content = bytearray(its.RADIOGRAPH.read_bytes())
    content[len(content) // 2] ^= 1
    changed = tmp_path / "canary.png"
    changed.write_bytes(content)
    with pytest.raises(CanaryLost, match="not the known image"):
        draw(hatch(1.8e9), changed)


def test_no_two_canaries_have_a_uid_in_common() -> None:
    one, other = (draw(hatch(1.8e9)) for _ in range(2))
    for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        assert getattr(one, name) != getattr(other, name)


def test_it_flies_by_tls_where_the_port_speaks_nothing_else(tmp_path: Path) -> None:
    made = Certificates(tmp_path)
    one = hatch(time.time())
    ours = made.dicom(peers=[{"ae_title": "HILUM_CANARY", "certificate": "HILUM"}])
    (tmp_path / "root").mkdir()
    with ListenerProcess(tmp_path / "root", guarded=True, tls=ours) as listener:
        dicom = {"bind": "127.0.0.1", "port": listener.port, "tls": ours}
        fly(Settings.model_validate({"dicom": dicom}), draw(one))

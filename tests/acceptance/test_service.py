"""The whole service as a hospital sees it: real peers on TCP, real images, real kills."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    JPEG2000Lossless,
)

from classifier.bundle import default_folder, load_bundle
from daemon.report import render_text
from daemon.simulate import (
    Damage,
    Form,
    Kind,
    Patient,
    SendOutcome,
    Uids,
    make_object,
    send,
    to_bytes,
)
from storage.alarm_records import AlarmKind
from storage.alarms import Alarms
from storage.database import open_database
from storage.errors import DatabaseBusy
from storage.queue import Queue
from storage.records import JobState
from tests.harness import Orthanc, Pacs, Service, running, until, write_config
from tests.radiographs import no_chest

IMAGES = {
    str(uid) for uid in (ComputedRadiographyImageStorage, DigitalXRayImageStorageForPresentation)
}
SECRETS = ("Secret^Person", "SECRET-ID-77")


REMARKS = {
    "header_overruled": "clearly those of a frontal chest radiograph",
    "greys_inverted": "they were corrected before the analysis",
}


def grey(file: Path) -> NDArray[np.uint8]:
    return np.asarray(Image.open(file).convert("L"), dtype=np.uint8)


def objects(images: list[Path], count: int, form: Form | None = None) -> list[Dataset]:
    """Return so many different objects, each a study of its own."""
    return [
        make_object(
            images[number % len(images)],
            form or Form(Kind.CR, 12),
            Patient(name=SECRETS[0], id=f"{SECRETS[1]}-{number}", accession=f"A{number}"),
        )
        for number in range(count)
    ]


def deliver(service: Service, what: list[Dataset]) -> list[SendOutcome]:
    return send(what, "127.0.0.1", service.port, "CR1", "HILUM")


def studies(sent: list[Dataset]) -> list[str]:
    return sorted(str(one.StudyInstanceUID) for one in sent)


def report_deliveries(service: Service) -> list[dict[str, Any]]:
    """Those of reports: this PACS takes no heat maps."""
    return [one for one in service.queue()["deliveries"] if not one["companion"]]


def reported(pacs: Pacs) -> list[str]:
    return sorted(str(one.StudyInstanceUID) for one in pacs.stored)


@pytest.fixture
def running_service(service: Service) -> Iterator[Service]:
    with running(service):
        yield service


# -- real peers ------------------------------------------------------------------------------


@pytest.mark.peer
def test_dcmtk_sends_and_orthanc_holds_the_report(
    tmp_path: Path, orthanc: Orthanc, demo_images: list[Path]
) -> None:
    """echoscu, storescu, then Orthanc's copy of the report read by dsrdump."""
    service = Service(tmp_path, write_config(tmp_path, orthanc.dicom_port))
    with running(service):
        peer = ["127.0.0.1", str(service.port)]
        subprocess.run(["echoscu", "-aec", "HILUM", *peer], check=True, timeout=30)
        file = tmp_path / "image.dcm"
        (image,) = objects(demo_images, 1)
        file.write_bytes(to_bytes(image))
        subprocess.run(["storescu", "-aec", "HILUM", *peer, str(file)], check=True, timeout=30)
        (report,) = until(orthanc.reports, 30)
    copy = tmp_path / "report.dcm"
    copy.write_bytes(orthanc.raw(f"/instances/{report}/file"))
    dump = subprocess.run(["dsrdump", str(copy)], capture_output=True, text=True, check=True)
    for finding in ("Pneumonia", "Infiltrate", "Atelectasis", "Pleural effusion"):
        assert finding in dump.stdout
    held = dcmread(copy)
    for keyword in ("StudyInstanceUID", "PatientID", "AccessionNumber"):
        assert held[keyword].value == image[keyword].value


@pytest.mark.peer
def test_a_wrong_called_title_is_rejected_by_name(running_service: Service) -> None:
    peer = ["127.0.0.1", str(running_service.port)]
    asked = subprocess.run(
        ["echoscu", "-aec", "WRONG", *peer], capture_output=True, text=True, timeout=30
    )
    assert asked.returncode != 0
    assert "Called AE Title Not Recognized" in asked.stderr + asked.stdout
    record = running_service.saw("association.rejected")
    assert record["reason"] == "called AE title not recognised"


# -- one study, one report -------------------------------------------------------------------


def test_every_finding_of_every_image_is_in_one_report(
    tmp_path: Path, pacs: Pacs, demo_images: list[Path]
) -> None:
    service = Service(tmp_path, write_config(tmp_path, pacs.port, report={"study_quiet_s": 3}))
    study = Uids(study="1.2.826.0.1.3680043.10.77.1")
    images = [make_object(file, Form(), uids=study) for file in demo_images[:3]]
    with running(service):
        deliver(service, images)
        until(lambda: pacs.stored, 40)
        (report,) = pacs.stored
        evidence = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
        held = {
            str(item.ReferencedSOPInstanceUID)
            for series in evidence
            for item in series.ReferencedSOPSequence
            if item.ReferencedSOPClassUID in IMAGES  # and not a heat map, which it cites as well
        }
        assert held == {str(one.SOPInstanceUID) for one in images}
        # An image that comes late makes a second version, which names the first
        late = make_object(demo_images[3], Form(), uids=study)
        deliver(service, [late])
        until(lambda: len(pacs.stored) == 2, 40)
    second = pacs.stored[1]
    assert second.SeriesInstanceUID == report.SeriesInstanceUID
    predecessor = second.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0]
    assert predecessor.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == report.SOPInstanceUID


def test_a_repeated_image_makes_no_second_report(
    running_service: Service, pacs: Pacs, demo_images: list[Path]
) -> None:
    (image,) = objects(demo_images, 1)
    for _ in range(5):
        assert deliver(running_service, [image])[0].status == 0x0000
    running_service.saw("report.stored", 40)
    running_service.saw("instance.repeated", count=4)
    assert len(running_service.queue()["jobs"]) == 1
    assert reported(pacs) == studies([image])


# -- bad input, each with its own outcome ----------------------------------------------------


def test_each_fault_has_its_outcome_and_nothing_else_is_disturbed(
    running_service: Service, pacs: Pacs, demo_images: list[Path]
) -> None:
    good = objects(demo_images, 2)
    file = demo_images[0]
    damaged = make_object(
        file, Form(transfer_syntax=JPEG2000Lossless, damage=Damage.GARBLED), Patient(id="D")
    )
    lateral = make_object(no_chest(), Form(view="LL"), Patient(id="L"))
    child = make_object(file, Form(), Patient(id="C", birth_date="20200101"))
    wrong = make_object(demo_images[3], Form(view="LL"), Patient(id="W"))
    negative = make_object(255 - grey(file), Form(), Patient(id="X"))
    nameless = make_object(file, Form(), Patient(id="N"))
    nameless.PatientID = None
    undated = make_object(file, Form(), Patient(id="U"))
    undated.StudyDate = undated.StudyTime = ""
    frames = make_object(file, Form(), Patient(id="F"))
    frames.NumberOfFrames = 500
    homeless = make_object(file, Form(), Patient(id="H"))
    del homeless.StudyInstanceUID
    refused = {
        str(damaged.StudyInstanceUID): "undecodable",
        str(lateral.StudyInstanceUID): "not_frontal",
        str(child.StudyInstanceUID): "age_outside_model",
        str(frames.StudyInstanceUID): "multi_frame",
    }
    answered = [good[0], damaged, lateral, child, wrong, negative, nameless, undated, frames,
                good[1]]  # fmt: skip
    outcomes = deliver(running_service, [*answered, homeless])
    assert {outcome.status for outcome in outcomes} == {0x0000}
    until(lambda: len(pacs.stored) == len(answered), 60)
    assert reported(pacs) == studies(answered)
    said = {r["sop_instance"]: r["reason_code"]
            for r in running_service.events("instance.not_analysed")}  # fmt: skip
    analysed = {r["sop_instance"]: r for r in running_service.events("instance.analysed")}
    for image, words in ((wrong, "header_overruled"), (negative, "greys_inverted")):
        assert analysed[str(image.SOPInstanceUID)]["remark"] == words
        report = next(r for r in pacs.stored if r.StudyInstanceUID == image.StudyInstanceUID)
        assert REMARKS[words] in render_text(report)
    for image in (damaged, lateral, child, frames):
        assert said[str(image.SOPInstanceUID)] == refused[str(image.StudyInstanceUID)]
        report = next(r for r in pacs.stored if r.StudyInstanceUID == image.StudyInstanceUID)
        assert "not analysed" in str(report).lower()
    held = {row["sop_instance_uid"]: row for row in running_service.queue()["jobs"]}
    row = held[str(homeless.SOPInstanceUID)]
    assert (row["state"], row["reason_code"]) == ("quarantined", "no_study")
    for image, keyword in ((nameless, "PatientID"), (undated, "StudyDate")):
        report = next(r for r in pacs.stored if r.StudyInstanceUID == image.StudyInstanceUID)
        assert not report[keyword].value


def test_no_patient_data_reaches_the_log(
    running_service: Service, pacs: Pacs, demo_images: list[Path]
) -> None:
    (image,) = objects(demo_images, 1)
    odd = objects(demo_images, 2)[1]
    odd.PatientBirthDate = "SECRET-ID-77 no date"
    deliver(running_service, [image, odd])
    until(lambda: len(pacs.stored) == 2, 40)
    running_service.stop()
    log = (running_service.folder / "service.log").read_text()
    assert "report.stored" in log
    for secret in ("Secret", "SECRET"):
        assert secret not in log


# -- the listener never blinks ---------------------------------------------------------------


def worker_pid(service: Service) -> int:
    starts = [r for r in service.events("process.started") if r["process"] == "worker-0"]
    return int(starts[-1]["pid"])


def test_a_killed_worker_loses_nothing_and_the_listener_stays(
    running_service: Service, pacs: Pacs, demo_images: list[Path]
) -> None:
    sent = objects(demo_images, 4)
    deliver(running_service, sent[:2])
    os.kill(worker_pid(running_service), signal.SIGKILL)
    assert {one.status for one in deliver(running_service, sent[2:])} == {0x0000}
    running_service.saw("process.died")
    until(lambda: len(pacs.stored) == 4, 60)
    assert reported(pacs) == studies(sent)
    listeners = [r for r in running_service.events("process.started") if r["process"] == "listener"]
    assert len(listeners) == 1


def test_images_are_taken_while_the_classifier_is_broken(
    tmp_path: Path, pacs: Pacs, demo_images: list[Path]
) -> None:
    broken = tmp_path / "bundle"
    broken.mkdir()
    (broken / "manifest.json").write_text("{}")
    config = write_config(tmp_path, pacs.port, classifier={"bundle": str(broken)})
    service = Service(tmp_path, config)
    sent = objects(demo_images, 2)
    with running(service, ready=False):
        said = service.saw("worker.cannot_classify", 60)
        assert {one.status for one in deliver(service, sent)} == {0x0000}
        assert said["again_in_s"] == 60
        assert service.stop() == 0
        # It said so once, and waits: it is not restarted again and again
        assert len(service.events("worker.cannot_classify")) == 1
        assert service.events("process.died") == []
    write_config(tmp_path, pacs.port)
    with running(service):
        until(lambda: len(pacs.stored) == 2, 60)
    assert reported(pacs) == studies(sent)


def test_images_are_taken_where_no_engine_runs(
    tmp_path: Path, pacs: Pacs, demo_images: list[Path]
) -> None:
    missing = tmp_path / "missing"
    missing.mkdir()
    for package in ("openvino", "tensorflow", "keras"):
        (missing / f"{package}.py").write_text("raise ImportError('not installed')")
    service = Service(tmp_path, write_config(tmp_path, pacs.port))
    with running(service, environment={"PYTHONPATH": str(missing)}, ready=False):
        said = service.saw("worker.cannot_classify", 60)
        assert "int8: OpenVINO is not installed" in said["reason"]
        assert "tensorflow: TensorFlow is not installed" in said["reason"]
        assert {one.status for one in deliver(service, objects(demo_images, 1))} == {0x0000}
        assert service.stop() == 0


def test_the_log_says_which_engine_serves_and_why(
    tmp_path: Path, pacs: Pacs, demo_images: list[Path]
) -> None:
    damaged = tmp_path / "bundle"
    shutil.copytree(default_folder(), damaged)
    graph = damaged / load_bundle().manifest.graphs["int8"].bin
    graph.write_bytes(graph.read_bytes()[:-1])
    config = write_config(tmp_path, pacs.port, classifier={"bundle": str(damaged)})
    service, sent = Service(tmp_path, config), objects(demo_images, 1)
    with running(service):
        ready = service.saw("worker.ready")
        assert ready["engine"] != "int8"
        assert f"int8: {graph.name} was changed" in ready["why"]
        assert {one.status for one in deliver(service, sent)} == {0x0000}
        until(lambda: reported(pacs) == studies(sent), 60)


def test_a_worker_that_hangs_is_killed_at_the_end_of_its_lease(
    running_service: Service, pacs: Pacs, demo_images: list[Path]
) -> None:
    """Stopped amid an image, it holds its claim until the lease ends; then all is reported."""
    sent = objects(demo_images, 3)
    pid = worker_pid(running_service)

    url = f"sqlite:///{running_service.folder}/root/hilum.sqlite"
    database = open_database(url, busy_timeout_s=0.2)

    def holds_one() -> bool:
        try:
            return Queue(database).counts().jobs[JobState.RUNNING] > 0
        except DatabaseBusy:  # stopped amid a commit
            return False

    def stopped_amid_an_image() -> bool:
        os.kill(pid, signal.SIGSTOP)
        if holds_one():
            return True
        os.kill(pid, signal.SIGCONT)
        return False

    deliver(running_service, sent)
    until(stopped_amid_an_image, 20)
    running_service.saw("process.killed", 60)
    until(lambda: len(pacs.stored) == 3, 60)
    assert reported(pacs) == studies(sent)
    database.close()


@pytest.mark.slow
@pytest.mark.parametrize("after_s", [0.0, 0.3, 0.8])
def test_kill_9_between_acknowledgement_and_report(
    tmp_path: Path, pacs: Pacs, demo_images: list[Path], after_s: float
) -> None:
    """Every acknowledged image is reported, and reported once."""
    service = Service(tmp_path, write_config(tmp_path, pacs.port))
    sent = objects(demo_images, 4)
    with running(service):
        assert {one.status for one in deliver(service, sent)} == {0x0000}
        time.sleep(after_s)
        service.kill()
    with running(service):
        until(lambda: {*studies(sent)} == {*reported(pacs)}, 60)
        until(lambda: {d["state"] for d in report_deliveries(service)} == {"stored"}, 30)
        assert len(report_deliveries(service)) == 4
    uids = [str(one.SOPInstanceUID) for one in pacs.stored]
    assert len(set(uids)) == 4


def test_sigterm_drains_within_ten_seconds_and_loses_nothing(
    service: Service, pacs: Pacs, demo_images: list[Path]
) -> None:
    sent = objects(demo_images, 5)
    with running(service):
        deliver(service, sent)
        started = time.monotonic()
        assert service.stop() == 0
        assert time.monotonic() - started < 10
    with running(service):
        until(lambda: len(pacs.stored) == 5, 60)
    assert reported(pacs) == studies(sent)


def test_two_services_do_not_share_a_storage(service: Service) -> None:
    with running(service):
        second = service.hilum("serve")
        assert second.returncode == 1
        assert "holds the storage root" in second.stderr


def test_a_pacs_that_is_down_is_waited_for(
    service: Service, pacs: Pacs, demo_images: list[Path]
) -> None:
    port = pacs.port
    pacs.stop()
    sent = objects(demo_images, 2)
    with running(service):
        deliver(service, sent)
        service.saw("pacs.unreachable", 40)
        service.stop()
        pacs.start(port)
        service.start()
        until(lambda: len(pacs.stored) == 2, 40)
    assert reported(pacs) == studies(sent)


# -- the command line ------------------------------------------------------------------------


def test_check_says_what_is_wrong(running_service: Service, pacs: Pacs) -> None:
    checked = running_service.hilum("check", "--json")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    pacs.stop()
    checked = running_service.hilum("check", "--json")
    assert checked.returncode == 1
    assert "does not answer" in checked.stdout


def test_an_own_object_that_comes_back_is_ignored(
    running_service: Service, pacs: Pacs, demo_images: list[Path]
) -> None:
    (image,) = objects(demo_images, 1)
    deliver(running_service, [image])
    until(lambda: pacs.stored, 40)
    (report,) = pacs.stored
    assert send([report], "127.0.0.1", running_service.port, "PACS", "HILUM")[0].status == 0x0000
    running_service.saw("instance.ignored")
    assert len(running_service.queue()["jobs"]) == 1


def test_other_pixels_under_a_known_uid_are_raised(
    running_service: Service, pacs: Pacs, demo_images: list[Path]
) -> None:
    uids = Uids("1.2.7.1", "1.2.7.2", "1.2.7.3")
    for file in demo_images[:2]:
        image = make_object(file, replace(Form(), kind=Kind.CR), uids=uids)
        assert deliver(running_service, [image])[0].status == 0x0000
    running_service.saw("instance.conflict")
    until(lambda: pacs.stored, 40)
    states = sorted(row["state"] for row in running_service.queue()["jobs"])
    assert states == ["done", "quarantined"]
    database = open_database(f"sqlite:///{running_service.folder}/root/hilum.sqlite")
    (alarm,) = Alarms(database).open()
    assert (alarm.kind, alarm.subject) == (AlarmKind.CONFLICT, uids.sop_instance)
    database.close()

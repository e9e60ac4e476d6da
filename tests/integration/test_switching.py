"""A bundle is promoted and rolled back while images flow: none is lost, no report mixes two."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import pytest
from pydicom.dataset import Dataset

from daemon.report.reading import groups
from daemon.simulate import Form, Kind, Uids, make_object, send
from daemon.uids import derive_uid
from storage.database import open_database
from storage.ledger import Ledger
from tests.bundles import another
from tests.harness import Pacs, Service, running, until, write_config

WITHIN_S = 5.0


def model(service: Service, *arguments: str) -> dict[str, Any]:
    done = service.hilum("model", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def versions(report: Dataset) -> set[str]:
    """The bundles that a report is of."""
    return {group.algorithm for group in groups(report) if group.name != "not_analysed"}


def one_image(path: Path, study: str, number: int) -> Dataset:
    """An image of a study; the number makes it another one."""
    uids = Uids(
        study=derive_uid("test", study), series=derive_uid("test", study, "1"),
        sop_instance=derive_uid("test", study, str(number)),
    )  # fmt: skip
    return make_object(path, Form(Kind.DX, 12), uids=uids)


@dataclass
class Traffic:
    """A modality that sends without a pause; each image is a study."""

    service: Service
    image: Path
    sent: list[str] = field(default_factory=list)
    _ended: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        image = one_image(self.image, "flow", 1)
        while not self._ended.wait(0.1):
            study = derive_uid("test", f"flow {len(self.sent)}")
            image.StudyInstanceUID, image.SOPInstanceUID = study, f"{study}.1"
            image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
            (done,) = send([image], "127.0.0.1", self.service.port, "DX1", "HILUM")
            assert done.status == 0x0000
            self.sent.append(study)

    @contextmanager
    def flowing(self) -> Iterator[None]:
        thread = threading.Thread(target=self.run)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join(30)


def newest(pacs: Pacs) -> set[str]:
    return versions(pacs.stored[-1]) if pacs.stored else set()


def ledger_of(service: Service) -> Ledger:
    """The ledger as the pages have it, without the command line's start-up."""
    return Ledger(open_database(service.database_url))


def switched(service: Service, wanted: str, count: int, since: float) -> None:
    """Wait until the worker classifies with that bundle: within 5 s of the act."""
    service.saw("model.switched", 20, count)
    record = service.events("model.switched")[count - 1]
    assert record["model"] == wanted
    assert datetime.fromisoformat(record["timestamp"]).timestamp() - since < WITHIN_S


def memory(service: Service) -> float:
    """The worker's private memory, in bytes."""
    assert service.process is not None
    (worker,) = [p for p in psutil.Process(service.process.pid).children()
                 if p.name().startswith("hilum-worker")]  # fmt: skip
    return float(worker.memory_full_info().uss)


def test_a_bundle_is_promoted_and_rolled_back_under_load(
    tmp_path: Path, pacs: Pacs, demo_images: list[Path]
) -> None:
    second = another(tmp_path / "second", "second")
    config = write_config(tmp_path, pacs.port, report={"study_quiet_s": 0, "heat_map": "none"})
    service = Service(tmp_path, config)
    with running(service):
        first = model(service, "list")["serving"]
        version = model(service, "add", str(second))["version"]
        traffic = Traffic(service, demo_images[0])
        with traffic.flowing():
            until(lambda: newest(pacs) == {first})
            held = memory(service)
            said = model(
                service, "promote", version, "--override", "--reason", "better by the hold-out"
            )
            switched(service, version, 1, said["at"])
            until(lambda: newest(pacs) == {version})
            ledger = ledger_of(service)
            for count in (2, 4):
                line = ledger.rollback("ada", "worse at night", time.time())
                assert (line.version, line.deed) == (first, "rolled_back")
                switched(service, first, count, line.at)
                line = ledger.promote(version, "ada", "once more", time.time())
                switched(service, version, count + 1, line.at)
            said = model(service, "rollback", "--reason", "worse at night")
            switched(service, first, 6, said["at"])
            until(lambda: newest(pacs) == {first})
        until(lambda: {r.StudyInstanceUID for r in pacs.stored} == set(traffic.sent), 60)
        assert memory(service) < held + 250e6, "two bundles are in memory, not seven"
        assert not service.events("process.died")
    assert [r for r in pacs.stored if len(versions(r)) != 1] == []
    assert len(service.events("model.switched")) == 6
    assert len(traffic.sent) == len(set(traffic.sent)) > 20


def test_a_study_across_a_promotion_is_of_one_bundle(
    tmp_path: Path, pacs: Pacs, demo_images: list[Path]
) -> None:
    """Its first image is analysed by the old one; two workers switch each in its own time."""
    config = write_config(
        tmp_path, pacs.port,
        report={"study_quiet_s": 6, "heat_map": "none"}, classifier={"workers": 2},
    )  # fmt: skip
    service = Service(tmp_path, config)
    with running(service):
        service.saw("worker.ready", 60, count=2)
        first = model(service, "list")["serving"]
        version = model(service, "add", str(another(tmp_path / "second", "second")))["version"]

        def give(number: int) -> None:
            image = one_image(demo_images[number], "across", number)
            assert send([image], "127.0.0.1", service.port, "DX1", "HILUM")[0].status == 0
            service.saw("instance.analysed", 20, count=number)

        give(1)
        assert service.events("instance.analysed")[-1]["model"] == first
        ledger = ledger_of(service)
        ledger.promote(version, "ada", "better", time.time())
        service.saw("model.switched", WITHIN_S, count=2)
        give(2)
        until(lambda: pacs.stored, 20)
        (report,) = pacs.stored
        assert versions(report) == {version}
        assert len(groups(report)) == 2 * 5
        assert service.saw("study.analysed_again")["count"] == 1

        # A later version too: what it names of the first report is analysed again
        ledger.rollback("ada", "worse", time.time())
        service.saw("model.switched", WITHIN_S, count=4)
        image = one_image(demo_images[3], "across", 3)
        send([image], "127.0.0.1", service.port, "DX1", "HILUM")
        until(lambda: len(pacs.stored) == 2, 20)
        assert versions(pacs.stored[-1]) == {first}
        assert len(groups(pacs.stored[-1])) == 3 * 5


def test_a_damaged_bundle_leaves_the_old_one_serving(
    tmp_path: Path, pacs: Pacs, demo_images: list[Path], service: Service
) -> None:
    with running(service):
        first = model(service, "list")["serving"]
        added = model(service, "add", str(another(tmp_path / "second", "second")))
        weights = tmp_path / "root" / "models" / added["folder"] / "weights.safetensors"
        sound = weights.read_bytes()
        weights.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))

        refused = service.hilum("model", "promote", "second", "--override", "--reason", "better")
        assert refused.returncode == 1
        assert "weights.safetensors was changed" in refused.stderr

        # A page has no classifier to look with: the worker refuses it
        ledger_of(service).promote("second", "ada", "better", time.time())
        service.saw("model.refused", WITHIN_S)
        listed = model(service, "list")
        assert listed["serving"] == first
        assert listed["history"][0]["deed"] == "refused"
        assert "weights.safetensors was changed" in listed["history"][0]["reason"]
        assert {m["version"]: m["state"] for m in listed["models"]} == {
            first: "registered", added["version"]: "refused"
        }  # fmt: skip
        assert not service.events("model.switched")
        send([one_image(demo_images[0], "after", 1)], "127.0.0.1", service.port, "DX1", "HILUM")
        until(lambda: newest(pacs) == {first}, 20)

        # Added again, it is mended and may serve
        model(service, "add", str(tmp_path / "second"))
        model(service, "promote", "second", "--override", "--reason", "mended")
        assert service.saw("model.switched", WITHIN_S)["model"] == added["version"]


def test_a_changed_threshold_is_in_the_next_report(
    pacs: Pacs, demo_images: list[Path], service: Service
) -> None:
    with running(service):
        ledger = ledger_of(service)
        serving = ledger.serving()
        assert serving is not None
        ledger.set_threshold(serving.model.digest, "pneumonia", 0.99, "ada", "too many", 1)
        service.saw("model.followed", WITHIN_S)
        send([one_image(demo_images[0], "after", 1)], "127.0.0.1", service.port, "DX1", "HILUM")
        until(lambda: pacs.stored, 20)
        by_name = {group.name: group.threshold for group in groups(pacs.stored[0])}
        assert by_name.pop("pneumonia") == pytest.approx(0.99, abs=1e-3)
        for name, own in by_name.items():
            assert own == pytest.approx(serving.model.thresholds[name], abs=1e-3)

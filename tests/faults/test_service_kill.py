"""kill -9 of the whole service, or of one of its processes, at every step of an image's way.

A modality sends, and sends again what was not acknowledged; a PACS takes the reports. After each
kill the service goes on, or is started again. In the end every acknowledged image is in a report,
and the PACS has one report for each version of each study.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from daemon.errors import PeerUnreachable
from daemon.simulate import Form, Kind, Uids, make_object, send
from daemon.uids import derive_uid
from storage.database import open_database
from storage.objects import ObjectStore
from storage.outbox import Outbox
from storage.queue import Queue
from storage.records import JobState, StudyState
from storage.studies import Studies
from tests import soak
from tests.harness import Pacs, Service, free_port, running, until, write_config

ROLES = ("listener", "worker-0", "delivery")
ENOUGH = 70  # points of the long form, however slow the machine: every step of each process

pytestmark = pytest.mark.slow


@dataclass
class Ward:
    """A service that is killed, the modality that sends to it, and what was acknowledged."""

    service: Service
    pacs: Pacs
    image: Path
    folder: Path
    port: int
    sent: dict[str, str] = field(default_factory=dict)  # acknowledged: SOP instance to study
    attempts: int = 0
    points: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.database = open_database(f"sqlite:///{self.service.folder}/root/hilum.sqlite")
        self.queue, self.studies = Queue(self.database), Studies(self.database)
        self.outbox = Outbox(self.database)
        self._template = make_object(self.image, Form(Kind.DX, 12), uids=Uids("1.2", "1.3", "1.4"))

    def start(self) -> None:
        self.service.start({"HILUM_KILLS": str(self.folder)}, ready=False)

    def object_of(self, study: str, number: int) -> Dataset:
        one = self._template
        one.StudyInstanceUID = derive_uid("test", study)
        one.SOPInstanceUID = derive_uid("test", study, str(number))
        one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID
        return one

    def deliver(self, study: str, number: int) -> None:
        """Send as a modality does: again, until it is acknowledged."""
        image = self.object_of(study, number)

        def acknowledged() -> bool:
            self.attempts += 1
            self.mend()
            try:
                (one,) = send([image], "127.0.0.1", self.port, "CR1", "HILUM", timeout_s=10)
            except PeerUnreachable:
                return False
            return one.status == 0x0000

        until(acknowledged, 60, every=0.1)
        self.sent[str(image.SOPInstanceUID)] = str(image.StudyInstanceUID)

    def mend(self) -> None:
        """Start the service again where it was killed."""
        assert self.service.process is not None
        if self.service.process.poll() is not None:
            self.start()

    def at_rest(self) -> bool:
        """Whether all that was sent is answered, reported and delivered."""
        self.mend()
        jobs, sent = self.queue.counts().jobs, self.outbox.rows(limit=10_000)
        if jobs[JobState.PENDING] or jobs[JobState.RUNNING]:
            return False
        studies = self.studies.rows(limit=10_000)
        reported = {one.study_instance_uid for one in studies if one.state is StudyState.REPORTED}
        return {*self.sent.values()} <= reported and all(one.state.is_final for one in sent)

    def kill_at(self, role: str, step: int, victim: str, study: str, number: int) -> bool:
        """Send an image and kill at that step of its way; return whether there is such a step."""
        killed = self.folder / "killed"
        killed.unlink(missing_ok=True)
        draft = self.folder / "draft"
        draft.write_text(f"{role} {step} {victim} {len(self.points)} {self.points.total()}")
        draft.rename(self.folder / "armed")
        self.deliver(study, number)
        until(self.at_rest, 60, every=0.05)
        (self.folder / "armed").unlink(missing_ok=True)
        if not killed.exists():
            return False
        self.points[f"{role} {victim}"] += 1
        return True

    def check(self) -> str:
        """Compare what was acknowledged with what the PACS has; return the figures as a line."""
        until(self.at_rest, 60)
        assert self.database.quick_check() == []
        objects = ObjectStore(self.service.folder / "root")
        held = {row.sop_instance_uid: row for row in self.queue.rows(limit=10_000)}
        for uid in self.sent:
            assert held[uid].state is JobState.DONE
            objects.read(held[uid].sha256)
        copies = Counter(str(one.SOPInstanceUID) for one in self.pacs.stored)
        versions: dict[tuple[str, int], set[str]] = {}
        said: dict[str, set[str]] = {}
        for one in self.pacs.stored:
            study = str(one.StudyInstanceUID)
            versions.setdefault((study, int(one.InstanceNumber)), set()).add(
                str(one.SOPInstanceUID)
            )
            said.setdefault(study, set()).update(_cited(one))
        lost = [uid for uid, study in self.sent.items() if uid not in said.get(study, set())]
        double = [key for key, uids in versions.items() if len(uids) != 1]
        for study in set(self.sent.values()):
            row = self.studies.show(study)
            assert {v for s, v in versions if s == study} == {*range(1, row.report_version + 1)}
            assert row.report_version <= list(self.sent.values()).count(study)
        assert (lost, double) == ([], [])
        resent = sum(copies.values()) - len(copies)
        return (
            f"{self.points.total()} points, {len(self.sent)} acknowledged images, {len(lost)} "
            f"lost, {len(copies)} reports, {len(double)} double, {resent} of them sent again"
        )


def _cited(report: Dataset) -> set[str]:
    return {
        str(item.ReferencedSOPInstanceUID)
        for evidence in report.CurrentRequestedProcedureEvidenceSequence
        for series in evidence.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    }


@contextmanager
def ward_of(tmp_path: Path, pacs: Pacs, image: Path) -> Iterator[Ward]:
    port = free_port()
    config = write_config(
        tmp_path, pacs.port, dicom={"bind": "127.0.0.1", "port": port}, report={"heat_map": "none"}
    )
    service = Service(tmp_path, config, module="tests.faults.service_victim")
    environment = {"HILUM_KILLS": str(tmp_path)}
    with running(service, environment=environment):
        ward = Ward(service, pacs, image, tmp_path, port)
        yield ward
        ward.database.close()


def test_a_kill_at_some_steps_of_the_service_loses_nothing(
    tmp_path: Path, pacs: Pacs, demo_images: list[Path]
) -> None:
    """One before the row is there, one with it and before 0000H, one amid the report, ..."""
    points = [
        ("listener", 5, "process"), ("listener", 13, "process"), ("worker-0", 9, "process"),
        ("delivery", 6, "process"), ("delivery", 12, "service"),
    ]  # fmt: skip
    with ward_of(tmp_path, pacs, demo_images[0]) as ward:
        for number, (role, step, victim) in enumerate(points):
            # On a busy machine one look finds what two would, and the way has fewer steps
            steps = (step - less for less in range(4))
            assert any(
                ward.kill_at(role, one, victim, f"study {number} {one}", 1) for one in steps
            ), (role, step)
        soak.record(
            soak.KILL, tried=len(points), seen=ward.check(), limit="0 lost, 0 double", good=True
        )


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_kill_at_every_step_of_the_service_loses_nothing(
    tmp_path: Path, pacs: Pacs, demo_images: list[Path]
) -> None:
    """All steps of a process, the service, and a process at a later version, in HILUM_SOAK_S."""
    deadline = time.monotonic() + float(os.environ.get("HILUM_SOAK_S", "780"))
    study, number = "first", 0
    with ward_of(tmp_path, pacs, demo_images[0]) as ward:
        # The third time each image belongs to a study that has a report: a version more
        for victim, late in (("process", False), ("process", True), ("service", False)):
            for role in ROLES:
                for step in range(1, 200):
                    number += 1
                    if not late or step % 4 == 1:
                        study = f"study {number}"
                    if time.monotonic() > deadline:
                        break
                    if not ward.kill_at(role, step, victim, study, number):
                        break
        line, points = ward.check(), ward.points.total()
        good = points >= ENOUGH
        soak.record(soak.KILL, tried=points, seen=line, limit="0 lost, 0 double", good=good)

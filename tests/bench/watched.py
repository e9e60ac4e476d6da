"""A service under the eye, and what is sent to it.

Real peers over TCP: DCMTK's storescu as the modality, Orthanc as the PACS (without it, a small
storage SCP). Every image is a DX object of 10 MB, 2500 x 2048 with 12 bits, made of a published
radiograph. What is measured includes every sync.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil

from daemon.simulate import Form, Kind, Patient, Uids, make_object, to_bytes
from tests.harness import Orthanc, Pacs, Service, running, until, write_config

ROWS_2500 = 2500
COLUMNS = 2048
ROOT_UID = "1.2.826.0.1.3680043.10.88"
DEMO = Path("deploy") / "demo"


def radiographs(folder: Path, studies: int, images: int = 1) -> list[list[Path]]:
    """Write so many studies of so many objects; no two have the same pixels."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    noise = random.integers(0, 16, (ROWS_2500, COLUMNS), np.uint16)
    sources = [
        cv2.resize(
            cv2.imread(str(file), cv2.IMREAD_GRAYSCALE), (COLUMNS, ROWS_2500),
            interpolation=cv2.INTER_CUBIC,
        ).astype(np.uint16) * 16
        for file in sorted(DEMO.glob("*.png"))
    ]  # fmt: skip
    written = []
    for study in range(studies):
        files = []
        for number in range(images):
            grey = sources[study % len(sources)] + np.roll(noise, images * study + number)
            uid = f"{ROOT_UID}.{study + 1}"
            uids = Uids(study=uid, sop_instance=f"{uid}.1.{number + 1}")
            patient = Patient(id=f"B{study}", accession=f"B{study}")
            files.append(folder / f"{study:03}-{number}.dcm")
            one = make_object(np.minimum(grey, 4095), Form(Kind.DX, 12), patient, uids)
            files[-1].write_bytes(to_bytes(one))
        written.append(files)
    return written


def storescu(port: int, called: str, files: list[Path]) -> subprocess.Popen[bytes]:
    """Send files on one association, in PDUs as large as DCMTK can."""
    return subprocess.Popen(
        ["storescu", "--max-pdu", "131072", "-aec", called, "127.0.0.1", str(port),
         *map(str, files)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def sent_per_s(port: int, called: str, files: list[Path]) -> float:
    started = time.monotonic()
    assert storescu(port, called, files).wait(300) == 0
    return len(files) / (time.monotonic() - started)


@dataclass
class Watched:
    """A running service with an Orthanc behind it, its processes and what they cost."""

    service: Service
    pacs: Orthanc | Pacs
    processes: dict[str, psutil.Process] = field(default_factory=dict)
    started_with: dict[str, float] = field(default_factory=dict)
    memory: dict[str, float] = field(default_factory=dict)
    highest: dict[str, float] = field(default_factory=dict)

    def look(self) -> None:
        """Find the processes, and count their CPU seconds from now on."""
        assert self.service.process is not None
        supervisor = psutil.Process(self.service.process.pid)
        self.processes = {"supervisor": supervisor} | {
            child.name().removeprefix("hilum-"): child for child in supervisor.children()
        }
        if isinstance(self.pacs, Orthanc):
            assert self.pacs._process is not None
            self.processes["Orthanc"] = psutil.Process(self.pacs._process.pid)
        self.started_with = {name: _cpu_s(one) for name, one in self.processes.items()}

    def cpu_s(self) -> dict[str, float]:
        """CPU seconds of each process since `look`."""
        return {name: _cpu_s(one) - self.started_with[name] for name, one in self.processes.items()}

    def weigh(self) -> None:
        """Keep the largest memory of our processes together, MiB.

        `memory` counts what they share once, `highest` (each process's own peak of resident
        memory, VmHWM) once for each that shares it.
        """
        ours = {name: one.pid for name, one in self.processes.items() if name != "Orthanc"}
        now = {name: _mib(f"/proc/{pid}/smaps_rollup", "Pss") for name, pid in ours.items()}
        if sum(now.values()) > sum(self.memory.values()):
            self.memory = now
        self.highest = {name: _mib(f"/proc/{pid}/status", "VmHWM") for name, pid in ours.items()}

    def times(self, event: str) -> list[float]:
        """When the event was logged, UNIX seconds."""
        return [moment(record) for record in self.service.events(event)]

    def reported(self, studies: int) -> None:
        """Wait until the PACS has answered for so many reports."""
        until(lambda: len(self.service.events("report.stored")) >= studies, 300)


@contextmanager
def watched_service(folder: Path, quiet_s: float = 0.0) -> Iterator[Watched]:
    """A new service under `folder`, or that whose storage is there."""
    pacs = Orthanc(folder / "pacs") if Orthanc.installed() else Pacs()
    pacs.start()
    port = pacs.dicom_port if isinstance(pacs, Orthanc) else pacs.port
    config = write_config(
        folder / "service", port, report={"study_quiet_s": quiet_s}, pacs={"timeout_s": 30}
    )
    watched = Watched(Service(folder / "service", config), pacs)
    try:
        with running(watched.service):
            watched.look()
            yield watched
    finally:
        pacs.stop()


@contextmanager
def folder_in_build() -> Iterator[Path]:
    Path("build").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir="build") as name:
        yield Path(name).resolve()


def moment(record: dict[str, Any]) -> float:
    return datetime.fromisoformat(record["timestamp"]).timestamp()


def _mib(file: str, key: str) -> float:
    """A figure of /proc. Pss is the proportional set size: a page that n share counts 1/n."""
    lines = Path(file).read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:")) / 1024


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system

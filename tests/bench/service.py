"""The service as a hospital runs it: receiving, the whole way, start, memory, the queue, and load.

Real peers over TCP: DCMTK's storescu as the modality, Orthanc as the PACS (without it, a small
storage SCP). Every image is a DX object of 10 MB, 2500 x 2048 with 12 bits, made of a published
radiograph. What is measured includes every sync.
"""

from __future__ import annotations

import shutil
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
from pynetdicom import AE, build_context

from daemon.contexts import VERIFICATION
from daemon.simulate import Form, Kind, Patient, Uids, make_object, to_bytes
from storage.queue import Queue
from storage.sqlite import sqlite
from tests.harness import Orthanc, Pacs, Service, free_port, running, until, write_config
from tests.storing import arrival, open_storage

Measured = Iterator[tuple[str, float, str]]

RECEIVED = 40  # images to the listener alone
WAITS = 64  # images one after another through the idle service
WARM = 4  # of them not counted
STUDIES = 40  # of two images each, as fast as they go
OFFERED = (1.0, 2.0, 4.0, 8.0)  # images a second
LOAD_S = 10.0
ROWS = (1_000, 1_000_000)
CLAIMS = 60
ROWS_2500 = 2500
COLUMNS = 2048
ROOT_UID = "1.2.826.0.1.3680043.10.88"
DEMO = Path("deploy") / "demo"


# -- images ----------------------------------------------------------------------------------


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


def _storescu(port: int, called: str, files: list[Path]) -> subprocess.Popen[bytes]:
    """Send files on one association, in PDUs as large as DCMTK can."""
    return subprocess.Popen(
        ["storescu", "--max-pdu", "131072", "-aec", called, "127.0.0.1", str(port),
         *map(str, files)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def _sent_per_s(port: int, called: str, files: list[Path]) -> float:
    started = time.monotonic()
    assert _storescu(port, called, files).wait(300) == 0
    return len(files) / (time.monotonic() - started)


# -- a service under the eye -----------------------------------------------------------------


@dataclass
class Watched:
    """A running service with an Orthanc behind it, its processes and what they cost."""

    service: Service
    pacs: Orthanc | Pacs
    processes: dict[str, psutil.Process] = field(default_factory=dict)
    started_with: dict[str, float] = field(default_factory=dict)
    memory: dict[str, float] = field(default_factory=dict)

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
        """Keep the largest memory of our processes together, what they share counted once."""
        ours = {name: one for name, one in self.processes.items() if name != "Orthanc"}
        now = {name: _pss(one.pid) for name, one in ours.items()}
        if sum(now.values()) > sum(self.memory.values()):
            self.memory = now

    def times(self, event: str) -> list[float]:
        """When the event was logged, UNIX seconds."""
        return [_moment(record) for record in self.service.events(event)]

    def reported(self, studies: int) -> None:
        """Wait until the PACS has answered for so many reports."""
        until(lambda: len(self.service.events("report.stored")) >= studies, 300)


@contextmanager
def _watched(folder: Path, quiet_s: float = 0.0) -> Iterator[Watched]:
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
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="build") as name:
        yield Path(name).resolve()


def _moment(record: dict[str, Any]) -> float:
    return datetime.fromisoformat(record["timestamp"]).timestamp()


def _pss(pid: int) -> float:
    """Return the proportional set size in MiB: a page that n processes share counts 1/n."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


# -- receiving -------------------------------------------------------------------------------


def receiving() -> Measured:
    """Receive 10 MB images from storescu: ours with every sync, storescp and Orthanc with none."""
    with _folder() as folder:
        files = [file for study in radiographs(folder / "images", RECEIVED) for file in study]
        service = Service(folder / "ours", write_config(folder / "ours", None))
        with running(service, ready=False):
            # The workers wait: this measures receiving, not classifying
            watched = Watched(service, Pacs())
            watched.look()
            workers = [one for name, one in watched.processes.items() if name.startswith("worker")]
            for worker in workers:
                worker.suspend()
            ours = _sent_per_s(service.port, "HILUM", files)
            cpu_s = watched.cpu_s()["listener"]
            for worker in workers:
                worker.kill()
        yield "received, 10 MB each, synced", ours, "images/s"
        yield "CPU of the listener for each", 1000 * cpu_s / len(files), "ms"
        dcmtk = _storescp(folder, files)
        yield "received by DCMTK storescp, not synced", dcmtk, "images/s"
        yield "receiving against storescp", ours / dcmtk, "x"
        if Orthanc.installed():
            peer = Orthanc(folder / "orthanc").start()
            try:
                theirs = _sent_per_s(peer.dicom_port, "TESTPACS", files)
            finally:
                peer.stop()
            yield "received by Orthanc, not synced", theirs, "images/s"
            yield "receiving against Orthanc", ours / theirs, "x"


def _storescp(folder: Path, files: list[Path]) -> float:
    port = free_port()
    target = folder / "storescp"
    target.mkdir()
    process = subprocess.Popen(
        [shutil.which("storescp") or "storescp", "--max-pdu", "131072", "-od", str(target),
         str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        until(lambda: _echoes(port))
        return _sent_per_s(port, "ANY", files)
    finally:
        process.terminate()
        process.wait(10)


def _echoes(port: int) -> bool:
    asked = subprocess.run(["echoscu", "127.0.0.1", str(port)], capture_output=True, check=False)
    return asked.returncode == 0


# -- the whole way ---------------------------------------------------------------------------


def whole_way() -> Measured:
    """One image after another through the idle service, each reported at once; then the rush."""
    with _folder() as folder:
        studies = radiographs(folder / "images", WAITS)
        with _watched(folder / "idle") as watched:
            waits = []
            for number, files in enumerate(studies, 1):
                assert _storescu(watched.service.port, "HILUM", files).wait(60) == 0
                watched.reported(number)
                acknowledged = watched.times("instance.accepted")[number - 1]
                waits.append(1000 * (watched.times("report.stored")[number - 1] - acknowledged))
            idle = _idle(watched)
        waits = sorted(waits[WARM:])
        yield "acknowledgement to report, median", statistics.median(waits), "ms"
        yield "acknowledgement to report, p95", waits[int(0.95 * len(waits))], "ms"
        yield "acknowledgement to report, p99", waits[int(0.99 * len(waits))], "ms"
        yield "CPU of the idle service", 100 * idle, "% of a core"
    yield from sustained()


def sustained() -> Measured:
    """Two images a study (PA, and taken again), sent without a pause on one association.

    A study is reported when it has been quiet for 2 s: one report for its two images.
    """
    with _folder() as folder:
        studies = radiographs(folder / "images", STUDIES, 2)
        files = [file for study in studies for file in study]
        with _watched(folder / "rush", quiet_s=2.0) as watched:
            started = time.time()
            sender = _storescu(watched.service.port, "HILUM", files)
            while sender.poll() is None:
                time.sleep(0.5)
                watched.weigh()
            assert sender.returncode == 0
            watched.reported(len(studies))
            took_s = max(watched.times("report.stored")) - started
            cpu_s = watched.cpu_s()
    yield "whole way, 10 MB each, synced, sustained", len(files) / took_s, "images/s"
    ours_s = 0.0
    for name, seconds in cpu_s.items():
        yield f"CPU of the whole way for each, {name}", 1000 * seconds / len(files), "ms"
        ours_s += seconds * (name != "Orthanc")
    yield "CPU of the whole way for each, all of ours", 1000 * ours_s / len(files), "ms"
    for name, size in watched.memory.items():
        yield f"memory under load, {name}", size, "MiB"
    yield "memory under load, all processes", sum(watched.memory.values()), "MiB"


def _idle(watched: Watched, seconds: float = 5.0) -> float:
    """Return how many cores our processes take with nothing to do."""
    before = sum(used for name, used in watched.cpu_s().items() if name != "Orthanc")
    time.sleep(seconds)
    after = sum(used for name, used in watched.cpu_s().items() if name != "Orthanc")
    return (after - before) / seconds


# -- start -----------------------------------------------------------------------------------


def start() -> Measured:
    """From `hilum serve` to the first association that is accepted, and to the first worker."""
    with _folder() as folder:
        for storage in ("new", "known"):
            port = free_port()
            service = Service(folder, write_config(folder, None, dicom={"port": port}))
            waiting = ThreadPoolExecutor(1)
            started = time.monotonic()
            accepted = waiting.submit(_first_accepted, port)
            with running(service, ready=False):
                yield f"first association, {storage} storage", accepted.result() - started, "s"
                ready = _moment(service.saw("worker.ready", 60)) - time.time() + time.monotonic()
                yield f"first worker ready, {storage} storage", ready - started, "s"
                service.stop()


def _first_accepted(port: int) -> float:
    """Return when a peer accepted an association, on the monotonic clock."""
    until(lambda: _listens(port), 60, 0.005)  # cheaper than to try associations
    association = AE().associate(
        "127.0.0.1", port, contexts=[build_context(VERIFICATION)], ae_title="HILUM"
    )
    assert association.is_established
    accepted = time.monotonic()
    association.release()
    return accepted


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


# -- the queue -------------------------------------------------------------------------------


def queue() -> Measured:
    """Claims out of a thousand and out of a million rows, a tenth of them waiting."""
    took = {}
    with _folder() as folder:
        for rows in ROWS:
            root = folder / str(rows)
            open_storage(root).database.close()
            _fill(root / "hilum.db", rows)
            jobs = Queue(open_storage(root, migrate=False).database)
            times = []
            for _ in range(CLAIMS):
                started = time.perf_counter()
                assert jobs.claim("bench", 60, 1e9) is not None
                times.append(time.perf_counter() - started)
            took[rows] = 1000 * statistics.median(times)
            yield f"claim out of {rows:,} rows, synced", took[rows], "ms"
    yield "claim at a million rows against a thousand", took[ROWS[1]] / took[ROWS[0]], "x"


def _fill(path: Path, rows: int) -> None:
    like = arrival("1.1")
    with sqlite.connect(path) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.executemany(
            "INSERT INTO instance (id, sop_instance_uid, sop_class_uid, transfer_syntax_uid,"
            " sha256, size_bytes, calling_ae, called_ae, peer_address, received_at, contested,"
            " repeats) VALUES (?, ?, ?, ?, ?, 9, 'CR1', 'HILUM', '10.0.0.5', ?, 0, 0)",
            (
                (n, f"1.2.3.{n}", like.sop_class_uid, like.transfer_syntax_uid, f"{n:064}", n)
                for n in range(1, rows + 1)
            ),
        )
        connection.executemany(
            "INSERT INTO job (id, instance_id, state, received_at, not_before, attempts, token,"
            " changed_at) VALUES (?, ?, ?, ?, 0, 0, 0, 0)",
            ((n, n, "done" if n % 10 else "pending", n) for n in range(1, rows + 1)),
        )
    connection.close()


# -- load ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Load:
    """What the service does at a load: images a second, CPU seconds of ours for each, waits."""

    offered: float
    done: float
    cpu_s: float
    median_ms: float
    p95_ms: float


def cost_against_load() -> list[Load]:
    """Offer images at a steady pace, one a study, reported at once; measure the cost of each."""
    found = []
    with _folder() as folder:
        studies = radiographs(folder / "images", int(max(OFFERED) * LOAD_S))
        for offered in OFFERED:
            with _watched(folder / f"{offered:g}") as watched:
                found.append(_offer(watched, offered, studies[: int(offered * LOAD_S)]))
    return found


def _offer(watched: Watched, offered: float, studies: list[list[Path]]) -> Load:
    started, senders = time.time(), []
    for number, files in enumerate(studies):
        time.sleep(max(0.0, started + number / offered - time.time()))
        senders.append(_storescu(watched.service.port, "HILUM", files))
    for sender in senders:
        assert sender.wait(300) == 0
    watched.reported(len(studies))
    stored = {r["report"]: _moment(r) for r in watched.service.events("report.stored")}
    built = {r["study"]: r["report"] for r in watched.service.events("report.built")}
    waits = []
    for record in watched.service.events("instance.accepted"):
        study = record["sop_instance"].rsplit(".", 2)[0]
        waits.append(1000 * (stored[built[study]] - _moment(record)))
    ours_s = sum(used for name, used in watched.cpu_s().items() if name != "Orthanc")
    return Load(
        offered=offered,
        done=len(studies) / (max(stored.values()) - started),
        cpu_s=ours_s / len(studies),
        median_ms=statistics.median(waits),
        p95_ms=sorted(waits)[int(0.95 * len(waits))],
    )


def load() -> Measured:
    """`cost_against_load` as figures."""
    for one in cost_against_load():
        yield f"done at {one.offered:g} images/s offered", one.done, "images/s"
        yield f"CPU for each at {one.offered:g} images/s", 1000 * one.cpu_s, "ms"
        yield f"acknowledgement to report at {one.offered:g} images/s", one.median_ms, "ms"

"""The service as a hospital runs it: receiving, the whole way, memory, and the start."""

from __future__ import annotations

import shutil
import socket
import statistics
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pynetdicom import AE, build_context

from daemon.contexts import VERIFICATION
from tests.bench.timing import Measured
from tests.bench.watched import (
    Watched,
    folder_in_build,
    moment,
    radiographs,
    sent_per_s,
    storescu,
    watched_service,
)
from tests.harness import Orthanc, Pacs, Service, free_port, running, until, write_config

RECEIVED = 40  # images to the listener alone
WAITS = 64  # images one after another through the idle service
WARM = 4  # of them not counted
STUDIES = 40  # of two images each, as fast as they go


def receiving() -> Measured:
    """Receive 10 MB images from storescu: ours with every sync, storescp and Orthanc with none."""
    with folder_in_build() as folder:
        files = [file for study in radiographs(folder / "images", RECEIVED) for file in study]
        service = Service(folder / "ours", write_config(folder / "ours", None))
        with running(service, ready=False):
            # The workers wait: this measures receiving, not classifying
            watched = Watched(service, Pacs())
            watched.look()
            workers = [one for name, one in watched.processes.items() if name.startswith("worker")]
            for worker in workers:
                worker.suspend()
            ours = sent_per_s(service.port, "HILUM", files)
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
                theirs = sent_per_s(peer.dicom_port, "TESTPACS", files)
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
        return sent_per_s(port, "ANY", files)
    finally:
        process.terminate()
        process.wait(10)


def _echoes(port: int) -> bool:
    asked = subprocess.run(["echoscu", "127.0.0.1", str(port)], capture_output=True, check=False)
    return asked.returncode == 0


def whole_way() -> Measured:
    """One image after another through the idle service, each reported at once; then the rush."""
    with folder_in_build() as folder:
        studies = radiographs(folder / "images", WAITS)
        with watched_service(folder / "idle") as watched:
            waits = []
            for number, files in enumerate(studies, 1):
                assert storescu(watched.service.port, "HILUM", files).wait(60) == 0
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
    with folder_in_build() as folder:
        studies = radiographs(folder / "images", STUDIES, 2)
        files = [file for study in studies for file in study]
        with watched_service(folder / "rush", quiet_s=2.0) as watched:
            started = time.time()
            sender = storescu(watched.service.port, "HILUM", files)
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
        yield f"memory under load, {name}, shared pages by their part", size, "MiB"
        yield f"memory under load, {name}, peak of its own", watched.highest[name], "MiB"
    yield "memory under load, all processes", sum(watched.memory.values()), "MiB"
    shared_again = sum(watched.highest.values())
    yield "memory under load, all processes, shared pages counted again", shared_again, "MiB"


def _idle(watched: Watched, seconds: float = 5.0) -> float:
    """Return how many cores our processes take with nothing to do."""
    before = sum(used for name, used in watched.cpu_s().items() if name != "Orthanc")
    time.sleep(seconds)
    after = sum(used for name, used in watched.cpu_s().items() if name != "Orthanc")
    return (after - before) / seconds


def start() -> Measured:
    """From `hilum serve` to the first association that is accepted, and to the first worker."""
    with folder_in_build() as folder:
        for storage in ("new", "known"):
            port = free_port()
            service = Service(folder, write_config(folder, None, dicom={"port": port}))
            waiting = ThreadPoolExecutor(1)
            started = time.monotonic()
            accepted = waiting.submit(_first_accepted, port)
            with running(service, ready=False):
                yield f"first association, {storage} storage", accepted.result() - started, "s"
                ready = moment(service.saw("worker.ready", 60)) - time.time() + time.monotonic()
                yield f"first worker ready, {storage} storage", ready - started, "s"
                if storage == "known":
                    yield from _each_process(service)
                service.stop()


def _each_process(service: Service) -> Measured:
    """From each one's fork until it works, and what each takes at rest."""
    forked = {record["process"]: moment(record) for record in service.events("process.started")}
    for name, event in (("listener", "listener.listening"), ("worker-0", "worker.ready")):
        took_s = moment(service.saw(event)) - forked[name]
        yield f"start of {name}", took_s, "s"
    watched = Watched(service, Pacs())
    watched.look()
    watched.weigh()
    for name, size in watched.memory.items():
        yield f"memory at rest, {name}, shared pages by their part", size, "MiB"
    yield "memory at rest, all processes", sum(watched.memory.values()), "MiB"


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

"""Receiving, the whole way and the memory of the service, with real peers over TCP."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil

from daemon.simulate import Form, Kind, Patient, make_object, send, to_bytes
from tests.harness import Orthanc, Pacs, Service, free_port, running, until, write_config

IMAGES = 40
Measured = Iterator[tuple[str, float, str]]


def _large_objects(folder: Path) -> list[Path]:
    """Write DX objects of 10 MB, each with other pixels and in a study of its own."""
    rng = np.random.default_rng(0)
    rows, columns = 2500, 2048
    files = []
    for number in range(IMAGES):
        grey = rng.integers(0, 1 << 16, (rows // 50, columns // 32), np.uint16)
        grey = np.kron(grey, np.ones((50, 32), np.uint16))
        one = make_object(grey, Form(Kind.DX, 16), Patient(id=f"B{number}", accession=f"B{number}"))
        file = folder / f"{number:03}.dcm"
        file.write_bytes(to_bytes(one))
        files.append(file)
    return files


def _storescu(port: int, called: str, files: list[Path]) -> float:
    """Return images per second of one storescu on one association with large PDUs."""
    started = time.monotonic()
    subprocess.run(
        ["storescu", "--max-pdu", "131072", "-aec", called, "127.0.0.1", str(port),
         *map(str, files)],
        check=True, timeout=300, capture_output=True,
    )  # fmt: skip
    return len(files) / (time.monotonic() - started)


def receiving() -> Measured:
    """10 MB images from storescu: ours with every sync, storescp and Orthanc with none."""
    with tempfile.TemporaryDirectory(dir="build") as name:
        folder = Path(name).resolve()
        (folder / "images").mkdir()
        files = _large_objects(folder / "images")
        service = Service(folder / "ours", write_config(folder / "ours", None))
        with running(service, ready=False):
            # The workers wait: this measures receiving, not classifying
            workers = [
                child
                for child in psutil.Process(service.process.pid).children()
                if "daemon.worker" in " ".join(child.cmdline())
            ]
            for worker in workers:
                worker.suspend()
            ours = _storescu(service.port, "HILUM", files)
            for worker in workers:
                worker.kill()
        yield "received, 10 MB each, synced", ours, "images/s"
        dcmtk = _storescp(folder, files)
        yield "received by DCMTK storescp, not synced", dcmtk, "images/s"
        yield "receiving against storescp", ours / dcmtk, "x"
        if Orthanc.installed():
            peer = Orthanc(folder / "orthanc").start()
            try:
                theirs = _storescu(peer.dicom_port, "TESTPACS", files)
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
        return _storescu(port, "ANY", files)
    finally:
        process.terminate()
        process.wait(10)


def _echoes(port: int) -> bool:
    asked = subprocess.run(["echoscu", "127.0.0.1", str(port)], capture_output=True, check=False)
    return asked.returncode == 0


def whole_way() -> Measured:
    """One image after another through an idle service, from 0000H to the PACS's 0000H."""
    pacs = Pacs().start()
    demo = sorted((Path("deploy") / "demo").glob("*.png"))
    with tempfile.TemporaryDirectory(dir="build") as name:
        folder = Path(name).resolve()
        service = Service(folder, write_config(folder, pacs.port))
        waits = []
        with running(service):
            for number in range(36):
                image = make_object(
                    demo[number % len(demo)], Form(Kind.DX, 12),
                    Patient(id=f"W{number}", accession=f"W{number}"),
                )  # fmt: skip
                have = len(pacs.stored)
                send([image], "127.0.0.1", service.port, "BENCH", "HILUM")
                acknowledged = time.monotonic()
                until(lambda have=have: len(pacs.stored) > have, 30, 0.001)
                waits.append(time.monotonic() - acknowledged)
            memory = _memory(service)
    pacs.stop()
    waits = sorted(waits[3:])
    yield "acknowledgement to report, median", 1000 * statistics.median(waits), "ms"
    yield "acknowledgement to report, p95", 1000 * waits[int(0.95 * len(waits))], "ms"
    yield "acknowledgement to report, slowest", 1000 * waits[-1], "ms"
    for role, peak in memory.items():
        yield f"peak memory, {role}", peak, "MiB"
    yield "peak memory, all processes", sum(memory.values()), "MiB"


def _memory(service: Service) -> dict[str, float]:
    assert service.process is not None
    supervisor = psutil.Process(service.process.pid)
    peaks = {"supervisor": _peak(supervisor.pid)}
    for child in supervisor.children():
        role = next(part for part in child.cmdline() if part.startswith("daemon."))
        peaks[role.removeprefix("daemon.")] = _peak(child.pid)
    return peaks


def _peak(pid: int) -> float:
    """Return the high-water mark of resident memory in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise ProcessLookupError(os.strerror(3))

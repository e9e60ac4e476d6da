"""The whole service on a disk that is full, and on one that fails to sync."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from daemon.errors import PeerUnreachable
from daemon.simulate import Form, Kind, make_object, send
from storage.database import open_database
from storage.queue import Queue
from tests import soak
from tests.harness import Pacs, Service, running, until, write_config

pytestmark = pytest.mark.slow

DISK_MB = 160  # with room for the model's bundle, which is copied in
LEFT_MB = 9  # by the ballast, 3 of them the reserve


def deliver(service: Service, image: Dataset) -> int | None:
    """Send an image; return the answer, None where there was none."""
    try:
        (one,) = send([image], "127.0.0.1", service.port, "CR1", "HILUM", timeout_s=10)
    except PeerUnreachable:
        return None
    return one.status


def test_a_full_disk_is_answered_a700_and_taken_from_again_when_there_is_space(
    tmp_path: Path, pacs: Pacs, demo_images: list[Path]
) -> None:
    """A small tmpfs in a mount namespace; everything acknowledged is reported in the end."""
    root = tmp_path / "root"
    root.mkdir()
    mount = f'mount -t tmpfs -o size={DISK_MB}m none "$0" && exec "$@"'
    inside = ("unshare", "-rm", "sh", "-c", mount, str(root))
    able = shutil.which("unshare") and subprocess.run([*inside, "true"], check=False)
    if not able or able.returncode != 0:
        pytest.skip("this system lets no one make a mount namespace")
    config = write_config(
        tmp_path, pacs.port, storage={"reserve_bytes": 3 << 20}, report={"heat_map": "none"}
    )
    service = Service(tmp_path, config, within=inside)
    with running(service):
        assert service.process is not None
        ballast = Path(f"/proc/{service.process.pid}/root{root}/ballast")
        figures = os.statvfs(ballast.parent)
        ballast.write_bytes(bytes(figures.f_bavail * figures.f_frsize - (LEFT_MB << 20)))
        taken, answers = [], []
        for number in range(3 * LEFT_MB):
            image = make_object(demo_images[number % 12], Form(Kind.CR, 12))
            answers.append(deliver(service, image))
            if answers[-1] != 0x0000:
                break
            taken.append(str(image.StudyInstanceUID))
        assert answers[-1] == 0xA700
        assert len(taken) >= 2
        assert deliver(service, image) == 0xA700
        ballast.unlink()
        began = time.monotonic()
        until(lambda: deliver(service, image) == 0x0000, 10)
        took = time.monotonic() - began
        taken.append(str(image.StudyInstanceUID))
        until(lambda: {str(one.StudyInstanceUID) for one in pacs.stored} >= {*taken}, 60)
        assert not service.events("process.died")
    seen = f"{len(taken)} taken and reported, then A700H; taken again after {took:.1f} s"
    soak.record(soak.DISK_FULL, tried=len(answers), seen=seen, limit="10 s", good=took < 10)


@pytest.mark.parametrize(
    "at", [1, pytest.param(2, marks=pytest.mark.soak), pytest.param(3, marks=pytest.mark.soak)]
)
def test_a_sync_that_fails_is_never_acknowledged_and_ends_the_listener(
    tmp_path: Path, pacs: Pacs, demo_images: list[Path], at: int
) -> None:
    """EIO from the system at the file's fsync, its folder's, and the database's."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    service = Service(tmp_path, write_config(tmp_path, pacs.port))
    with running(service):
        pid = next(
            r["pid"] for r in service.events("process.started") if r["process"] == "listener"
        )
        log = tmp_path / "strace"
        command = ["strace", "-f", "-ttt", "-o", str(log), "-p", str(pid)]
        command += ["-e", "trace=fsync,fdatasync,sendto,exit_group"]
        command += ["-e", f"inject=fsync,fdatasync:error=EIO:when={at}+"]
        tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert tracer.stderr is not None
        if "attached" not in tracer.stderr.readline():
            pytest.skip("strace may not trace here")
        image = make_object(demo_images[0], Form(Kind.CR, 12))
        assert deliver(service, image) != 0x0000
        tracer.wait(20)
        lines = log.read_text().splitlines()
        failed = next(_at(line) for line in lines if "INJECTED" in line)
        ended = next(_at(line) for line in lines if "+++ exited with 70" in line)
        service.saw("listener.listening", 30, count=2)  # a new process, which takes it
        service.port = service.events("listener.listening")[-1]["port"]
        until(lambda: deliver(service, image) == 0x0000, 20)
        database = open_database(f"sqlite:///{tmp_path}/root/hilum.sqlite")
        (row,) = Queue(database).rows()
        assert row.sop_instance_uid == str(image.SOPInstanceUID)
        database.close()
    took = ended - failed
    seen = f"not acknowledged; the process ended after {1000 * took:.0f} ms"
    soak.record(soak.SYNC, tried=1, seen=seen, limit="1 s", good=took < 1.0)


def _at(line: str) -> float:
    found = re.match(r"\d+ +(\d+\.\d+)", line)
    assert found is not None, line
    return float(found.group(1))

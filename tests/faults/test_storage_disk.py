"""A disk that is full, and a disk that fails to sync."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.faults.storage_victim import IMAGES
from tests.storing import open_storage

REPOSITORY = Path(__file__).parents[2]
VICTIM = [sys.executable, "-m", "tests.faults.storage_victim"]

pytestmark = pytest.mark.slow


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=120
    )


def test_a_full_disk_refuses_and_accepts_again_when_there_is_space(tmp_path: Path) -> None:
    """A tmpfs of 2 MiB in a mount namespace of its own."""
    mount = 'mount -t tmpfs -o size=2m none "$0" && exec "$@"'
    inside = ("unshare", "-rm", "sh", "-c", mount, str(tmp_path))
    if shutil.which("unshare") is None or run(*inside, "true").returncode != 0:
        pytest.skip("this system lets no one make a mount namespace")
    done = run(*inside, *VICTIM, "fill", str(tmp_path))

    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert said[-1] == "sound"
    refused = said.index("refused 4")  # once at each size, the smallest meeting a full database
    assert refused > 5
    assert said[refused + 1].startswith("acknowledged")


@pytest.mark.parametrize("call", ["fsync", "fdatasync"])
def test_a_failed_sync_is_never_acknowledged(tmp_path: Path, call: str) -> None:
    """EIO from the operating system: at fsync for our files, at fdatasync for SQLite's."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    trace = ("strace", "-f", "-qq", "-o", str(tmp_path / "log"), "-e")
    whole = tmp_path / "whole"
    if run(*trace, f"trace={call}", *VICTIM, "life", str(whole)).returncode != 0:
        pytest.skip("strace may not trace here")
    calls = (tmp_path / "log").read_text().count(f"{call}(")

    for at in (calls // 4, calls // 2, calls * 3 // 4):
        root = tmp_path / str(at)
        started = time.monotonic()
        inject = f"inject={call}:error=EIO:when={at}"
        done = run(*trace, inject, *VICTIM, "life", str(root))
        assert done.returncode == 3, (at, done.stdout, done.stderr)
        assert time.monotonic() - started < 60

        storage = open_storage(root)
        kept = {row.sop_instance_uid: row for row in storage.queue.rows()}
        said = [line.split() for line in done.stdout.splitlines()]
        for _, uid in [line for line in said if line[0] == "acknowledged"]:
            assert storage.objects.read(kept[uid].sha256) == uid.encode() * 3000
        storage.database.close()
        assert run(*VICTIM, "life", str(root)).returncode == 0
        storage = open_storage(root)
        assert {row.sop_instance_uid for row in storage.queue.rows()} == set(IMAGES)
        assert storage.queue.depth() == 0
        storage.database.close()

"""A disk that is full, and a disk that fails to sync."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from storage.records import JobState
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
    """EIO from the operating system: at fsync for our files, at either for SQLite's."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    log = tmp_path / "log"
    trace = ("strace", "-f", "-qq", "-y", "-o", str(log), "-e")
    if run(*trace, f"trace={call}", *VICTIM, "life", str(tmp_path / "whole")).returncode != 0:
        pytest.skip("strace may not trace here")
    calls = log.read_text().count(f"{call}(")

    if calls == 0:
        pytest.skip("this SQLite syncs by fsync alone")

    # A commit of SQLite syncs its log; or its journal twice, its folder, its file, and its journal.
    for at in range(calls // 2, calls // 2 + 5):
        root = tmp_path / str(at)
        done = run(*trace, f"inject={call}:error=EIO:when={at}", *VICTIM, "life", str(root))
        (failed,) = [line for line in log.read_text().splitlines() if "INJECTED" in line]
        # SQLite lets a folder's sync fail; the journal's entry there has long been synced.
        harmless = call == "fdatasync" and f"<{root}>" in failed
        assert done.returncode == (0 if harmless else 3), (failed, done.stdout, done.stderr)

        storage = open_storage(root)
        kept = {row.sop_instance_uid: row for row in storage.queue.rows()}
        said = [line.split() for line in done.stdout.splitlines()]
        for _, uid in [line for line in said if line[0] == "acknowledged"]:
            assert storage.objects.read(kept[uid].sha256) == uid.encode() * 3000
        storage.database.close()
        assert run(*VICTIM, "life", str(root)).returncode == 0
        storage = open_storage(root)
        assert {row.sop_instance_uid for row in storage.queue.rows()} == set(IMAGES)
        assert {row.state for row in storage.queue.rows()} == {JobState.DONE}
        storage.database.close()

"""A run that meets a full disk says so, leaves nothing behind, and the service goes on."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.loop import small_bundle

REPOSITORY = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


@pytest.mark.timeout(900)
def test_a_run_on_a_full_disk_fails_by_name_and_the_next_one_does_not(tmp_path: Path) -> None:
    """A tmpfs in a mount namespace of its own."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = 'mount -t tmpfs -o size=160m none "$0" && exec "$@"'
    inside = ("unshare", "-rm", "sh", "-c", mount, str(disk))
    if shutil.which("unshare") is None or _run(*inside, "true").returncode != 0:
        pytest.skip("this system lets no one make a mount namespace")
    bundle = small_bundle(tmp_path / "bundle")
    victim = (sys.executable, "-m", "tests.faults.loop_disk_victim", str(disk), str(bundle))
    done = _run(*inside, *victim)
    assert done.returncode == 0, done.stderr[-3000:]
    full, *rest = done.stdout.splitlines()
    assert full.startswith("failed: ")
    assert "No space left on device" in full
    assert rest == [
        "1 acknowledged", "reported while the disk is full", "1 bundle", "done: a candidate",
        "2 bundles", "died: []",
    ]  # fmt: skip


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=880
    )

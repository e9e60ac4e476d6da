"""A training that is killed goes on where it was; one that meets a full disk leaves no bundle."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from classifier.bundle import load_bundle

REPOSITORY = Path(__file__).parents[2]
DEMO = REPOSITORY / "deploy" / "demo"

pytestmark = pytest.mark.slow


def victim(out: Path, largest_file: int = 0) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.faults.training_victim", str(DEMO), str(out),
         str(largest_file)],
        cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip


@pytest.mark.soak
def test_a_killed_training_gives_the_same_weights(tmp_path: Path) -> None:
    """kill -9 after the fourth epoch of the second member, then the same command again."""
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    with victim(whole) as process:
        assert process.wait(150) == 0
    with victim(torn) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("member 2 of 2: epoch 4"):
                process.send_signal(signal.SIGKILL)
                break
        assert process.wait(60) == -signal.SIGKILL
    assert not torn.exists()
    with victim(torn) as process:
        said = process.communicate(timeout=150)[0].splitlines()
        assert process.returncode == 0
    assert "member 1 of 2: resumed after epoch 6" in said
    assert any(f"member 2 of 2: resumed after epoch {epoch}" in said for epoch in (3, 4))
    assert not any("epoch 1 of 6" in line for line in said)
    assert load_bundle(torn).manifest.files == load_bundle(whole).manifest.files
    assert not list(tmp_path.rglob("fit-*"))


@pytest.mark.parametrize("largest_file", [50_000, 300_000])
def test_a_full_disk_is_named_and_leaves_no_bundle(tmp_path: Path, largest_file: int) -> None:
    """The disk ends within the features, or within the first checkpoint."""
    with victim(tmp_path / "out", largest_file) as process:
        said = process.communicate(timeout=150)[0].splitlines()
    assert process.returncode == 1
    assert said[-1].startswith("CacheFailed: The ")
    assert "cannot be kept" in said[-1]
    assert not (tmp_path / "out").exists()

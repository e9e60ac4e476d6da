"""From a bare Debian to a first report: the installer as root in a debootstrap folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import Pacs, until

ROOT = Path(__file__).parents[2]
WITHIN_S = 300.0
CONFIG = """
[dicom]
bind = "127.0.0.1"
port = 11912
[storage]
root = "/var/lib/hilum"
[report]
study_quiet_s = 0
[web]
port = 0
[[pacs]]
name = "test"
ae_title = "TESTPACS"
host = "127.0.0.1"
port = {port}
"""

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def wheelhouse() -> Path:
    subprocess.run(["make", "wheelhouse"], cwd=ROOT, check=True, timeout=900)
    return ROOT / "build" / "wheelhouse"


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Path]:
    """A Debian with nothing but what every Debian has, which sees our network."""
    if os.getuid() != 0 or shutil.which("debootstrap") is None:
        pytest.skip("needs root, and Debian's debootstrap")
    folder = tmp_path / "bare"
    made = subprocess.run(
        ["debootstrap", "--variant=minbase", "bookworm", str(folder)],
        capture_output=True, text=True, check=False, timeout=900,
    )  # fmt: skip
    assert made.returncode == 0, made.stdout[-500:]
    shutil.copy("/etc/resolv.conf", folder / "etc" / "resolv.conf")
    subprocess.run(["mount", "-t", "proc", "proc", folder / "proc"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder / "dev" / "shm"], check=True)
    yield folder
    subprocess.run(["umount", folder / "proc", folder / "dev" / "shm"], check=True)


def inside(bare: Path, *command: str, stdin: str = "") -> str:
    done = subprocess.run(
        ["chroot", str(bare), *command], input=stdin,
        capture_output=True, text=True, check=False, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout


def test_from_bare_debian_to_a_first_report_in_five_minutes(bare: Path, wheelhouse: Path) -> None:
    shutil.copytree(wheelhouse, bare / "wheels")
    shutil.copytree(ROOT / "deploy" / "demo", bare / "demo")
    pacs = Pacs().start()
    (bare / "etc/hilum").mkdir()
    (bare / "etc/hilum/hilum.toml").write_text(CONFIG.format(port=pacs.port))
    began = time.monotonic()
    inside(bare, "apt-get", "-qq", "update")
    inside(bare, "apt-get", "-qq", "install", "--yes", "--no-install-recommends",
           "python3", "python3-venv")  # fmt: skip
    packages_s = time.monotonic() - began
    said = inside(bare, "sh", "/wheels/install.sh", "--admin", "ann", stdin="a long password 1\n")
    installed_s = time.monotonic() - began
    command = ["/usr/local/bin/hilum", "serve", "--config", "/etc/hilum/hilum.toml"]
    service = subprocess.Popen(
        ["chroot", "--userspec=hilum:hilum", str(bare), *command],
        stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        time.sleep(2)
        image = "/demo/00000022_000.png"
        inside(bare, "/usr/local/bin/hilum", "simulate", image, "--port", "11912")
        until(lambda: pacs.stored, 60)
        took_s = time.monotonic() - began
    finally:
        service.terminate()
        service.wait(20)
        pacs.stop()
    print(f"packages {packages_s:.0f} s, installed {installed_s:.0f} s, report {took_s:.0f} s")
    assert "step" not in said
    assert "ann may sign in as administrator" in said
    assert (bare / "var/lib/hilum/hilum.sqlite").stat().st_uid != 0
    assert took_s < WITHIN_S

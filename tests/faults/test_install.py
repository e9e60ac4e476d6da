"""The installer under a folder of its own: install, upgrade, kill, roll back, uninstall.

The wheel is built and installed for real; the dependencies are those of the test's environment,
which are the locked ones, so that no minute goes into unpacking them again.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NEXT = "9.9.9"
STEPS = ("stopping", "switching", "migrating", "starting")
BREAKS = """#!{python}
import sqlite3
one = sqlite3.connect("{database}")
one.execute("UPDATE alembic_version SET version_num = '9999'")
one.commit()
raise SystemExit("no")
"""

pytestmark = pytest.mark.sqlite


@dataclass
class Machine:
    """A folder that the installer takes for the machine, and a service manager with a book."""

    root: Path
    wheels: dict[str, Path]

    @property
    def book(self) -> Path:
        return self.root.parent / "book"

    def command(self, wheels: str, *arguments: str) -> list[str]:
        manager = self.root.parent / "manager"
        manager.write_text(f'#!/bin/sh\necho "$1" >>{self.book}\n')
        manager.chmod(0o755)
        given = ["--root", str(self.root), "--service", str(manager)]
        if not arguments or arguments[0] == "--admin":
            given += ["--wheels", str(self.wheels[wheels]), "--python", sys.executable,
                      "--packages", sys.prefix]  # fmt: skip
        return ["sh", str(ROOT / "deploy" / "install.sh"), *arguments, *given]

    def run(
        self, wheels: str, *arguments: str, stdin: str = "", good: bool = True
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self.command(wheels, *arguments), input=stdin,
            capture_output=True, text=True, check=False, timeout=150,
        )  # fmt: skip
        assert (done.returncode == 0) == good, done.stdout + done.stderr
        return done

    def killed_at(self, step: str, wheels: str) -> None:
        """Run the upgrade, and kill it and what it runs as soon as it says that it is there."""
        run = subprocess.Popen(
            self.command(wheels), stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        assert run.stdout is not None
        for line in run.stdout:
            if line == f"hilum: step: {step}\n":
                os.killpg(run.pid, signal.SIGKILL)
                break
        assert run.wait(20) == -signal.SIGKILL

    def current(self) -> str:
        return (self.root / "opt/hilum/current").readlink().name

    def logins(self) -> list[str]:
        database = sqlite3.connect(self.root / "var/lib/hilum/hilum.sqlite")
        try:
            return [row[0] for row in database.execute("SELECT login FROM account")]
        finally:
            database.close()


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Our wheel, and the same as a later version, each in a folder."""
    folder = tmp_path_factory.mktemp("wheels")
    source = folder / "source"
    for name in ("daemon", "classifier", "storage", "training", "deploy"):
        shutil.copytree(ROOT / name, source / name,
                        ignore=shutil.ignore_patterns("node_modules", "__pycache__"))  # fmt: skip
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--quiet", "wheel", "--no-deps", "--no-index",
           "--no-build-isolation", "--wheel-dir", str(folder / "now"), str(source)]  # fmt: skip
    subprocess.run(pip, check=True, capture_output=True, timeout=120)
    [wheel] = (folder / "now").iterdir()
    version = wheel.name.split("-")[1]
    (folder / "next").mkdir()
    later = folder / "next" / wheel.name.replace(version, NEXT)
    with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(later, "w") as new:
        for entry in old.namelist():
            data = old.read(entry)
            if entry.endswith(("METADATA", "RECORD")):
                data = data.replace(f"Version: {version}".encode(), f"Version: {NEXT}".encode())
                data = data.replace(f"hilum-{version}".encode(), f"hilum-{NEXT}".encode())
            new.writestr(entry.replace(f"hilum-{version}", f"hilum-{NEXT}"), data)
    return {version: folder / "now", "next": folder / "next"}


@pytest.fixture(scope="module")
def first(wheels: dict[str, Path]) -> str:
    return next(iter(wheels))


@pytest.fixture(scope="module")
def machine(
    tmp_path_factory: pytest.TempPathFactory, wheels: dict[str, Path], first: str
) -> Machine:
    """A machine on which the first version was installed, with an account."""
    made = Machine(tmp_path_factory.mktemp("machine") / "root", wheels)
    said = made.run(first, "--admin", "ann", stdin="a long password 1\n").stdout
    assert f"version {first} is installed" in said
    return made


def test_the_wheel_holds_all_it_needs(wheels: dict[str, Path], first: str) -> None:
    [wheel] = wheels[first].iterdir()
    held = set(zipfile.ZipFile(wheel).namelist())
    listed = subprocess.run(
        ["git", "ls-files", "daemon", "classifier", "storage", "training"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    needed = {one for one in listed if not one.startswith("daemon/web/frontend/")}
    assert len(needed) > 200
    assert needed - held == set()
    shared = {Path(one).name for one in held if ".data/data/share/hilum/" in one}
    assert shared == {"runtime.txt", "install.sh", "hilum.service"}


def test_installed_it_has_settings_folders_unit_command_and_account(
    machine: Machine, first: str
) -> None:
    root = machine.root
    assert machine.current() == first
    assert machine.logins() == ["ann"]
    assert (root / "var/lib/hilum").stat().st_mode & 0o777 == 0o700
    assert "Type=notify" in (root / "etc/systemd/system/hilum.service").read_text()
    said = subprocess.run(
        [root / "usr/local/bin/hilum", "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert "serve" in said
    config = root / "etc/hilum/hilum.toml"
    config.write_text(config.read_text() + "# ours\n")
    assert "is in place" in machine.run(first).stdout
    assert config.read_text().endswith("# ours\n")


def upgrade_after_a_kill(machine: Machine, steps: Sequence[str], first: str) -> None:
    for step in steps:
        machine.killed_at(step, "next")
        assert (machine.root / "opt/hilum/upgrade").exists()
        said = machine.run("next").stdout
        assert f"broken off at: {step}" in said
        assert (machine.current(), machine.logins()) == (NEXT, ["ann"])
        assert not (machine.root / "opt/hilum/upgrade").exists()
        assert machine.book.read_text().splitlines()[-1] == "start"
        machine.run(first, "rollback")
        assert (machine.current(), machine.logins()) == (first, ["ann"])


def test_an_upgrade_killed_at_its_switch_is_undone_and_done_by_the_next_run(
    machine: Machine, first: str
) -> None:
    upgrade_after_a_kill(machine, ["switching"], first)


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_an_upgrade_killed_at_any_step_is_undone_or_finished_by_the_next_run(
    machine: Machine, first: str
) -> None:
    upgrade_after_a_kill(machine, STEPS, first)


@pytest.mark.soak
def test_a_new_version_that_does_not_start_gives_way_to_the_old_one_and_its_database(
    machine: Machine, first: str
) -> None:
    """The new one breaks the schema for the old one before it fails."""
    machine.run("next")
    machine.run(first, "rollback")
    database = machine.root / "var/lib/hilum/hilum.sqlite"
    release = machine.root / "opt/hilum/releases" / NEXT
    real = (release / "bin/hilum").read_text()
    (release / "bin/hilum").write_text(BREAKS.format(python=sys.executable, database=str(database)))
    try:
        failed = machine.run("next", good=False)
    finally:
        (release / "bin/hilum").write_text(real)
    assert f"version {NEXT} cannot open the database" in failed.stderr
    assert (machine.current(), machine.logins()) == (first, ["ann"])
    assert list(database.parent.glob("hilum.sqlite.of-9.9.9.*"))  # nothing is thrown away
    assert "is in place" in machine.run(first).stdout


@pytest.mark.soak
def test_a_rollback_over_a_changed_schema_needs_to_be_told_to_restore(
    machine: Machine, first: str
) -> None:
    machine.run("next")
    database = sqlite3.connect(machine.root / "var/lib/hilum/hilum.sqlite")
    database.execute("UPDATE alembic_version SET version_num = '9999'")
    database.commit()
    database.close()
    refused = machine.run(first, "rollback", good=False)
    assert "rollback --restore puts back" in refused.stderr
    assert machine.current() == NEXT
    assert machine.book.read_text().splitlines()[-1] == "start"
    machine.run(first, "rollback", "--restore")
    assert (machine.current(), machine.logins()) == (first, ["ann"])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--python", "/nowhere/python3"], "Python 3.11 or later is missing"),
        (["--wheels", "/nowhere"], "/nowhere is no folder"),
        (["--colour"], '"--colour" is no option'),
        (["--wheels"], "--wheels needs a value"),
        (["rollback"], "is not installed"),
    ],
)
def test_what_is_missing_or_wrong_is_said_in_one_line(
    tmp_path: Path, arguments: list[str], says: str
) -> None:
    script = str(ROOT / "deploy" / "install.sh")
    where = [*arguments[:1], "--root", str(tmp_path), *arguments[1:]]
    if arguments[0].startswith("--"):
        where = ["--root", str(tmp_path), *arguments]
    done = subprocess.run(["sh", script, *where], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_script_is_posix_and_the_unit_is_well_formed_and_closed(tmp_path: Path) -> None:
    if shutil.which("shellcheck"):
        subprocess.run(["shellcheck", ROOT / "deploy" / "install.sh"], check=True)
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd is not here")
    unit = tmp_path / "hilum.service"
    text = (ROOT / "deploy/systemd/hilum.service").read_text()
    unit.write_text(re.sub(r"(?m)^ExecStart=\S+", "ExecStart=/bin/true", text))
    checked = subprocess.run(
        ["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stderr) == (0, "")
    rated = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=20", unit],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert rated.returncode == 0, rated.stdout[-300:]


def test_z_uninstalled_it_keeps_the_data_and_purged_it_keeps_nothing(
    machine: Machine, first: str
) -> None:
    machine.run(first, "uninstall")
    assert not (machine.root / "opt/hilum").exists()
    assert machine.logins() == ["ann"]
    machine.run(first, "uninstall", "--purge")
    assert not (machine.root / "var/lib/hilum").exists()
    assert not (machine.root / "etc/hilum").exists()

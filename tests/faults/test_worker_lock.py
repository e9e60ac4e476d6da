"""A worker that hangs amid a commit holds the lock that everybody needs: it is killed for it."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from daemon import recovery, supervisor
from daemon.settings import load
from daemon.supervisor import FORK, Supervisor
from storage.database import Database, open_database
from storage.errors import DatabaseBusy
from storage.queue import Queue
from storage.sqlite import sqlite
from tests.harness import until, write_config
from tests.storing import arrival


def impatient(url: str) -> Database:
    return open_database(url, busy_timeout_s=0.1)


def hang(file: Path) -> None:
    """Begin what a commit does, and never end it."""
    connection = sqlite.connect(file, isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    while True:
        time.sleep(60)


@pytest.mark.parametrize(("locked_s", "ends"), [(0.0, True), (1e9, False)])
def test_a_worker_that_hangs_amid_a_commit_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, locked_s: float, ends: bool
) -> None:
    """With the guard off (an endless time) the lock stays."""
    monkeypatch.setattr(supervisor, "LOCKED_S", locked_s)
    monkeypatch.setattr(recovery, "open_database", impatient)
    settings = load(write_config(tmp_path, None))
    url, file = settings.storage.url, settings.storage.root / "hilum.sqlite"
    settings.storage.root.mkdir()
    database = impatient(url)
    database.migrate(tmp_path / "backups")
    database.close()
    parent = Supervisor(settings)
    (worker,) = [child for child in parent._children if child.role == "worker"]
    worker.running = FORK.Process(target=hang, args=(file,))
    worker.running.start()
    try:
        until(lambda: _is_locked(database), 20)
        parent._check_leases()
        parent._check_leases()
        assert worker.running.exitcode == (-signal.SIGKILL if ends else None)
        assert _is_locked(database) is not ends
    finally:
        worker.running.kill()
        worker.running.join()
        database.close()


def _is_locked(database: Database) -> bool:
    try:
        Queue(database).accept(arrival("1.2"))
    except DatabaseBusy:
        return True
    return False

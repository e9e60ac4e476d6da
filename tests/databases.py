"""The database that a test works on: SQLite, or a real PostgreSQL where the run asks for one.

`HILUM_TEST_DATABASE=postgresql` runs the same tests on PostgreSQL: one server for the whole run,
one database for each file that SQLite would have had.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import sqlalchemy as sa

from daemon.demo_peers import free_port
from storage.database import open_database

POSTGRESQL = os.environ.get("HILUM_TEST_DATABASE") == "postgresql"
BINARIES = Path("/usr/lib/postgresql")


class Server:
    """A PostgreSQL server of our own in a temporary folder, on the loopback."""

    def __init__(self, *options: str, on: tuple[str, ...] = (), address: str = "127.0.0.1") -> None:
        """`on`: what runs a command in the server's own network, where `address` is its."""
        self.folder = Path(tempfile.mkdtemp(prefix="hilum-postgresql-"))
        self._options, self._on, self.address = options, on, address
        self._binaries = max(BINARIES.glob("*/bin"), key=lambda path: int(path.parent.name))
        self._as: tuple[str, ...] = ()
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            self.folder.chmod(0o755)
            shutil.chown(self.folder, "postgres", "postgres")
            self._as = ("runuser", "-u", "postgres", "--")
        self.data = self.folder / "data"
        self._run("initdb", "-D", str(self.data), "-U", "hilum", "-A", "trust", "-E", "UTF8",
                  "--no-locale", "--no-sync")  # fmt: skip
        with (self.data / "pg_hba.conf").open("a") as rules:
            rules.write("host all all 10.77.0.0/24 trust\n")
        self.port = 0
        self.start()

    def start(self) -> None:
        """Start the server, at its port if it had one, and wait until it answers."""
        self.port = self.port or free_port()
        given = [f"-p {self.port}", f"-c listen_addresses={self.address}",
                 f"-c unix_socket_directories={self.folder}", *self._options]  # fmt: skip
        self._run("pg_ctl", "-D", str(self.data), "-w", "-t", "60", "-o", " ".join(given),
                  "-l", str(self.folder / "log"), "start")  # fmt: skip

    def stop(self, mode: str = "fast") -> None:
        """Stop the server: "fast" as an administrator does, "immediate" as a crash does."""
        self._run("pg_ctl", "-D", str(self.data), "-w", "-m", mode, "stop")

    def remove(self) -> None:
        """Stop the server if it runs, and delete all of it."""
        if (self.data / "postmaster.pid").exists():
            self.stop("immediate")
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, database: str = "postgres") -> str:
        """Return the SQLAlchemy URL of a database."""
        return f"postgresql+pg8000://hilum@{self.address}:{self.port}/{database}"

    def execute(self, statement: str) -> None:
        """Run a statement outside any transaction, in the database `postgres`."""
        engine = sa.create_engine(self.url(), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(sa.text(statement))
        engine.dispose()

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [*self._on, *self._as, str(self._binaries / program), *arguments],
            check=True, stdout=subprocess.DEVNULL, cwd="/", timeout=90,
        )  # fmt: skip


@cache
def server() -> Server:
    """Return the server of this run, started when first asked for; it does not survive a crash."""
    one = Server("-c fsync=off", "-c max_connections=300")
    atexit.register(one.remove)
    one.execute("CREATE DATABASE empty")
    one.execute("CREATE DATABASE migrated")
    database = open_database(one.url("migrated"))
    database.migrate(one.folder)
    database.close()
    return one


def url(file: Path, *, migrated: bool = True) -> str:
    """Return the URL of a test's database; in PostgreSQL one is made, in SQLite not yet."""
    if not POSTGRESQL:
        return f"sqlite:///{file}"
    name = "t_" + hashlib.sha256(str(file.resolve()).encode()).hexdigest()[:24]
    if name not in _made:
        template = "migrated" if migrated else "empty"
        server().execute(f'CREATE DATABASE "{name}" TEMPLATE {template} STRATEGY file_copy')
        _made[name] = file.resolve()
    return server().url(name)


def drop(folder: Path) -> None:
    """Drop the databases of a folder's files."""
    for name in [name for name, file in _made.items() if file.is_relative_to(folder.resolve())]:
        server().execute(f'DROP DATABASE "{name}" WITH (FORCE)')
        del _made[name]


_made: dict[str, Path] = {}

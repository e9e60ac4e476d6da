"""The database: how it is opened, migrated and checked.

What SQLite and PostgreSQL do differently stands here and nowhere else.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock, local
from typing import Any

from sqlalchemy import Connection, Engine, Select, Table, create_engine, event, make_url, text
from sqlalchemy.dialects.sqlite import Insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from storage.errors import (
    DatabaseBusy,
    DatabaseDamaged,
    DatabaseGone,
    OutOfSpace,
    StorageError,
    SyncFailed,
)
from storage.migrations import MIGRATIONS, MigrationOutcome, migrate, revisions
from storage.sqlite import sqlite

__all__ = ["Database", "MigrationOutcome", "open_database"]

BUSY_TIMEOUT_S = 10.0
ANSWER_S = 60.0  # a server that is silent for so long is gone; nothing of ours takes that long
CLOCK_FOR_S = 60.0  # how long the difference to the server's clock is believed

_WAL_SAFE = (3, 51, 3)
# What the server is told of each connection, in seconds and milliseconds: the locks of a host that
# is cut off are given up while its claims are, and not after the two hours that TCP would wait.
_LIMITS = {
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "2",
    "tcp_user_timeout": "20000",
    "idle_in_transaction_session_timeout": "20000",
}
# The first where the library does not say which operation failed: it may have been a sync.
_SYNC_FAILED = {"SQLITE_IOERR", "SQLITE_IOERR_FSYNC", "SQLITE_IOERR_DIR_FSYNC"}
# lock_not_available, serialization_failure, deadlock_detected: the same again may work
_BUSY = {"55P03", "40001", "40P01"}
_WAL_SAFE_BRANCHES = {(3, 50): 7, (3, 44): 6}  # releases that have the fix carried back


def journal_mode(version: tuple[int, int, int]) -> str:
    """Which SQLite journal is safe: "WAL", or "TRUNCATE" on a version with the WAL-reset race.

    There, connections that race at a WAL reset can corrupt the database. TRUNCATE with
    synchronous=FULL syncs the emptied journal too, so that no power loss revives it.
    """
    major, minor, patch = version
    fixed = version >= _WAL_SAFE or patch >= _WAL_SAFE_BRANCHES.get((major, minor), patch + 1)
    return "WAL" if fixed else "TRUNCATE"


def open_database(url: str, *, busy_timeout_s: float = BUSY_TIMEOUT_S) -> Database:
    """Open the database at a SQLAlchemy URL, for instance ``sqlite:////var/lib/hilum/hilum.db``.

    Each process opens its own: a database does not survive a fork.
    """
    return Database(url, busy_timeout_s)


class Database:
    """Transactions on one database. Safe to use from several threads."""

    def __init__(self, url: str, busy_timeout_s: float) -> None:
        """Open lazily: the first transaction connects. `journal_mode` is None off SQLite."""
        self.url = make_url(url)
        self._busy_timeout_s = busy_timeout_s
        self.journal_mode: str | None = None
        if self.url.get_backend_name() == "sqlite":
            self.journal_mode = journal_mode(sqlite.sqlite_version_info)
        self._engine = self._open_engine()
        self._writing = self._engine.execution_options(hilum_write=True)
        # SQLite has one writer at a time, and its busy handler polls: of ten threads that write
        # at once the last waited three times as long without this lock.
        self._writer = Lock()
        self._thread = local()  # .connection of the write transaction that the thread is in
        self._ahead_s, self._ahead_until = 0.0, 0.0  # the server's clock against the monotonic one

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Give a transaction that sees one state of the database. Raises DatabaseBusy.

        Within a write transaction of the same thread, that one.
        """
        outer = self._outer()
        if outer is not None:
            yield outer
            return
        with _storage_errors(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Give a transaction that is durable once the block has ended without an exception.

        One within another of the same thread is a part of it, so that several steps cost one
        commit; an exception from it must then leave the outer block as well.

        Raises DatabaseBusy, OutOfSpace, DatabaseDamaged, and SyncFailed, after which the
        process must end.
        """
        outer = self._outer()
        if outer is not None:
            yield outer
            return
        wait_s = self._busy_timeout_s
        if self.journal_mode is not None and not self._writer.acquire(timeout=wait_s):
            raise DatabaseBusy
        try:
            with _storage_errors(), self._writing.begin() as connection:
                self._thread.connection = connection
                yield connection
        finally:
            self._thread.connection = None
            if self.journal_mode is not None:
                self._writer.release()

    def _outer(self) -> Connection | None:
        connection: Connection | None = getattr(self._thread, "connection", None)
        return connection

    def migrate(self, backup_folder: Path, *, scripts: Path = MIGRATIONS) -> MigrationOutcome:
        """Bring the schema to this release's, all or nothing, and say what was done.

        An older SQLite database is first copied into `backup_folder`; a PostgreSQL one is for
        its administrator to back up. Raises SchemaTooNew.
        """
        # Rebuilding a table in SQLite drops the old one, which with foreign keys on would
        # delete the rows that refer to it; they can be turned off outside a transaction only.
        engine = self._open_engine(foreign_keys=False).execution_options(hilum_write=True)
        try:
            with _storage_errors(), engine.begin() as connection:
                return migrate(connection, scripts, backup_folder)
        finally:
            engine.dispose()

    def revisions(self) -> tuple[str | None, str]:
        """Return the schema's revision, None of a database without tables, and this release's."""
        with self.read() as connection:
            return revisions(connection)

    def quick_check(self) -> list[str]:
        """Return what SQLite finds wrong with its file; empty when it is sound."""
        if self.journal_mode is None:
            return []
        try:
            with self.read() as connection:
                lines = connection.exec_driver_sql("PRAGMA quick_check").scalars().all()
        except DatabaseDamaged as error:
            return [str(error)]
        return [] if lines == ["ok"] else [str(line) for line in lines]

    def clock(self) -> float:
        """Return the time, UNIX seconds, by the one clock of all who share the database.

        PostgreSQL's where hosts share it, so that no lease depends on whose clock is right; the
        difference to this machine's is measured once a minute. Raises DatabaseGone.
        """
        if self.journal_mode is not None:
            return time.time()
        if time.monotonic() >= self._ahead_until:
            with self.read() as connection:
                asked = time.monotonic()
                now = connection.execute(_SERVER_CLOCK).scalar_one()
                answered = time.monotonic()
            self._ahead_s = float(now) - (asked + answered) / 2
            self._ahead_until = answered + CLOCK_FOR_S
        return time.monotonic() + self._ahead_s

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    def _open_engine(self, *, foreign_keys: bool = True) -> Engine:
        # Statements carry UIDs, which an exception must not show.
        if self.journal_mode is None:
            limits = _LIMITS | {"lock_timeout": str(int(self._busy_timeout_s * 1000))}
            # A migration may take its time; a connection that has ended is found out before use
            engine = create_engine(
                self.url, hide_parameters=True, pool_pre_ping=True,
                connect_args={"startup_params": limits,
                              "timeout": ANSWER_S if foreign_keys else None},
            )  # fmt: skip
            event.listen(engine, "begin", _begin_on_server)
            return engine
        engine = create_engine(self.url, hide_parameters=True, module=sqlite)
        prepare = _prepare(self.journal_mode, self._busy_timeout_s, foreign_keys)
        event.listen(engine, "connect", prepare)
        event.listen(engine, "begin", _begin)
        return engine


def unheld(query: Select[Any], table: Table) -> Select[Any]:
    """Have a query lock the rows it takes from a table, and pass over what others have locked.

    To be run in a write transaction. SQLite has one writer, and leaves it out.
    """
    return query.with_for_update(of=table, skip_locked=True)


def insert_or(connection: Connection, table: Table) -> Insert:
    """Return an INSERT that takes ON CONFLICT, which both dialects spell alike."""
    if connection.dialect.name == "sqlite":
        return sqlite_insert(table)
    from sqlalchemy.dialects import postgresql  # slow to import

    return postgresql.insert(table)  # type: ignore[return-value]


def _prepare(mode: str, busy_timeout_s: float, foreign_keys: bool) -> Callable[[Any, object], None]:
    def prepare(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # we begin and commit, not the driver
        connection.execute(f"PRAGMA busy_timeout = {int(busy_timeout_s * 1000)}")
        (got,) = connection.execute(f"PRAGMA journal_mode = {mode}").fetchone()
        if got.upper() != mode:
            raise StorageError(f"SQLite refused the journal mode {mode} and kept {got}.")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA foreign_keys = {int(foreign_keys)}")

    return prepare


_SERVER_CLOCK = text("SELECT extract(epoch FROM clock_timestamp())::double precision")


def _begin_on_server(connection: Connection) -> None:
    if not connection.get_execution_options().get("hilum_write", False):
        # Without this each statement would see a state of its own
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")


def _begin(connection: Connection) -> None:
    # IMMEDIATE takes the write lock at once: a transaction that reads first and upgrades later
    # could not wait for the lock, only fail.
    write = connection.get_execution_options().get("hilum_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


@contextmanager
def _storage_errors() -> Iterator[None]:
    try:
        yield
    except PoolTimeout as error:
        raise DatabaseBusy from error
    except DBAPIError as error:
        # PostgreSQL shows the row's values, which no traceback may
        raise _meaning(error.orig) from (None if _fields(error.orig) else error)
    except sqlite.Error as error:  # from the pragmas of a new connection
        raise _meaning(error) from error


def _meaning(error: BaseException | None) -> StorageError:
    name, state = getattr(error, "sqlite_errorname", ""), _sqlstate(error)
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")) or state in _BUSY:
        return DatabaseBusy()
    if name == "SQLITE_FULL" or state == "53100":
        return OutOfSpace()
    if name in _SYNC_FAILED:
        return SyncFailed()
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return DatabaseDamaged(f"The database file is damaged: {error}.")
    if state.startswith(("08", "57P", "53300")) or type(error).__name__ == "InterfaceError":
        return DatabaseGone()
    return StorageError(f"The database refused a statement: {_said(error)}.")


def _sqlstate(error: BaseException | None) -> str:
    """Return the five characters of PostgreSQL's appendix A, as the driver pg8000 carries them."""
    return str(_fields(error).get("C", ""))


def _said(error: BaseException | None) -> str:
    """What PostgreSQL says without its detail, which can show a row's values."""
    return str(_fields(error).get("M", error))


def _fields(error: BaseException | None) -> dict[str, str]:
    given = error.args[0] if error is not None and error.args else None
    return given if isinstance(given, dict) else {}

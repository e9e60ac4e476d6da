"""Backups: whole, checked copies of the database while the service runs."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from storage.database import Database
from storage.errors import DatabaseDamaged, OutOfSpace, Refused
from storage.objects import make_folder, sync, sync_folder
from storage.sqlite import sqlite

PREFIX, SUFFIX = "backup-", ".sqlite"  # those before a migration have other names, and stay


@dataclass(frozen=True, slots=True)
class Backup:
    """A copy that was made: its file, its size, the rows it holds, and which old ones went."""

    file: Path
    size_bytes: int
    tables: int
    rows: int
    removed: tuple[str, ...]


def back_up(database: Database, folder: Path, keep: int, reserve_bytes: int, now: float) -> Backup:
    """Copy the database as it is now, check the copy, and keep the last `keep` copies.

    A copy that is not sound never takes the place of an older one. Raises Refused off SQLite,
    OutOfSpace, and DatabaseDamaged.
    """
    if database.journal_mode is None:
        raise Refused(
            "A PostgreSQL database is backed up by its own means (pg_dump, pg_basebackup)."
        )
    make_folder(folder)
    source = Path(str(database.url.database))
    if shutil.disk_usage(folder).free - source.stat().st_size < reserve_bytes:
        raise OutOfSpace
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    file = folder / f"{PREFIX}{moment}{SUFFIX}"
    draft = file.with_name(f".{file.name}.partial")
    try:
        _copy(source, draft)
        tables, rows = _check(draft)
        draft.replace(file)
        sync_folder(folder)
    except sqlite.Error as error:
        full = getattr(error, "sqlite_errorname", "") == "SQLITE_FULL"
        raise OutOfSpace() if full else DatabaseDamaged(f"The copy failed: {error}.") from error
    finally:
        draft.unlink(missing_ok=True)
    return Backup(file, file.stat().st_size, tables, rows, _thin_out(folder, keep))


def _copy(source: Path, target: Path) -> None:
    """All pages in one go: writers wait the shorter, and no change begins the copy anew."""
    target.unlink(missing_ok=True)
    read, written = sqlite.connect(source), sqlite.connect(target, isolation_level=None)
    try:
        # A crash leaves a draft at most; the sync of each page would hold up who writes
        written.execute("PRAGMA synchronous = OFF")
        read.backup(written)
        written.execute("PRAGMA journal_mode = DELETE")  # one file, whatever the service uses
    finally:
        written.close()
        read.close()
    descriptor = os.open(target, os.O_RDONLY)
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)


def _check(file: Path) -> tuple[int, int]:
    copy = sqlite.connect(file)
    try:
        lines = [str(row[0]) for row in copy.execute("PRAGMA integrity_check")]
        if lines != ["ok"]:
            raise DatabaseDamaged(f"The copy is not sound: {'; '.join(lines[:5])}.")
        names = [row[0] for row in copy.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        )]  # fmt: skip
        counts = (copy.execute(f'SELECT count(*) FROM "{name}"').fetchone() for name in names)  # noqa: S608 (the database's own names)
        return len(names), sum(int(count[0]) for count in counts)
    finally:
        copy.close()


def _thin_out(folder: Path, keep: int) -> tuple[str, ...]:
    found = sorted(folder.glob(f"{PREFIX}*{SUFFIX}"))
    old = found[: max(0, len(found) - keep)]
    for file in old:
        file.unlink()
    return tuple(file.name for file in old)

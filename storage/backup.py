"""Backups: whole, checked copies of the database while the service runs."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from storage.copies import copied, sound
from storage.database import Database
from storage.errors import OutOfSpace, Refused
from storage.objects import make_folder
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
    source = room_for_copy(database, folder, reserve_bytes)
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    file = folder / f"{PREFIX}{moment}{SUFFIX}"
    with copied(source, file) as draft:
        sound(draft)
        tables, rows = _count(draft)
    return Backup(file, file.stat().st_size, tables, rows, _thin_out(folder, keep))


def room_for_copy(database: Database, folder: Path, reserve_bytes: int) -> Path:
    """Return the file of a SQLite database, to be copied into a folder. Raises OutOfSpace."""
    make_folder(folder)
    source = Path(str(database.url.database))
    if shutil.disk_usage(folder).free - source.stat().st_size < reserve_bytes:
        raise OutOfSpace
    return source


def _count(file: Path) -> tuple[int, int]:
    copy = sqlite.connect(file)
    try:
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

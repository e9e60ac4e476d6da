"""A whole copy of a SQLite database while others use it, and whether a file is sound."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from storage.errors import DatabaseDamaged, OutOfSpace
from storage.objects import sync, sync_folder
from storage.sqlite import sqlite

_SHOWN = 5  # of the faults found


@contextmanager
def copied(source: Path, target: Path) -> Iterator[Path]:
    """Copy a database to a draft beside `target`, which it becomes when the block has ended.

    Where the block ends with an exception the draft goes, and what was at `target` stays.
    Raises OutOfSpace, DatabaseDamaged, and SyncFailed.
    """
    draft = target.with_name(f".{target.name}.partial")
    try:
        _copy(source, draft)
        yield draft
        draft.replace(target)
        sync_folder(target.parent)
    except sqlite.Error as error:
        full = getattr(error, "sqlite_errorname", "") == "SQLITE_FULL"
        raise OutOfSpace() if full else DatabaseDamaged(f"The copy failed: {error}.") from error
    finally:
        draft.unlink(missing_ok=True)


def faults(file: Path) -> list[str]:
    """Open a database file, and return what is wrong with its pages or its foreign keys."""
    copy = sqlite.connect(f"file:{file}?mode=ro", uri=True)
    copy.text_factory = lambda text: text.decode(errors="replace")  # it may quote what is damaged
    try:
        lines = [str(row[0]) for row in copy.execute("PRAGMA integrity_check")]
        found = [] if lines == ["ok"] else lines
        for table, row, parent, _ in copy.execute("PRAGMA foreign_key_check"):
            found.append(f"row {row} of {table} refers to a row of {parent} that is gone")
    except sqlite.DatabaseError as error:  # too damaged to be asked
        return [str(error)]
    except UnicodeDecodeError:  # the driver's, of a message that quotes what is damaged
        return ["what SQLite says of it quotes bytes that are no text"]
    finally:
        copy.close()
    return found


def sound(file: Path) -> None:
    """Check a database file. Raises DatabaseDamaged with what is wrong."""
    found = faults(file)
    if found:
        more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise DatabaseDamaged(f"The copy is not sound: {'; '.join(found[:_SHOWN])}{more}.")


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

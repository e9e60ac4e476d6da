"""Moving a site's rows to another database, for instance from SQLite to PostgreSQL."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Integer, Table, func, insert, select, text

from storage.database import Database
from storage.errors import Refused, StorageError
from storage.schema import metadata

BATCH = 1000
_MODULUS = 1 << 256


@dataclass(frozen=True, slots=True)
class Moved:
    """A table that was copied: its rows, and the hash that both databases have of them."""

    table: str
    rows: int
    sha256: str


def move(
    source: Database, target: Database, done: Callable[[str, int], None] = lambda *_: None
) -> tuple[Moved, ...]:
    """Copy every row, all or nothing, and compare what arrived by counts and hashes.

    Both are at this release's schema, `target` is empty, and nobody writes to `source`. Objects
    are files and stay where they are. `done` is told table and rows as they are copied. Raises
    Refused, and StorageError where what arrived is not what was there; then nothing is kept.
    """
    for database, name in ((source, "source"), (target, "target")):
        before, newest = database.revisions()
        if before != newest:
            raise Refused(f"The {name} has schema {before}; this release's is {newest}.")
    with source.read() as read, target.write() as written:
        _must_be_empty(written)
        moved = tuple(_copy(table, read, written, done) for table in metadata.sorted_tables)
        if written.dialect.name == "postgresql":
            _go_on_counting(written)
    return moved


def _must_be_empty(target: Connection) -> None:
    for table in metadata.sorted_tables:
        if target.execute(select(table).limit(1)).first() is not None:
            raise Refused(
                f"The target already has rows, for instance of {table.name}; only an empty"
                " database is copied into."
            )


def _copy(
    table: Table, source: Connection, target: Connection, done: Callable[[str, int], None]
) -> Moved:
    rows, digest = 0, 0
    for batch in _batches(table, source):
        target.execute(insert(table), batch)
        rows, digest = rows + len(batch), (digest + _sum(table, batch)) % _MODULUS
        done(table.name, rows)
    arrived, of_them = 0, 0
    for batch in _batches(table, target):
        arrived, of_them = arrived + len(batch), (of_them + _sum(table, batch)) % _MODULUS
    if (arrived, of_them) != (rows, digest):
        raise StorageError(
            f"Of the {rows} rows of {table.name}, {arrived} arrived"
            f"{' with other values' if arrived == rows else ''}; nothing was kept."
        )
    return Moved(table.name, rows, f"{digest:064x}")


def _batches(table: Table, connection: Connection) -> Iterator[Sequence[dict[str, Any]]]:
    """Yield the rows in the order of their key, as a row may refer to one before it."""
    found = connection.execute(
        select(table)
        .order_by(*table.primary_key.columns)
        .execution_options(yield_per=BATCH)  # of the statement: the connection would keep it
    )
    for part in found.mappings().partitions(BATCH):
        yield [dict(row) for row in part]


def _sum(table: Table, batch: Sequence[dict[str, Any]]) -> int:
    """Add up the rows' hashes: the same in whichever order two databases sort texts."""
    total = 0
    for row in batch:
        one = repr([row[column.name] for column in table.columns]).encode()
        total += int.from_bytes(hashlib.sha256(one).digest())
    return total


def _go_on_counting(target: Connection) -> None:
    """Have PostgreSQL give out keys after those that were copied."""
    for table in metadata.sorted_tables:
        key = table.autoincrement_column
        if key is None or not isinstance(key.type, Integer):
            continue
        last = target.execute(select(func.max(key))).scalar_one()
        if last is not None:
            named = {"table": f'"{table.name}"', "column": key.name, "last": last}
            target.execute(
                text("SELECT setval(pg_get_serial_sequence(:table, :column), :last)"), named
            )

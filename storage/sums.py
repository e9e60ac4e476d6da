"""Sums that only ever grow: what was counted since the service was installed.

Rows of the queue change and objects are deleted by retention, but nothing is taken from the audit
trail, whose rows are numbered without a gap in the order of their commits. So what was counted up
to a row, and the rows after it, give the same sums to every process, on both databases.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Mapping

from sqlalchemy import Connection, select

from storage.counting import Key, Sums, count_rows
from storage.database import Database, insert_or
from storage.schema import metric_sum

BATCH = 2000  # rows of the trail that are in memory at a time
_UP_TO: Key = ("rows_counted", ())  # the last row of the trail that is counted
ASSOCIATIONS = "associations"  # counted by the listeners; they are not in the trail


class Tally:
    """The sums as one process knows them. Not safe to use from several threads."""

    def __init__(self, database: Database) -> None:
        """Work on a migrated database."""
        self._database = database
        self._sums: Sums = defaultdict(float)

    @property
    def counted(self) -> int:
        """The last row of the trail that the sums hold."""
        return int(self._sums[_UP_TO])

    def catch_up(self, seconds: float) -> Sums:
        """Count what came since, for about so long, at least one batch; return all sums.

        Raises StorageError.
        """
        until = time.monotonic() + seconds
        with self._database.read() as connection:
            kept = _kept(connection)
        if kept[_UP_TO] > self._sums[_UP_TO]:
            self._sums = kept
        for key in [key for key in kept if key[0] == ASSOCIATIONS]:
            self._sums[key] = kept[key]
        while True:
            with self._database.read() as connection:
                last, more = count_rows(connection, self.counted, BATCH)
            if last == self.counted:
                break
            for key, value in more.items():
                self._sums[key] += value
            self._sums[_UP_TO] = last
            if time.monotonic() >= until:
                break
        return self._sums.copy()

    def keep(self) -> None:
        """Save the sums, so that the next process need not count from the first row."""
        with self._database.write() as connection:
            if _kept(connection)[_UP_TO] >= self._sums[_UP_TO]:
                return  # another host has
            own = {key: value for key, value in self._sums.items() if key[0] != ASSOCIATIONS}
            _put(connection, own)


def add(connection: Connection, counted: Mapping[Key, float]) -> None:
    """Add what a process counted itself."""
    for (name, labels), value in counted.items():
        new = insert_or(connection, metric_sum).values(
            name=name, labels=_written(labels), value=value
        )
        connection.execute(
            new.on_conflict_do_update(
                index_elements=[metric_sum.c.name, metric_sum.c.labels],
                set_={"value": metric_sum.c.value + value},
            )
        )


def _put(connection: Connection, sums: Mapping[Key, float]) -> None:
    new = insert_or(connection, metric_sum)
    statement = new.on_conflict_do_update(
        index_elements=[metric_sum.c.name, metric_sum.c.labels],
        set_={"value": new.excluded.value},
    )
    rows = [{"name": name, "labels": _written(labels), "value": value}
            for (name, labels), value in sums.items()]  # fmt: skip
    connection.execute(statement, rows)


def _kept(connection: Connection) -> Sums:
    rows = connection.execute(select(metric_sum))
    return defaultdict(
        float, {(row.name, tuple(json.loads(row.labels))): row.value for row in rows}
    )


def _written(labels: tuple[str, ...]) -> str:
    return json.dumps(labels, ensure_ascii=False)

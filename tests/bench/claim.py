"""The queue: a claim out of few rows and out of many."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from storage.queue import Queue
from storage.sqlite import sqlite
from tests.bench.timing import Measured, in_turn
from tests.bench.watched import folder_in_build
from tests.storing import arrival, open_storage

ROWS = (1_000, 1_000_000)
CLAIMS = 60


def queue() -> Measured:
    """Claims out of a thousand and out of a million rows, a tenth of them waiting, in turn."""
    with folder_in_build() as folder:
        waiting = []
        for rows in ROWS:
            root = folder / str(rows)
            open_storage(root).database.close()
            _fill(root / "hilum.db", rows)
            waiting.append(Queue(open_storage(root, migrate=False).database))
        took = in_turn(*(partial(_claim, jobs) for jobs in waiting), runs=CLAIMS)
        for rows, ms in zip(ROWS, took, strict=True):
            yield f"claim out of {rows:,} rows, synced", ms, "ms"
    yield "claim at a million rows against a thousand", took[1] / took[0], "x"


def _claim(jobs: Queue) -> None:
    assert jobs.claim("bench", 60, 1e9) is not None


def _fill(path: Path, rows: int) -> None:
    like = arrival("1.1")
    with sqlite.connect(path) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.executemany(
            "INSERT INTO instance (id, sop_instance_uid, sop_class_uid, transfer_syntax_uid,"
            " sha256, size_bytes, calling_ae, called_ae, peer_address, received_at, contested,"
            " repeats) VALUES (?, ?, ?, ?, ?, 9, 'CR1', 'HILUM', '10.0.0.5', ?, 0, 0)",
            (
                (n, f"1.2.3.{n}", like.sop_class_uid, like.transfer_syntax_uid, f"{n:064}", n)
                for n in range(1, rows + 1)
            ),
        )
        connection.executemany(
            "INSERT INTO job (id, instance_id, state, received_at, not_before, attempts, token,"
            " changed_at) VALUES (?, ?, ?, ?, 0, 0, 0, 0)",
            ((n, n, "done" if n % 10 else "pending", n) for n in range(1, rows + 1)),
        )
    connection.close()

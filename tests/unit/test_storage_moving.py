"""Moving a site to another database: every row, or none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import delete, func, select

from storage.database import Database, open_database
from storage.errors import Refused, StorageError
from storage.moving import move
from storage.queue import Queue
from storage.schema import instance, metadata, study
from tests import databases
from tests.storing import Storage, arrival, make_report, open_storage


@pytest.fixture
def site(tmp_path: Path) -> Storage:
    one = open_storage(tmp_path / "site")
    for number in range(5):
        make_report(one, f"7.{number}", f"9.{number}", 100.125 + number / 3)
    one.queue.accept(arrival("1.99", "é", 1e9 / 7))
    return one


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Database]:
    url = databases.url(tmp_path / "target.db")
    one = open_database(url)
    one.migrate(tmp_path)
    yield one
    one.close()


def test_every_row_arrives(site: Storage, target: Database) -> None:
    told: list[tuple[str, int]] = []
    moved = move(site.database, target, lambda table, rows: told.append((table, rows)))
    counts = {one.table: one.rows for one in moved}
    assert set(counts) == set(metadata.tables)
    assert (counts["instance"], counts["study"], counts["report"]) == (6, 5, 5)
    assert ("instance", 6) in told
    with site.database.read() as before, target.read() as after:
        for table in metadata.sorted_tables:
            query = select(table).order_by(*table.primary_key.columns)
            assert before.execute(query).all() == after.execute(query).all()


def test_the_service_goes_on_where_it_stood(site: Storage, target: Database) -> None:
    move(site.database, target)
    queue = Queue(target)
    queue.accept(arrival("1.100", received_at=2e9))
    job = queue.claim("w", 30, 3e9)
    assert job is not None
    assert job.instance.arrival.sop_instance_uid == "1.99"
    with target.read() as connection:
        assert connection.execute(select(func.max(instance.c.id))).scalar_one() == 7


def test_a_database_with_rows_is_not_copied_into(site: Storage, target: Database) -> None:
    move(site.database, target)
    with pytest.raises(Refused, match="already has rows"):
        move(site.database, target)


def test_a_row_that_is_lost_on_the_way_undoes_it_all(site: Storage, target: Database) -> None:
    def lose(table: str, rows: int) -> None:
        del rows
        if table == "result":  # somebody else writes in the same transaction's reach
            with target.write() as connection:
                connection.execute(delete(metadata.tables["result"]))

    with pytest.raises(StorageError, match="rows of result"):
        move(site.database, target, lose)
    with target.read() as connection:
        assert connection.execute(select(func.count()).select_from(study)).scalar_one() == 0

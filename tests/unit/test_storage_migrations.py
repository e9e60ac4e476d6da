"""Migrations: a fresh schema equals a migrated one, and nothing is lost on the way."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from storage.database import open_database
from storage.errors import SchemaTooNew, StorageError
from storage.migrations import MIGRATIONS
from storage.outbox import Outbox
from storage.schema import metadata
from storage.sqlite import sqlite
from tests.storing import arrival, open_storage

LATER = """
import sqlalchemy as sa
from alembic import op

revision = "9999"
down_revision = "{head}"


def upgrade():
    with op.batch_alter_table("instance") as table:
        table.alter_column("calling_ae", type_=sa.String(32))
        table.add_column(sa.Column("note", sa.String(10)))
    {then}
"""


# Revisions are numbered, so that the last by name is the newest.
HEAD = max(path.name[:4] for path in (MIGRATIONS / "versions").glob("[0-9]*.py"))


def with_a_later_revision(folder: Path, then: str = "") -> Path:
    scripts = folder / "migrations 100%"
    shutil.copytree(MIGRATIONS, scripts)
    (scripts / "versions" / "9999_later.py").write_text(LATER.format(then=then, head=HEAD))
    return scripts


def definitions(path: Path) -> dict[str, list[str]]:
    """Return each table's and index's definition, its lines sorted: their order says nothing."""
    with sqlite.connect(path) as connection:
        rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")
        return {
            # the name of a table that was rebuilt stands in quotes
            name: sorted(line.strip().rstrip(",").replace('"', "") for line in sql.splitlines())
            for name, sql in rows
            if name != "alembic_version"
        }


def test_a_migrated_schema_equals_a_fresh_one(tmp_path: Path) -> None:
    migrated = open_database(f"sqlite:///{tmp_path}/migrated.db")
    outcome = migrated.migrate(tmp_path / "backups")
    assert (outcome.before, outcome.backup, outcome.changed) == (None, None, True)
    with migrated.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []

    fresh = open_database(f"sqlite:///{tmp_path}/fresh.db")
    with fresh.write() as connection:
        metadata.create_all(connection)
    assert definitions(tmp_path / "migrated.db") == definitions(tmp_path / "fresh.db")
    assert len(definitions(tmp_path / "fresh.db")) >= len(metadata.tables)


def test_migrating_a_current_database_does_nothing(tmp_path: Path) -> None:
    database = open_storage(tmp_path).database
    outcome = database.migrate(tmp_path / "backups")
    assert not outcome.changed
    assert outcome.backup is None
    assert not (tmp_path / "backups").exists()


@pytest.mark.sqlite
def test_an_older_database_is_backed_up_and_keeps_its_rows(tmp_path: Path) -> None:
    storage = open_storage(tmp_path / "root")
    storage.queue.accept(arrival("1.2.3"))
    outcome = storage.database.migrate(
        tmp_path / "backups", scripts=with_a_later_revision(tmp_path)
    )

    assert (outcome.before, outcome.after) == (HEAD, "9999")
    assert "note" in str(definitions(tmp_path / "root" / "hilum.db")["instance"])
    assert storage.queue.counts().jobs["pending"] == 1  # type: ignore[index]
    assert outcome.backup is not None
    assert "note" not in str(definitions(outcome.backup)["instance"])
    backup = open_database(f"sqlite:///{outcome.backup}")
    assert backup.quick_check() == []
    with sqlite.connect(outcome.backup) as connection:
        assert connection.execute("SELECT sop_instance_uid FROM instance").fetchall() == [
            ("1.2.3",)
        ]


def test_a_migration_that_fails_changes_nothing(tmp_path: Path) -> None:
    storage = open_storage(tmp_path / "root")
    before = definitions(tmp_path / "root" / "hilum.db")
    scripts = with_a_later_revision(tmp_path, then='op.drop_table("never_was")')
    with pytest.raises(StorageError, match="never_was"):
        storage.database.migrate(tmp_path / "backups", scripts=scripts)
    assert definitions(tmp_path / "root" / "hilum.db") == before
    assert not storage.database.migrate(tmp_path / "backups").changed


@pytest.mark.sqlite
def test_a_migration_that_loses_a_parent_row_is_undone(tmp_path: Path) -> None:
    storage = open_storage(tmp_path / "root")
    storage.queue.accept(arrival("1.2.3"))
    scripts = with_a_later_revision(tmp_path, then='op.execute("DELETE FROM instance")')
    with pytest.raises(StorageError, match="job refer to rows that are gone"):
        storage.database.migrate(tmp_path / "backups", scripts=scripts)
    assert len(storage.queue.rows()) == 1


def test_a_database_of_a_later_release_is_refused_untouched(tmp_path: Path) -> None:
    storage = open_storage(tmp_path / "root")
    storage.database.migrate(tmp_path / "backups", scripts=with_a_later_revision(tmp_path))
    before = definitions(tmp_path / "root" / "hilum.db")
    with pytest.raises(SchemaTooNew, match="9999"):
        storage.database.migrate(tmp_path / "backups")
    assert definitions(tmp_path / "root" / "hilum.db") == before


def test_a_database_of_the_first_release_is_brought_up_to_date(tmp_path: Path) -> None:
    first = tmp_path / "first"
    shutil.copytree(MIGRATIONS, first)
    for path in (first / "versions").glob("[0-9]*.py"):
        if not path.name.startswith("0001"):
            path.unlink()
    path = tmp_path / "hilum.db"
    database = open_database(f"sqlite:///{path}")
    database.migrate(tmp_path / "backups", scripts=first)
    with database.write() as connection:
        for row in (
            "study VALUES (1, '9.1', 'reported', 1, 1, 1, 1, 0, 1, NULL, NULL, 1, 2, NULL, NULL)",
            "report VALUES (1, 1, 1, 1, '7.1', '1.2', 'ab', 9, 2)",
            "delivery VALUES (1, 1, 'a', 'stored', 2, 1, 1, NULL, NULL, 3, '0000', NULL)",
            "delivery VALUES (2, 1, 'b', 'sending', 2, 1, 1, 'd', 9, NULL, NULL, NULL)",
        ):
            connection.exec_driver_sql(f"INSERT INTO {row}")
    outcome = database.migrate(tmp_path / "backups")
    assert (outcome.before, outcome.after) == ("0001", HEAD)
    outbox = Outbox(database)
    assert [(row.pacs, row.state, row.sop_instance_uid) for row in outbox.rows()] == [
        ("b", "sending", "7.1"),
        ("a", "stored", "7.1"),
    ]
    assert outbox.release_all() == 1

    fresh = open_database(f"sqlite:///{tmp_path}/fresh.db")
    with fresh.write() as connection:
        metadata.create_all(connection)
    assert definitions(path) == definitions(tmp_path / "fresh.db")


def test_a_damaged_database_is_not_migrated(tmp_path: Path) -> None:
    """Its backup is opened and checked first: what cannot be gone back to is not begun."""
    storage = open_storage(tmp_path / "root")
    for number in range(60):
        storage.queue.accept(arrival(f"1.2.{number}"))
    storage.database.close()
    file = tmp_path / "root" / "hilum.db"
    with sqlite.connect(file) as connection:
        connection.execute("DELETE FROM instance WHERE id = 1")  # its job refers to it
    connection.close()
    with pytest.raises(StorageError, match="copy is not sound: row 1 of job"):
        storage.database.migrate(tmp_path / "backups", scripts=with_a_later_revision(tmp_path))
    assert list((tmp_path / "backups").iterdir()) == []
    assert "note" not in str(definitions(file)["instance"])
    assert len(storage.queue.rows()) == 59

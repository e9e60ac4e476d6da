"""Migrations: the schema's history, run by Alembic without a configuration file."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect

from storage.copies import copied, sound
from storage.errors import SchemaTooNew, StorageError
from storage.objects import make_folder

if TYPE_CHECKING:
    from alembic.config import Config

MIGRATIONS = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class MigrationOutcome:
    """From which revision to which; `before` is None for a fresh database."""

    before: str | None
    after: str
    backup: Path | None

    @property
    def changed(self) -> bool:
        """Whether anything was done."""
        return self.before != self.after


def migrate(connection: Connection, scripts: Path, backup_folder: Path) -> MigrationOutcome:
    """Bring the schema to the newest revision of `scripts` within the caller's transaction.

    Raises SchemaTooNew.
    """
    newest = _newest(scripts)
    if _current(connection) == newest:
        return MigrationOutcome(newest, newest, None)
    # Alembic is slow to import, and only who has something to migrate needs it.
    from alembic import command
    from alembic.script import ScriptDirectory

    config = _config(scripts, connection)
    directory = ScriptDirectory.from_config(config)
    known = [script.revision for script in directory.walk_revisions()]  # newest first
    before = _current(connection)
    if before is not None and before not in known:
        raise SchemaTooNew(
            f"The database has schema {before}, made by a later release of Hilum; "
            f"this release knows up to {known[0]}."
        )
    backup = None
    if before is not None and connection.dialect.name == "sqlite":
        backup = _back_up(connection, backup_folder, before)
    command.upgrade(config, "head")
    if connection.dialect.name == "sqlite":
        _check_foreign_keys(connection)
    return MigrationOutcome(before, known[0], backup)


def _current(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    row = connection.exec_driver_sql("SELECT version_num FROM alembic_version").first()
    return None if row is None else str(row[0])


def revisions(connection: Connection) -> tuple[str | None, str]:
    """Return the schema's revision, None of a database without tables, and this release's."""
    return _current(connection), _newest(MIGRATIONS)


def _newest(scripts: Path) -> str:
    return max(path.name[:4] for path in (scripts / "versions").glob("[0-9]*.py"))


def _config(scripts: Path, connection: Connection) -> Config:
    from alembic.config import Config

    config = Config()
    # The option goes through ConfigParser, which expands "%".
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def _back_up(connection: Connection, folder: Path, revision: str) -> Path:
    make_folder(folder)
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    path = folder / f"hilum-{revision}-{moment}.db"
    # By a connection of its own: the one that is to migrate is inside its transaction, and until
    # that commits the other sees the database as it was.
    with copied(Path(str(connection.engine.url.database)), path) as draft:
        sound(draft)
    return path


def _check_foreign_keys(connection: Connection) -> None:
    broken = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
    if broken:
        tables = ", ".join(sorted({str(row[0]) for row in broken}))
        raise StorageError(f"After the migration, rows of {tables} refer to rows that are gone.")

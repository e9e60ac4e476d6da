"""What the commands share: options, the storage of a service, and who is at the command line."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from daemon.settings import Settings, load

if TYPE_CHECKING:
    from storage.database import Database

Config = Annotated[Path, typer.Option("--config", help="The configuration file (TOML).")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for a program to read.")]


@contextmanager
def opened(config: Path) -> Iterator[tuple[Settings, Database]]:
    """Give the database of a service, whether it runs or not. Raises StorageError."""
    from storage.database import open_database  # slow to import
    from storage.errors import StorageError

    settings = load(config)
    database = open_database(settings.storage.url)
    try:
        made, newest = database.revisions()
        if made != newest:
            raise StorageError("The database is not of this release: start `hilum serve` once.")
        yield settings, database
    finally:
        database.close()


def actor() -> str:
    """Who is at the command line, for the audit trail."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):  # a user id without a name
        return "cli"

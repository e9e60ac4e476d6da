"""`hilum db`: back up, check and restore the database."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from daemon.console import Config, Json, opened
from daemon.settings import load

app = typer.Typer(
    help="The database: backups while the service runs, checks, and restoring.",
    no_args_is_help=True,
)


@app.command()
def backup(config: Config, as_json: Json = False) -> None:
    """Copy the database into the storage's folder backups, and check the copy."""
    from storage.backup import back_up

    with opened(config) as (settings, database):
        storage = settings.storage
        made = back_up(
            database, storage.root / "backups", storage.backups_kept, storage.reserve_bytes,
            time.time(),
        )  # fmt: skip
    found = {
        "file": str(made.file), "size_bytes": made.size_bytes, "tables": made.tables,
        "rows": made.rows, "removed": list(made.removed),
    }  # fmt: skip
    said = f"{made.file}: {made.size_bytes / 1e6:.1f} MB, {made.rows} rows, sound"
    typer.echo(json.dumps(found, indent=1) if as_json else said)


@app.command()
def check(
    config: Config,
    sample: Annotated[
        int | None,
        typer.Option(min=0, help="Read so many of the stored objects; without it, all of them."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Check the database and the stored objects; the service may run. Exit status 1: a fault."""
    from daemon.care import in_words, shown
    from storage.care import check as examine
    from storage.objects import ObjectStore

    with opened(config) as (settings, database):
        storage = settings.storage
        health = examine(
            database, ObjectStore(storage.root), storage.root / "backups", storage.reserve_bytes,
            sample,
        )  # fmt: skip
    if as_json:
        typer.echo(json.dumps(shown(health), indent=1))
    else:
        typer.echo(in_words(health))
        _list([*health.objects.missing], "missing")
        _list([*health.objects.damaged], "damaged")
    raise typer.Exit(0 if health.is_sound else 1)


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(help="The backup.")], config: Config, as_json: Json = False
) -> None:
    """Put a backup in the place of a database that is gone, and list which objects are missing.

    The service must be stopped. Exit status 1: nothing was restored, or objects are missing.
    """
    from sqlalchemy import make_url

    from storage.care import look_at, named
    from storage.care import restore as put_back
    from storage.database import open_database
    from storage.errors import Refused
    from storage.objects import ObjectStore

    storage = load(config).storage
    url = make_url(storage.url)
    if url.get_backend_name() != "sqlite":
        raise Refused("A PostgreSQL database is restored by its own means (pg_restore).")
    put_back(file, Path(str(url.database)), storage.root)
    database, objects = open_database(storage.url), ObjectStore(storage.root)
    made, newest = database.revisions()
    found = look_at(objects, named(database), None) if made == newest else None
    database.close()
    if found is None:
        typer.echo(f"restored schema {made}; start `hilum serve` to bring it to {newest}, then "
                   "`hilum db check`", err=as_json)  # fmt: skip
        raise typer.Exit(0)
    bad = [*found.missing, *found.damaged]
    if as_json:
        known = {"restored": str(file), "objects": found.named, "missing": list(found.missing),
                 "damaged": list(found.damaged)}  # fmt: skip
        typer.echo(json.dumps(known, indent=1))
    else:
        typer.echo(f"restored {file}; it names {found.named} objects, {len(bad)} of them not here")
        _list([*found.missing], "missing")
        _list([*found.damaged], "damaged")
    raise typer.Exit(1 if bad else 0)


@app.command()
def copy(
    config: Config,
    to: Annotated[str, typer.Option(help="SQLAlchemy URL of an empty database to copy into.")],
    as_json: Json = False,
) -> None:
    """Copy every row to another database, for instance from SQLite to PostgreSQL, and compare.

    The service must be stopped. Set storage.database_url to the new URL afterwards; the objects
    stay where they are. Exit status 1: nothing was copied.
    """
    from storage.database import open_database
    from storage.moving import move
    from storage.root import lock_root

    storage = load(config).storage
    with lock_root(storage.root, storage.host):  # whoever writes would write to what is left
        source, target = open_database(storage.url), open_database(to)
        try:
            source.migrate(storage.root / "backups")
            target.migrate(storage.root / "backups")
            moved = move(source, target)
        finally:
            source.close()
            target.close()
    if as_json:
        typer.echo(json.dumps([asdict(one) for one in moved], indent=1))
        return
    for one in moved:
        typer.echo(f"{one.table:24} {one.rows:>9} rows  sha256 {one.sha256[:16]}")
    rows = sum(one.rows for one in moved)
    typer.echo(f"copied {rows} rows of {len(moved)} tables; counts and hashes agree")


def _list(objects: list[str], what: str) -> None:
    for one in objects:
        typer.echo(f"{what} {one}")

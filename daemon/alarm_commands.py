"""`hilum alarms`: what a person should look at."""

from __future__ import annotations

import json
import time
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from daemon.console import Config, Json, actor, opened

app = typer.Typer(help="Alarms: what a person should look at.", no_args_is_help=True)

Number = Annotated[int, typer.Argument(help="The alarm, as `hilum alarms list` numbers it.")]


@app.command("list")
def list_(
    config: Config,
    closed: Annotated[int, typer.Option(min=0, help="Of closed ones, so many.")] = 0,
    as_json: Json = False,
) -> None:
    """List the open alarms, with what was found and what to do."""
    from daemon.watched import alarms

    with opened(config) as (_, database):
        found = alarms(database, closed)
    if as_json:
        typer.echo(json.dumps(found, indent=1))
        return
    if not found["open"]:
        typer.echo("No alarm is open.")
    for one in found["open"] + found["closed"]:
        drawn = Table(show_header=False, title=f"{one['id']}  {one['title']}")
        for name, value in (
            ("about", one["subject"]), ("state", one["state"]), ("since", _when(one["opened_at"])),
            ("last seen", f"{_when(one['last_seen_at'])}, {one['count']} times"),
            ("found", one["says"]), ("to do", one["advice"]),
        ):  # fmt: skip
            drawn.add_row(name, escape(str(value)))
        Console().print(drawn)


@app.command()
def acknowledge(number: Number, config: Config) -> None:
    """Note that you know of an alarm; it stays until it is over."""
    from storage.alarms import Alarms

    with opened(config) as (_, database):
        one = Alarms(database).acknowledge(number, actor(), time.time())
    typer.echo(f"Alarm {one.id} is acknowledged by {one.acknowledged_by}.")


@app.command()
def close(
    number: Number,
    config: Config,
    reason: Annotated[str, typer.Option(help="Why; the history keeps it.")],
) -> None:
    """Close an alarm; should its cause last, it opens anew."""
    from daemon.alarms import Bell

    with opened(config) as (_, database):
        one = Bell(database).close(number, actor(), reason, time.time())
    typer.echo(f"Alarm {one.id} is closed.")


def _when(timestamp: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(timestamp))

"""`hilum schedule`: what is to run when, and what became of it."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from daemon.console import Config, Json, actor, opened
from storage.schedule_records import Run, RunKind

if TYPE_CHECKING:
    pass

app = typer.Typer(
    help="What runs when: backups, recalibration, retraining, evaluation, audits of drift.",
    no_args_is_help=True,
)

Name = Annotated[str, typer.Argument(help="The schedule's name.")]


@app.command("list")
def list_(config: Config, as_json: Json = False) -> None:
    """List the schedules with their next due time, and the newest runs."""
    from daemon.scheduled import overview

    with opened(config) as (_, database):
        found = overview(database, time.time(), 20)
    if as_json:
        typer.echo(json.dumps(found, indent=1))
        return
    drawn = Table("name", "kind", "when", "window", "next", title="Schedules")
    for one in found["schedules"]:
        drawn.add_row(
            escape(one["name"]), one["kind"], f"{one['when']} {one['timezone']}",
            one["window"] or "any time", _when(one["next_due"]),
        )  # fmt: skip
    Console().print(drawn)
    runs = Table("run", "kind", "of", "due", "state", "what came of it", title="Runs")
    for run in found["runs"]:
        told = run["reason"] or run["summary"] or _progress(run)
        runs.add_row(
            str(run["id"]), run["kind"], escape(run["schedule"] or run["requested_by"]),
            _when(run["due_at"]), run["state"], escape(told),
        )  # fmt: skip
    Console().print(runs)


@app.command()
def add(
    name: Name,
    kind: Annotated[RunKind, typer.Option(help="What it does.")],
    config: Config,
    cron: Annotated[
        str | None,
        typer.Option(help='Minute, hour, day, month and weekday by name: "30 2 * * sat".'),
    ] = None,
    every: Annotated[str | None, typer.Option(help="An interval: 90m, 12h or 7d.")] = None,
    window: Annotated[
        str | None, typer.Option(help="When runs may start, for instance 22:00-05:00.")
    ] = None,
    timezone: Annotated[
        str | None, typer.Option(help="Time zone, as Europe/Berlin; by default the machine's.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Add a schedule."""
    from daemon.duetimes import read_timing
    from daemon.scheduled import checked_name, shown
    from storage.schedules import Schedules

    now = time.time()
    timing = read_timing(cron, every, window, timezone, now)
    with opened(config) as (_, database):
        made = Schedules(database).add(checked_name(name), kind, timing, actor(), now)
    told = shown(made, now)
    _say(told, f"{made.name} comes due next at {_when(told['next_due'])}", as_json=as_json)


@app.command()
def remove(name: Name, config: Config, as_json: Json = False) -> None:
    """Remove a schedule; what is in work goes on."""
    from storage.schedules import Schedules

    with opened(config) as (_, database):
        Schedules(database).remove(name, actor(), time.time())
    _say({"removed": name}, f"{name} is removed", as_json=as_json)


@app.command()
def run(
    named: Annotated[
        str, typer.Argument(help="A schedule, or one of the kinds: backup, evaluate, ...")
    ],
    config: Config,
    as_json: Json = False,
) -> None:
    """Have something run now; the service starts it within seconds."""
    from storage.schedules import Schedules

    with opened(config) as (_, database):
        number = Schedules(database).run_now(named, actor(), time.time())
    _say({"run": number}, f"run {number} is to start", as_json=as_json)


@app.command()
def cancel(
    number: Annotated[int, typer.Argument(help="The run's number.")],
    config: Config,
    as_json: Json = False,
) -> None:
    """Cancel a run; what it has reached is thrown away."""
    from storage.runs import Runs

    with opened(config) as (_, database):
        state = Runs(database).cancel(number, actor(), time.time())
    _say({"run": number, "state": state}, f"run {number} is cancelled", as_json=as_json)


@app.command()
def show(
    number: Annotated[int, typer.Argument(help="The run's number.")],
    config: Config,
    as_json: Json = False,
) -> None:
    """Show a run and what it found."""
    from storage.runs import Runs

    with opened(config) as (_, database):
        found = Runs(database).show(number)
    if as_json:
        typer.echo(json.dumps(asdict(found), indent=1))
        return
    typer.echo(f"run {found.id}: {found.kind}, {found.state}, {_when(found.due_at)}")
    typer.echo(found.reason or _outcome(found))


def _outcome(found: Run) -> str:
    from daemon.scheduled import summary

    return summary(found) or _progress(asdict(found))


def _progress(run: dict[str, Any]) -> str:
    return f"{run['stage']} {run['done']} of {run['total']}" if run["total"] else ""


def _say(shown: dict[str, Any], sentence: str, *, as_json: bool) -> None:
    typer.echo(json.dumps(shown, indent=1) if as_json else sentence)


def _when(timestamp: float | None) -> str:
    if timestamp is None:
        return "never"
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(timestamp))

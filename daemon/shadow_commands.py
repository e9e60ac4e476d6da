"""`hilum model shadow`: a candidate's trial beside what serves."""

from __future__ import annotations

import json
import time
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from daemon.console import Config, Json, actor, opened
from daemon.ledger_commands import Named, Reason

app = typer.Typer(
    help="A candidate classifies what the serving bundle has classified; nothing of it is sent.",
    no_args_is_help=True,
)


@app.command()
def start(
    version: Named,
    config: Config,
    days: Annotated[
        float | None, typer.Option(min=0.001, max=365, help="Days at the most.")
    ] = None,
    images: Annotated[
        int | None, typer.Option(min=1, max=10000, help="Images that complete it.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Begin a trial, as long as the settings say or as told."""
    from daemon.trial_shown import brief
    from daemon.trials import DAY_S
    from storage.trials import Trials

    with opened(config) as (settings, database):
        chosen, now = settings.training, time.time()
        until = now + (days or chosen.shadow_days) * DAY_S
        made = Trials(database).start(version, actor(), now, until, images or chosen.shadow_images)
    sentence = f"{made.model.version} classifies beside {made.against.version} from now on"
    typer.echo(json.dumps(brief(made), indent=1) if as_json else sentence)


@app.command()
def stop(version: Named, reason: Reason, config: Config, as_json: Json = False) -> None:
    """Stop a trial; what was found stays."""
    from daemon.trial_shown import brief
    from daemon.trials import stop as end

    with opened(config) as (_, database):
        made = end(database, version, actor(), reason, time.time())
    typer.echo(json.dumps(brief(made), indent=1) if as_json else "The trial is stopped")


@app.command()
def show(version: Named, config: Config, as_json: Json = False) -> None:
    """Show a bundle's last trial: how its decisions differ, and who was right."""
    from daemon.trial_shown import shown

    with opened(config) as (_, database):
        found = shown(database, version)
    if as_json:
        typer.echo(json.dumps(found, indent=1))
        return
    trial = found["trial"]
    if trial is None:
        typer.echo("It has had no trial.")
        return
    typer.echo(
        f"{trial['version']} beside {trial['against']}: {trial['state']}, "
        f"{trial['done']} of {trial['images']} images"
    )
    if trial["reason"]:
        typer.echo(trial["reason"])
    figures = found["figures"]
    before, after = _share(figures["serving_flagged"]), _share(figures["candidate_flagged"])
    typer.echo(f"Flagged: {before} by what serves, {after} by the candidate")
    Console().print(_table(figures["findings"]))


def _table(findings: list[dict[str, Any]]) -> Table:
    drawn = Table(
        "finding", "both", "serving only", "candidate only", "agreement", "judged", "lost", "won",
        "p, worse",
    )  # fmt: skip
    for one in findings:
        counts = (one["both"], one["serving_only"], one["candidate_only"])
        drawn.add_row(
            one["name"], *map(str, counts), _share(one["agreement"]), str(one["judged"]),
            str(one["lost"]), str(one["won"]), f"{one['p_worse']:.3f}",
        )  # fmt: skip
    return drawn


def _share(found: dict[str, float | None]) -> str:
    value, low, high = found["value"], found["low"], found["high"]
    if value is None or low is None or high is None:
        return "no case"
    return f"{value:.1%} ({low:.1%} to {high:.1%})"

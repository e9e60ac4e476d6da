"""`hilum model`: which bundles there are, which one serves, and since when."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from daemon.console import Config, Json, actor, opened
from daemon.settings import Settings

if TYPE_CHECKING:
    from storage.bundles import Model, Promotion, ServingModel
    from storage.ledger import Ledger

app = typer.Typer(
    help="The model bundles: which serves, and which served before.", no_args_is_help=True
)

Named = Annotated[
    str, typer.Argument(help="Version as `hilum model list` prints it, or a digest's beginning.")
]
Reason = Annotated[str, typer.Option(help="Why; the history and the audit trail keep it.")]


@contextmanager
def opened_ledger(config: Path) -> Iterator[tuple[Settings, Ledger]]:
    """Give the ledger of a service."""
    from storage.ledger import Ledger

    with opened(config) as (settings, database):
        yield settings, Ledger(database)


@app.command("list")
def list_(config: Config, as_json: Json = False) -> None:
    """List the bundles, newest first, and what served when."""
    with opened_ledger(config) as (_, ledger):
        serving, models, history = ledger.serving(), ledger.models(), ledger.history(20)
    if as_json:
        shown = {
            "serving": serving.model.version if serving else None,
            "models": [_brief(one, serving) for one in models],
            "history": [asdict(line) for line in history],
        }
        typer.echo(json.dumps(shown, indent=1))
        return
    drawn = Table("", "version", "digest", "state", "registered", "reason", title="Bundles")
    for one in models:
        mark = "serves" if serving and serving.model.id == one.id else ""
        drawn.add_row(
            mark, one.version, one.digest[:12], one.state, _when(one.registered_at),
            one.reason or "",
        )  # fmt: skip
    Console().print(drawn)
    Console().print(_lines(history))


@app.command()
def show(version: Named, config: Config, as_json: Json = False) -> None:
    """Show a bundle's model card, its thresholds in force and their changes."""
    with opened_ledger(config) as (_, ledger):
        one = ledger.find(version)
        thresholds = ledger.thresholds(one.digest)
        changes = ledger.threshold_history(one.digest)
        serving = ledger.serving()
    shown = {
        **_brief(one, serving),
        "thresholds": thresholds,
        "threshold_changes": [asdict(change) for change in changes],
        "card": json.loads(one.card),
    }
    if as_json:
        typer.echo(json.dumps(shown, indent=1))
        return
    card = json.loads(one.card)
    typer.echo(f"{one.version}  {one.state}  {one.digest}")
    typer.echo(f"{card['intended_use']}\nTrained on: {card['training']['credit']}")
    drawn = Table("finding", "AUC", "sensitivity", "specificity", "threshold", "the bundle's own")
    for name, value in thresholds.items():
        found = card["metrics"]["findings"].get(name, {})
        drawn.add_row(
            name, _interval(found.get("auc")), _share(found.get("sensitivity")),
            _share(found.get("specificity")), f"{value:.3f}", f"{one.thresholds[name]:.3f}",
        )  # fmt: skip
    Console().print(drawn)


@app.command()
def add(
    path: Annotated[Path, typer.Argument(help="Folder of a bundle; it is copied, and verified.")],
    config: Config,
    as_json: Json = False,
) -> None:
    """Take a bundle in. It does not serve before it is promoted."""
    from daemon.shelf import Shelf

    with opened_ledger(config) as (settings, ledger):
        try:
            one = Shelf(settings.storage.root).take(path, ledger, time.time(), actor())
        except OSError as error:
            raise _failed(f"{path} cannot be copied in: {error.strerror}") from error
        shown = _brief(one, ledger.serving())
    _say(shown, f"{one.version} is registered", as_json=as_json)


@app.command()
def promote(
    version: Named,
    reason: Reason,
    config: Config,
    override: Annotated[
        bool, typer.Option("--override", help="Although the gate has not passed it.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Let a bundle serve: the running workers load it within 5 s."""
    from daemon.promotion import promote as let_serve
    from daemon.shelf import Shelf
    from storage.ledger import Ledger

    with opened(config) as (settings, database):
        one = Ledger(database).find(version)
        Shelf(settings.storage.root).load(one.folder, one.digest)  # refused here rather than there
        line = let_serve(database, one.digest, actor(), reason, time.time(), override=override)
    _say(asdict(line), f"{line.version} is to serve", as_json=as_json)


@app.command()
def rollback(reason: Reason, config: Config, as_json: Json = False) -> None:
    """Let the bundle that served before serve again."""
    with opened_ledger(config) as (_, ledger):
        line = ledger.rollback(actor(), reason, time.time())
    _say(asdict(line), f"{line.version} is to serve again", as_json=as_json)


def _brief(one: Model, serving: ServingModel | None) -> dict[str, Any]:
    return {
        "version": one.version, "digest": one.digest, "state": one.state, "reason": one.reason,
        "registered_at": one.registered_at, "folder": one.folder,
        "serving": serving is not None and serving.model.id == one.id,
    }  # fmt: skip


def _lines(history: tuple[Promotion, ...]) -> Table:
    drawn = Table("since", "version", "deed", "by", "reason", title="What served when")
    for line in history:
        drawn.add_row(_when(line.at), line.version, line.deed, line.actor, line.reason)
    return drawn


def _say(shown: dict[str, Any], sentence: str, *, as_json: bool) -> None:
    typer.echo(json.dumps(shown, indent=1) if as_json else sentence)


def _failed(message: str) -> Exception:
    from daemon.errors import DaemonError

    return DaemonError(message)


def _interval(found: dict[str, float] | None) -> str:
    return f"{found['value']:.2f} ({found['low']:.2f} to {found['high']:.2f})" if found else "-"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _when(timestamp: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(timestamp))

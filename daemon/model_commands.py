"""`hilum train`, `retrain` and `replay`: what a person sees of the training."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import typer
from rich.console import Console

from classifier.bundle import REPLAY, load_bundle
from daemon.measure_commands import progress, read_labelled, show
from training.benavente import train_paper
from training.retrain import add_replay
from training.retrain import retrain as go_on
from training.train import Work
from training.train import train as fit

RecipeName = Literal["hilum-1", "benavente2022"]


def train(
    data: Path,
    out: Path,
    recipe: RecipeName,
    base_weights: Path | None,
    cache: Path | None,
    credit: str | None,
    seed: int,
) -> None:
    """Train a bundle and say how good it is on patients that it never saw."""
    with progress() as told:
        work = Work(base_weights, cache, told, lambda line: typer.echo(line, err=True))
        how = fit if recipe == "hilum-1" else train_paper
        bundle = how(data, out, credit=credit, seed=seed, work=work)
    Console().print(f"{bundle.version} written to {out}")
    show(bundle.version, bundle.manifest.metrics)
    Console().print(bundle.manifest.metrics.data)


def retrain(data: Path, bundle: str, out: Path, cache: Path | None, seed: int) -> None:
    """Retrain a bundle and say how good it is on local patients that it did not learn from."""
    parent = load_bundle(bundle)
    with progress() as told:
        work = Work(None, cache, told, lambda line: typer.echo(line, err=True))
        made = go_on(parent, read_labelled(data, parent), out, seed=seed, work=work)
    Console().print(f"{made.version} written to {out}; it went on from {parent.version}")
    show(made.version, made.manifest.metrics)
    Console().print(made.manifest.metrics.data)


def replay(data: Path, bundle: str, out: Path, cache: Path | None) -> None:
    """The same bundle with a replay."""
    parent = load_bundle(bundle)
    with progress() as told:
        work = Work(None, cache, told, lambda line: typer.echo(line, err=True))
        made = add_replay(parent, read_labelled(data, parent), out, work=work)
    size = (made.folder / REPLAY).stat().st_size
    Console().print(f"{made.version} with a replay of {size / 1e6:.1f} MB written to {out}")

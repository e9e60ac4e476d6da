"""`hilum train`: what a person sees of the training."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import typer
from rich.console import Console

from daemon.measure_commands import progress, show
from training.benavente import train_paper
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

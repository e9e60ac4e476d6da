"""`hilum train` and `hilum evaluate`: what a person sees of the training package."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer
from rich.console import Console
from rich.progress import Progress, TaskID
from rich.table import Table

from classifier.bundle import Interval, load_bundle
from training.dataset import read_dataset
from training.evaluate import Evaluation
from training.evaluate import evaluate as measure
from training.features import Progress as Told
from training.train import train as fit


def train(data: Path, out: Path, base_weights: Path | None, seed: int) -> None:
    """Train a bundle and say how good it is on patients that it never saw."""
    with _progress() as told:
        bundle = fit(data, out, base_weights=base_weights, seed=seed, progress=told)
    Console().print(f"{bundle.version} written to {out}")
    _show(Evaluation(bundle.version, bundle.manifest.metrics, ()))


def evaluate(data: Path, bundle: str, *, as_json: bool) -> None:
    """Measure a bundle on a data set."""
    images = read_dataset(data)
    with _progress() as told:
        evaluation = measure(load_bundle(bundle), images, progress=told)
    for file in evaluation.unreadable:
        typer.echo(f"hilum: not used: {file}", err=True)
    if as_json:
        typer.echo(json.dumps(evaluation.as_json(), indent=1))
    else:
        _show(evaluation)


def _show(evaluation: Evaluation) -> None:
    metrics = evaluation.metrics
    table = Table(
        "finding", "positives", "AUC (95 %)", "sensitivity", "specificity", "ECE", "Brier",
        title=f"{evaluation.bundle}: {metrics.images} images of {metrics.patients} patients",
    )  # fmt: skip
    for name, figures in metrics.findings.items():
        table.add_row(
            name.replace("_", " "), str(figures.positives), _interval(figures.auc),
            _number(figures.sensitivity), _number(figures.specificity),
            _number(figures.ece), _number(figures.brier),
        )  # fmt: skip
    table.add_row("macro", "", _interval(metrics.macro_auc), "", "", "", "")
    Console().print(table)


def _interval(interval: Interval | None) -> str:
    if interval is None:
        return "-"
    return f"{interval.value:.3f} ({interval.low:.3f} to {interval.high:.3f})"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


@contextmanager
def _progress() -> Iterator[Told]:
    with Progress(console=Console(stderr=True), transient=True) as bar:
        tasks: dict[str, TaskID] = {}

        def told(step: str, done: int, total: int) -> None:
            if step not in tasks:
                tasks[step] = bar.add_task(step, total=total)
            bar.update(tasks[step], completed=done, total=total)

        yield told

"""`hilum evaluate` and `hilum calibrate`: what a person sees of measuring and recalibrating."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import typer
from rich.console import Console
from rich.progress import Progress, TaskID, TimeRemainingColumn
from rich.table import Table

from classifier.bundle import Bundle, Interval, Metrics, load_bundle
from training.calibrate import MethodChoice, Target
from training.dataset import LabelledImages, read_dataset
from training.evaluate import MIN_CASES, Evaluation
from training.evaluate import evaluate as measure
from training.features import Progress as Told
from training.figures import Group
from training.recalibrate import Recalibrated, recalibrate

SEEN = (
    "these are the images that the bundle was trained or calibrated on: the figures are better"
    " than they will be on new patients"
)

FEW = "those figures say little, and their intervals are too narrow"
WIDTH = 136  # columns that the tables need


def evaluate(
    data: Path, bundle: str, prevalence: Iterable[str], out: Path | None, *, as_json: bool
) -> None:
    """Measure a bundle on a data set."""
    stated = dict(_share(text) for text in prevalence)
    model = load_bundle(bundle)
    if out is not None:
        from training.card import make_folder, write_results  # matplotlib is slow to import

        make_folder(out)
    with progress() as told:
        evaluation = measure(model, read_labelled(data, model), prevalence=stated, progress=told)
    _remark(evaluation.unreadable, seen=evaluation.seen)
    if evaluation.doubtful:
        few = ", ".join(map(_words, evaluation.doubtful))
        typer.echo(f"hilum: fewer than {MIN_CASES} images with or without {few}: {FEW}", err=True)
    if out is not None:
        write_results(out, model, evaluation)
    if as_json:
        typer.echo(json.dumps(evaluation.as_json(), indent=1))
        return
    show_evaluation(evaluation)
    if out is not None:
        _console().print(f"Pictures, metrics.json and the model card are in {out}.")


def calibrate(
    data: Path,
    bundle: str,
    out: Path,
    method: MethodChoice,
    targets: Iterable[str],
    *,
    as_json: bool,
) -> None:
    """Make a new version of a bundle with calibration and thresholds from new cases."""
    general, single = _targets(targets)
    model = load_bundle(bundle)
    with progress() as told:
        done = recalibrate(
            model, read_labelled(data, model), out,
            method=method, target=general, targets=single, progress=told,
        )  # fmt: skip
    _remark(done.unreadable, seen=done.seen)
    if as_json:
        typer.echo(json.dumps(done.as_json(), indent=1))
    else:
        _show_recalibrated(done)


def show(version: str, metrics: Metrics) -> None:
    """Print the figures that a manifest holds."""
    table = Table(
        "finding", "positives", "AUC (95 %)", "sensitivity", "specificity", "ECE", "Brier",
        title=f"{version}: {metrics.images} images of {metrics.patients} patients",
    )  # fmt: skip
    for name, figures in metrics.findings.items():
        table.add_row(
            _words(name), str(figures.positives), _interval(figures.auc),
            _number(figures.sensitivity), _number(figures.specificity),
            _number(figures.ece), _number(figures.brier),
        )  # fmt: skip
    table.add_row("macro", "", _interval(metrics.macro_auc), "", "", "", "")
    _console().print(table)


def show_evaluation(evaluation: Evaluation) -> None:
    """Print the figures of an evaluation, then those of each group."""
    show(evaluation.bundle, evaluation.metrics)
    decisions = Table(
        "finding", "accuracy", "balanced", "PPV", "NPV", "at prevalence",
        title="At the threshold (95 %)",
    )  # fmt: skip
    for name, figures in evaluation.whole.findings.items():
        rates = ("accuracy", "balanced_accuracy", "ppv", "npv")
        stated = "stated" if name in evaluation.stated else "of these images"
        decisions.add_row(
            _words(name), *(_interval(figures.rates[rate], 2) for rate in rates),
            f"{figures.prevalence:.3g} ({stated})",
        )  # fmt: skip
    _console().print(decisions)
    groups = [
        (f"{column} {value}", group)
        for column, parts in evaluation.groups.items()
        for value, group in parts.items()
    ]
    if groups:
        _show_groups(evaluation.scored.names, groups)


def _show_groups(names: tuple[str, ...], groups: list[tuple[str, Group]]) -> None:
    title = f"AUC within groups; -: fewer than {MIN_CASES} images with or without the finding"
    table = Table("group", "images", "macro (95 %)", *map(_words, names), title=title)
    for told, group in groups:
        found = [group.findings.get(name) for name in names]
        aucs = [_number(f.auc.value if f and f.auc else None, 2) for f in found]
        table.add_row(told, str(group.images), _interval(group.macro_auc, 2), *aucs)
    _console().print(table)


def _show_recalibrated(done: Recalibrated) -> None:
    again = done.bundle.manifest.recalibration
    if again is None:
        return
    table = Table(
        "finding", "method", "target", "threshold", "ECE before", "ECE after",
        "sensitivity", "specificity",
        title=f"{done.bundle.version}: {done.after.images} images, {done.after.patients} patients",
        caption="After: cross-fitted, each patient by a calibration that was fit on the others.",
    )  # fmt: skip
    for finding in done.bundle.manifest.findings:
        name = finding.label.name
        gain, rates = again.findings[name], done.after.findings[name].rates
        table.add_row(
            _words(name), gain.method, gain.target, f"{finding.threshold:.3f}",
            _interval(gain.ece_before), _interval(gain.ece_after),
            _interval(rates["sensitivity"], 2), _interval(rates["specificity"], 2),
        )  # fmt: skip
    _console().print(table)
    _console().print(
        f"Written to {done.bundle.folder}; the weights are those of {again.parent_version}."
    )


@contextmanager
def progress() -> Iterator[Told]:
    """A bar for each step, on standard error."""
    columns = (*Progress.get_default_columns()[:-1], TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        tasks: dict[str, TaskID] = {}

        def told(step: str, done: int, total: int) -> None:
            if step not in tasks:
                tasks[step] = bar.add_task(step, total=total)
            bar.update(tasks[step], completed=done, total=total)

        yield told


def read_labelled(data: Path, bundle: Bundle) -> LabelledImages:
    """A data set with the labels that the bundle knows; says what is odd about it."""
    labels = (finding.label for finding in bundle.manifest.findings)
    names = [name for label in labels for name in (label.name, *label.labels)]
    images = read_dataset(data, names)
    for note in images.notes:
        typer.echo(f"hilum: {note}", err=True)
    return images


def _share(text: str) -> tuple[str, float]:
    name, _, number = text.partition("=")
    try:
        share = float(number)
    except ValueError:
        share = 0.0
    if not name or not 0 < share < 1:
        raise typer.BadParameter(
            f"--prevalence is FINDING=SHARE, above 0 and below 1. Received: {text}."
        )
    return name, share


def _targets(texts: Iterable[str]) -> tuple[Target, dict[str, Target]]:
    """The target of all findings, and those of single ones."""
    general, single = Target(), {}
    for text in texts:
        name, colon, rest = text.rpartition(":")
        try:
            target = Target.parse(rest)
        except ValueError as error:
            raise typer.BadParameter(f"--target: {error}") from error
        if colon:
            single[name] = target
        else:
            general = target
    return general, single


def _remark(unreadable: Iterable[str], *, seen: bool) -> None:
    for file in unreadable:
        typer.echo(f"hilum: not used: {file}", err=True)
    if seen:
        typer.echo(f"hilum: {SEEN}", err=True)


def _console() -> Console:
    console = Console()
    return console if console.width >= WIDTH else Console(width=WIDTH)


def _interval(interval: Interval | None, digits: int = 3) -> str:
    if interval is None:
        return "-"
    return f"{interval.value:.{digits}f} ({interval.low:.{digits}f} to {interval.high:.{digits}f})"


def _number(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _words(name: str) -> str:
    return name.replace("_", " ")

"""`hilum eligibility`: what a person sees of what is accepted and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from classifier.bundle import Bundle, load_bundle
from classifier.classify import Classifier
from daemon.measure_commands import progress, read_labelled
from training.eligibility import ALSO, Screened, screen

BY_HEADER = (
    "the bundle has no model of frontal chests: image files have no header, and are all accepted"
)


def eligibility(data: Path, bundle: str, out: Path | None, *, as_json: bool) -> None:
    """Count what a bundle accepts; or, with `out`, fit its model of frontal chests anew."""
    model = load_bundle(bundle)
    if out is not None:
        _refit(model, data, out, as_json=as_json)
        return
    if model.manifest.frontal is None:
        typer.echo(f"hilum: {BY_HEADER}", err=True)
    with progress() as told:
        screened = screen(Classifier(model, also=ALSO), data, told)
    for file in screened.unreadable:
        typer.echo(f"hilum: not used: {file}", err=True)
    if as_json:
        typer.echo(json.dumps(screened.as_json(), indent=1))
    else:
        Console().print(_table(screened))


def _table(screened: Screened) -> Table:
    table = Table("label", "accepted", "refused", "for", "remarks", title=screened.bundle)
    for label, tally in screened.labels.items():
        refused = tally.refused.total()
        table.add_row(
            label,
            f"{tally.accepted} ({tally.accepted / max(tally.images, 1):.1%})",
            f"{refused} ({refused / max(tally.images, 1):.1%})",
            _counts(tally.refused),
            _counts(tally.corrected),
        )
    return table


def _counts(codes: dict[str, int]) -> str:
    return ", ".join(f"{code} {count}" for code, count in sorted(codes.items())) or "-"


def _refit(model: Bundle, data: Path, out: Path, *, as_json: bool) -> None:
    from training.refit import refit  # scikit-learn is slow to import

    with progress() as told:
        done = refit(model, read_labelled(data, model), out, told)
    for file in done.unreadable:
        typer.echo(f"hilum: not used: {file}", err=True)
    fitted = done.fitted
    if as_json:
        said: dict[str, Any] = {
            "bundle": done.bundle.version,
            "folder": str(done.bundle.folder),
            "accepted": {
                "value": fitted.accepted.value,
                "low": fitted.accepted.low,
                "high": fitted.accepted.high,
            },
            "changed_accepted": fitted.changed_accepted,
            "inverted_known": fitted.inverted_known,
            "upright_mistaken": fitted.upright_mistaken,
            "parity": {
                name: {
                    "macro_auc_difference": one.macro_auc_difference,
                    "decisions": one.decisions,
                    "passed": one.passed,
                }
                for name, one in done.parity.items()
            },
        }
        typer.echo(json.dumps(said, indent=1))
        return
    console = Console()
    console.print(fitted.sentence())
    for name, one in done.parity.items():
        console.print(
            f"{name} against f32: macro AUC {one.macro_auc_difference:+.4f}, "
            f"{one.decisions:.2%} of decisions differ: "
            f"{'passed' if one.passed else 'not passed'}"
        )
    console.print(f"{done.bundle.version} written to {out}; weights and calibration are the same.")

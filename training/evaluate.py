"""How good a bundle is on labelled radiographs, with intervals that respect patients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifier.bundle import Bundle, Metrics
from classifier.calibration import calibrated
from classifier.engine import Engine, EngineName, open_engine
from classifier.errors import NotEligible, Undecodable
from classifier.preprocessing import network_input
from training.dataset import LabelledImages
from training.errors import TooFewCases, UnknownFinding
from training.features import Progress
from training.figures import (
    Bits,
    Figures,
    Floats,
    Group,
    Scored,
    expected_calibration_error,
    group_figures,
    resamples,
)
from training.images import read_radiograph
from training.subgroups import subgroups

__all__ = ["Evaluation", "evaluate", "expected_calibration_error", "measure", "predict"]

MIN_CASES = 10
"""Positive and negative images that a finding needs to be measured within a subgroup."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A bundle's figures on a data set; `unreadable` names the files that could not be used.

    `groups` are by column and value. `stated` are the prevalences that the user gave. `seen` says
    that the bundle was trained or calibrated on these very images.
    """

    bundle: str
    metrics: Metrics
    unreadable: tuple[str, ...]
    fingerprint: str
    whole: Group
    groups: Mapping[str, Mapping[str, Group]]
    scored: Scored = field(repr=False)
    stated: Mapping[str, float]
    seen: bool

    @property
    def doubtful(self) -> tuple[str, ...]:
        """Findings with so few images on one side that their figures say little."""
        findings = self.whole.findings.items()
        return tuple(n for n, f in findings if min(f.positives, f.negatives) < MIN_CASES)

    def as_json(self) -> dict[str, Any]:
        """The object that ``hilum evaluate --json`` prints."""
        whole = _group_json(self.whole)
        for column, (name, figures) in enumerate(whole["findings"].items()):
            figures["threshold"] = float(self.scored.thresholds[column])
            figures["prevalence_is"] = "stated" if name in self.stated else "that of the images"
        return {
            "bundle": self.bundle,
            **{key: whole[key] for key in ("images", "patients", "macro_auc", "findings")},
            "subgroups": {
                column: {value: _group_json(group) for value, group in groups.items()}
                for column, groups in self.groups.items()
            },
            "data_fingerprint": self.fingerprint,
            "seen_in_training": self.seen,
            "unreadable": list(self.unreadable),
        }


def evaluate(
    bundle: Bundle,
    data: LabelledImages,
    *,
    engine: EngineName = "auto",
    prevalence: Mapping[str, float] | None = None,
    progress: Progress = lambda *_: None,
) -> Evaluation:
    """Run the bundle over all images and measure; PPV and NPV at the prevalence given.

    Raises:
        TooFewCases: not one image can be used.
        UnknownFinding: a prevalence is given for a finding that the bundle does not have.
    """
    stated = dict(prevalence or {})
    names = tuple(finding.label.name for finding in bundle.manifest.findings)
    if set(stated) - set(names):
        raise UnknownFinding(
            f"A prevalence names no finding of the bundle. Allowed: {', '.join(names)}. "
            f"Received: {', '.join(sorted(set(stated) - set(names)))}."
        )
    logits, used = predict(open_engine(bundle, engine), bundle, data, progress)
    scored = score(bundle, used, logits)
    draws = resamples(scored.patients)
    whole = group_figures(scored, draws, prevalence=stated)
    found = subgroups(used)
    groups: dict[str, dict[str, Group]] = {column: {} for column in found}
    for column, parts in found.items():
        for value, rows in parts.items():
            groups[column][value] = group_figures(scored, draws, rows, MIN_CASES, stated)
    return Evaluation(
        bundle=bundle.version,
        metrics=whole.metrics(data.folder.name),
        unreadable=used.unreadable,
        fingerprint=used.fingerprint,
        whole=whole,
        groups=groups,
        scored=scored,
        stated=stated,
        seen=seen(bundle, data) or seen(bundle, used),
    )


def score(bundle: Bundle, data: LabelledImages, logits: NDArray[np.float32]) -> Scored:
    """What the bundle says of images with these logits."""
    findings = bundle.manifest.findings
    return Scored(
        names=tuple(finding.label.name for finding in findings),
        scores=logits,
        probabilities=calibrated(logits, tuple(finding.calibration for finding in findings)),
        thresholds=np.array([finding.threshold for finding in findings]),
        targets=data.targets([(f.label.name, *f.label.labels) for f in findings]),
        patients=data.patients,
    )


def seen(bundle: Bundle, data: LabelledImages) -> bool:
    """Whether the bundle was trained or recalibrated on exactly these images."""
    manifest = bundle.manifest
    later = (manifest.recalibration, manifest.retraining)
    known = {manifest.training.fingerprint, *(each.fingerprint for each in later if each)}
    return data.fingerprint in known


def predict(
    engine: Engine, bundle: Bundle, data: LabelledImages, progress: Progress = lambda *_: None
) -> tuple[NDArray[np.float32], LabelledImages]:
    """Logits (images, findings), and the data set without the images that could not be used."""
    manifest = bundle.manifest
    logits: list[NDArray[np.float32]] = []
    refused: dict[Path, str] = {}
    for number, case in enumerate(data.cases):
        progress("evaluate", number, len(data.cases))
        try:
            radiograph = read_radiograph(case.path)
        except (Undecodable, NotEligible) as error:
            refused[case.path] = str(error)
            continue
        except OSError as error:
            refused[case.path] = str(error.strerror)
            continue
        image, _ = network_input(radiograph, manifest.preprocessing, manifest.architecture.side)
        logits.append(engine.run(image[np.newaxis]).logits)
    progress("evaluate", len(data.cases), len(data.cases))
    if not logits:
        raise TooFewCases("Not one image of the data set can be used.")
    return np.concatenate(logits), data.without(refused)


def measure(
    names: tuple[str, ...],
    probabilities: Floats,
    thresholds: Floats,
    targets: Bits,
    patients: NDArray[np.str_],
    data: str,
    seed: int = 0,
) -> Metrics:
    """Figures per finding as a manifest holds them."""
    scored = Scored(names, probabilities, probabilities, thresholds, targets, patients)
    return group_figures(scored, resamples(patients, seed)).metrics(data)


def _group_json(group: Group) -> dict[str, Any]:
    return {
        "images": group.images,
        "patients": group.patients,
        "macro_auc": asdict(group.macro_auc) if group.macro_auc else None,
        "findings": {name: _figures_json(figures) for name, figures in group.findings.items()},
        "too_few": {
            name: {"positives": positives, "negatives": negatives}
            for name, (positives, negatives) in group.too_few.items()
        },
    }


def _figures_json(figures: Figures) -> dict[str, Any]:
    intervals = {**figures.rates, "ece": figures.ece, "brier": figures.brier}
    return {
        "positives": figures.positives,
        "negatives": figures.negatives,
        "auc": asdict(figures.auc) if figures.auc else None,
        **{name: each.value if each else None for name, each in intervals.items()},
        "intervals": {name: asdict(each) if each else None for name, each in intervals.items()},
        "prevalence": figures.prevalence,
        "confusion": dict(zip(("tn", "fp", "fn", "tp"), figures.cells, strict=True)),
    }

"""How good a bundle is on labelled radiographs, with intervals that respect patients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import brier_score_loss, confusion_matrix, roc_auc_score

from classifier.bundle import Bundle, FindingMetrics, Interval, Metrics
from classifier.calibration import calibrated
from classifier.eligibility import check_contrast
from classifier.engine import Engine, EngineName, open_engine
from classifier.errors import NotEligible, Undecodable
from classifier.pixels import from_image_file
from classifier.preprocessing import network_input
from training.dataset import LabelledImages
from training.errors import TooFewCases
from training.features import Progress

BOOTSTRAPS = 1000
BINS = 10

Floats = NDArray[np.float64]
Bits = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A bundle's figures on a data set; `unreadable` names the files that could not be used."""

    bundle: str
    metrics: Metrics
    unreadable: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """The object that ``hilum evaluate --json`` prints."""
        metrics = asdict(self.metrics)
        return {
            "bundle": self.bundle,
            **{key: metrics[key] for key in ("images", "patients", "macro_auc", "findings")},
        }


def evaluate(
    bundle: Bundle,
    data: LabelledImages,
    *,
    engine: EngineName = "auto",
    progress: Progress = lambda *_: None,
) -> Evaluation:
    """Run the bundle over all images and measure.

    Raises:
        TooFewCases: not one image can be used.
    """
    logits, data = predict(open_engine(bundle, engine), bundle, data, progress)
    findings = bundle.manifest.findings
    metrics = measure(
        tuple(finding.label.name for finding in findings),
        calibrated(logits, tuple(finding.calibration for finding in findings)),
        np.array([finding.threshold for finding in findings]),
        data.targets([(f.label.name, *f.label.labels) for f in findings]),
        data.patients,
        data.folder.name,
    )
    return Evaluation(bundle.version, metrics, data.unreadable)


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
            radiograph = from_image_file(case.path)
            check_contrast(radiograph.grey)
        except (Undecodable, NotEligible) as error:
            refused[case.path] = str(error)
            continue
        image, _ = network_input(radiograph, manifest.preprocessing, manifest.architecture.side)
        logits.append(engine.run(image[np.newaxis])[0])
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
    """Figures per finding; intervals by a bootstrap that draws patients, not images."""

    def per_finding(column: int) -> FindingMetrics:
        p, y = probabilities[:, column], targets[:, column]
        decided = (p >= thresholds[column]).astype(np.uint8)
        matrix = confusion_matrix(y, decided, labels=[0, 1])
        (tn, fp), (fn, tp) = matrix.tolist()
        return FindingMetrics(
            positives=int(y.sum()),
            auc=intervals[column],
            accuracy=(tp + tn) / len(y),
            sensitivity=tp / (tp + fn) if tp + fn else None,
            specificity=tn / (tn + fp) if tn + fp else None,
            ece=expected_calibration_error(p, y),
            brier=float(brier_score_loss(y, p)),
        )

    def aucs(rows: NDArray[np.int64]) -> Floats:
        return np.array([_auc(targets[rows, c], probabilities[rows, c]) for c in range(len(names))])

    intervals, macro = _bootstrap(aucs, patients, seed)
    return Metrics(
        data=data,
        images=len(targets),
        patients=len(np.unique(patients)),
        macro_auc=macro,
        findings={name: per_finding(column) for column, name in enumerate(names)},
    )


def expected_calibration_error(probabilities: Floats, targets: Bits) -> float:
    """Mean gap of probability and frequency over ten bins of equal width, weighted by their size.

    Guo et al., On Calibration of Modern Neural Networks, ICML 2017.
    """
    bins = np.minimum((probabilities * BINS).astype(np.int64), BINS - 1)
    gap = np.bincount(bins, probabilities - targets, minlength=BINS)
    return float(np.abs(gap).sum() / len(targets))


def _auc(targets: Bits, probabilities: Floats) -> float:
    one_class = targets.min() == targets.max()
    return float("nan") if one_class else float(roc_auc_score(targets, probabilities))


def _bootstrap(
    aucs: Callable[[NDArray[np.int64]], Floats], patients: NDArray[np.str_], seed: int
) -> tuple[list[Interval | None], Interval | None]:
    """Per finding and for their mean: the value, and 2.5 and 97.5 % of the draws."""
    _, owner = np.unique(patients, return_inverse=True)
    order = np.argsort(owner, kind="stable")
    groups = np.split(order, np.cumsum(np.bincount(owner))[:-1])
    random = np.random.default_rng(seed)
    value = aucs(np.arange(len(patients)))
    draws = np.array(
        [
            aucs(
                np.concatenate([groups[g] for g in random.integers(len(groups), size=len(groups))])
            )
            for _ in range(BOOTSTRAPS)
        ]
    )
    measured = ~np.isnan(value)
    per_finding = [_interval(value[c], draws[:, c]) for c in range(len(value))]
    if not measured.any():
        return per_finding, None
    return per_finding, _interval(value[measured].mean(), draws[:, measured].mean(axis=1))


def _interval(value: float, draws: Floats) -> Interval | None:
    draws = draws[~np.isnan(draws)]
    if np.isnan(value) or len(draws) == 0:
        return None
    low, high = np.percentile(draws, (2.5, 97.5))
    return Interval(float(value), float(low), float(high))

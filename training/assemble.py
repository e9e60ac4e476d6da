"""From trained members to a bundle: their average, calibration, figures, manifest."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from classifier.bundle import (
    FRONTAL,
    REPLAY,
    WEIGHTS,
    Bundle,
    FindingLabel,
    FindingOutput,
    Interval,
    Manifest,
    Metrics,
    Reference,
    TrainingData,
    pack_weights,
    write_bundle,
)
from classifier.calibration import calibrated
from classifier.frontal import pack as pack_frontal
from classifier.network import Architecture, Weights
from training.calibrate import platt, youden_threshold
from training.dataset import Indices, LabelledImages
from training.figures import Scored, group_figures, resamples
from training.fit import Member, Recipe
from training.frontal import Fitted, described
from training.quantise import GRAPH, Int8Form
from training.replay import Replay, pack, stated

Bits = NDArray[np.uint8]
Logits = NDArray[np.float32]

PREPROCESSING = "pad-clahe-2"

MIN_AGE_YEARS = 18
"""Of patients whom a model for adults may judge."""

INTENDED_USE = (
    "Decision support on frontal chest radiographs of adults; every result is reviewed by a "
    "radiologist. Not for primary diagnosis."
)


def merged(base: Weights, members: list[Member]) -> Weights:
    """One network of the base and all members."""
    weights = dict(base)
    for number, member in enumerate(members):
        weights |= {f"{number}.{name}": array for name, array in member.weights.items()}
    return weights


def calibrate(
    logits: Logits, targets: Bits, findings: tuple[FindingLabel, ...]
) -> tuple[FindingOutput, ...]:
    """Calibration and threshold of each finding, from logits (images, findings) of unseen images.

    Raises:
        TooFewCases: a finding has one class only.
    """
    outputs = []
    for column, finding in enumerate(findings):
        truth = targets[:, column]
        calibration = platt(logits[:, column], truth)
        probabilities = calibration.probability(logits[:, column])
        outputs.append(FindingOutput(finding, calibration, youden_threshold(probabilities, truth)))
    return tuple(outputs)


def cross_fitted(
    logits: Logits,
    targets: Bits,
    patients: NDArray[np.str_],
    folds: list[Indices],
    findings: tuple[FindingLabel, ...],
) -> Scored:
    """Each fold as a calibration and thresholds from the other folds judge it."""
    probabilities = np.zeros(logits.shape)
    thresholds = np.zeros(logits.shape)
    for fold in folds:
        others = np.setdiff1d(np.arange(len(logits)), fold)
        outputs = calibrate(logits[others], targets[others], findings)
        calibrations = [output.calibration for output in outputs]
        probabilities[fold] = calibrated(logits[fold], calibrations)
        thresholds[fold] = [output.threshold for output in outputs]
    names = tuple(finding.name for finding in findings)
    return Scored(names, logits, probabilities, thresholds, targets, patients)


def figures(scored: Scored, what: str, views: NDArray[np.str_] | None = None) -> Metrics:
    """Figures of a manifest; with the views of the images, also within AP and within PA."""
    draws = resamples(scored.patients)
    metrics = group_figures(scored, draws).metrics(what)
    by_view: dict[str, Interval | None] = {}
    for view in ("AP", "PA"):
        rows = np.flatnonzero(views == view) if views is not None else np.zeros(0, dtype=np.int64)
        if len(rows):
            by_view[view] = group_figures(scored, draws, rows).macro_auc
    return replace(metrics, by_view=by_view)


def training_data(data: LabelledImages, credit: str, seed: int, holdout: str) -> TrainingData:
    """What the manifest says about the data."""
    return TrainingData(
        credit=credit,
        images=len(data.cases),
        patients=len(np.unique(data.patients)),
        fingerprint=data.fingerprint,
        holdout=holdout,
        seed=seed,
    )


def assemble(
    out_dir: Path,
    architecture: Architecture,
    recipe: Recipe,
    weights: Weights,
    outputs: tuple[FindingOutput, ...],
    source: TrainingData,
    metrics: Metrics,
    intended_use: str = INTENDED_USE,
    int8: Int8Form | None = None,
    replay: Replay | None = None,
    frontal: Fitted | None = None,
    reference: Reference | None = None,
    min_age_years: int | None = MIN_AGE_YEARS,
) -> Bundle:
    """Write the bundle: all of it or nothing."""
    contents = {WEIGHTS: pack_weights(weights), **(int8.files if int8 else {})}
    if replay is not None:
        contents[REPLAY] = pack(replay)
    if frontal is not None:
        contents[FRONTAL] = pack_frontal(frontal.model)
    digest = hashlib.sha256(b"".join(hashlib.sha256(data).digest() for data in contents.values()))
    now = datetime.now(UTC)
    manifest = Manifest(
        name="hilum_vgg16",
        version=f"{now:%Y%m%d}-{digest.hexdigest()[:8]}",
        created=now.replace(microsecond=0),
        intended_use=intended_use,
        preprocessing=PREPROCESSING,
        architecture=architecture,
        findings=outputs,
        threshold_target="youden",
        min_age_years=min_age_years,
        training=source,
        recipe=asdict(recipe),
        metrics=metrics,
        frontal=described(frontal, source.images, FRONTAL) if frontal else None,
        graphs={"int8": GRAPH} if int8 and int8.files else {},
        parity={"int8": int8.parity} if int8 else {},
        replay=stated(replay, source.credit) if replay else None,
        reference=reference,
        files={},
    )
    return write_bundle(out_dir, manifest, contents)

"""Labelled radiographs to a model bundle: data set, features, fit, calibration, evaluation."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from classifier.bundle import (
    WEIGHTS,
    Bundle,
    FindingLabel,
    FindingOutput,
    Manifest,
    Metrics,
    TrainingData,
    pack_weights,
    write_bundle,
)
from classifier.calibration import calibrated
from classifier.errors import BundleRefused
from classifier.network import Architecture, Weights
from training.base import base_weights as read_base
from training.calibrate import platt, youden_threshold
from training.dataset import Indices, LabelledImages, patient_folds, read_dataset
from training.errors import TooFewCases
from training.evaluate import evaluate
from training.features import FeatureCache, FeatureKind, Progress, compute_features
from training.fit import Examples, Member, Recipe, fit_member
from training.labels import AUXILIARY, FINDINGS

HOLDOUT_FOLDS = 10
"""One patient in so many is held out: no weight, calibration or threshold sees him (the paper)."""

PREPROCESSING = "pad-clahe-1"

ARCHITECTURE = Architecture(
    targets=tuple(finding.name for finding in FINDINGS),
    taps=("block5_conv3",),
    skips=("block3_conv3", "block4_conv3", "block5_conv3"),
    block6_filters=64,
    block7_filters=64,
    dense_units=64,
    dropout=0.5,
    l2=1e-4,
    members=5,
)
"""The default network: five extensions on one base, each trained without one fold."""

INTENDED_USE = (
    "Decision support on frontal chest radiographs of adults; every result is reviewed by a "
    "radiologist. Not for primary diagnosis."
)


def train(
    data_dir: Path,
    out_dir: Path,
    *,
    base_weights: Path | None = None,
    cache_dir: Path | None = None,
    credit: str | None = None,
    architecture: Architecture = ARCHITECTURE,
    recipe: Recipe = Recipe(),  # noqa: B008 (frozen)
    findings: tuple[FindingLabel, ...] = FINDINGS,
    seed: int = 0,
    progress: Progress = lambda *_: None,
) -> Bundle:
    """Train, calibrate and measure a bundle and write it to `out_dir`, which must not exist.

    Features are kept under `cache_dir` (by default beside `out_dir`), where a second run, or the
    same one after a kill, finds them.

    Raises:
        DatasetError: the data cannot be used.
        Diverged: the fit failed.
        BundleRefused: `out_dir` exists, or the default bundle (the base's source) is damaged.
    """
    if out_dir.exists():
        raise BundleRefused(f"{out_dir} exists already; a bundle is never edited.")
    base = read_base(base_weights)
    kind = FeatureKind(architecture.taps, architecture.skips, PREPROCESSING, architecture.side)
    cache = FeatureCache(cache_dir or out_dir.with_name(f"{out_dir.name}.features"), kind, base)
    data = compute_features(read_dataset(data_dir), cache, base, recipe.variants, progress)
    examples = examples_of(data, cache, findings, recipe)
    strata = examples.targets[:, : examples.findings]
    inner, holdout = patient_folds(data.patients, HOLDOUT_FOLDS, seed, strata)[0]
    check_cases(strata[inner], findings, recipe.min_cases)
    members = fit_members(architecture, examples, data.patients, inner, recipe, seed, progress)
    outputs = calibrate_members(members, strata, findings)
    weights = merged(base, members)
    return assemble(
        out_dir,
        architecture,
        weights,
        outputs,
        training_data(data, credit or data_dir.name, seed),
        replace(data, cases=tuple(data.cases[i] for i in holdout)),
        progress,
    )


def examples_of(
    data: LabelledImages, cache: FeatureCache, findings: tuple[FindingLabel, ...], recipe: Recipe
) -> Examples:
    """Rows of the cache and targets of all usable images, the findings first."""
    names = [(finding.name, *finding.labels) for finding in findings]
    names += [group for group in AUXILIARY if not set(group) & {n for g in names for n in g}]
    rows = np.stack([cache.find(data.cases, variant) for variant in range(recipe.variants)])
    return Examples(cache.array(), rows, data.targets(names), len(findings))


def check_cases(
    targets: NDArray[np.uint8], findings: tuple[FindingLabel, ...], needed: int
) -> None:
    """Raises: TooFewCases: naming each finding that cannot be learnt."""
    few = [
        f"{finding.name} ({int(column.sum())} of {len(column)})"
        for finding, column in zip(findings, targets.T, strict=True)
        if not needed <= column.sum() <= len(column) - needed
    ]
    if few:
        raise TooFewCases(
            f"A finding needs at least {needed} positive and {needed} negative images "
            f"outside of the hold-out. Received: {', '.join(few)}."
        )


def fit_members(
    architecture: Architecture,
    examples: Examples,
    patients: NDArray[np.str_],
    inner: Indices,
    recipe: Recipe,
    seed: int,
    progress: Progress,
) -> list[Member]:
    """One member per fold of the training part, each stopped on the fold that it does not see."""
    strata = examples.targets[inner, : examples.findings]
    folds = patient_folds(patients[inner], max(2, architecture.members), seed, strata)
    members = []
    for number in range(architecture.members):
        train_part, validation = folds[number]

        def told(step: str, done: int, total: int, member: int = number) -> None:
            progress(f"{step} {member + 1}/{architecture.members}", done, total)

        members.append(
            fit_member(
                architecture,
                examples,
                inner[train_part],
                inner[validation],
                recipe,
                seed + number,
                told,
            )
        )
    return members


def calibrate_members(
    members: list[Member], targets: NDArray[np.uint8], findings: tuple[FindingLabel, ...]
) -> tuple[FindingOutput, ...]:
    """Calibration and threshold of each finding, from each member's unseen fold."""
    seen = np.concatenate([member.validation for member in members])
    logits = np.concatenate([member.logits for member in members])
    outputs = []
    for column, finding in enumerate(findings):
        truth = targets[seen, column]
        calibration = platt(logits[:, column], truth)
        probabilities = calibrated(logits[:, column : column + 1], (calibration,))[:, 0]
        outputs.append(FindingOutput(finding, calibration, youden_threshold(probabilities, truth)))
    return tuple(outputs)


def merged(base: Weights, members: list[Member]) -> Weights:
    """One network of the base and all members."""
    weights = dict(base)
    for number, member in enumerate(members):
        weights |= {f"{number}.{name}": array for name, array in member.weights.items()}
    return weights


def training_data(data: LabelledImages, credit: str, seed: int) -> TrainingData:
    """What the manifest says about the data."""
    return TrainingData(
        credit=credit,
        images=len(data.cases),
        patients=len(np.unique(data.patients)),
        fingerprint=data.fingerprint,
        holdout=f"1 patient in {HOLDOUT_FOLDS}, drawn with the seed, in no part of the training",
        seed=seed,
    )


def assemble(
    out_dir: Path,
    architecture: Architecture,
    weights: Weights,
    outputs: tuple[FindingOutput, ...],
    source: TrainingData,
    holdout: LabelledImages,
    progress: Progress,
) -> Bundle:
    """Measure the network as stored on the hold-out, and write the bundle with its figures."""
    packed = pack_weights(weights)
    now = datetime.now(UTC)
    manifest = Manifest(
        name="hilum_vgg16",
        version=f"{now:%Y%m%d}-{hashlib.sha256(packed).hexdigest()[:8]}",
        created=now.replace(microsecond=0),
        intended_use=INTENDED_USE,
        preprocessing=PREPROCESSING,
        architecture=architecture,
        findings=outputs,
        threshold_target="youden",
        training=source,
        metrics=Metrics("not measured", 0, 0, None, {}),
        files={},
    )
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".draft.", dir=out_dir.parent) as folder:
        draft = write_bundle(Path(folder, "bundle"), manifest, {WEIGHTS: packed})
        measured = evaluate(draft, holdout, engine="f32", progress=progress).metrics
    metrics = replace(measured, data=f"hold-out of {source.credit}")
    return write_bundle(
        out_dir, manifest.model_copy(update={"metrics": metrics}), {WEIGHTS: packed}
    )

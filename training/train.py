"""Labelled radiographs to a model bundle: data set, features, fit, calibration, figures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from classifier.bundle import Bundle, FindingLabel
from classifier.errors import BundleRefused
from classifier.network import Architecture, Weights
from classifier.pixels import Grey
from training.assemble import (
    PREPROCESSING,
    assemble,
    calibrate,
    cross_fitted,
    figures,
    merged,
    training_data,
)
from training.base import base_weights as read_base
from training.checkpoint import Checkpoint
from training.dataset import Indices, LabelledImages, patient_folds, read_dataset
from training.effort import Effort
from training.errors import ReplayMissing, TooFewCases
from training.features import FeatureCache, FeatureKind, Progress, compute_features
from training.fit import Examples, Member, Recipe, Say, fit_member, macro_auc
from training.frontal import copies, fit_frontal, skips_of
from training.images import input_of
from training.labels import AUXILIARY, FINDINGS
from training.quantise import Unseen, int8_form
from training.references import reference
from training.replay import Replay, replay_of

LAYERS = ("block3_conv3", "block4_conv3", "block5_conv2", "block5_conv3")
"""Their averages say more than those of block5 alone: docs/decisions/0005."""

ARCHITECTURE = Architecture(
    targets=tuple(finding.name for finding in FINDINGS),
    taps=("block5_conv3",),
    skips=LAYERS + tuple(f"{layer}@lungs" for layer in LAYERS),
    block6_filters=64,
    block7_filters=64,
    dense_units=64,
    dropout=0.5,
    l2=1e-4,
    members=5,
)
"""The default network: five extensions on one base, each trained without one fold."""

OUT_OF_FOLD = (
    "{count}-fold cross-validation by patient on {credit}: each image by the one member that did "
    "not see its patient, calibrated by the other folds"
)


@dataclass(frozen=True, slots=True)
class Work:
    """Where a training keeps what it has reached, and whom it tells.

    cache: folder of features and checkpoints, by default beside the bundle.
    """

    base_weights: Path | None = None
    cache: Path | None = None
    progress: Progress = lambda *_: None
    say: Say = lambda _: None
    effort: Effort = field(default_factory=Effort)


def train(
    data_dir: Path,
    out_dir: Path,
    *,
    credit: str | None = None,
    architecture: Architecture = ARCHITECTURE,
    recipe: Recipe = Recipe(),  # noqa: B008 (frozen)
    findings: tuple[FindingLabel, ...] = FINDINGS,
    seed: int = 0,
    work: Work = Work(),
) -> Bundle:
    """Train, calibrate and measure a bundle and write it to `out_dir`, which must not exist.

    One member per fold by patient, each trained without its fold; the bundle averages them. What
    a member says of its fold gives calibration, thresholds and figures. A second run, or the same
    one after a kill, goes on from what `work.cache` holds.

    Raises:
        DatasetError: the data cannot be used.
        Diverged: the fit failed.
        CacheFailed: the disk is full or fails.
        BundleRefused: `out_dir` exists, or the default bundle (the base's source) is damaged.
    """
    data, base, cache = prepare(read_dataset(data_dir), out_dir, architecture, recipe, work)
    examples = examples_of(data, cache, findings, recipe)
    targets = examples.targets[:, : examples.findings]
    check_cases(targets, findings, max(recipe.min_cases, architecture.members))
    folds = patient_folds(data.patients, max(2, architecture.members), seed, targets)
    key = f"{cache.folder.name} {data.fingerprint} {architecture} {recipe} {seed}"
    members = []
    for number in range(architecture.members):
        checkpoint = Checkpoint(cache.folder, f"{key} {number}")
        told = _numbered(work.say, f"member {number + 1} of {architecture.members}")
        work.progress("fit", number, architecture.members)
        with work.effort.on("fitting the extension"):
            members.append(
                fit_member(
                    architecture, examples, *folds[number], recipe, seed + number, checkpoint, told
                )
            )
    work.progress("fit", architecture.members, architecture.members)
    weights = merged(base, members)
    averages = examples.averages.take(examples.rows[0])
    replay = _replay(architecture, weights, data, cache, targets, folds, work)
    bundle = _bundle(
        out_dir, architecture, recipe, weights, members, data, averages, targets, findings,
        credit, seed, replay, work,
    )  # fmt: skip
    finish(cache, work)
    return bundle


def _bundle(
    out_dir: Path,
    architecture: Architecture,
    recipe: Recipe,
    weights: Weights,
    members: list[Member],
    data: LabelledImages,
    averages: NDArray[np.float16],
    targets: NDArray[np.uint8],
    findings: tuple[FindingLabel, ...],
    credit: str | None,
    seed: int,
    replay: Replay | None,
    work: Work,
) -> Bundle:
    """Calibrate and measure on what each member did not see; write."""
    source = credit or data.folder.name
    seen = np.concatenate([member.validation for member in members])
    logits, starts = (
        np.concatenate([getattr(member, name) for member in members])
        for name in ("logits", "start")
    )
    truth = targets[seen]
    work.say(
        f"out of fold: AUC {macro_auc(truth, starts):.4f} by the linear readout, "
        f"{macro_auc(truth, logits):.4f} with the added blocks"
    )
    ends = np.cumsum([len(member.validation) for member in members])
    rows = np.split(np.arange(len(seen)), ends[:-1])
    views = np.array([data.cases[i].columns.get("view", "").strip().upper() for i in seen])
    scored = cross_fitted(logits, truth, data.patients[seen], rows, findings)
    metrics = figures(scored, OUT_OF_FOLD.format(count=len(members), credit=source), views)
    outputs = calibrate(logits, truth, findings)

    def read(row: int) -> Grey:
        return input_of(data.cases[row].path, PREPROCESSING, architecture.side)

    by = np.repeat(np.arange(len(members)), [len(part) for part in rows])
    with work.effort.on("the int8 form"):
        int8 = int8_form(
            architecture, weights, outputs, Unseen(seen, by, truth, logits), read, work.progress
        )
    work.say(
        f"int8 against f32, out of fold: macro AUC {int8.parity.macro_auc_difference:+.4f}, "
        f"{int8.parity.decisions:.2%} of decisions differ: "
        f"{'passed' if int8.parity.passed else 'not passed, f32 serves'}"
    )
    frontal = None
    if skips_of(architecture) and int8.engine is not None:
        with work.effort.on("the model of frontal chests"):
            more = copies(int8.engine, len(data.cases), read, work.progress)
            frontal = fit_frontal(architecture, averages, more, [m.validation for m in members])
        work.say(frontal.sentence())
    return assemble(
        out_dir,
        architecture,
        recipe,
        weights,
        outputs,
        training_data(data, source, seed, f"none: {len(members)} folds by patient"),
        metrics,
        int8=int8,
        frontal=frontal,
        replay=replay,
        reference=reference(
            [data.cases[row].path for row in seen], logits, outputs, None, work.progress
        ),
    )


def _replay(
    architecture: Architecture,
    weights: Weights,
    data: LabelledImages,
    cache: FeatureCache,
    targets: NDArray[np.uint8],
    folds: list[tuple[Indices, Indices]],
    work: Work,
) -> Replay | None:
    """What a later retraining learns from; none where the network or the images do not allow it."""
    if not architecture.skips:
        return None
    try:
        return replay_of(architecture, weights, data, cache, targets, folds)
    except ReplayMissing as error:
        work.say(str(error))
        return None


def prepare(
    data: LabelledImages, out_dir: Path, architecture: Architecture, recipe: Recipe, work: Work
) -> tuple[LabelledImages, Weights, FeatureCache]:
    """Features of all usable images; says which are not, and why.

    Raises:
        BundleRefused: `out_dir` exists.
        TooFewCases: not one image can be used.
    """
    if out_dir.exists():
        raise BundleRefused(f"{out_dir} exists already; a bundle is never edited.")
    base = read_base(work.base_weights)
    skips = architecture.skips or ARCHITECTURE.skips  # one cache for both recipes
    kind = FeatureKind(architecture.taps, skips, PREPROCESSING, architecture.side)
    cache = FeatureCache(work.cache or out_dir.with_name(f"{out_dir.name}.features"), kind, base)
    data = compute_features(data, cache, base, recipe.variants, work.progress, work.effort)
    if not data.cases:
        raise TooFewCases("Not one image of the data set can be used.")
    data = data.without_duplicates([cache.input_of(case) for case in data.cases])
    for file in data.unreadable:
        work.say(f"not used: {file}")
    for note in data.notes:
        work.say(note)
    return data, base, cache


def finish(cache: FeatureCache, work: Work) -> None:
    """Remove the checkpoints, which the bundle makes needless; say what took the time."""
    for file in cache.folder.glob("fit-*"):
        file.unlink()
    work.say(work.effort.line())


def examples_of(
    data: LabelledImages, cache: FeatureCache, findings: tuple[FindingLabel, ...], recipe: Recipe
) -> Examples:
    """Rows of the cache and targets of all usable images, the findings first."""
    names = [(finding.name, *finding.labels) for finding in findings]
    if not recipe.exclusive:
        names += [group for group in AUXILIARY if not set(group) & {n for g in names for n in g}]
    rows = np.stack([cache.find(data.cases, variant) for variant in range(recipe.variants)])
    return Examples(cache.maps(), cache.averages(), rows, data.targets(names), len(findings))


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
            f"A finding needs at least {needed} positive and {needed} negative images. "
            f"Received: {', '.join(few)}."
        )


def _numbered(say: Say, who: str) -> Callable[[str], None]:
    return lambda line: say(f"{who}: {line}")

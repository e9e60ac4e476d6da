"""A bundle learns from local cases beside the replay of its first training; nothing is downloaded.

What is learnt anew is each member's readout of the base's averages, from the serving weights on.
block6 and block7 stay as they are: they were measured to add nothing (docs/decisions/0005), and
their maps are too large to travel. The problem is convex, so that the same cases give the same
weights wherever the search begins.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from classifier.bundle import (
    REPLAY,
    WEIGHTS,
    Bundle,
    FindingLabel,
    Retraining,
    pack_weights,
    write_bundle,
)
from classifier.errors import BundleRefused
from classifier.network import Architecture, Weights
from training.assemble import calibrate, cross_fitted, figures
from training.dataset import Indices, LabelledImages, patient_folds
from training.errors import TooFewCases
from training.extension import Linear, Normalisation, class_weights, linear_start
from training.features import FeatureCache, FeatureKind, compute_features
from training.fit import macro_auc
from training.images import input_of
from training.quantise import GRAPH, Int8Form, Unseen, int8_form
from training.readout import readout, with_readout
from training.references import reference
from training.replay import Replay, block_logits, pack, read_replay, replay_of, stated
from training.train import Work, check_cases, finish

Floats = NDArray[np.float32]
Bits = NDArray[np.uint8]

PENALTY = 0.5
"""That of the first training: `training.fit.Recipe.linear_penalty`."""

MIN_CASES = 10

PLAIN = Normalisation(*(np.array(value, dtype=np.float32) for value in (1, 1, 0)))
"""Of averages that are standardised already."""

QUIET = Work()


@dataclass(frozen=True, slots=True)
class Cases:
    """Images as a readout sees them.

    averages: (images, features), standardised. blocks: (images, members, findings), the rest of
    each member's logits. targets: (images, findings) 0 or 1. folds: (images), the member that does
    not learn the image.
    """

    averages: Floats
    blocks: Floats
    targets: Bits
    folds: NDArray[np.int64]


def refit(old: Linear, member: int, local: Cases, replay: Cases | None) -> Linear:
    """A member's readout, learnt from what is not in its fold: local cases, beside the replay."""
    sources = [local] if replay is None else [replay, local]
    rows = [np.flatnonzero(source.folds != member) for source in sources]
    parts = list(zip(sources, rows, strict=True))
    averages = np.concatenate([source.averages[kept] for source, kept in parts])
    targets = np.concatenate([source.targets[kept] for source, kept in parts])
    blocks = np.concatenate([source.blocks[kept, member] for source, kept in parts])
    return linear_start(
        PLAIN, averages[np.newaxis], targets, PENALTY, class_weights(targets), blocks, old
    )


def unseen_logits(cases: Cases, readouts: list[Linear]) -> Floats:
    """(images, findings): of each image, by the member that does not learn it."""
    logits = np.empty(cases.targets.shape, dtype=np.float32)
    for member, (kernel, bias) in enumerate(readouts):
        rows = np.flatnonzero(cases.folds == member)
        logits[rows] = cases.averages[rows] @ kernel + bias + cases.blocks[rows, member]
    return logits


def retrain(
    parent: Bundle, data: LabelledImages, out_dir: Path, *, seed: int = 0, work: Work = QUIET
) -> Bundle:
    """Retrain, calibrate and measure on the local cases; write to `out_dir`, which must not exist.

    Figures, calibration and thresholds are those of local cases that no member learnt from.

    Raises:
        ReplayMissing, ReadoutMissing: the parent cannot be retrained without forgetting.
        TooFewCases: names each finding that the local cases are too few for.
        CacheFailed: the disk is full or fails.
        BundleRefused: `out_dir` exists, or the parent is damaged.
    """
    replay = read_replay(parent)
    a, weights = parent.manifest.architecture, parent.weights()
    old = [readout(a, weights, member, replay.norm) for member in range(a.members)]
    data, cache = _features(parent, weights, data, out_dir, work)
    findings = tuple(finding.label for finding in parent.manifest.findings)
    targets = data.targets([(label.name, *label.labels) for label in findings])
    check_cases(targets, findings, max(MIN_CASES, a.members))
    local = _local(a, weights, data, cache, replay, targets, seed)
    first = Cases(replay.averages, replay.blocks, replay.targets, replay.folds)
    new: list[Linear] = []
    for member in range(a.members):
        work.progress("fit", member, a.members)
        with work.effort.on("fitting the readout"):
            new.append(refit(old[member], member, local, first))
    work.progress("fit", a.members, a.members)
    fresh = dict(weights)
    for member, linear in enumerate(new):
        fresh |= with_readout(a, weights, member, replay.norm, linear)
    remembered = [macro_auc(first.targets, unseen_logits(first, each)) for each in (old, new)]
    work.say(f"on the first training's images: AUC {remembered[0]:.4f}, now {remembered[1]:.4f}")
    history = Retraining(
        parent=parent.digest,
        parent_version=parent.version,
        data=data.folder.resolve().name,
        images=len(data.cases),
        patients=len(np.unique(data.patients)),
        fingerprint=data.fingerprint,
        replayed=len(replay.targets),
        remembered_before=remembered[0],
        remembered_after=remembered[1],
    )
    bundle = _bundle(
        parent, fresh, data, local, unseen_logits(local, new), findings, history, out_dir, work
    )
    finish(cache, work)
    return bundle


def _features(
    parent: Bundle, weights: Weights, data: LabelledImages, out_dir: Path, work: Work
) -> tuple[LabelledImages, FeatureCache]:
    """Of all usable images, by the parent's own base; says which are not, and why."""
    if out_dir.exists():
        raise BundleRefused(f"{out_dir} exists already; a bundle is never edited.")
    a = parent.manifest.architecture
    kind = FeatureKind(a.taps, a.skips, parent.manifest.preprocessing, a.side)
    folder = work.cache or out_dir.with_name(f"{out_dir.name}.features")
    cache = FeatureCache(folder, kind, weights)
    data = compute_features(data, cache, weights, 1, work.progress, work.effort)
    if not data.cases:
        raise TooFewCases("Not one image of the data set can be used.")
    data = data.without_duplicates([cache.input_of(case) for case in data.cases])
    for line in (*data.unreadable, *data.notes):
        work.say(f"not used: {line}")
    return data, cache


def _local(
    a: Architecture,
    weights: Weights,
    data: LabelledImages,
    cache: FeatureCache,
    replay: Replay,
    targets: Bits,
    seed: int,
) -> Cases:
    rows = cache.find(data.cases, 0)
    averages = cache.averages().take(rows)[:, : a.skip_filters] * replay.gain + replay.shift
    folds = _members(patient_folds(data.patients, max(2, a.members), seed, targets), len(rows))
    return Cases(averages, block_logits(a, weights, cache, rows), targets, folds)


def _members(folds: list[tuple[Indices, Indices]], count: int) -> NDArray[np.int64]:
    member = np.zeros(count, dtype=np.int64)
    for number, (_, smaller) in enumerate(folds):
        member[smaller] = number
    return member


def _bundle(
    parent: Bundle,
    weights: Weights,
    data: LabelledImages,
    local: Cases,
    logits: Floats,
    findings: tuple[FindingLabel, ...],
    history: Retraining,
    out_dir: Path,
    work: Work,
) -> Bundle:
    """Calibrated and measured on local cases that the members did not learn; written."""
    old = parent.manifest
    folds = [np.flatnonzero(local.folds == member) for member in range(old.architecture.members)]
    outputs = calibrate(logits, local.targets, findings)
    scored = cross_fitted(logits, local.targets, data.patients, folds, findings)
    int8 = Int8Form({}, old.parity["int8"]) if "int8" in old.parity else None
    if "int8" in old.graphs:
        with work.effort.on("the int8 form"):
            int8 = int8_form(
                old.architecture, weights, outputs,
                Unseen(np.arange(len(logits)), local.folds, local.targets, logits),
                lambda row: input_of(
                    data.cases[row].path, old.preprocessing, old.architecture.side
                ),
                work.progress,
            )  # fmt: skip
    kept = {
        part.file: parent.read(part.file) for part in (old.frontal, old.replay) if part is not None
    }
    contents = {WEIGHTS: pack_weights(weights), **kept, **(int8.files if int8 else {})}
    now = datetime.now(UTC).replace(microsecond=0)
    digest = hashlib.sha256(b"".join(hashlib.sha256(c).digest() for c in contents.values()))
    manifest = old.model_copy(
        update={
            "version": f"{now:%Y%m%d}-{digest.hexdigest()[:8]}",
            "created": now,
            "findings": outputs,
            "threshold_target": "youden",
            "recalibration": None,
            "retraining": history,
            "metrics": figures(
                scored,
                f"{len(folds)}-fold cross-validation by patient on {history.data}, local cases",
                np.array([c.columns.get("view", "").strip().upper() for c in data.cases]),
            ),
            "graphs": {"int8": GRAPH} if int8 and int8.files else {},
            "parity": {"int8": int8.parity} if int8 else {},
            "reference": reference(
                [case.path for case in data.cases], logits, outputs, old.reference, work.progress
            ),
        }
    )
    return write_bundle(out_dir, manifest, contents)


def add_replay(
    bundle: Bundle, data: LabelledImages, out_dir: Path, *, work: Work = QUIET
) -> Bundle:
    """The same bundle with a replay of the images that it was trained on.

    Raises:
        TooFewCases: these are not the images that the manifest states.
        ReadoutMissing: its network has none that could be retrained.
        CacheFailed: the disk is full or fails.
        BundleRefused: `out_dir` exists, or the bundle is damaged.
    """
    weights, manifest = bundle.weights(), bundle.manifest
    data, cache = _features(bundle, weights, data, out_dir, work)
    if data.fingerprint != manifest.training.fingerprint:
        raise TooFewCases("These are not the images and labels that the bundle was trained on.")
    a = manifest.architecture
    labels = [(f.label.name, *f.label.labels) for f in manifest.findings]
    targets = data.targets(labels)
    folds = patient_folds(data.patients, max(2, a.members), manifest.training.seed, targets)
    replay = replay_of(a, weights, data, cache, targets, folds)
    for member in range(a.members):
        readout(a, weights, member, replay.norm)
    contents = {name: bundle.read(name) for name in manifest.files} | {REPLAY: pack(replay)}
    entry = stated(replay, manifest.training.credit)
    return write_bundle(out_dir, manifest.model_copy(update={"replay": entry}), contents)

"""The paper's recipe: balanced classes that exclude each other, softmax, a 90/10 hold-out.

Benavente, Gatica and González-Feliu, "Balanced Medical Image Classification with Transfer Learning
and Convolutional Neural Networks", Axioms 2022, 11, 115. What it leaves open (filters, rates,
pooling) is ours: `ARCHITECTURE` and `RECIPE`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, roc_auc_score

from classifier.bundle import Bundle, FindingLabel, Interval
from classifier.calibration import calibrated
from classifier.errors import BundleRefused
from classifier.network import Architecture
from training.assemble import assemble, calibrate, figures, merged, training_data
from training.checkpoint import Checkpoint
from training.dataset import LabelledImages, patient_folds, read_dataset
from training.errors import TooFewCases
from training.figures import Scored, bounds, resamples
from training.fit import Recipe, fit_member, softmax
from training.labels import FINDINGS, class_label
from training.train import Work, check_cases, examples_of, finish, prepare

NAME = "benavente2022"

PAPER_ACCURACY, PAPER_AUC = 0.56, 0.50
"""Of five classes of 1,086 images each: test accuracy and ROC-AUC."""

HOLDOUT_FOLDS = 10
"""One patient in so many is held out for the test, and one of the rest for early stopping."""

RECIPE = Recipe(
    name=NAME,
    epochs=30,  # a ceiling: early stopping ends it
    patience=4,
    learning_rate=1e-3,
    label_smoothing=0.0,  # the classes are taken as they stand
    exclusive=True,
)

ARCHITECTURE = Architecture(
    targets=("class",), block6_filters=64, block7_filters=64, dense_units=64, members=1
)
"""The paper's shape: two convolutional blocks and one dense block on block5."""

INTENDED_USE = (
    "Comparison with the paper only. One of these classes is taken to be present and the others "
    "absent; not for decision support."
)

CAUTION = (
    "The classes come from different sources ({sources}): a high figure is largely the recognition "
    "of the source (another hospital, another machine, children), not of the disease."
)


@dataclass(frozen=True, slots=True)
class Tested:
    """Of the hold-out, by the most probable class; the AUC is macro-averaged one-versus-rest."""

    accuracy: Interval
    auc: float
    images: int

    def sentence(self) -> str:
        """Beside the paper's."""
        return (
            f"test accuracy {self.accuracy.value:.1%} ({self.accuracy.low:.1%} to "
            f"{self.accuracy.high:.1%}; the paper's {PAPER_ACCURACY:.0%}), macro one-versus-rest "
            f"ROC-AUC {self.auc:.3f} (the paper's {PAPER_AUC:.2f}), {self.images} images"
        )


def train_paper(
    data_dir: Path,
    out_dir: Path,
    *,
    credit: str | None = None,
    architecture: Architecture = ARCHITECTURE,
    recipe: Recipe = RECIPE,
    seed: int = 0,
    work: Work = Work(),  # noqa: B008 (frozen)
) -> Bundle:
    """Train by the paper's recipe and write a bundle, whose metrics hold the paper's two figures.

    Classes are the values of the column `label`; without it the default findings, an image counting
    as the rarest that it carries. Raises: as `training.train.train`.
    """
    if out_dir.exists():
        raise BundleRefused(f"{out_dir} exists already; a bundle is never edited.")
    whole, classes = classified(read_dataset(data_dir, single=True))
    if len(classes) < 2:
        raise TooFewCases(f"Training needs at least 2 classes. Received: {classes[0].name} alone.")
    data = balanced(whole, classes, seed)
    work.say(f"{len(data.cases)} of {len(whole.cases)} images, the same number of each class")
    architecture = replace(architecture, targets=tuple(one.name for one in classes))
    data, base, cache = prepare(data, out_dir, architecture, recipe, work)
    data = balanced(data, classes, seed)
    examples = examples_of(data, cache, classes, recipe)
    check_cases(examples.targets, classes, recipe.min_cases)
    inner, test = patient_folds(data.patients, HOLDOUT_FOLDS, seed, examples.targets)[0]
    larger, smaller = patient_folds(
        data.patients[inner], HOLDOUT_FOLDS - 1, seed, examples.targets[inner]
    )[0]
    train, validation = inner[larger], inner[smaller]
    for part in (train, validation, test):
        check_cases(examples.targets[part], classes, 1)
    key = f"{cache.folder.name} {data.fingerprint} {architecture} {recipe} {seed}"
    work.progress("fit", 0, 1)
    with work.effort.on("fitting the extension"):
        seen = np.concatenate([validation, test])
        member = fit_member(
            architecture, examples, train, validation, recipe, seed,
            Checkpoint(cache.folder, key), work.say, also=test,
        )  # fmt: skip
    work.progress("fit", 1, 1)
    truth, patients = examples.targets[seen], data.patients[seen]
    parts = np.split(np.arange(len(seen)), [len(validation)])
    result = tested(member.logits[parts[1]], truth[parts[1]], patients[parts[1]])
    caution = source_caution(data, classes)
    work.say(result.sentence())
    if caution:
        work.say(caution)
    outputs = calibrate(member.logits[parts[0]], truth[parts[0]], classes)
    scored = Scored(
        architecture.targets,
        member.logits[parts[1]],
        calibrated(member.logits[parts[1]], [output.calibration for output in outputs]),
        np.array([output.threshold for output in outputs]),
        truth[parts[1]],
        patients[parts[1]],
    )
    source = credit or data_dir.name
    what = f"hold-out of {source} by patient: {result.sentence()}. {caution}".strip()
    metrics = replace(figures(scored, what), accuracy=result.accuracy)
    bundle = assemble(
        out_dir, architecture, recipe, merged(base, [member]), outputs,
        training_data(data, source, seed, f"1 patient in {HOLDOUT_FOLDS}, drawn with the seed"),
        metrics, INTENDED_USE, min_age_years=None,
    )  # fmt: skip
    finish(cache, work)
    return bundle


def classified(data: LabelledImages) -> tuple[LabelledImages, tuple[FindingLabel, ...]]:
    """Each image with the one class that it counts as; images of no class are left out."""
    if "label" in data.cases[0].columns:
        names = sorted({name for case in data.cases for name in case.labels})
        return data, tuple(class_label(name) for name in names)
    targets = data.targets([(finding.name, *finding.labels) for finding in FINDINGS])
    rarity = np.argsort(targets.sum(axis=0, dtype=np.int64), kind="stable")
    cases = []
    for case, row in zip(data.cases, targets, strict=True):
        present = [FINDINGS[column].name for column in rarity if row[column]]
        if present:
            cases.append(replace(case, labels=frozenset(present[:1])))
    return replace(data, cases=tuple(cases)), FINDINGS


def balanced(data: LabelledImages, classes: Sequence[FindingLabel], seed: int) -> LabelledImages:
    """As many images of each class as the rarest has, drawn with the seed, in the old order."""
    targets = data.targets([(one.name, *one.labels) for one in classes])
    random = np.random.default_rng(seed)
    size = int(targets.sum(axis=0).min(initial=len(targets)))
    kept = [random.permutation(np.flatnonzero(column))[:size] for column in targets.T]
    rows = np.sort(np.concatenate(kept)) if kept else np.zeros(0, dtype=np.int64)
    return replace(data, cases=tuple(data.cases[row] for row in rows))


def tested(
    logits: NDArray[np.float32], truth: NDArray[np.uint8], patients: NDArray[np.str_]
) -> Tested:
    """The paper's two figures; the interval of the accuracy by a bootstrap over patients."""
    expected, found = truth.argmax(axis=1), logits.argmax(axis=1)
    weights = resamples(patients).astype(np.float64)
    draws = weights @ (expected == found) / weights.sum(axis=1)
    accuracy = bounds(float(accuracy_score(expected, found)), draws)
    auc = float(roc_auc_score(truth, softmax(logits), average="macro"))
    return Tested(accuracy, auc, len(truth))


def source_caution(data: LabelledImages, classes: Sequence[FindingLabel]) -> str:
    """What must be said where the column `source` differs between the classes; else nothing."""
    sources = [
        frozenset(c.columns.get("source", "") for c in data.cases if c.labels & {*one.labels})
        for one in classes
    ]
    if len(set(sources)) < 2:
        return ""
    return CAUTION.format(sources=", ".join(sorted(frozenset[str]().union(*sources))))

"""The extension (block6, block7, dense block) trained on cached features of the frozen base."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from classifier.network import Architecture, Weights
from training.checkpoint import Checkpoint, Progressed
from training.dataset import Indices
from training.errors import Diverged
from training.extension import (
    Floats,
    Halves,
    build,
    class_weights,
    folded,
    linear_start,
    normalisation,
)
from training.features import Rows

Say = Callable[[str], None]
"""Called with a line for people: what an epoch brought."""

SAMPLE = 200
"""Images from which the scale of the maps is measured."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """Hyperparameters of the fit, each with its reason.

    The network's own (filters, dense width, dropout, L2) stand in its `Architecture`.
    """

    name: str = "hilum-1"
    epochs: int = 4  # from the linear start, the added blocks gain nothing after a few
    patience: int | None = None  # epochs without a better score; none: no fold chooses its epoch
    batch: int = 32  # smaller ones are noisier, larger ones slower to converge
    learning_rate: float = 3e-4  # Adam; decays to a twentieth over the epochs (cosine)
    linear_penalty: float = 0.5  # L2 of the linear start; 0.3 to 1 is flat, 4 loses 0.02 AUC
    auxiliary_weight: float = 0.3  # further labels shape the maps and must not lead
    label_smoothing: float = 0.05  # the labels are text-mined, with errors
    variants: int = 1  # 2: the mirror image too, at twice the time of the features
    min_cases: int = 10  # positive and negative images of a finding, to be learnt at all
    exclusive: bool = False  # softmax over classes in place of one sigmoid per finding


@dataclass(frozen=True, slots=True)
class Examples:
    """Cached features with their targets.

    maps, averages: rows of the cache; see `FeatureKind`.
    rows: (variants, images), the row of each variant of each image.
    targets: (images, targets) 0 or 1, the bundle's findings first.
    findings: how many of the targets are findings.
    """

    maps: Rows
    averages: Rows
    rows: NDArray[np.int64]
    targets: NDArray[np.uint8]
    findings: int


@dataclass(frozen=True, slots=True)
class Member:
    """One trained extension: its weights, and the logits of the images that it did not see.

    start: those logits before the first epoch, of the linear readout alone.
    """

    weights: Weights
    validation: Indices
    logits: Floats
    start: Floats
    score: float
    epochs: int


def fit_member(
    architecture: Architecture,
    examples: Examples,
    train: Indices,
    validation: Indices,
    recipe: Recipe,
    seed: int,
    checkpoint: Checkpoint | None = None,
    say: Say = lambda _: None,
    also: Indices | None = None,
) -> Member:
    """Train one extension; the same seed gives the same weights, with or without a kill between.

    With `patience` the epoch with the best score on `validation` is kept, otherwise the last. The
    logits are those of `validation`, followed by those of `also`.

    Raises:
        Diverged: the loss is no number.
        CacheFailed: the disk does not take the checkpoint.
    """
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
    rows = examples.rows[:, train]
    averages = _averages(architecture, examples, rows.ravel())
    sample = train[:: max(1, len(train) // SAMPLE)]
    norm = normalisation(
        architecture, _inputs(architecture, examples, examples.rows[0, sample])[0], averages
    )
    start = None
    if architecture.skips:
        start = linear_start(
            norm,
            averages.reshape(*rows.shape, -1),
            examples.targets[train],
            recipe.linear_penalty,
            class_weights(examples.targets[train]),
        )
    model = build(architecture, norm, start, examples.targets.shape[1])
    steps = recipe.epochs * -(-len(train) // recipe.batch)
    rate = keras.optimizers.schedules.CosineDecay(recipe.learning_rate, steps, alpha=0.05)
    model.compile(keras.optimizers.Adam(rate), _loss(examples, train, recipe))
    seen = validation if also is None else np.concatenate([validation, also])
    first = predict(architecture, model, examples, seen)
    reached = _epochs(
        architecture, model, examples, train, validation, recipe, seed, checkpoint, say
    )
    model.set_weights(reached.best)
    logits = predict(architecture, model, examples, seen)
    return Member(
        folded(architecture, model, norm), seen, logits, first,
        reached.score, reached.best_epoch,
    )  # fmt: skip


def _epochs(
    architecture: Architecture,
    model: Any,
    examples: Examples,
    train: Indices,
    validation: Indices,
    recipe: Recipe,
    seed: int,
    checkpoint: Checkpoint | None,
    say: Say,
) -> Progressed:
    """From the last checkpoint, or from the start, to the end."""
    model.optimizer.build(model.trainable_variables)
    variables = [*model.variables, *model.optimizer.variables]
    truth = examples.targets[validation, : examples.findings]
    reached = checkpoint.load() if checkpoint is not None else None
    if reached is None:
        score = macro_auc(truth, predict(architecture, model, examples, validation))
        reached = Progressed(0, [np.asarray(v) for v in variables], 0, score, model.get_weights())
        say(f"start: AUC {score:.3f}")
    else:
        for variable, value in zip(variables, reached.state, strict=True):
            variable.assign(value)
        say(f"resumed after epoch {reached.epoch}")
    while reached.epoch < recipe.epochs and not _stopped(reached, recipe):
        epoch = reached.epoch + 1
        loss = _epoch(architecture, model, examples, train, recipe, seed, epoch)
        score = macro_auc(truth, predict(architecture, model, examples, validation))
        say(f"epoch {epoch} of {recipe.epochs}: loss {loss:.4f}, AUC {score:.3f}")
        kept = reached.best_epoch, reached.score, reached.best
        if recipe.patience is None or score > reached.score:
            kept = epoch, score, model.get_weights()
        reached = Progressed(epoch, [np.asarray(v) for v in variables], *kept)
        if checkpoint is not None:
            checkpoint.save(reached)
    return reached


def _stopped(reached: Progressed, recipe: Recipe) -> bool:
    return recipe.patience is not None and reached.epoch - reached.best_epoch >= recipe.patience


def _epoch(
    architecture: Architecture,
    model: Any,
    examples: Examples,
    train: Indices,
    recipe: Recipe,
    seed: int,
    epoch: int,
) -> float:
    """One pass over the images, each in one of its variants; the mean loss."""
    random = np.random.default_rng([seed, epoch])
    losses = []
    for batch in _batches(train, recipe.batch, random):
        variant = random.integers(len(examples.rows), size=len(batch))
        x = _inputs(architecture, examples, examples.rows[variant, batch])
        model.reset_metrics()  # or the loss would be a running mean
        loss = float(model.train_on_batch(x, examples.targets[batch].astype(np.float32)))
        if not np.isfinite(loss):
            raise Diverged(f"The loss became {loss} in epoch {epoch}; no bundle was written.")
        losses.append(loss)
    return float(np.mean(losses)) if losses else 0.0


def macro_auc(targets: NDArray[np.uint8], logits: Floats) -> float:
    """Mean ROC-AUC over the findings of `logits` that have both classes; 0.5 where none has."""
    values = [
        roc_auc_score(targets[:, f], logits[:, f])
        for f in range(logits.shape[1])
        if 0 < targets[:, f].sum() < len(targets)
    ]
    return float(np.mean(values)) if values else 0.5


def softmax(logits: Floats) -> NDArray[np.float64]:
    """Probabilities (images, classes) that sum to 1."""
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def predict(
    a: Architecture, model: Any, examples: Examples, images: Indices, size: int = 64
) -> Floats:
    """Logits of the findings for the unchanged images."""
    parts = [
        np.asarray(model(_inputs(a, examples, examples.rows[0, part]), training=False))
        for part in np.array_split(images, -(-len(images) // size))
    ]
    return np.concatenate(parts)[:, : examples.findings]


def _loss(examples: Examples, train: Indices, recipe: Recipe) -> Any:
    import tensorflow as tf

    weight = np.full(examples.targets.shape[1], recipe.auxiliary_weight, dtype=np.float32)
    weight[: examples.findings] = 1.0
    smoothing = recipe.label_smoothing
    positive, negative = class_weights(examples.targets[train])

    def weighted_crossentropy(targets: Any, logits: Any) -> Any:
        smooth = targets * (1 - smoothing) + smoothing / 2
        balance = targets * positive + (1 - targets) * negative
        each = tf.nn.sigmoid_cross_entropy_with_logits(smooth, logits) * balance
        return tf.reduce_mean(tf.reduce_sum(each * weight, axis=1)) / weight.sum()

    def softmax_crossentropy(targets: Any, logits: Any) -> Any:
        smooth = targets * (1 - smoothing) + smoothing / len(weight)
        return tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(smooth, logits))

    return softmax_crossentropy if recipe.exclusive else weighted_crossentropy


def _averages(a: Architecture, examples: Examples, rows: NDArray[np.int64]) -> Halves:
    """The skips' averages of rows of the cache: (rows, skip_filters)."""
    return examples.averages.take(rows)[:, : a.skip_filters]


def _inputs(a: Architecture, examples: Examples, rows: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Maps (images, grid, grid, filters) and averages (images, filters) of rows of the cache."""
    maps = examples.maps.take(rows).astype(np.float32)
    averages = _averages(a, examples, rows).astype(np.float32)
    return maps.reshape(len(rows), a.grid, a.grid, a.tap_filters), averages


def _batches(train: Indices, size: int, random: np.random.Generator) -> list[Indices]:
    """A lone last image is left out: batch normalisation needs two."""
    order = random.permutation(train)
    parts = [order[start : start + size] for start in range(0, len(order), size)]
    return [part for part in parts if len(part) > 1]

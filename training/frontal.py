"""The model of frontal chests, fitted beside a network to the same training images and to no other.

Ordinary variation is learnt from slightly changed copies, inverted greys from inverted copies. The
limit is a quantile of distances across the folds: each patient's by a model that was not fitted to
that patient.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh  # type: ignore[import-untyped]
from sklearn.linear_model import LogisticRegression

from classifier.bundle import Frontal, Interval
from classifier.engine import Engine
from classifier.frontal import FrontalModel, scaled
from classifier.network import Architecture
from classifier.pixels import Grey
from training.dataset import Indices
from training.features import Progress, varied

LAYERS = ("block4_conv3", "block5_conv2", "block5_conv3")
"""block3's averages know the hospital: with them more adults of other hospitals are refused."""

AXES = 100
ACCEPTED = 0.992  # of the training's own images, across folds; the goal is 0.99 of new ones
CLEAR = 0.9  # of them, those so near that a header which says otherwise is wrong
COPIES = 400  # changed images, and inverted ones: what more of them add is small
COPY_WEIGHT = 3  # a changed copy counts as much, so that all weigh like the images themselves
LEAST_SPREAD = 0.3  # of the median: a feature that never varied in training may, elsewhere
LEAST_VARIANCE = 0.05  # of the mean over the axes, added: small axes are noise

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Copies:
    """Averages (n, features) of changed and of inverted copies of images, by row of `images`."""

    images: Indices
    changed: NDArray[np.float32]
    inverted: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Fitted:
    """The model, its place in the manifest, and the share of inverted copies that it knows."""

    model: FrontalModel
    limit: float
    clear: float
    accepted: Interval
    changed_accepted: float
    inverted_known: float
    upright_mistaken: float

    def sentence(self) -> str:
        """For the person who waits."""
        return (
            f"frontal chests, across folds: {self.accepted.value:.1%} accepted, of changed copies "
            f"{self.changed_accepted:.1%}; {self.inverted_known:.1%} of inverted greys known, "
            f"{self.upright_mistaken:.1%} of others taken for inverted"
        )


def skips_of(architecture: Architecture) -> tuple[str, ...]:
    """Of the network's averages, those that the model reads; none where it has none of them."""
    return tuple(skip for skip in architecture.skips if skip.partition("@")[0] in LAYERS)


def copies(
    engine: Engine,
    count: int,
    input_of: Callable[[int], Grey],
    progress: Progress = lambda *_: None,
) -> Copies:
    """Averages of copies of some of `count` images, evenly taken.

    `engine` is of another precision than the one that the images' own averages come from: the
    noise of int8 is variation to be learnt as well. A model of f32's averages alone refused 4 % of
    its own images when int8 served.
    """
    chosen = np.arange(count)[:: max(1, count // COPIES)][:COPIES]
    rows: tuple[list[NDArray[np.float32]], list[NDArray[np.float32]]] = ([], [])
    for number, row in enumerate(chosen):
        progress("copies", number, len(chosen))
        image = input_of(int(row))
        for kept, copy in zip(rows, (varied(image, 2, f"{row:012x}"), 255 - image), strict=True):
            kept.append(engine.run(copy[np.newaxis]).averages[0])
    progress("copies", len(chosen), len(chosen))
    return Copies(chosen, np.stack(rows[0]), np.stack(rows[1]))


def fit_frontal(
    architecture: Architecture, averages: NDArray[np.floating], more: Copies, folds: list[Indices]
) -> Fitted:
    """Fit to all images (n, features); the limit and the figures are of models across `folds`."""
    skips = skips_of(architecture)
    upright = scaled(architecture, skips, averages)
    changed = scaled(architecture, skips, more.changed)
    inverted = scaled(architecture, skips, more.inverted)
    distances = np.empty(len(averages))
    mistaken = np.empty(len(averages), dtype=np.bool_)
    changed_distances, known = np.empty(len(changed)), np.empty(len(changed), dtype=np.bool_)
    for fold in folds:
        inside = np.isin(np.arange(len(averages)), fold)
        copied = np.isin(more.images, fold)
        model = _fit(skips, upright[~inside], changed[~copied], inverted[~copied])
        distances[inside] = model.distance(architecture, averages[inside])
        mistaken[inside] = model.looks_inverted(architecture, averages[inside])
        changed_distances[copied] = model.distance(architecture, more.changed[copied])
        known[copied] = model.looks_inverted(architecture, more.inverted[copied])
    limit = float(np.quantile(distances, ACCEPTED))
    return Fitted(
        model=_fit(skips, upright, changed, inverted),
        limit=limit,
        clear=float(np.quantile(distances, CLEAR)),
        accepted=wilson(int((distances <= limit).sum()), len(distances)),
        changed_accepted=float((changed_distances <= limit).mean()),
        inverted_known=float(known.mean()),
        upright_mistaken=float(mistaken.mean()),
    )


def described(fitted: Fitted, images: int, file: str) -> Frontal:
    """What the manifest says of it."""
    return Frontal(
        file=file,
        skips=fitted.model.skips,
        limit=fitted.limit,
        clear=fitted.clear,
        images=images,
        accepted=fitted.accepted,
    )


def wilson(hits: int, count: int) -> Interval:
    """A share with its 95 % interval (Wilson, J. Am. Statist. Assoc. 22, 1927)."""
    z, share = 1.959964, hits / count
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * np.sqrt(share * (1 - share) / count + (z / 2 / count) ** 2)
    return Interval(share, float(middle - half), float(middle + half))


def _fit(
    skips: tuple[str, ...], upright: Floats, changed: Floats, inverted: Floats
) -> FrontalModel:
    known = np.concatenate([upright, *[changed] * COPY_WEIGHT])
    mean, spread = known.mean(axis=0), known.std(axis=0)
    spread = np.sqrt(spread**2 + (LEAST_SPREAD * np.median(spread)) ** 2)
    centred = (known - mean) / spread
    values, vectors = _axes(centred, min(AXES, len(upright) + len(changed) - 2))
    whole = float((centred**2).mean(axis=0).sum())
    variances = values + LEAST_VARIANCE * values.mean()
    discriminant = LogisticRegression(C=0.01, class_weight="balanced", max_iter=1000)
    discriminant.fit(
        (np.concatenate([upright, changed, inverted]) - mean) / spread,
        np.repeat([0, 1], [len(upright) + len(changed), len(inverted)]),
    )
    return FrontalModel(
        skips=skips,
        mean=mean,
        spread=spread,
        axes=vectors,
        variances=variances,
        rest=max(whole - float(values.sum()), 1e-6),
        inverted=np.append(discriminant.coef_[0], discriminant.intercept_[0]),
    )


def _axes(centred: Floats, count: int) -> tuple[Floats, Floats]:
    """The largest variances (count,) and their axes (d, count); by the smaller of two matrices."""
    rows, columns = centred.shape
    wide = rows < columns
    products = (centred @ centred.T if wide else centred.T @ centred) / rows
    count = min(count, columns - 1)
    values, vectors = eigh(products, subset_by_index=(len(products) - count, len(products) - 1))
    values = np.maximum(values, 1e-9)
    if wide:
        vectors = centred.T @ vectors / np.sqrt(rows * values)
    return values[::-1], vectors[:, ::-1]

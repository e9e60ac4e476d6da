"""The reference of a bundle: how the images that it was made with are distributed, and its answers.

A station is held against it until it has a reference of its own (`training.stations`). It holds no
size and no view: those are a station's, not a bundle's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from classifier.bundle import FindingOutput, Reference
from classifier.calibration import calibrated
from classifier.errors import NotEligible, Undecodable
from classifier.measures import greys_of
from classifier.score import score
from training.charts import MIN_IMAGES, normal_of
from training.errors import TooFewCases
from training.features import Progress
from training.images import read_radiograph
from training.stations import SCORE

OF_BASE = ("distance", "refused")
"""Measures of the base and of the model of frontal chests, which a readout does not move."""

Floats = NDArray[np.floating]


def reference_of(images: Sequence[Mapping[str, float]]) -> Reference:
    """From the measures of images that nothing is amiss with.

    Raises:
        TooFewCases: there are too few.
    """
    if len(images) < MIN_IMAGES:
        raise TooFewCases(
            f"A reference needs at least {MIN_IMAGES} images. Received: {len(images)}."
        )
    found = normal_of(images)
    return Reference(
        found.images,
        {name: tuple(round(v, 4) for v in values) for name, values in found.quantiles.items()},
    )


def reference(
    paths: Sequence[Path],
    logits: Floats,
    outputs: Sequence[FindingOutput],
    parent: Reference | None = None,
    progress: Progress = lambda *_: None,
) -> Reference | None:
    """The reference of a bundle made with these images; logits (images, findings) are unseen ones.

    With too few images it is the parent's, without its scores: those were another bundle's.
    """
    images = measured(paths, logits, outputs, progress)
    if len(images) >= MIN_IMAGES:
        made, before = reference_of(images), {} if parent is None else parent.measures
        more = {name: before[name] for name in OF_BASE if name in before}
        return Reference(made.images, {**made.measures, **more})
    if parent is None:
        return None
    kept = {name: q for name, q in parent.measures.items() if not name.startswith(SCORE)}
    return Reference(parent.images, kept)


def with_distances(
    parent: Reference | None, distances: Sequence[float], limit: float
) -> Reference | None:
    """The same under another model of frontal chests; without its measures where too few tell."""
    if parent is None:
        return None
    kept = {name: q for name, q in parent.measures.items() if name not in OF_BASE}
    if len(distances) < MIN_IMAGES:
        return Reference(parent.images, kept)
    made = reference_of([from_frontal(one, limit) for one in distances])
    return Reference(min(parent.images, made.images), {**kept, **made.measures})


def from_frontal(distance: float, limit: float) -> dict[str, float]:
    """The measures of an image's distance from frontal chests."""
    return {"distance": distance, "refused": float(distance > limit)}


def measured(
    paths: Sequence[Path],
    logits: Floats,
    outputs: Sequence[FindingOutput],
    progress: Progress = lambda *_: None,
) -> list[dict[str, float]]:
    """The measures of images, and of their answers; those that cannot be read are left out."""
    probabilities = calibrated(logits, [one.calibration for one in outputs])
    names, found = [f"{SCORE}{one.label.name}" for one in outputs], []
    for number, path in enumerate(paths):
        progress("reference", number, len(paths))
        try:
            greys = greys_of(read_radiograph(path).grey)
        except (Undecodable, NotEligible, OSError):
            continue
        scores = zip(names, map(score, probabilities[number].tolist()), strict=True)
        found.append({**greys, **dict(scores)})
    progress("reference", len(paths), len(paths))
    return found

"""Stations that change, simulated: how soon the charts tell, and how often they cry wolf.

``python -m tests.drifting [--images FOLDER]`` prints the table of docs/decisions/0018; without a
folder of radiographs, for changed copies of the demo radiographs.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from classifier.measures import greys_of
from training.charts import Charts, Left, Limits, Normal, limits_for, normal_of, normal_score

DEMO = Path(__file__).parents[1] / "deploy" / "demo"
CHARTS = 16
"""Seven of the greys, size, view, distance, refused, five scores: as the default bundle has."""

Grey = NDArray[np.uint8]
Floats = NDArray[np.float64]


def _table(change: Callable[[Floats], Floats]) -> Callable[[Grey], Grey]:
    levels = np.clip(np.rint(change(np.arange(256.0))), 0, 255).astype(np.uint8)
    return lambda grey: np.asarray(levels[grey])


CHANGES: dict[str, Callable[[Grey], Grey]] = {
    "inverted": _table(lambda v: 255 - v),
    "window half as wide": _table(lambda v: (v - 64) * 2),
    "contrast 0.6": _table(lambda v: 128 + (v - 128) * 0.6),
    "gamma 0.7": _table(lambda v: 255 * (v / 255) ** 0.7),
    "gamma 1.4": _table(lambda v: 255 * (v / 255) ** 1.4),
    "20 of 255 brighter": _table(lambda v: v + 20),
    "20 of 255 darker": _table(lambda v: v - 20),
}


def copies(count: int, seed: int = 0) -> list[Grey]:
    """Return changed copies of the demo radiographs, in the order of chance."""
    random = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        image = _demo()[random.integers(len(_demo()))]
        matrix = cv2.getRotationMatrix2D((64, 64), random.uniform(-8, 8), random.uniform(0.95, 1.1))
        turned = cv2.warpAffine(image, matrix, (128, 128), borderMode=cv2.BORDER_REFLECT)
        gamma = np.exp(random.uniform(-0.3, 0.3))
        made.append(np.rint(255 * (turned / 255) ** gamma).astype(np.uint8))
    return made


@cache
def _demo() -> list[Grey]:
    return [_small(path, 128) for path in sorted(DEMO.glob("*.png"))]


def _small(path: Path, side: int) -> Grey:
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    assert image is not None, path
    return np.asarray(cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA), np.uint8)


def watch(
    normal: Normal, images: Iterable[tuple[str, Mapping[str, float]]]
) -> tuple[tuple[int, str, Left], ...]:
    """Return what left its limits over (station, measures), each with its image's number."""
    states: dict[str, Charts] = {}
    found: list[tuple[int, str, Left]] = []
    for number, (station, image) in enumerate(images):
        states[station], left = states.get(station, Charts()).seen(normal, image)
        found += [(number, station, one) for one in left]
    return tuple(found)


def scores(normal: Normal, images: Sequence[Mapping[str, float]]) -> Floats:
    """Return the normal scores (images, measures)."""
    return np.array(
        [[normal_score(q, image[name]) for name, q in normal.quantiles.items()] for image in images]
    )


def first_alarms(found: Floats, limits: Limits) -> NDArray[np.int64]:
    """Images until each stream's first alarm, found: (images, streams, measures); 0: none."""
    sums, first = np.zeros((2, *found.shape[1:])), np.zeros(found.shape[1], dtype=np.int64)
    for number, score in enumerate(found, 1):
        for part, way in zip(sums, (1, -1), strict=True):
            np.maximum(0.0, part + way * score - limits.slack, out=part)
        over = (sums > limits.limit).any(axis=(0, 2))
        first[over & (first == 0)] = number
    return first


def count_alarms(found: Floats, limits: Limits) -> NDArray[np.int64]:
    """Alarms of many streams, found: (images, streams, measures); a chart begins anew after one."""
    sums = np.zeros((2, *found.shape[1:]))
    alarms = np.zeros(found.shape[1], dtype=np.int64)
    for score in found:
        for part, way in zip(sums, (1, -1), strict=True):
            np.maximum(0.0, part + way * score - limits.slack, out=part)
            over = part > limits.limit
            alarms += over.sum(axis=1)
            part[over] = 0.0
    return alarms


def streams(found: Floats, images: int, count: int, random: np.random.Generator) -> Floats:
    """Return images drawn again and again, (images, count, measures)."""
    return np.asarray(found[random.integers(len(found), size=(images, count))])


def delays(
    known: Sequence[Grey], fresh: Sequence[Grey], count: int = 200
) -> tuple[dict[str, NDArray[np.int64]], float]:
    """Images until the first alarm by change, and false alarms per 10,000 images."""
    random = np.random.default_rng(0)
    normal = normal_of([greys_of(grey) for grey in known])
    limits = limits_for(normal.images, CHARTS)
    found = {}
    for name, change in CHANGES.items():
        moved = scores(normal, [greys_of(change(grey)) for grey in fresh])
        found[name] = first_alarms(streams(moved, 500, count, random), limits)
    quiet = scores(normal, [greys_of(grey) for grey in fresh])
    alarms = count_alarms(streams(quiet, 1000, 100, random), limits)
    return found, float(alarms.sum()) / 10


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, help="a folder of PNG or JPEG radiographs")
    folder = parser.parse_args().images
    if folder is None:
        greys = copies(1400)
    else:
        greys = [_small(path, 256) for path in sorted(folder.iterdir())]
        np.random.default_rng(0).shuffle(greys)  # type: ignore[arg-type]
    half = len(greys) // 2
    found, false = delays(greys[:half], greys[half:])
    print(f"{half} images of reference, {len(greys) - half} others")
    print("| change | median | 95 % | largest |\n| --- | --- | --- | --- |")
    for name, first in found.items():
        missed = f", {int((first == 0).sum())} never" if (first == 0).any() else ""
        told = f"{np.median(first):g} | {np.quantile(first, 0.95):.0f} | {first.max()}{missed}"
        print(f"| {name} | {told} |")
    print(f"false alarms: {false:.1f} in 10,000 images")


if __name__ == "__main__":
    main()

"""From a displayed radiograph to the input of a network, by the version that a bundle names.

A version is never changed once a bundle was trained with it: a better one gets a new name.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from classifier.jpeg2000 import Lower
from classifier.pixels import Grey, Radiograph, grey_range

BANDS = 128
"""Rows of an average that are made at once: their sums then take a megabyte of memory."""


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How the displayed image becomes a square.

    `working` is the side in pixels at which contrast is equalised (CLAHE; Zuiderveld, Graphics
    Gems IV, 1994), before the reduction to the network's side. `zoom` above 1 cuts the margins.
    Grey first gets the same range whatever the window of the object.
    """

    working: int = 512
    clahe_clip: float = 2.0
    clahe_tiles: int = 8
    zoom: float = 1.0


VERSIONS: dict[str, Preprocessing] = {
    "pad-clahe-2": Preprocessing(),
}


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the network's input lies on the image: x = left + scale * column, y likewise.

    `rows` and `columns` are those of the image, `scale` is image pixels per input pixel.
    """

    rows: int
    columns: int
    top: float
    left: float
    scale: float
    side: int

    def on_image(self, field: NDArray[np.float32]) -> NDArray[np.float32]:
        """A map (h, w) over the input, resampled to (rows, columns) of the image; 0 outside."""
        step = self.scale * self.side / field.shape[1]
        matrix = np.array(
            [
                [step, 0, self.left + step / 2 - 0.5],
                [0, step, self.top + step / 2 - 0.5],
            ]
        )
        size = (self.columns, self.rows)
        return np.asarray(cv2.warpAffine(field, matrix, size, flags=cv2.INTER_LINEAR))


def network_input(radiograph: Radiograph, version: str, side: int) -> tuple[Grey, Placement]:
    """A (side, side) image with the aspect ratio kept, black where there is no image."""
    how = VERSIONS[version]
    height, width = radiograph.shape
    extent = max(height, width) / how.zoom  # of the square, in image pixels
    square = _square(radiograph, how.working, extent)
    if how.clahe_clip > 0:
        tiles = (how.clahe_tiles, how.clahe_tiles)
        square = cv2.createCLAHE(how.clahe_clip, tiles).apply(square)
    image = np.asarray(cv2.resize(square, (side, side), interpolation=cv2.INTER_AREA))
    placement = Placement(
        rows=radiograph.rows,
        columns=radiograph.columns,
        top=radiograph.top + (height - extent) / 2,
        left=radiograph.left + (width - extent) / 2,
        scale=extent / side,
        side=side,
    )
    return image, placement


def _square(radiograph: Radiograph, side: int, extent: float) -> Grey:
    """The middle of the image, `extent` pixels in each direction, as (side, side)."""
    height, width = radiograph.shape
    high, wide = (min(n, round(extent)) for n in (height, width))
    top, left = (height - high) // 2, (width - wide) // 2
    new = (max(1, round(wide * side / extent)), max(1, round(high * side / extent)))
    if radiograph.lower is not None and radiograph.fine is not None:
        down = _reduction(radiograph.lower, height, top, high, new[1])
        across = _reduction(radiograph.lower, width, left, wide, new[0])
        means = across.of(cv2.transpose(down.of(radiograph.fine)))
        part = np.asarray(np.clip(np.rint(cv2.transpose(means)), 0, 255), dtype=np.uint8)
    else:
        part = radiograph.grey[top : top + high, left : left + wide]
        part = _averaged(part, new) if side <= extent else np.asarray(cv2.resize(part, new))
    part = _stretched(part)
    square = np.zeros((side, side), dtype=np.uint8)
    top, left = (side - new[1]) // 2, (side - new[0]) // 2
    square[top : top + new[1], left : left + new[0]] = part
    return square


@dataclass(frozen=True, slots=True)
class _Bands:
    """A matrix whose rows are zero but for a few columns: weights (columns, rows) from `first`."""

    first: NDArray[np.intp]
    weights: NDArray[np.float32]

    def of(self, image: NDArray[Any]) -> NDArray[np.float32]:
        """The product with (columns, any)."""
        sums = np.zeros((len(self.first), image.shape[1]), dtype=np.float32)
        part = np.empty_like(sums)
        for step, weights in enumerate(self.weights):
            rows = image[np.minimum(self.first + step, len(image) - 1)]
            sums += np.multiply(rows, weights[:, np.newaxis], out=part)
        return sums


@lru_cache(maxsize=16)  # a site's detectors have few sizes
def _reduction(lower: Lower, pixels: int, start: int, count: int, size: int) -> _Bands:
    """From the lower resolution of a line of `pixels` to `size` area averages of a part of it."""
    line = lower.synthesis(pixels)[start : start + count].astype(np.float64)
    sums = np.concatenate([np.zeros((1, line.shape[1])), np.cumsum(line, axis=0)])
    edges = np.arange(size + 1) * count / size
    below = np.minimum(edges.astype(int), count - 1)
    cut = (edges - below)[:, np.newaxis]
    upto = sums[below] * (1 - cut) + sums[below + 1] * cut
    matrix = np.diff(upto, axis=0) * size / count
    used = np.abs(matrix) > 1e-9  # what the sums leave of a zero
    first = used.argmax(axis=1)
    last = matrix.shape[1] - used[:, ::-1].argmax(axis=1)
    columns = first + np.arange((last - first).max())[:, np.newaxis]
    weights = np.take_along_axis(np.pad(matrix, ((0, 0), (0, len(columns)))), columns.T, axis=1).T
    return _Bands(first, np.ascontiguousarray(weights, dtype=np.float32))


def _averaged(grey: Grey, size: tuple[int, int]) -> Grey:
    """Area averages at (width, height): OpenCV's INTER_AREA without its errors, and faster.

    Sums are whole numbers, kept exactly: 32-bit floats hold 255 x 65,535, and 64-bit ones the rest.
    """
    (rows, columns), (width, height) = grey.shape, size
    if rows % height == columns % width == 0:
        return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA))
    sums = np.empty((width, height), dtype=np.float64)
    for start in range(0, height, BANDS):
        bands = np.arange(start, min(start + BANDS, height) + 1)
        down = _band_sums(grey, bands, height, np.float32)
        across = _band_sums(cv2.transpose(down), np.arange(width + 1), width, np.float64)
        sums[:, start : start + BANDS] = across
    return np.asarray(np.rint(cv2.transpose(sums) / grey.size), dtype=np.uint8)


def _band_sums(
    image: NDArray[Any], bands: NDArray[np.intp], count: int, dtype: type[np.floating]
) -> NDArray[Any]:
    """`count` times the sums of rows in some of `count` equal bands.

    A row that the edge of a band cuts counts in parts.
    """
    edges = bands * len(image)
    first = np.minimum(edges // count, len(image) - 1)
    whole = np.diff(first)
    sums = np.zeros((len(whole), image.shape[1]), dtype)
    for step in range(whole.max()):
        rows = image[np.minimum(first[:-1] + step, len(image) - 1)]
        rows[whole <= step] = 0
        cv2.accumulate(rows, sums)
    sums *= count
    cut = image[first].astype(dtype)
    cut *= (edges - first * count)[:, np.newaxis].astype(dtype)
    sums += cut[1:]
    sums -= cut[:-1]
    return sums


def _stretched(grey: Grey) -> Grey:
    """The 2nd and 98th percentile at 5 and 95 % of the range.

    A window that clips less than that at either end, or nothing, changes neither of them.
    """
    low, high = grey_range(grey, (2.0, 98.0))
    scale = 0.9 * 255 / max(high - low, 1)
    table = np.rint((np.arange(256) - low) * scale + 0.05 * 255)
    return np.asarray(cv2.LUT(grey, np.clip(table, 0, 255).astype(np.uint8)))

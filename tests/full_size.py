"""A network's input from a displayed radiograph, plainly and at full size: the fast way's measure.

Preprocessing "pad-clahe-2" step by step, each on the whole image, with no regard to its cost.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.uint8]

WORKING = 512


@dataclass(frozen=True)
class FullSize:
    """The input, the square before contrast is equalised, and what was cut out of the image."""

    input: Grey
    working: Grey
    box: tuple[int, int, int, int]  # top, bottom, left, right


def full_size_input(shown: Grey, side: int = 224) -> FullSize:
    """`shown`: (rows, columns), as displayed."""
    box = border_box(shown)
    top, bottom, left, right = box
    part = shown[top:bottom, left:right]
    scale = WORKING / max(part.shape)
    size = (max(1, round(part.shape[1] * scale)), max(1, round(part.shape[0] * scale)))
    part = area_means(part, size) if scale <= 1 else np.asarray(cv2.resize(part, size))
    part, working = stretched(part), part
    square = np.zeros((WORKING, WORKING), dtype=np.uint8)
    y, x = ((WORKING - n) // 2 for n in part.shape)
    square[y : y + part.shape[0], x : x + part.shape[1]] = part
    square = cv2.createCLAHE(2.0, (8, 8)).apply(square)
    return FullSize(cv2.resize(square, (side, side), interpolation=cv2.INTER_AREA), working, box)


def percentiles(shown: Grey, low: float, high: float) -> tuple[float, float]:
    """Of grey levels that stand for all values from half a level below to half a level above."""
    share = np.cumsum(np.bincount(shown.ravel(), minlength=256)) / shown.size * 100.0
    ends = np.interp((low, high), np.concatenate([[0.0], share]), np.arange(257) - 0.5)
    return float(ends[0]), float(ends[1])


def border_box(shown: Grey) -> tuple[int, int, int, int]:
    """Without the lines at the sides that are dark but for one pixel in fifty."""
    rows, columns = shown.shape
    low, high = percentiles(shown, 0.5, 99.5)
    bright = shown > low + 12 / 255 * (high - low)
    kept_rows = [row for row in range(rows) if bright[row].mean() > 0.02]
    kept_columns = [column for column in range(columns) if bright[:, column].mean() > 0.02]
    if 2 * len(kept_rows) < rows or 2 * len(kept_columns) < columns:
        return 0, rows, 0, columns
    return kept_rows[0], kept_rows[-1] + 1, kept_columns[0], kept_columns[-1] + 1


def stretched(part: Grey) -> Grey:
    """The 2nd percentile at 5 % of the range of grey, the 98th at 95 %."""
    low, high = percentiles(part, 2.0, 98.0)
    grey = np.rint((part.astype(np.float64) - low) * (0.9 * 255 / max(high - low, 1)) + 0.05 * 255)
    return np.asarray(np.clip(grey, 0, 255), dtype=np.uint8)


def area_means(image: Grey, size: tuple[int, int]) -> Grey:
    """Means over (width, height) equal cells; a pixel that a cell's edge cuts counts in parts.

    Sums are whole numbers below 2^53, and so exact. A mean between two grey levels becomes the even
    one; where each cell has the same whole pixels it is left to OpenCV, which has always done that.
    """
    (rows, columns), (width, height) = image.shape, size
    if rows % height == columns % width == 0:
        return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA))
    sums = overlaps(rows, height) @ image.astype(np.float64) @ overlaps(columns, width).T
    return np.asarray(np.rint(sums / image.size), dtype=np.uint8)


def overlaps(pixels: int, cells: int) -> NDArray[np.float64]:
    """(cells, pixels): how much of a pixel lies in each cell, in parts of which it has `cells`."""
    edges = np.arange(cells + 1) * pixels
    at = np.arange(pixels) * cells
    ends = np.minimum(edges[1:, None], at + cells) - np.maximum(edges[:-1, None], at)
    return np.maximum(ends, 0).astype(np.float64)

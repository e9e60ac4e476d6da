"""Where on the image the network looked: outlines of a map (Grad-CAM) at half of its maximum."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from daemon.report.attention import Field
from storage.records import Attention

SHARE = 0.5
"""Of the maximum: a region is where the map is at least that (full width at half maximum)."""

_FINE = 2  # cells of the field per input pixel
_SMOOTH = 11  # fine cells that an outline is averaged over, against its steps
_TOLERANCE = 0.25  # input pixels that an outline may be off, for fewer points

_SPECK = 0.15
"""Of a cell of the network's own map: what is smaller comes of the interpolation."""

Outline = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Activation:
    """One finding's map as it lies on the image.

    `field` (n, n), 0 to 1 of its maximum within the image, covers the network's input;
    `outlines` are closed, (column, row) on the image from its upper left corner, the one around
    the maximum first.
    """

    field: Field
    place: Attention
    outlines: tuple[Outline, ...]


def activation(coarse: Field, place: Attention) -> Activation | None:
    """Return a map (grid, grid) on the image, None where it is 0 all over the image."""
    n = _FINE * place.side
    field = cv2.resize(coarse, (n, n), interpolation=cv2.INTER_CUBIC).clip(0.0)
    step = place.scale / _FINE
    field[~_inside(n, place.top, step, place.rows)] = 0.0
    field[:, ~_inside(n, place.left, step, place.columns)] = 0.0
    highest = float(field.max())
    if highest <= 1e-6:
        return None
    field /= np.float32(highest)
    speck = _SPECK * (n / coarse.shape[1]) ** 2
    return Activation(field, place, tuple(_outlines(field, place, step, speck)))


def _inside(n: int, start: float, step: float, end: int) -> np.typing.NDArray[np.bool_]:
    centres = start + step * (np.arange(n) + 0.5)
    return np.asarray((centres >= 0) & (centres <= end))


def _outlines(field: Field, place: Attention, step: float, speck: float) -> list[Outline]:
    """`speck`: area in cells of the field below which only the outline of the maximum stays."""
    mask = (field >= SHARE).astype(np.uint8)
    found, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    row, column = np.unravel_index(int(field.argmax()), field.shape)
    top = (float(column), float(row))
    # Around the maximum first, then by area
    found = sorted(
        found,
        key=lambda one: (cv2.pointPolygonTest(one, top, False) < 0, -cv2.contourArea(one)),
    )
    outlines: list[Outline] = []
    for one in found:
        if outlines and cv2.contourArea(one) < speck:
            break
        simple = cv2.approxPolyDP(_smooth(one), _TOLERANCE * _FINE, True).reshape(-1, 2)
        if len(simple) < 3:
            continue
        x = np.clip(place.left + step * (simple[:, 0] + 0.5), 0, place.columns)
        y = np.clip(place.top + step * (simple[:, 1] + 0.5), 0, place.rows)
        points = [(round(float(a), 2), round(float(b), 2)) for a, b in zip(x, y, strict=True)]
        outlines.append((*points, points[0]))
    return outlines


def _smooth(outline: np.typing.NDArray[np.int32]) -> np.typing.NDArray[np.float32]:
    """The moving average of a closed outline (points, 1, 2)."""
    width = min(_SMOOTH, len(outline))
    around = np.concatenate([outline, outline[: width - 1]]).astype(np.float32)
    total = np.cumsum(np.concatenate([np.zeros((1, 1, 2), np.float32), around]), axis=0)
    return np.asarray((total[width:] - total[:-width]) / width, dtype=np.float32)

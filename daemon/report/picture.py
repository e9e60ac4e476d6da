"""A heat map as a picture: the image as displayed, colour and contours, and what it means."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from daemon.report.regions import SHARE, Activation

Rgb = NDArray[np.uint8]

LONG_SIDE = 1024
"""Pixels of the image's longer side in the picture: 3 MB at most, on a slow line to the PACS."""

OPACITY = 0.38
"""Of the colour at the maximum; the film must stay readable beneath."""

FADE = (0.2, 0.6)
"""Share of the maximum from which colour shows, and from which it is at full opacity."""

_CONTOUR = (90, 235, 255)
_INK, _QUIET, _WARNING, _PAPER = (240, 240, 240), (170, 170, 170), (255, 196, 0), (0, 0, 0)
_FONTS = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True, slots=True)
class Legend:
    """What stands above and below the image."""

    title: str
    detail: str
    warning: str
    meaning: str


def draw(grey: NDArray[np.uint8], active: Activation, legend: Legend) -> Rgb:
    """Return (rows, columns, 3): the whole image, never turned or flipped, between two bands."""
    rows, columns = grey.shape
    zoom = LONG_SIDE / max(rows, columns)
    size = (max(1, round(columns * zoom)), max(1, round(rows * zoom)))
    film = cv2.resize(grey, size, interpolation=cv2.INTER_AREA if zoom < 1 else cv2.INTER_CUBIC)
    coloured = _coloured(film, active, zoom)
    _contours(coloured, active, zoom)
    return _framed(coloured, legend)


def _coloured(film: NDArray[np.uint8], active: Activation, zoom: float) -> Rgb:
    height, width = film.shape
    place, n = active.place, active.field.shape[0]
    step = zoom * place.scale * place.side / n  # picture pixels per cell of the field
    matrix = np.array(
        [
            [step, 0, zoom * place.left + step / 2 - 0.5],
            [0, step, zoom * place.top + step / 2 - 0.5],
        ]
    )
    levels = np.rint(active.field * 255).astype(np.uint8)
    level = cv2.warpAffine(levels, matrix, (width, height), flags=cv2.INTER_LINEAR)
    keep, colour = _tables()
    dimmed = cv2.multiply(film, cv2.LUT(level, keep), dtype=cv2.CV_8U)
    over = cv2.LUT(cv2.cvtColor(level, cv2.COLOR_GRAY2RGB), colour)
    return np.asarray(cv2.add(cv2.cvtColor(dimmed, cv2.COLOR_GRAY2RGB), over), dtype=np.uint8)


@lru_cache(maxsize=1)
def _tables() -> tuple[NDArray[np.float32], Rgb]:
    """Per level of the map (0 to 255): the share of the film that stays, and the colour on it."""
    low, high = FADE
    opacity = OPACITY * np.clip((np.arange(256) / 255 - low) / (high - low), 0.0, 1.0)
    colour = np.rint(_palette() * opacity[:, np.newaxis]).astype(np.uint8)
    return (1.0 - opacity).astype(np.float32), colour[np.newaxis]


@lru_cache(maxsize=1)
def _palette() -> Rgb:
    """256 colours of rising lightness (inferno without its black end), RGB."""
    ramp = np.linspace(70, 250, 256).astype(np.uint8)
    bgr = cv2.applyColorMap(ramp[:, np.newaxis], cv2.COLORMAP_INFERNO)
    return np.asarray(bgr[:, 0, ::-1], dtype=np.uint8)


def _contours(picture: Rgb, active: Activation, zoom: float) -> None:
    shift = 4  # sixteenths of a pixel
    for outline in active.outlines:
        corners = np.array(outline) * zoom - 0.5
        points = np.rint(corners * (1 << shift)).astype(np.int32)[:, np.newaxis]
        cv2.polylines(picture, [points], True, (0, 0, 0), 4, cv2.LINE_AA, shift)
        cv2.polylines(picture, [points], True, _CONTOUR, 2, cv2.LINE_AA, shift)


def _framed(picture: Rgb, legend: Legend) -> Rgb:
    height, width = picture.shape[:2]
    text = max(18, round(width / 44))
    pad, line = round(text * 0.6), round(text * 1.45)
    top, bottom = 2 * pad + 2 * line, 2 * pad + 2 * line
    canvas = Image.new("RGB", (width, top + height + bottom), _PAPER)
    canvas.paste(Image.fromarray(picture), (0, top))
    pen = ImageDraw.Draw(canvas)
    _write(pen, (pad, pad), legend.title, text * 1.15, width - 2 * pad, _INK)
    _write(pen, (pad, pad + line), legend.detail, text * 0.85, width - 2 * pad, _QUIET)
    below = top + height + pad
    _write(pen, (pad, below), legend.warning, text * 1.1, width // 2, _WARNING)
    _write(pen, (pad, below + line), legend.meaning, text * 0.75, width // 2, _QUIET)
    _bar(pen, (width // 2 + 2 * pad, below), (width - pad, below + line), text * 0.75)
    return np.asarray(canvas)


def _bar(
    pen: ImageDraw.ImageDraw, start: tuple[int, int], end: tuple[int, int], size: float
) -> None:
    """The scale: what the colours and the contour stand for."""
    (left, top), (right, _) = start, end
    width, height = right - left, max(10, round(size * 0.8))
    for x in range(width):
        colour = tuple(int(part) for part in _palette()[x * 255 // max(1, width - 1)])
        pen.line([(left + x, top), (left + x, top + height)], fill=colour)
    middle = left + round(SHARE * (width - 1))
    pen.line([(middle, top - 4), (middle, top + height + 4)], fill=_CONTOUR, width=3)
    below = top + height + 6
    for x, words, anchor in (
        (left, "none", "la"),
        (middle, "half: contour", "ma"),
        (right, "highest", "ra"),
    ):
        pen.text((x, below), words, fill=_QUIET, font=_font(round(size)), anchor=anchor)


def _write(
    pen: ImageDraw.ImageDraw,
    at: tuple[int, int],
    words: str,
    size: float,
    width: int,
    colour: tuple[int, int, int],
) -> None:
    """One line, smaller where it would not fit."""
    chosen = round(size)
    while chosen > 10 and pen.textlength(words, font=_font(chosen)) > width:
        chosen -= 1
    pen.text(at, words, fill=colour, font=_font(chosen))


@lru_cache(maxsize=32)
def _font(size: int) -> _FONTS:
    return ImageFont.load_default(size)

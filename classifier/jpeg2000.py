"""JPEG 2000 and HTJ2K (ITU-T T.800, T.814), in full or at the resolution that is enough.

Three quarters of the work is the finest level of the wavelet transform, which a network's input of
224 pixels hardly sees. Without it the inverse transform would go on with details of zero; that is
linear, and so done in one step with the reduction to the network's size (`Lower.synthesis`).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import cv2
import numpy as np
import openjpeg
from numpy.typing import NDArray
from PIL import Image

START = b"\xff\x4f\xff\x51"
"""SOC and SIZ, with which every codestream begins."""

LOOK_SIDE = 128
"""Pixels of the longer side at a first look, which costs a fortieth of the whole."""

_COD, _COC, _SOT = 0xFF52, 0xFF53, 0xFF90

# What the samples of a lower resolution give to the even and to the odd samples of the higher one:
# the low-pass synthesis filters of T.800 annex F, of the irreversible 9/7 and the reversible 5/3.
_SYNTHESIS: tuple[tuple[NDArray[np.float64], NDArray[np.float64]], ...] = (
    (
        np.array([0.0, -0.057543526229, 1.115087052457, -0.057543526229, 0.0]),
        np.array([0.0, -0.091271763114, 0.591271763114, 0.591271763114, -0.091271763114]),
    ),
    (np.array([0.0, 0.0, 1.0, 0.0, 0.0]), np.array([0.0, 0.0, 0.5, 0.5, 0.0])),
)


@dataclass(frozen=True, slots=True)
class Codestream:
    """What the main header says; `levels` is 0 where the resolution cannot be chosen.

    Eight bits are too few to be filtered without a difference in what is displayed.
    """

    rows: int
    columns: int
    precision: int
    signed: bool
    levels: int
    reversible: bool

    def skipped(self, side: int) -> int:
        """Levels that can be left out, so that the longer side keeps at least `side` pixels."""
        longer, count = max(self.rows, self.columns), 0
        while count < self.levels and longer >> (count + 1) >= side:
            count += 1
        return count


@dataclass(frozen=True, slots=True)
class Lower:
    """What was left out: `skipped` levels of a wavelet transform."""

    skipped: int
    reversible: bool

    def shape(self, rows: int, columns: int) -> tuple[int, int]:
        """Rows and columns at the lower resolution (T.800 B-15)."""
        return -(-rows >> self.skipped), -(-columns >> self.skipped)

    def synthesis(self, pixels: int) -> NDArray[np.float32]:
        """(pixels, lower pixels): a line of the image from one of the lower resolution, as if every
        detail of the levels left out were zero.
        """
        lines = np.eye(-(-pixels >> self.skipped), dtype=np.float32)
        for level in reversed(range(self.skipped)):
            phases = [_filtered(lines, tap[:, np.newaxis]) for tap in _SYNTHESIS[self.reversible]]
            lines = np.stack(phases, axis=1).reshape(-1, lines.shape[1])[: -(-pixels >> level)]
        return lines


@dataclass(frozen=True, slots=True)
class Enough:
    """`side` pixels of the longer side, where the image at a lower resolution is accepted.

    `accepts` gets it as (rows, columns) uint16.
    """

    side: int
    accepts: Callable[[NDArray[np.uint16]], bool]


def read_codestream(frame: bytes) -> Codestream:
    """The SIZ and COD marker segments (T.800 A.5.1, A.6.1).

    Raises: struct.error, ValueError, IndexError: the header is cut off.
    """
    right, bottom, left, top = struct.unpack_from(">4I", frame, 8)
    (components,) = struct.unpack_from(">H", frame, 40)
    depth, across, down = frame[42:45]
    precision = (depth & 0x7F) + 1
    levels, reversible = 0, False
    simple = components == 1 and 8 < precision <= 16 and (left, top, across, down) == (0, 0, 1, 1)
    position = 4 + struct.unpack_from(">H", frame, 4)[0]
    while simple:
        marker, length = struct.unpack_from(">HH", frame, position)
        if marker == _COD:
            levels, reversible = frame[position + 9], frame[position + 13] == 1
        if marker == _COC:
            levels, simple = 0, False
        if marker == _SOT or length < 2:
            break
        position += 2 + length
    return Codestream(bottom - top, right - left, precision, depth > 0x7F, levels, reversible)


def decode(frame: bytes) -> NDArray[Any]:
    """(rows, columns[, 3]) of the codestream's depth, 8 or 16 bits.

    Raises: RuntimeError, OSError.
    """
    return np.asarray(openjpeg.decode(frame, j2k_format=0))


def decode_lower(frame: bytes, enough: Enough) -> tuple[NDArray[np.uint16], Lower] | None:
    """Without the finest levels, where the rest is enough; a first look is at even less.

    Raises: RuntimeError, OSError.
    """
    stream = read_codestream(frame)
    skipped = stream.skipped(enough.side)
    if not skipped:
        return None
    look = stream.skipped(LOOK_SIDE)
    if look > skipped:
        small = _lower_resolution(frame, stream, look)
        if small is None or not enough.accepts(small):
            return None
    low = _lower_resolution(frame, stream, skipped)
    if low is None or not enough.accepts(low):
        return None
    return low, Lower(skipped, stream.reversible)


def _lower_resolution(frame: bytes, stream: Codestream, skipped: int) -> NDArray[np.uint16] | None:
    """Values without the finest levels, as 16 bits; None where Pillow cannot leave them out.

    Pillow moves signed values up by half of their range, and all of them to the top of 16 bits.
    """
    with Image.open(BytesIO(frame), formats=("JPEG2000",)) as image:
        image.reduce = skipped  # type: ignore[method-assign, assignment]
        # Pillow rounds the lower size, where T.800 B-15 takes the next larger one
        rows, columns = ((-(-n >> skipped)) << skipped for n in (stream.rows, stream.columns))
        image._size = columns, rows
        try:
            values = np.asarray(image) >> np.uint16(16 - stream.precision)
        except OSError:
            return None  # a tile with fewer levels than the header says, or damage
    # a negative value in two's complement
    return values - np.uint16(1 << (stream.precision - 1)) if stream.signed else values


def _filtered(values: NDArray[np.float32], tap: NDArray[np.float64]) -> NDArray[np.float32]:
    if np.count_nonzero(tap) == 1:
        return values  # the 5/3 keeps its even samples
    return np.asarray(cv2.filter2D(values, -1, tap, borderType=cv2.BORDER_REFLECT))

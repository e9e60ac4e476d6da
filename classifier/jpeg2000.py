"""JPEG 2000 and HTJ2K (ITU-T T.800, T.814), in full or at the resolution that is enough.

Three quarters of the work is the finest level of the wavelet transform, which a network's input of
224 pixels hardly sees. Without it the inverse transform goes on with details of zero, so that the
image keeps its size, and whoever uses it need not know.
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


def decode(frame: bytes, enough: Enough | None = None) -> NDArray[Any]:
    """(rows, columns[, 3]) of the codestream's depth, 8 or 16 bits.

    The finest levels are left out where the rest is enough. Raises: RuntimeError, OSError.
    """
    stream = read_codestream(frame)
    skipped = 0 if enough is None else stream.skipped(enough.side)
    if enough is not None and skipped:
        for count in dict.fromkeys((stream.skipped(LOOK_SIDE), skipped)):
            low = _lower_resolution(frame, stream, count)
            if low is None or not enough.accepts(_bits(low, stream)):
                break
            if count == skipped:
                return _bits(_enlarged(low, stream, skipped), stream)
    return np.asarray(openjpeg.decode(frame, j2k_format=0))


def _lower_resolution(frame: bytes, stream: Codestream, skipped: int) -> NDArray[np.uint16] | None:
    """Unsigned values without the finest levels; None where Pillow cannot leave them out.

    Pillow moves signed values up by half of their range, and all of them to the top of 16 bits.
    """
    with Image.open(BytesIO(frame), formats=("JPEG2000",)) as image:
        image.reduce = skipped  # type: ignore[method-assign, assignment]
        # Pillow rounds the lower size, where T.800 B-15 takes the next larger one
        rows, columns = ((-(-n >> skipped)) << skipped for n in (stream.rows, stream.columns))
        image._size = columns, rows
        try:
            return np.asarray(image) >> np.uint16(16 - stream.precision)
        except OSError:
            return None  # a tile with fewer levels than the header says, or damage


def _enlarged(low: NDArray[np.uint16], stream: Codestream, skipped: int) -> NDArray[np.uint16]:
    """The image in its full size, as if every detail of the levels left out were zero."""
    for level in reversed(range(skipped)):
        rows, columns = (-(-n >> level) for n in (stream.rows, stream.columns))
        taps = _SYNTHESIS[stream.reversible]
        values = low.astype(np.float32)
        wide = cv2.merge([_filtered(values, tap[np.newaxis]) for tap in taps])
        wide = wide.reshape(len(low), -1)[:, :columns]
        high = np.empty((len(low), len(taps), columns), dtype=np.uint16)
        for phase, tap in enumerate(taps):
            lines = np.rint(_filtered(wide, tap[:, np.newaxis]))
            high[:, phase] = np.clip(lines, 0, (1 << stream.precision) - 1, out=lines)
        low = high.reshape(-1, columns)[:rows]
    return low


def _filtered(values: NDArray[np.float32], tap: NDArray[np.float64]) -> NDArray[np.float32]:
    if np.count_nonzero(tap) == 1:
        return values  # the 5/3 keeps its even samples
    return np.asarray(cv2.filter2D(values, -1, tap, borderType=cv2.BORDER_REFLECT))


def _bits(values: NDArray[np.uint16], stream: Codestream) -> NDArray[np.uint16]:
    """A negative value in two's complement."""
    return values - np.uint16(1 << (stream.precision - 1)) if stream.signed else values

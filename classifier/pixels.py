"""Stored values to a displayed radiograph, and that to the input of a network.

Every step that a display applies (modality LUT or rescale, padding, VOI LUT or window, inversion:
PS3.3 sections C.11.1, C.11.2 and C.7.5.1.1.2, PS3.4 section N.2) is a function of the stored value
alone. The steps are composed once into a table with one entry per possible value, and the table is
applied in one pass: exact to half a grey level, and no full-size float copy.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from classifier.decode import DECODE_FAULTS, enough_pixels, image_file_pixels, stored_pixels
from classifier.errors import Undecodable
from classifier.jpeg2000 import Enough, Lower

PERCENTILES = (0.5, 99.5)
"""Of the stored values, the window where the object gives none."""

BORDER_GREY = 12 / 255
"""A line of the image is border where nearly all of it is no brighter (collimator, padding).

A share of the image's own range of grey: the window of the object does not move the border."""

BORDER_SHARE = 0.02
"""Share of a border line that may be brighter (a marker, burnt-in text)."""

CLIPPED_SHARE = 0.2
"""Of an image, at its darkest or brightest level: more than an ordinary window clips."""

ENOUGH_SIDE = 896
"""Pixels of the longer side that JPEG 2000 keeps, 1.75 times the working side of preprocessing."""

Grey = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Radiograph:
    """A radiograph as displayed: grey 0 (black) to 255, air dark, without its collimator border.

    `grey` is the part of the image that starts at (`top`, `left`) of `rows` x `columns`; or, with
    `lower`, the whole image at a lower resolution, of which `fine` is the grey not rounded.
    """

    grey: Grey
    rows: int
    columns: int
    top: int = 0
    left: int = 0
    lower: Lower | None = None
    fine: NDArray[np.float32] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels of the image."""
        height, width = self.grey.shape
        return (height, width) if self.lower is None else (self.rows, self.columns)


def from_dicom(dataset: Dataset) -> Radiograph:
    """Raises: Undecodable: see `classifier.decode.stored_pixels`.

    JPEG 2000 is decoded at a lower resolution unless it has a border or padding: where they end
    must be known to the pixel, as all that follows depends on what is cut off. Nor where a window
    clips much: the average of what it clips is not what it makes of the average.
    """

    def is_whole(stored: NDArray[Any]) -> bool:
        padding = _padding(dataset, _cells(dataset, 8 * stored.dtype.itemsize))
        if padding.any() and _look_up(padding.view(np.uint8), stored).any():
            return False
        grey = _displayed(dataset, stored)
        clipped = sum(int(np.count_nonzero(grey == end)) for end in (grey.min(), grey.max()))
        return clipped <= CLIPPED_SHARE * grey.size and _edges_are_bright(grey)

    stored, lower = enough_pixels(dataset, Enough(ENOUGH_SIDE, is_whole))
    if lower is None:
        return cropped(_displayed(dataset, stored))
    # fewer values are averaged than at full size: their rounding would show
    fine = cv2.LUT(stored, np.asarray(255.0 * _shown(dataset, stored), dtype=np.float32))
    grey = np.asarray(np.rint(fine), dtype=np.uint8)
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    return Radiograph(grey, rows, columns, lower=lower, fine=fine)


def displayed(dataset: Dataset) -> Grey:
    """The whole image, its border included. Raises: Undecodable."""
    return _displayed(dataset, stored_pixels(dataset))


def _displayed(dataset: Dataset, stored: NDArray[Any]) -> Grey:
    if stored.ndim == 3:
        return _displayed_rgb(stored)
    try:
        return _look_up(display_table(dataset, stored), stored)
    except DECODE_FAULTS as error:
        raise Undecodable(
            f"A lookup table or window of the object is malformed ({type(error).__name__})."
        ) from error


def from_image_file(path: Path) -> Radiograph:
    """A PNG or JPEG file of 8 bits is what is displayed; one of 16 is windowed like an object.

    Raises: Undecodable: see `classifier.decode.image_file_pixels`.
    """
    stored = image_file_pixels(path)
    if stored.ndim == 3:
        return cropped(_displayed_rgb(stored))
    if stored.dtype == np.uint8:
        return cropped(stored)
    header = Dataset()
    header.BitsStored = 8 * stored.dtype.itemsize
    return cropped(_look_up(display_table(header, stored), stored))


def inverted(radiograph: Radiograph) -> Radiograph:
    """White for black, without the border that is dark then."""
    if radiograph.lower is not None and radiograph.fine is not None:
        return replace(radiograph, grey=255 - radiograph.grey, fine=255.0 - radiograph.fine)
    turned = cropped(255 - radiograph.grey)
    return Radiograph(
        turned.grey,
        radiograph.rows,
        radiograph.columns,
        radiograph.top + turned.top,
        radiograph.left + turned.left,
    )


def display_table(dataset: Dataset, stored: NDArray[Any]) -> Grey:
    """Grey level for each value that a pixel container (8 or 16 bits) may hold."""
    return np.asarray(np.rint(255.0 * _shown(dataset, stored)), dtype=np.uint8)


def _shown(dataset: Dataset, stored: NDArray[Any]) -> NDArray[np.float64]:
    """The same from 0, black, to 1."""
    cells = _cells(dataset, 8 * stored.dtype.itemsize)
    values = _modality(dataset, cells)
    padding = _padding(dataset, cells)
    shown = _voi_lut(dataset, values)
    if shown is None:
        shown = _window(dataset, values)
    if shown is None:
        shown = _percentile_window(values, padding, stored)
    if (
        dataset.get("PhotometricInterpretation") == "MONOCHROME1"
        or dataset.get("PresentationLUTShape") == "INVERSE"
    ):
        shown = 1.0 - shown  # both together are one inversion (PS3.3 section C.11.6.1.2)
    shown[padding] = 0.0
    return shown


def _cells(dataset: Dataset, bits: int) -> NDArray[np.int64]:
    """The pixel cell within each container value, sign extended; PS3.5 section 8.1.1."""
    stored = int(dataset.BitsStored)
    native = not _is_compressed(dataset)
    shift = int(dataset.get("HighBit", stored - 1)) + 1 - stored if native else 0
    cells = (np.arange(1 << bits, dtype=np.int64) >> shift) & ((1 << stored) - 1)
    if dataset.get("PixelRepresentation") == 1:
        cells[cells >= 1 << (stored - 1)] -= 1 << stored
    return cells


def _is_compressed(dataset: Dataset) -> bool:
    """Whether the pixels were encapsulated: a decoder returns values, not cells."""
    meta = getattr(dataset, "file_meta", None)
    return meta is not None and bool(meta.TransferSyntaxUID.is_compressed)


def _modality(dataset: Dataset, cells: NDArray[np.int64]) -> NDArray[np.float64]:
    if dataset.get("ModalityLUTSequence"):
        entries, first, _ = _lut(dataset.ModalityLUTSequence[0], dataset)
        return entries[np.clip(cells - first, 0, len(entries) - 1)]
    slope = float(dataset.get("RescaleSlope") or 1.0)
    return np.asarray(cells * slope + float(dataset.get("RescaleIntercept") or 0.0))


def _padding(dataset: Dataset, cells: NDArray[np.int64]) -> NDArray[np.bool_]:
    """PixelPaddingValue and, where given, its range limit; PS3.3 section C.7.5.1.1.2."""
    value = dataset.get("PixelPaddingValue")
    if value is None:
        return np.zeros(cells.shape, dtype=np.bool_)
    limit = dataset.get("PixelPaddingRangeLimit")
    low, high = sorted((int(value), int(value if limit is None else limit)))
    return (cells >= low) & (cells <= high)


def _voi_lut(dataset: Dataset, values: NDArray[np.float64]) -> NDArray[np.float64] | None:
    if not dataset.get("VOILUTSequence"):
        return None
    entries, first, bits = _lut(dataset.VOILUTSequence[0], dataset)
    index = np.clip(np.rint(values).astype(np.int64) - first, 0, len(entries) - 1)
    return np.clip(entries[index] / ((1 << bits) - 1), 0.0, 1.0)


def _window(dataset: Dataset, values: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """PS3.3 section C.11.2.1.2 and, for the other functions, C.11.2.1.3."""
    center, width = (_first(dataset.get(key)) for key in ("WindowCenter", "WindowWidth"))
    if center is None or width is None:
        return None
    function = str(dataset.get("VOILUTFunction") or "LINEAR").upper()
    if not width > 0 or (function == "LINEAR" and width < 1):
        return None
    if function == "SIGMOID":
        return np.asarray(1.0 / (1.0 + np.exp(np.clip(-4 * (values - center) / width, -50, 50))))
    if function == "LINEAR":
        center, width = center - 0.5, width - 1.0
    if width == 0:
        return np.asarray(values > center, dtype=np.float64)
    return np.clip((values - center) / width + 0.5, 0.0, 1.0)


def _percentile_window(
    values: NDArray[np.float64], padding: NDArray[np.bool_], stored: NDArray[Any]
) -> NDArray[np.float64]:
    """From a regular sample of a quarter of a million pixels at most, which is plenty."""
    step = max(1, int(np.sqrt(stored.size / 250_000)))
    counts = np.bincount(stored[::step, ::step].ravel(), minlength=len(values))
    counts[padding] = 0
    present = np.flatnonzero(counts)
    if len(present) == 0:
        return np.zeros_like(values)
    ordered = present[np.argsort(values[present], kind="stable")]
    share = np.cumsum(counts[ordered]) / counts.sum() * 100.0
    low, high = (values[ordered[np.searchsorted(share, p)]] for p in PERCENTILES)
    return np.asarray(np.clip((values - low) / max(high - low, 1e-9), 0.0, 1.0))


def _lut(item: Dataset, dataset: Dataset) -> tuple[NDArray[np.float64], int, int]:
    """Entries, first value mapped and bits of a LUT; PS3.3 sections C.11.1.1 and C.11.2.1.1."""
    count, first, bits = (int(v) for v in item.LUTDescriptor)
    count, data = count or 1 << 16, item.LUTData
    if isinstance(data, bytes):
        little = dataset.original_encoding[1] is not False
        wide = len(data) >= 2 * count
        data = np.frombuffer(data, dtype=f"{'<' if little else '>'}u{2 if wide else 1}")
    entries = np.atleast_1d(np.asarray(data, dtype=np.float64))[:count]
    if not 8 <= bits <= 16 or len(entries) < count:
        raise ValueError("lookup table shorter than it says")
    return entries, first, bits


def _first(value: Any) -> float | None:
    if isinstance(value, MultiValue | list):
        value = value[0] if len(value) else None
    return None if value is None or value == "" else float(value)


def _look_up(table: Grey, stored: NDArray[Any]) -> Grey:
    return np.asarray(cv2.LUT(np.require(stored, requirements=("C", "A")), table), dtype=np.uint8)


def _displayed_rgb(rgb: NDArray[Any]) -> Grey:
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2GRAY), dtype=np.uint8)


def grey_range(grey: Grey, percentiles: tuple[float, float]) -> tuple[float, float]:
    """The grey levels at two percentiles of an image, taken as spread evenly within a level."""
    share = np.cumsum(_counts(grey)) / grey.size * 100.0
    levels = np.arange(257) - 0.5
    low, high = np.interp(percentiles, np.concatenate([[0.0], share]), levels)
    return float(low), float(high)


def _counts(grey: Grey) -> NDArray[np.float64]:
    """Pixels of each level, counted in pairs: half the steps, and seldom the same count twice."""
    even = grey.shape[1] // 2 * 2
    counts = np.bincount(grey[:, even:].ravel(), minlength=256).astype(np.float64)
    if even:
        pairs = grey[:, :even].view(np.uint16)
        histogram = cv2.calcHist([pairs], [0], None, [65536], [0, 65536]).reshape(256, 256)
        for axis in (0, 1):
            counts += histogram.sum(axis, dtype=np.float64)
    return counts


def cropped(grey: Grey) -> Radiograph:
    """Cut off dark lines at the four sides, unless more than half of the image would go."""
    rows, columns = grey.shape
    if _edges_are_bright(grey):
        return Radiograph(grey, rows, columns)
    low, high = grey_range(grey, PERCENTILES)
    bright = (grey > int(np.floor(low + BORDER_GREY * (high - low)))).view(np.uint8)
    kept_rows, kept_columns = (
        np.flatnonzero(cv2.reduce(bright, axis, cv2.REDUCE_SUM, dtype=cv2.CV_32S) > share)
        for axis, share in ((1, BORDER_SHARE * columns), (0, BORDER_SHARE * rows))
    )
    if 2 * len(kept_rows) < rows or 2 * len(kept_columns) < columns:
        return Radiograph(grey, rows, columns)
    top, bottom = int(kept_rows[0]), int(kept_rows[-1]) + 1
    left, right = int(kept_columns[0]), int(kept_columns[-1]) + 1
    return Radiograph(grey[top:bottom, left:right], rows, columns, top, left)


def _edges_are_bright(grey: Grey) -> bool:
    """Whether there is no border, whatever the percentiles are: a fifth of the work of counting.

    Where every eighth row alone has as many dark pixels as the lower percentile asks of the whole
    image, the percentile is no brighter; the upper one is at most white.
    """
    dark = np.cumsum(_counts(grey[::8])) >= grey.size * PERCENTILES[0] / 100.0
    low, high = int(np.argmax(dark)) + 0.5, 255.5
    limit = int(np.floor(low + BORDER_GREY * (high - low)))
    edges = (grey[0], grey[-1], grey[:, 0], grey[:, -1])
    return all(np.count_nonzero(edge > limit) > BORDER_SHARE * edge.size for edge in edges)

"""However an image is stored, the network sees what the plain way at full size gives.

Within one grey level of the input where every pixel is decoded. JPEG 2000 at a lower resolution
differs by what that leaves out: CLAHE makes jumps of single levels wider, as it does with the
rounding of 16 bits to 12.
"""

from __future__ import annotations

from typing import Any

import cv2
import jpeg_ls
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from openjpeg.utils import encode_array
from pydicom import Dataset
from pydicom.uid import JPEG2000, JPEG2000Lossless, JPEGLSLossless, RLELossless

from classifier import jpeg2000
from classifier.decode import read_object, stored_pixels
from classifier.jpeg2000 import Enough
from classifier.pixels import display_table, displayed, from_dicom
from classifier.preprocessing import Placement, _averaged, _square, network_input
from tests.full_size import area_means, full_size_input, stretched
from tests.radiographs import compressed, lookup_table, make_radiograph, part10, reread

Grey = NDArray[np.uint8]


def seen(ds: Dataset) -> tuple[Grey, Placement]:
    return network_input(from_dicom(ds), "pad-clahe-2", 224)


def placement_of(box: tuple[int, int, int, int], shape: tuple[int, ...]) -> Placement:
    """From the place of the cut, by its own formula: the square around the middle."""
    top, bottom, left, right = box
    extent = max(bottom - top, right - left)
    rows, columns = shape
    middle = (top + bottom) / 2, (left + right) / 2
    return Placement(
        rows, columns, middle[0] - extent / 2, middle[1] - extent / 2, extent / 224, 224
    )


def shown_at_full_size(ds: Dataset, cells: NDArray[Any]) -> Grey:
    """Each pixel through the table that test_pixels_reference.py compares with pydicom's steps."""
    stored = cells.view(f"u{cells.dtype.itemsize}")
    return display_table(ds, stored)[stored]


def picture(draw: st.DrawFn, rows: int, columns: int, soft: bool = False) -> NDArray[np.float64]:
    """0 to 1: a smooth field with noise and, unless it is to be soft, a mark with sharp edges."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    coarse = random.random((9, 7), dtype=np.float32)
    field = cv2.resize(coarse, (columns, rows), interpolation=cv2.INTER_CUBIC).astype(np.float64)
    field += random.normal(0, draw(st.sampled_from([0.0, 0.002, 0.02])), field.shape)
    if not soft and draw(st.booleans()):
        y, x = rows // 3, columns // 4
        field[y : y + rows // 20, x : x + columns // 30] = draw(st.sampled_from([0.0, 1.0]))
    return np.clip(field, 0, 1)


def bordered(draw: st.DrawFn, field: NDArray[np.float64]) -> NDArray[np.float64]:
    """With a collimator's black border, or none at some of the sides."""
    top, bottom, left, right = (draw(st.integers(0, n // 6)) for n in np.repeat(field.shape, 2))
    black = np.zeros_like(field)
    inner = (slice(top, field.shape[0] - bottom), slice(left, field.shape[1] - right))
    black[inner] = 0.1 + 0.9 * field[inner]
    return black


def dressed(draw: st.DrawFn, field: NDArray[np.float64]) -> tuple[Dataset, NDArray[Any]]:
    """The picture as an object whose display shows it, more or less."""
    bits, signed = draw(st.integers(8, 16)), draw(st.booleans())
    inverted = draw(st.booleans())
    highest = (1 << bits) - 1
    values = np.rint((1 - field if inverted else field) * highest)
    cells = (values - (1 << bits - 1) if signed else values).astype(
        f"{'i' if signed else 'u'}{1 if bits == 8 else 2}"
    )
    ds = make_radiograph(cells, bits, "MONOCHROME1" if inverted else "MONOCHROME2")
    first = -(1 << bits - 1) if signed else 0
    slope, intercept = draw(st.sampled_from([(1, 0), (2, -1024), (0.25, 100)]))
    ds.RescaleSlope, ds.RescaleIntercept = slope, intercept
    low, high = (slope * (first + n) + intercept for n in (0, highest))
    voi = draw(st.sampled_from(["none", "LINEAR", "LINEAR_EXACT", "SIGMOID", "table"]))
    if voi == "table" and slope == 1:
        curve = np.square(np.linspace(0, 255, 1024)).astype(int)
        ds.VOILUTSequence = lookup_table(curve, first, 16, signed=signed)
    elif voi not in ("none", "table"):
        ds.VOILUTFunction = voi
        ds.WindowCenter, ds.WindowWidth = (low + high) / 2, (high - low) * 0.8
    if draw(st.booleans()):
        ds.PixelPaddingValue = first
        ds.PixelPaddingRangeLimit = first + highest // 50
    return ds, cells


@st.composite
def objects(draw: st.DrawFn) -> tuple[Dataset, NDArray[Any]]:
    rows, columns = draw(st.integers(224, 900)), draw(st.integers(224, 900))
    field = picture(draw, rows, columns)
    return dressed(draw, bordered(draw, field) if draw(st.booleans()) else field)


@settings(max_examples=150, deadline=None)
@given(objects())
def test_native_is_within_one_grey_level_of_full_size(case: tuple[Dataset, NDArray[Any]]) -> None:
    ds, cells = case
    plain = full_size_input(shown_at_full_size(ds, cells))
    image, placement = seen(read_object(part10(ds)))
    assert np.abs(image.astype(int) - plain.input).max() <= 1
    assert placement == placement_of(plain.box, cells.shape)


@settings(max_examples=40, deadline=None)
@given(objects(), st.sampled_from([RLELossless, JPEGLSLossless, JPEG2000Lossless]))
def test_lossless_compression_changes_nothing(
    case: tuple[Dataset, NDArray[Any]], syntax: Any
) -> None:
    ds, cells = case
    native = seen(read_object(part10(ds)))
    if syntax == RLELossless:
        ds.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
    elif syntax == JPEGLSLossless:
        unsigned = cells.view(f"u{cells.dtype.itemsize}") & ((1 << ds.BitsStored) - 1)
        compressed(ds, syntax, bytes(jpeg_ls.encode_array(np.ascontiguousarray(unsigned))))
    else:
        compressed(ds, syntax, encoded(cells, ds.BitsStored))
    packed = seen(reread(ds))
    assert np.array_equal(packed[0], native[0])
    assert packed[1] == native[1]


def encoded(cells: NDArray[Any], bits: int, **options: Any) -> bytes:
    return bytes(encode_array(cells, bits_stored=bits, photometric_interpretation=2, **options))


@st.composite
def jpeg_2000(draw: st.DrawFn, border: bool) -> Dataset:
    """A large object of the reversible or of the irreversible wavelet."""
    longer, shorter = draw(st.integers(1792, 2200)), draw(st.integers(1000, 1792))
    rows, columns = draw(st.sampled_from([(longer, shorter), (shorter, longer)]))
    field = picture(draw, rows, columns)
    field = bordered(draw, field) if border else 0.1 + 0.9 * field
    ds, cells = dressed(draw, field)
    if draw(st.booleans()):
        return compressed(ds, JPEG2000Lossless, encoded(cells, ds.BitsStored))
    ratio = draw(st.integers(5, 12))
    return compressed(ds, JPEG2000, encoded(cells, ds.BitsStored, compression_ratios=[ratio]))


@settings(max_examples=8, deadline=None)
@given(jpeg_2000(border=True))
def test_jpeg_2000_with_a_border_is_within_one_grey_level(ds: Dataset) -> None:
    """Decoded in full where anything is cut off; the cut is the same in any case."""
    ds = reread(ds)
    shown = displayed(ds)
    plain = full_size_input(shown)
    image, placement = seen(ds)
    if plain.box != (0, shown.shape[0], 0, shown.shape[1]):
        assert np.abs(image.astype(int) - plain.input).max() <= 1
    assert placement == placement_of(plain.box, shown.shape)


@settings(max_examples=8, deadline=None)
@given(jpeg_2000(border=False))
def test_jpeg_2000_at_a_lower_resolution_differs_as_little_as_rounding(ds: Dataset) -> None:
    """White noise of 2 % of the range included, which costs most: up to one pixel in twenty-five.

    See test_pixels_logits.py for real images.
    """
    ds = reread(ds)
    plain = full_size_input(displayed(ds))
    image, placement = seen(ds)
    assert placement == placement_of(plain.box, (ds.Rows, ds.Columns))
    fast = _square(from_dicom(ds), 512, max(ds.Rows, ds.Columns))
    before = apart(fast, squared(stretched(plain.working)))
    assert (before > 1).mean() < 0.06
    assert before.mean() < 0.5
    after = apart(image, plain.input)
    assert (after > 1).mean() < 0.1
    assert after.mean() < 0.6


def squared(part: Grey) -> Grey:
    square = np.zeros((512, 512), dtype=np.uint8)
    y, x = ((512 - n) // 2 for n in part.shape)
    square[y : y + part.shape[0], x : x + part.shape[1]] = part
    return square


def apart(one: Grey, other: Grey) -> NDArray[np.int64]:
    return np.abs(one.astype(int) - other)


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(st.integers(300, 420), st.integers(300, 420)),
    bits=st.integers(9, 16),
    signed=st.booleans(),
    lossy=st.booleans(),
    levels=st.integers(1, 3),
)
def test_an_even_slope_survives_a_lower_resolution_in_its_place(
    shape: tuple[int, int], bits: int, signed: bool, lossy: bool, levels: int
) -> None:
    """Half a pixel aside would be a three-hundredth of the range; signs and depths are undone."""
    rows, columns = shape
    y, x = np.mgrid[0:rows, 0:columns]
    highest = (1 << bits) - 1
    slope = np.rint((0.05 + 0.6 * y / rows + 0.3 * x / columns) * highest).astype(int)
    cells = (slope - (1 << bits - 1) if signed else slope).astype(np.int16 if signed else np.uint16)
    frame = encoded(cells, bits, compression_ratios=[3] if lossy else None)
    side = max(shape) >> levels
    assert jpeg2000.read_codestream(frame).skipped(side) == levels
    full = jpeg2000.decode(frame).view(np.uint16)
    found = jpeg2000.decode_lower(frame, Enough(side, lambda _: True))
    assert found is not None
    low, lower = found
    assert low.shape == lower.shape(*full.shape)
    down, across = (lower.synthesis(n) for n in full.shape)
    enlarged = down @ low.view(np.int16 if signed else np.uint16).astype(float) @ across.T
    inner = (slice(32, -32),) * 2  # the transform mirrors what is beyond the image
    error = np.abs(enlarged - full.view(np.int16 if signed else np.uint16))[inner]
    assert error.max() <= 3 + highest / 3000


def test_what_is_asked_to_be_enough_decides() -> None:
    """A first look, then the resolution that is enough; without consent every pixel."""
    noise = np.random.default_rng(0).integers(0, 4096, (600, 500)).astype(np.uint16)
    frame = encoded(noise, 12)
    asked: list[tuple[int, ...]] = []

    def decoded(side: int, *answers: bool) -> tuple[NDArray[Any], jpeg2000.Lower] | None:
        answer = iter(answers)
        asked.clear()

        def accepts(low: NDArray[np.uint16]) -> bool:
            asked.append(low.shape)
            return next(answer)

        return jpeg2000.decode_lower(frame, Enough(side, accepts))

    assert decoded(150, False) is None
    assert asked == [(150, 125)]
    found = decoded(150, True)
    assert found is not None
    assert found[0].shape == (150, 125)
    assert decoded(300, True, False) is None
    assert asked == [(150, 125), (300, 250)]
    assert np.array_equal(jpeg2000.decode(frame), noise)


@settings(max_examples=200, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 700), st.integers(1, 700)),
    parts=st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)),
    seed=st.integers(0, 2**32 - 1),
)
def test_averages_are_exact(shape: tuple[int, int], parts: tuple[float, float], seed: int) -> None:
    random = np.random.default_rng(seed)
    image = random.integers(0, 256, shape, dtype=np.uint8)
    height, width = (max(1, round(n * part)) for n, part in zip(shape, parts, strict=True))
    means = _averaged(image, (width, height))
    assert np.array_equal(means, area_means(image, (width, height)))
    opencv = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    assert np.abs(means.astype(int) - opencv).max() <= 1
    assert (means != opencv).sum() <= max(2, 0.02 * means.size)


def test_the_pixels_of_a_native_object_are_not_copied() -> None:
    cells = np.random.default_rng(0).integers(0, 4096, (900, 700)).astype(np.uint16)
    file = part10(make_radiograph(cells, 12))
    assert np.shares_memory(stored_pixels(read_object(file)), np.frombuffer(file, np.uint8))

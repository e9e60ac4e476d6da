"""The table of `classifier.pixels` against pydicom's own steps at full size."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.pixels import apply_modality_lut, apply_windowing
from pydicom.pixels.processing import apply_voi

from classifier.pixels import PERCENTILES, display_table
from tests.radiographs import lookup_table, make_radiograph


def displayed(ds: Dataset, cells: NDArray[Any]) -> NDArray[np.float64]:
    """Grey 0 to 255 by pydicom's functions, in the order of PS3.4 section N.2."""
    values = np.asarray(apply_modality_lut(cells, ds))
    padding = np.zeros(cells.shape, dtype=bool)
    if "PixelPaddingValue" in ds:
        ends = sorted(
            (ds.PixelPaddingValue, ds.get("PixelPaddingRangeLimit", ds.PixelPaddingValue))
        )
        padding = (cells >= ends[0]) & (cells <= ends[1])
    if "VOILUTSequence" in ds:
        table = ds.VOILUTSequence[0]
        shown = apply_voi(values.astype(np.int64), ds) / (2 ** table.LUTDescriptor[2] - 1)
    elif "WindowCenter" in ds:
        low, high = output_range(ds)
        shown = (np.asarray(apply_windowing(values, ds)) - low) / (high - low)
    else:
        kept = values[~padding]
        low, high = (
            np.percentile(kept, p, method="inverted_cdf") if kept.size else 0 for p in PERCENTILES
        )
        shown = np.clip((values - float(low)) / max(float(high) - float(low), 1e-9), 0, 1)
    if ds.PhotometricInterpretation == "MONOCHROME1":
        shown = 1 - shown
    return np.asarray(np.where(padding, 0, 255 * shown))


def output_range(ds: Dataset) -> tuple[float, float]:
    """What pydicom's windowing takes as black and white."""
    if "ModalityLUTSequence" in ds:
        return 0, 2 ** ds.ModalityLUTSequence[0].LUTDescriptor[2] - 1
    ends = [0, 2**ds.BitsStored - 1]
    if ds.PixelRepresentation:
        ends = [-(2 ** (ds.BitsStored - 1)), 2 ** (ds.BitsStored - 1) - 1]
    low, high = (
        e * float(ds.get("RescaleSlope", 1)) + float(ds.get("RescaleIntercept", 0)) for e in ends
    )
    return low, high


@st.composite
def objects(draw: st.DrawFn) -> tuple[Dataset, NDArray[Any]]:
    """Stored values of any depth and sign, with any of the steps that a display applies."""
    bits = draw(st.integers(8, 16))
    signed = draw(st.booleans())
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    seed = draw(st.integers(0, 2**32 - 1))
    random = np.random.default_rng(seed)
    dtype = f"{'i' if signed else 'u'}{1 if bits == 8 else 2}"
    cells = random.integers(low, high + 1, (13, 17)).astype(dtype)
    ds = make_radiograph(cells, bits)
    ds.PhotometricInterpretation = draw(st.sampled_from(["MONOCHROME1", "MONOCHROME2"]))
    if ds.PhotometricInterpretation == "MONOCHROME1" and draw(st.booleans()):
        ds.PresentationLUTShape = "INVERSE"
    modality = draw(st.sampled_from(["none", "rescale", "table"]))
    if modality == "rescale":
        ds.RescaleSlope = draw(st.sampled_from([1, 2, 0.5, 0.25]))
        ds.RescaleIntercept = draw(st.integers(-2000, 2000))
    elif modality == "table" and not signed:
        count = draw(st.integers(2, 300))
        entries = random.integers(0, 65536, count)
        ds.ModalityLUTSequence = lookup_table(entries, draw(st.integers(0, 200)), 16)
    voi = draw(st.sampled_from(["none", "window", "table"]))
    if voi == "window":
        ds.VOILUTFunction = draw(st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]))
        ds.WindowCenter = draw(st.integers(-3000, 40000))
        ds.WindowWidth = draw(st.integers(2, 60000))
    elif voi == "table" and modality != "rescale":
        depth = draw(st.sampled_from([10, 12, 14, 16]))
        count = draw(st.integers(2, 400))
        entries = np.sort(random.integers(0, 1 << depth, count))
        ds.VOILUTSequence = lookup_table(entries, draw(st.integers(0, 200)), depth)
    if draw(st.booleans()):
        ds.PixelPaddingValue = int(random.choice(cells.ravel()))
        if draw(st.booleans()):
            ds.PixelPaddingRangeLimit = int(random.choice(cells.ravel()))
    return ds, cells


@settings(max_examples=300, deadline=None)
@given(objects())
def test_every_step_is_within_one_grey_level_of_pydicom(case: tuple[Dataset, NDArray[Any]]) -> None:
    ds, cells = case
    stored = cells.view(f"u{cells.dtype.itemsize}")
    shown = display_table(ds, stored)[stored]
    assert np.abs(shown - displayed(ds, cells)).max() <= 1.0


@settings(max_examples=60, deadline=None)
@given(
    bits=st.integers(8, 15), shift=st.integers(0, 7), signed=st.booleans(), seed=st.integers(0, 999)
)
def test_overlay_bits_beside_the_cell_do_not_count(
    bits: int, shift: int, signed: bool, seed: int
) -> None:
    """PS3.5 section 8.1.1: only BitsStored bits up to HighBit belong to the pixel."""
    shift = min(shift, 16 - bits)
    random = np.random.default_rng(seed)
    clean = random.integers(0, 1 << bits, (9, 11)).astype(np.uint16)
    mask = ((1 << bits) - 1) << shift
    junk = random.integers(0, 65536, clean.shape).astype(np.uint16) & np.uint16(0xFFFF ^ mask)
    dirty = (clean << shift) | junk
    plain = make_radiograph(clean, bits, PixelRepresentation=int(signed))
    shifted = make_radiograph(
        dirty, bits, PixelRepresentation=int(signed), HighBit=bits - 1 + shift
    )
    assert np.array_equal(display_table(plain, clean)[clean], display_table(shifted, dirty)[dirty])

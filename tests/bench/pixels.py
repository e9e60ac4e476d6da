"""The pixels: one object's bytes to the network's input, against pydicom's own steps at full size.

The object is a published radiograph enlarged to 2500 x 2048 with the noise of a detector, so that
a codec has as much to do as with a true one. Two ways to be compared are run in turn.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.uid import (
    JPEG2000,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from classifier.bundle import load_bundle
from classifier.classify import Classifier
from classifier.decode import read_object
from classifier.pixels import cropped, displayed
from daemon.simulate import Form, Kind, Voi, make_object, to_bytes
from tests.bench.timing import Measured, in_turn

SHAPE = (2500, 2048)
RUNS = 11
WORKING = 512  # what pydicom's image is reduced to: the side at which contrast is equalised
NOISE = 24  # standard deviation of 16-bit values: the noise of a detector at a usual dose
DEMO = Path("deploy") / "demo"
VARIANTS = {
    "12 bit": Form(Kind.DX, 12),
    "12 bit, MONOCHROME1": Form(Kind.DX, 12, inverted=True),
    "12 bit, VOI LUT sequence": Form(Kind.DX, 12, voi=Voi.LUT),
    "12 bit, no window": Form(Kind.DX, 12, voi=Voi.NONE),
    "12 bit, RLE": Form(Kind.DX, 12, transfer_syntax=RLELossless),
    "12 bit, JPEG lossless": Form(Kind.DX, 12, transfer_syntax=JPEGLosslessSV1),
    "12 bit, JPEG-LS": Form(Kind.DX, 12, transfer_syntax=JPEGLSLossless),
}


def pixels() -> Measured:
    """Milliseconds for one object, and ratios of them."""
    classifier, image = Classifier(load_bundle(), "f32"), radiograph()
    native = _object(image, Form(Kind.DX, 16, transfer_syntax=ExplicitVRLittleEndian))
    ours, theirs = in_turn(
        lambda: classifier.prepare(native), lambda: by_pydicom(native), runs=RUNS
    )
    yield "2500 x 2048 x 16 bit to network input", ours, "ms"
    yield "2500 x 2048 x 16 bit by pydicom's LUTs, then resized", theirs, "ms"
    yield "to network input against pydicom's LUTs", theirs / ours, "x"
    yield "memory on the way to network input", _memory(lambda: classifier.prepare(native)), "MiB"
    for name, form in VARIANTS.items():
        content = _object(image, form)
        (took,) = in_turn(lambda content=content: classifier.prepare(content), runs=RUNS)
        yield f"2500 x 2048 to network input, {name}", took, "ms"
    yield from _jpeg_2000(classifier, image)


def _jpeg_2000(classifier: Classifier, image: NDArray[np.uint16]) -> Measured:
    """In full, and at the resolution that is enough.

    A lossy codestream has most of its bits in the resolutions that are kept, and gains less.
    """
    for name, syntax in (("", JPEG2000Lossless), (" lossy", JPEG2000)):
        content = _object(image, Form(Kind.DX, 16, transfer_syntax=syntax))
        reduced, full = in_turn(
            lambda content=content: classifier.prepare(content),
            lambda content=content: classifier.place(cropped(displayed(read_object(content)))),
            runs=RUNS,
        )
        yield f"2500 x 2048 to network input, 16 bit, JPEG 2000{name}", reduced, "ms"
        yield f"2500 x 2048 to network input, 16 bit, JPEG 2000{name}, full decode", full, "ms"
        yield f"JPEG 2000{name} to network input, full decode against reduced", full / reduced, "x"


def radiograph() -> NDArray[np.uint16]:
    """One of the demo's, (2500, 2048) of 16 bits."""
    grey = cv2.imread(str(sorted(DEMO.glob("*.png"))[0]), cv2.IMREAD_GRAYSCALE)
    large = cv2.resize(grey, SHAPE[::-1], interpolation=cv2.INTER_CUBIC).astype(np.float32) * 257
    large += np.random.default_rng(0).normal(0, NOISE, SHAPE).astype(np.float32)
    return np.clip(np.rint(large), 0, 65535).astype(np.uint16)


def by_pydicom(content: bytes) -> NDArray[np.uint8]:
    """What pydicom's documentation tells one to do, then the reduction; nothing after it."""
    dataset = dcmread(BytesIO(content))
    shown = apply_voi_lut(apply_modality_lut(dataset.pixel_array, dataset), dataset)
    low, high = shown.min(), shown.max()
    shown = (shown - low) / (high - low) * 255.0
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        shown = 255.0 - shown
    size = (WORKING * SHAPE[1] // SHAPE[0], WORKING)
    return np.asarray(cv2.resize(shown.astype(np.uint8), size, interpolation=cv2.INTER_AREA))


def _object(image: NDArray[np.uint16], form: Form) -> bytes:
    return to_bytes(make_object(image, form))


def _memory(run: Callable[[], object]) -> float:
    """MiB that are allocated at most, beside the object's own bytes."""
    tracemalloc.start()
    try:
        run()
        return tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()

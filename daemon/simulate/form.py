"""The form of a simulated object, and the stored values that its display steps turn into the image.

Each step is the inverse of one that a display applies: inversion, VOI (PS3.3 C.11.2),
modality (PS3.3 C.11.1), quantisation to the bits stored.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import (
    JPEG2000,
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from daemon.errors import DaemonError

_LUT_HIGHEST = 65535
_SIGMOID_END = 1 / 1024  # how near to black and white a sigmoid comes within the stored range


class CannotSimulate(DaemonError):
    """Such an object cannot be made."""


class Kind(StrEnum):
    """Which IOD."""

    CR = "CR"
    DX = "DX"
    SC = "SC"


class Modality(StrEnum):
    """How stored values become modality values (PS3.3 C.11.1)."""

    NONE = "none"
    RESCALE = "rescale"
    LUT = "lut"


class Voi(StrEnum):
    """How modality values become grey (PS3.3 C.11.2)."""

    NONE = "none"
    LINEAR = "LINEAR"
    LINEAR_EXACT = "LINEAR_EXACT"
    SIGMOID = "SIGMOID"
    LUT = "lut"


class Damage(StrEnum):
    """What is wrong with the pixels on purpose."""

    NONE = "none"
    GARBLED = "garbled"  # noise after the start of the codestream
    TRUNCATED = "truncated"  # the second half is missing


_SHORT = {
    ImplicitVRLittleEndian: "implicit",
    ExplicitVRLittleEndian: "explicit",
    ExplicitVRBigEndian: "big endian",
    RLELossless: "RLE",
    JPEGBaseline8Bit: "JPEG baseline",
    JPEGLossless: "JPEG lossless",
    JPEGLosslessSV1: "JPEG lossless SV1",
    JPEGLSLossless: "JPEG-LS",
    JPEGLSNearLossless: "JPEG-LS lossy",
    JPEG2000Lossless: "JPEG 2000",
    JPEG2000: "JPEG 2000 lossy",
}


@dataclass(frozen=True, slots=True)
class Form:
    """How an image is dressed as an object. Raises CannotSimulate where the parts contradict."""

    kind: Kind = Kind.DX
    bits: int = 12  # stored, 8 to 16
    inverted: bool = False  # MONOCHROME1
    modality: Modality = Modality.NONE
    voi: Voi = Voi.LINEAR
    transfer_syntax: UID = ExplicitVRLittleEndian
    view: str = "PA"
    body_part: str = "CHEST"
    damage: Damage = Damage.NONE

    def __post_init__(self) -> None:
        if not 8 <= self.bits <= 16:
            raise CannotSimulate(f"Bits stored are 8 to 16. Received: {self.bits}")
        if self.kind is Kind.DX and self.modality is not Modality.NONE:
            raise CannotSimulate(
                "A DX object has no modality LUT or rescale but the identity (PS3.3 C.8.11.3);"
                " use kind CR or SC."
            )

    def __str__(self) -> str:
        parts = [
            f"{self.kind} {self.bits} bit",
            "MONOCHROME1" if self.inverted else "",
            "" if self.modality is Modality.NONE else f"modality {self.modality}",
            {Voi.NONE: "no window", Voi.LINEAR: ""}.get(self.voi, f"VOI {self.voi}"),
            _SHORT.get(self.transfer_syntax, self.transfer_syntax.name),
            "" if self.damage is Damage.NONE else f"{self.damage} pixels",
        ]
        return ", ".join(part for part in parts if part)

    @property
    def highest(self) -> int:
        """The largest value that the bits stored can hold."""
        return (1 << self.bits) - 1


def dress(grey: NDArray[Any], form: Form, dataset: Dataset) -> NDArray[np.uint16]:
    """Return stored values (rows, columns) and put the display steps into the dataset.

    `grey` is uint8 or uint16, 0 black: what a display shall show.
    """
    shown = grey.astype(np.float64) / np.iinfo(grey.dtype).max
    if form.inverted:
        shown = 1.0 - shown
    return _modality(_voi(shown, form, dataset), form, dataset)


def _voi(shown: NDArray[np.float64], form: Form, dataset: Dataset) -> NDArray[np.float64]:
    """Modality values; rescaled ones start at RescaleIntercept."""
    low = -1024.0 if form.modality is Modality.RESCALE else 0.0
    span = _LUT_HIGHEST if form.modality is Modality.LUT else form.highest
    high = low + span
    match form.voi:
        case Voi.LINEAR:
            _window(dataset, (low + high + 1) / 2, high - low + 1, form.voi)
        case Voi.LINEAR_EXACT:
            _window(dataset, (low + high) / 2, high - low, form.voi)
        case Voi.SIGMOID:
            shown = np.clip(shown, _SIGMOID_END, 1 - _SIGMOID_END)
            end = np.log((1 - _SIGMOID_END) / _SIGMOID_END)
            width = 2 * (high - low) / end
            _window(dataset, (low + high) / 2, width, form.voi)
            return np.asarray((low + high) / 2 + width / 4 * np.log(shown / (1 - shown)))
        case Voi.LUT:
            # Darkens the middle, as film does: grey is the square of the value.
            curve = np.square(np.arange(span + 1) / span)
            dataset.VOILUTSequence = [_lut(curve, int(low), form)]
            shown = np.sqrt(shown)
    return low + shown * (high - low)


def _modality(values: NDArray[np.float64], form: Form, dataset: Dataset) -> NDArray[np.uint16]:
    match form.modality:
        case Modality.RESCALE:
            dataset.RescaleIntercept, dataset.RescaleSlope = "-1024", "1"
            dataset.RescaleType = "US"
            values = values + 1024
        case Modality.LUT:
            # The square root of what the detector measured.
            item = _lut(np.sqrt(np.arange(form.highest + 1) / form.highest), 0, form)
            item.ModalityLUTType = "US"
            dataset.ModalityLUTSequence = [item]
            values = np.square(values / _LUT_HIGHEST) * form.highest
    return np.clip(np.rint(values), 0, form.highest).astype(np.uint16)


def _window(dataset: Dataset, center: float, width: float, function: Voi) -> None:
    dataset.WindowCenter, dataset.WindowWidth = f"{center:.6g}", f"{width:.6g}"
    if function is not Voi.LINEAR:
        dataset.VOILUTFunction = str(function)


def _lut(curve: NDArray[np.float64], first: int, form: Form) -> Dataset:
    """A lookup table of 16 bits from a curve of 0 to 1."""
    item = Dataset()
    # 65536 entries are written as 0 (PS3.3 C.11.1.1.1)
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [len(curve) % 65536, first, 16])
    order = "<" if form.transfer_syntax.is_little_endian else ">"
    item.add_new("LUTData", "OW", np.rint(curve * _LUT_HIGHEST).astype(f"{order}u2").tobytes())
    return item

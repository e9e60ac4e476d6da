"""DICOM radiographs made from arrays, for the tests of the classifier."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.data import get_testdata_file
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import UID, DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

STUDY, SERIES, INSTANCE = (UID(f"2.25.{n}") for n in (11, 12, 13))


def make_radiograph(
    cells: NDArray[Any], bits_stored: int = 0, photometric: str = "MONOCHROME2", **elements: Any
) -> Dataset:
    """A DX object of stored values: (rows, columns) of 8 or 16 bits, or (rows, columns, 3)."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID = DigitalXRayImageStorageForPresentation
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID = STUDY, SERIES, INSTANCE
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.Modality, ds.ViewPosition, ds.BodyPartExamined = "DX", "PA", "CHEST"
    ds.Rows, ds.Columns = cells.shape[:2]
    ds.SamplesPerPixel = 3 if cells.ndim == 3 else 1
    if cells.ndim == 3:
        ds.PlanarConfiguration = 0
    ds.PhotometricInterpretation = photometric
    ds.BitsAllocated = 8 * cells.dtype.itemsize
    ds.BitsStored = bits_stored or ds.BitsAllocated
    ds.HighBit = ds.BitsStored - 1
    ds.PixelRepresentation = int(cells.dtype.kind == "i")
    data = cells.tobytes()
    ds.PixelData = data + b"\0" * (len(data) % 2)
    ds["PixelData"].VR = "OB" if ds.BitsAllocated == 8 else "OW"
    for keyword, value in elements.items():
        setattr(ds, keyword, value)
    return ds


def lookup_table(entries: NDArray[Any], first: int, bits: int, signed: bool = False) -> Sequence:
    """A VOI or modality LUT sequence of one item."""
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if signed else "US", [len(entries) % 65536, first, bits])
    item.add_new("LUTData", "US", entries.astype(int).tolist())
    item.ModalityLUTType = "US"
    return Sequence([item])


def compressed(ds: Dataset, syntax: UID, frame: bytes) -> Dataset:
    """The same object with one encapsulated frame."""
    ds.file_meta.TransferSyntaxUID = syntax
    ds.PixelData = encapsulate([frame])
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
    return ds


def part10(ds: Dataset, syntax: UID | None = None) -> bytes:
    """The object as the bytes of a Part 10 file, in another native transfer syntax if given."""
    if syntax is not None:
        ds.file_meta.TransferSyntaxUID = syntax
    syntax = ds.file_meta.TransferSyntaxUID
    buffer = BytesIO()
    dcmwrite(
        buffer,
        ds,
        enforce_file_format=True,
        implicit_vr=syntax.is_implicit_VR,
        little_endian=syntax.is_little_endian,
    )
    return buffer.getvalue()


def reread(ds: Dataset) -> Dataset:
    """The object after a way through a file."""
    return dcmread(BytesIO(part10(ds)))


def anatomy(rows: int, columns: int, levels: int, seed: int = 0) -> NDArray[np.int64]:
    """Smooth fields with noise, 0 to levels - 1, bright at the edges: no border to crop."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:rows, 0:columns]
    field = 0.5 + 0.3 * np.cos(6.3 * y / rows) * np.cos(6.3 * x / columns)
    noisy = field + random.normal(0, 0.05, (rows, columns))
    return np.clip(noisy * levels, 0, levels - 1).astype(np.int64)


def no_chest() -> NDArray[np.uint8]:
    """A CT slice of pydicom's, large enough to be looked at."""
    pixels = dcmread(str(get_testdata_file("CT_small.dcm"))).pixel_array.astype(np.float64)
    shown = (pixels - pixels.min()) / np.ptp(pixels) * 255
    return np.kron(shown, np.ones((4, 4))).astype(np.uint8)

"""Stored pixel values of one DICOM object or image file, with limits checked before allocation.

Decoders: native and RLE by pydicom, JPEG by GDCM, JPEG-LS by CharLS, JPEG 2000 and HTJ2K by
OpenJPEG (`classifier.jpeg2000`); 12-bit JPEG Extended by DCMTK's ``dcmdjpeg`` where it is
installed.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
import tempfile
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset
from pydicom.encaps import get_frame
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_color_lut
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from classifier import jpeg2000
from classifier.errors import Undecodable
from classifier.jpeg2000 import Enough, Lower

MAX_PIXELS = 64_000_000
"""Rows times columns that are decoded at most: a 43 x 43 cm detector at 54 um has 63 million."""

DCMDJPEG_SECONDS = 20.0
LONG_VALUE = 1 << 20
"""Bytes from which on a value is a view of the file's bytes, not a copy of them."""

NATIVE = {ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian}
OPENJPEG = {JPEG2000Lossless, JPEG2000, HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K}
PLUGINS = {
    JPEGBaseline8Bit: "gdcm",
    JPEGExtended12Bit: "gdcm",
    JPEGLossless: "gdcm",
    JPEGLosslessSV1: "gdcm",
    JPEGLSLossless: "pyjpegls",
    JPEGLSNearLossless: "pyjpegls",
    RLELossless: "pydicom",
}
TRANSFER_SYNTAXES: frozenset[UID] = frozenset(NATIVE | OPENJPEG | set(PLUGINS))
"""Transfer syntaxes that can be decoded (12-bit JPEG Extended only beside DCMTK)."""

DECODE_FAULTS = (
    ArithmeticError,
    AttributeError,
    BytesLengthException,
    EOFError,
    KeyError,
    IndexError,
    MemoryError,
    NotImplementedError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    subprocess.SubprocessError,
)
"""What pydicom and its decoders raise on bad bytes; they have no common exception."""


def read_object(source: bytes | Path) -> FileDataset:
    """The dataset of a Part 10 file.

    Raises:
        Undecodable: it is no Part 10 file, it is deflated, or its elements cannot be read.
    """
    try:
        content = source if isinstance(source, bytes) else source.read_bytes()
        syntax = _transfer_syntax(content)
        if syntax == DeflatedExplicitVRLittleEndian:
            raise Undecodable(
                f"{_named(DeflatedExplicitVRLittleEndian)} is not read: a small file may unpack to "
                "hundreds of megabytes."
            )
        return dcmread(_Source(content) if syntax in NATIVE else BytesIO(content))
    except InvalidDicomError as error:
        raise Undecodable("The file is no DICOM Part 10 file.") from error
    except (*DECODE_FAULTS, RecursionError) as error:
        raise Undecodable(f"The dataset cannot be read ({type(error).__name__}).") from error


def stored_pixels(dataset: Dataset) -> NDArray[Any]:
    """Pixel values as stored: (rows, columns) uint8 or uint16, or (rows, columns, 3) uint8 RGB.

    Sixteen-bit values are the container's bits: the pixel cell within it (BitsStored, HighBit,
    PixelRepresentation; PS3.5 section 8.1.1) is not yet taken out.

    Raises:
        Undecodable: a limit is exceeded, or the bytes do not decode.
    """
    return enough_pixels(dataset, None)[0]


def enough_pixels(dataset: Dataset, enough: Enough | None) -> tuple[NDArray[Any], Lower | None]:
    """As `stored_pixels`, or JPEG 2000 at the lower resolution that is enough, and which that is.

    Raises:
        Undecodable: see `stored_pixels`.
    """
    syntax, lower = _check(dataset), None
    rows, columns = expected = int(dataset.Rows), int(dataset.Columns)
    try:
        if syntax in NATIVE:
            array = _native(dataset, syntax)
        else:
            array, lower = _encapsulated(dataset, syntax, enough)
        if dataset.get("PhotometricInterpretation") == "PALETTE COLOR":
            array = _eight_bit(apply_color_lut(array, dataset))
    except DECODE_FAULTS as error:
        raise Undecodable(
            f"The pixels do not decode ({syntax.name}: {type(error).__name__})."
        ) from error
    if lower is not None:
        expected = lower.shape(rows, columns)
    if array.shape[:2] != expected:
        raise Undecodable(
            f"The pixels do not have the size that the header states. Allowed: {expected[0]} x "
            f"{expected[1]}. Received: {array.shape[0]} x {array.shape[1]}."
        )
    return array, lower


def image_file_pixels(path: Path) -> NDArray[Any]:
    """Pixel values of a PNG or JPEG file: (H, W) uint8 or uint16 grey, or (H, W, 3) uint8 RGB.

    Raises:
        Undecodable: it is no image, too large, or damaged.
    """
    try:
        with Image.open(path, formats=("PNG", "JPEG")) as image:
            _check_size(image.height, image.width)
            if image.mode in ("I;16", "I;16B", "I", "F"):
                return np.asarray(image).astype(np.uint16)
            return np.asarray(image if image.mode == "L" else image.convert("RGB"))
    except (UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise Undecodable(f"{path.name} is no PNG or JPEG image.") from error
    except DECODE_FAULTS as error:
        raise Undecodable(f"{path.name} does not decode ({type(error).__name__}).") from error


class _Source(BytesIO):
    """A file in memory, of which a long value is read as a view."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self._content = memoryview(content)

    def read(self, size: int | None = -1, /) -> Any:
        if size is None or size < LONG_VALUE:
            return super().read(size)
        start = self.tell()
        return self._content[start : self.seek(min(start + size, len(self._content)))]


def _transfer_syntax(content: bytes) -> UID | None:
    """Of the File Meta Information (PS3.10 section 7.1), read before anything else is."""
    position = 132
    while content[position : position + 2] == b"\x02\0":
        element, vr, length = struct.unpack_from("<2xH2sH", content, position)
        position += 8
        if vr in (b"OB", b"OW", b"SQ", b"UN", b"UT"):
            (length,) = struct.unpack_from("<I", content, position)
            position += 4
        if element == 0x0010:
            return UID(content[position : position + length].decode("ascii").rstrip("\0 "))
        position += length
    return None


def _named(syntax: UID | str | None) -> str:
    """A transfer syntax by name and UID."""
    return f"{UID(syntax).name} ({syntax})" if syntax else "none"


def _check(dataset: Dataset) -> UID:
    syntax = getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", None)
    if syntax not in TRANSFER_SYNTAXES:
        raise Undecodable(f"Transfer syntax not supported. Received: {_named(syntax)}.")
    try:
        rows, columns = int(dataset.Rows), int(dataset.Columns)
        frames = int(dataset.get("NumberOfFrames") or 1)
        samples = int(dataset.get("SamplesPerPixel") or 1)
        allocated, stored = int(dataset.BitsAllocated), int(dataset.BitsStored)
        high = int(dataset.get("HighBit", stored - 1))
        representation = int(dataset.get("PixelRepresentation") or 0)
        empty = "PixelData" not in dataset or not dataset["PixelData"].value
    except DECODE_FAULTS as error:
        raise Undecodable("The header does not describe the pixels.") from error
    if empty:
        raise Undecodable("The object has no pixels.")
    _check_size(rows, columns)
    if frames != 1:
        raise Undecodable(f"More than one frame. Allowed: 1. Received: {frames}.")
    if samples not in (1, 3) or (samples == 3 and allocated != 8):
        raise Undecodable("Only one grey sample per pixel or three of 8 bits are supported.")
    if allocated not in (8, 16) or not 1 <= stored <= high + 1 <= allocated:
        raise Undecodable(
            "Pixel cells are not supported. Allowed: 8 or 16 bits allocated. Received: "
            f"{allocated} allocated, {stored} stored, high bit {high}."
        )
    if representation not in (0, 1):
        raise Undecodable("PixelRepresentation is neither 0 nor 1.")
    return UID(syntax)


def _check_size(rows: int, columns: int) -> None:
    if rows < 1 or columns < 1 or rows * columns > MAX_PIXELS:
        raise Undecodable(
            f"The image has {rows} x {columns} pixels. Allowed: 1 to {MAX_PIXELS:,} pixels."
        )


def _native(dataset: Dataset, syntax: UID) -> NDArray[Any]:
    # unused bits are left as they are: the lookup table does not see them
    options: dict[str, Any] = {"raw": True, "view_only": True, "correct_unused_bits": False}
    array, _ = get_decoder(syntax).as_array(dataset, **options)
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    return _rgb(dataset, array)


def _encapsulated(
    dataset: Dataset, syntax: UID, enough: Enough | None
) -> tuple[NDArray[Any], Lower | None]:
    frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
    if syntax in OPENJPEG:
        # some objects hold a whole JP2 file
        frame = frame[max(frame.find(jpeg2000.START), 0) :]
    if syntax != RLELossless:
        rows, columns, precision = codestream_size(frame)
        if (rows, columns) != (dataset.Rows, dataset.Columns):
            raise Undecodable(
                "The compressed pixels do not have the size that the header states. Allowed: "
                f"{dataset.Rows} x {dataset.Columns}. Received: {rows} x {columns}."
            )
        if syntax == JPEGExtended12Bit and precision > 8:
            return _dcmdjpeg(dataset), None
    if syntax in OPENJPEG:
        grey = str(dataset.get("PhotometricInterpretation")).startswith("MONOCHROME")
        if enough is not None and grey and (found := jpeg2000.decode_lower(frame, enough)):
            return found
        return _container(jpeg2000.decode(frame)), None
    array, _ = get_decoder(syntax).as_array(
        dataset, decoding_plugin=PLUGINS[syntax], raw=dataset.get("SamplesPerPixel", 1) == 1
    )
    return _container(array), None


def _rgb(dataset: Dataset, array: NDArray[Any]) -> NDArray[Any]:
    """Native colour stored as YBR_FULL becomes RGB (PS3.3 section C.7.6.3.1.2)."""
    if array.ndim == 3 and str(dataset.PhotometricInterpretation).startswith("YBR"):
        y, blue, red = np.moveaxis(array.astype(np.float32), -1, 0)
        blue, red = blue - 128, red - 128
        rgb = np.stack([y + 1.402 * red, y - 0.344136 * blue - 0.714136 * red, y + 1.772 * blue])
        return np.asarray(np.moveaxis(np.clip(np.rint(rgb), 0, 255), 0, -1), dtype=np.uint8)
    return _container(array)


def _container(array: NDArray[Any]) -> NDArray[Any]:
    """The same bits as unsigned 8 or 16."""
    if array.dtype.itemsize > 2:
        raise Undecodable("The pixels have more than 16 bits. Allowed: 8 to 16.")
    return np.asarray(array.view(np.uint8 if array.dtype.itemsize == 1 else np.uint16))


def _eight_bit(rgb: NDArray[Any]) -> NDArray[np.uint8]:
    return np.asarray(rgb if rgb.dtype == np.uint8 else rgb >> 8, dtype=np.uint8)


def _dcmdjpeg(dataset: Dataset) -> NDArray[Any]:
    program = shutil.which("dcmdjpeg")
    if program is None:
        raise Undecodable(
            "12-bit JPEG Extended (1.2.840.10008.1.2.4.51) is decoded only where DCMTK's "
            "dcmdjpeg is installed."
        )
    with tempfile.TemporaryDirectory() as folder:
        packed, plain = Path(folder, "in.dcm"), Path(folder, "out.dcm")
        dataset.save_as(packed)
        command = [program, str(packed), str(plain)]
        done = subprocess.run(command, capture_output=True, timeout=DCMDJPEG_SECONDS, check=False)
        if done.returncode != 0:
            raise Undecodable("The pixels do not decode (DCMTK's dcmdjpeg).")
        return _native(dcmread(plain), ExplicitVRLittleEndian)


def codestream_size(frame: bytes) -> tuple[int, int, int]:
    """Rows, columns and bits per sample that a JPEG, JPEG-LS or JPEG 2000 codestream states.

    Read from SOFn (ITU-T T.81 B.2.2, T.87 C.2.2) or SIZ (T.800 A.5.1) before a decoder sees the
    frame: decoders allocate what the codestream says, whatever the DICOM header says.
    """
    if frame.startswith(jpeg2000.START):
        stream = jpeg2000.read_codestream(frame)
        return stream.rows, stream.columns, stream.precision
    if frame[:2] != b"\xff\xd8":
        raise ValueError("no codestream")
    position = 2
    while True:
        marker, length = struct.unpack_from(">HH", frame, position)
        if marker in (0xFFC0, 0xFFC1, 0xFFC2, 0xFFC3, 0xFFF7):
            precision, rows, columns = struct.unpack_from(">BHH", frame, position + 4)
            return rows, columns, precision
        if marker >> 8 != 0xFF or marker == 0xFFDA:
            raise ValueError("no frame header in the codestream")
        position += 1 if marker == 0xFFFF else 2 + length

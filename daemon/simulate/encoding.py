"""Stored values to PixelData in each transfer syntax that can be written without GPL encoders."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import gdcm
import numpy as np
from numpy.typing import NDArray
from openjpeg.utils import encode_array
from PIL import Image
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.pixels.encoders.base import get_encoder
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

from daemon.simulate.form import CannotSimulate, Damage, Form

_JPEG_QUALITY = 95
_NEAR = 2  # JPEG-LS: the largest error of a stored value
_J2K_RATIO = 10

# LossyImageCompressionMethod (0028,2114), PS3.3 C.7.6.1.1.5.1
_LOSSY_METHODS = {
    JPEGBaseline8Bit: "ISO_10918_1",
    JPEGLSNearLossless: "ISO_14495_1",
    JPEG2000: "ISO_15444_1",
}


def put_pixels(dataset: Dataset, stored: NDArray[np.uint16], form: Form) -> None:
    """Put PixelData into the dataset, whose Image Pixel module is complete.

    `stored` is (rows, columns). Raises CannotSimulate for a transfer syntax without an encoder.
    """
    encode = _ENCODERS.get(form.transfer_syntax)
    if encode is None:
        possible = ", ".join(f"{uid} ({uid.name})" for uid in transfer_syntaxes())
        raise CannotSimulate(
            f"There is no encoder for {form.transfer_syntax} ({form.transfer_syntax.name})."
            f" Possible: {possible}"
        )
    if form.transfer_syntax == JPEGBaseline8Bit and form.bits != 8:
        raise CannotSimulate(f"JPEG Baseline holds 8 bits. Received: {form.bits}")
    cells = stored.astype(np.uint8) if form.bits == 8 else stored
    encoded = _damaged(encode(dataset, cells, form.transfer_syntax), form.damage)
    compressed = form.transfer_syntax.is_compressed
    vr = "OB" if compressed or form.bits == 8 else "OW"
    dataset.add_new("PixelData", vr, encapsulate([encoded]) if compressed else encoded)
    dataset["PixelData"].is_undefined_length = compressed
    if method := _LOSSY_METHODS.get(form.transfer_syntax):
        dataset.LossyImageCompression = "01"
        dataset.LossyImageCompressionMethod = method
        dataset.LossyImageCompressionRatio = f"{cells.nbytes / len(encoded):.1f}"


def transfer_syntaxes() -> list[UID]:
    """Return the transfer syntaxes that can be written."""
    return list(_ENCODERS)


def _damaged(encoded: bytes, damage: Damage) -> bytes:
    match damage:
        case Damage.TRUNCATED:
            return encoded[: len(encoded) // 4 * 2]
        case Damage.GARBLED:
            # From the middle of the header on: the start still says what it is.
            noise = np.random.default_rng(len(encoded)).bytes(len(encoded))
            return encoded[:40] + noise[40:]
        case _:
            return encoded


def _native(_: Dataset, cells: NDArray[Any], syntax: UID) -> bytes:
    order = cells.dtype.newbyteorder("<" if syntax.is_little_endian else ">")
    content = cells.astype(order).tobytes()
    return content + b"\0" * (len(content) % 2)


def _by_pydicom(dataset: Dataset, cells: NDArray[Any], syntax: UID) -> bytes:
    options: dict[str, Any] = {"jls_error": _NEAR} if syntax == JPEGLSNearLossless else {}
    plugin = "pydicom" if syntax == RLELossless else "pyjpegls"
    encoded: bytes = get_encoder(syntax).encode(
        cells,
        encoding_plugin=plugin,
        rows=dataset.Rows,
        columns=dataset.Columns,
        samples_per_pixel=1,
        number_of_frames=1,
        bits_allocated=dataset.BitsAllocated,
        bits_stored=dataset.BitsStored,
        pixel_representation=0,
        photometric_interpretation=dataset.PhotometricInterpretation,
        **options,
    )
    return encoded


def _jpeg_2000(dataset: Dataset, cells: NDArray[Any], syntax: UID) -> bytes:
    ratios = [_J2K_RATIO] if syntax == JPEG2000 else None
    return bytes(encode_array(cells, bits_stored=dataset.BitsStored, compression_ratios=ratios))


def _jpeg_baseline(_: Dataset, cells: NDArray[Any], __: UID) -> bytes:
    buffer = BytesIO()
    Image.fromarray(cells, "L").save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return buffer.getvalue()


def _jpeg_lossless(dataset: Dataset, cells: NDArray[Any], syntax: UID) -> bytes:
    """By GDCM, through files: its Python binding takes no buffer of pixels."""
    if cells.nbytes % 2:
        # GDCM takes the padding byte for a pixel, and refuses
        raise CannotSimulate("JPEG Lossless of 8 bits needs an even number of pixels.")
    plain = Dataset()
    for keyword in _PIXEL_MODULE:
        plain[keyword] = dataset[keyword]
    plain.SOPClassUID, plain.SOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
    vr = "OB" if cells.dtype == np.uint8 else "OW"
    plain.add_new("PixelData", vr, _native(dataset, cells, ExplicitVRLittleEndian))
    plain.file_meta = FileMetaDataset()
    plain.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    with TemporaryDirectory() as folder:
        source, target = str(Path(folder, "plain.dcm")), str(Path(folder, "packed.dcm"))
        dcmwrite(source, plain, enforce_file_format=True)
        reader = gdcm.ImageReader()
        reader.SetFileName(source)
        change = gdcm.ImageChangeTransferSyntax()
        change.SetTransferSyntax(gdcm.TransferSyntax(_GDCM_SYNTAXES[syntax]))
        ok = reader.Read()
        change.SetInput(reader.GetImage())
        writer = gdcm.ImageWriter()
        writer.SetFileName(target)
        ok = ok and change.Change()
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        if not (ok and writer.Write()):
            raise CannotSimulate(f"GDCM cannot write {syntax.name} of {dataset.BitsStored} bits.")
        return get_frame(dcmread(target).PixelData, 0, number_of_frames=1)


_PIXEL_MODULE = (
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
)
_GDCM_SYNTAXES = {
    JPEGLossless: gdcm.TransferSyntax.JPEGLosslessProcess14,
    JPEGLosslessSV1: gdcm.TransferSyntax.JPEGLosslessProcess14_1,
}
_ENCODERS: dict[UID, Callable[[Dataset, NDArray[Any], UID], bytes]] = {
    ImplicitVRLittleEndian: _native,
    ExplicitVRLittleEndian: _native,
    ExplicitVRBigEndian: _native,
    RLELossless: _by_pydicom,
    JPEGBaseline8Bit: _jpeg_baseline,
    JPEGLossless: _jpeg_lossless,
    JPEGLosslessSV1: _jpeg_lossless,
    JPEGLSLossless: _by_pydicom,
    JPEGLSNearLossless: _by_pydicom,
    JPEG2000Lossless: _jpeg_2000,
    JPEG2000: _jpeg_2000,
}

"""Promise: an object in any transfer syntax that we list is received over TCP, kept byte for byte
and decoded; one in any other is refused by name.

The files are made by the programs that hospitals' senders are built on: DCMTK, OpenJPEG, OpenJPH.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import openjpeg
import pytest
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    DeflatedExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
)

from classifier.decode import read_object, stored_pixels
from classifier.errors import Undecodable
from classifier.pixels import from_dicom
from daemon import contexts
from tests.listening import Bench
from tests.radiographs import anatomy, compressed, make_radiograph, part10

ROWS, COLUMNS = 96, 80


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    one = Bench(tmp_path)
    yield one
    one.close()


def cells(bits: int) -> NDArray[Any]:
    field = anatomy(ROWS, COLUMNS, 1 << bits)
    return field.astype(np.uint8 if bits == 8 else np.uint16)


def by_dcmtk(*command: str) -> Callable[[Path, int], Dataset]:
    """The object as one of DCMTK's programs writes it."""

    def make(folder: Path, bits: int) -> Dataset:
        source, target = folder / "in.dcm", folder / "out.dcm"
        source.write_bytes(part10(make_radiograph(cells(bits), bits)))
        subprocess.run([*command, str(source), str(target)], check=True, timeout=30)
        return dcmread(target)

    return make


def by_openjpeg(syntax: str) -> Callable[[Path, int], Dataset]:
    def make(_: Path, bits: int) -> Dataset:
        lossy = {} if syntax == JPEG2000Lossless else {"signal_noise_ratios": [80]}
        frame = openjpeg.encode(
            cells(bits), bits_stored=bits, photometric_interpretation=2, **lossy
        )
        return compressed(make_radiograph(cells(bits), bits), syntax, frame)

    return make


def by_openjph(syntax: str, *options: str) -> Callable[[Path, int], Dataset]:
    def make(folder: Path, bits: int) -> Dataset:
        source, target = folder / "in.pgm", folder / "out.j2c"
        pixels = cells(bits).astype("u1" if bits == 8 else ">u2")
        source.write_bytes(b"P5\n%d %d\n%d\n" % (COLUMNS, ROWS, (1 << bits) - 1) + pixels.tobytes())
        command = ["ojph_compress", "-i", str(source), "-o", str(target), *options]
        subprocess.run(command, check=True, timeout=30, capture_output=True)
        return compressed(make_radiograph(cells(bits), bits), syntax, target.read_bytes())

    return make


LOSSLESS = ("-reversible", "true")

# Transfer syntax, who makes it, bits, and by how many grey levels of 255 the picture may differ
MADE = [
    ("1.2.840.10008.1.2", by_dcmtk("dcmconv", "+ti"), (8, 12, 16), 0),
    ("1.2.840.10008.1.2.1", by_dcmtk("dcmconv", "+te"), (8, 12, 16), 0),
    ("1.2.840.10008.1.2.2", by_dcmtk("dcmconv", "+tb"), (8, 12, 16), 0),
    ("1.2.840.10008.1.2.5", by_dcmtk("dcmcrle"), (8, 12, 16), 0),
    ("1.2.840.10008.1.2.4.50", by_dcmtk("dcmcjpeg", "+eb", "+q", "99"), (8,), 8),
    ("1.2.840.10008.1.2.4.51", by_dcmtk("dcmcjpeg", "+ee", "+q", "99"), (8, 12), 8),
    ("1.2.840.10008.1.2.4.57", by_dcmtk("dcmcjpeg", "+el"), (8, 12, 16), 0),
    ("1.2.840.10008.1.2.4.70", by_dcmtk("dcmcjpeg", "+e1"), (8, 12, 16), 0),
    ("1.2.840.10008.1.2.4.80", by_dcmtk("dcmcjpls", "+el"), (8, 12, 16), 0),
    ("1.2.840.10008.1.2.4.81", by_dcmtk("dcmcjpls", "+en", "+md", "2"), (8, 12, 16), 6),
    (JPEG2000Lossless, by_openjpeg(JPEG2000Lossless), (8, 12, 16), 0),
    (JPEG2000, by_openjpeg(JPEG2000), (8, 12, 16), 4),
    (HTJ2KLossless, by_openjph(HTJ2KLossless, *LOSSLESS), (8, 12, 16), 0),
    (HTJ2KLosslessRPCL, by_openjph(HTJ2KLosslessRPCL, *LOSSLESS, "-prog_order", "RPCL"),
     (8, 12, 16), 0),
    (HTJ2K, by_openjph(HTJ2K, "-qstep", "0.0005"), (8, 12, 16), 4),
]  # fmt: skip
MATRIX = [
    pytest.param(make, syntax, bits, loss, id=f"{syntax}-{bits}")
    for syntax, make, depths, loss in MADE
    for bits in depths
]


def test_the_matrix_is_complete() -> None:
    assert [str(syntax) for syntax, *_ in MADE] == list(contexts.TRANSFER_SYNTAXES)


def received(bench: Bench, dataset: Dataset) -> bytes:
    """The bytes of the file that the listener kept of it."""
    syntax = dataset.file_meta.TransferSyntaxUID
    association = bench.associate(str(dataset.SOPClassUID), [syntax])
    assert association.is_established
    assert association.send_c_store(dataset).Status == 0x0000
    association.release()
    return bench.objects.read(bench.queue.rows(limit=1)[0].sha256)


@pytest.mark.peer
@pytest.mark.parametrize(("make", "syntax", "bits", "loss"), MATRIX)
def test_every_syntax_is_received_and_decoded(
    make: Callable[[Path, int], Dataset],
    syntax: str,
    bits: int,
    loss: int,
    bench: Bench,
    tmp_path: Path,
) -> None:
    sent = make(tmp_path, bits)
    assert sent.file_meta.TransferSyntaxUID == syntax
    kept = read_object(received(bench, sent))
    assert kept.file_meta.TransferSyntaxUID == syntax
    assert bytes(kept.PixelData) == bytes(sent.PixelData)  # never transcoded
    if loss == 0:
        assert np.array_equal(stored_pixels(kept), cells(bits))
    shown = from_dicom(kept).grey.astype(int)
    expected = from_dicom(make_radiograph(cells(bits), bits)).grey
    assert np.abs(shown - expected).max() <= loss


@pytest.mark.peer
def test_deflated_is_refused_by_name(bench: Bench, tmp_path: Path) -> None:
    """In the negotiation, and where a file of it comes by another way."""
    sent = by_dcmtk("dcmconv", "+td")(tmp_path, 12)
    association = bench.associate(str(sent.SOPClassUID), [DeflatedExplicitVRLittleEndian])
    assert [str(c.abstract_syntax) for c in association.rejected_contexts] == [sent.SOPClassUID]
    association.release()
    with pytest.raises(Undecodable, match="Deflated Explicit VR Little Endian"):
        read_object((tmp_path / "out.dcm").read_bytes())


# pydicom's own test files: what they hold, and the word that names why one is not read
FILES = {
    "693_J2KI.dcm": "",
    "J2K_pixelrep_mismatch.dcm": "",
    "JPEG2000.dcm": "",
    "JPEG2000-embedded-sequence-delimiter.dcm": "do not have the size",  # bytes set over its SIZ
    "JPEGLSNearLossless_08.dcm": "",
    "JPEGLSNearLossless_16.dcm": "",
    "JPEG-lossy.dcm": "",
    "JPGExtended.dcm": "",
    "MR_small_RLE.dcm": "",
    "MR_small_jp2klossless.dcm": "",
    "MR_small_jpeg_ls_lossless.dcm": "",
    "MR_small_bigendian.dcm": "",
    "MR_small_implicit.dcm": "",
    "MR_small_expb.dcm": "",
    "MR_small_padded.dcm": "",
    "MR_truncated.dcm": "do not decode",
    "CT_small.dcm": "",
    "ExplVR_BigEnd.dcm": "",
    "SC_rgb_jpeg_dcmtk.dcm": "",
    "SC_rgb_rle.dcm": "",
    "SC_rgb_rle_16bit.dcm": "three of 8 bits",
    "SC_rgb_rle_2frame.dcm": "More than one frame",
    "SC_rgb_small_odd_jpeg.dcm": "",
    "examples_jpeg2k.dcm": "",
    "examples_palette.dcm": "",
    "liver_1frame.dcm": "1 allocated",
    "rtdose_1frame.dcm": "32 allocated",
}


@pytest.mark.peer
@pytest.mark.parametrize("name", FILES)
def test_the_files_of_pydicom_are_received_and_decoded_or_refused_by_name(
    name: str, bench: Bench
) -> None:
    """Sent under a class that we take: what they hold is for the classifier to find out."""
    sent = dcmread(str(get_testdata_file(name, download=False)))
    sent.SOPClassUID = contexts.SECONDARY_CAPTURE
    kept = read_object(received(bench, sent))
    if FILES[name]:
        with pytest.raises(Undecodable, match=FILES[name]):
            from_dicom(kept)
    else:
        assert from_dicom(kept).grey.std() > 0
    assert dcmread(BytesIO(received(bench, sent))).SOPInstanceUID == sent.SOPInstanceUID

"""Decoding of every transfer syntax, limits, the border, and image files beside objects."""

from __future__ import annotations

import shutil
import subprocess
import time
from io import BytesIO
from pathlib import Path
from typing import Any

import jpeg_ls
import numpy as np
import openjpeg
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import (
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

from classifier import decode
from classifier.decode import read_object, stored_pixels
from classifier.errors import Undecodable
from classifier.pixels import from_dicom, from_image_file
from classifier.preprocessing import network_input
from tests.radiographs import anatomy, compressed, lookup_table, make_radiograph, part10, reread

needs_dcmtk = pytest.mark.skipif(shutil.which("dcmcjpeg") is None, reason="DCMTK not installed")


def field(bits: int) -> NDArray[Any]:
    return anatomy(96, 80, 1 << bits).astype(np.uint8 if bits == 8 else np.uint16)


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian]
)
def test_native_values_come_out_as_they_went_in(bits: int, syntax: UID) -> None:
    cells = field(bits)
    ds = make_radiograph(cells, bits)
    if syntax == ExplicitVRBigEndian:
        pairs = np.frombuffer(ds.PixelData, dtype=np.uint16).byteswap()
        ds.PixelData = pairs.tobytes()
        ds["PixelData"].VR = "OW"
    assert np.array_equal(stored_pixels(read_object(part10(ds, syntax))), cells)


def encoded(ds: Dataset, cells: NDArray[Any], syntax: UID) -> Dataset:
    if syntax == RLELossless:
        ds.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
        return ds
    if syntax == JPEGLSLossless:
        return compressed(ds, syntax, bytes(jpeg_ls.encode_array(cells)))
    frame = openjpeg.encode(cells, bits_stored=ds.BitsStored, photometric_interpretation=2)
    return compressed(ds, syntax, frame)


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless, JPEG2000])
def test_losslessly_compressed_values_come_out_as_they_went_in(bits: int, syntax: UID) -> None:
    cells = field(bits)
    ds = reread(encoded(make_radiograph(cells, bits), cells, syntax))
    assert np.array_equal(stored_pixels(ds), cells)


@pytest.mark.parametrize("bits", [12, 16])
def test_signed_jpeg_2000_gives_the_same_picture_as_native(bits: int) -> None:
    cells = (anatomy(96, 80, 1 << bits) - (1 << bits - 1)).astype(np.int16)
    native = make_radiograph(cells, bits, RescaleIntercept=100, RescaleSlope=2)
    packed = make_radiograph(cells, bits, RescaleIntercept=100, RescaleSlope=2)
    packed = reread(encoded(packed, cells, JPEG2000Lossless))
    assert np.array_equal(from_dicom(packed).grey, from_dicom(native).grey)


def test_jpeg_baseline_differs_by_no_more_than_its_loss() -> None:
    cells = field(8)
    buffer = BytesIO()
    Image.fromarray(cells).save(buffer, "JPEG", quality=97)
    ds = reread(compressed(make_radiograph(cells), JPEGBaseline8Bit, buffer.getvalue()))
    assert np.abs(stored_pixels(ds).astype(int) - cells).max() < 12


@needs_dcmtk
@pytest.mark.peer
@pytest.mark.parametrize(
    ("option", "bits"), [("+e1", 8), ("+e1", 12), ("+e1", 16), ("+el", 12), ("+ee", 12)]
)
def test_jpeg_made_by_dcmtk(tmp_path: Path, option: str, bits: int) -> None:
    """+e1 lossless (.70), +el lossless (.57), +ee extended (.51), here with 12 bits."""
    source = make_radiograph(field(bits), bits)
    (tmp_path / "in.dcm").write_bytes(part10(source))
    quality = ["+q", "99"] if option == "+ee" else []
    command = ["dcmcjpeg", option, *quality, str(tmp_path / "in.dcm"), str(tmp_path / "out.dcm")]
    subprocess.run(command, check=True, timeout=30)
    shown = from_dicom(dcmread(tmp_path / "out.dcm")).grey.astype(int)
    assert np.abs(shown - from_dicom(source).grey).max() <= (3 if option == "+ee" else 0)


def test_12_bit_extended_names_the_missing_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    ds = dcmread(str(get_testdata_file("JPGExtended.dcm", download=False)))
    with pytest.raises(Undecodable, match="dcmdjpeg"):
        stored_pixels(ds)


@pytest.mark.parametrize("photometric", ["MONOCHROME2", "MONOCHROME1"])
def test_a_png_gives_the_same_input_as_the_same_pixels_in_dicom(
    demo_images: list[Path], photometric: str
) -> None:
    source = demo_images[0]
    pixels = np.asarray(Image.open(source).convert("L"))
    shown, _ = network_input(from_image_file(source), "pad-clahe-2", 224)
    cells = pixels if photometric == "MONOCHROME2" else 255 - pixels
    ds = make_radiograph(cells, photometric=photometric, WindowCenter=128, WindowWidth=256)
    sent, _ = network_input(from_dicom(read_object(part10(ds))), "pad-clahe-2", 224)
    assert np.array_equal(shown, sent)


def test_the_window_does_not_change_the_input(demo_images: list[Path]) -> None:
    """As long as it clips little; before the stretch, the input was 42 grey levels away."""
    source = demo_images[4]
    pixels = np.asarray(Image.open(source).convert("L"))
    shown, _ = network_input(from_image_file(source), "pad-clahe-2", 224)
    low, high = np.percentile(pixels, (0.1, 99.9))
    for width in (high - low, 256, 400):
        ds = make_radiograph(pixels, WindowCenter=(low + high) / 2, WindowWidth=width)
        sent, _ = network_input(from_dicom(ds), "pad-clahe-2", 224)
        assert np.abs(shown.astype(int) - sent).mean() < 8


def test_a_16_bit_png_and_a_colour_jpeg_are_read(tmp_path: Path) -> None:
    deep, colour = tmp_path / "deep.png", tmp_path / "colour.jpg"
    Image.fromarray(field(16)).save(deep)
    assert np.array_equal(from_image_file(deep).grey, from_dicom(make_radiograph(field(16))).grey)
    Image.fromarray(np.dstack([field(8)] * 3)).save(colour, quality=100)
    seen = from_image_file(colour).grey.astype(int)
    full = make_radiograph(field(8), WindowCenter=128, WindowWidth=256)
    assert np.abs(seen - from_dicom(full).grey).max() <= 4


def test_monochrome1_and_the_inverse_shape_are_one_inversion() -> None:
    cells = field(12)
    window: dict[str, Any] = {"WindowCenter": 2048, "WindowWidth": 4096}
    plain = from_dicom(make_radiograph(cells, 12, **window)).grey
    both = make_radiograph(cells, 12, "MONOCHROME1", PresentationLUTShape="INVERSE", **window)
    one = make_radiograph(cells, 12, "MONOCHROME1", **window)
    shape = make_radiograph(cells, 12, PresentationLUTShape="INVERSE", **window)
    for ds in (both, one, shape):
        assert np.abs(from_dicom(ds).grey.astype(int) + plain - 255).max() <= 1


def test_a_voi_table_goes_before_a_window() -> None:
    cells = field(12)
    table = lookup_table(np.arange(4096), 0, 12)
    ds = make_radiograph(cells, 12, VOILUTSequence=table, WindowCenter=1, WindowWidth=2)
    assert np.abs(from_dicom(ds).grey - cells / 4095 * 255).max() <= 0.5


def test_rgb_palette_and_ybr_become_grey() -> None:
    red = np.zeros((64, 64, 3), dtype=np.uint8)
    red[:, 2:62, 0] = 255
    red[16:48, 16:48, 0] = 40
    grey = from_dicom(make_radiograph(red, photometric="RGB")).grey
    assert grey[2, 5] > grey[30, 30] > 0
    for name in ("examples_palette.dcm", "SC_ybr_full_422_uncompressed.dcm", "SC_rgb_jpeg.dcm"):
        assert from_dicom(dcmread(str(get_testdata_file(name, download=False)))).grey.std() > 0.5


def test_the_border_is_cut_off_and_remembered() -> None:
    cells = np.zeros((300, 200), dtype=np.uint8)
    cells[40:260, 30:180] = 60 + anatomy(220, 150, 150)
    radiograph = from_dicom(make_radiograph(cells))
    assert radiograph.grey.shape == (220, 150)
    assert (radiograph.top, radiograph.left, radiograph.rows, radiograph.columns) == (
        40,
        30,
        300,
        200,
    )


def test_a_mostly_black_image_is_left_whole() -> None:
    cells = np.zeros((300, 300), dtype=np.uint8)
    cells[140:160, 140:160] = 255
    assert from_dicom(make_radiograph(cells)).grey.shape == (300, 300)


def test_a_map_comes_to_lie_where_its_input_was() -> None:
    """A bright square on the image is bright at the same place after input and back."""
    cells = np.full((600, 400), 60, dtype=np.uint8)
    cells[420:500, 100:180] = 250
    cells[:50] = 0
    radiograph = from_dicom(make_radiograph(cells))
    image, placement = network_input(radiograph, "pad-clahe-2", 224)
    back = placement.on_image((image > 200).astype(np.float32))
    y, x = np.nonzero(back > 0.5)
    assert back.shape == cells.shape
    assert abs(y.mean() - 459.5) < 2
    assert abs(x.mean() - 139.5) < 2


def lie(**elements: Any) -> Dataset:
    return make_radiograph(field(8), **elements)


@pytest.mark.parametrize(
    ("ds", "words"),
    [
        (lie(Rows=60000, Columns=60000), "60000 x 60000"),
        (lie(NumberOfFrames=500), "500"),
        (lie(Rows=1000), "do not decode"),
        (lie(Rows=0), "0 x"),
        (lie(BitsAllocated=32, BitsStored=32, HighBit=31), "32 allocated"),
        (lie(BitsStored=0), "0 stored"),
        (lie(SamplesPerPixel=4), "sample"),
        (lie(PixelData=None), "no pixels"),
        (lie(PixelRepresentation=7), "PixelRepresentation"),
        (lie(VOILUTSequence=lookup_table(np.arange(4), 0, 3)), "lookup table"),
    ],
)
def test_what_cannot_be_decoded_says_why(ds: Dataset, words: str) -> None:
    with pytest.raises(Undecodable, match=words):
        from_dicom(ds)


def test_a_codestream_larger_than_its_header_is_refused_before_it_is_decoded() -> None:
    frame = bytearray(openjpeg.encode(field(8), photometric_interpretation=2))
    frame[8:16] = (60000).to_bytes(4, "big") * 2  # Xsiz and Ysiz
    ds = compressed(make_radiograph(field(8)), JPEG2000Lossless, bytes(frame))
    started = time.monotonic()
    with pytest.raises(Undecodable, match="60000 x 60000"):
        stored_pixels(ds)
    assert time.monotonic() - started < 1


def test_damaged_and_foreign_bytes_are_undecodable(tmp_path: Path) -> None:
    frame = openjpeg.encode(field(12), bits_stored=12, photometric_interpretation=2)
    ds = compressed(make_radiograph(field(12), 12), JPEG2000Lossless, frame[:120] + b"\0" * 40)
    with pytest.raises(Undecodable):
        stored_pixels(ds)
    with pytest.raises(Undecodable, match="Part 10"):
        read_object(b"not DICOM at all")
    ds = make_radiograph(field(8))
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    with pytest.raises(Undecodable, match="Transfer syntax"):
        stored_pixels(ds)
    (tmp_path / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 50)
    with pytest.raises(Undecodable, match=r"torn\.png"):
        from_image_file(tmp_path / "torn.png")


def test_an_image_file_over_the_limit_is_refused_by_its_header(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decode, "MAX_PIXELS", 1000)
    Image.fromarray(field(8)).save(tmp_path / "big.png")
    with pytest.raises(Undecodable, match="96 x 80"):
        from_image_file(tmp_path / "big.png")

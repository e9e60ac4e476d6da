"""Reading a header within bounds."""

from __future__ import annotations

import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from daemon.report import HeaderUnreadable, read_header
from daemon.report.header import HEADER_LIMIT_BYTES
from daemon.simulate import Form, make_object, to_bytes


@pytest.fixture
def file(tmp_path: Path) -> Path:
    image = make_object(np.zeros((32, 32), dtype=np.uint8), Form())
    path = tmp_path / "image.dcm"
    path.write_bytes(to_bytes(image))
    return path


def test_the_pixels_are_left_out(file: Path) -> None:
    header = read_header(file)
    assert header.Rows == 32
    assert "PixelData" not in header
    assert read_header(BytesIO(file.read_bytes())) == header


@pytest.mark.parametrize("content", [b"", b"x" * 500, b"\0" * 200])
def test_what_is_no_dicom_is_refused_by_name(content: bytes) -> None:
    with pytest.raises(HeaderUnreadable, match="cannot be read as DICOM"):
        read_header(BytesIO(content))


def test_a_missing_file_is_refused_without_its_path(tmp_path: Path) -> None:
    with pytest.raises(HeaderUnreadable) as caught:
        read_header(tmp_path / "patient-name.dcm")
    assert "patient-name" not in str(caught.value)


def test_a_deflated_object_is_not_inflated(file: Path) -> None:
    content = file.read_bytes()
    explicit, deflated = b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99"
    start = content.index(explicit)
    bomb = zlib.compressobj(wbits=-15).compress(b"\0" * (1 << 20))
    length = len(deflated).to_bytes(2, "little")
    meta = content[: start - 2] + length + deflated
    with pytest.raises(HeaderUnreadable, match="deflated"):
        read_header(BytesIO(meta + bomb))


def test_sequences_nested_without_end_are_refused(file: Path) -> None:
    start = b"\x08\x00\x15\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    content = file.read_bytes()
    end_of_meta = content.index(b"\x08\x00\x05\x00CS")
    with pytest.raises(HeaderUnreadable):
        read_header(BytesIO(content[:end_of_meta] + start * 5000))


def test_a_header_without_bound_is_refused(file: Path) -> None:
    image = Dataset()
    image.file_meta = read_header(file).file_meta
    image.SOPClassUID, image.SOPInstanceUID = "1.2.3", "1.2.4"
    image.add_new(0x00091001, "OB", b"\0" * HEADER_LIMIT_BYTES)
    with pytest.raises(HeaderUnreadable):
        read_header(BytesIO(to_bytes(image)))

"""Whatever a header holds, reading it fails no image, and what is kept can be stored and shown."""

from __future__ import annotations

import dataclasses
import json
import zlib
from io import BytesIO
from struct import pack
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRLittleEndian, JPEGLSLossless

from classifier.decode import read_object
from daemon.headers import read_headers, readable
from daemon.simulate import to_bytes
from storage.headers import Headers
from tests.reporting import radiograph

READ = (
    "PatientName", "PatientID", "IssuerOfPatientID", "PatientSex", "PatientBirthDate", "PatientAge",
    "AccessionNumber", "StudyID", "StudyDate", "StudyTime", "TimezoneOffsetFromUTC",
    "StudyDescription", "StationName", "InstitutionName", "ReferringPhysicianName",
    "SeriesInstanceUID", "SeriesNumber", "InstanceNumber", "Modality", "NumberOfFrames",
    "BitsStored", "ViewPosition", "SpecificCharacterSet", "Rows", "Columns", "WindowCenter",
    "RequestAttributesSequence", "PixelAspectRatio", "ImagerPixelSpacing",
    "SmallestImagePixelValue",
)  # fmt: skip

junk = st.dictionaries(
    st.sampled_from(READ),
    st.one_of(
        st.binary(max_size=60),
        st.text(max_size=60).map(lambda text: text.encode("utf-8")),
        st.sampled_from([b"1e400", b"NaN", b"-0", b"99999999999", b"19701332", b"\\\\\\", b"="]),
    ),
    max_size=10,
)


def with_raw(image: Dataset, values: dict[str, bytes]) -> bytes:
    """The image's file with raw values put before its pixels, over what it said itself."""
    image = dcmread(BytesIO(to_bytes(image)))
    for keyword in values:
        image.pop(keyword, None)
    content, added = to_bytes(image), b""
    for tag in sorted(Tag(keyword) for keyword in values):
        value = values[next(keyword for keyword in values if Tag(keyword) == tag)]
        value += b" " * (len(value) % 2)
        vr = dictionary_VR(tag).encode()[:2]
        head = pack("<HH2s", tag.group, tag.element, vr)
        size = pack("<HI", 0, len(value)) if vr in (b"SQ", b"OB", b"OW") else pack("<H", len(value))
        added += head + size + value
    at = content.index(pack("<HH", 0x7FE0, 0x0010) + b"O")
    return content[:at] + added + content[at:]


@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(values=junk)
@pytest.mark.filterwarnings("ignore")
def test_no_header_fails_its_image(values: dict[str, bytes]) -> None:
    headers = read_headers(read_object(with_raw(radiograph(), values)))
    assert_storable(headers)


def assert_storable(headers: Headers) -> None:
    """Texts are texts of both databases, numbers fit, and the metadata is JSON."""
    for one in (headers.study, headers.image):
        for field in dataclasses.fields(one):
            value = getattr(one, field.name)
            if isinstance(value, str):
                assert "\0" not in value
                value.encode("utf-8")
            elif isinstance(value, int):
                assert abs(value) < 1 << 31
    assert headers.image.frames >= 1
    if headers.image.metadata is not None:
        found = json.loads(zlib.decompress(headers.image.metadata), parse_constant=_no_constant)
        assert all(len(tag) == 8 and "vr" in element for tag, element in found.items())
        assert "InlineBinary" not in found.get("7FE00010", {})


def _no_constant(name: str) -> None:
    raise AssertionError(f"{name} is no JSON")


@given(st.text(max_size=60))
def test_what_is_shown_can_be_seen(text: str) -> None:
    shown = readable(text)
    assert all(sign.isprintable() or sign in "\u200c\u200d" for sign in shown)
    assert readable(shown) == shown


def test_a_name_keeps_all_its_groups() -> None:
    for charset, name in (
        ("ISO_IR 192", "Wang^XiaoDong=王^小東"),
        ("ISO 2022 IR 87", "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        ("ISO_IR 100", "Müller^Änne"),
        ("ISO_IR 144", "Люкceмбypг"),
        ("ISO_IR 127", "قباني^لنزار"),
    ):
        image = radiograph(SpecificCharacterSet=["", charset] if "2022" in charset else charset)
        image.PatientName = name
        headers = read_headers(read_object(to_bytes(image)))
        assert headers.study.patient_name == name
        assert headers.image.metadata is not None
        found = json.loads(zlib.decompress(headers.image.metadata))
        assert "=".join(found["00100010"]["Value"][0].values()) == name
        assert found["00080005"]["Value"] == ["ISO_IR 192"]


@given(
    frames=st.lists(st.binary(min_size=4, max_size=40), min_size=1, max_size=5),
    per_frame=st.integers(1, 2),
    table=st.booleans(),
)
@settings(deadline=None, max_examples=60)
def test_the_fragments_are_those_of_each_frame(
    frames: list[bytes], per_frame: int, table: bool
) -> None:
    image = radiograph()
    image.NumberOfFrames = len(frames)
    image.PixelData = encapsulate(frames, fragments_per_frame=per_frame, has_bot=table)
    image["PixelData"].is_undefined_length = True
    image.file_meta.TransferSyntaxUID = JPEGLSLossless
    content = to_bytes(image)
    pixels = read_headers(read_object(content)).image.pixels
    if not pixels:  # told by nothing but a table
        assert per_frame > 1
        assert not table
        assert len(frames) > 1
        return
    found = [b"".join(content[at : at + size] for at, size in frame) for frame in pixels]
    expected = list(generate_frames(image.PixelData, number_of_frames=len(frames)))
    assert found == expected


@pytest.mark.parametrize("frames", [1, 3])
def test_native_frames_are_found(frames: int) -> None:
    image = radiograph()
    one = bytes(image.PixelData)
    image.NumberOfFrames, image.PixelData = (
        frames,
        b"".join(bytes([number]) + one[1:] for number in range(frames)),
    )
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    content = to_bytes(image)
    pixels: Any = read_headers(read_object(content)).image.pixels
    found = [content[at : at + size] for ((at, size),) in pixels]
    assert found == [bytes([number]) + one[1:] for number in range(frames)]


def test_pixels_shorter_than_they_say_have_no_frames() -> None:
    image = radiograph()
    image.NumberOfFrames = 100
    assert read_headers(read_object(to_bytes(image))).image.pixels == ()

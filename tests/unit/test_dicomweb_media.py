"""What a client accepts, and which of it we give (PS3.18 8.7)."""

from __future__ import annotations

import time

import pytest
from fastapi import HTTPException
from hypothesis import given
from hypothesis import strategies as st

from daemon.contexts import TRANSFER_SYNTAXES
from daemon.web.dicomweb.media import (
    FRAME_TYPES,
    NATIVE,
    accepted,
    check_json,
    frame_type,
    whole_objects,
)

EXPLICIT, IMPLICIT, BIG, JPEG_LS = (
    "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.4.80",
)  # fmt: skip
DICOM = 'multipart/related; type="application/dicom"'
OCTETS = 'multipart/related; type="application/octet-stream"'


def test_every_syntax_that_is_taken_has_a_type_for_its_frames() -> None:
    assert set(TRANSFER_SYNTAXES) <= {*FRAME_TYPES}
    assert {
        one for one, kind in FRAME_TYPES.items() if kind == "application/octet-stream"
    } == NATIVE


def test_ranges_come_by_their_weight() -> None:
    header = (
        'text/html;q=0.5, multipart/related; type="a/b"; transfer-syntax=* , x/y;q=0, */*;q=0.1'
    )
    assert [one.type for one in accepted(header)] == ["multipart/related", "text/html", "*/*"]
    first = accepted(header)[0]
    assert (first.part, first.transfer_syntax) == ("a/b", "*")


@pytest.mark.parametrize(
    ("header", "syntax", "given"),
    [
        (None, JPEG_LS, "image/jls"),
        ("*/*", EXPLICIT, "application/octet-stream"),
        ('multipart/related; type="image/jls"', JPEG_LS, "image/jls"),
        ("multipart/related; type=image/jls", JPEG_LS, "image/jls"),
        (f'multipart/related; type="image/jls"; transfer-syntax={JPEG_LS}', JPEG_LS, "image/jls"),
        (f"{OCTETS}; transfer-syntax=*", JPEG_LS, "image/jls"),
        (f"{OCTETS}; transfer-syntax={JPEG_LS}", JPEG_LS, "image/jls"),
        (OCTETS, IMPLICIT, "application/octet-stream"),
        (f"{OCTETS}; transfer-syntax={EXPLICIT}", IMPLICIT, "application/octet-stream"),
        (f"{OCTETS}; transfer-syntax={BIG}", BIG, "application/octet-stream"),
    ],
)
def test_frames_that_are_given(header: str | None, syntax: str, given: str) -> None:
    assert frame_type(header, syntax) == given


@pytest.mark.parametrize(
    ("header", "syntax"),
    [
        (OCTETS, JPEG_LS),
        (OCTETS, BIG),
        (f"{OCTETS}; transfer-syntax={BIG}", EXPLICIT),
        ('multipart/related; type="image/jp2"', JPEG_LS),
        ("image/png", EXPLICIT),
    ],
)
def test_frames_that_would_be_transcoded(header: str, syntax: str) -> None:
    with pytest.raises(HTTPException) as refused:
        frame_type(header, syntax)
    assert refused.value.status_code == 406


def test_whole_objects_as_they_are() -> None:
    assert whole_objects(None, [EXPLICIT, JPEG_LS], one=False)
    assert whole_objects(DICOM, [EXPLICIT, JPEG_LS], one=False)
    assert whole_objects(f"{DICOM}; transfer-syntax={JPEG_LS}", [JPEG_LS], one=False)
    assert not whole_objects("application/dicom", [JPEG_LS], one=True)
    for header, one in (
        (f"{DICOM}; transfer-syntax={EXPLICIT}", True),
        ("application/dicom", False),
        ("application/json", True),
    ):
        with pytest.raises(HTTPException):
            whole_objects(header, [JPEG_LS], one=one)


def test_json_is_all_that_a_search_gives() -> None:
    for header in (None, "*/*", "application/json", "text/html, application/dicom+json"):
        check_json(header)
    with pytest.raises(HTTPException):
        check_json('multipart/related; type="application/dicom+xml"')


@given(st.text(alphabet='a/*;,= "\\q.', max_size=300))
def test_no_header_breaks_it(header: str) -> None:
    assert all(one.type for one in accepted(header))


def test_a_hostile_header_costs_nothing() -> None:
    started = time.perf_counter()
    for header in (";a=" * 9000, '"' * 30000, "a;b=" + " " * 30000, ", " * 30000):
        accepted(header)
    assert time.perf_counter() - started < 1.0

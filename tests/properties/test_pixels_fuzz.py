"""Whatever bytes arrive, `prepare` returns a picture or says what is wrong; nothing else."""

from __future__ import annotations

import numpy as np
import openjpeg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.uid import JPEG2000Lossless, RLELossless

from classifier.bundle import load_bundle
from classifier.classify import Classifier
from classifier.errors import NotEligible, Undecodable
from tests.radiographs import anatomy, compressed, lookup_table, make_radiograph, part10

CELLS = anatomy(256, 256, 4096).astype(np.uint16)


def native() -> bytes:
    table = lookup_table(np.arange(64), 0, 10)
    return part10(
        make_radiograph(CELLS, 12, VOILUTSequence=table, RescaleSlope=1, PixelPaddingValue=0)
    )


def jpeg_2000() -> bytes:
    frame = openjpeg.encode(CELLS, bits_stored=12, photometric_interpretation=2)
    return part10(compressed(make_radiograph(CELLS, 12), JPEG2000Lossless, frame))


def rle() -> bytes:
    ds = make_radiograph(CELLS, 12, WindowCenter=2000, WindowWidth=3000)
    ds.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
    return part10(ds)


SOURCES = {"native": native(), "JPEG 2000": jpeg_2000(), "RLE": rle()}


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier(load_bundle(), "f32")


@pytest.mark.filterwarnings("ignore")
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    source=st.sampled_from(sorted(SOURCES)),
    edits=st.lists(st.tuples(st.integers(0, 1200), st.integers(0, 255)), max_size=6),
    cut=st.one_of(st.none(), st.integers(0, 20_000)),
)
def test_damaged_bytes_are_refused_or_read(
    classifier: Classifier, source: str, edits: list[tuple[int, int]], cut: int | None
) -> None:
    damaged = bytearray(SOURCES[source])
    for position, value in edits:
        damaged[position % len(damaged)] = value
    try:
        prepared = classifier.prepare(bytes(damaged[:cut]))
    except (Undecodable, NotEligible):
        return
    assert prepared.input.dtype == np.uint8
    assert prepared.input.shape == (classifier.bundle.manifest.architecture.side,) * 2


@pytest.mark.filterwarnings("ignore")
def test_sequences_nested_200_deep_are_undecodable(classifier: Classifier) -> None:
    """Seven kilobytes that exhaust pydicom's recursion."""
    ds = make_radiograph(CELLS, 12)
    head = part10(ds)
    start, end = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff", b"\xfe\xff\xdd\xe0\0\0\0\0"
    item, item_end = b"\xfe\xff\x00\xe0\xff\xff\xff\xff", b"\xfe\xff\x0d\xe0\0\0\0\0"
    meta_end = 132 + 12 + int.from_bytes(head[140:144], "little")
    nested = (start + item) * 2000 + (item_end + end) * 2000
    with pytest.raises((Undecodable, NotEligible)):
        classifier.prepare(head[:meta_end] + nested)

"""Whatever a header leaves out or has wrong, its study gets a report that is valid."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from struct import pack
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from daemon.report import HeaderUnreadable, build_report, encode, read_header
from daemon.simulate import Form, Kind, to_bytes
from storage.records import InstanceId
from tests.reporting import ANALYSED, CREATED_AT, DEVICE, LATERAL, dciodvfy, header, study

TYPE_2 = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate",
    "StudyTime", "AccessionNumber", "ReferringPhysicianName", "Manufacturer", "SeriesNumber",
    "InstanceNumber", "PatientOrientation", "ImagerPixelSpacing", "BodyPartExamined",
    "ViewPosition", "ContentDate", "ContentTime", "AcquisitionDate", "Modality",
    "SpecificCharacterSet", "StudyDescription", "RequestAttributesSequence",
)  # fmt: skip
TEXTS = (
    *(keyword for keyword in TYPE_2 if not keyword.endswith("Sequence")),
    "IssuerOfPatientID", "TimezoneOffsetFromUTC", "PatientIdentityRemoved", "SoftwareVersions",
)  # fmt: skip

missing = st.dictionaries(st.sampled_from(TYPE_2), st.sampled_from([None, ...]))


def report_of(image: Dataset, folder: Path) -> Path:
    """The report of one image, whose header is read back from a file."""
    source, target = folder / "image.dcm", folder / "report.dcm"
    source.write_bytes(to_bytes(image))
    found = {InstanceId(1): read_header(source), InstanceId(2): None}
    job = study((image, ANALYSED), (header(9), LATERAL))
    target.write_bytes(encode(build_report(job, found, DEVICE, CREATED_AT)))
    return target


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(changes=missing, kind=st.sampled_from(Kind))
def test_any_subset_of_type_2_attributes_may_be_missing(
    changes: dict[str, Any], kind: Kind, tmp_path: Path
) -> None:
    image = header(1, Form(kind), **changes)
    file = report_of(image, tmp_path)
    assert dciodvfy(file) == []
    report = dcmread(file)
    for keyword in ("PatientName", "PatientID", "StudyID", "StudyDate", "AccessionNumber"):
        assert (report[keyword].value or None) == (image.get(keyword) or None)


@pytest.mark.filterwarnings("ignore::UserWarning")
@settings(max_examples=30, deadline=None)
@given(
    junk=st.dictionaries(
        st.sampled_from(TEXTS),
        st.one_of(st.text(st.characters(codec="latin-1"), max_size=80), st.binary(max_size=40)),
        max_size=8,
    )
)
def test_no_header_prevents_a_report(junk: dict[str, str | bytes]) -> None:
    """Bytes that no one should send: a report comes all the same, and can be read."""
    image = header()
    content = to_bytes(header(1, None, **dict.fromkeys(junk, ...)))
    for keyword, value in junk.items():
        raw = value.encode("latin-1") if isinstance(value, str) else value
        raw += b" " * (len(raw) % 2)
        tag = Tag(keyword)
        content += pack("<HH2sH", tag.group, tag.element, dictionary_VR(tag).encode(), len(raw))
        content += raw
    found = {InstanceId(1): read_header(BytesIO(content))}
    report = build_report(study((image, ANALYSED)), found, DEVICE, CREATED_AT)
    again = dcmread(BytesIO(encode(report)))
    assert again.StudyInstanceUID == image.StudyInstanceUID
    assert str(again)  # every element can be decoded


@pytest.mark.filterwarnings("ignore::UserWarning")
@settings(max_examples=50, deadline=None)
@given(
    cuts=st.lists(
        st.tuples(st.integers(132, 2000), st.integers(0, 6), st.binary(max_size=6)),
        min_size=1,
        max_size=6,
    )
)
def test_a_damaged_header_is_refused_by_name_or_reported(
    cuts: list[tuple[int, int, bytes]],
) -> None:
    request = Dataset()
    request.RequestedProcedureID = "RP1"
    image = header(RequestAttributesSequence=[request])
    content = bytearray(to_bytes(image))
    for start, length, put in cuts:
        content[start : start + length] = put
    try:
        found = {InstanceId(1): read_header(BytesIO(bytes(content)))}
    except HeaderUnreadable:
        return
    report = build_report(study((image, ANALYSED)), found, DEVICE, CREATED_AT)
    assert dcmread(BytesIO(encode(report))).StudyInstanceUID == image.StudyInstanceUID

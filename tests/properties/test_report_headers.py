"""Whatever a header leaves out or has wrong, its study gets a report that is valid."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from struct import pack
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from daemon.report import HeaderUnreadable, build_report, encode, read_header
from daemon.report.forms import FORMS, step_down
from daemon.report.study import HeatMap, build_study
from daemon.simulate import Form, Kind, to_bytes
from storage.records import InstanceId
from tests.reporting import (
    ANALYSED,
    CREATED_AT,
    DEVICE,
    LATERAL,
    PLACED,
    attended,
    dciodvfy,
    header,
    radiograph,
    sent,
    study,
)

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

odd_values = st.dictionaries(
    st.sampled_from(TEXTS),
    st.one_of(st.text(st.characters(codec="latin-1"), max_size=80), st.binary(max_size=40)),
    max_size=8,
)

missing = st.dictionaries(st.sampled_from(TYPE_2), st.sampled_from([None, ...]))


def report_of(image: Dataset, folder: Path) -> Path:
    """The report of one image, whose header is read back from a file."""
    source, target = folder / "image.dcm", folder / "report.dcm"
    source.write_bytes(to_bytes(image))
    found = {InstanceId(1): read_header(source), InstanceId(2): None}
    job = study((image, ANALYSED), (header(9), LATERAL))
    target.write_bytes(encode(build_report(job, found, DEVICE, CREATED_AT)))
    return target


def with_junk(image: Dataset, junk: dict[str, str | bytes]) -> bytes:
    """The image's file with raw values put behind it."""
    content = to_bytes(image)
    for keyword, value in junk.items():
        raw = value.encode("latin-1") if isinstance(value, str) else value
        raw += b" " * (len(raw) % 2)
        tag = Tag(keyword)
        content += pack("<HH2sH", tag.group, tag.element, dictionary_VR(tag).encode(), len(raw))
        content += raw
    return content


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


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    changes=missing,
    kind=st.sampled_from([Kind.CR, Kind.DX]),
    heat_map=st.sampled_from(["sc", "gsps", "none"]),
)
def test_every_object_of_a_study_is_valid_whatever_is_missing(
    changes: dict[str, Any], kind: Kind, heat_map: HeatMap, tmp_path: Path
) -> None:
    """Heat maps, contours, the report and its plainer forms: valid, or refused by name."""
    image = radiograph(1, Form(kind), **changes)
    made = sent((image, attended(PLACED)), (radiograph(2), LATERAL), heat_map=heat_map)
    assert made.faults == ()
    report = dcmread(BytesIO(made.report.content))
    plainer = [encode(step_down(report, form)) for form in FORMS[1:]]
    file = tmp_path / "object.dcm"
    for content in (*(one.content for one in made.companions), made.report.content, *plainer):
        file.write_bytes(content)
        assert dciodvfy(file) == []


@pytest.mark.filterwarnings("ignore::UserWarning")
@settings(max_examples=30, deadline=None)
@given(junk=odd_values, heat_map=st.sampled_from(["sc", "gsps"]))
def test_no_header_prevents_what_is_sent(junk: dict[str, str | bytes], heat_map: HeatMap) -> None:
    """Bytes that no one should send: the report passes our checks all the same."""
    image = radiograph(1)
    content = with_junk(radiograph(1, None, **dict.fromkeys(junk, ...)), junk)
    job = study((image, attended(PLACED)))
    made = build_study(job, lambda _: content, DEVICE, heat_map, CREATED_AT)
    assert dcmread(BytesIO(made.report.content)).StudyInstanceUID == image.StudyInstanceUID


@pytest.mark.filterwarnings("ignore::UserWarning")
@settings(max_examples=30, deadline=None)
@given(junk=odd_values)
@example(junk={"SpecificCharacterSet": "\x000"})  # which nobody can read a word by
def test_no_header_prevents_a_report(junk: dict[str, str | bytes]) -> None:
    """Bytes that no one should send: a report comes all the same, and can be read."""
    image = header()
    content = with_junk(header(1, None, **dict.fromkeys(junk, ...)), junk)
    try:
        found = {InstanceId(1): read_header(BytesIO(content))}
    except HeaderUnreadable:  # the report does without it, as `build_study` does
        found = {}
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

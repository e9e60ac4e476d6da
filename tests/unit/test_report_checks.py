"""Our own checks: what is valid passes, and each fault is found in the bytes and named."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset

from daemon.contexts import BASIC_TEXT_SR
from daemon.report import ReportInvalid, encode
from daemon.report.checks import check
from daemon.report.conformance import conforms
from daemon.report.elements import element
from daemon.report.forms import step_down
from tests.reporting import LATERAL, PLACED, attended, radiograph, sent

MADE = sent((radiograph(1), attended(PLACED)), (radiograph(2), LATERAL))
STATE = sent((radiograph(1), attended(PLACED)), heat_map="gsps").companions[0].content
BYTES = {
    "report": MADE.report.content,
    "heat map": MADE.companions[0].content,
    "contours": STATE,
    "text": encode(step_down(dcmread(BytesIO(MADE.report.content)), BASIC_TEXT_SR)),
}


def changed(kind: str, change: Callable[[Dataset], object]) -> bytes:
    """An object with a fault put in."""
    dataset = dcmread(BytesIO(BYTES[kind]))
    for _ in dataset.iterall():
        pass  # decode everything, so that a change below is written
    change(dataset)
    return encode(dataset)


def put(keyword: str, value: object) -> Callable[[Dataset], object]:
    def change(dataset: Dataset) -> None:
        setattr(dataset, keyword, value)

    return change


def raw(keyword: str, value: object) -> Callable[[Dataset], object]:
    def change(dataset: Dataset) -> None:
        dataset[keyword].validation_mode = 0
        dataset[keyword].value = value

    return change


def remove(keyword: str) -> Callable[[Dataset], object]:
    return lambda dataset: delattr(dataset, keyword)


def without_sources(dataset: Dataset) -> None:
    series = dataset.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    dataset.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence = series[1:]


def second_meaning(dataset: Dataset) -> None:
    name = dataset.ContentSequence[0].ConceptNameCodeSequence[0]
    name["CodeMeaning"].validation_mode = 0
    name["CodeMeaning"].value = "x" * 65


FAULTS: dict[str, tuple[str, Callable[[Dataset], object], str]] = {
    "absent type 2": ("report", remove("PatientID"), "PatientID is absent"),
    "empty type 1": ("report", put("CompletionFlag", None), "CompletionFlag has no value"),
    "no content": ("report", remove("ContentSequence"), "ContentSequence is absent"),
    "a code string": ("report", raw("VerificationFlag", "Perhaps"), "VerificationFlag is no value"),
    "a date": ("report", raw("ContentDate", "2025-03-01"), "ContentDate is no value of VR DA"),
    "a time": ("report", raw("ContentTime", "25"), "ContentTime is no value of VR TM"),
    "a UID": ("report", raw("SeriesInstanceUID", "1.2.a"), "SeriesInstanceUID is no value"),
    "too long": ("report", raw("SeriesDescription", "x" * 65), "SeriesDescription is no value"),
    "deep inside": ("report", second_meaning, "CodeMeaning is no value of VR LO"),
    "evidence": ("report", without_sources, "is referred to and is not in the evidence"),
    "verified by nobody": (
        "report", put("VerificationFlag", "VERIFIED"), "without a VerifyingObserverSequence"),
    "a foreign class": ("report", put("SOPClassUID", "1.2.3"), "none that we make"),
    "pixels": ("heat map", put("Rows", 7), "PixelData has"),
    "burned in": ("heat map", remove("BurnedInAnnotation"), "BurnedInAnnotation has no value"),
    "an area": ("contours", remove("DisplayedAreaSelectionSequence"), "Selection"),
    "its images": ("contours", put("ReferencedSeriesSequence", []), "is not in the evidence"),
    "the text's content": ("text", remove("ContentSequence"), "ContentSequence is absent"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BYTES)
def test_what_we_make_passes(kind: str) -> None:
    check(BYTES[kind])
    check(changed(kind, lambda _: None))  # as pydicom writes it, too


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_and_named(fault: str) -> None:
    kind, change, said = FAULTS[fault]
    with pytest.raises(ReportInvalid) as caught:
        check(changed(kind, change))
    assert any(said in one for one in caught.value.faults), caught.value.faults
    assert "is not sent" in str(caught.value)


def test_faults_show_no_value() -> None:
    with pytest.raises(ReportInvalid) as caught:
        check(changed("report", lambda d: (raw("ContentDate", "Secret")(d), remove("StudyID")(d))))
    assert "Secret" not in str(caught.value)
    assert len(caught.value.faults) == 2


def test_what_the_modality_wrote_is_not_judged() -> None:
    check(changed("report", raw("PatientID", "x" * 80)))
    check(changed("report", raw("AccessionNumber", "A" * 20)))


def test_text_of_ours_is_in_the_declared_character_set() -> None:
    content = BYTES["report"].replace(b"NOT A DIAGNOSIS", b"NOT A DIAGN\xffSIS", 1)
    with pytest.raises(ReportInvalid, match="cannot be read in ISO_IR 192"):
        check(content)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no Part 10 file"),
        (BYTES["report"][:-1], "longer than what is left"),
        (BYTES["report"][:-5000], "longer than what is left"),
        (BYTES["report"] + b"\0\0", "ends within an element"),
        (BYTES["report"] + element(0x00080005, "CS", b"X"), "comes after"),
        (BYTES["report"].replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.2\0"), "explicit"),
        (BYTES["report"].replace(b"1.88.33\0", b"1.88.34\0", 1), "names another SOPClassUID"),
    ],
)
def test_bytes_that_are_no_object_are_refused(content: bytes, said: str) -> None:
    with pytest.raises(ReportInvalid, match=said):
        check(content)


@settings(max_examples=150, deadline=None)
@given(st.integers(132, len(BYTES["text"]) - 1), st.binary(min_size=1, max_size=8))
@example(400, b"\xff\xff\xff\xff")
def test_damaged_bytes_pass_or_are_refused_by_name(at: int, junk: bytes) -> None:
    content = bytearray(BYTES["text"])
    content[at : at + len(junk)] = junk
    try:
        check(bytes(content))
    except ReportInvalid as error:
        assert error.faults  # noqa: PT017 (either outcome is right)


@pytest.mark.parametrize(
    ("vr", "good", "bad"),
    [
        ("AE", b"HILUM", b"x" * 17),
        ("AS", b"045Y", b"45"),
        ("CS", b"ONE\\TWO_2", b"lower"),
        ("DA", b"20250301", b"20251301"),
        ("DS", b"-1.5e3\\.5", b"0.12345678901234567"),
        ("DT", b"20250301120000.5+0100", b"2025"),
        ("IS", b"-12", b"1.5"),
        ("LO", "Müller".encode(), b"a\nb"),
        ("PN", b"A^B=C=D", b"A=B=C=D"),
        ("SH", b"1234567890123456", b"12345678901234567"),
        ("ST", b"a\\b\r\nc", b"x" * 1025),
        ("TM", b"235959.999999", b"2460"),
        ("UI", b"1.2.840\0", b"1..2"),
        ("US", b"\1\0\2\0", b"\1"),
        ("UT", b"a\tb", b"a\0b"),
    ],
)
def test_a_value_is_one_of_its_vr(vr: str, good: bytes, bad: bytes) -> None:
    assert conforms(vr, good)
    assert conforms(vr, b"")
    assert not conforms(vr, bad)

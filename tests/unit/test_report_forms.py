"""Plainer forms of a report, for a PACS that takes no Comprehensive SR."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from pydicom.dataset import Dataset

from daemon.contexts import BASIC_TEXT_SR, COMPREHENSIVE_SR, SECONDARY_CAPTURE
from daemon.report import ReportError, encode
from daemon.report.forms import FORMS, form_uid, page_lines, step_down
from daemon.uids import is_own
from tests.reporting import LATERAL, PLACED, attended, content, decoded, radiograph, sent


@pytest.fixture
def report() -> Dataset:
    images = ((radiograph(1), attended(PLACED)), (radiograph(2), LATERAL))
    return decoded(sent(*images, version=2, before="2.25.7").report)


def test_the_richest_form_is_the_report_itself(report: Dataset) -> None:
    assert FORMS == (COMPREHENSIVE_SR, BASIC_TEXT_SR, SECONDARY_CAPTURE)
    assert step_down(report, FORMS[0]) is report


@pytest.mark.parametrize("form", FORMS[1:])
def test_a_form_is_the_same_object_every_time(report: Dataset, form: str) -> None:
    first = step_down(report, form)
    assert encode(first) == encode(step_down(report, form))
    assert first.SOPInstanceUID == form_uid(report.SOPInstanceUID, form)
    assert first.file_meta.MediaStorageSOPClassUID == first.SOPClassUID == form
    assert is_own(first)


@pytest.mark.parametrize("form", FORMS[1:])
def test_a_form_keeps_patient_study_and_equipment(report: Dataset, form: str) -> None:
    made = step_down(report, form)
    for keyword in ("SpecificCharacterSet", "PatientName", "PatientID", "PatientBirthDate",
                    "StudyInstanceUID", "AccessionNumber", "StudyDate", "InstanceNumber",
                    "ContributingEquipmentSequence", "ContentDate"):  # fmt: skip
        assert made[keyword].value == report[keyword].value


def test_basic_text_says_each_finding_in_a_sentence(report: Dataset) -> None:
    made = step_down(report, BASIC_TEXT_SR)
    said = [one.TextValue for one in content(made, "Findings", "Finding")]
    assert said[0] == "Pneumonia: present, probability 0.87, threshold 0.50."
    assert said[1] == "Infiltrate: absent, probability 0.20, threshold 0.45."
    (refused,) = content(made, "Findings", "Comment")
    assert "was not analysed" in refused.TextValue
    assert content(made, "Summary")[0].TextValue == content(report, "Summary")[0].TextValue
    explained = content(made, "Findings", "Visual explanation")
    assert len(explained) == len(
        content(report, "Imaging Measurements", "Measurement Group", "Visual explanation")
    )
    kinds = {item.ValueType for item in _every(made)}
    assert kinds <= {"CONTAINER", "TEXT", "CODE", "IMAGE", "UIDREF"}
    assert "ContentTemplateSequence" not in made


def _every(item: Dataset) -> list[Dataset]:
    found = list(item.get("ContentSequence", ()))
    return found + [below for one in found for below in _every(one)]


def test_basic_text_names_its_predecessor_as_that_pacs_has_it(report: Dataset) -> None:
    made = step_down(report, BASIC_TEXT_SR)
    target = made.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0]
    reference = target.ReferencedSOPSequence[0]
    assert reference.ReferencedSOPClassUID == BASIC_TEXT_SR
    assert reference.ReferencedSOPInstanceUID == form_uid("2.25.7", BASIC_TEXT_SR)


def test_the_picture_holds_the_text_and_no_patient(report: Dataset) -> None:
    made = step_down(report, SECONDARY_CAPTURE)
    words = " ".join(line for _, line in page_lines(report))
    assert "Flagged: Pneumonia" in words
    assert "not a diagnosis" in words
    assert "was not analysed" in words
    assert str(report.PatientID) not in words
    assert made.BurnedInAnnotation == "YES"
    assert made.pixel_array.shape[1:] == (1024, 3)
    rows = np.flatnonzero(made.pixel_array.max(axis=(1, 2)))
    assert made.Rows - rows[-1] < 80  # as long as its text
    columns = np.flatnonzero(made.pixel_array.max(axis=(0, 2)))
    assert columns[-1] < 1024 - 16  # and nothing runs out of it


def test_a_long_report_makes_a_long_picture() -> None:
    images = [(radiograph(number), LATERAL) for number in range(12)]
    made = step_down(decoded(sent(*images).report), SECONDARY_CAPTURE)
    assert made.Rows > 1000


def test_any_other_form_is_refused_by_name(report: Dataset) -> None:
    with pytest.raises(ReportError, match=r"1\.2\.3"):
        step_down(report, "1.2.3")
    with pytest.raises(ReportError, match="cannot be sent"):
        step_down(step_down(report, SECONDARY_CAPTURE), BASIC_TEXT_SR)


def test_delivery_needs_nothing_heavy_for_it() -> None:
    code = (
        "import sys, daemon.report.forms; heavy = {'cv2', 'classifier', 'training'};"
        "print(sorted((heavy | {'openvino', 'pydicom.sr'}) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

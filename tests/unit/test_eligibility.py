"""What a header refuses, and what it leaves to the pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.uid import (
    CTImageStorage,
    DigitalXRayImageStorageForProcessing,
    SecondaryCaptureImageStorage,
)

from classifier.eligibility import check_contrast, check_header, doubt
from classifier.errors import NotEligible
from tests.radiographs import make_radiograph

CELLS = np.zeros((300, 300), dtype=np.uint8)


def coded(meaning: str) -> list[Dataset]:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "1", "SCT", meaning
    return [item]


@pytest.mark.parametrize(
    ("elements", "code"),
    [
        ({"NumberOfFrames": 500}, "multi_frame"),
        ({"SOPClassUID": DigitalXRayImageStorageForProcessing}, "for_processing"),
        ({"PresentationIntentType": "FOR PROCESSING"}, "for_processing"),
        ({"Modality": "CT"}, "not_a_radiograph"),
        ({"Modality": "MR"}, "not_a_radiograph"),
        ({"Modality": "US"}, "not_a_radiograph"),
        ({"Modality": "", "SOPClassUID": CTImageStorage}, "not_a_radiograph"),
        ({"Rows": 223}, "too_small"),
        ({"Rows": 60000, "Columns": 60000}, "too_large"),
        ({"PatientAge": "017Y"}, "age_outside_model"),
        ({"PatientAge": "011M"}, "age_outside_model"),
        ({"PatientAge": "000D"}, "age_outside_model"),
        ({"PatientBirthDate": "20070302", "StudyDate": "20250301"}, "age_outside_model"),
    ],
)
def test_what_the_header_alone_knows_is_refused_with_a_sentence(
    elements: dict[str, Any], code: str
) -> None:
    with pytest.raises(NotEligible) as refusal:
        check_header(make_radiograph(CELLS, **elements), min_age_years=18)
    assert refusal.value.code == code
    assert refusal.value.text.endswith(".")


@pytest.mark.parametrize(
    "elements",
    [
        {"PatientAge": "018Y"},
        {"PatientAge": "", "PatientBirthDate": "20070301", "StudyDate": "20250301"},
        {"PatientBirthDate": "", "StudyDate": "20250301"},
        {"PatientBirthDate": "20260101", "StudyDate": "20250301"},  # born after it: no age
        {"PatientBirthDate": "no date", "StudyDate": "20250301"},
        {},
    ],
)
def test_an_adult_or_an_unknown_age_is_no_refusal(elements: dict[str, Any]) -> None:
    check_header(make_radiograph(CELLS, **elements), min_age_years=18)


def test_a_child_passes_where_the_model_knows_children() -> None:
    check_header(make_radiograph(CELLS, PatientAge="003Y"))


@pytest.mark.parametrize(
    ("elements", "code"),
    [
        ({"ViewPosition": "LL"}, "not_frontal"),
        ({"ViewPosition": "LATERAL"}, "not_frontal"),
        ({"ViewPosition": "RLO"}, "not_frontal"),
        ({"ViewPosition": "", "PatientPosition": "RL"}, "not_frontal"),
        ({"ViewCodeSequence": coded("left lateral")}, "not_frontal"),
        ({"ViewPosition": "", "SeriesDescription": "Chest LAT"}, "not_frontal"),
        ({"BodyPartExamined": "HAND"}, "not_chest"),
        ({"BodyPartExamined": "RIBCAGE"}, "not_chest"),
        ({"BodyPartExamined": "", "AnatomicRegionSequence": coded("Knee")}, "not_chest"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"]}, "not_a_radiograph"),
        ({"RepetitionTime": "500"}, "not_a_radiograph"),
        ({"SliceThickness": "5"}, "not_a_radiograph"),
        ({"ConvolutionKernel": "B30f"}, "not_a_radiograph"),
    ],
)
def test_what_the_header_says_against_a_frontal_chest_is_a_doubt(
    elements: dict[str, Any], code: str
) -> None:
    dataset = make_radiograph(CELLS, **elements)
    check_header(dataset)
    found = doubt(dataset)
    assert found is not None
    assert found.code == code
    assert found.text.endswith(".")


@pytest.mark.parametrize(
    "elements",
    [
        {"ViewPosition": "PA"},
        {"ViewPosition": "AP"},
        {"ViewPosition": None, "BodyPartExamined": None, "Modality": None},
        {"PatientPosition": "XX"},
        {"BodyPartExamined": "THORAX"},
        {"BodyPartExamined": "CHEST PA"},
        {"AnatomicRegionSequence": coded("Chest"), "ViewCodeSequence": coded("postero-anterior")},
        {"SeriesDescription": "Chest PA and lateral"},
        {"NumberOfFrames": 1},
    ],
)
def test_an_empty_or_odd_header_is_no_refusal(elements: dict[str, Any]) -> None:
    dataset = make_radiograph(CELLS, **elements)
    check_header(dataset)
    assert doubt(dataset) is None


def test_raw_detector_data_pass_where_configured() -> None:
    ds = make_radiograph(CELLS, SOPClassUID=DigitalXRayImageStorageForProcessing)
    check_header(ds, ["for_processing"])


def test_secondary_captures_pass_where_configured() -> None:
    ds = make_radiograph(CELLS, SOPClassUID=SecondaryCaptureImageStorage, Modality="OT")
    with pytest.raises(NotEligible) as refusal:
        check_header(ds)
    assert refusal.value.code == "secondary_capture"
    check_header(ds, ["secondary_capture"])


def test_a_blank_image_is_refused() -> None:
    with pytest.raises(NotEligible) as refusal:
        check_contrast(np.full((300, 300), 90, dtype=np.uint8))
    assert refusal.value.code == "no_contrast"
    check_contrast(np.tile(np.arange(256, dtype=np.uint8), (256, 1)))


def test_a_burnt_out_image_is_refused() -> None:
    grey = np.zeros((300, 300), dtype=np.uint8)
    grey[:, 120:] = 255
    grey[100:150, :] = np.linspace(0, 255, 300).astype(np.uint8)
    with pytest.raises(NotEligible) as refusal:
        check_contrast(grey)
    assert refusal.value.code == "burnt_out"


def test_what_the_header_says_is_quoted_short_and_printable() -> None:
    with pytest.raises(NotEligible) as refusal:
        check_header(make_radiograph(CELLS, Modality="US\n" + "x" * 500))
    assert "\n" not in refusal.value.text
    assert len(refusal.value.text) < 120

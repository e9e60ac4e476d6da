"""What is sent for a study: heat maps or contours first, then the report that cites them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from daemon.contexts import COMPREHENSIVE_SR, PRESENTATION_STATE, SECONDARY_CAPTURE
from daemon.report.attention import unpack
from daemon.report.regions import activation
from daemon.report.study import StudyReport
from daemon.simulate import Form
from storage.objects import ObjectStore
from storage.records import Attention, Result
from tests.reporting import (
    ANALYSED,
    CREATED_AT,
    FINDINGS,
    LATERAL,
    PLACED,
    attended,
    content,
    decoded,
    radiograph,
    sent,
)

GROUPS = ("Imaging Measurements", "Measurement Group")
POSITIVE = [finding for finding in FINDINGS if finding.present]


def evidence(report: Dataset) -> dict[str, set[str]]:
    """SOP instances by series."""
    return {
        series.SeriesInstanceUID: {
            one.ReferencedSOPInstanceUID for one in series.ReferencedSOPSequence
        }
        for item in report.CurrentRequestedProcedureEvidenceSequence
        for series in item.ReferencedSeriesSequence
    }


def polygon(group: Dataset) -> list[tuple[float, float]]:
    (region,) = content(group, "Image Region")
    data = [float(value) for value in region.GraphicData]
    return list(zip(data[::2], data[1::2], strict=True))


def test_a_positive_finding_has_a_region_and_a_heat_map() -> None:
    image = radiograph()
    made = sent((image, attended(PLACED)))
    report = decoded(made.report)
    maps = [decoded(one) for one in made.companions]
    assert [one.SOPClassUID for one in maps] == [SECONDARY_CAPTURE] * len(POSITIVE)
    assert made.report.sop_class_uid == COMPREHENSIVE_SR
    assert made.faults == ()
    groups = content(report, *GROUPS)
    positive = [group for group in groups if content(group, "Image Region")]
    names = [one.ConceptCodeSequence[0].CodeMeaning for group in positive
             for one in content(group, "Finding")]  # fmt: skip
    assert names == [finding.code_meaning for finding in POSITIVE]
    for group, shown in zip(positive, maps, strict=True):
        assert group.ContentTemplateSequence[0].TemplateIdentifier == "1410"
        (source,) = content(group, "Image Region", "Source")
        assert source.RelationshipType == "SELECTED FROM"
        assert source.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == image.SOPInstanceUID
        (explained,) = content(group, "Visual explanation")
        target = explained.ReferencedSOPSequence[0]
        assert target.ReferencedSOPInstanceUID == shown.SOPInstanceUID
        assert target.ReferencedSOPClassUID == SECONDARY_CAPTURE
    for group in groups:
        if group not in positive:
            assert group.ContentTemplateSequence[0].TemplateIdentifier == "1501"
            assert not content(group, "Visual explanation")
    assert evidence(report) == {
        image.SeriesInstanceUID: {image.SOPInstanceUID},
        maps[0].SeriesInstanceUID: {one.SOPInstanceUID for one in maps},
    }


@pytest.mark.parametrize("at", [(4, 9), (1, 7), (12, 3)])
def test_the_region_lies_around_the_maximum_and_within_the_image(at: tuple[int, int]) -> None:
    report = decoded(sent((radiograph(), attended(PLACED, at=at))).report)
    points = polygon(next(g for g in content(report, *GROUPS) if content(g, "Image Region")))
    assert points[0] == points[-1]
    assert len(points) > 4
    assert all(0 <= x <= 256 and 0 <= y <= 320 for x, y in points)
    row, column = at
    x = PLACED.left + PLACED.scale * 16 * (column + 0.5)
    y = PLACED.top + PLACED.scale * 16 * (row + 0.5)
    assert min(a for a, _ in points) <= x <= max(a for a, _ in points)
    assert min(b for _, b in points) <= y <= max(b for _, b in points)
    assert max(a for a, _ in points) - min(a for a, _ in points) < 3 * 16 * PLACED.scale


def test_what_lies_beside_the_image_is_no_region() -> None:
    """The network's input is a square; the image is not."""
    result = attended(PLACED, at=(6, 1))
    assert result.attention is not None
    beside = dataclasses.replace(result.attention, left=-200.0)
    assert activation(unpack(result)[0], beside) is None
    report = sent((radiograph(), dataclasses.replace(result, attention=beside)))
    assert report.companions == ()
    assert not content(decoded(report.report), *GROUPS, "Image Region")


@pytest.mark.parametrize(
    "maps",
    [None, b"", b"\0" * 1960, b"\0\x7e" * 980],
    ids=["none", "too few", "all zero", "not a number"],
)
def test_without_a_usable_map_the_finding_stands_alone(maps: bytes | None) -> None:
    attention = None if maps is None else Attention(maps, 14, 320, 256, 0, 0, 1, 224)
    made = sent((radiograph(), dataclasses.replace(ANALYSED, attention=attention)))
    assert made.companions == ()
    report = decoded(made.report)
    assert len(content(report, *GROUPS)) == len(FINDINGS)
    assert not content(report, *GROUPS, "Image Region")


def test_the_next_version_refers_to_the_same_heat_maps() -> None:
    first_image = (radiograph(1), attended(PLACED))
    first = sent(first_image)
    second = sent(
        first_image, (radiograph(2), LATERAL), version=2, before=first.report.sop_instance_uid
    )
    assert second.companions == first.companions  # to the byte
    assert second.report.sop_instance_uid != first.report.sop_instance_uid


def test_another_result_makes_another_heat_map() -> None:
    first = sent((radiograph(), attended(PLACED)))
    other = sent((radiograph(), attended(PLACED, at=(8, 8))))
    uids = [{one.sop_instance_uid for one in made.companions} for made in (first, other)]
    assert not uids[0] & uids[1]


def test_contours_show_the_image_through_a_presentation_state() -> None:
    image = radiograph()
    made = sent((image, attended(PLACED)), heat_map="gsps")
    (state,) = (decoded(one) for one in made.companions)
    assert state.SOPClassUID == PRESENTATION_STATE
    assert state.PresentationLUTShape == "IDENTITY"
    (annotated,) = state.GraphicAnnotationSequence
    assert len(annotated.GraphicObjectSequence) == len(POSITIVE)
    assert "Pneumonia 0.87" in annotated.TextObjectSequence[1].UnformattedTextValue
    report = decoded(made.report)
    for explained in content(report, *GROUPS, "Visual explanation"):
        target = explained.ReferencedSOPSequence[0]
        assert target.ReferencedSOPInstanceUID == image.SOPInstanceUID
        seen = target.ReferencedSOPSequence[0]
        assert seen.ReferencedSOPInstanceUID == state.SOPInstanceUID
    assert evidence(report)[state.SeriesInstanceUID] == {state.SOPInstanceUID}


def test_an_inverted_image_stays_inverted_under_its_contours() -> None:
    image = radiograph(form=Form(inverted=True))
    (state,) = sent((image, attended(PLACED)), heat_map="gsps").companions
    assert decoded(state).PresentationLUTShape == "INVERSE"


def test_an_image_in_colour_gets_no_contours_and_a_report() -> None:
    image = radiograph(1, PhotometricInterpretation="YBR_FULL")
    made = sent((image, attended(PLACED)), heat_map="gsps")
    assert made.companions == ()
    assert "grey images alone" in made.faults[0]


def test_no_heat_map_by_setting_leaves_the_regions() -> None:
    made = sent((radiograph(), attended(PLACED)), heat_map="none")
    assert made.companions == ()
    assert len(content(decoded(made.report), *GROUPS, "Image Region")) == len(POSITIVE)


def test_an_image_that_is_gone_is_still_reported() -> None:
    made = sent((radiograph(1), attended(PLACED)), (radiograph(2), LATERAL), missing=[1])
    assert made.companions == ()
    report = decoded(made.report)
    assert len(content(report, *GROUPS)) == len(FINDINGS) + 1


def test_a_picture_that_cannot_be_drawn_is_said_and_stops_no_report() -> None:
    image = radiograph()
    image.PixelData = image.PixelData[:100]
    made = sent((image, attended(PLACED)))
    assert made.companions == ()
    assert len(made.faults) == len(POSITIVE)
    assert "Pneumonia" in made.faults[0]
    report = decoded(made.report)
    (summary,) = content(report, "Summary")
    assert "could not be drawn" in summary.TextValue
    assert len(content(report, *GROUPS, "Image Region")) == len(POSITIVE)
    assert not content(report, *GROUPS, "Visual explanation")


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_an_unforeseen_fault_of_a_picture_stops_no_report_and_shows_no_value() -> None:
    image = radiograph()
    image["Columns"].VR = "LO"
    image["Columns"].value = "Secret"
    made = sent((image, attended(PLACED)), heat_map="gsps")
    assert made.companions == ()
    assert made.faults
    assert "Secret" not in "".join(made.faults)


def test_an_image_of_another_size_than_the_maps_is_not_drawn_on() -> None:
    made = sent((radiograph(), attended(dataclasses.replace(PLACED, columns=250))))
    assert "another size" in made.faults[0]


def test_an_image_flagged_for_nothing_has_no_heat_map() -> None:
    negative = dataclasses.replace(ANALYSED, findings=FINDINGS[1:3])
    assert sent((radiograph(), attended(PLACED, negative))).companions == ()


def stored(made: StudyReport, root: Path) -> tuple[ObjectStore, list[str]]:
    objects = ObjectStore(root)
    record = made.stored(objects, CREATED_AT)
    assert record.created_at == CREATED_AT
    return objects, [*(one.sha256 for one in record.companions), record.sha256]


def test_everything_is_stored_as_it_was_encoded(tmp_path: Path) -> None:
    made = sent((radiograph(), attended(PLACED)))
    objects, names = stored(made, tmp_path)
    encoded = [one.content for one in (*made.companions, made.report)]
    assert [objects.read(name) for name in names] == encoded  # type: ignore[arg-type]


def test_several_images_have_their_own_marks() -> None:
    images: list[tuple[Dataset, Result]] = [
        (radiograph(1), attended(PLACED, at=(4, 9))),
        (radiograph(2), attended(PLACED, at=(9, 5))),
    ]
    made = sent(*images)
    assert len(made.companions) == 2 * len(POSITIVE)
    numbers = [decoded(one).InstanceNumber for one in made.companions]
    assert len(set(numbers)) == len(numbers)
    regions = content(decoded(made.report), *GROUPS, "Image Region")
    assert len({str(one.GraphicData) for one in regions}) == 2


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_uids_with_leading_zeros_are_repeated_and_other_junk_is_not() -> None:
    image = radiograph(1, SeriesInstanceUID="1.2.003.4")
    report = decoded(sent((image, attended(PLACED))).report)
    assert "1.2.003.4" in evidence(report)
    image = radiograph(1, SeriesInstanceUID="1.2.series")
    made = sent((image, attended(PLACED)))
    assert made.companions == ()
    report = decoded(made.report)
    assert "CurrentRequestedProcedureEvidenceSequence" not in report
    assert len(content(report, *GROUPS)) == len(FINDINGS)

"""The report of a study: what stands in it, and that it is the same when built twice."""

from __future__ import annotations

import dataclasses
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import UID

from daemon.report import Device, ReportError, build_report, encode
from daemon.uids import IMPLEMENTATION_CLASS_UID
from storage.records import InstanceId, Result, ResultStatus
from tests.reporting import (
    ANALYSED,
    CREATED_AT,
    DEVICE,
    FINDINGS,
    LATERAL,
    content,
    header,
    headers,
    study,
)

Image = tuple[Dataset, Result]
GROUPS = ("Imaging Measurements", "Measurement Group")


def built(*images: Image, version: int = 1, before: str | None = None) -> Dataset:
    """The report of these images, written and read back."""
    job = study(*images, version=version, before=before)
    return dcmread(BytesIO(encode(build_report(job, headers(*images), DEVICE, CREATED_AT))))


def code(item: Dataset) -> tuple[str, str]:
    value = item.ConceptCodeSequence[0]
    return (value.CodeValue, value.CodingSchemeDesignator)


def one(item: Dataset, meaning: str) -> Dataset:
    (found,) = content(item, meaning)
    return found


def number(item: Dataset, meaning: str) -> tuple[float, str]:
    measured = one(item, meaning).MeasuredValueSequence[0]
    return (measured.NumericValue, measured.MeasurementUnitsCodeSequence[0].CodeValue)


def test_each_finding_of_an_analysed_image_has_a_group_negatives_too() -> None:
    image = header()
    report = built((image, ANALYSED))
    groups = content(report, *GROUPS)
    assert len(groups) == len(FINDINGS)
    for group, finding in zip(groups, FINDINGS, strict=True):
        assert code(one(group, "Finding")) == (finding.code_value, finding.code_scheme)
        assert number(group, "Probability") == (round(finding.probability, 4), "{probability}")
        assert number(group, "Threshold Value") == (finding.threshold, "{probability}")
        presence = ("52101004", "SCT") if finding.present else ("272519000", "SCT")
        assert code(one(group, "Presence")) == presence
        assert one(group, "Algorithm Version").TextValue == "hilum-vgg16 1.0.0"
        assert one(group, "Algorithm Name").TextValue.startswith("Hilum ")
        assert one(group, "Algorithm Parameters").TextValue == f"threshold={finding.threshold}"
        assert one(group, "Tracking Identifier").TextValue == f"hilum.{finding.name}"
        source = one(group, "Source of Measurement").ReferencedSOPSequence[0]
        assert source.ReferencedSOPInstanceUID == image.SOPInstanceUID
    assert code(one(groups[3], "Finding Site")) == ("3120008", "SCT")
    assert code(one(groups[0], "Finding Site")) == ("39607008", "SCT")


def test_a_probability_at_its_threshold_is_present() -> None:
    group = content(built((header(), ANALYSED)), *GROUPS)[3]
    assert one(group, "Presence").ConceptCodeSequence[0].CodeMeaning == "Present"


def test_the_document_says_what_it_is() -> None:
    image = header()
    report = built((image, ANALYSED))
    assert report.ConceptNameCodeSequence[0].CodeValue == "126000"
    assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    assert (report.Modality, report.SeriesNumber, report.InstanceNumber) == ("SR", 9100, 1)
    assert report.CompletionFlag == "COMPLETE"
    assert report.VerificationFlag == "UNVERIFIED"
    assert report.PreliminaryFlag == "PRELIMINARY"
    assert "Laterality" not in report
    assert "PredecessorDocumentsSequence" not in report
    for keyword in ("StudyInstanceUID", "PatientID", "PatientName", "AccessionNumber", "StudyID",
                    "StudyDate", "StudyTime", "PatientSex", "PatientBirthDate"):  # fmt: skip
        assert report[keyword].value == image[keyword].value
    (evidence,) = report.CurrentRequestedProcedureEvidenceSequence
    (series,) = evidence.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == image.SeriesInstanceUID
    assert series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == image.SOPInstanceUID


def test_the_device_observer_equals_the_processing_equipment() -> None:
    report = built((header(), ANALYSED))
    (equipment,) = [
        item
        for item in report.ContributingEquipmentSequence
        if item.get("DeviceUID") and item.PurposeOfReferenceCodeSequence[0].CodeValue == "109102"
    ]
    assert equipment.Manufacturer == one(report, "Device Observer Manufacturer").TextValue
    assert equipment.ManufacturerModelName == one(report, "Device Observer Model Name").TextValue
    assert equipment.SoftwareVersions == one(report, "Algorithm Version").TextValue
    assert equipment.DeviceUID == one(report, "Device Observer UID").UID == DEVICE.device_uid


def test_the_acquisition_equipment_is_named() -> None:
    report = built((header(Manufacturer="Acme", ManufacturerModelName="DR 9"), ANALYSED))
    first = report.ContributingEquipmentSequence[0]
    assert first.PurposeOfReferenceCodeSequence[0].CodeValue == "109101"
    assert (first.Manufacturer, first.ManufacturerModelName) == ("Acme", "DR 9")


def test_an_image_not_analysed_stands_there_with_its_coded_reason() -> None:
    chest, lateral = header(1), header(2)
    report = built((chest, ANALYSED), (lateral, LATERAL))
    *findings, refused = content(report, *GROUPS)
    assert len(findings) == len(FINDINGS)
    assert code(one(refused, "Summary of Analyses")) == ("111225", "DCM")
    assert code(one(refused, "Reason not analysed")) == ("not_frontal", "99HILUM")
    assert str(lateral.SOPInstanceUID) in one(refused, "Comment").TextValue
    assert str(LATERAL.reason) in one(refused, "Comment").TextValue
    assert not content(refused, "Finding")
    source = one(refused, "Source of Measurement").ReferencedSOPSequence[0]
    assert source.ReferencedSOPInstanceUID == lateral.SOPInstanceUID


def test_the_summary_says_what_is_flagged_and_that_it_is_no_diagnosis() -> None:
    report = built((header(1), ANALYSED), (header(2), LATERAL))
    summary = one(report, "Summary").TextValue
    assert summary.startswith("1 of 2 images analysed. Flagged: Pneumonia (probability 0.87,")
    assert "Pleural effusion" in summary
    assert "Below their thresholds: Infiltrate (0.20); Atelectasis (0.10)" in summary
    assert str(LATERAL.reason) in summary
    assert "not a diagnosis" in one(report, "Comment").TextValue


def test_the_summary_of_a_negative_study_says_so() -> None:
    negative = dataclasses.replace(ANALYSED, findings=FINDINGS[1:3])
    report = built((header(), negative))
    summary = one(report, "Summary").TextValue
    assert "nothing is flagged. Below their thresholds: Infiltrate (0.20)" in summary


def test_a_study_in_which_nothing_was_analysed_has_a_report() -> None:
    report = built((header(1), LATERAL), (header(2), LATERAL))
    assert len(content(report, *GROUPS)) == 2
    assert len(content(report, "Image Library", "Image Library Group", "Source")) == 2


def test_the_image_library_holds_what_the_header_gives() -> None:
    (entry,) = content(
        built((header(), ANALYSED)), "Image Library", "Image Library Group", "Source"
    )
    assert one(entry, "Modality").ConceptCodeSequence[0].CodeValue == "DX"
    assert number(entry, "Pixel Data Rows") == (64, "{pixels}")
    assert number(entry, "Pixel Data Columns") == (48, "{pixels}")
    assert number(entry, "Vertical Pixel Spacing") == (0.4, "mm")
    assert one(entry, "Patient Orientation Row").TextValue == "L"
    bare = header(ImagerPixelSpacing=..., PatientOrientation=None, Rows=..., Modality="ZZ")
    (entry,) = content(built((bare, ANALYSED)), "Image Library", "Image Library Group", "Source")
    assert one(entry, "Modality").ConceptCodeSequence[0].CodeValue == "OT"
    assert [child.ValueType for child in entry.ContentSequence] == ["CODE", "NUM"]


def test_an_unreadable_header_is_answered_without_a_reference() -> None:
    chest, lost = header(1), header(2)
    images = ((chest, ANALYSED), (lost, dataclasses.replace(LATERAL, reason_code="damaged")))
    found = headers(*images)
    found[InstanceId(2)] = None
    report = build_report(study(*images), found, DEVICE, CREATED_AT)
    refused = content(report, *GROUPS)[-1]
    assert not content(refused, "Source of Measurement")
    assert str(lost.SOPInstanceUID) in one(refused, "Comment").TextValue
    assert report.PatientID == chest.PatientID


def test_a_study_without_any_readable_header_has_a_report_with_an_empty_patient() -> None:
    images = ((header(), LATERAL),)
    report = build_report(study(*images), {}, DEVICE, CREATED_AT)
    assert report.StudyInstanceUID == images[0][0].StudyInstanceUID
    assert report["PatientID"].is_empty
    assert "CurrentRequestedProcedureEvidenceSequence" not in report


def test_a_study_without_instances_is_an_error() -> None:
    job = dataclasses.replace(study((header(), ANALYSED)), instances=())
    with pytest.raises(ReportError, match="without instances"):
        build_report(job, {}, DEVICE, CREATED_AT)


def test_built_twice_it_is_the_same_object_to_the_byte() -> None:
    images = ((header(1), ANALYSED), (header(2), LATERAL))
    job = study(*images)
    first, second = (
        encode(build_report(job, headers(*images), DEVICE, CREATED_AT)) for _ in range(2)
    )
    assert first == second
    assert first[:132] == b"\0" * 128 + b"DICM"
    meta = dcmread(BytesIO(first)).file_meta
    assert meta.ImplementationClassUID == IMPLEMENTATION_CLASS_UID


def test_other_results_make_another_object_in_the_same_series() -> None:
    image = header()
    positive = built((image, ANALYSED))
    negative = built((image, dataclasses.replace(ANALYSED, findings=FINDINGS[:1])))
    assert positive.SOPInstanceUID != negative.SOPInstanceUID
    assert positive.SeriesInstanceUID == negative.SeriesInstanceUID
    tracking = {
        one(content(report, *GROUPS)[0], "Tracking Unique Identifier").UID
        for report in (positive, negative)
    }
    assert len(tracking) == 1
    for uid in (positive.SOPInstanceUID, positive.SeriesInstanceUID, *tracking):
        assert uid.startswith("2.25.")
        assert UID(uid).is_valid


def test_a_later_version_names_its_predecessor() -> None:
    first = built((header(1), ANALYSED))
    second = built(
        (header(1), ANALYSED), (header(2), LATERAL), version=2, before=first.SOPInstanceUID
    )
    assert second.InstanceNumber == 2
    assert second.SeriesInstanceUID == first.SeriesInstanceUID
    assert second.SOPInstanceUID != first.SOPInstanceUID
    (before,) = second.PredecessorDocumentsSequence
    (series,) = before.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == first.SeriesInstanceUID
    (reference,) = series.ReferencedSOPSequence
    assert reference.ReferencedSOPInstanceUID == first.SOPInstanceUID
    assert reference.ReferencedSOPClassUID == first.SOPClassUID


def test_the_request_is_referenced_once() -> None:
    request = Dataset()
    request.RequestedProcedureID = "RP1"
    request.RequestedProcedureDescription = "XR CHEST PA"
    request.ScheduledProcedureStepID = "SPS1"
    images = [
        (header(n, RequestAttributesSequence=[request], AccessionNumber="A7"), ANALYSED)
        for n in (1, 2)
    ]
    (item,) = built(*images).ReferencedRequestSequence
    assert (item.RequestedProcedureID, item.AccessionNumber) == ("RP1", "A7")
    assert item.StudyInstanceUID == images[0][0].StudyInstanceUID
    assert item.ReferencedStudySequence == []
    assert "ReferencedRequestSequence" not in built((header(), ANALYSED))


def test_the_issuer_of_the_patient_id_is_kept() -> None:
    assert built((header(IssuerOfPatientID="HOSPITAL"), ANALYSED)).IssuerOfPatientID == "HOSPITAL"


def test_times_are_in_the_zone_of_the_image() -> None:
    report = built((header(TimezoneOffsetFromUTC="-0330"), ANALYSED))
    assert report.TimezoneOffsetFromUTC == "-0330"
    assert (report.ContentDate, report.ContentTime) == ("20250301", "083000.250000")
    assert "TimezoneOffsetFromUTC" not in built((header(), ANALYSED))


@pytest.mark.parametrize(
    ("keyword", "value"),
    [("PatientSex", "W"), ("StudyDate", "2025-13-01"), ("StudyTime", "25"),
     ("PatientBirthDate", "20250230")],
)  # fmt: skip
def test_what_is_no_value_of_its_kind_becomes_empty(keyword: str, value: str) -> None:
    image = header()
    image[keyword].validation_mode = 0
    image[keyword].value = value
    assert built((image, ANALYSED))[keyword].is_empty


def test_odd_reasons_and_meanings_are_made_plain() -> None:
    reason = "Bäd\n" + "x" * 2000
    refused = Result(ResultStatus.NOT_ANALYSED, reason_code="odd", reason=reason)
    finding = dataclasses.replace(FINDINGS[0], code_meaning="Lungenentzündung " * 9)
    images = (
        (header(1), refused),
        (header(2), dataclasses.replace(ANALYSED, findings=(finding,))),
    )
    report = built(*images)
    refused_group, group = content(report, *GROUPS)
    assert "B?d x" in one(refused_group, "Comment").TextValue
    assert len(one(group, "Finding").ConceptCodeSequence[0].CodeMeaning) == 64


def test_the_device_of_this_installation_is_stable() -> None:
    assert Device.of("HILUM") == Device.of("HILUM")
    assert Device.of("HILUM").device_uid != Device.of("OTHER").device_uid
    assert Device.of("HILUM").model_name == "Hilum"


def test_the_sources_are_left_as_they_were(tmp_path: Path) -> None:
    image = header()
    image.save_as(tmp_path / "before.dcm", enforce_file_format=True)
    built((image, ANALYSED))
    image.save_as(tmp_path / "after.dcm", enforce_file_format=True)
    assert (tmp_path / "before.dcm").read_bytes() == (tmp_path / "after.dcm").read_bytes()

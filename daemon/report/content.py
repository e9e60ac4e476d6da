"""The content tree: TID 1500 with its observer, image library and one group per finding."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from highdicom import sr
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from daemon.report import codes
from daemon.report.header import numbers, text, values
from daemon.uids import MODEL_NAME, derive_uid
from storage.records import AnsweredInstance, Finding, Result, ResultStatus

DISCLAIMER = (
    "This is decision support by computer, not a diagnosis. "
    "It has not been verified by a radiologist."
)

# TID 1602 and 1603: one row per attribute, a concept per value of it.
_DESCRIPTORS = (
    ((codes.PIXEL_ROWS,), "Rows", codes.UNIT_PIXELS),
    ((codes.PIXEL_COLUMNS,), "Columns", codes.UNIT_PIXELS),
    (codes.SPACING, "ImagerPixelSpacing", codes.UNIT_MILLIMETRE),
)

_CONTAINS = sr.RelationshipTypeValues.CONTAINS
_ACQUISITION = sr.RelationshipTypeValues.HAS_ACQ_CONTEXT
_OBSERVATION = sr.RelationshipTypeValues.HAS_OBS_CONTEXT


@dataclass(frozen=True, slots=True)
class Device:
    """Who makes the report: the values of TID 1004 and of ContributingEquipmentSequence.

    `is_own` in daemon.uids knows our objects by the model name.
    """

    manufacturer: str
    software_version: str
    device_uid: str
    ae_title: str  # at most 16 characters, also the station name
    model_name: str = MODEL_NAME

    @classmethod
    def of(cls, ae_title: str) -> Device:
        """Return this installation: its release, and a UID of host name and AE title."""
        device_uid = derive_uid("device", platform.node(), ae_title)
        try:
            release = version("hilum")
        except PackageNotFoundError:  # run from a checkout
            release = "unreleased"
        return cls(MODEL_NAME, release, device_uid, ae_title)


@dataclass(frozen=True, slots=True)
class Image:
    """One image of the study as the report needs it; no header where it could not be read."""

    answered: AnsweredInstance
    header: Dataset | None

    @property
    def sop_class_uid(self) -> str:
        """SOP Class UID, as negotiated when it arrived."""
        return self.answered.instance.arrival.sop_class_uid

    @property
    def sop_instance_uid(self) -> str:
        """SOP Instance UID, as announced when it arrived."""
        return self.answered.instance.arrival.sop_instance_uid

    @property
    def result(self) -> Result:
        """What was found in it, or why not."""
        return self.answered.result

    @property
    def analysed(self) -> bool:
        """Whether it was classified."""
        return self.result.status is ResultStatus.ANALYSED

    @property
    def series_instance_uid(self) -> str:
        """Series Instance UID, "" where unknown: then nothing can refer to it (PS3.3 10.3)."""
        return "" if self.header is None else text(self.header, "SeriesInstanceUID")


def plain(value: str, longest: int = 1024) -> str:
    """Return text that every character set of DICOM can hold: printable ASCII alone."""
    ascii_only = value.encode("ascii", "replace").decode()
    return "".join(c if c.isprintable() else " " for c in ascii_only)[:longest]


def measurement_report(images: Sequence[Image], device: Device) -> Dataset:
    """Build the root container, TID 1500 (PS3.16 annex A), title (126000, DCM)."""
    report = sr.MeasurementReport(
        observation_context=_observation_context(device),
        procedure_reported=codes.PROCEDURE_REPORTED,
        imaging_measurements=[group for image in images for group in _groups(image, device)],
        title=codes.TITLE,
    )
    root = report[0].ContentSequence
    measurements = root.pop()
    if any(image.series_instance_uid for image in images):
        root.append(_image_library(images))
    root.append(measurements)
    root.append(_evaluations(images))
    item: Dataset = report[0]
    return item


def _observation_context(device: Device) -> Any:
    attributes = sr.DeviceObserverIdentifyingAttributes(
        uid=device.device_uid,
        name=device.ae_title,
        manufacturer_name=device.manufacturer,
        model_name=device.model_name,
    )
    attributes.append(
        sr.TextContentItem(codes.SOFTWARE_VERSION, device.software_version, _OBSERVATION)
    )
    return sr.ObservationContext(
        observer_device_context=sr.ObserverContext(
            observer_type=Code("121007", "DCM", "Device"),
            observer_identifying_attributes=attributes,
        )
    )


def _image_library(images: Sequence[Image]) -> Any:
    """TID 1600 with TID 1602 and 1603: what the header gives, and nothing it does not.

    highdicom's own ImageLibrary raises where pixel spacing or orientation is missing.
    """
    group = sr.ContainerContentItem(codes.IMAGE_LIBRARY_GROUP, relationship_type=_CONTAINS)
    group.ContentSequence = sr.ContentSequence(
        _library_entry(image, image.header)
        for image in images
        if image.header is not None and image.series_instance_uid
    )
    library = sr.ContainerContentItem(codes.IMAGE_LIBRARY, relationship_type=_CONTAINS)
    library.ContentSequence = sr.ContentSequence([group])
    return library


def _library_entry(image: Image, header: Dataset) -> Any:
    entry = sr.ImageContentItem(
        name=codes.SOURCE,
        referenced_sop_class_uid=image.sop_class_uid,
        referenced_sop_instance_uid=image.sop_instance_uid,
        relationship_type=_CONTAINS,
    )
    described = [
        sr.CodeContentItem(codes.MODALITY, codes.modality(text(header, "Modality")), _ACQUISITION)
    ]
    for names, keyword, unit in _DESCRIPTORS:
        found = numbers(header, keyword)
        if len(found) == len(names):
            described += [
                sr.NumContentItem(name, value, unit, relationship_type=_ACQUISITION)
                for name, value in zip(names, found, strict=True)
            ]
    orientation = values(header, "PatientOrientation")
    if len(orientation) == 2 and all(orientation):
        described += [
            sr.TextContentItem(name, value, _ACQUISITION)
            for name, value in zip(codes.ORIENTATION, orientation, strict=True)
        ]
    entry.ContentSequence = sr.ContentSequence(described)
    return entry


def _groups(image: Image, device: Device) -> list[Any]:
    if not image.analysed:
        return [_not_analysed(image)]
    return [_finding(image, finding, device) for finding in image.result.findings]


def _finding(image: Image, finding: Finding, device: Device) -> Any:
    """TID 1501 for one finding, present or absent, with its algorithm (TID 4019)."""
    algorithm = sr.AlgorithmIdentification(
        name=f"{device.model_name} chest radiograph classifier",
        version=plain(image.result.bundle or "unknown"),
        parameters=[f"threshold={_rounded(finding.threshold)}"],
        family=codes.AI,
        manufacturer=device.manufacturer,
    )
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(image, finding.name),
        finding_category=codes.FINDING_CATEGORY,
        finding_type=finding_code(finding),
        finding_sites=[sr.FindingSite(codes.site_of(finding.code_value))],
        algorithm_id=algorithm,
        measurements=[
            sr.Measurement(name, _rounded(value), codes.UNIT_PROBABILITY)
            for name, value in (
                (codes.PROBABILITY, finding.probability),
                (codes.THRESHOLD, finding.threshold),
            )
        ],
        qualitative_evaluations=[
            sr.QualitativeEvaluation(
                codes.PRESENCE, codes.PRESENT if finding.present else codes.ABSENT
            )
        ],
        source_images=_source(image),
    )


def _not_analysed(image: Image) -> Any:
    """TID 1501 for an image without findings: that it was not attempted, and why."""
    reason = image.result.reason or "No reason was recorded."
    evaluations = [sr.QualitativeEvaluation(codes.ANALYSIS_STATUS, codes.NOT_ATTEMPTED)]
    if image.result.reason_code:
        code = Code(plain(image.result.reason_code, 64), codes.PRIVATE_SCHEME, plain(reason, 64))
        evaluations.append(sr.QualitativeEvaluation(codes.NOT_ANALYSED_REASON, code))
    group = sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(image, "not_analysed"),
        qualitative_evaluations=evaluations,
        source_images=_source(image),
    )
    group[0].ContentSequence.append(
        sr.TextContentItem(
            codes.COMMENT,
            plain(f"Image {image.sop_instance_uid} was not analysed: {reason}"),
            _CONTAINS,
        )
    )
    return group


def _evaluations(images: Sequence[Image]) -> Any:
    """The summary, in the container of TID 1500 row 12."""
    container = sr.ContainerContentItem(codes.QUALITATIVE_EVALUATIONS, relationship_type=_CONTAINS)
    container.ContentSequence = sr.ContentSequence(
        [
            sr.TextContentItem(codes.SUMMARY, summary(images), _CONTAINS),
            sr.TextContentItem(codes.COMMENT, DISCLAIMER, _CONTAINS),
        ]
    )
    return container


def summary(images: Sequence[Image]) -> str:
    """Say in a sentence or three what is flagged, what is not, and what was left out."""
    analysed = [image for image in images if image.analysed]
    sentences = [f"{len(analysed)} of {len(images)} images analysed."]
    if analysed:
        flagged = _flagged(analysed)
        sentences.append(
            f"Flagged: {'; '.join(flagged)}."
            if flagged
            else "No finding reached its threshold: nothing is flagged."
        )
    reasons = [plain(image.result.reason or "") for image in images if not image.analysed]
    if reasons:
        sentences.append(f"Not analysed: {'; '.join(dict.fromkeys(reasons))}")
    return " ".join(sentences)


def _flagged(images: Iterable[Image]) -> list[str]:
    highest: dict[str, Finding] = {}
    for image in images:
        for finding in image.result.findings:
            known = highest.get(finding.name)
            if finding.present and (known is None or finding.probability > known.probability):
                highest[finding.name] = finding
    return [
        f"{plain(finding.code_meaning)}"
        f" (probability {finding.probability:.2f}, threshold {finding.threshold:.2f})"
        for finding in sorted(highest.values(), key=lambda f: (-f.probability, f.name))
    ]


def finding_code(finding: Finding) -> Code:
    """Return the finding's code, its meaning short enough for LO (PS3.5 table 6.2-1)."""
    return Code(finding.code_value, finding.code_scheme, plain(finding.code_meaning, 64))


def _tracking(image: Image, what: str) -> Any:
    """TID 4108; the UID is the same in every version of the study's report."""
    return sr.TrackingIdentifier(
        uid=derive_uid("tracking", image.sop_instance_uid, what), identifier=f"hilum.{what}"
    )


def _source(image: Image) -> list[Any] | None:
    if not image.series_instance_uid:
        return None
    return [sr.SourceImageForMeasurementGroup(image.sop_class_uid, image.sop_instance_uid)]


def _rounded(probability: float) -> float:
    return round(float(probability), 6)

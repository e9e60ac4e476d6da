"""The content tree: TID 1500 with its observer, image library and one group per finding."""

from __future__ import annotations

from collections.abc import Sequence

from pydicom.dataset import Dataset

from daemon.report import codes, items
from daemon.report.header import numbers, text, values
from daemon.report.items import Relation
from daemon.report.subject import Device, Image, Mark, Marks, finding_code, plain
from daemon.report.summary import summary
from daemon.uids import derive_uid
from storage.records import Doubt, Finding

DISCLAIMER = (
    "This is decision support by computer, not a diagnosis. "
    "It has not been verified by a radiologist."
)
_DOUBT = "Calibration in doubt: by reviews, the probabilities of this finding do not hold here."
IN_DOUBT = {Doubt.MARKED: _DOUBT, Doubt.STOPPED: f"{_DOUBT} It does not flag."}
TEMPLATE, REGION_GROUP, GROUP = "1500", "1410", "1501"

# TID 1602 and 1603: one row per attribute, a concept per value of it.
_DESCRIPTORS = (
    ((codes.PIXEL_ROWS,), "Rows", codes.UNIT_PIXELS),
    ((codes.PIXEL_COLUMNS,), "Columns", codes.UNIT_PIXELS),
    (codes.SPACING, "ImagerPixelSpacing", codes.UNIT_MILLIMETRE),
)


def report_items(
    images: Sequence[Image], device: Device, marks: Marks, notes: Sequence[str]
) -> list[bytes]:
    """Encode what stands in the root of TID 1500 (PS3.16 annex A).

    The summary stands before the measurements, where every viewer shows it first; `notes` are
    sentences that belong to it.
    """
    children = [
        items.code(codes.LANGUAGE, codes.ENGLISH, Relation.MODIFIER),
        *_observer(device),
        items.code(codes.PROCEDURE, codes.PROCEDURE_REPORTED, Relation.MODIFIER),
        items.text(codes.SUMMARY, plain(" ".join([summary(images), *notes]))),
        items.text(codes.COMMENT, DISCLAIMER),
    ]
    if any(image.series_instance_uid for image in images):
        children.append(_image_library(images))
    groups = [group for image in images for group in _groups(image, device, marks)]
    return [*children, items.container(codes.MEASUREMENTS, groups)]


def _observer(device: Device) -> list[bytes]:
    """TID 1002 and 1004."""
    return [
        items.code(codes.OBSERVER_TYPE, codes.DEVICE, Relation.OBSERVATION),
        items.uid(codes.DEVICE_UID, device.device_uid, Relation.OBSERVATION),
        *(
            items.text(name, value, Relation.OBSERVATION)
            for name, value in (
                (codes.DEVICE_NAME, device.ae_title),
                (codes.DEVICE_MANUFACTURER, device.manufacturer),
                (codes.DEVICE_MODEL, device.model_name),
                (codes.SOFTWARE_VERSION, device.software_version),
            )
        ),
    ]


def _image_library(images: Sequence[Image]) -> bytes:
    """TID 1600 with TID 1602 and 1603: what the header gives, and nothing it does not."""
    entries = [
        _library_entry(image, image.header)
        for image in images
        if image.header is not None and image.series_instance_uid
    ]
    group = items.container(codes.IMAGE_LIBRARY_GROUP, entries)
    return items.container(codes.IMAGE_LIBRARY, [group])


def _library_entry(image: Image, header: Dataset) -> bytes:
    modality = codes.modality(text(header, "Modality"))
    described = [items.code(codes.MODALITY, modality, Relation.ACQUISITION)]
    for names, keyword, unit in _DESCRIPTORS:
        found = numbers(header, keyword)
        if len(found) == len(names):
            described += [
                items.number(name, value, unit, Relation.ACQUISITION)
                for name, value in zip(names, found, strict=True)
            ]
    orientation = values(header, "PatientOrientation")
    if len(orientation) == 2 and all(orientation):
        described += [
            items.text(name, plain(value), Relation.ACQUISITION)
            for name, value in zip(codes.ORIENTATION, orientation, strict=True)
        ]
    return items.image(codes.SOURCE, image.reference, Relation.CONTAINS, described)


def _groups(image: Image, device: Device, marks: Marks) -> list[bytes]:
    if not image.analysed:
        return [_not_analysed(image)]
    return [
        _finding(image, finding, device, marks.get((image.sop_instance_uid, finding.name), Mark()))
        for finding in image.result.findings
    ]


def _finding(image: Image, finding: Finding, device: Device, mark: Mark) -> bytes:
    """TID 1410 where a region shows the finding, else TID 1501; the algorithm by TID 4019."""
    children = [
        *_tracking(image, finding.name),
        items.code(codes.CATEGORY, codes.FINDING_CATEGORY),
        items.code(codes.FINDING, finding_code(finding)),
        items.code(codes.SITE, codes.site_of(finding.code_value), Relation.MODIFIER),
        *_algorithm(image, finding, device),
        items.number(codes.PROBABILITY, _rounded(finding.probability), codes.UNIT_PROBABILITY),
        items.number(codes.THRESHOLD, _rounded(finding.threshold), codes.UNIT_PROBABILITY),
        *_presence(finding),
    ]
    regional = bool(mark.region and image.series_instance_uid)
    if regional:
        source = items.image(codes.SOURCE, image.reference, Relation.SELECTED_FROM)
        children.append(items.polyline(codes.REGION, mark.region, source))
    else:
        children += _source(image)
    if mark.explanation is not None:
        children.append(items.image(codes.EXPLANATION, mark.explanation))
    if finding.doubt is not None:
        children.append(items.text(codes.COMMENT, IN_DOUBT[finding.doubt]))
    return items.container(codes.GROUP, children, REGION_GROUP if regional else GROUP)


def _presence(finding: Finding) -> list[bytes]:
    """CID 240; nothing is said where the threshold is reached by a probability that does not hold.

    Neither is true then: the finding does not flag, and is not absent.
    """
    if finding.reached and not finding.present:
        return []
    return [items.code(codes.PRESENCE, codes.PRESENT if finding.present else codes.ABSENT)]


def _algorithm(image: Image, finding: Finding, device: Device) -> list[bytes]:
    described = (
        (codes.ALGORITHM_NAME, f"{device.model_name} chest radiograph classifier"),
        (codes.SOFTWARE_VERSION, plain(image.result.bundle or "unknown")),
        (codes.ALGORITHM_MANUFACTURER, device.manufacturer),
        (codes.ALGORITHM_PARAMETERS, f"threshold={_rounded(finding.threshold)}"),
    )
    return [
        *(items.text(name, value, Relation.MODIFIER) for name, value in described),
        items.code(codes.ALGORITHM_FAMILY, codes.AI, Relation.MODIFIER),
    ]


def _not_analysed(image: Image) -> bytes:
    """TID 1501 for an image without findings: that it was not attempted, and why."""
    reason = image.result.reason or "No reason was recorded."
    children = [
        *_tracking(image, "not_analysed"),
        items.code(codes.ANALYSIS_STATUS, codes.NOT_ATTEMPTED),
    ]
    if reason_code := plain(image.result.reason_code or "", 64).strip():
        children.append(items.code(codes.NOT_ANALYSED_REASON, codes.reason(reason_code)))
    why = plain(f"Image {image.sop_instance_uid} was not analysed: {reason}")
    children += [*_source(image), items.text(codes.COMMENT, why)]
    return items.container(codes.GROUP, children, GROUP)


def tracking_identifier(what: str) -> str:
    """Return the name of a group that stays the same over a study's reports."""
    return f"hilum.{what}"


def _tracking(image: Image, what: str) -> list[bytes]:
    """TID 4108; the UID is the same in every version of the study's report."""
    uid = derive_uid("tracking", image.sop_instance_uid, what)
    return [
        items.text(codes.TRACKING_IDENTIFIER, tracking_identifier(what), Relation.OBSERVATION),
        items.uid(codes.TRACKING_UID, uid, Relation.OBSERVATION),
    ]


def _source(image: Image) -> list[bytes]:
    if not image.series_instance_uid:
        return []
    return [items.image(codes.SOURCE_OF_MEASUREMENT, image.reference)]


def _rounded(probability: float) -> float:
    return round(float(probability), 4)

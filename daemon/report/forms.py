"""The report for a PACS that takes no Comprehensive SR: the same content, in a plainer form."""

from __future__ import annotations

from collections.abc import Iterator

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from daemon.contexts import BASIC_TEXT_SR, COMPREHENSIVE_SR, REPORT_FORMS, SECONDARY_CAPTURE
from daemon.report import codes, items
from daemon.report.checks import check
from daemon.report.codes import Code
from daemon.report.document import put_content
from daemon.report.errors import ReportError
from daemon.report.header import identify
from daemon.report.items import Relation
from daemon.report.objects import encode, put_meta, put_picture
from daemon.report.reading import Group, children, groups, meaning, texts
from daemon.report.subject import plain
from daemon.uids import derive_uid

FORMS = tuple(REPORT_FORMS)
"""SOP classes of a report, the richest first."""

SERIES_NUMBER = 9102
SERIES_DESCRIPTION = "Hilum report as an image, NOT A DIAGNOSIS"
_FINDINGS = Code("121070", "DCM", "Findings")
_NOT_COPIED = frozenset(
    {"SOPClassUID", "SOPInstanceUID", "ContentSequence", "ContentTemplateSequence",
     "CodingSchemeIdentificationSequence", "PredecessorDocumentsSequence"}
)  # fmt: skip
_OF_A_PICTURE = (
    "StudyInstanceUID", "InstanceNumber", "ContentDate", "ContentTime", "InstanceCreationDate",
    "InstanceCreationTime", "InstanceCreatorUID", "Manufacturer", "ManufacturerModelName",
    "SoftwareVersions", "StationName", "ContributingEquipmentSequence",
)  # fmt: skip


def step_down(dataset: Dataset, sop_class: str) -> Dataset:
    """Return a stored Comprehensive SR as an object of another class of `FORMS`.

    Always the same object for the same report. Raises ReportError for any other class, and
    ReportInvalid where the object fails our checks.
    """
    if sop_class == dataset.SOPClassUID:
        return dataset
    if dataset.SOPClassUID != COMPREHENSIVE_SR or sop_class not in FORMS:
        raise ReportError(f"A report cannot be sent as SOP class {sop_class}.")
    made = _basic_text(dataset) if sop_class == BASIC_TEXT_SR else _picture(dataset)
    check(encode(made))
    put_meta(made)
    return made


def form_uid(sop_instance_uid: str, sop_class: str) -> str:
    """Return the SOP Instance UID of a report in another form."""
    return derive_uid("form", sop_instance_uid, sop_class)


def _basic_text(dataset: Dataset) -> Dataset:
    """Basic Text SR (PS3.3 A.35.1), which has neither NUM nor SCOORD."""
    made = Dataset()
    for element in dataset:
        if element.keyword not in _NOT_COPIED:
            made.add(DataElement(element.tag, element.VR, element.value))
    made.SOPClassUID = BASIC_TEXT_SR
    made.SOPInstanceUID = form_uid(dataset.SOPInstanceUID, BASIC_TEXT_SR)
    before = dataset.get("PredecessorDocumentsSequence")
    if before:
        made.PredecessorDocumentsSequence = [_in_this_form(item) for item in before]
    put_content(made, items.content(_text_items(dataset)))
    return made


def _in_this_form(before: Dataset) -> Dataset:
    """Name the predecessor as this PACS has it."""
    item = Dataset()
    item.StudyInstanceUID = before.StudyInstanceUID
    item.ReferencedSeriesSequence = []
    for series in before.ReferencedSeriesSequence:
        renamed = Dataset()
        renamed.SeriesInstanceUID = series.SeriesInstanceUID
        renamed.ReferencedSOPSequence = []
        for one in series.ReferencedSOPSequence:
            target = Dataset()
            target.ReferencedSOPClassUID = BASIC_TEXT_SR
            target.ReferencedSOPInstanceUID = form_uid(one.ReferencedSOPInstanceUID, BASIC_TEXT_SR)
            renamed.ReferencedSOPSequence.append(target)
        item.ReferencedSeriesSequence.append(renamed)
    return item


def _text_items(dataset: Dataset) -> list[bytes]:
    observer = (codes.DEVICE_NAME, codes.DEVICE_MANUFACTURER, codes.DEVICE_MODEL,
                codes.SOFTWARE_VERSION)  # fmt: skip
    observed = [
        items.uid(codes.DEVICE_UID, str(child.UID), Relation.OBSERVATION)
        for child in children(dataset, codes.DEVICE_UID)
    ]
    for name in observer:
        observed += [
            items.text(name, plain(one), Relation.OBSERVATION) for one in texts(dataset, name)
        ]
    found = [
        items.code(codes.LANGUAGE, codes.ENGLISH, Relation.MODIFIER),
        items.code(codes.OBSERVER_TYPE, codes.DEVICE, Relation.OBSERVATION),
        *observed,
        items.code(codes.PROCEDURE, codes.PROCEDURE_REPORTED, Relation.MODIFIER),
        *(items.text(codes.SUMMARY, plain(one)) for one in texts(dataset, codes.SUMMARY)),
        *(items.text(codes.COMMENT, plain(one)) for one in texts(dataset, codes.COMMENT)),
    ]
    read = groups(dataset)
    said = [part for group in read for part in _group_items(group)]
    models = dict.fromkeys(group.algorithm for group in read if group.algorithm)
    found += [items.text(codes.SOFTWARE_VERSION, f"Model {model}") for model in models]
    return [*found, items.container(_FINDINGS, said)] if said else found


def _group_items(group: Group) -> Iterator[bytes]:
    yield items.text(codes.FINDING if group.finding else codes.COMMENT, plain(sentence(group)))
    if group.source is not None:
        yield items.image(codes.SOURCE_OF_MEASUREMENT, group.source)
    if group.explanation is not None:
        yield items.image(codes.EXPLANATION, group.explanation)


def sentence(group: Group) -> str:
    """Say what a group says in one line."""
    if not group.finding:
        return " ".join(group.comments) or "An image was not analysed."
    parts = [group.presence.lower()] if group.presence else []
    if group.probability is not None:
        parts.append(f"probability {group.probability:.2f}")
    if group.threshold is not None:
        parts.append(f"threshold {group.threshold:.2f}")
    comments = "".join(f" {comment}" for comment in group.comments)
    return f"{group.finding}: {', '.join(parts)}.{comments}"


def _picture(dataset: Dataset) -> Dataset:
    """RGB Secondary Capture (PS3.3 A.8.1) of the report's text."""
    from daemon.report.page import draw_page  # Pillow, which only this form needs

    made = Dataset()
    identify(made, dataset)
    for keyword in _OF_A_PICTURE:
        if keyword in dataset:
            made.add(dataset[keyword])
    made.SOPClassUID = SECONDARY_CAPTURE
    made.SOPInstanceUID = form_uid(dataset.SOPInstanceUID, SECONDARY_CAPTURE)
    made.SeriesInstanceUID = derive_uid(dataset.StudyInstanceUID, "report as an image")
    made.SeriesNumber, made.SeriesDescription = SERIES_NUMBER, SERIES_DESCRIPTION
    made.Modality, made.ConversionType = "OT", "WSD"
    made.BodyPartExamined = "CHEST"
    made.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
    made.PatientOrientation = None
    made.ImageComments = "Decision support, not a diagnosis"
    put_picture(made, draw_page(list(page_lines(dataset))))
    return made


def page_lines(dataset: Dataset) -> Iterator[tuple[str, str]]:
    """Give the report's lines, each with its style: title, head, text or quiet."""
    yield "title", f"Chest radiograph, decision support: version {dataset.InstanceNumber}"
    state = f"{dataset.CompletionFlag}, {dataset.VerificationFlag}".lower()
    date, time = str(dataset.ContentDate), str(dataset.ContentTime)
    yield "quiet", f"{date[:4]}-{date[4:6]}-{date[6:]} {time[:2]}:{time[2:4]}, {state}"
    for name in (codes.SUMMARY, codes.COMMENT):
        for one in texts(dataset, name):
            yield ("text" if name == codes.SUMMARY else "quiet"), one
    number, last = 0, None
    for group in groups(dataset):
        if group.source != last or not number:
            number, last = number + 1, group.source
            yield "head", f"Image {number}"
            model = f", model {group.algorithm}" if group.algorithm else ""
            where = group.source.sop_instance_uid if group.source else "not identified"
            yield "quiet", f"{where}{model}"
        yield "text", sentence(group)
    procedure = meaning(dataset, codes.PROCEDURE)
    yield "quiet", f"Procedure: {procedure}. Report {dataset.SOPInstanceUID}"

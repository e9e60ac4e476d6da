"""The document around the content tree: Comprehensive SR (PS3.3 A.35.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import sha256

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from daemon.contexts import COMPREHENSIVE_SR
from daemon.report import codes, items
from daemon.report.content import TEMPLATE, report_items
from daemon.report.errors import ReportError
from daemon.report.header import identify, referenced_requests, text
from daemon.report.objects import coded, equip, moment_of, reference
from daemon.report.subject import Device, Image, Mark, Marks
from daemon.uids import derive_uid
from storage.records import InstanceId, StudyJob

SERIES_NUMBER = 9100
SERIES_DESCRIPTION = "Hilum decision support, NOT A DIAGNOSIS"


def build_report(
    study: StudyJob,
    headers: Mapping[InstanceId, Dataset | None],
    device: Device,
    created_at: float,
    marks: Marks | None = None,
    notes: Sequence[str] = (),
) -> Dataset:
    """Build the study's report: Comprehensive SR, TID 1500, ready for `encode`.

    `headers` holds each instance's dataset without pixel data, None where it could not
    be read; `created_at` (UNIX seconds) is the time of the content; `marks` shows positive
    findings; `notes` are sentences for the summary. The same arguments give the same bytes.
    Raises ReportError for a study without instances.
    """
    images = [Image(one, headers.get(one.instance.id)) for one in study.instances]
    if not images:
        raise ReportError("A study without instances has nothing to report.")
    marks = marks or {}
    leading = next((image.header for image in images if image.header is not None), Dataset())
    moment = moment_of(created_at, text(leading, "TimezoneOffsetFromUTC"))
    content = items.content(report_items(images, device, marks, notes))
    report = Dataset()
    identify(report, leading)
    _describe(report, study, sha256(content).hexdigest(), moment)
    equip(report, leading, device, moment)
    _author(report, device)
    _link(report, study, images, marks)
    _root(report, content)
    return report


def _describe(report: Dataset, study: StudyJob, content: str, moment: datetime) -> None:
    """SR Document Series, SR Document General and SOP Common (PS3.3 C.17.1, C.17.2, C.12.1)."""
    uid = study.study_instance_uid
    report.SOPClassUID = COMPREHENSIVE_SR
    report.SOPInstanceUID = derive_uid(uid, str(study.version), content)
    report.StudyInstanceUID = uid
    report.SeriesInstanceUID = derive_uid(uid, "report")
    report.SeriesNumber, report.InstanceNumber = SERIES_NUMBER, study.version
    report.SeriesDescription = SERIES_DESCRIPTION
    report.Modality = "SR"
    report.ContentDate = moment.strftime("%Y%m%d")
    report.ContentTime = moment.strftime("%H%M%S.%f")
    report.CompletionFlag = "COMPLETE"
    report.VerificationFlag = "UNVERIFIED"
    report.PreliminaryFlag = "PRELIMINARY"
    report.ReferencedPerformedProcedureStepSequence = []
    report.PerformedProcedureCodeSequence = []
    scheme = Dataset()
    scheme.CodingSchemeDesignator = codes.PRIVATE_SCHEME
    scheme.CodingSchemeName = "Hilum reasons"
    scheme.CodingSchemeVersion = "1"
    scheme.CodingSchemeResponsibleOrganization = "Hilum"
    report.CodingSchemeIdentificationSequence = [scheme]


def _author(report: Dataset, device: Device) -> None:
    author = Dataset()
    author.ObserverType = "DEV"
    author.InstitutionName = None
    author.InstitutionCodeSequence = []
    author.Manufacturer = device.manufacturer
    author.ManufacturerModelName = device.model_name
    author.StationName = device.ae_title
    author.DeviceUID = device.device_uid
    report.AuthorObserverSequence = [author]


def _link(report: Dataset, study: StudyJob, images: Sequence[Image], marks: Marks) -> None:
    """Point at the images, at the request that asked for them, and at the version before."""
    uid = study.study_instance_uid
    by_series: dict[str, list[tuple[str, str]]] = {}
    for image in images:
        if image.series_instance_uid:
            one = (image.sop_class_uid, image.sop_instance_uid)
            by_series.setdefault(image.series_instance_uid, []).append(one)
    for mark in marks.values():
        _cite(mark, by_series)
    if by_series:
        report.CurrentRequestedProcedureEvidenceSequence = [reference(uid, by_series)]
    requests = referenced_requests(
        [image.header for image in images if image.header is not None], uid
    )
    if requests:
        report.ReferencedRequestSequence = requests
    if study.version > 1 and study.predecessor_uid is not None:
        before = {str(report.SeriesInstanceUID): [(COMPREHENSIVE_SR, study.predecessor_uid)]}
        report.PredecessorDocumentsSequence = [reference(uid, before)]


def _cite(mark: Mark, by_series: dict[str, list[tuple[str, str]]]) -> None:
    """Put the explanation of a mark into the evidence, once."""
    if mark.explanation is None:
        return
    shown = mark.explanation.state or mark.explanation
    one = (shown.sop_class_uid, shown.sop_instance_uid)
    cited = by_series.setdefault(mark.series_instance_uid, [])
    if one not in cited:
        cited.append(one)


def _root(report: Dataset, content: bytes) -> None:
    """Put the encoded content tree into the document."""
    report.ValueType = "CONTAINER"
    report.ConceptNameCodeSequence = [coded(codes.TITLE)]
    report.ContinuityOfContent = "SEPARATE"
    template = Dataset()
    template.MappingResource, template.TemplateIdentifier = "DCMR", TEMPLATE
    report.ContentTemplateSequence = [template]
    put_content(report, content)


def put_content(report: Dataset, content: bytes) -> None:
    """Set Content Sequence from its encoded items."""
    tag = Tag(items.CONTENT_SEQUENCE)
    report[tag] = RawDataElement(tag, "SQ", len(content), content, 0, False, True)

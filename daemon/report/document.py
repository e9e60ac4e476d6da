"""The document around the content tree: Comprehensive SR (PS3.3 A.35.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from io import BytesIO

from highdicom import ContributingEquipment
from highdicom.coding_schemes import CodingSchemeIdentificationItem
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.coding import Code
from pydicom.uid import UID, ExplicitVRLittleEndian

from daemon.contexts import COMPREHENSIVE_SR
from daemon.report import codes
from daemon.report.content import Device, Image, measurement_report
from daemon.report.errors import ReportError
from daemon.report.header import (
    acquisition_equipment,
    identify,
    is_offset,
    referenced_requests,
    text,
)
from daemon.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, derive_uid
from storage.records import InstanceId, StudyJob

SERIES_NUMBER = 9100
SERIES_DESCRIPTION = "Hilum decision support, NOT A DIAGNOSIS"
_PRIVATE_SCHEME = CodingSchemeIdentificationItem(
    designator=codes.PRIVATE_SCHEME,
    name="Hilum reasons",
    version="1",
    responsible_organization="Hilum",
)


def build_report(
    study: StudyJob,
    headers: Mapping[InstanceId, Dataset | None],
    device: Device,
    created_at: float,
) -> Dataset:
    """Build the study's report: Comprehensive SR, TID 1500, ready for `encode`.

    `headers` holds each instance's dataset without pixel data, None where it could not
    be read; `created_at` (UNIX seconds) is the time of the content. The same arguments
    give the same bytes. Raises ReportError for a study without instances.
    """
    images = [Image(one, headers.get(one.instance.id)) for one in study.instances]
    if not images:
        raise ReportError("A study without instances has nothing to report.")
    leading = next((image.header for image in images if image.header is not None), Dataset())
    moment = _moment(created_at, text(leading, "TimezoneOffsetFromUTC"))
    report = Dataset()
    identify(report, leading)
    _describe(report, study, images, moment)
    _equip(report, leading, device, moment)
    _link(report, study, images)
    report.update(measurement_report(images, device))
    return report


def _describe(report: Dataset, study: StudyJob, images: Sequence[Image], moment: datetime) -> None:
    """SR Document Series, SR Document General and SOP Common (PS3.3 C.17.1, C.17.2, C.12.1).

    highdicom's ComprehensiveSR would do this, but it refuses an odd PatientSex, writes an
    odd PatientName to the log, and takes more than half of the time to build a report.
    """
    uid = study.study_instance_uid
    results = repr([(image.sop_instance_uid, image.result) for image in images])
    report.SOPClassUID = COMPREHENSIVE_SR
    report.SOPInstanceUID = derive_uid(uid, str(study.version), results)
    report.StudyInstanceUID = uid
    report.SeriesInstanceUID = derive_uid(uid, "report")
    report.SeriesNumber, report.InstanceNumber = SERIES_NUMBER, study.version
    report.SeriesDescription = SERIES_DESCRIPTION
    report.Modality = "SR"
    report.ContentDate = report.InstanceCreationDate = moment.strftime("%Y%m%d")
    report.ContentTime = report.InstanceCreationTime = moment.strftime("%H%M%S.%f")
    report.CompletionFlag = "COMPLETE"
    report.VerificationFlag = "UNVERIFIED"
    report.PreliminaryFlag = "PRELIMINARY"
    report.ReferencedPerformedProcedureStepSequence = []
    report.PerformedProcedureCodeSequence = []
    report.CodingSchemeIdentificationSequence = [_PRIVATE_SCHEME]


def _equip(report: Dataset, leading: Dataset, device: Device, moment: datetime) -> None:
    """Name the equipment, equal to the device observer of the content (PS3.3 C.7.5.1, C.12.1)."""
    report.Manufacturer, report.ManufacturerModelName = device.manufacturer, device.model_name
    report.SoftwareVersions, report.StationName = device.software_version, device.ae_title
    report.InstanceCreatorUID = device.device_uid

    contributed = moment.strftime("%Y%m%d%H%M%S.%f%z")
    own = ContributingEquipment(
        manufacturer=device.manufacturer,
        purpose_of_reference=Code("109102", "DCM", "Processing Equipment"),
        manufacturer_model_name=device.model_name,
        software_versions=device.software_version,
        station_name=device.ae_title,
        contribution_datetime=contributed,
        contribution_description="Classification: decision support, not a diagnosis",
    )
    own.DeviceUID = device.device_uid
    library = ContributingEquipment.for_highdicom()
    library.ContributionDateTime = contributed
    acquisition = acquisition_equipment(leading)
    report.ContributingEquipmentSequence = [*acquisition, own, library]

    author = Dataset()
    author.ObserverType = "DEV"
    author.InstitutionName = None
    author.InstitutionCodeSequence = []
    author.Manufacturer = device.manufacturer
    author.ManufacturerModelName = device.model_name
    author.StationName = device.ae_title
    author.DeviceUID = device.device_uid
    report.AuthorObserverSequence = [author]


def _link(report: Dataset, study: StudyJob, images: Sequence[Image]) -> None:
    """Point at the images, at the request that asked for them, and at the version before."""
    uid = study.study_instance_uid
    by_series: dict[str, list[tuple[str, str]]] = {}
    for image in images:
        if image.series_instance_uid:
            one = (image.sop_class_uid, image.sop_instance_uid)
            by_series.setdefault(image.series_instance_uid, []).append(one)
    if by_series:
        report.CurrentRequestedProcedureEvidenceSequence = [_reference(uid, by_series)]
    requests = referenced_requests(
        [image.header for image in images if image.header is not None], uid
    )
    if requests:
        report.ReferencedRequestSequence = requests
    if study.version > 1 and study.predecessor_uid is not None:
        before = {str(report.SeriesInstanceUID): [(COMPREHENSIVE_SR, study.predecessor_uid)]}
        report.PredecessorDocumentsSequence = [_reference(uid, before)]


def _reference(study_uid: str, by_series: Mapping[str, Sequence[tuple[str, str]]]) -> Dataset:
    """Hierarchical SOP Instance Reference Macro (PS3.3 C.17.2.1)."""
    reference = Dataset()
    reference.StudyInstanceUID = study_uid
    reference.ReferencedSeriesSequence = []
    for series_uid, instances in by_series.items():
        series = Dataset()
        series.SeriesInstanceUID = series_uid
        series.ReferencedSOPSequence = []
        for sop_class_uid, sop_instance_uid in instances:
            instance = Dataset()
            instance.ReferencedSOPClassUID = sop_class_uid
            instance.ReferencedSOPInstanceUID = sop_instance_uid
            series.ReferencedSOPSequence.append(instance)
        reference.ReferencedSeriesSequence.append(series)
    return reference


def _moment(created_at: float, offset: str) -> datetime:
    """The time in the zone that the image states, else in that of this machine.

    TimezoneOffsetFromUTC speaks for every date and time of an object (PS3.3 C.12.1.1.8),
    the study's included; so the report has one only where the image has one.
    """
    if not is_offset(offset):
        return datetime.fromtimestamp(created_at).astimezone()
    hours, minutes = int(offset[:3]), int(offset[0] + offset[3:])
    return datetime.fromtimestamp(created_at, timezone(timedelta(hours=hours, minutes=minutes)))


def encode(dataset: Dataset) -> bytes:
    """Return the object as a Part 10 file, explicit VR little endian, zeroed preamble."""
    dataset.preamble = b"\0" * 128
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    dataset.file_meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    buffer = BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()

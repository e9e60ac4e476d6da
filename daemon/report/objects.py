"""What every object of ours has: equipment, time, references, and its bytes as a Part 10 file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmwrite
from pydicom.charset import convert_encodings
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from daemon.report import codes
from daemon.report.codes import Code
from daemon.report.header import acquisition_equipment, is_offset
from daemon.report.subject import Device
from daemon.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

NOT_FOR_DIAGNOSIS = "NOT FOR DIAGNOSTIC USE"


def equip(target: Dataset, leading: Dataset, device: Device, moment: datetime) -> None:
    """Name the equipment, equal to the device observer of the report (PS3.3 C.7.5.1, C.12.1)."""
    target.Manufacturer, target.ManufacturerModelName = device.manufacturer, device.model_name
    target.SoftwareVersions, target.StationName = device.software_version, device.ae_title
    target.InstanceCreatorUID = device.device_uid
    target.InstanceCreationDate = moment.strftime("%Y%m%d")
    target.InstanceCreationTime = moment.strftime("%H%M%S.%f")
    own = Dataset()
    own.Manufacturer, own.ManufacturerModelName = device.manufacturer, device.model_name
    own.SoftwareVersions, own.StationName = device.software_version, device.ae_title
    own.DeviceUID = device.device_uid
    own.ContributionDateTime = moment.strftime("%Y%m%d%H%M%S.%f")
    own.ContributionDescription = "Classification: decision support, not a diagnosis"
    own.PurposeOfReferenceCodeSequence = [coded(codes.PROCESSING_EQUIPMENT)]
    target.ContributingEquipmentSequence = [*acquisition_equipment(leading), own]


def coded(code: Code) -> Dataset:
    """Return a code sequence item (PS3.3 section 8.8)."""
    item = Dataset()
    item.CodeValue = code.value
    item.CodingSchemeDesignator = code.scheme_designator
    item.CodeMeaning = code.meaning
    return item


def instance(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    """SOP Instance Reference Macro (PS3.3 table 10-11)."""
    item = Dataset()
    item.ReferencedSOPClassUID = sop_class_uid
    item.ReferencedSOPInstanceUID = sop_instance_uid
    return item


def reference(study_uid: str, by_series: Mapping[str, Sequence[tuple[str, str]]]) -> Dataset:
    """Hierarchical SOP Instance Reference Macro (PS3.3 C.17.2.1)."""
    item = Dataset()
    item.StudyInstanceUID = study_uid
    item.ReferencedSeriesSequence = []
    for series_uid, instances in by_series.items():
        series = Dataset()
        series.SeriesInstanceUID = series_uid
        series.ReferencedSOPSequence = [instance(*one) for one in instances]
        item.ReferencedSeriesSequence.append(series)
    return item


def put_picture(made: Dataset, picture: NDArray[np.uint8]) -> None:
    """Set the Image Pixel module (PS3.3 C.7.6.3) to an RGB picture with text in it."""
    made.SamplesPerPixel, made.PhotometricInterpretation = 3, "RGB"
    made.PlanarConfiguration = 0
    made.Rows, made.Columns = picture.shape[:2]
    made.BitsAllocated = made.BitsStored = 8
    made.HighBit, made.PixelRepresentation = 7, 0
    made.BurnedInAnnotation = "YES"
    content = picture.tobytes()
    made.add_new(0x7FE00010, "OB", content + b"\0" * (len(content) % 2))


def moment_of(created_at: float, offset: str) -> datetime:
    """Return the time in the zone that the image states, else in that of this machine.

    TimezoneOffsetFromUTC speaks for every date and time of an object (PS3.3 C.12.1.1.8),
    the study's included; so an object of ours has one only where the image has one.
    """
    if not is_offset(offset):
        return datetime.fromtimestamp(created_at).astimezone()
    hours, minutes = int(offset[:3]), int(offset[0] + offset[3:])
    return datetime.fromtimestamp(created_at, timezone(timedelta(hours=hours, minutes=minutes)))


def encode(dataset: Dataset) -> bytes:
    """Return the object as a Part 10 file, explicit VR little endian, zeroed preamble."""
    put_meta(dataset)
    # What is bytes already (the content of a report) is written as it is
    character_set = convert_encodings(dataset.get("SpecificCharacterSet"))
    dataset.set_original_encoding(False, True, character_set)
    buffer = BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def put_meta(dataset: Dataset) -> None:
    """Give the object its file meta information (PS3.10 section 7.1)."""
    dataset.preamble = b"\0" * 128
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    dataset.file_meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME

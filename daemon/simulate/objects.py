"""An image file or array as the CR, DX or Secondary Capture object that a modality would make."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.coding import Code
from pydicom.uid import UID

from daemon import contexts
from daemon.simulate.encoding import put_pixels
from daemon.simulate.form import CannotSimulate, Form, Kind, dress
from daemon.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, derive_uid

MODEL_NAME = "Hilum Simulator"  # never the service's own model name: the loop guard knows that
_PIXEL_SPACING_MM = 0.4
_SOP_CLASSES = {
    Kind.CR: contexts.COMPUTED_RADIOGRAPHY,
    Kind.DX: contexts.DIGITAL_XRAY_FOR_PRESENTATION,
    Kind.SC: contexts.SECONDARY_CAPTURE,
}
_CHEST = Code("816094009", "SCT", "Chest")
_VIEWS = {
    "AP": Code("399348003", "SCT", "antero-posterior"),
    "PA": Code("272479007", "SCT", "postero-anterior"),
    "LL": Code("399173006", "SCT", "left lateral"),
    "RL": Code("399198007", "SCT", "right lateral"),
}


@dataclass(frozen=True, slots=True)
class Patient:
    """A patient who does not exist, and the study that was not made of them."""

    name: str = "Demo^Patient"
    id: str = "DEMO-0001"
    birth_date: str = "19700101"
    sex: str = "O"  # M, F or O
    accession: str = "DEMO-A1"
    study_id: str = "DEMO-S1"
    studied_at: datetime = datetime(2025, 3, 1, 10, 15)


@dataclass(frozen=True, slots=True)
class Uids:
    """UIDs of the object; those left empty are derived from image, form and patient."""

    study: str = ""
    series: str = ""
    sop_instance: str = ""


def make_object(
    image: NDArray[Any] | Path,
    form: Form | None = None,
    patient: Patient | None = None,
    uids: Uids | None = None,
) -> Dataset:
    """Return the object, ready to be written or sent; the same arguments make the same bytes.

    `image` is what a display shall show, (rows, columns) uint8 or uint16 with 0 black, or
    a PNG or JPEG file of that. Raises CannotSimulate where image or form cannot be used.
    """
    grey = _grey(image)
    form, patient, uids = form or Form(), patient or Patient(), uids or Uids()
    dataset = Dataset()
    _identify(dataset, grey, form, patient, uids)
    _describe(dataset, form, patient)
    _KINDS[form.kind](dataset, form)
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME1" if form.inverted else "MONOCHROME2"
    dataset.Rows, dataset.Columns = grey.shape
    dataset.BitsAllocated = 8 if form.bits == 8 else 16
    dataset.BitsStored, dataset.HighBit = form.bits, form.bits - 1
    dataset.PixelRepresentation = 0
    put_pixels(dataset, dress(grey, form, dataset), form)
    return dataset


def to_bytes(dataset: Dataset) -> bytes:
    """Return the object as a Part 10 file in its own transfer syntax."""
    buffer = BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def _grey(image: NDArray[Any] | Path) -> NDArray[Any]:
    if isinstance(image, Path):
        try:
            with Image.open(image, formats=("PNG", "JPEG")) as opened:
                wide = opened.mode.startswith("I")
                grey = np.asarray(opened if wide else opened.convert("L"))
                grey = grey.astype(np.uint16) if wide else grey
        except (OSError, UnidentifiedImageError):
            raise CannotSimulate(f"{image.name} is no readable PNG or JPEG image.") from None
    else:
        grey = image
    if grey.ndim != 2 or grey.dtype not in (np.uint8, np.uint16) or grey.size == 0:
        raise CannotSimulate(
            "An image is (rows, columns) of uint8 or uint16."
            f" Received: {grey.shape} of {grey.dtype}"
        )
    return grey


def _identify(
    dataset: Dataset, grey: NDArray[Any], form: Form, patient: Patient, uids: Uids
) -> None:
    person = (patient.id, patient.name, patient.accession, patient.studied_at.isoformat())
    digest = sha256(grey.tobytes() + repr((grey.shape, form, patient)).encode()).hexdigest()
    dataset.SOPClassUID = _SOP_CLASSES[form.kind]
    dataset.StudyInstanceUID = uids.study or derive_uid("simulated study", *person)
    dataset.SeriesInstanceUID = uids.series or derive_uid("simulated series", digest)
    dataset.SOPInstanceUID = uids.sop_instance or derive_uid("simulated instance", digest)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.TransferSyntaxUID = form.transfer_syntax
    dataset.file_meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    dataset.file_meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME


def _describe(dataset: Dataset, form: Form, patient: Patient) -> None:
    """The modules that all three kinds share (PS3.3 C.7.1 to C.7.6)."""
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.PatientName, dataset.PatientID = patient.name, patient.id
    dataset.PatientBirthDate, dataset.PatientSex = patient.birth_date, patient.sex
    dataset.AccessionNumber, dataset.StudyID = patient.accession, patient.study_id
    dataset.ReferringPhysicianName = None
    dataset.StudyDescription = "Simulated chest radiograph"
    day, time = patient.studied_at.strftime("%Y%m%d"), patient.studied_at.strftime("%H%M%S")
    for what in ("Study", "Series", "Acquisition", "Content"):
        setattr(dataset, f"{what}Date", day)
        setattr(dataset, f"{what}Time", time)
    dataset.SeriesNumber = dataset.InstanceNumber = 1
    dataset.Manufacturer, dataset.ManufacturerModelName = "Hilum", MODEL_NAME
    dataset.BodyPartExamined = form.body_part
    dataset.BurnedInAnnotation = "NO"
    dataset.LossyImageCompression = "00"


def _cr(dataset: Dataset, form: Form) -> None:
    """CR Series and CR Image (PS3.3 C.8.1.1, C.8.1.2)."""
    dataset.Modality = "CR"
    dataset.ImageType = ["ORIGINAL", "PRIMARY"]
    dataset.ViewPosition = form.view
    dataset.PatientOrientation = ["L", "F"] if form.view in ("PA", "AP") else ["A", "F"]
    dataset.ImagerPixelSpacing = [_PIXEL_SPACING_MM, _PIXEL_SPACING_MM]


def _dx(dataset: Dataset, form: Form) -> None:
    """DX Series to DX Detector and Positioning (PS3.3 C.8.11.1 to C.8.11.5)."""
    _cr(dataset, form)
    dataset.Modality = "DX"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", ""]
    dataset.PresentationIntentType = "FOR PRESENTATION"
    dataset.ImageLaterality = "U"
    dataset.AnatomicRegionSequence = [_code(_CHEST)]
    dataset.DetectorType, dataset.PositionerType = "DIRECT", "NONE"
    dataset.PixelIntensityRelationship, dataset.PixelIntensityRelationshipSign = "LOG", -1
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = "0", "1", "US"
    dataset.PresentationLUTShape = "INVERSE" if form.inverted else "IDENTITY"
    dataset.AcquisitionContextSequence = []
    dataset.ViewCodeSequence = [_code(_VIEWS[form.view])] if form.view in _VIEWS else []
    dataset.ViewPosition = form.view


def _sc(dataset: Dataset, _: Form) -> None:
    """SC Equipment (PS3.3 C.8.6.1)."""
    dataset.Modality = "OT"
    dataset.ImageType = ["DERIVED", "SECONDARY"]
    dataset.ConversionType = "DI"
    dataset.PatientOrientation = ["L", "F"]


_KINDS = {Kind.CR: _cr, Kind.DX: _dx, Kind.SC: _sc}


def _code(code: Code) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodeMeaning = code.value, code.meaning
    item.CodingSchemeDesignator = code.scheme_designator
    return item

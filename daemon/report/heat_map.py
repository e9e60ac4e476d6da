"""A heat map as an object: RGB Secondary Capture, one per positive finding (PS3.3 A.8.1)."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from pydicom.dataset import Dataset

from daemon.contexts import SECONDARY_CAPTURE
from daemon.report.codes import Code
from daemon.report.header import identify, text, values
from daemon.report.objects import (
    NOT_FOR_DIAGNOSIS,
    coded,
    equip,
    instance,
    moment_of,
    put_picture,
)
from daemon.report.picture import Legend, Rgb
from daemon.report.subject import Device, Image, finding_code
from daemon.uids import derive_uid
from storage.records import Finding

SERIES_NUMBER = 9101
SERIES_DESCRIPTION = f"Hilum heat maps, {NOT_FOR_DIAGNOSIS}"
_DIRECTION = re.compile("[LRAPHF]{1,3}")  # PS3.3 C.7.6.1.1.1
_SOURCE = Code("121322", "DCM", "Source image for image processing operation")
_DERIVATION = Code("113047", "DCM", "Pixel by pixel mask")


@dataclass(frozen=True, slots=True)
class Shown:
    """A positive finding on its image: what a picture or a presentation state is made of."""

    image: Image
    finding: Finding
    header: Dataset  # the image's
    number: int  # Instance Number; the same in every version of the report
    study_uid: str

    @property
    def name(self) -> str:
        """The finding as people say it."""
        return finding_code(self.finding).meaning

    @property
    def legend(self) -> Legend:
        """What the picture says; neither patient nor study, which its header names."""
        found = self.finding
        return Legend(
            f"{self.name}: probability {found.probability:.2f} (threshold {found.threshold:.2f})",
            f"Hilum, model {self.image.result.bundle}: where the network looked (Grad-CAM)",
            NOT_FOR_DIAGNOSIS,
            "What raised the score, not the extent of disease",
        )


def series_uid(study_uid: str) -> str:
    """Return the Series Instance UID of a study's heat maps."""
    return derive_uid(study_uid, "heat maps")


def heat_map_uid(kind: str, image: Image, device: Device, *findings: Finding) -> str:
    """Return the same UID for the same picture, another one for any other.

    So that the next version of a report refers to the object that the PACS has already.
    """
    attention = image.result.attention
    maps = b"" if attention is None else attention.maps
    return derive_uid(
        kind,
        image.sop_instance_uid,
        str(image.result.bundle),
        hashlib.sha256(maps).hexdigest(),
        device.software_version,
        device.device_uid,
        *(f"{one.name} {one.probability} {one.threshold}" for one in findings),
    )


def build_heat_map(shown: Shown, picture: Rgb, device: Device) -> Dataset:
    """Build the object, ready for `encode`; `picture` is (rows, columns, 3)."""
    header, image = shown.header, shown.image
    # The time of the result and not of the report, so that each version makes the same object
    moment = moment_of(image.answered.answered_at, text(header, "TimezoneOffsetFromUTC"))
    made = Dataset()
    identify(made, header)
    equip(made, header, device, moment)
    made.SOPClassUID = SECONDARY_CAPTURE
    made.SOPInstanceUID = heat_map_uid("heat map", image, device, shown.finding)
    made.StudyInstanceUID = shown.study_uid
    made.SeriesInstanceUID = series_uid(shown.study_uid)
    made.SeriesNumber, made.InstanceNumber = SERIES_NUMBER, shown.number
    made.SeriesDescription = SERIES_DESCRIPTION
    made.Modality = "OT"
    made.BodyPartExamined = "CHEST"
    made.ConversionType = "WSD"
    made.DateOfSecondaryCapture = made.ContentDate = moment.strftime("%Y%m%d")
    made.TimeOfSecondaryCapture = made.ContentTime = moment.strftime("%H%M%S.%f")
    _derive(made, shown)
    put_picture(made, picture)
    return made


def _derive(made: Dataset, shown: Shown) -> None:
    """General Image (PS3.3 C.7.6.1): what it is, what of, and how."""
    header, image = shown.header, shown.image
    made.ImageType = ["DERIVED", "SECONDARY", "OTHER", "GRADCAM"]
    orientation = values(header, "PatientOrientation")
    stated = len(orientation) == 2 and all(_DIRECTION.fullmatch(one) for one in orientation)
    made.PatientOrientation = orientation if stated else None
    found = shown.finding
    made.ImageComments = (
        f"{NOT_FOR_DIAGNOSIS}. {shown.name}: probability {found.probability:.2f}, "
        f"threshold {found.threshold:.2f}."
    )
    made.DerivationDescription = (
        f"Class activation (Grad-CAM) of {shown.name} by Hilum {image.result.bundle}, laid over "
        f"the displayed image; contour at half of its maximum. {NOT_FOR_DIAGNOSIS}."
    )
    source = instance(image.sop_class_uid, image.sop_instance_uid)
    source.PurposeOfReferenceCodeSequence = [coded(_SOURCE)]
    made.SourceImageSequence = [source]
    made.DerivationCodeSequence = [coded(_DERIVATION)]
    if text(header, "LossyImageCompression") == "01":
        made.LossyImageCompression = "01"

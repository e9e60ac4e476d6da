"""The codes that the report uses (PS3.16 annexes B, D; UCUM; Hilum's own reasons)."""

from __future__ import annotations

from typing import NamedTuple


class Code(NamedTuple):
    """A coded concept (PS3.3 section 8.8); pydicom's own comes with 97 MB of codes."""

    value: str
    scheme_designator: str
    meaning: str


TITLE = Code("126000", "DCM", "Imaging Measurement Report")
PROCEDURE_REPORTED = Code("399208008", "SCT", "Plain X-ray of chest")
LANGUAGE = Code("121049", "DCM", "Language of Content Item and Descendants")
ENGLISH = Code("en-US", "RFC5646", "English (United States)")
PROCEDURE = Code("121058", "DCM", "Procedure reported")
MEASUREMENTS = Code("126010", "DCM", "Imaging Measurements")
GROUP = Code("125007", "DCM", "Measurement Group")
SUMMARY = Code("121111", "DCM", "Summary")
COMMENT = Code("121106", "DCM", "Comment")

OBSERVER_TYPE = Code("121005", "DCM", "Observer Type")
DEVICE = Code("121007", "DCM", "Device")
DEVICE_UID = Code("121012", "DCM", "Device Observer UID")
DEVICE_NAME = Code("121013", "DCM", "Device Observer Name")
DEVICE_MANUFACTURER = Code("121014", "DCM", "Device Observer Manufacturer")
DEVICE_MODEL = Code("121015", "DCM", "Device Observer Model Name")
PERSON = Code("121006", "DCM", "Person")
PERSON_NAME = Code("121008", "DCM", "Person Observer Name")
PERSON_ORGANIZATION = Code("121009", "DCM", "Person Observer's Organization Name")

TRACKING_IDENTIFIER = Code("112039", "DCM", "Tracking Identifier")
TRACKING_UID = Code("112040", "DCM", "Tracking Unique Identifier")
CATEGORY = Code("276214006", "SCT", "Finding category")
SITE = Code("363698007", "SCT", "Finding Site")
ALGORITHM_NAME = Code("111001", "DCM", "Algorithm Name")
SOFTWARE_VERSION = Code("111003", "DCM", "Algorithm Version")
ALGORITHM_MANUFACTURER = Code("122405", "DCM", "Algorithm Manufacturer")
ALGORITHM_PARAMETERS = Code("111002", "DCM", "Algorithm Parameters")
ALGORITHM_FAMILY = Code("111000", "DCM", "Algorithm Family")
SOURCE_OF_MEASUREMENT = Code("121112", "DCM", "Source of Measurement")
REGION = Code("111030", "DCM", "Image Region")
EXPLANATION = Code("130401", "DCM", "Visual explanation")

FINDING = Code("121071", "DCM", "Finding")
FINDING_CATEGORY = Code("404684003", "SCT", "Clinical finding")
PROBABILITY = Code("122157", "DCM", "Probability")
THRESHOLD = Code("122411", "DCM", "Threshold Value")
PRESENCE = Code("705057003", "SCT", "Presence")
PRESENT = Code("52101004", "SCT", "Present")
ABSENT = Code("272519000", "SCT", "Absent")
AI = Code("123110", "DCM", "Artificial Intelligence")
UNIT_PROBABILITY = Code("{probability}", "UCUM", "probability")
UNIT_PIXELS = Code("{pixels}", "UCUM", "pixels")
UNIT_MILLIMETRE = Code("mm", "UCUM", "mm")

IMAGE_LIBRARY = Code("111028", "DCM", "Image Library")
IMAGE_LIBRARY_GROUP = Code("126200", "DCM", "Image Library Group")
SOURCE = Code("260753009", "SCT", "Source")
MODALITY = Code("121139", "DCM", "Modality")
PIXEL_ROWS = Code("110910", "DCM", "Pixel Data Rows")
PIXEL_COLUMNS = Code("110911", "DCM", "Pixel Data Columns")
ORIENTATION = (  # of rows, of columns
    Code("111044", "DCM", "Patient Orientation Row"),
    Code("111043", "DCM", "Patient Orientation Column"),
)
SPACING = (  # between rows, between columns
    Code("111066", "DCM", "Vertical Pixel Spacing"),
    Code("111026", "DCM", "Horizontal Pixel Spacing"),
)

ANALYSIS_STATUS = Code("111065", "DCM", "Summary of Analyses")
NOT_ATTEMPTED = Code("111225", "DCM", "Not Attempted")

PROCESSING_EQUIPMENT = Code("109102", "DCM", "Processing Equipment")

# PS3.16 has no code for why a classifier left a chest radiograph alone, so the
# reason is a code of ours, in a private scheme as PS3.16 section 8.2 allows.
PRIVATE_SCHEME = "99HILUM"
NOT_ANALYSED_REASON = Code("NOT_ANALYSED", PRIVATE_SCHEME, "Reason not analysed")

_LUNG = Code("39607008", "SCT", "Lung")
_PLEURA = Code("3120008", "SCT", "Pleura")
_HEART = Code("80891009", "SCT", "Heart")
_CHEST = Code("816094009", "SCT", "Chest")

_SITES = {
    "60046008": _PLEURA,  # pleural effusion
    "36118008": _PLEURA,  # pneumothorax
    "8186001": _HEART,  # cardiomegaly
    "281900007": _CHEST,  # no abnormality
}


def site_of(code_value: str) -> Code:
    """Return where a finding lies: the lung unless its code says otherwise."""
    return _SITES.get(code_value, _LUNG)


_MODALITIES = {  # CID 29, those that a chest radiograph may come under
    "CR": "Computed Radiography",
    "DX": "Digital Radiography",
    "PX": "Panoramic X-Ray",
    "RF": "Radio Fluoroscopy",
    "RG": "Radiographic imaging",
    "XA": "X-Ray Angiography",
    "CT": "Computed Tomography",
    "MR": "Magnetic Resonance",
    "US": "Ultrasound",
}


def modality(value: str) -> Code:
    """Return the CID 29 code of a Modality (0008,0060), OT where it is none of these."""
    if value in _MODALITIES:
        return Code(value, "DCM", _MODALITIES[value])
    return Code("OT", "DCM", "Other Modality")


def reason(value: str) -> Code:
    """Return the code of a reason: whatever the classifier calls it, in a scheme of ours."""
    return Code(value, PRIVATE_SCHEME, value.replace("_", " ").capitalize()[:64])

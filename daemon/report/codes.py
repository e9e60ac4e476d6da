"""The codes that the report uses (PS3.16 annexes B, D; UCUM; Hilum's own reasons)."""

from __future__ import annotations

from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

TITLE = Code("126000", "DCM", "Imaging Measurement Report")
PROCEDURE_REPORTED = Code("399208008", "SCT", "Plain X-ray of chest")
QUALITATIVE_EVALUATIONS = Code("C0034375", "UMLS", "Qualitative Evaluations")
SUMMARY = Code("121111", "DCM", "Summary")
COMMENT = Code("121106", "DCM", "Comment")
SOFTWARE_VERSION = Code("111003", "DCM", "Algorithm Version")

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


def modality(value: str) -> Code:
    """Return the CID 29 code of a Modality (0008,0060), OT where it is none of those."""
    known: dict[str, Code] = {code.value: code for code in codes.cid29.concepts.values()}
    return known.get(value, Code("OT", "DCM", "Other Modality"))

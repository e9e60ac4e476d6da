"""What an object of each of our SOP classes must have, and what a value of each VR looks like."""

from __future__ import annotations

import re

from daemon.contexts import BASIC_TEXT_SR, COMPREHENSIVE_SR, PRESENTATION_STATE, SECONDARY_CAPTURE

TEXT = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
"""VRs that Specific Character Set governs (PS3.5 section 6.1.2.2)."""

# Type 1 and type 2 of the Patient, General Study, Series and SOP Common modules
# (PS3.3 C.7.1.1, C.7.2.1, C.7.3.1, C.12.1).
_FILLED = frozenset({"SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID",
                     "Modality", "SeriesNumber", "InstanceNumber", "Manufacturer"})  # fmt: skip
_PRESENT = frozenset({"PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate",
                      "StudyTime", "StudyID", "AccessionNumber",
                      "ReferringPhysicianName"})  # fmt: skip
# SR Document Series, General and Content (PS3.3 C.17.1, C.17.2, C.17.3)
_SR_FILLED = _FILLED | {"ContentDate", "ContentTime", "CompletionFlag", "VerificationFlag",
                        "ValueType", "ContinuityOfContent"}  # fmt: skip
_SR_PRESENT = _PRESENT | {"ReferencedPerformedProcedureStepSequence",
                          "PerformedProcedureCodeSequence", "ConceptNameCodeSequence",
                          "ContentSequence"}  # fmt: skip

MANDATORY: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    COMPREHENSIVE_SR: (_SR_FILLED, _SR_PRESENT | {"ContentTemplateSequence"}),
    BASIC_TEXT_SR: (_SR_FILLED, _SR_PRESENT),
    # SC Equipment, General Image, Image Pixel (PS3.3 C.8.6.1, C.7.6.1, C.7.6.3)
    SECONDARY_CAPTURE: (
        _FILLED | {"ConversionType", "ImageType", "SamplesPerPixel", "PhotometricInterpretation",
                   "PlanarConfiguration", "Rows", "Columns", "BitsAllocated", "BitsStored",
                   "HighBit", "PixelData", "BurnedInAnnotation"},
        _PRESENT | {"PatientOrientation", "PixelRepresentation"},
    ),
    # Presentation State Identification and Relationship, Displayed Area, Softcopy Presentation
    # LUT (PS3.3 C.11.10, C.11.11, C.10.4, C.11.6)
    PRESENTATION_STATE: (
        _FILLED | {"ContentLabel", "PresentationCreationDate", "PresentationCreationTime",
                   "PresentationLUTShape"},
        _PRESENT | {"ContentDescription", "ContentCreatorName", "ReferencedSeriesSequence",
                    "DisplayedAreaSelectionSequence", "GraphicLayerSequence",
                    "GraphicAnnotationSequence"},
    ),
}  # fmt: skip
"""Per SOP class: what must have a value, and what must at least be there."""

_TIME = rb"([01]\d|2[0-3])([0-5]\d([0-5]\d(\.\d{1,6})?)?)?"
_DATE = rb"\d{4}(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])"
_PATTERNS = {  # of one value without padding (PS3.5 table 6.2-1)
    "AE": rb"[^\\\x00-\x1f\x7f]{1,16}",
    "AS": rb"\d{3}[DWMY]",
    "CS": rb"[A-Z0-9_ ]{0,16}",
    "DA": _DATE,
    "DS": rb"(?=.{1,16}$) *[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)? *",
    "DT": _DATE + _TIME + rb"([+-]\d{4})?",
    "IS": rb"(?=.{1,12}$) *[+-]?\d+ *",
    "LO": rb"[^\\\x00-\x1a\x1c-\x1f\x7f]*",
    "PN": rb"[^\\\x00-\x1a\x1c-\x1f\x7f]*",
    "SH": rb"[^\\\x00-\x1a\x1c-\x1f\x7f]*",
    "TM": _TIME,
    "UC": rb"[^\\\x00-\x1a\x1c-\x1f\x7f]*",
    # Leading zeros are against PS3.5 section 9.1, and modalities send them: references repeat them
    "UI": rb"(?=.{1,64}$)\d+(\.\d+)*",
    "LT": rb"[^\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]*",
    "ST": rb"[^\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]*",
    "UT": rb"[^\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]*",
}
_COMPILED = {vr: re.compile(pattern, re.DOTALL) for vr, pattern in _PATTERNS.items()}
_CHARACTERS = {"SH": 16, "LO": 64, "ST": 1024, "LT": 10240}
_WHOLE = frozenset({"LT", "ST", "UT"})  # a backslash is a character in these
_BYTES = {"FL": 4, "FD": 8, "SL": 4, "SS": 2, "UL": 4, "US": 2, "AT": 4, "OB": 2, "OW": 2}
BINARY = frozenset(_BYTES)


def conforms(vr: str, value: bytes) -> bool:
    """Tell whether an element's value is one of its VR; an empty one always is.

    Lengths are counted in characters as UTF-8, in bytes where it is no UTF-8.
    """
    if vr in _BYTES:
        return len(value) % _BYTES[vr] == 0
    pattern = _COMPILED.get(vr)
    if pattern is None:
        return True
    parts = [value] if vr in _WHOLE else value.split(b"\\")
    return all(_is_value(vr, pattern, part.rstrip(b"\0 ")) for part in parts)


def _is_value(vr: str, pattern: re.Pattern[bytes], part: bytes) -> bool:
    if not part:
        return True
    if vr == "PN":
        groups = part.split(b"=")
        return len(groups) <= 3 and all(
            pattern.fullmatch(group) and _length(group) <= 64 for group in groups
        )
    if not pattern.fullmatch(part):
        return False
    return _length(part) <= _CHARACTERS.get(vr, len(part))


def _length(part: bytes) -> int:
    try:
        return len(part.decode())
    except UnicodeDecodeError:
        return len(part)

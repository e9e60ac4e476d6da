"""Search results in the DICOM JSON model (PS3.18 annex F and tables 10.6.3-3 to 10.6.3-5)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from storage.catalogue import StoredObject
from storage.headers import StudyHeader
from storage.study_search import StudyMatch

ROOT = "/dicomweb"

STUDY_FIELDS: dict[str, tuple[str, str, str]] = {
    "StudyDate": ("00080020", "DA", "study_date"),
    "StudyTime": ("00080030", "TM", "study_time"),
    "AccessionNumber": ("00080050", "SH", "accession_number"),
    "InstitutionName": ("00080080", "LO", "institution"),
    "ReferringPhysicianName": ("00080090", "PN", "referring_physician"),
    "TimezoneOffsetFromUTC": ("00080201", "SH", "timezone_offset"),
    "StationName": ("00081010", "SH", "station"),
    "StudyDescription": ("00081030", "LO", "description"),
    "PatientName": ("00100010", "PN", "patient_name"),
    "PatientID": ("00100020", "LO", "patient_id"),
    "IssuerOfPatientID": ("00100021", "LO", "issuer"),
    "PatientBirthDate": ("00100030", "DA", "birth_date"),
    "PatientSex": ("00100040", "CS", "patient_sex"),
    "StudyID": ("00200010", "SH", "study_number"),
}
"""Keyword to tag, VR and the field of `StudyHeader`: what is given of a study, and matched."""

SERIES_FIELDS: dict[str, tuple[str, str, str]] = {
    "Modality": ("00080060", "CS", "modality"),
    "SeriesDescription": ("0008103E", "LO", "series_description"),
    "SeriesInstanceUID": ("0020000E", "UI", "series_instance_uid"),
    "SeriesNumber": ("00200011", "IS", "series_number"),
}
"""The same of a series, with the field of `ImageHeader`."""

INSTANCE_FIELDS: dict[str, tuple[str, str, str]] = {
    "SOPClassUID": ("00080016", "UI", "sop_class_uid"),
    "SOPInstanceUID": ("00080018", "UI", "sop_instance_uid"),
    "InstanceNumber": ("00200013", "IS", "instance_number"),
    "NumberOfFrames": ("00280008", "IS", "frames"),
    "Rows": ("00280010", "US", "rows"),
    "Columns": ("00280011", "US", "columns"),
    "BitsStored": ("00280101", "US", "bits_stored"),
}
"""The same of an instance; its UIDs are of `StoredObject`."""

Attributes = dict[str, dict[str, Any]]


def url_of(base: str, one: StoredObject) -> str:
    """Return where an object is retrieved."""
    series = f"{base}{ROOT}/studies/{one.study_instance_uid}/series/"
    return f"{series}{one.header.series_instance_uid}/instances/{one.sop_instance_uid}"


def of_study(match: StudyMatch, base: str) -> Attributes:
    """Return a study as a search gives it."""
    found = study_attributes(match.header)
    url = f"{base}{ROOT}/studies/{match.study_instance_uid}"
    found |= {
        "00080005": _element("CS", "ISO_IR 192"),
        "00080056": _element("CS", "ONLINE"),
        "00080061": _element("CS", *match.modalities),
        "00081190": _element("UR", url),
        "0020000D": _element("UI", match.study_instance_uid),
        "00201206": _element("IS", match.series),
        "00201208": _element("IS", match.instances),
    }
    return dict(sorted(found.items()))


def study_attributes(header: StudyHeader) -> Attributes:
    """Return what is known of a study and its patient."""
    return {tag: _element(vr, getattr(header, name)) for tag, vr, name in STUDY_FIELDS.values()}


def of_series(objects: Sequence[StoredObject], base: str) -> Attributes:
    """Return a series of these objects as a search gives it."""
    one = objects[0]
    found = {
        tag: _element(vr, getattr(one.header, name)) for tag, vr, name in SERIES_FIELDS.values()
    }
    found |= {
        "00080005": _element("CS", "ISO_IR 192"),
        "00081190": _element("UR", url_of(base, one).partition("/instances/")[0]),
        "0020000D": _element("UI", one.study_instance_uid),
        "00201209": _element("IS", len(objects)),
    }
    return dict(sorted(found.items()))


def of_instance(one: StoredObject, base: str) -> Attributes:
    """Return an object as a search gives it."""
    found = {
        tag: _element(vr, instance_value(one, name)) for tag, vr, name in INSTANCE_FIELDS.values()
    }
    found |= {
        tag: _element(vr, getattr(one.header, name)) for tag, vr, name in SERIES_FIELDS.values()
    }
    found |= {
        "00080005": _element("CS", "ISO_IR 192"),
        "00080056": _element("CS", "UNAVAILABLE" if one.removed else "ONLINE"),
        "00081190": _element("UR", url_of(base, one)),
        "00083002": _element("UI", one.transfer_syntax_uid),
        "0020000D": _element("UI", one.study_instance_uid),
    }
    return dict(sorted(found.items()))


def instance_value(one: StoredObject, name: str) -> Any:
    """Return a value of `INSTANCE_FIELDS` or `SERIES_FIELDS`."""
    return getattr(one, name) if name.startswith("sop_") else getattr(one.header, name)


def _element(vr: str, *values: Any) -> dict[str, Any]:
    """Return an element; one without a value has none (PS3.18 F.2.5)."""
    known = [value for value in values if value not in (None, "")]
    if not known:
        return {"vr": vr}
    if vr != "PN":
        return {"vr": vr, "Value": known}
    kinds = ("Alphabetic", "Ideographic", "Phonetic")
    groups = zip(kinds, str(known[0]).split("="), strict=False)
    return {"vr": vr, "Value": [{kind: group for kind, group in groups if group}]}

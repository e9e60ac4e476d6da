"""The image's header: read within bounds, and what of it the report repeats."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from pydicom import dcmread
from pydicom.config import IGNORE
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_dataset
from pydicom.tag import Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian

from daemon.report.errors import HeaderUnreadable

HEADER_LIMIT_BYTES = 16 << 20

# What pydicom raises on bytes that are no DICOM; RecursionError on nested sequences.
_MALFORMED = (
    BytesLengthException,
    InvalidDicomError,
    AttributeError,
    EOFError,
    KeyError,
    IndexError,
    NotImplementedError,
    OSError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
)


def read_header(source: Path | BinaryIO) -> Dataset:
    """Read a Part 10 file up to its pixel data, at most HEADER_LIMIT_BYTES of it.

    Raises HeaderUnreadable where the file is missing, is no DICOM, is deflated, or has
    a longer header than that.
    """
    try:
        if isinstance(source, Path):
            with source.open("rb") as file:
                content = file.read(HEADER_LIMIT_BYTES)
        else:
            content = source.read(HEADER_LIMIT_BYTES)
        if _transfer_syntax(content) == DeflatedExplicitVRLittleEndian:
            raise HeaderUnreadable("A deflated object is not read: its size has no bound.")
        buffer = BytesIO(content)
        header = dcmread(buffer, stop_before_pixels=True)
    except _MALFORMED as error:
        raise HeaderUnreadable(
            f"The header cannot be read as DICOM ({type(error).__name__})."
        ) from None
    if len(content) == HEADER_LIMIT_BYTES and buffer.tell() >= HEADER_LIMIT_BYTES:
        raise HeaderUnreadable(f"The header is longer than {HEADER_LIMIT_BYTES} bytes.")
    return header


def _transfer_syntax(content: bytes) -> str:
    """Read the file meta information alone: dcmread inflates before anyone can object."""
    if content[128:132] != b"DICM":
        raise InvalidDicomError("no Part 10 file")
    buffer = BytesIO(content)
    buffer.seek(132)
    meta = read_dataset(
        buffer,
        is_implicit_VR=False,
        is_little_endian=True,
        stop_when=lambda tag, _vr, _length: tag.group != 2,
    )
    return text(meta, "TransferSyntaxUID")


def is_date(value: str) -> bool:
    """Tell whether this is a DA value, for instance "20250301"."""
    try:
        return bool(re.fullmatch(r"\d{8}", value) and datetime.strptime(value, "%Y%m%d"))
    except ValueError:
        return False


def is_time(value: str) -> bool:
    """Tell whether this is a TM value, for instance "120000.25"."""
    return bool(re.fullmatch(r"([01]\d|2[0-3])([0-5]\d([0-5]\d(\.\d{1,6})?)?)?", value))


def _is_sex(value: str) -> bool:
    return value in {"M", "F", "O"}


def is_offset(value: str) -> bool:
    """Tell whether this is a TimezoneOffsetFromUTC (0008,0201), for instance "-0500"."""
    return bool(re.fullmatch(r"[+-](0\d|1[0-4])[0-5]\d", value))


def _is_flag(value: str) -> bool:
    return value in {"YES", "NO"}


def _any(_: str) -> bool:
    return True


# Type 2 in the Patient and General Study modules (PS3.3 C.7.1.1, C.7.2.1): empty when
# the image has none, or has something that is no value of that kind.
_REQUIRED: dict[str, Callable[[str], bool]] = {
    "PatientName": _any,
    "PatientID": _any,
    "PatientBirthDate": is_date,
    "PatientSex": _is_sex,
    "StudyID": _any,
    "StudyDate": is_date,
    "StudyTime": is_time,
    "AccessionNumber": _any,
    "ReferringPhysicianName": _any,
}
_OPTIONAL: dict[str, Callable[[str], bool]] = {
    "IssuerOfPatientID": _any,
    "StudyDescription": _any,
    "TimezoneOffsetFromUTC": is_offset,
    "PatientIdentityRemoved": _is_flag,
    "DeidentificationMethod": _any,
}
_OPTIONAL_SEQUENCES = (
    "IssuerOfAccessionNumberSequence",
    "IssuerOfPatientIDQualifiersSequence",
    "DeidentificationMethodCodeSequence",
)

REPEATED = frozenset(
    int(Tag(keyword))
    for keyword in (
        "SpecificCharacterSet", *_REQUIRED, *_OPTIONAL, *_OPTIONAL_SEQUENCES,
        "ReferencedRequestSequence",
    )
)  # fmt: skip
"""Tags that hold what the image says, unchanged."""


def element(header: Dataset, keyword: str) -> DataElement | None:
    """Return an element that has a value of its own kind, or None.

    Absent, empty, undecodable and of another VR than PS3.6 says are alike.
    """
    try:
        found = header.data_element(keyword)
    except _MALFORMED:
        return None
    if found is None or found.is_empty or dictionary_VR(found.tag) != found.VR:
        return None
    return found


def text(header: Dataset, keyword: str) -> str:
    """Return an element's value as text, "" where it has none."""
    found = element(header, keyword)
    return "" if found is None else str(found.value)


def values(header: Dataset, keyword: str) -> list[str]:
    """Return the values of a multi-valued element as texts."""
    found = element(header, keyword)
    if found is None:
        return []
    return [str(value) for value in (found.value if found.VM > 1 else [found.value])]


def numbers(header: Dataset, keyword: str) -> list[float]:
    """Return the values of a numeric element, none where one of them is no finite number."""
    try:
        found = [float(value) for value in values(header, keyword)]
    except ValueError:
        return []
    return found if all(math.isfinite(value) for value in found) else []


def items(header: Dataset, keyword: str) -> list[Dataset]:
    """Return the items of a sequence, none where it is absent or is no sequence."""
    found = element(header, keyword)
    return [] if found is None else list(found.value)


def identify(report: Dataset, header: Dataset) -> None:
    """Put the image's patient and study into the report, in the image's character set.

    Values are repeated as they are, not mended: what the PACS matches on must be equal.
    A type 2 attribute without a value becomes empty; nothing is invented.
    """
    _copy(report, header, "SpecificCharacterSet")
    for keyword, valid in _REQUIRED.items():
        if not (valid(text(header, keyword)) and _copy(report, header, keyword)):
            setattr(report, keyword, None)
    for keyword, valid in _OPTIONAL.items():
        if valid(text(header, keyword)):
            _copy(report, header, keyword)
    for keyword in _OPTIONAL_SEQUENCES:
        if found := items(header, keyword):
            setattr(report, keyword, deepcopy(found))


def _copy(report: Dataset, header: Dataset, keyword: str) -> bool:
    found = element(header, keyword)
    if found is None:
        return False
    # IGNORE: pydicom's warning about an odd value would print the patient's name.
    report.add(DataElement(found.tag, found.VR, found.value, validation_mode=IGNORE))
    return True


def acquisition_equipment(header: Dataset) -> list[Dataset]:
    """Return what made the image as one ContributingEquipmentSequence item, or none."""
    item = Dataset()
    if not _copy(item, header, "Manufacturer"):
        return []
    for keyword in ("InstitutionName", "StationName", "ManufacturerModelName"):
        _copy(item, header, keyword)
    item.ContributionDescription = "Acquisition equipment of the source image(s)"
    purpose = Dataset()
    purpose.CodeValue, purpose.CodingSchemeDesignator = "109101", "DCM"
    purpose.CodeMeaning = "Acquisition Equipment"
    item.PurposeOfReferenceCodeSequence = [purpose]
    return [item]


def referenced_requests(headers: Iterable[Dataset], study_instance_uid: str) -> list[Dataset]:
    """Return ReferencedRequestSequence items (PS3.3 C.17.2), one per different request."""
    found: dict[tuple[str, str], Dataset] = {}
    for header in headers:
        for request in items(header, "RequestAttributesSequence"):
            item = _referenced_request(request, header, study_instance_uid)
            key = (text(item, "AccessionNumber"), text(item, "RequestedProcedureID"))
            found.setdefault(key, item)
    return list(found.values())


def _referenced_request(request: Dataset, header: Dataset, study_instance_uid: str) -> Dataset:
    item = Dataset()
    item.StudyInstanceUID = text(request, "StudyInstanceUID") or study_instance_uid
    item.ReferencedStudySequence = []
    item.AccessionNumber = None
    _ = _copy(item, request, "AccessionNumber") or _copy(item, header, "AccessionNumber")
    for keyword in (
        "RequestedProcedureID",
        "RequestedProcedureDescription",
        "PlacerOrderNumberImagingServiceRequest",
        "FillerOrderNumberImagingServiceRequest",
    ):
        if not _copy(item, request, keyword):
            setattr(item, keyword, None)
    item.RequestedProcedureCodeSequence = list(_codes(request, "RequestedProcedureCodeSequence"))
    return item


def _codes(request: Dataset, keyword: str) -> Iterator[Dataset]:
    for code in items(request, keyword):
        if all(text(code, part) for part in ("CodeValue", "CodingSchemeDesignator", "CodeMeaning")):
            yield deepcopy(code)

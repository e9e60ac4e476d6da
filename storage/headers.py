"""What a header says: values that the worker reads, and that the pages and DICOMweb show.

A text is "" where the image says nothing; nothing is invented. A value is cut to the length that
the standard gives it, so that no odd image is lost to its header.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

Frame = tuple[tuple[int, int], ...]
"""A frame's fragments: offset and length in the stored file, in bytes."""


class HeaderState(StrEnum):
    """Whether a study's header is known."""

    MISSING = "missing"  # no image of it was read, or by a release that kept no header
    READ = "read"


@dataclass(frozen=True, slots=True)
class StudyHeader:
    """What an image says of its patient and its study (PS3.3 C.7.1.1, C.7.2.1)."""

    patient_id: str = ""
    issuer: str = ""  # IssuerOfPatientID
    patient_name: str = ""  # VR PN: up to three component groups, alphabetic=ideographic=phonetic
    patient_sex: str = ""
    birth_date: str = ""  # YYYYMMDD
    patient_age: str = ""  # VR AS, for instance 045Y
    accession_number: str = ""
    study_number: str = ""  # StudyID (0020,0010)
    study_date: str = ""  # YYYYMMDD
    study_time: str = ""  # HHMMSS.FFFFFF, shorter where less is known
    timezone_offset: str = ""  # for instance -0500
    description: str = ""
    station: str = ""
    institution: str = ""
    referring_physician: str = ""  # VR PN


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """What an image says of itself, and where its pixels are in the stored file."""

    series_instance_uid: str = ""
    series_number: int | None = None
    series_description: str = ""
    instance_number: int | None = None
    modality: str = ""
    rows: int | None = None
    columns: int | None = None
    bits_stored: int | None = None
    photometric: str = ""
    view_position: str = ""
    laterality: str = ""
    body_part: str = ""
    frames: int = 1
    pixels: tuple[Frame, ...] = field(default=(), repr=False)  # none where they were not found
    metadata: bytes | None = field(default=None, repr=False)  # DICOM JSON by zlib; None: not read


@dataclass(frozen=True, slots=True)
class Headers:
    """What one image's dataset says."""

    study: StudyHeader
    image: ImageHeader


def urgency(*, reviewed: bool, flagged: bool, probability: float | None) -> float:
    """Return what a list is sorted by, smallest first, within 0 to 7.

    Not reviewed before reviewed, flagged before not flagged, then the larger probability. A study
    of which nothing was analysed comes after those that were.
    """
    return 4.0 * reviewed + 2.0 * (not flagged) + (1.0 - (probability or 0.0))


def searched(header: StudyHeader) -> str:
    """Return what a free text is looked for in: casefolded, a name's groups as words."""
    parts = (header.patient_name, header.patient_id, header.accession_number)
    return fold(" ".join(parts))


def fold(text: str) -> str:
    """Return text as it is compared: case and the marks between name components do not count."""
    return " ".join(text.replace("^", " ").replace("=", " ").casefold().split())

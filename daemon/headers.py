"""What an image's dataset says of itself, for the pages and for DICOMweb.

Nothing in a header makes its image fail: a value that is no value of its kind is left out. The
process that faces the network never parses a dataset; it shows what was read here.
"""

from __future__ import annotations

import json
import unicodedata
import zlib
from io import BytesIO
from itertools import pairwise
from typing import Any

from pydicom.dataset import Dataset
from pydicom.encaps import parse_basic_offsets, parse_fragments
from pydicom.tag import BaseTag, Tag

from classifier.decode import DECODE_FAULTS, NATIVE, read_object
from classifier.errors import ClassifierError
from daemon.report.header import is_date, is_offset, is_time, numbers, values
from storage.catalogue import Catalogue
from storage.database import Database
from storage.errors import ObjectDamaged, ObjectMissing
from storage.headers import Frame, Headers, ImageHeader, StudyHeader
from storage.objects import ObjectStore
from storage.records import InstanceId, Sha256
from storage.worklist import Worklist

INLINE_BYTES = 256 << 10
"""Bytes of a value from which on the metadata names its element alone: a lookup table fits."""

METADATA_BYTES = 4 << 20
"""Bytes of the metadata as JSON from which on none is kept."""

MAX_FRAMES = 4096
"""Frames from which on their places are not kept: no radiograph has so many."""

_FAULTS = (*DECODE_FAULTS, RecursionError)
_PIXELS = frozenset({Tag("PixelData"), Tag("FloatPixelData"), Tag("DoubleFloatPixelData")})
_JOINERS = "\u200c\u200d"  # of Persian and of Indic scripts; every other unseen sign goes
_UTF_8 = {"vr": "CS", "Value": ["ISO_IR 192"]}  # PS3.18 F.2: what JSON is in


def read_headers(dataset: Dataset) -> Headers:
    """Read what a list, a viewer and DICOMweb show of an image."""
    return Headers(_study(dataset), _image(dataset))


class Backlog:
    """What a release that kept no headers left: read, the newest first, when nothing waits.

    One pass while the process lives: what cannot be read now is tried again at the next start.
    """

    def __init__(self, database: Database, objects: ObjectStore) -> None:
        """Work on a migrated database."""
        self._worklist, self._catalogue = Worklist(database), Catalogue(database)
        self._objects = objects
        self._before: InstanceId | None = None
        self._own: list[tuple[str, Sha256]] | None = None
        self._done = False

    def step(self) -> bool:
        """Read one header; return whether there may be another."""
        if self._done:
            return False
        images = self._worklist.unread_images(self._before, 1) if self._own is None else []
        for image in images:
            self._before = image.id
            if (headers := self._read(image.arrival.sha256)) is not None:
                self._worklist.fill(image, headers)
        if images:
            return True
        self._own = self._catalogue.unread() if self._own is None else self._own
        if self._own:
            uid, sha256 = self._own.pop(0)
            if (headers := self._read(sha256)) is not None:
                self._catalogue.fill(uid, headers.image)
        self._done = not self._own
        return not self._done

    def _read(self, sha256: Sha256) -> Headers | None:
        try:
            return read_headers(read_object(self._objects.read(sha256)))
        except (ClassifierError, ObjectMissing, ObjectDamaged):
            return None


def _study(dataset: Dataset) -> StudyHeader:
    dates = {name: _text(dataset, name) for name in ("PatientBirthDate", "StudyDate")}
    time, offset = _text(dataset, "StudyTime"), _text(dataset, "TimezoneOffsetFromUTC")
    return StudyHeader(
        patient_id=_text(dataset, "PatientID"),
        issuer=_text(dataset, "IssuerOfPatientID"),
        patient_name=_text(dataset, "PatientName"),
        patient_sex=_text(dataset, "PatientSex"),
        birth_date=dates["PatientBirthDate"] if is_date(dates["PatientBirthDate"]) else "",
        patient_age=_text(dataset, "PatientAge")[:4],
        accession_number=_text(dataset, "AccessionNumber"),
        study_number=_text(dataset, "StudyID"),
        study_date=dates["StudyDate"] if is_date(dates["StudyDate"]) else "",
        study_time=time if is_time(time) else "",
        timezone_offset=offset if is_offset(offset) else "",
        description=_text(dataset, "StudyDescription"),
        station=_text(dataset, "StationName"),
        institution=_text(dataset, "InstitutionName"),
        referring_physician=_text(dataset, "ReferringPhysicianName"),
    )


def _image(dataset: Dataset) -> ImageHeader:
    frames = _number(dataset, "NumberOfFrames") or 1
    return ImageHeader(
        series_instance_uid=_text(dataset, "SeriesInstanceUID")[:64],
        series_number=_number(dataset, "SeriesNumber"),
        series_description=_text(dataset, "SeriesDescription")[:64],
        instance_number=_number(dataset, "InstanceNumber"),
        modality=_text(dataset, "Modality")[:16],
        rows=_number(dataset, "Rows"),
        columns=_number(dataset, "Columns"),
        bits_stored=_number(dataset, "BitsStored"),
        photometric=_text(dataset, "PhotometricInterpretation")[:16],
        view_position=_text(dataset, "ViewPosition")[:16],
        laterality=(_text(dataset, "ImageLaterality") or _text(dataset, "Laterality"))[:16],
        body_part=_text(dataset, "BodyPartExamined")[:64],
        frames=max(frames, 1),
        pixels=_pixels(dataset, max(frames, 1)),
        metadata=_metadata(dataset),
    )


def _text(dataset: Dataset, keyword: str) -> str:
    try:
        found = values(dataset, keyword)
    except _FAULTS:
        return ""
    return readable(found[0]) if found else ""


def _number(dataset: Dataset, keyword: str) -> int | None:
    try:
        found = numbers(dataset, keyword)
    except _FAULTS:
        return None
    return int(found[0]) if found and abs(found[0]) < 1 << 31 else None


def readable(text: str) -> str:
    """Return text without what cannot be seen: control signs, and signs that turn others round."""
    kept = []
    for sign in text:
        if sign.isprintable() or sign in _JOINERS:
            kept.append(sign)
        elif unicodedata.category(sign) in ("Zs", "Cc"):
            kept.append(" ")
    return "".join(kept).strip()


# -- where the pixels are ----------------------------------------------------------------------


def _pixels(dataset: Dataset, frames: int) -> tuple[Frame, ...]:
    """Return where each frame is in the file; none where that cannot be told."""
    if frames > MAX_FRAMES:
        return ()
    try:
        found = dataset.get_item("PixelData")
        syntax = dataset.file_meta.TransferSyntaxUID
        start = getattr(found, "value_tell", None) or getattr(found, "file_tell", None)
        if found is None or not found.value or not start:
            return ()
        if syntax in NATIVE:
            return _native(dataset, frames, int(start), len(found.value))
        return _encapsulated(found.value, frames, int(start))
    except _FAULTS:
        return ()


def _native(dataset: Dataset, frames: int, start: int, length: int) -> tuple[Frame, ...]:
    cells = int(dataset.Rows) * int(dataset.Columns) * int(dataset.get("SamplesPerPixel") or 1)
    size, rest = divmod(cells * int(dataset.BitsAllocated), 8)
    if rest or size < 1 or size * frames > length:
        return ((((start, length)),),) if frames == 1 else ()
    return tuple(((start + number * size, size),) for number in range(frames))


def _encapsulated(content: bytes, frames: int, start: int) -> tuple[Frame, ...]:
    """Find the fragments of each frame (PS3.5 section A.4), by the offset table where needed."""
    buffer = BytesIO(content)
    table = parse_basic_offsets(buffer)
    first = buffer.tell()  # what the table counts from
    _, places = parse_fragments(buffer)
    lengths = [int.from_bytes(content[place + 4 : place + 8], "little") for place in places]
    if not places or places[-1] + 8 + lengths[-1] > len(content):
        return ()
    fragments = [(start + at + 8, length) for at, length in zip(places, lengths, strict=True)]
    if frames == 1:
        return (tuple(fragments),)
    if len(fragments) == frames:
        return tuple((fragment,) for fragment in fragments)
    if len(table) != frames:
        return ()
    bounds = [first + offset for offset in table] + [len(content)]
    return tuple(
        tuple(f for f, at in zip(fragments, places, strict=True) if begin <= at < end)
        for begin, end in pairwise(bounds)
    )


# -- the DICOM JSON model ----------------------------------------------------------------------


def _metadata(dataset: Dataset) -> bytes | None:
    """Return the dataset as DICOM JSON (PS3.18 annex F) by zlib, values too long left out."""
    parts = []
    for tag in list(dataset.keys()):
        try:
            part = json.dumps(
                _element(dataset, tag), ensure_ascii=False, allow_nan=False, separators=(",", ":")
            )
        except _FAULTS:
            continue
        parts.append(f'"{tag:08X}":{part}')
    content = ("{" + ",".join(parts) + "}").encode("utf-8", "replace")
    return zlib.compress(content) if len(content) <= METADATA_BYTES else None


def _element(dataset: Dataset, tag: BaseTag) -> dict[str, Any]:
    raw = dataset.get_item(tag)
    if tag == 0x00080005:
        return _UTF_8
    if tag in _PIXELS:
        return {"vr": _pixel_vr(dataset)}
    value = getattr(raw, "value", None)
    if isinstance(value, bytes | memoryview) and len(value) > INLINE_BYTES:
        return {"vr": str(dataset[tag].VR)}
    found: dict[str, Any] = dataset[tag].to_json_dict(None, 0)
    return found


def _pixel_vr(dataset: Dataset) -> str:
    native = dataset.file_meta.TransferSyntaxUID in NATIVE
    return "OW" if native and int(dataset.BitsAllocated) > 8 else "OB"

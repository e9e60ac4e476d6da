"""WADO-RS (PS3.18 10.4): whole objects, their metadata, their frames, as they are stored."""

from __future__ import annotations

import json
import re
import zlib
from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import FileResponse

from daemon.web.access import Person, StudyReader
from daemon.web.blinded import withheld
from daemon.web.context import Here, Site
from daemon.web.dicomweb import media
from daemon.web.dicomweb.files import CHUNK_BYTES, Part, multipart, verified_path
from daemon.web.dicomweb.model import ROOT, url_of
from storage.audit import Audit
from storage.catalogue import Catalogue, StoredObject

router = APIRouter()

STUDY = f"{ROOT}/studies/{{study}}"
SERIES = f"{STUDY}/series/{{series}}"
INSTANCE = f"{SERIES}/instances/{{instance}}"
MOST_FRAMES = 512
"""Frames that one metadata's BulkDataURI names, and one request may ask for."""


class DicomFile(FileResponse):
    """An object as a file: with its length, and with ranges (RFC 9110 14)."""

    chunk_size = CHUNK_BYTES


def found(
    here: Site,
    person: Person,
    study: str,
    series: str | None = None,
    instance: str | None = None,
    *,
    metadata: bool = False,
) -> tuple[StoredObject, ...]:
    """Return the objects that a reader may see, and note that the study was read. Raises 404."""
    own = not withheld(here, person, study)
    catalogue = Catalogue(here.database)
    objects = catalogue.objects(study, series, instance, own=own, metadata=metadata)
    if not objects:
        what = "object" if instance else "series" if series else "study"
        raise HTTPException(404, f"There is no such {what} here.")
    Audit(here.database).study_read(person.login, study, here.clock())
    return objects


@router.get(STUDY)
def retrieve_study(request: Request, here: Here, person: StudyReader, study: str) -> Response:
    """Retrieve every object of a study."""
    return _whole(request, here, found(here, person, study))


@router.get(SERIES)
def retrieve_series(
    request: Request, here: Here, person: StudyReader, study: str, series: str
) -> Response:
    """Retrieve every object of a series."""
    return _whole(request, here, found(here, person, study, series))


@router.get(INSTANCE)
def retrieve_instance(
    request: Request, here: Here, person: StudyReader, study: str, series: str, instance: str
) -> Response:
    """Retrieve one object."""
    return _whole(request, here, found(here, person, study, series, instance), one=True)


@router.get(f"{INSTANCE}/file")
def retrieve_file(
    request: Request, here: Here, person: StudyReader, study: str, series: str, instance: str
) -> Response:
    """Retrieve one object as a file, or a range of it: for a viewer."""
    (one,) = found(here, person, study, series, instance)
    return _file(request, here, one)


@router.get(f"{STUDY}/metadata")
def study_metadata(request: Request, here: Here, person: StudyReader, study: str) -> Response:
    """Retrieve the metadata of a study's objects."""
    return _metadata(request, found(here, person, study, metadata=True))


@router.get(f"{SERIES}/metadata")
def series_metadata(
    request: Request, here: Here, person: StudyReader, study: str, series: str
) -> Response:
    """Retrieve the metadata of a series' objects."""
    return _metadata(request, found(here, person, study, series, metadata=True))


@router.get(f"{INSTANCE}/metadata")
def instance_metadata(
    request: Request, here: Here, person: StudyReader, study: str, series: str, instance: str
) -> Response:
    """Retrieve the metadata of one object."""
    return _metadata(request, found(here, person, study, series, instance, metadata=True))


@router.get(f"{INSTANCE}/frames/{{frames}}")
def retrieve_frames(
    request: Request,
    here: Here,
    person: StudyReader,
    study: str,
    series: str,
    instance: str,
    frames: str,
) -> Response:
    """Retrieve frames, in the transfer syntax that they are stored in."""
    (one,) = found(here, person, study, series, instance)
    wanted = _numbers(frames, one)
    given = media.frame_type(request.headers.get("accept"), one.transfer_syntax_uid)
    path = verified_path(request, here, one)
    described = f"{given}; transfer-syntax={one.transfer_syntax_uid}"
    parts = [Part(path, described, one.header.pixels[number - 1]) for number in wanted]
    return multipart(parts, given)


def _whole(
    request: Request, here: Site, objects: tuple[StoredObject, ...], *, one: bool = False
) -> Response:
    kept = [each for each in objects if not each.removed] or list(objects)
    syntaxes = [each.transfer_syntax_uid for each in kept]
    if not media.whole_objects(request.headers.get("accept"), syntaxes, one=one):
        return _file(request, here, kept[0])
    parts = []
    for each in kept:
        path = verified_path(request, here, each)
        described = f"{media.DICOM}; transfer-syntax={each.transfer_syntax_uid}"
        parts.append(Part(path, described, ((0, each.size_bytes),)))
    answer = multipart(parts, media.DICOM)
    if len(kept) < len(objects):
        gone = len(objects) - len(kept)
        answer.status_code = 206
        answer.headers["Warning"] = f'299 hilum "{gone} objects are past their retention time."'
    return answer


def _file(request: Request, here: Site, one: StoredObject) -> Response:
    path = verified_path(request, here, one)
    headers = {"ETag": f'"{one.sha256}"'}  # the content's own, and it never changes
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    return DicomFile(path, media_type=media.DICOM, headers=headers)


def _numbers(frames: str, one: StoredObject) -> list[int]:
    """Read a list of frame numbers. Raises 400, and 404 where there is no such frame."""
    if not re.fullmatch(r"\d{1,9}(,\d{1,9})*", frames):
        raise HTTPException(400, "Frames are numbers from 1 on, with commas between them.")
    wanted = [int(number) for number in frames.split(",")]
    if len(wanted) > MOST_FRAMES:
        raise HTTPException(400, f"More than {MOST_FRAMES} frames are not given at once.")
    there = len(one.header.pixels)
    if not there:
        raise HTTPException(404, "The object has no pixels that can be given as frames.")
    if not all(1 <= number <= there for number in wanted):
        raise HTTPException(404, f"There is no such frame; the object has {there}.")
    return wanted


def _metadata(request: Request, objects: tuple[StoredObject, ...]) -> Response:
    media.check_json(request.headers.get("accept"))
    base = str(request.base_url).rstrip("/")
    content = json.dumps(
        [described(one, base) for one in objects], ensure_ascii=False, separators=(",", ":")
    )
    return Response(content, media_type=media.DICOM_JSON)


def described(one: StoredObject, base: str) -> dict[str, Any]:
    """Return an object's metadata, with where its pixels are."""
    kept = one.header.metadata
    found: dict[str, Any] = {} if kept is None else json.loads(zlib.decompress(kept))
    found.setdefault("00080016", {"vr": "UI", "Value": [one.sop_class_uid]})
    found.setdefault("00080018", {"vr": "UI", "Value": [one.sop_instance_uid]})
    found.setdefault("0020000D", {"vr": "UI", "Value": [one.study_instance_uid]})
    found.setdefault("0020000E", {"vr": "UI", "Value": [one.header.series_instance_uid]})
    found["00083002"] = {"vr": "UI", "Value": [one.transfer_syntax_uid]}
    frames = len(one.header.pixels)
    if frames and "7FE00010" in found and not one.removed:
        numbers = ",".join(str(number) for number in range(1, min(frames, MOST_FRAMES) + 1))
        found["7FE00010"]["BulkDataURI"] = f"{url_of(base, one)}/frames/{numbers}"
    else:
        found.pop("7FE00010", None)
    return dict(sorted(found.items()))

"""QIDO-RS (PS3.18 10.6): search for studies, and for the series and objects of one.

The standard puts what is looked for into the URL; the service logs no URL of a request.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response
from pydicom.datadict import tag_for_keyword

from daemon.web.access import Person, StudyReader
from daemon.web.blinded import sampled
from daemon.web.context import Here, Site
from daemon.web.dicomweb import media, model
from daemon.web.dicomweb.retrieve import SERIES, STUDY, found
from storage.audit import Audit
from storage.catalogue import StoredObject
from storage.people import Action
from storage.study_search import RANGES, StudyKeys, search_studies

router = APIRouter()

LIMIT, MOST = 100, 1000
_UID = re.compile(r"[0-9.]{1,64}")
_RANGE = re.compile(r"(?=.*\d)(\d{2,14}(\.\d{1,6})?)?(-(\d{2,14}(\.\d{1,6})?)?)?")
_STUDY = {keyword: name for keyword, (_, _, name) in model.STUDY_FIELDS.items()}
_OTHER = {"StudyInstanceUID": "", "ModalitiesInStudy": ""}
_SERIES = {keyword: name for keyword, (_, _, name) in model.SERIES_FIELDS.items()}
_INSTANCE = {keyword: name for keyword, (_, _, name) in model.INSTANCE_FIELDS.items()}

STUDY_KEYS = frozenset({*_STUDY, *_OTHER})
SERIES_KEYS = frozenset(_SERIES)
INSTANCE_KEYS = frozenset({*_SERIES, *_INSTANCE})


@dataclass(frozen=True, slots=True)
class Search:
    """What a request asks for; `keys` by keyword."""

    keys: dict[str, str] = field(default_factory=dict, repr=False)
    limit: int = LIMIT
    offset: int = 0
    fuzzy: bool = False
    fields: frozenset[str] = frozenset()  # tags to include besides, or "all"

    @classmethod
    def of(cls, request: Request, known: frozenset[str]) -> Search:
        """Read a request. Raises 400 and names the key that is wrong."""
        keys: dict[str, str] = {}
        fields: set[str] = set()
        numbers = {"limit": LIMIT, "offset": 0}
        fuzzy = False
        for name, value in request.query_params.multi_items():
            if name in numbers:
                numbers[name] = _number(name, value)
            elif name == "fuzzymatching":
                fuzzy = value.lower() == "true"
            elif name == "includefield":
                fields |= {_field(one) for one in value.split(",") if one}
            else:
                keyword = _keyword(name, known)
                if keyword in keys:
                    raise HTTPException(400, f"{keyword} is there twice.")
                keys[keyword] = value
        wanted = {keyword: value for keyword, value in keys.items() if value not in ("", "*")}
        limit = min(numbers["limit"], MOST)
        return cls(wanted, limit, numbers["offset"], fuzzy, frozenset(fields))


@router.get(f"{model.ROOT}/studies")
def studies(request: Request, here: Here, person: StudyReader) -> Response:
    """Search for studies."""
    media.check_json(request.headers.get("accept"))
    search = Search.of(request, STUDY_KEYS)
    keys = _study_keys(search.keys)
    matches, more = search_studies(
        here.database,
        keys,
        search.limit,
        search.offset,
        own=not (person.blinded or sampled(here, person)),
    )
    Audit(here.database).append(
        person.login,
        Action.WORKLIST_SEARCHED,
        detail={"by": "dicomweb", "found": len(matches)},
        at=here.clock(),
    )
    base = _base(request)
    return _answer([model.of_study(match, base) for match in matches], search, more=more)


@router.get(f"{STUDY}/series")
def series(request: Request, here: Here, person: StudyReader, study: str) -> Response:
    """Search for the series of a study."""
    search = Search.of(request, SERIES_KEYS)
    objects = _matching(_of_study(request, here, person, study), search)
    objects.sort(key=_series_uid)
    parts = [list(group) for _, group in groupby(objects, _series_uid)]
    base = _base(request)
    return _paged([model.of_series(part, base) for part in parts], search)


@router.get(f"{STUDY}/instances")
def instances(request: Request, here: Here, person: StudyReader, study: str) -> Response:
    """Search for the objects of a study."""
    return _instances(request, here, person, study, None)


@router.get(f"{SERIES}/instances")
def series_instances(
    request: Request, here: Here, person: StudyReader, study: str, series: str
) -> Response:
    """Search for the objects of a series."""
    return _instances(request, here, person, study, series)


def _instances(
    request: Request, here: Site, person: Person, study: str, series: str | None
) -> Response:
    search = Search.of(request, INSTANCE_KEYS)
    objects = _of_study(request, here, person, study, series, metadata=bool(search.fields))
    base = _base(request)
    matching = _matching(objects, search)
    return _paged([_with_fields(one, base, search.fields) for one in matching], search)


def _of_study(
    request: Request,
    here: Site,
    person: Person,
    study: str,
    series: str | None = None,
    *,
    metadata: bool = False,
) -> Sequence[StoredObject]:
    """Return the objects of a study, none where there is no such: a search finds nothing."""
    media.check_json(request.headers.get("accept"))
    try:
        return found(here, person, study, series, metadata=metadata)
    except HTTPException:
        return ()


def _matching(objects: Sequence[StoredObject], search: Search) -> list[StoredObject]:
    names = _SERIES | _INSTANCE
    return [
        one
        for one in objects
        if all(
            _fits(model.instance_value(one, names[keyword]), wanted)
            for keyword, wanted in search.keys.items()
        )
    ]


def _fits(value: Any, wanted: str) -> bool:
    """Match one value: a list of UIDs, wildcards, or the same."""
    text = "" if value is None else str(value)
    if "\\" in wanted or "," in wanted:
        return text in re.split(r"[\\,]", wanted)
    pattern = re.escape(wanted).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(pattern, text, re.DOTALL) is not None


def _with_fields(one: StoredObject, base: str, fields: frozenset[str]) -> model.Attributes:
    attributes = model.of_instance(one, base)
    kept = one.header.metadata
    if not fields or kept is None:
        return attributes
    more: model.Attributes = json.loads(zlib.decompress(kept))
    more.pop("7FE00010", None)
    wanted = more.keys() if "all" in fields else fields & more.keys()
    return dict(sorted({**{tag: more[tag] for tag in wanted}, **attributes}.items()))


def _study_keys(keys: dict[str, str]) -> StudyKeys:
    values = {_STUDY[keyword]: value for keyword, value in keys.items() if keyword in _STUDY}
    for keyword, name in _STUDY.items():
        if name in RANGES and name in values and not _RANGE.fullmatch(values[name]):
            raise HTTPException(400, f"{keyword} is a value or a range, for instance 20250301-.")
    uids = [uid for uid in re.split(r"[\\,]", keys.get("StudyInstanceUID", "")) if uid]
    if not all(_UID.fullmatch(uid) for uid in uids):
        raise HTTPException(400, "StudyInstanceUID is a UID, or several with commas between.")
    modalities = [one for one in re.split(r"[\\,]", keys.get("ModalitiesInStudy", "")) if one]
    return StudyKeys(frozenset(uids), frozenset(modalities), values)


def _keyword(name: str, known: frozenset[str]) -> str:
    """Return the keyword of a matching key. Raises 400 where nothing is matched by it."""
    if name in known:
        return name
    for keyword in known:
        if re.fullmatch(r"[0-9A-Fa-f]{8}", name) and tag_for_keyword(keyword) == int(name, 16):
            return keyword
    shown = "".join(sign for sign in name if sign.isalnum() or sign in "._-")[:64]
    raise HTTPException(
        400, f"{shown} is no key of this search. Known are {', '.join(sorted(known))}."
    )


def _field(name: str) -> str:
    """Return the tag of an includefield, or "all". Raises 400."""
    if name == "all":
        return name
    if re.fullmatch(r"[0-9A-Fa-f]{8}", name):
        return name.upper()
    tag = tag_for_keyword(name) if name.isalnum() and name.isascii() else None
    if tag is None:
        raise HTTPException(400, "includefield is a keyword or a tag of an attribute, or all.")
    return f"{tag:08X}"


def _number(name: str, value: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", value):
        raise HTTPException(400, f"{name} is a whole number from 0 on.")
    return int(value)


def _series_uid(one: StoredObject) -> str:
    return one.header.series_instance_uid


def _base(request: Request) -> str:
    return str(request.base_url).rstrip("/")


def _paged(results: list[model.Attributes], search: Search) -> Response:
    end = search.offset + search.limit
    return _answer(results[search.offset : end], search, more=len(results) > end)


def _answer(results: list[model.Attributes], search: Search, *, more: bool) -> Response:
    warnings = []
    if search.fuzzy:
        warnings.append("The fuzzymatching parameter is not supported. Only literal matching has"
                        " been performed.")  # fmt: skip
    if more:
        warnings.append("There are more results that can be requested, by limit and offset.")
    headers = {}
    if warnings:
        headers["Warning"] = ", ".join(f'299 hilum "{one}"' for one in warnings)
    content = json.dumps(results, ensure_ascii=False, separators=(",", ":"))
    return Response(content, headers=headers, media_type=media.DICOM_JSON)

"""Studies that match what another system asks for (PS3.18 10.6, PS3.4 C.2.2.2)."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, Table, or_, select

from storage.database import Database
from storage.headers import StudyHeader, fold
from storage.listing import STUDY_TEXTS
from storage.records import StudyId
from storage.schema import companion, image_header, instance, own_header, report, study
from storage.schema import study_header as listed

NAMES = frozenset({"patient_name", "referring_physician"})
RANGES = frozenset({"study_date", "study_time", "birth_date"})
BATCH = 500


@dataclass(frozen=True, slots=True)
class StudyMatch:
    """A study that matches, and what there is of it."""

    study_instance_uid: str
    header: StudyHeader = field(repr=False)
    modalities: tuple[str, ...] = ()
    series: int = 0
    instances: int = 0


@dataclass(frozen=True, slots=True)
class StudyKeys:
    """What to look for. `values`: field of `StudyHeader` to what is wanted of it.

    A text may have the wildcards * and ?; a date or a time may be a range, "from-to".
    """

    study_uids: frozenset[str] = frozenset()
    modalities: frozenset[str] = frozenset()  # any of them
    values: dict[str, str] = field(default_factory=dict, repr=False)


def search_studies(
    database: Database, keys: StudyKeys, limit: int, offset: int = 0, *, own: bool = True
) -> tuple[list[StudyMatch], bool]:
    """Return the matching studies, the newest first, and whether there are more.

    `own`: the objects that were made of a study count as its objects.
    """
    with database.read() as connection:
        chosen: dict[int, StudyMatch] = {}
        for place, (study_id, match) in enumerate(_matching(connection, keys, own=own)):
            if place >= offset + limit:
                return _counted(connection, chosen, own=own), True
            if place >= offset:
                chosen[study_id] = match
        return _counted(connection, chosen, own=own), False


def _matching(
    connection: Connection, keys: StudyKeys, *, own: bool
) -> Iterator[tuple[StudyId, StudyMatch]]:
    """Give what matches, by batches: a name is compared here, where folding knows every script."""
    query = _query(keys, own=own).order_by(listed.c.study_id.desc()).limit(BATCH)
    names = {name: value for name, value in keys.values.items() if name in NAMES}
    last: int | None = None
    while True:
        batch = query if last is None else query.where(listed.c.study_id < last)
        rows = connection.execute(batch).all()
        for row in rows:
            if all(_is_named(getattr(row, name), wanted) for name, wanted in names.items()):
                header = StudyHeader(**{name: getattr(row, name) for name in STUDY_TEXTS})
                yield StudyId(row.study_id), StudyMatch(row.study_instance_uid, header)
        if len(rows) < BATCH:
            return
        last = rows[-1].study_id


def _query(keys: StudyKeys, *, own: bool) -> Select[Any]:
    query = select(
        listed.c.study_id, study.c.study_instance_uid, *(listed.c[name] for name in STUDY_TEXTS)
    ).join(study, listed.c.study_id == study.c.id)
    if keys.study_uids:
        query = query.where(study.c.study_instance_uid.in_(keys.study_uids))
    if keys.modalities:
        ways = [_objects(listed.c.study_id, keys.modalities, source) for source in _sources(own)]
        query = query.where(or_(*(way.exists() for way in ways)))
    for name, wanted in keys.values.items():
        query = query.where(*_condition(name, wanted))
    return query


def _condition(name: str, wanted: str) -> list[ColumnElement[bool]]:
    column = listed.c[name]
    if name == "patient_name":  # a first, coarse look; `_is_named` decides
        words = re.split(r"[*?\s]+", fold(wanted))
        return [listed.c.search.contains(word, autoescape=True) for word in words if word]
    if name in NAMES:
        return []
    if name in RANGES and "-" in wanted:
        first, last = (part.strip() for part in wanted.split("-", 1))
        bounds = [column != ""]
        bounds += [column >= first] if first else []
        # a time of which less is said is the whole hour or minute
        return bounds + ([column <= last.ljust(16, "9")] if last else [])
    if name in RANGES:
        return [column == wanted]
    if "*" in wanted or "?" in wanted:
        escaped = re.sub(r"([%_/])", r"/\1", wanted).replace("*", "%").replace("?", "_")
        return [column.like(escaped, escape="/")]
    return [column == wanted]


def _is_named(name: str, wanted: str) -> bool:
    """Compare a name, whole or one of its component groups, as people write it."""
    pieces = [re.escape(piece) for piece in re.split(r"([*?])", _plain(wanted))]
    pattern = "".join(pieces).replace(r"\*", ".*").replace(r"\?", ".")
    groups = [name, *name.split("=")]
    return any(re.fullmatch(pattern, _plain(group), re.DOTALL) for group in groups)


def _plain(name: str) -> str:
    """Return a name without its case and its empty components at the end."""
    return "=".join(group.rstrip("^ ") for group in name.casefold().split("=")).strip("= ")


# -- what there is of a study ------------------------------------------------------------------


def _sources(own: bool) -> list[tuple[Table, Table]]:
    found: list[tuple[Table, Table]] = [(instance, image_header)]
    return [*found, (report, own_header), (companion, own_header)] if own else found


def _objects(of_study: Any, modalities: frozenset[str], source: tuple[Table, Table]) -> Select[Any]:
    query = _joined(source)
    header = source[1]
    found = query.where(_study_id(source) == of_study, header.c.modality.in_(modalities))
    return found.correlate(listed)


def _study_id(source: tuple[Table, Table]) -> ColumnElement[int]:
    return instance.c.study_id if source[0] is instance else report.c.study_id


def _joined(source: tuple[Table, Table]) -> Select[Any]:
    table, header = source
    columns = (_study_id(source).label("study_id"), table.c.sop_instance_uid)
    query = select(*columns, header.c.series_instance_uid, header.c.modality)
    if table is instance:
        return query.join(header, header.c.instance_id == table.c.id)
    if table is companion:
        query = query.join(report, companion.c.report_id == report.c.id)
    return query.join(header, header.c.sop_instance_uid == table.c.sop_instance_uid)


def _counted(
    connection: Connection, chosen: dict[int, StudyMatch], *, own: bool
) -> list[StudyMatch]:
    objects: dict[int, set[tuple[str, str, str]]] = defaultdict(set)
    ids: Sequence[int] = list(chosen)
    for source in _sources(own):
        for row in connection.execute(_joined(source).where(_study_id(source).in_(ids))):
            objects[row.study_id].add((row.sop_instance_uid, row.series_instance_uid, row.modality))
    return [
        replace(
            match,
            modalities=tuple(sorted({modality for _, _, modality in objects[key]} - {""})),
            series=len({series for _, series, _ in objects[key]}),
            instances=len(objects[key]),
        )
        for key, match in chosen.items()
    ]

"""The worklist: studies as a radiologist finds them, and what is known of each.

A page is 50 rows after a key; the key is opaque, and holds no patient data.
"""

from __future__ import annotations

import base64
import binascii
import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from sqlalchemy import Column, ColumnElement, Select, Table, func, select, tuple_

from storage.database import Database
from storage.errors import StorageError
from storage.headers import (
    Frame,
    Headers,
    HeaderState,
    ImageHeader,
    StudyHeader,
    fold,
    urgency,
)
from storage.listing import (
    IMAGE_VALUES,
    STUDY_TEXTS,
    fill_study,
    mark_review,
    put_image,
)
from storage.records import Instance, InstanceId, Removal, StudyId, StudyState
from storage.results import INSTANCE_COLUMNS, AnyRow, to_instance
from storage.schema import image_header, instance, report, study, study_finding
from storage.schema import study_header as listed

__all__ = [
    "Frame",
    "HeaderState",
    "Headers",
    "ImageHeader",
    "ListState",
    "Page",
    "Query",
    "StoredImage",
    "StudyHeader",
    "Worklist",
    "WorklistRow",
]

PAGE = 50
_KEY = struct.Struct(">?ddq")
_REVIEWED = 3.5  # `urgency` of what is reviewed is larger
_FLAGGED = 1.5  # of what is flagged and not reviewed, smaller


class ListState(StrEnum):
    """What a list can be narrowed to."""

    TO_REVIEW = "to_review"  # nobody has reviewed it since its last result
    FLAGGED = "flagged"  # to be reviewed, and a finding is present
    NOT_ANALYSED = "not_analysed"  # an image of it was not analysed
    REVIEWED = "reviewed"


@dataclass(frozen=True, slots=True)
class Query:
    """What a list shows; all of it holds together. `blinded`: in the order of waiting alone.

    A blinded list is not narrowed by what the computer found: raises StorageError.
    """

    text: str = field(default="", repr=False)  # words of a name, id or accession number
    state: ListState | None = None
    finding: str | None = None  # the finding's key: it is present in an image
    station: str | None = None
    first_date: str | None = None  # YYYYMMDD, of the study, included
    last_date: str | None = None
    reviewed_by: str | None = None
    blinded: bool = False

    def __post_init__(self) -> None:
        computed = self.state in (ListState.FLAGGED, ListState.NOT_ANALYSED)
        if self.blinded and (computed or self.finding is not None):
            raise StorageError("A blinded list is not narrowed by the computer's result.")


@dataclass(frozen=True, slots=True)
class WorklistRow:
    """A study with all that a list says of it. `image`s are those that have a result."""

    study_id: StudyId
    study_instance_uid: str
    header_state: HeaderState
    header: StudyHeader = field(repr=False)
    state: StudyState
    report_version: int  # 0 before the first
    reported_at: float | None
    first_received_at: float  # the waiting time counts from here
    last_received_at: float
    images: int
    not_analysed: int
    flagged: bool
    top_probability: float | None  # of a present finding, or of all where none is present
    top_finding: str | None
    top_meaning: str | None
    reviewed_at: float | None
    reviewed_by: str | None  # login


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows of a list, and the key of those after them; None at the end."""

    rows: tuple[WorklistRow, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class StoredImage:
    """An image of a study; no header where its dataset was never read."""

    instance: Instance
    header: ImageHeader | None = field(repr=False)
    study_instance_uid: str
    removed: bool  # retention has deleted its file

    @property
    def sop_instance_uid(self) -> str:
        """As announced when it arrived."""
        return self.instance.arrival.sop_instance_uid

    @property
    def series_instance_uid(self) -> str:
        """Of the dataset, "" where it was never read."""
        return "" if self.header is None else self.header.series_instance_uid


class Worklist:
    """The studies as they are listed. Safe to use from several threads."""

    def __init__(self, database: Database) -> None:
        """Work on a migrated database."""
        self._database = database

    def page(self, query: Query, after: str | None = None, limit: int = PAGE) -> Page:
        """Return the rows after a key that this gave before.

        Raises StorageError where the key is none, or of a list in another order.
        """
        order = _Order.of(query)
        chosen = order.select(query)
        if after is not None:
            chosen = chosen.where(order.after(_read_key(after, blinded=query.blinded)))
        with self._database.read() as connection:
            keys = connection.execute(chosen.limit(limit + 1)).all()
            shown = [key.study_id for key in keys[:limit]]
            rows = connection.execute(_rows().where(listed.c.study_id.in_(shown))).all()
        by_id = {row.study_id: _to_row(row) for row in rows}
        last = _write_key(query.blinded, keys[limit - 1]) if len(keys) > limit else None
        return Page(tuple(by_id[study_id] for study_id in shown), last)

    def next_after(self, study_instance_uid: str, query: Query) -> WorklistRow | None:
        """Return the study to read after this one, from its place among those to be reviewed.

        After the last comes the first; None when nothing else is to be reviewed.
        """
        query = replace(query, state=query.state or ListState.TO_REVIEW)
        row, key = self.study(study_instance_uid), None
        if row is not None:
            place = urgency(reviewed=False, flagged=row.flagged, probability=row.top_probability)
            values = (0.0 if query.blinded else place, row.first_received_at, row.study_id)
            key = _pack_key(query.blinded, values)
        for start in (key, None):
            for found in self.page(query, start, 2).rows:
                if found.study_instance_uid != study_instance_uid:
                    return found
        return None

    def study(self, study_instance_uid: str) -> WorklistRow | None:
        """Return a study, None where there is no such."""
        query = _rows().where(study.c.study_instance_uid == study_instance_uid)
        with self._database.read() as connection:
            row = connection.execute(query).first()
        return None if row is None else _to_row(row)

    def images(self, study_instance_uid: str) -> tuple[StoredImage, ...]:
        """Return the images of a study by series and number; their metadata is left out."""
        query = stored_images().where(study.c.study_instance_uid == study_instance_uid)
        with self._database.read() as connection:
            found = [to_stored_image(row) for row in connection.execute(query)]
        return tuple(sorted(found, key=_place))

    def priors(self, study_instance_uid: str) -> tuple[WorklistRow, ...]:
        """Return the patient's other studies, the latest first.

        The same patient: the same id by the same issuer, and no other date of birth.
        """
        row = self.study(study_instance_uid)
        if row is None or not row.header.patient_id:
            return ()
        one = row.header
        query = (
            _rows()
            .where(listed.c.patient_id == one.patient_id, listed.c.issuer == one.issuer)
            .where(listed.c.study_id != row.study_id)
        )
        with self._database.read() as connection:
            found = [_to_row(other) for other in connection.execute(query)]
        born = {"", one.birth_date}
        same = [r for r in found if not one.birth_date or r.header.birth_date in born]
        latest = sorted(same, key=lambda r: (r.header.study_date, r.header.study_time, r.study_id))
        return tuple(reversed(latest))

    def mark_review(self, study_id: StudyId, by: str | None, at: float | None = None) -> None:
        """Note who has reviewed a study and when; None: it is to be reviewed (again)."""
        with self._database.write() as connection:
            mark_review(connection, study_id, by, at)

    def marker(self) -> tuple[int, int]:
        """Return what becomes larger when any row of any list changes; two index look-ups."""
        changed, reported = func.max(listed.c.changed), func.max(report.c.id)
        with self._database.read() as connection:
            return (
                connection.execute(select(func.coalesce(changed, 0))).scalar_one(),
                connection.execute(select(func.coalesce(reported, 0))).scalar_one(),
            )

    def choices(self) -> dict[str, list[str]]:
        """Return the stations, findings and reviewers that any study has."""
        columns: dict[str, Column[Any]] = {
            "station": listed.c.station,
            "finding": study_finding.c.name,
            "reviewed_by": listed.c.reviewed_by,
        }
        found: dict[str, list[str]] = {}
        with self._database.read() as connection:
            for name, column in columns.items():
                query = select(column).where(column != "").distinct().order_by(column)
                found[name] = list(connection.execute(query).scalars())
        return found

    def without_header(self, limit: int) -> list[StudyId]:
        """Return studies of before whose header is to be read from their images."""
        query = select(listed.c.study_id).where(listed.c.header == HeaderState.MISSING)
        with self._database.read() as connection:
            return [StudyId(one) for one in connection.execute(query.limit(limit)).scalars()]

    def kept_images(self, study_id: StudyId) -> list[Instance]:
        """Return the images of a study whose files are kept, by time received."""
        query = (
            select(*INSTANCE_COLUMNS)
            .where(instance.c.study_id == study_id, instance.c.removal.is_(None))
            .order_by(instance.c.received_at, instance.c.id)
        )
        with self._database.read() as connection:
            return [to_instance(row) for row in connection.execute(query)]

    def fill(self, study_id: StudyId, headers: Sequence[tuple[InstanceId, Headers]]) -> None:
        """Give a study of before, and its images, what was read; none: nothing can be read."""
        with self._database.write() as connection:
            fill_study(connection, study_id, [one.study for _, one in headers])
            for instance_id, one in headers:
                put_image(connection, instance_id, one.image)


class _Order:
    """The order of a list: its table, and the columns that it is sorted by."""

    def __init__(self, table: Table, first: str) -> None:
        self._table = table
        self.columns = (table.c[first], table.c.first_received_at, table.c.study_id)

    @classmethod
    def of(cls, query: Query) -> _Order:
        if query.finding is not None:
            return cls(study_finding, "urgency")
        return cls(listed, "reviewed" if query.blinded else "urgency")

    def select(self, query: Query) -> Select[Any]:
        """Select the keys of the rows that a query asks for."""
        first, received_at, study_id = self.columns
        keys = select(first.label("place"), received_at, study_id)
        filters = list(_filters(query))
        if query.finding is not None:
            keys = keys.where(study_finding.c.name == query.finding)
            if filters or query.state is ListState.NOT_ANALYSED:
                keys = keys.join(listed, listed.c.study_id == study_finding.c.study_id)
        if query.state is not None:
            filters.append(self._in_state(query.state, blinded=query.blinded))
        return keys.where(*filters).order_by(*self.columns)

    def after(self, key: tuple[Any, ...]) -> ColumnElement[bool]:
        return tuple_(*self.columns) > tuple_(*key)

    def _in_state(self, state: ListState, *, blinded: bool) -> ColumnElement[bool]:
        if state is ListState.NOT_ANALYSED:
            return listed.c.not_analysed > 0
        place = self.columns[0]
        if blinded:
            return place == (state is ListState.REVIEWED)
        if state is ListState.REVIEWED:
            return place > _REVIEWED
        return place < (_FLAGGED if state is ListState.FLAGGED else _REVIEWED)


def _filters(query: Query) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = [
        listed.c.search.contains(word, autoescape=True) for word in fold(query.text).split()
    ]
    if query.station is not None:
        found.append(listed.c.station == query.station)
    if query.first_date is not None:
        found.append(listed.c.study_date >= query.first_date)
    if query.last_date is not None:
        found.append(listed.c.study_date.between("0", query.last_date))
    if query.reviewed_by is not None:
        found.append(listed.c.reviewed_by == query.reviewed_by)
    return found


def _rows() -> Select[Any]:
    """Select what `_to_row` reads."""
    return select(
        listed,
        study.c.study_instance_uid,
        study.c.state,
        study.c.report_version,
        study.c.reported_at,
        study.c.last_received_at,
    ).join(study, listed.c.study_id == study.c.id)


def _to_row(row: AnyRow) -> WorklistRow:
    return WorklistRow(
        study_id=StudyId(row.study_id),
        study_instance_uid=row.study_instance_uid,
        header_state=row.header,
        header=StudyHeader(**{name: getattr(row, name) for name in STUDY_TEXTS}),
        state=row.state,
        report_version=row.report_version,
        reported_at=row.reported_at,
        first_received_at=row.first_received_at,
        last_received_at=row.last_received_at,
        images=row.images,
        not_analysed=row.not_analysed,
        flagged=row.flagged,
        top_probability=row.top_probability,
        top_finding=row.top_finding,
        top_meaning=row.top_meaning,
        reviewed_at=row.reviewed_at,
        reviewed_by=row.reviewed_by,
    )


_IMAGE_COLUMNS = [image_header.c[name] for name in (*IMAGE_VALUES, "pixels") if name != "metadata"]


def stored_images() -> Select[Any]:
    """Select what `to_stored_image` reads: the images that belong to a study."""
    return (
        select(
            *INSTANCE_COLUMNS,
            instance.c.removal,
            study.c.study_instance_uid,
            image_header.c.instance_id.label("header_id"),
            *_IMAGE_COLUMNS,
        )
        .join(study, instance.c.study_id == study.c.id)
        .outerjoin(image_header, image_header.c.instance_id == instance.c.id)
    )


def to_stored_image(row: AnyRow, metadata: bytes | None = None) -> StoredImage:
    """Read `stored_images`."""
    header = None
    if row.header_id is not None:
        values = {name: getattr(row, name) for name in IMAGE_VALUES if name != "metadata"}
        pixels = tuple(
            tuple((int(at), int(length)) for at, length in frame)
            for frame in json.loads(row.pixels)
        )
        header = ImageHeader(**values, pixels=pixels, metadata=metadata)
    removed = row.removal in (Removal.DELETING, Removal.DELETED)
    return StoredImage(to_instance(row), header, row.study_instance_uid, removed)


def _place(image: StoredImage) -> tuple[Any, ...]:
    header = image.header or ImageHeader()
    numbers = (header.series_number, header.instance_number)
    first, second = (float("inf") if number is None else number for number in numbers)
    return (first, header.series_instance_uid, second, image.instance.id)


def _write_key(blinded: bool, row: AnyRow) -> str:
    return _pack_key(blinded, (float(row.place), row.first_received_at, row.study_id))


def _pack_key(blinded: bool, values: tuple[float, float, int]) -> str:
    return base64.urlsafe_b64encode(_KEY.pack(blinded, *values)).decode("ascii").rstrip("=")


def _read_key(key: str, *, blinded: bool) -> tuple[Any, ...]:
    try:
        packed = base64.urlsafe_b64decode(key.encode("ascii") + b"=" * (-len(key) % 4))
        of_blinded, place, received_at, study_id = _KEY.unpack(packed)
    except (UnicodeEncodeError, binascii.Error, struct.error):
        raise StorageError("The key of a page of the worklist is none.") from None
    if of_blinded != blinded:
        raise StorageError("The key is of a worklist in another order.")
    return (bool(place) if blinded else place, received_at, study_id)

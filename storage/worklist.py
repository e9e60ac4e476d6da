"""The worklist: studies as a radiologist finds them, and what is known of each.

A page is 50 rows after a key; the key is opaque, and holds no patient data.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import Column, Select, func, select

from storage.database import Database
from storage.headers import (
    Frame,
    Headers,
    HeaderState,
    ImageHeader,
    StudyHeader,
    urgency,
)
from storage.listing import (
    STUDY_TEXTS,
    fill_study,
    mark_review,
    put_image,
)
from storage.listing_query import (
    FLAGGED,
    TO_REVIEW,
    ListState,
    Order,
    Query,
    different,
    pack_key,
    read_key,
    write_key,
)
from storage.records import Instance, InstanceId, JobState, StudyId, StudyState
from storage.results import INSTANCE_COLUMNS, AnyRow, to_instance
from storage.schema import image_header, instance, job, report, study, study_finding
from storage.schema import study_header as listed
from storage.stored_images import StoredImage, place, stored_images, to_stored_image

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
    "Waiting",
    "Worklist",
    "WorklistRow",
]

PAGE = 50


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
class Waiting:
    """How many studies wait."""

    to_review: int
    flagged: int  # of them


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows of a list, and the key of those after them; None at the end."""

    rows: tuple[WorklistRow, ...]
    next: str | None


class Worklist:
    """The studies as they are listed. Safe to use from several threads."""

    def __init__(self, database: Database) -> None:
        """Work on a migrated database."""
        self._database = database

    def page(self, query: Query, after: str | None = None, limit: int = PAGE) -> Page:
        """Return the rows after a key that this gave before.

        Raises UnknownPlace where the key is none, or of a list in another order.
        """
        order = Order.of(query)
        chosen = order.select(query)
        if after is not None:
            chosen = chosen.where(order.after(read_key(after, blinded=query.blinded)))
        with self._database.read() as connection:
            keys = connection.execute(chosen.limit(limit + 1)).all()
            shown = [key.study_id for key in keys[:limit]]
            rows = connection.execute(_rows().where(listed.c.study_id.in_(shown))).all()
        by_id = {row.study_id: _to_row(row) for row in rows}
        last = write_key(query.blinded, keys[limit - 1]) if len(keys) > limit else None
        return Page(tuple(by_id[study_id] for study_id in shown), last)

    def next_after(self, study_instance_uid: str, query: Query) -> WorklistRow | None:
        """Return the study to read after this one, from its place in the list that is asked for.

        Where no state is asked for, of those to be reviewed, or that somebody has reviewed. After
        the last comes the first; None when there is no other.
        """
        usual = ListState.REVIEWED if query.reviewed_by else ListState.TO_REVIEW
        query = replace(query, state=query.state or usual)
        row, key, reviewed = self.study(study_instance_uid), None, query.state is ListState.REVIEWED
        if row is not None:
            # One that was reviewed a moment ago counts from where it stood before
            place = urgency(reviewed=reviewed, flagged=row.flagged, probability=row.top_probability)
            values = (
                float(reviewed) if query.blinded else place,
                row.first_received_at,
                row.study_id,
            )
            key = pack_key(query.blinded, values)
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
        return tuple(sorted(found, key=place))

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

    def counts(self) -> Waiting:
        """Return how many studies are to be reviewed, and how many of them are flagged."""
        found = []
        with self._database.read() as connection:
            for bound in (TO_REVIEW, FLAGGED):
                query = select(func.count()).select_from(listed).where(listed.c.urgency < bound)
                found.append(connection.execute(query).scalar_one())
        return Waiting(*found)

    def choices(self) -> dict[str, list[str]]:
        """Return the stations, findings and reviewers that any study has."""
        columns: dict[str, Column[Any]] = {
            "station": listed.c.station,
            "finding": study_finding.c.name,
            "reviewed_by": listed.c.reviewed_by,
        }
        with self._database.read() as connection:
            return {
                name: list(connection.execute(different(column)).scalars())
                for name, column in columns.items()
            }

    def unread_images(self, before: InstanceId | None, limit: int) -> list[Instance]:
        """Return images without a header whose dataset was read and whose file is kept.

        They are of a release that kept no headers; the newest first, those before an id.
        """
        query = (
            select(*INSTANCE_COLUMNS)
            .join(job, job.c.instance_id == instance.c.id)
            .outerjoin(image_header, image_header.c.instance_id == instance.c.id)
            .where(instance.c.study_id.is_not(None), instance.c.removal.is_(None))
            .where(job.c.state == JobState.DONE, image_header.c.instance_id.is_(None))
            .order_by(instance.c.id.desc())
            .limit(limit)
        )
        if before is not None:
            query = query.where(instance.c.id < before)
        with self._database.read() as connection:
            return [to_instance(row) for row in connection.execute(query)]

    def fill(self, image: Instance, headers: Headers) -> None:
        """Give an image of before, and its study, what was read of it now."""
        if image.study_id is None:
            return
        with self._database.write() as connection:
            fill_study(connection, image.study_id, headers.study)
            put_image(connection, image.id, headers.image)


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

"""Every object of a study that can be fetched: the images that came, and what was made of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Select, Table, literal, null, select

from storage.database import Database
from storage.headers import ImageHeader
from storage.listing import IMAGE_VALUES, put_own
from storage.records import Sha256
from storage.results import AnyRow
from storage.schema import companion, image_header, instance, own_header, report, study
from storage.stored_images import by_series_and_number, read_pixels

EXPLICIT_LE = "1.2.840.10008.1.2.1"  # what every object of ours is in


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object of a study, with what its header says and where its bytes are."""

    study_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    sha256: Sha256
    size_bytes: int
    own: bool  # a report, or an object beside one
    removed: bool  # retention has deleted its file
    header: ImageHeader = field(repr=False)


class Catalogue:
    """The objects of the studies. Safe to use from several threads."""

    def __init__(self, database: Database) -> None:
        """Work on a migrated database."""
        self._database = database

    def objects(
        self,
        study_instance_uid: str,
        series_instance_uid: str | None = None,
        sop_instance_uid: str | None = None,
        *,
        own: bool = True,
        metadata: bool = False,
    ) -> tuple[StoredObject, ...]:
        """Return the objects of a study, by series and number.

        `own`: with what was made of it. `metadata`: with the header's metadata, which is long.
        An object whose dataset was never read is in no series, and is left out.
        """
        sources = (_images(metadata), _reports(metadata), _companions(metadata))
        found: dict[str, StoredObject] = {}
        with self._database.read() as connection:
            for source, (query, table, uid) in enumerate(sources):
                query = query.where(study.c.study_instance_uid == study_instance_uid)
                if series_instance_uid is not None:
                    query = query.where(table.c.series_instance_uid == series_instance_uid)
                if sop_instance_uid is not None:
                    query = query.where(uid == sop_instance_uid)
                if own or source == 0:
                    for row in connection.execute(query):
                        found.setdefault(row.sop_instance_uid, _to_object(row))
        return tuple(sorted(found.values(), key=_place))

    def unread(self) -> list[tuple[str, Sha256]]:
        """Return the reports and the objects beside them without a header, and their files."""
        found: list[tuple[str, Sha256]] = []
        with self._database.read() as connection:
            for table in (report, companion):
                query = (
                    select(table.c.sop_instance_uid, table.c.sha256)
                    .outerjoin(
                        own_header, own_header.c.sop_instance_uid == table.c.sop_instance_uid
                    )
                    .where(own_header.c.sop_instance_uid.is_(None))
                    .order_by(table.c.id.desc())
                )
                if table is companion:
                    query = query.where(companion.c.removal.is_(None))
                found += [(row[0], Sha256(row[1])) for row in connection.execute(query)]
        return found

    def fill(self, sop_instance_uid: str, header: ImageHeader) -> None:
        """Give an object of ours from before its header."""
        with self._database.write() as connection:
            put_own(connection, sop_instance_uid, header)


def removed(database: Database, sop_instance_uid: str, sha256: Sha256) -> bool:
    """Whether retention has deleted an image's file, or is about to."""
    query = (
        select(instance.c.removal)
        .where(instance.c.sop_instance_uid == sop_instance_uid)
        .where(instance.c.sha256 == sha256)
    )
    with database.read() as connection:
        return connection.execute(query).scalar_one_or_none() is not None


_Source = tuple[Select[Any], Table, ColumnElement[str]]


def _header(table: Table, metadata: bool) -> list[ColumnElement[Any]]:
    left_out = () if metadata else ("metadata",)
    return [table.c[name] for name in (*IMAGE_VALUES, "pixels") if name not in left_out]


def _object(table: Table) -> list[ColumnElement[Any]]:
    names = ("sop_instance_uid", "sop_class_uid", "sha256", "size_bytes")
    return [study.c.study_instance_uid, *(table.c[name] for name in names)]


def _images(metadata: bool) -> _Source:
    query = (
        select(
            *_object(instance),
            instance.c.transfer_syntax_uid,
            instance.c.removal,
            literal(False).label("own"),
            *_header(image_header, metadata),
        )
        .join(study, instance.c.study_id == study.c.id)
        .join(image_header, image_header.c.instance_id == instance.c.id)
        .order_by(instance.c.contested)  # of two under one UID, the first that came
    )
    return query, image_header, instance.c.sop_instance_uid


def _reports(metadata: bool) -> _Source:
    query = (
        select(
            *_object(report),
            literal(EXPLICIT_LE).label("transfer_syntax_uid"),
            null().label("removal"),
            literal(True).label("own"),
            *_header(own_header, metadata),
        )
        .join(study, report.c.study_id == study.c.id)
        .join(own_header, own_header.c.sop_instance_uid == report.c.sop_instance_uid)
    )
    return query, own_header, report.c.sop_instance_uid


def _companions(metadata: bool) -> _Source:
    query = (
        select(
            *_object(companion),
            literal(EXPLICIT_LE).label("transfer_syntax_uid"),
            companion.c.removal,
            literal(True).label("own"),
            *_header(own_header, metadata),
        )
        .join(report, companion.c.report_id == report.c.id)
        .join(study, report.c.study_id == study.c.id)
        .join(own_header, own_header.c.sop_instance_uid == companion.c.sop_instance_uid)
    )
    return query, own_header, companion.c.sop_instance_uid


def _to_object(row: AnyRow) -> StoredObject:
    values: dict[str, Any] = {name: getattr(row, name, None) for name in IMAGE_VALUES}
    return StoredObject(
        study_instance_uid=row.study_instance_uid,
        sop_instance_uid=row.sop_instance_uid,
        sop_class_uid=row.sop_class_uid,
        transfer_syntax_uid=row.transfer_syntax_uid,
        sha256=Sha256(row.sha256),
        size_bytes=row.size_bytes,
        own=bool(row.own),
        removed=row.removal is not None,
        header=ImageHeader(**values, pixels=read_pixels(row.pixels)),
    )


def _place(one: StoredObject) -> tuple[Any, ...]:
    return (one.own, *by_series_and_number(one.header), one.sop_instance_uid)

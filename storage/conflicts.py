"""Where words on a finding differ: of two readers of an image, or of a reader and the report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Integer, Select, cast, func, select, union

from storage.database import Database
from storage.schema import instance, label, report_label, study, study_header


@dataclass(frozen=True, slots=True)
class Word:
    """What one said of a finding in a study, in any of its images."""

    who: str  # a login, or "" for the imported report
    present: bool
    at: float


@dataclass(frozen=True, slots=True)
class Conflict:
    """A finding of a study on which words differ. images: on which two readers do."""

    study_instance_uid: str
    study_date: str
    finding: str
    images: int
    words: tuple[Word, ...]


def conflicts(database: Database, limit: int) -> list[Conflict]:
    """Return the conflicts of the studies that came last, the newest study first."""
    readers, reports = _between_readers(), _with_reports()
    both = union(
        select(readers.c.study_id, readers.c.finding), select(reports.c.study_id, reports.c.finding)
    ).subquery()
    query = (
        select(both.c.study_id, both.c.finding, study.c.study_instance_uid,
               study_header.c.study_date, func.coalesce(readers.c.images, 0).label("images"))
        .join(study, both.c.study_id == study.c.id)
        .join(study_header, study_header.c.study_id == study.c.id)
        .outerjoin(readers, (readers.c.study_id == both.c.study_id)
                   & (readers.c.finding == both.c.finding))
        .order_by(both.c.study_id.desc(), both.c.finding)
        .limit(limit)
    )  # fmt: skip
    with database.read() as connection:
        rows = connection.execute(query).all()
        studies = {row.study_id for row in rows}
        words: dict[tuple[int, str], list[Word]] = {}
        for row in connection.execute(_words().where(instance.c.study_id.in_(studies))):
            word = Word(row.login, bool(row.said), row.at)
            words.setdefault((row.study_id, row.finding), []).append(word)
        imported = select(report_label).where(report_label.c.study_id.in_(studies))
        for row in connection.execute(imported):
            word = Word("", row.present, row.imported_at)
            words.setdefault((row.study_id, row.finding), []).append(word)
    return [
        Conflict(row.study_instance_uid, row.study_date, row.finding, row.images,
                 tuple(words.get((row.study_id, row.finding), ())))
        for row in rows
    ]  # fmt: skip


def _words() -> Select[Any]:
    """What each reader said of a finding in a study."""
    return (
        select(instance.c.study_id, label.c.finding, label.c.account,
               func.max(label.c.login).label("login"),
               func.max(cast(label.c.present, Integer)).label("said"),
               func.max(label.c.labelled_at).label("at"))
        .join(instance, label.c.instance_id == instance.c.id)
        .group_by(instance.c.study_id, label.c.finding, label.c.account)
        .order_by(label.c.finding, label.c.account)
    )  # fmt: skip


def _between_readers() -> Any:
    """Findings on which two readers of the same image differ, and in how many images."""
    one, two = label.alias("one"), label.alias("two")
    same = (one.c.instance_id == two.c.instance_id) & (one.c.finding == two.c.finding)
    return (
        select(instance.c.study_id, one.c.finding,
               func.count(one.c.instance_id.distinct()).label("images"))
        .join(two, same & (one.c.account < two.c.account) & (one.c.present != two.c.present))
        .join(instance, one.c.instance_id == instance.c.id)
        .group_by(instance.c.study_id, one.c.finding)
        .subquery("readers")
    )  # fmt: skip


def _with_reports() -> Any:
    """Findings on which a reader and the report of the same study differ."""
    words = _words().order_by(None).subquery("words")
    same = (words.c.study_id == report_label.c.study_id) & (
        words.c.finding == report_label.c.finding
    )
    return (
        select(report_label.c.study_id, report_label.c.finding)
        .join(words, same & (words.c.said != cast(report_label.c.present, Integer)))
        .distinct()
        .subquery("reports")
    )

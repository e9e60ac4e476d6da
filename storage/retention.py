"""Retention: which files are no longer needed, and that a crash between two steps loses nothing.

An object is marked as being deleted, its file goes, and it is marked as deleted. A crash in
between leaves the first mark, and the next run ends what was begun; nothing reads a marked object.
Rows stay, and so do the reports themselves, which are small: they are what was said.
"""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import ColumnElement, Select, Table, and_, or_, select, update

from storage.acceptance_rows import sampled_studies
from storage.database import Database
from storage.records import DeliveryState, JobState, Removal, Sha256, StudyState
from storage.schema import (
    acceptance_case,
    companion,
    delivery,
    instance,
    job,
    label,
    report,
    report_label,
    study,
)
from storage.shadow import awaited

_OPEN = [state for state in DeliveryState if not state.is_final]
_TABLES: tuple[Table, ...] = (instance, companion)


class Retention:
    """The images and heat maps whose files may go."""

    def __init__(self, database: Database) -> None:
        """Work on a migrated database."""
        self._database = database

    def begin(
        self, before: float, limit: int, labelled_before: float | None = None
    ) -> list[Sha256]:
        """Mark up to `limit` objects as being deleted; return them, and those of a run cut short.

        They were received before that time, and their study was reported before it and is wholly
        answered and delivered, committed where a PACS was asked to. An image that is in no study
        was ignored. What is in quarantine, and what a PACS has refused, stays for an administrator.
        Labelled images stay until they were received before `labelled_before`, none: for ever.
        Images of an acceptance test stay while it is open.
        What a candidate still has to classify beside what serves stays as long as its trial.
        """
        found: list[Sha256] = []
        with self._database.write() as connection:
            for table, removable in zip(_TABLES, _removable(before, labelled_before), strict=True):
                ids = connection.execute(removable.limit(limit - len(found))).scalars().all()
                connection.execute(
                    update(table).where(table.c.id.in_(ids)).values(removal=Removal.DELETING)
                )
                begun = select(table.c.sha256).where(table.c.removal == Removal.DELETING)
                found += connection.execute(begun).scalars()
        return found

    def end(self, removed: Collection[Sha256]) -> None:
        """Mark objects as deleted whose files are gone."""
        with self._database.write() as connection:
            for table in _TABLES:
                connection.execute(
                    update(table)
                    .where(table.c.removal == Removal.DELETING, table.c.sha256.in_(removed))
                    .values(removal=Removal.DELETED)
                )


def _removable(
    before: float, labelled_before: float | None
) -> tuple[Select[tuple[int]], Select[tuple[int]]]:
    done = select(job.c.id).where(job.c.instance_id == instance.c.id, job.c.state == JobState.DONE)
    images = (
        select(instance.c.id)
        .outerjoin(study, instance.c.study_id == study.c.id)
        .where(instance.c.removal.is_(None), instance.c.received_at < before)
        .where(or_(instance.c.study_id.is_(None), _finished(before)), done.exists())
        .where(_unlabelled(labelled_before), ~_sampled(), ~awaited())
        .order_by(instance.c.received_at)
    )
    beside = (
        select(companion.c.id)
        .join(report, companion.c.report_id == report.c.id)
        .join(study, report.c.study_id == study.c.id)
        .where(companion.c.removal.is_(None), companion.c.created_at < before)
        .where(_finished(before))
        .order_by(companion.c.created_at)
    )
    return images, beside


def _unlabelled(before: float | None) -> ColumnElement[bool]:
    """What nobody has judged, or so long ago that it has taught what it can."""
    judged = select(label.c.id).where(label.c.instance_id == instance.c.id).exists()
    reported = select(report_label.c.study_id).where(report_label.c.study_id == instance.c.study_id)
    unlabelled = ~judged & ~reported.exists()
    return unlabelled if before is None else or_(unlabelled, instance.c.received_at < before)


def _sampled() -> ColumnElement[bool]:
    """What is to be read for an acceptance test that is open."""
    return sampled_studies().where(acceptance_case.c.study_id == instance.c.study_id).exists()


def _finished(before: float) -> ColumnElement[bool]:
    of_study = report.alias("of_study")
    on_its_way = (
        select(delivery.c.id)
        .join(of_study, delivery.c.report_id == of_study.c.id)
        .where(of_study.c.study_id == study.c.id, delivery.c.state.in_(_OPEN))
    )
    return and_(
        study.c.state == StudyState.REPORTED, study.c.reported_at < before, ~on_its_way.exists()
    )

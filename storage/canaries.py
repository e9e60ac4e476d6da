"""The canary: a test image that a run sends, what became of it, and what it is known to score.

Its study is in no list (`storage.listing`), so that no worklist, label, hold-out or chart has it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import insert, select

from storage.database import Database
from storage.records import Arrival, DeliveryState, Finding, JobState, Sha256
from storage.results import answered
from storage.run_rows import run_rows, to_run
from storage.runs import Runs
from storage.schedule_records import Run, RunId, RunKind, RunState
from storage.schema import canary, canary_score, delivery, instance, job, report, run, study


@dataclass(frozen=True, slots=True)
class Canary:
    """What a run sends: under these UIDs, at that time."""

    study_instance_uid: str
    sop_instance_uid: str
    sent_at: float


@dataclass(frozen=True, slots=True)
class Delivered:
    """A canary's report on its way to one PACS."""

    pacs: str
    state: DeliveryState
    sent_uid: str | None
    error: str | None


@dataclass(frozen=True, slots=True)
class Way:
    """How far a canary has come."""

    arrival: Arrival | None = None
    job: JobState | None = None
    reason: str | None = None  # why it was not analysed
    bundle: str | None = None
    findings: tuple[Finding, ...] = ()
    report: Sha256 | None = None
    deliveries: tuple[Delivered, ...] = ()


class Canaries:
    """The canaries of a service. Safe to use from several threads."""

    def __init__(self, database: Database) -> None:
        """Work on a migrated database."""
        self._database = database

    def note(self, run_id: RunId, one: Canary) -> None:
        """Note a canary before it is sent. A run whose process died has sent one before it."""
        with self._database.write() as connection:
            connection.execute(
                insert(canary).values(
                    run_id=run_id,
                    study_instance_uid=one.study_instance_uid,
                    sop_instance_uid=one.sop_instance_uid,
                    sent_at=one.sent_at,
                )
            )

    def way(self, one: Canary) -> Way:
        """Return how far it has come."""
        uid = one.sop_instance_uid
        with self._database.read() as connection:
            image = connection.execute(
                select(job.c.state, job.c.reason)
                .join(instance, job.c.instance_id == instance.c.id)
                .where(instance.c.sop_instance_uid == uid)
            ).first()
            answers = answered(connection, instance.c.sop_instance_uid == uid)
            made = connection.execute(
                select(report.c.id, report.c.sha256)
                .join(study, report.c.study_id == study.c.id)
                .where(study.c.study_instance_uid == one.study_instance_uid)
                .order_by(report.c.version.desc())
            ).first()
            sent = [] if made is None else connection.execute(
                select(delivery)
                .where(delivery.c.report_id == made.id, delivery.c.companion_id.is_(None))
                .order_by(delivery.c.pacs)
            ).all()  # fmt: skip
        result = answers[0].result if answers else None
        return Way(
            arrival=answers[0].instance.arrival if answers else None,
            job=None if image is None else JobState(image.state),
            reason=result.reason if result is not None else image and image.reason,
            bundle=None if result is None else result.bundle,
            findings=() if result is None else result.findings,
            report=None if made is None else Sha256(made.sha256),
            deliveries=tuple(
                Delivered(row.pacs, DeliveryState(row.state), row.sent_uid, row.last_error)
                for row in sent
            ),
        )  # fmt: skip

    def known(self, bundle: str, image: Sha256) -> dict[str, float]:
        """Return what a bundle, by its digest, is known to say of an image; nothing if unknown."""
        query = select(canary_score.c.finding, canary_score.c.probability)
        of_both = (canary_score.c.bundle == bundle) & (canary_score.c.image == image)
        with self._database.read() as connection:
            return {
                row.finding: row.probability for row in connection.execute(query.where(of_both))
            }

    def learn(self, bundle: str, image: Sha256, said: Mapping[str, float], now: float) -> None:
        """Keep what a bundle says of an image, once and for all."""
        with self._database.write() as connection:
            connection.execute(
                insert(canary_score),
                [
                    {"bundle": bundle, "image": image, "finding": name, "probability": value,
                     "known_at": now}
                    for name, value in said.items()
                ],
            )  # fmt: skip

    def overdue(self, before: float) -> Run | None:
        """Return a canary's run that was due before that time and has not ended, if any."""
        waiting = (one for one in Runs(self._database).open() if one.kind is RunKind.CANARY)
        return next((one for one in waiting if one.due_at < before), None)

    def last(self) -> Run | None:
        """Return the last run of a canary that has ended, if any has."""
        ended = [state for state in RunState if state.is_final and state is not RunState.CANCELLED]
        query = (
            run_rows()
            .where(run.c.kind == RunKind.CANARY, run.c.state.in_(ended))
            .order_by(run.c.id.desc())
            .limit(1)
        )
        with self._database.read() as connection:
            row = connection.execute(query).first()
        return None if row is None else to_run(row)

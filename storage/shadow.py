"""What a candidate says of live images beside what serves: claimed, answered, compared.

Nothing of it is in a report, in a list of studies, or before a reader. A service has one process
that classifies so; should two claim the same image, the second answer replaces the first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, func, insert, select, update

from storage.database import Database, insert_or
from storage.holdout import patient_key
from storage.records import InstanceId, JobState, ResultStatus, Sha256
from storage.results import cut
from storage.schema import (
    finding,
    instance,
    job,
    label,
    report_label,
    result,
    shadow,
    shadow_finding,
    study,
    study_header,
    trial,
)
from storage.shadow_records import (
    Compared,
    Decision,
    ShadowJob,
    ShadowState,
    Trial,
    TrialId,
    TrialState,
)

ATTEMPTS = 3
DIED = "Each time it was begun, the process ended."


class Shadow:
    """The images of trials. Safe to use from several threads."""

    def __init__(self, database: Database) -> None:
        """Work on a migrated database."""
        self._database = database

    def idle(self) -> bool:
        """Whether no image waits for the serving bundle, or is in its work."""
        states = [JobState.PENDING, JobState.RUNNING]
        with self._database.read() as connection:
            query = select(job.c.id).where(job.c.state.in_(states)).limit(1)
            return connection.execute(query).first() is None

    def claim(self, of: Trial, now: float) -> ShadowJob | None:
        """Begin the next image that the serving bundle has analysed since the trial began.

        One whose process died is begun again, and given up in the end.
        """
        known = select(shadow.c.id).where(
            shadow.c.trial_id == of.id,
            shadow.c.instance_id == instance.c.id,
            shadow.c.state != ShadowState.RUNNING,
        )
        query = (
            select(result.c.id.label("result_id"), instance.c.id, instance.c.sha256)
            .join(instance, result.c.instance_id == instance.c.id)
            .where(result.c.id > of.after_result, result.c.status == ResultStatus.ANALYSED)
            .where(result.c.bundle == of.against.version, instance.c.removal.is_(None))
            .where(~known.exists())
            .order_by(result.c.id)
            .limit(1)
        )
        with self._database.read() as connection:  # who waits for images takes no write lock
            if connection.execute(query).first() is None:
                return None
        with self._database.write() as connection:
            row = connection.execute(query).first()
            if row is None:
                return None
            begun = {"state": ShadowState.RUNNING, "at": now}
            new = insert_or(connection, shadow).values(
                trial_id=of.id, instance_id=row.id, attempts=1, **begun
            )
            again = new.on_conflict_do_update(
                index_elements=["trial_id", "instance_id"],
                set_={"attempts": shadow.c.attempts + 1, **begun},
            )
            made = connection.execute(again.returning(shadow.c.id, shadow.c.attempts)).one()
            given_up = made.attempts > ATTEMPTS
            if given_up:
                _answer(connection, made.id, ShadowState.FAILED, DIED, now)
            said = connection.execute(select(finding).where(finding.c.result_id == row.result_id))
            serving = {one.name: (one.probability, one.threshold) for one in said}
        if given_up:
            return self.claim(of, now)
        return ShadowJob(made.id, InstanceId(row.id), Sha256(row.sha256), made.attempts, serving)

    def finish(
        self,
        claimed: ShadowJob,
        state: ShadowState,
        now: float,
        decisions: Iterable[Decision] = (),
        reason: str | None = None,
    ) -> None:
        """Answer an image once: another answer takes this one's place."""
        with self._database.write() as connection:
            _answer(connection, claimed.id, state, reason, now)
            connection.execute(
                delete(shadow_finding).where(shadow_finding.c.shadow_id == claimed.id)
            )
            rows = [
                {"shadow_id": claimed.id, "position": position, **_columns(one)}
                for position, one in enumerate(decisions)
            ]
            if rows:
                connection.execute(insert(shadow_finding), rows)

    def compared(self, which: TrialId) -> list[Compared]:
        """Return the images of a trial that the candidate has answered for, the oldest first."""
        query = (
            select(
                shadow.c.id, shadow.c.instance_id, shadow.c.state, instance.c.study_id,
                study.c.study_instance_uid,
                func.coalesce(study_header.c.patient_id, "").label("patient_id"),
                func.coalesce(study_header.c.issuer, "").label("issuer"),
            )
            .join(instance, shadow.c.instance_id == instance.c.id)
            .join(study, instance.c.study_id == study.c.id)
            .outerjoin(study_header, study_header.c.study_id == study.c.id)
            .where(shadow.c.trial_id == which, shadow.c.state != ShadowState.RUNNING)
            .order_by(shadow.c.id)
        )  # fmt: skip
        with self._database.read() as connection:
            decided = _decisions(connection, which)
            readers, reports = _readers(connection, which), _reports(connection, which)
            return [
                Compared(
                    InstanceId(row.instance_id), ShadowState(row.state),
                    patient_key(row.patient_id, row.issuer, row.study_instance_uid),
                    tuple(decided[row.id]),
                    _truth(readers[row.instance_id], reports[row.study_id]),
                )
                for row in connection.execute(query)
            ]  # fmt: skip


def awaited() -> ColumnElement[bool]:
    """Whether an open trial still has to classify an `instance`: its file has to stay."""
    answered = (
        select(shadow.c.id)
        .where(shadow.c.trial_id == trial.c.id, shadow.c.instance_id == instance.c.id)
        .where(shadow.c.state != ShadowState.RUNNING)
        .correlate(trial, instance)
    )
    waiting = (
        select(trial.c.id)
        .join(result, result.c.id > trial.c.after_result)
        .where(trial.c.state == TrialState.OPEN, result.c.instance_id == instance.c.id)
        .where(result.c.status == ResultStatus.ANALYSED, ~answered.exists())
        .correlate(instance)
    )
    return waiting.exists()


def _answer(
    connection: Connection, which: int, state: ShadowState, reason: str | None, now: float
) -> None:
    told = None if reason is None else cut(reason)
    values = {"state": state, "reason": told, "at": now}
    connection.execute(update(shadow).where(shadow.c.id == which).values(values))


def _columns(one: Decision) -> dict[str, Any]:
    return {
        "name": one.name, "probability": one.probability, "threshold": one.threshold,
        "serving_probability": one.serving_probability, "serving_threshold": one.serving_threshold,
    }  # fmt: skip


def _decisions(connection: Connection, which: TrialId) -> dict[int, list[Decision]]:
    found: dict[int, list[Decision]] = defaultdict(list)
    query = (
        select(shadow_finding)
        .join(shadow, shadow_finding.c.shadow_id == shadow.c.id)
        .where(shadow.c.trial_id == which)
        .order_by(shadow_finding.c.shadow_id, shadow_finding.c.position)
    )
    for row in connection.execute(query):
        found[row.shadow_id].append(
            Decision(
                row.name, row.probability, row.threshold,
                row.serving_probability, row.serving_threshold,
            )
        )  # fmt: skip
    return found


def _readers(connection: Connection, which: TrialId) -> dict[int, dict[str, set[bool]]]:
    found: dict[int, dict[str, set[bool]]] = defaultdict(lambda: defaultdict(set))
    query = (
        select(label.c.instance_id, label.c.finding, label.c.present)
        .join(shadow, shadow.c.instance_id == label.c.instance_id)
        .where(shadow.c.trial_id == which)
    )
    for row in connection.execute(query):
        found[row.instance_id][row.finding].add(row.present)
    return found


def _reports(connection: Connection, which: TrialId) -> dict[int, dict[str, bool]]:
    found: dict[int, dict[str, bool]] = defaultdict(dict)
    query = (
        select(report_label.c.study_id, report_label.c.finding, report_label.c.present)
        .join(instance, instance.c.study_id == report_label.c.study_id)
        .join(shadow, shadow.c.instance_id == instance.c.id)
        .where(shadow.c.trial_id == which)
    )
    for row in connection.execute(query):
        found[row.study_id][row.finding] = row.present
    return found


def _truth(readers: dict[str, set[bool]], report: dict[str, bool]) -> dict[str, bool]:
    """As `training.local.said_of`: readers who agree, else the report; where they differ, none."""
    agreed = {name: next(iter(said)) for name, said in readers.items() if len(said) == 1}
    rest = {name: present for name, present in report.items() if name not in readers}
    return {**agreed, **rest}

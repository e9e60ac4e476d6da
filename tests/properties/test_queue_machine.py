"""The queue under any order of events, stale workers among them.

Whatever happens: no acknowledged instance is lost, at most one worker holds a claim, a stale
token never writes, an instance has at most one result, states change only as drawn, and no
result is reported twice or forgotten.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from storage.errors import LostClaim, StorageError
from storage.records import (
    Acceptance,
    AnsweredInstance,
    Job,
    JobDetails,
    JobId,
    JobState,
    Result,
    StudyId,
    StudyJob,
    StudyState,
)
from tests.storing import Storage, analysed, arrival, new_report, open_storage

LEASE_S = 10
OWNERS = st.sampled_from(["w1", "w2"])
STUDY_UIDS = st.sampled_from(["9.1", "9.1", "9.2"])
HOW = st.sampled_from(["finish", "retry", "quarantine", "quarantine", "unreadable", "ignore"])
BYTES = st.sampled_from([""] * 5 + ["other"])
EVENTS = (
    ["accept"] * 3
    + ["claim", "end"] * 4
    + ["classify_all"] * 2
    + ["time_passes", "worker_dies", "by_hand", "by_hand"]
    + ["claim_study", "end_study"] * 4
)
Draw = Callable[[st.SearchStrategy[Any]], Any]
PENDING, RUNNING, DONE, QUARANTINED = JobState

DRAWN = {
    (PENDING, RUNNING),
    (RUNNING, DONE),
    (RUNNING, PENDING),
    (RUNNING, QUARANTINED),
    (QUARANTINED, PENDING),
    (PENDING, QUARANTINED),  # by hand
    (PENDING, DONE),  # claimed and finished within one rule
}


@pytest.fixture(scope="module", autouse=True)
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Migrate once; every example copies the file."""
    root = tmp_path_factory.mktemp("template")
    open_storage(root).database.close()
    QueueMachine.template = root / "hilum.db"
    return root


class QueueMachine(RuleBasedStateMachine):
    template: Path

    @initialize()
    def open(self) -> None:
        memory = Path("/dev/shm")  # a kill is not tested here, so nothing need reach a disk
        self.root = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))
        shutil.copy(self.template, self.root / "hilum.db")
        self.storage: Storage = open_storage(self.root, migrate=False)
        self.now = 1000.0
        self.accepted: dict[tuple[str, str], Acceptance] = {}
        self.held: list[Job] = []  # every claim ever given, live and stale
        self.live: dict[JobId, Job] = {}
        self.studies_held: list[StudyJob] = []
        self.study_live: dict[StudyId, tuple[StudyJob, str, float]] = {}  # owner, lease
        self.reports: dict[str, list[set[tuple[int, Result]]]] = {}
        self.answers = 0
        self.before: dict[JobId, JobState] = {}
        for number in range(1, 5):
            self._accept(number, "")

    def teardown(self) -> None:
        if hasattr(self, "root"):
            self.storage.database.close()
            shutil.rmtree(self.root)

    # -- what happens --------------------------------------------------------------------------

    # One rule: Hypothesis leaves rules out at random, and the long ways need them all.
    @rule(data=st.data(), what=st.sampled_from(EVENTS))
    def happens(self, data: st.DataObject, what: str) -> None:
        getattr(self, what)(data.draw)

    def accept(self, draw: Draw) -> None:
        self._accept(draw(st.integers(1, 20)), draw(BYTES))

    def _accept(self, number: int, content: str) -> None:
        self.now += 1  # so that a study need not wait for what came after it
        uid = f"1.{number}"
        answer = self.storage.queue.accept(arrival(uid, content, self.now))
        if (uid, content) in self.accepted:
            assert answer is Acceptance.REPEATED
            return
        known = any(other == uid for other, _ in self.accepted)
        assert answer is (Acceptance.CONFLICT if known else Acceptance.NEW)
        self.accepted[(uid, content)] = answer

    def claim(self, draw: Draw) -> None:
        job = self.storage.queue.claim(draw(OWNERS), LEASE_S, self.now)
        if job is None:
            return
        assert job.id not in self.live
        assert all(job.token > old.token for old in self.held if old.id == job.id)
        self.held.append(job)
        self.live[job.id] = job

    def end(self, draw: Draw) -> None:
        """Write under a live claim, one taken over, or the last: only the live one counts."""
        if not self.held:
            return
        stale = [old for old in self.held if self.live.get(old.id, old) is not old]
        job = draw(st.sampled_from([*self.live.values(), *stale, self.held[-1]]))
        how, seconds = draw(HOW), draw(st.sampled_from([0, 3]))
        before = self._show(job.id)
        # An instance that has a study stays in it: its dataset says so.
        study_uid = before.study_instance_uid or draw(STUDY_UIDS)
        queue, now, answer = self.storage.queue, self.now, self._result()

        def write() -> None:
            if how == "finish":
                queue.finish(job, answer, study_uid, seconds, now)
            elif how == "retry":
                queue.retry(job, "failed", "", now + seconds, now)
            elif how == "quarantine" or before.study_instance_uid:
                queue.quarantine(job, "crashed", answer.reason or "", now, study_uid, 0)
            elif how == "unreadable":
                queue.quarantine(job, "unreadable", "", now, None, 0)
            else:
                queue.ignore(job, "own_object", "", now)

        if self.live.get(job.id) is job:
            write()
            del self.live[job.id]
        else:
            with pytest.raises(LostClaim):
                write()
            assert self._show(job.id) == before

    def classify_all(self, draw: Draw) -> None:
        """Leave nothing open that could hold a report back."""
        self.now += 4  # whatever was put back waits no longer
        while job := self.storage.queue.claim("w1", LEASE_S, self.now):
            self.held.append(job)
            self.live[job.id] = job
        for job in self.live.values():
            uid = self._show(job.id).study_instance_uid or draw(STUDY_UIDS)
            self.storage.queue.finish(job, self._result(), uid, 0, self.now)
        self.live.clear()

    def time_passes(self, draw: Draw) -> None:
        self.now += draw(st.sampled_from([1, 4, LEASE_S + 1]))
        due = {job.id for job in self.live.values() if job.lease_until <= self.now}
        studies = {k for k, (_, _, until) in self.study_live.items() if until <= self.now}
        assert bool(self.storage.queue.overdue(self.now)) == bool(due or studies)
        released = self.storage.queue.release_expired(self.now)
        assert released == len(due) + len(studies)
        self._end(due, studies)

    def worker_dies(self, draw: Draw) -> None:
        owner = draw(OWNERS)
        jobs = {job_id for job_id in self.live if self._show(job_id).owner == owner}
        studies = {k for k, (_, theirs, _) in self.study_live.items() if theirs == owner}
        assert self.storage.queue.release(owner, self.now) == len(jobs) + len(studies)
        self._end(jobs, studies)

    def by_hand(self, draw: Draw) -> None:
        quarantined = sorted(k for k, state in self.before.items() if state is QUARANTINED)
        job_id = draw(st.sampled_from(quarantined or sorted(self.before)))
        queue, state = self.storage.queue, self.before[job_id]
        if state is not QUARANTINED:
            with pytest.raises(StorageError):
                queue.retry_by_hand(job_id, self.now)
        if state is QUARANTINED:
            queue.retry_by_hand(job_id, self.now)
            assert self._show(job_id).result is None
        elif state is DONE:
            with pytest.raises(StorageError):
                queue.quarantine_by_hand(job_id, "", self.now)
        else:
            queue.quarantine_by_hand(job_id, self._result().reason or "", self.now)
            self.live.pop(job_id, None)

    def claim_study(self, draw: Draw) -> None:
        owner = draw(OWNERS)
        study = self.storage.studies.claim_due(owner, LEASE_S, self.now)
        if study is None:
            return
        assert all(study.token > old.token for old in self.studies_held if old.id == study.id)
        assert study.id not in self.study_live
        assert study.version == len(self.reports.get(study.study_instance_uid, [])) + 1
        self.studies_held.append(study)
        self.study_live[study.id] = (study, owner, self.now + LEASE_S)

    def end_study(self, draw: Draw) -> None:
        if not self.studies_held:
            return
        live = [study for study, _, _ in self.study_live.values()]
        stale = [old for old in self.studies_held if old.id in self.study_live and old not in live]
        study = draw(st.sampled_from([*live, *stale, self.studies_held[-1]]))
        fails = draw(st.sampled_from([False, False, True]))
        made = new_report(f"7.{study.id}.{study.token}")

        def write() -> None:
            if fails:
                self.storage.studies.failed(study, "failed", "", self.now, self.now)
            else:
                self.storage.studies.reported(study, made, ["a"], self.now)

        if self.study_live.get(study.id, (None,))[0] is not study:
            with pytest.raises(LostClaim):
                write()
            return
        write()
        del self.study_live[study.id]
        if not fails:
            versions = self.reports.setdefault(study.study_instance_uid, [])
            named = _named(study.instances)
            assert named not in versions  # never the same report twice
            versions.append(named)

    # -- what always holds ---------------------------------------------------------------------

    @invariant()
    def nothing_acknowledged_is_lost(self) -> None:
        if not hasattr(self, "root"):
            return
        rows = self.storage.queue.rows()
        assert len(rows) == len(self.accepted)
        assert {(row.sop_instance_uid, row.sha256) for row in rows} == {
            (uid, arrival(uid, content).sha256) for uid, content in self.accepted
        }

    @invariant()
    def states_change_as_drawn(self) -> None:
        if not hasattr(self, "root"):
            return
        after = {row.id: row.state for row in self.storage.queue.rows()}
        for job_id, state in after.items():
            old = self.before.get(job_id, state)
            assert old is state or (old, state) in DRAWN, (job_id, old, state)
        assert {job_id for job_id, state in after.items() if state is RUNNING} == set(self.live)
        self.before = after

    @invariant()
    def a_claim_is_what_the_database_says(self) -> None:
        if not hasattr(self, "root"):
            return
        for job_id, job in self.live.items():
            shown = self._show(job_id)
            assert shown.lease_until == job.lease_until
            assert shown.result is None

    @invariant()
    def every_result_is_reported_or_will_be(self) -> None:
        if not hasattr(self, "root"):
            return
        for row in self.storage.studies.rows():
            versions = self.reports.get(row.study_instance_uid, [])
            assert row.report_version == len(versions)
            if row.state is StudyState.REPORTED:
                have = self.storage.studies.show(row.study_instance_uid).instances
                assert _named(have) <= versions[-1]
        assert len(self.storage.outbox.rows()) == sum(map(len, self.reports.values()))

    # -- help ----------------------------------------------------------------------------------

    def _show(self, job_id: JobId) -> JobDetails:
        return self.storage.queue.show(job_id)

    def _result(self) -> Result:
        """Return a result that no other instance has."""
        self.answers += 1
        return replace(analysed(), reason=str(self.answers))

    def _end(self, jobs: set[JobId], studies: set[StudyId]) -> None:
        for job_id in jobs:
            del self.live[job_id]
        for study_id in studies:
            del self.study_live[study_id]


def _named(instances: tuple[AnsweredInstance, ...]) -> set[tuple[int, Result]]:
    return {(one.instance.id, one.result) for one in instances}


usual = settings(
    max_examples=50,
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


class TestQueueMachine(QueueMachine.TestCase):
    settings = usual


@pytest.mark.soak
@pytest.mark.timeout(900)
class TestQueueMachineLong(QueueMachine.TestCase):
    settings = settings(usual, max_examples=1000)

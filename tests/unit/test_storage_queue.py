"""The queue: what an acknowledged instance goes through."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from storage.database import open_database
from storage.errors import LostClaim, NotFound, StorageError
from storage.queue import Queue
from storage.records import (
    Acceptance,
    Counts,
    DeliveryState,
    Job,
    JobId,
    JobState,
    Result,
    ResultStatus,
)
from storage.sqlite import sqlite
from tests import databases
from tests.storing import Storage, analysed, arrival, open_storage


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(tmp_path)


@pytest.fixture
def queue(storage: Storage) -> Queue:
    return storage.queue


def claimed(queue: Queue, owner: str = "w1", now: float = 100) -> Job:
    job = queue.claim(owner, 60, now)
    assert job is not None
    return job


def states(queue: Queue) -> list[tuple[str, JobState, str | None]]:
    return [(r.sop_instance_uid, r.state, r.reason_code) for r in reversed(queue.rows())]


# -- accept ------------------------------------------------------------------------------------


def test_a_new_instance_gets_a_job(queue: Queue) -> None:
    assert queue.accept(arrival("1.2", received_at=7)) is Acceptance.NEW
    (row,) = queue.rows()
    assert (row.state, row.attempts, row.received_at) == (JobState.PENDING, 0, 7)
    assert queue.show(row.id).arrival == arrival("1.2", received_at=7)


def test_the_same_bytes_again_are_counted_and_change_nothing(queue: Queue) -> None:
    queue.accept(arrival("1.2"))
    before = queue.rows()
    for _ in range(3):
        assert queue.accept(arrival("1.2", received_at=9)) is Acceptance.REPEATED
    assert queue.rows() == before
    assert queue.show(before[0].id).repeats == 3


def test_other_bytes_under_a_known_uid_are_kept_and_quarantined(queue: Queue) -> None:
    queue.accept(arrival("1.2", "first"))
    assert queue.accept(arrival("1.2", "second")) is Acceptance.CONFLICT
    assert queue.accept(arrival("1.2", "third")) is Acceptance.CONFLICT
    assert queue.accept(arrival("1.2", "second")) is Acceptance.REPEATED
    assert queue.accept(arrival("1.2", "first")) is Acceptance.REPEATED
    assert states(queue) == [
        ("1.2", JobState.PENDING, None),
        ("1.2", JobState.QUARANTINED, "uid_conflict"),
        ("1.2", JobState.QUARANTINED, "uid_conflict"),
    ]
    assert len({row.sha256 for row in queue.rows()}) == 3


def test_the_same_image_100_times_over_5_connections_makes_one_job(tmp_path: Path) -> None:
    queues = [open_storage(tmp_path).queue]
    queues += [Queue(open_database(databases.url(tmp_path / "hilum.db"))) for _ in range(4)]
    answers: list[Acceptance] = []

    def send(queue: Queue) -> None:
        for _ in range(20):
            answers.append(queue.accept(arrival("1.2")))

    threads = [threading.Thread(target=send, args=(queue,)) for queue in queues]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(answers) == [Acceptance.NEW] + [Acceptance.REPEATED] * 99
    (row,) = queues[0].rows()
    assert queues[0].show(row.id).repeats == 99


# -- claim -------------------------------------------------------------------------------------


def test_an_empty_queue_gives_nothing(queue: Queue) -> None:
    assert queue.claim("w1", 60, 100) is None


def test_a_claim_is_durable_counted_and_fenced(queue: Queue) -> None:
    queue.accept(arrival("1.2", received_at=50))
    job = claimed(queue)
    assert (job.attempts, job.token, job.lease_until) == (1, 1, 160)
    assert job.instance.arrival == arrival("1.2", received_at=50)
    assert job.instance.study_id is None
    shown = queue.show(job.id)
    assert (shown.row.state, shown.owner, shown.lease_until) == (JobState.RUNNING, "w1", 160)
    assert queue.claim("w2", 60, 100) is None


def test_what_was_received_first_is_claimed_first(queue: Queue) -> None:
    for uid, received_at in [("1.3", 30.0), ("1.1", 10.0), ("1.2", 20.0), ("1.11", 10.0)]:
        queue.accept(arrival(uid, received_at=received_at))
    order = [claimed(queue).instance.arrival.sop_instance_uid for _ in range(4)]
    assert order == ["1.1", "1.11", "1.2", "1.3"]


def test_an_idle_claim_takes_no_write_lock(queue: Queue, tmp_path: Path) -> None:
    with sqlite.connect(tmp_path / "hilum.db", isolation_level=None) as writer:
        writer.execute("BEGIN IMMEDIATE")
        assert queue.claim("w1", 60, 100) is None
        writer.execute("ROLLBACK")


def test_a_fresh_claim_passes_over_what_was_ever_claimed(queue: Queue) -> None:
    """What may have ended its worker is not worked on beside another image."""
    for number in (1, 2):
        queue.accept(arrival(f"1.{number}", received_at=number))
    first = claimed(queue)
    queue.release("w1", 100)
    fresh = queue.claim("w1", 60, 100, fresh=True)
    assert fresh is not None
    assert fresh.instance.arrival.sop_instance_uid == "1.2"
    assert queue.claim("w1", 60, 100, fresh=True) is None
    again = claimed(queue)
    assert (again.id, again.attempts) == (first.id, 2)


def test_a_clock_set_back_holds_no_new_job_up(queue: Queue) -> None:
    queue.accept(arrival("1.2", received_at=100_000))
    assert claimed(queue, now=100).attempts == 1


# -- finish, ignore, retry, quarantine ---------------------------------------------------------


def test_finish_stores_the_result_with_its_findings_in_order(storage: Storage) -> None:
    storage.queue.accept(arrival("1.2", received_at=50))
    job = claimed(storage.queue)
    storage.queue.finish(job, analysed(), "9.9", 20, 101)

    shown = storage.queue.show(job.id)
    assert (shown.row.state, shown.owner, shown.lease_until) == (JobState.DONE, None, None)
    assert shown.study_instance_uid == "9.9"
    assert shown.result == analysed()
    assert [f.present for f in analysed().findings] == [True, False]
    assert storage.studies.show("9.9").due_at == 70


def test_a_result_that_was_not_analysed_keeps_its_reason(queue: Queue) -> None:
    queue.accept(arrival("1.2"))
    job = claimed(queue)
    answer = Result(ResultStatus.NOT_ANALYSED, reason_code="lateral", reason="a lateral view")
    queue.finish(job, answer, "9.9", 0, 101)
    assert queue.show(job.id).result == answer
    assert queue.show(job.id).row.state is JobState.DONE


def test_a_probability_that_is_none_is_refused_whole(queue: Queue) -> None:
    queue.accept(arrival("1.2"))
    job = claimed(queue)
    for wrong in (1.5, -0.1, float("nan")):
        with pytest.raises(StorageError, match="probability"):
            queue.finish(job, analysed(wrong), "9.9", 0, 101)
    shown = queue.show(job.id)
    assert (shown.row.state, shown.result, shown.study_instance_uid) == (
        JobState.RUNNING,
        None,
        None,
    )


def test_ignore_ends_a_job_without_a_result(storage: Storage) -> None:
    storage.queue.accept(arrival("1.2"))
    job = claimed(storage.queue)
    storage.queue.ignore(job, "own_object", "made by Hilum", 101)
    shown = storage.queue.show(job.id)
    assert (shown.row.state, shown.row.reason_code, shown.result) == (
        JobState.DONE,
        "own_object",
        None,
    )
    assert storage.studies.rows() == []


def test_a_retried_job_waits_for_its_time(queue: Queue) -> None:
    queue.accept(arrival("1.2"))
    queue.retry(claimed(queue), "failed", "no memory", 130, 101)
    assert states(queue) == [("1.2", JobState.PENDING, "failed")]
    assert queue.claim("w2", 60, 129) is None
    again = claimed(queue, "w2", 130)
    assert (again.attempts, again.token) == (2, 2)


def test_a_quarantined_job_of_no_known_study_waits_for_an_administrator(storage: Storage) -> None:
    storage.queue.accept(arrival("1.2"))
    storage.queue.quarantine(claimed(storage.queue), "unreadable", "no header", 101, None, 20)
    assert states(storage.queue) == [("1.2", JobState.QUARANTINED, "unreadable")]
    assert storage.studies.rows() == []
    assert storage.queue.claim("w1", 60, 1000) is None


def test_a_quarantined_job_is_named_in_its_study(storage: Storage) -> None:
    storage.queue.accept(arrival("1.2", received_at=50))
    job = claimed(storage.queue)
    storage.queue.quarantine(job, "crashed", "the decoder died", 101, "9.9", 20)
    (one,) = storage.studies.show("9.9").instances
    assert one.result == Result(
        ResultStatus.NOT_ANALYSED, reason_code="crashed", reason="the decoder died"
    )
    assert storage.studies.show("9.9").due_at == 70


def test_free_text_is_cut(storage: Storage) -> None:
    long = "é" * 5000
    storage.queue.accept(arrival("1.2"))
    storage.queue.retry(claimed(storage.queue), "failed", long, 0, 101)
    assert storage.queue.rows()[0].reason == "é" * 1000
    storage.queue.quarantine(claimed(storage.queue), "failed", long, 101, "9.9", 0)
    assert storage.queue.rows()[0].reason == "é" * 1000
    assert storage.studies.show("9.9").instances[0].result.reason == "é" * 1000


# -- fencing -----------------------------------------------------------------------------------


def test_a_worker_that_was_taken_over_writes_nothing(queue: Queue) -> None:
    queue.accept(arrival("1.2"))
    stale = claimed(queue, "w1")
    assert queue.release_expired(159.9) == 0
    assert queue.release_expired(160) == 1
    fresh = claimed(queue, "w2", 161)
    assert fresh.token > stale.token

    for write in (
        lambda job: queue.finish(job, analysed(), "9.9", 0, 162),
        lambda job: queue.ignore(job, "own_object", "", 162),
        lambda job: queue.retry(job, "failed", "", 0, 162),
        lambda job: queue.quarantine(job, "failed", "", 162, "9.9", 0),
    ):
        with pytest.raises(LostClaim):
            write(stale)
    assert queue.show(fresh.id).owner == "w2"
    assert queue.show(fresh.id).result is None
    queue.finish(fresh, analysed(), "9.9", 0, 163)
    with pytest.raises(LostClaim):
        queue.finish(fresh, analysed(), "9.9", 0, 164)


def test_a_released_claim_is_lost_before_anyone_takes_it(queue: Queue) -> None:
    queue.accept(arrival("1.2"))
    job = claimed(queue)
    queue.release("w1", 101)
    with pytest.raises(LostClaim):
        queue.finish(job, analysed(), "9.9", 0, 102)


def test_a_forged_token_is_refused(queue: Queue) -> None:
    queue.accept(arrival("1.2"))
    job = claimed(queue)
    with pytest.raises(LostClaim, match=f"Job {job.id} "):
        queue.finish(replace(job, token=job.token + 1), analysed(), "9.9", 0, 101)  # type: ignore[arg-type]


# -- release -----------------------------------------------------------------------------------


def test_a_dead_worker_gives_its_jobs_and_studies_back_at_once(storage: Storage) -> None:
    queue = storage.queue
    for uid in ("1.1", "1.2", "1.3"):
        queue.accept(arrival(uid))
    queue.finish(claimed(queue, "w1"), analysed(), "9.9", 0, 100)
    other, mine = claimed(queue, "w2"), claimed(queue, "w1")
    queue.finish(other, analysed(), "9.8", 0, 100)
    queue.quarantine(mine, "crashed", "", 100, "9.7", 0)
    assert storage.studies.claim_due("w1", 60, 200) is not None
    queue.accept(arrival("1.4"))
    claimed(queue, "w1", 200)

    assert queue.release("w3", 201) == 0
    assert queue.release("w1", 201) == 2
    assert claimed(queue, "w2", 201).attempts == 2
    assert queue.overdue(300) == {"w2"}


def test_release_all_is_for_the_start(queue: Queue) -> None:
    for uid in ("1.1", "1.2", "1.3"):
        queue.accept(arrival(uid))
    claimed(queue, "w1")
    claimed(queue, "w2")
    assert queue.release_all(0) == 2
    assert queue.counts().jobs[JobState.PENDING] == 3


def test_overdue_names_who_hangs(queue: Queue) -> None:
    for uid in ("1.1", "1.2"):
        queue.accept(arrival(uid))
    claimed(queue, "w1", 100)
    claimed(queue, "w2", 130)
    assert queue.overdue(159) == set()
    assert queue.overdue(160) == {"w1"}


def test_overdue_names_who_hangs_in_a_report(storage: Storage, queue: Queue) -> None:
    queue.accept(arrival("1.1"))
    queue.finish(claimed(queue, "w1", 100), analysed(), "9.9", 0, 100)
    assert storage.studies.claim_due("w2", 60, 200) is not None
    assert queue.overdue(259) == set()
    assert queue.overdue(260) == {"w2"}


# -- by hand -----------------------------------------------------------------------------------


def test_a_hand_retry_starts_afresh_and_withdraws_the_refusal(storage: Storage) -> None:
    queue = storage.queue
    queue.accept(arrival("1.2"))
    job = claimed(queue)
    queue.quarantine(job, "crashed", "the decoder died", 101, "9.9", 0)
    queue.retry_by_hand(job.id, 102)

    shown = queue.show(job.id)
    assert (shown.row.state, shown.row.attempts, shown.row.reason) == (JobState.PENDING, 0, None)
    assert shown.result is None
    assert shown.study_instance_uid == "9.9"
    again = claimed(queue)
    assert (again.attempts, again.token) == (1, 2)
    queue.finish(again, analysed(), "9.9", 0, 103)
    assert queue.show(job.id).result == analysed()


def test_a_known_study_hears_of_a_second_quarantine_of_an_unreadable_object(
    storage: Storage,
) -> None:
    queue = storage.queue
    queue.accept(arrival("1.2"))
    job = claimed(queue)
    queue.quarantine(job, "crashed", "", 101, "9.9", 0)
    queue.retry_by_hand(job.id, 102)
    queue.quarantine(claimed(queue), "missing", "the object is gone", 103, None, 0)
    assert storage.studies.show("9.9").instances[0].result.reason_code == "missing"


def test_a_conflict_may_be_retried_by_hand(queue: Queue) -> None:
    queue.accept(arrival("1.2", "first"))
    queue.accept(arrival("1.2", "second"))
    (conflict,) = queue.rows([JobState.QUARANTINED])
    queue.retry_by_hand(conflict.id, 100)
    assert len(queue.rows([JobState.PENDING])) == 2


@pytest.mark.parametrize("running", [False, True])
def test_quarantine_by_hand_takes_a_job_from_whoever_has_it(queue: Queue, running: bool) -> None:
    queue.accept(arrival("1.2"))
    job = claimed(queue) if running else None
    queue.quarantine_by_hand(queue.rows()[0].id, "hangs the decoder", 101)
    (row,) = queue.rows()
    assert (row.state, row.reason_code, row.reason) == (
        JobState.QUARANTINED,
        "quarantined_by_hand",
        "hangs the decoder",
    )
    if job is not None:
        with pytest.raises(LostClaim):
            queue.finish(job, analysed(), "9.9", 0, 102)


def test_quarantine_by_hand_is_named_in_a_study_that_is_known(storage: Storage) -> None:
    queue = storage.queue
    queue.accept(arrival("1.2"))
    job = claimed(queue)
    queue.quarantine(job, "crashed", "", 101, "9.9", 0)
    queue.retry_by_hand(job.id, 102)
    queue.quarantine_by_hand(job.id, "leave it", 103)
    assert storage.studies.show("9.9").instances[0].result.reason == "leave it"


def test_what_makes_no_sense_by_hand_is_refused_and_says_why(queue: Queue) -> None:
    queue.accept(arrival("1.2"))
    (row,) = queue.rows()
    with pytest.raises(StorageError, match=r"is pending .* only a quarantined job can"):
        queue.retry_by_hand(row.id, 100)
    queue.finish(claimed(queue), analysed(), "9.9", 0, 101)
    with pytest.raises(StorageError, match=r"is done .* only a pending or running job can"):
        queue.quarantine_by_hand(row.id, "no", 102)
    for act in (
        lambda: queue.retry_by_hand(JobId(99), 100),
        lambda: queue.quarantine_by_hand(JobId(99), "no", 100),
        lambda: queue.show(JobId(99)),
    ):
        with pytest.raises(NotFound, match="99"):
            act()


# -- views -------------------------------------------------------------------------------------


def test_rows_are_the_newest_first_of_the_states_asked_for(queue: Queue) -> None:
    for number in range(5):
        queue.accept(arrival(f"1.{number}", received_at=number))
    claimed(queue)
    assert [row.sop_instance_uid for row in queue.rows(limit=2)] == ["1.4", "1.3"]
    assert [row.sop_instance_uid for row in queue.rows([JobState.RUNNING])] == ["1.0"]
    assert queue.rows([]) == []


def test_counts_name_every_state(queue: Queue) -> None:
    queue.accept(arrival("1.1"))
    queue.accept(arrival("1.2"))
    queue.accept(arrival("1.3"))
    queue.finish(claimed(queue), analysed(), "9.9", 0, 100)
    claimed(queue)
    assert queue.counts() == Counts(
        jobs={
            JobState.PENDING: 1,
            JobState.RUNNING: 1,
            JobState.DONE: 1,
            JobState.QUARANTINED: 0,
        },
        deliveries=dict.fromkeys(DeliveryState, 0),
    )


def test_open_objects_are_those_that_unfinished_jobs_need(queue: Queue) -> None:
    for uid in ("1.1", "1.2", "1.3"):
        queue.accept(arrival(uid))
    queue.finish(claimed(queue), analysed(), "9.9", 0, 100)
    claimed(queue)
    assert sorted(queue.open_objects()) == sorted([arrival("1.2").sha256, arrival("1.3").sha256])

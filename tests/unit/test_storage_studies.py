"""Studies: when a report is due, and that each is made once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from storage.errors import LostClaim, NotFound, StorageError
from storage.queue import Queue
from storage.records import DeliveryState, Job, ResultStatus, StudyId, StudyJob, StudyState
from storage.studies import Studies
from tests.storing import Storage, analysed, arrival, new_report, open_storage

QUIET_S = 20


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(tmp_path)


@pytest.fixture
def queue(storage: Storage) -> Queue:
    return storage.queue


@pytest.fixture
def studies(storage: Storage) -> Studies:
    return storage.studies


def claimed(queue: Queue, owner: str = "w1", now: float = 1e6) -> Job:
    job = queue.claim(owner, 60, now)
    assert job is not None
    return job


def classify(queue: Queue, uid: str, study_uid: str = "9.9", received_at: float = 0) -> None:
    """Accept an image and finish the oldest job, which is its own in an otherwise empty queue."""
    queue.accept(arrival(uid, received_at=received_at))
    queue.finish(claimed(queue), analysed(), study_uid, QUIET_S, received_at + 1)


def due(studies: Studies, now: float = 1e6, owner: str = "w1") -> StudyJob:
    study = studies.claim_due(owner, 60, now)
    assert study is not None
    return study


def seen(study: StudyJob) -> list[str]:
    return [one.instance.arrival.sop_instance_uid for one in study.instances]


# -- when it is due ----------------------------------------------------------------------------


def test_a_study_is_due_once_it_has_been_quiet(queue: Queue, studies: Studies) -> None:
    classify(queue, "1.1", received_at=100)
    assert studies.claim_due("w1", 60, 119.9) is None
    study = due(studies, 120)
    assert (study.study_instance_uid, study.version, study.token) == ("9.9", 1, 1)
    assert study.predecessor_uid is None
    assert studies.claim_due("w2", 60, 120) is None


def test_another_image_of_the_study_puts_it_off(queue: Queue, studies: Studies) -> None:
    classify(queue, "1.1", received_at=100)
    classify(queue, "1.2", received_at=110)
    assert studies.claim_due("w1", 60, 129) is None
    assert seen(due(studies, 130)) == ["1.1", "1.2"]


def test_the_image_received_last_counts_even_when_it_is_classified_first(
    queue: Queue, studies: Studies
) -> None:
    queue.accept(arrival("1.2", received_at=100))
    early = claimed(queue)
    classify(queue, "1.3", received_at=110)
    queue.finish(early, analysed(), "9.9", QUIET_S, 112)
    assert studies.show("9.9").due_at == 130
    assert seen(due(studies)) == ["1.2", "1.3"]


def test_no_quiet_time_reports_at_once(queue: Queue, studies: Studies) -> None:
    queue.accept(arrival("1.1", received_at=100))
    queue.finish(claimed(queue), analysed(), "9.9", 0, 101)
    assert seen(due(studies, 101)) == ["1.1"]


@pytest.mark.parametrize("running", [False, True])
def test_an_image_that_may_belong_to_it_is_waited_for(
    queue: Queue, studies: Studies, running: bool
) -> None:
    classify(queue, "1.1", received_at=100)
    queue.accept(arrival("1.2", received_at=120))  # the last moment that counts
    job = claimed(queue) if running else None
    assert studies.claim_due("w1", 60, 500) is None
    queue.finish(job or claimed(queue), analysed(), "9.8", QUIET_S, 501)
    assert seen(due(studies, 501)) == ["1.1"]


def test_an_image_that_came_after_its_quiet_time_is_not_waited_for(
    queue: Queue, studies: Studies
) -> None:
    classify(queue, "1.1", received_at=100)
    queue.accept(arrival("1.2", received_at=120.001))
    assert seen(due(studies, 121)) == ["1.1"]


def test_an_open_image_of_another_study_is_not_waited_for(queue: Queue, studies: Studies) -> None:
    queue.accept(arrival("1.1", received_at=100))
    job = claimed(queue)
    queue.quarantine(job, "crashed", "", 101, "9.8", QUIET_S)
    due(studies)
    queue.retry_by_hand(job.id, 102)  # open again, and its study is known
    queue.accept(arrival("1.2", received_at=100.5))
    _still_open, other = claimed(queue), claimed(queue)
    queue.finish(other, analysed(), "9.9", QUIET_S, 103)
    assert due(studies).study_instance_uid == "9.9"


def test_an_open_image_of_its_own_is_waited_for(queue: Queue, studies: Studies) -> None:
    classify(queue, "1.1", received_at=100)
    queue.accept(arrival("1.2", received_at=101))
    job = claimed(queue)
    queue.quarantine(job, "crashed", "", 102, "9.9", QUIET_S)
    queue.retry_by_hand(job.id, 103)
    assert studies.claim_due("w1", 60, 500) is None
    queue.finish(claimed(queue), analysed(), "9.9", QUIET_S, 501)
    assert seen(due(studies, 501)) == ["1.1", "1.2"]


def test_a_quarantined_or_conflicting_image_holds_nothing_up(
    queue: Queue, studies: Studies
) -> None:
    queue.accept(arrival("1.0", received_at=99))
    queue.quarantine(claimed(queue), "unreadable", "", 100, None, QUIET_S)
    queue.accept(arrival("1.0", "other", received_at=99))
    classify(queue, "1.1", received_at=100)
    assert seen(due(studies)) == ["1.1"]


def test_the_study_due_first_is_claimed_first(queue: Queue, studies: Studies) -> None:
    classify(queue, "1.1", "9.1", received_at=300)
    classify(queue, "1.2", "9.2", received_at=100)
    classify(queue, "1.3", "9.3", received_at=200)
    assert [due(studies).study_instance_uid for _ in range(3)] == ["9.2", "9.3", "9.1"]


# -- the report --------------------------------------------------------------------------------


def test_a_claim_brings_every_result_by_time_received(queue: Queue, studies: Studies) -> None:
    queue.accept(arrival("1.2", received_at=100))
    queue.quarantine(claimed(queue), "crashed", "the decoder died", 101, "9.9", QUIET_S)
    classify(queue, "1.1", received_at=99)
    first, second = due(studies).instances
    assert first.result == analysed()
    assert first.instance.arrival.sop_instance_uid == "1.1"
    assert second.result.status is ResultStatus.NOT_ANALYSED
    assert second.result.findings == ()


def test_a_report_goes_to_every_pacs(storage: Storage) -> None:
    classify(storage.queue, "1.1")
    report_id = storage.studies.reported(due(storage.studies), new_report("7.1"), ["a", "b"], 200)
    study = storage.studies.show("9.9")
    assert (study.state, study.report_version, study.reported_at) == (
        StudyState.REPORTED,
        1,
        200,
    )
    rows = storage.outbox.rows()
    assert {(r.pacs, r.state, r.sop_instance_uid, r.version, r.next_attempt_at) for r in rows} == {
        ("a", DeliveryState.PENDING, "7.1", 1, 200),
        ("b", DeliveryState.PENDING, "7.1", 1, 200),
    }
    assert storage.outbox.claim("a", 9, "d", 60, 200)[0].report_id == report_id
    assert storage.studies.claim_due("w1", 60, 1e6) is None


def test_a_report_may_go_nowhere(storage: Storage) -> None:
    classify(storage.queue, "1.1")
    storage.studies.reported(due(storage.studies), new_report("7.1"), [], 200)
    assert storage.outbox.rows() == []
    assert storage.studies.show("9.9").report_version == 1


def test_a_late_image_makes_the_next_version(queue: Queue, studies: Studies) -> None:
    classify(queue, "1.1", received_at=100)
    studies.reported(due(studies), new_report("7.1"), ["a"], 130)
    classify(queue, "1.2", received_at=200)
    assert studies.claim_due("w1", 60, 219) is None
    second = due(studies, 220)
    assert (second.version, second.predecessor_uid) == (2, "7.1")
    assert seen(second) == ["1.1", "1.2"]
    studies.reported(second, new_report("7.2"), ["a"], 221)
    classify(queue, "1.3", received_at=300)
    assert due(studies).predecessor_uid == "7.2"


def test_a_result_that_comes_while_the_report_is_built_makes_another(
    queue: Queue, studies: Studies
) -> None:
    classify(queue, "1.1", received_at=100)
    first = due(studies, 120)
    classify(queue, "1.2", received_at=121)
    assert studies.claim_due("w2", 60, 500) is None  # one at a time
    studies.reported(first, new_report("7.1"), ["a"], 125)

    assert studies.show("9.9").state is StudyState.DUE
    assert studies.claim_due("w1", 60, 140) is None  # its own quiet time
    second = due(studies, 141)
    assert (second.version, second.predecessor_uid, seen(second)) == (2, "7.1", ["1.1", "1.2"])
    studies.reported(second, new_report("7.2"), ["a"], 142)
    assert studies.show("9.9").state is StudyState.REPORTED
    assert studies.claim_due("w1", 60, 1e6) is None


def test_a_withdrawn_result_alone_makes_no_new_report(queue: Queue, studies: Studies) -> None:
    queue.accept(arrival("1.1", received_at=100))
    job = claimed(queue)
    queue.quarantine(job, "crashed", "", 101, "9.9", QUIET_S)
    studies.reported(due(studies), new_report("7.1"), ["a"], 130)
    queue.retry_by_hand(job.id, 140)
    assert studies.claim_due("w1", 60, 1e6) is None
    queue.finish(claimed(queue), analysed(), "9.9", QUIET_S, 150)
    second = due(studies)
    assert (second.version, second.instances[0].result) == (2, analysed())


def test_a_report_of_a_lost_claim_is_not_stored(queue: Queue, storage: Storage) -> None:
    studies = storage.studies
    classify(queue, "1.1", received_at=100)
    stale = due(studies, 120)
    assert queue.release_expired(180) == 1
    fresh = due(studies, 181, "w2")
    assert (fresh.version, fresh.token) == (1, 2)
    for write in (
        lambda: studies.reported(stale, new_report("7.1"), ["a"], 182),
        lambda: studies.failed(stale, "failed", "", 200, 182),
        lambda: studies.reported(replace(fresh, token=stale.token), new_report("7.1"), ["a"], 182),
    ):
        with pytest.raises(LostClaim):
            write()
    studies.reported(fresh, new_report("7.1"), ["a"], 183)
    with pytest.raises(LostClaim):
        studies.reported(fresh, new_report("7.1b"), ["a"], 184)
    assert len(storage.outbox.rows()) == 1


def test_one_report_uid_is_stored_once(queue: Queue, studies: Studies) -> None:
    classify(queue, "1.1", "9.1")
    classify(queue, "1.2", "9.2")
    studies.reported(due(studies), new_report("7.1"), [], 200)
    with pytest.raises(StorageError, match=r"report.sop_instance_uid"):
        studies.reported(due(studies), new_report("7.1"), [], 201)
    assert studies.show("9.2").state is StudyState.REPORTING


# -- failure -----------------------------------------------------------------------------------


def test_the_third_failure_quarantines_and_a_hand_retries(queue: Queue, studies: Studies) -> None:
    classify(queue, "1.1", received_at=100)
    for attempt in (1, 2):
        studies.failed(due(studies, 1000 * attempt), "failed", "x" * 2000, 1000 * attempt + 50, 0)
        assert studies.claim_due("w1", 60, 1000 * attempt + 49) is None
    studies.failed(due(studies, 3000), "failed", "no header", 3050, 3001)
    row = studies.rows()[0]
    assert (row.state, row.reason_code, row.reason) == (
        StudyState.QUARANTINED,
        "failed",
        "no header",
    )
    assert studies.claim_due("w1", 60, 1e6) is None

    studies.retry_by_hand(row.id, 4000)
    study = due(studies, 4000)
    studies.failed(study, "failed", "again", 4050, 4001)
    assert studies.show("9.9").state is StudyState.DUE
    studies.reported(due(studies, 4050), new_report("7.1"), [], 4051)
    assert studies.show("9.9").reason is None


def test_free_text_of_a_failure_is_cut(queue: Queue, studies: Studies) -> None:
    classify(queue, "1.1")
    studies.failed(due(studies), "failed", "é" * 2000, 0, 0)
    assert studies.rows()[0].reason == "é" * 1000


def test_a_new_result_frees_a_quarantined_study(queue: Queue, studies: Studies) -> None:
    classify(queue, "1.1", received_at=100)
    for _ in range(3):
        studies.failed(due(studies), "failed", "no header", 0, 0)
    classify(queue, "1.2", received_at=200)
    assert seen(due(studies)) == ["1.1", "1.2"]


def test_a_study_that_kills_every_worker_is_quarantined(queue: Queue, studies: Studies) -> None:
    classify(queue, "1.1")
    for _ in range(3):
        due(studies)
        assert queue.release("w1", 0) == 1
    assert studies.claim_due("w1", 60, 1e6) is None
    row = studies.show("9.9")
    assert (row.state, row.reason_code) == (StudyState.QUARANTINED, "worker_died")


def test_what_makes_no_sense_by_hand_is_refused_and_says_why(
    queue: Queue, studies: Studies
) -> None:
    classify(queue, "1.1")
    with pytest.raises(StorageError, match=r"is due .* only a quarantined study can"):
        studies.retry_by_hand(studies.rows()[0].id, 0)
    with pytest.raises(NotFound, match="99"):
        studies.retry_by_hand(StudyId(99), 0)
    with pytest.raises(NotFound, match=r"9\.99"):
        studies.show("9.99")


# -- views -------------------------------------------------------------------------------------


def test_rows_are_the_newest_first(queue: Queue, studies: Studies) -> None:
    for number in range(3):
        classify(queue, f"1.{number}", f"9.{number}")
    assert [row.study_instance_uid for row in studies.rows(2)] == ["9.2", "9.1"]


def test_open_objects_are_those_of_reports_to_come(queue: Queue, studies: Studies) -> None:
    classify(queue, "1.1", "9.1", received_at=1)
    classify(queue, "1.2", "9.2", received_at=2)
    studies.reported(due(studies), new_report("7.1"), [], 200)
    assert studies.open_objects() == [arrival("1.2").sha256]

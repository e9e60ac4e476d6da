"""A trial takes each image once, keeps its file, and goes on after a process died."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.audit import Audit, AuditQuery
from storage.errors import NotFound, Refused
from storage.ledger import Ledger
from storage.retention import Retention
from storage.shadow import ATTEMPTS, Shadow
from storage.shadow_records import ShadowState, TrialState
from storage.trials import Trials
from tests.storing import Storage, arrival, new_report, open_storage
from tests.trying import CANDIDATE, SERVING, registered, take, try_all


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    made = open_storage(tmp_path)
    registered(made.database)
    return made


def test_what_was_analysed_since_it_began_is_tried_once_each(storage: Storage) -> None:
    shadow = Shadow(storage.database)
    take(storage.database, 1)
    trial = Trials(storage.database).start(CANDIDATE, "ada", 11, 1e6, 10)
    assert shadow.claim(trial, 12) is None, "what was analysed before is not of the trial"
    for number in (2, 3):
        take(storage.database, number)
    assert try_all(storage.database) == 2
    assert try_all(storage.database) == 0
    compared = shadow.compared(trial.id)
    assert [one.state for one in compared] == [ShadowState.ANALYSED] * 2
    assert len({one.patient for one in compared}) == 2
    assert [len(one.decisions) for one in compared] == [2, 2]
    first = compared[0].decisions[0]
    assert (first.name, first.serving_probability, first.probability) == ("pneumonia", 0.75, 0.8)
    running = Trials(storage.database).open()
    assert running is not None
    assert (running.done, running.against.version) == (2, SERVING)


def test_an_image_whose_process_dies_is_begun_again_and_given_up_in_the_end(
    storage: Storage,
) -> None:
    shadow = Shadow(storage.database)
    trial = Trials(storage.database).start(CANDIDATE, "ada", 11, 1e6, 10)
    take(storage.database, 1)
    take(storage.database, 2)
    for attempt in range(1, ATTEMPTS + 1):
        job = shadow.claim(trial, 12)
        assert job is not None
        assert (job.attempts, job.instance_id) == (attempt, 1)
    job = shadow.claim(trial, 12)
    assert job is not None
    assert (job.attempts, job.instance_id) == (1, 2)
    shadow.finish(job, ShadowState.NOT_ANALYSED, 13, reason="It has no contrast.")
    assert shadow.claim(trial, 14) is None
    states = {one.instance_id: one.state for one in shadow.compared(trial.id)}
    assert states == {1: ShadowState.FAILED, 2: ShadowState.NOT_ANALYSED}


def test_an_answer_given_twice_is_one(storage: Storage) -> None:
    shadow = Shadow(storage.database)
    trial = Trials(storage.database).start(CANDIDATE, "ada", 11, 1e6, 10)
    take(storage.database, 1)
    one, two = shadow.claim(trial, 12), shadow.claim(trial, 12)
    assert one is not None
    assert two is not None
    assert one.id == two.id
    try_all(storage.database)
    try_all(storage.database)
    assert [len(each.decisions) for each in shadow.compared(trial.id)] == [2]


def test_the_queue_goes_first(storage: Storage) -> None:
    shadow = Shadow(storage.database)
    assert shadow.idle()
    storage.queue.accept(arrival("1.1"))
    assert not shadow.idle()
    job = storage.queue.claim("w1", 60, 10)
    assert job is not None
    assert not shadow.idle()
    storage.queue.quarantine(job, "unreadable", "cut off", 11, None, 0)
    assert shadow.idle()


def test_one_trial_at_a_time_of_a_bundle_that_may_serve(storage: Storage) -> None:
    trials, ledger = Trials(storage.database), Ledger(storage.database)
    with pytest.raises(Refused, match="serves already"):
        trials.start(SERVING, "ada", 11, 1e6, 10)
    with pytest.raises(NotFound):
        trials.start("chest 9", "ada", 11, 1e6, 10)
    one = trials.start(CANDIDATE, "ada", 11, 1e6, 10)
    with pytest.raises(Refused, match="chest 2 is in its trial"):
        trials.start(CANDIDATE, "ada", 11, 1e6, 10)
    assert trials.end(one.id, TrialState.STOPPED, "ada", "enough", 12)
    assert not trials.end(one.id, TrialState.PROMOTED, "ben", "late", 13), "an end is an end"
    ledger.refuse(one.model.digest, "w1", "It does not run.", 14)
    with pytest.raises(Refused, match="It does not run"):
        trials.start(CANDIDATE, "ada", 15, 1e6, 10)
    rows = Audit(storage.database).search(AuditQuery(), 9)
    said = [(row.actor, row.action) for row in rows if row.action.startswith("shadow.")]
    assert said == [("ada", "shadow.ended"), ("ada", "shadow.started")]


def test_a_file_outlives_its_wait_for_a_trial(storage: Storage) -> None:
    """Retention deletes nothing that the candidate has not seen; after that it does."""
    trials, retention = Trials(storage.database), Retention(storage.database)

    def answered(number: int) -> None:
        take(storage.database, number)
        study = storage.studies.claim_due("w1", 60, 20)
        assert study is not None
        storage.studies.reported(study, new_report(f"7.{number}"), (), 20)

    answered(1)
    trial = trials.start(CANDIDATE, "ada", 21, 1e6, 10)
    answered(2)
    assert len(retention.begin(1e5, 10)) == 1, "the first is none of the trial's"
    retention.end(retention.begin(1e5, 10))
    assert retention.begin(1e5, 10) == []
    assert try_all(storage.database) == 1
    assert len(retention.begin(1e5, 10)) == 1
    retention.end(retention.begin(1e5, 10))
    answered(3)
    assert retention.begin(1e5, 10) == []
    trials.end(trial.id, TrialState.STOPPED, "ada", "enough", 30)
    assert len(retention.begin(1e5, 10)) == 1

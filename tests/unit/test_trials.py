"""Trials begin, end and promote by rule; nothing that the gate refused, or that is doubtful."""

from __future__ import annotations

from pathlib import Path

import pytest

from daemon import promotion
from daemon.promotion import GateNotPassed
from daemon.trials import CHANGED, stop
from storage.database import Database
from storage.doubts import Doubts
from storage.errors import Refused
from storage.ledger import Ledger, LedgerRefuses
from storage.shadow_records import Trial, TrialState
from storage.trials import Trials
from tests.storing import open_storage
from tests.trying import CANDIDATE, SERVING, conductor, facts, judge, registered, take, try_all

RULE = {"promote": "after_shadow", "shadow_images": 3, "shadow_days": 1}


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return open_storage(tmp_path).database


@pytest.fixture
def digest(database: Database) -> str:
    """A candidate that the gate has passed."""
    serving, candidate = registered(database)
    judge(database, candidate.digest, serving.digest)
    return candidate.digest


def serves(database: Database) -> str:
    found = Ledger(database).serving()
    assert found is not None
    return found.model.version


def last(database: Database, digest: str) -> Trial:
    return Trials(database).of(digest)[0]


def test_what_the_gate_passed_is_tried_and_promoted_by_rule(
    database: Database, tmp_path: Path, digest: str
) -> None:
    rule = conductor(database, tmp_path, **RULE)
    rule.step()
    for number in range(2):
        take(database, number)
        try_all(database)
        rule.step()
        assert (last(database, digest).state, serves(database)) == (TrialState.OPEN, SERVING)
    take(database, 3)
    try_all(database)
    rule.step()
    assert (last(database, digest).state, serves(database)) == (TrialState.PROMOTED, CANDIDATE)
    line = Ledger(database).history(1)[0]
    assert (line.actor, line.reason) == ("service", "By rule, after a trial on 3 images.")
    Ledger(database).rollback("ada", "worse at night", 200)
    for _ in range(3):
        rule.step()
    assert serves(database) == SERVING, "what served before is an administrator's to bring back"
    assert Trials(database).open() is None


def test_by_hand_nothing_begins_or_serves_by_itself(
    database: Database, tmp_path: Path, digest: str
) -> None:
    hand = conductor(database, tmp_path, shadow_images=1)
    hand.step()
    assert Trials(database).of(digest) == ()
    Trials(database).start(CANDIDATE, "ada", 50, 1e6, 1)
    take(database, 1)
    try_all(database)
    hand.step()
    assert (last(database, digest).state, serves(database)) == (TrialState.ENDED, SERVING)
    assert "An administrator decides" in str(last(database, digest).reason)


@pytest.mark.parametrize("passed", [False, None])
def test_what_the_gate_did_not_pass_is_never_tried_or_promoted_without_an_override(
    database: Database, tmp_path: Path, passed: bool | None
) -> None:
    serving, candidate = registered(database)
    if passed is not None:
        judge(database, candidate.digest, serving.digest, passed=passed)
    rule = conductor(database, tmp_path, **RULE)
    rule.step()
    assert Trials(database).open() is None
    Trials(database).start(CANDIDATE, "ada", 50, 1e6, 3)  # by hand it may be tried
    for number in range(3):
        take(database, number)
    try_all(database)
    rule.step()
    assert (last(database, candidate.digest).state, serves(database)) == (
        TrialState.REFUSED, SERVING,
    )  # fmt: skip
    words = "not judged" if passed is None else "It is worse"
    assert words in str(last(database, candidate.digest).reason)
    with pytest.raises(GateNotPassed, match=words):
        promotion.promote(database, CANDIDATE, "ada", "I know better", 60)
    with pytest.raises(LedgerRefuses, match="A reason is needed"):
        promotion.promote(database, CANDIDATE, "ada", " ", 60, override=True)
    line = promotion.promote(database, CANDIDATE, "ada", "I know better", 60, override=True)
    assert line.reason.startswith("I know better [The gate was overridden. ")
    assert words in line.reason


def test_a_passed_candidate_needs_no_override_and_ends_its_trial(
    database: Database, digest: str
) -> None:
    Trials(database).start(CANDIDATE, "ada", 50, 1e6, 3)
    line = promotion.promote(database, CANDIDATE, "ada", "better", 60)
    assert (line.reason, last(database, digest).state) == ("better", TrialState.PROMOTED)


def test_a_verdict_against_what_serves_no_more_does_not_count(
    database: Database, tmp_path: Path, digest: str
) -> None:
    ledger = Ledger(database)
    ledger.register(facts("chest 3"), 10)
    rule = conductor(database, tmp_path, **RULE)
    rule.step()
    promotion.promote(database, "chest 3", "ada", "from elsewhere", 60, override=True)
    assert last(database, digest).state is TrialState.STOPPED
    rule.step()
    assert Trials(database).open() is None
    with pytest.raises(GateNotPassed, match="compared this bundle with chest 1, which is not"):
        promotion.promote(database, CANDIDATE, "ada", "better", 70)
    ledger.rollback("ada", "back", 80)
    promotion.promote(database, CANDIDATE, "ada", "better", 90)
    assert serves(database) == CANDIDATE


def test_a_change_of_thresholds_or_a_roll_back_ends_a_trial(
    database: Database, tmp_path: Path, digest: str
) -> None:
    rule = conductor(database, tmp_path, **RULE)
    rule.step()
    serving = Ledger(database).serving()
    assert serving is not None
    Ledger(database).set_threshold(serving.model.digest, "pneumonia", 0.9, "ada", "few", 50)
    rule.step()
    one = last(database, digest)
    assert (one.state, one.reason) == (TrialState.STOPPED, CHANGED)
    rule.step()
    assert Trials(database).open() is None, "it is not begun again and again"


def test_a_doubted_calibration_is_no_reason_to_end_a_trial(
    database: Database, tmp_path: Path, digest: str
) -> None:
    rule = conductor(database, tmp_path, **RULE)
    rule.step()
    serving = Ledger(database).serving()
    assert serving is not None
    assert Doubts(database).doubt(serving.model.digest, "pneumonia", "by 35 reviews", 50)
    assert Ledger(database).revision() != serving.revision
    rule.step()
    assert last(database, digest).state is TrialState.OPEN


def test_too_few_images_in_the_time_are_a_refusal_that_says_so(
    database: Database, tmp_path: Path, digest: str
) -> None:
    conductor(database, tmp_path, **RULE).step()
    take(database, 1)
    try_all(database)
    conductor(database, tmp_path, now=100 + 86400, **RULE).step()
    one = last(database, digest)
    assert (one.state, serves(database)) == (TrialState.REFUSED, SERVING)
    assert "1 of the 3 images" in str(one.reason)


def test_a_candidate_that_flags_far_more_is_refused_by_rule(
    database: Database, tmp_path: Path, digest: str
) -> None:
    rule = conductor(database, tmp_path, **RULE)
    rule.step()
    for number in range(3):
        take(database, number, probability=0.2)
    try_all(database, probability=0.9)
    rule.step()
    assert (last(database, digest).state, serves(database)) == (TrialState.REFUSED, SERVING)
    assert "from 0.0% to 100.0%" in str(last(database, digest).reason)


@pytest.mark.usefixtures("digest")
def test_a_trial_is_stopped_by_hand_with_a_reason(database: Database) -> None:
    with pytest.raises(Refused, match="in no trial"):
        stop(database, CANDIDATE, "ada", "why not", 50)
    Trials(database).start(CANDIDATE, "ada", 50, 1e6, 3)
    with pytest.raises(Refused, match="reason"):
        stop(database, CANDIDATE, "ada", "  ", 55)
    assert stop(database, CANDIDATE, "ada", "the wrong one", 60).state is TrialState.STOPPED

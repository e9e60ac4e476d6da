"""Storage commitment in the outbox: asked, reported, asked again, given up; in any order."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.commitments import MAX_RESENT, Commitments
from storage.errors import NotFound
from storage.records import Committed, DeliveryState, Form
from tests.storing import COMPREHENSIVE_SR, Storage, make_report, open_storage

BASIC_TEXT_SR = "1.2.840.10008.5.1.4.1.1.88.11"


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(tmp_path)


@pytest.fixture
def commitments(storage: Storage) -> Commitments:
    return Commitments(storage.database)


def store(storage: Storage, *uids: str, now: float = 100) -> None:
    """Have these reports stored by the PACS, and to be committed to."""
    for uid in uids:
        make_report(storage, uid, "9." + uid, now)
    for delivery in storage.outbox.claim("a", 9, "d1", 60, now):
        storage.outbox.stored(delivery, "0000", now, commit=True)


def states(storage: Storage) -> dict[str, DeliveryState]:
    return {row.sop_instance_uid: row.state for row in storage.outbox.rows()}


def test_what_is_not_to_be_committed_to_is_not_asked_for(
    storage: Storage, commitments: Commitments
) -> None:
    make_report(storage, "7.1", "9.1", 100)
    (delivery,) = storage.outbox.claim("a", 9, "d1", 60, 100)
    storage.outbox.stored(delivery, "0000", 100)
    assert commitments.ask("a", "5.1", 9, 200, 100).forms == ()
    with pytest.raises(NotFound):
        commitments.report("5.1", ["7.1"], {}, 0, 101)


def test_a_report_ends_the_way(storage: Storage, commitments: Commitments) -> None:
    store(storage, "7.1", "7.2")
    request = commitments.ask("a", "5.1", 9, 200, 100)
    assert request.forms == (Form(COMPREHENSIVE_SR, "7.1"), Form(COMPREHENSIVE_SR, "7.2"))
    assert request.unanswered == 0
    assert commitments.ask("a", "5.2", 9, 200, 150).forms == ()
    assert commitments.report("5.1", ["7.1", "7.2"], {}, 0, 151) == Committed(committed=2)
    assert set(states(storage).values()) == {DeliveryState.COMMITTED}
    assert commitments.report("5.1", ["7.1", "7.2"], {}, 0, 152) == Committed()  # told twice
    assert storage.outbox.open_objects() == []


def test_the_form_that_was_sent_is_asked_for(storage: Storage, commitments: Commitments) -> None:
    make_report(storage, "7.1", "9.1", 100)
    (delivery,) = storage.outbox.claim("a", 9, "d1", 60, 100)
    form = Form(BASIC_TEXT_SR, "7.1.9")
    storage.outbox.stored(delivery, "0000", 100, form, commit=True)
    assert commitments.ask("a", "5.1", 9, 200, 100).forms == (form,)
    assert commitments.report("5.1", ["7.1.9"], {}, 0, 101).committed == 1
    assert storage.outbox.rows()[0].sent == form


def test_without_an_answer_it_is_asked_again_in_time(
    storage: Storage, commitments: Commitments
) -> None:
    store(storage, "7.1")
    commitments.ask("a", "5.1", 9, 200, 100)
    again = commitments.ask("a", "5.2", 9, 300, 200)
    assert (len(again.forms), again.unanswered) == (1, 1)
    assert commitments.report("5.1", ["7.1"], {}, 0, 201).committed == 1  # late, and still true
    assert commitments.ask("a", "5.3", 9, 400, 300).forms == ()


def test_a_late_failure_does_not_count_against_a_newer_request(
    storage: Storage, commitments: Commitments
) -> None:
    store(storage, "7.1")
    commitments.ask("a", "5.1", 9, 200, 100)
    commitments.ask("a", "5.2", 9, 300, 200)
    assert commitments.report("5.1", [], {"7.1": "0110H"}, 0, 201) == Committed()
    assert states(storage) == {"7.1": DeliveryState.COMMITTING}


def test_a_request_that_was_not_taken_is_made_again(
    storage: Storage, commitments: Commitments
) -> None:
    store(storage, "7.1")
    commitments.ask("a", "5.1", 9, 999, 100)
    commitments.postpone("5.1", 130, "not offered")
    assert storage.outbox.rows()[0].last_error == "not offered"
    assert commitments.ask("a", "5.2", 9, 999, 129).forms == ()
    again = commitments.ask("a", "5.2", 9, 999, 130)
    assert (len(again.forms), again.unanswered) == (1, 0)


def test_what_failed_is_sent_again_so_often_and_then_given_up(
    storage: Storage, commitments: Commitments
) -> None:
    store(storage, "7.1", "7.2")
    now = 100.0
    for turn in range(MAX_RESENT + 1):
        transaction = f"5.{turn}"
        commitments.ask("a", transaction, 9, now + 60, now)
        done = commitments.report(transaction, ["7.2"], {"7.1": "0112H"}, now + 10, now)
        assert done.committed == (1 if turn == 0 else 0)
        if turn < MAX_RESENT:
            assert (done.resent, done.dead) == (1, 0)
            assert storage.outbox.claim("a", 9, "d1", 60, now + 9) == []
            (delivery,) = storage.outbox.claim("a", 9, "d1", 60, now + 10)
            storage.outbox.stored(delivery, "0000", now + 10, commit=True)
        now += 10
    assert (done.resent, done.dead) == (0, 1)
    assert states(storage) == {"7.1": DeliveryState.DEAD, "7.2": DeliveryState.COMMITTED}
    dead = storage.outbox.rows([DeliveryState.DEAD])[0]
    assert dead.last_error == "storage commitment failed: 0112H"
    storage.outbox.retry_by_hand(dead.id, now)
    (delivery,) = storage.outbox.claim("a", 9, "d1", 60, now)
    storage.outbox.stored(delivery, "0000", now, commit=True)
    commitments.ask("a", "5.77", 9, now + 60, now)
    assert commitments.report("5.77", [], {"7.1": "0112H"}, now, now).resent == 1


def test_another_pacs_cannot_be_spoken_for(storage: Storage, commitments: Commitments) -> None:
    make_report(storage, "7.1", "9.1", 100, "a", "b")
    for pacs in ("a", "b"):
        (delivery,) = storage.outbox.claim(pacs, 9, "d1", 60, 100)
        storage.outbox.stored(delivery, "0000", 100, commit=True)
    commitments.ask("a", "5.1", 9, 200, 100)
    commitments.report("5.1", ["7.1"], {}, 0, 101)
    assert {row.pacs: row.state for row in storage.outbox.rows()} == {
        "a": DeliveryState.COMMITTED,
        "b": DeliveryState.COMMITTING,
    }


def test_a_request_has_a_limit(storage: Storage, commitments: Commitments) -> None:
    store(storage, "7.1", "7.2", "7.3")
    assert len(commitments.ask("a", "5.1", 2, 200, 100).forms) == 2
    assert len(commitments.ask("a", "5.2", 2, 200, 100).forms) == 1


def test_what_a_pacs_is_no_longer_asked_for_is_done(
    storage: Storage, commitments: Commitments
) -> None:
    store(storage, "7.1")
    commitments.waive("b")
    assert states(storage) == {"7.1": DeliveryState.COMMITTING}
    commitments.waive("a")
    assert states(storage) == {"7.1": DeliveryState.STORED}

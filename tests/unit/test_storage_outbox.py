"""The outbox: each report to each PACS, in order per study, and never lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.errors import LostClaim, NotFound, StorageError
from storage.outbox import Outbox
from storage.records import Delivery, DeliveryId, DeliveryState
from tests.storing import Storage, make_report, new_report, open_storage


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(tmp_path)


@pytest.fixture
def outbox(storage: Storage) -> Outbox:
    return storage.outbox


def claimed(outbox: Outbox, now: float, pacs: str = "a", limit: int = 9) -> list[Delivery]:
    return outbox.claim(pacs, limit, "d1", 60, now)


def uids(deliveries: list[Delivery]) -> list[str]:
    return [delivery.sop_instance_uid for delivery in deliveries]


def test_an_empty_outbox_gives_nothing(outbox: Outbox) -> None:
    assert claimed(outbox, 1000) == []


def test_a_claim_is_counted_and_fenced(storage: Storage, outbox: Outbox) -> None:
    make_report(storage, "7.1", "9.1", 100)
    (delivery,) = claimed(outbox, 100)
    report = new_report("7.1")
    assert (delivery.pacs, delivery.attempts, delivery.token) == ("a", 1, 1)
    assert (delivery.sop_instance_uid, delivery.sop_class_uid, delivery.sha256) == (
        report.sop_instance_uid,
        report.sop_class_uid,
        report.sha256,
    )
    assert claimed(outbox, 100) == []
    assert outbox.rows()[0].state is DeliveryState.SENDING


def test_the_longest_due_goes_first_up_to_the_limit(storage: Storage, outbox: Outbox) -> None:
    for number in (3, 1, 2):
        make_report(storage, f"7.{number}", f"9.{number}", 100 + number)
    assert uids(claimed(outbox, 200, limit=2)) == ["7.1", "7.2"]
    assert uids(claimed(outbox, 200, limit=2)) == ["7.3"]


def test_each_pacs_has_its_own_way(storage: Storage, outbox: Outbox) -> None:
    make_report(storage, "7.1", "9.1", 100, "a", "b")
    (to_a,) = claimed(outbox, 100, "a")
    outbox.stored(to_a, "0000", 101)
    assert uids(claimed(outbox, 101, "b")) == ["7.1"]
    assert {(row.pacs, row.state) for row in outbox.rows()} == {
        ("a", DeliveryState.STORED),
        ("b", DeliveryState.SENDING),
    }


def test_stored_is_the_end(storage: Storage, outbox: Outbox) -> None:
    make_report(storage, "7.1", "9.1", 100)
    (delivery,) = claimed(outbox, 100)
    outbox.later(delivery, 110, "A700", "out of resources", 101)
    (delivery,) = claimed(outbox, 110)
    outbox.stored(delivery, "B000", 111)
    (row,) = outbox.rows([DeliveryState.STORED])
    assert (row.stored_at, row.last_status, row.last_error, row.attempts) == (111, "B000", None, 2)
    assert claimed(outbox, 1e6) == []
    assert storage.queue.counts().deliveries[DeliveryState.STORED] == 1


def test_later_waits_for_its_time(storage: Storage, outbox: Outbox) -> None:
    make_report(storage, "7.1", "9.1", 100)
    (delivery,) = claimed(outbox, 100)
    outbox.later(delivery, 160, None, "no answer" * 1000, 101)
    (row,) = outbox.rows()
    assert (row.state, row.next_attempt_at, row.last_status) == (DeliveryState.PENDING, 160, None)
    assert row.last_error is not None
    assert len(row.last_error) == 1000
    assert claimed(outbox, 159) == []
    assert claimed(outbox, 160)[0].attempts == 2


def test_a_dead_letter_waits_for_an_administrator(storage: Storage, outbox: Outbox) -> None:
    make_report(storage, "7.1", "9.1", 100)
    (delivery,) = claimed(outbox, 100)
    outbox.dead(delivery, "C000", "cannot understand", 101)
    (row,) = outbox.rows([DeliveryState.DEAD])
    assert (row.last_status, row.last_error) == ("C000", "cannot understand")
    assert claimed(outbox, 1e6) == []
    outbox.retry_by_hand(row.id, 200)
    (again,) = claimed(outbox, 200)
    assert (again.attempts, again.token) == (1, 2)


def test_what_makes_no_sense_by_hand_is_refused_and_says_why(
    storage: Storage, outbox: Outbox
) -> None:
    make_report(storage, "7.1", "9.1", 100)
    with pytest.raises(StorageError, match=r"is pending .* only a dead or not_taken delivery can"):
        outbox.retry_by_hand(outbox.rows()[0].id, 200)
    with pytest.raises(NotFound, match="99"):
        outbox.retry_by_hand(DeliveryId(99), 200)


def test_versions_of_a_study_arrive_in_order(storage: Storage, outbox: Outbox) -> None:
    make_report(storage, "7.1", "9.1", 100)
    make_report(storage, "7.2", "9.1", 200)
    make_report(storage, "8.1", "9.2", 300)
    (first, other) = claimed(outbox, 1000)
    assert uids([first, other]) == ["7.1", "8.1"]
    assert claimed(outbox, 1000) == []  # the first is on its way

    outbox.later(first, 5000, "A700", None, 1000)
    assert claimed(outbox, 1000) == []  # the first waits, and so does the second
    (first,) = claimed(outbox, 5000)
    outbox.stored(first, "0000", 5001)
    assert uids(claimed(outbox, 5001)) == ["7.2"]


def test_a_dead_version_lets_the_next_one_pass(storage: Storage, outbox: Outbox) -> None:
    make_report(storage, "7.1", "9.1", 100)
    make_report(storage, "7.2", "9.1", 200)
    outbox.dead(claimed(outbox, 1000)[0], "C000", None, 1000)
    assert uids(claimed(outbox, 1000)) == ["7.2"]


def test_a_version_on_its_way_to_another_pacs_holds_nothing_up(
    storage: Storage, outbox: Outbox
) -> None:
    make_report(storage, "7.1", "9.1", 100, "a", "b")
    make_report(storage, "7.2", "9.1", 200, "a", "b")
    outbox.stored(claimed(outbox, 1000, "a")[0], "0000", 1000)
    assert uids(claimed(outbox, 1000, "a")) == ["7.2"]
    assert uids(claimed(outbox, 1000, "b")) == ["7.1"]


def test_what_was_being_sent_goes_back(storage: Storage, outbox: Outbox) -> None:
    make_report(storage, "7.1", "9.1", 100, "a", "b")
    (stale,) = outbox.claim("a", 9, "d1", 60, 100)
    outbox.claim("b", 9, "d2", 60, 100)
    assert outbox.release("d1") == 1
    assert outbox.release("d1") == 0
    for write in (
        lambda: outbox.stored(stale, "0000", 101),
        lambda: outbox.later(stale, 200, None, None, 101),
        lambda: outbox.dead(stale, "C000", None, 101),
    ):
        with pytest.raises(LostClaim):
            write()
    (fresh,) = claimed(outbox, 101)
    with pytest.raises(LostClaim):
        outbox.stored(stale, "0000", 102)
    assert fresh.attempts == 2
    assert outbox.release_all() == 2
    assert {row.state for row in outbox.rows()} == {DeliveryState.PENDING}


def test_rows_are_the_newest_first(storage: Storage, outbox: Outbox) -> None:
    for number in range(3):
        make_report(storage, f"7.{number}", f"9.{number}", number)
    rows = outbox.rows(limit=2)
    assert [(row.sop_instance_uid, row.study_instance_uid) for row in rows] == [
        ("7.2", "9.2"),
        ("7.1", "9.1"),
    ]
    assert outbox.rows([DeliveryState.DEAD]) == []


def test_open_objects_are_those_no_pacs_has_answered_for(storage: Storage, outbox: Outbox) -> None:
    make_report(storage, "7.1", "9.1", 100)
    make_report(storage, "7.2", "9.2", 101)
    outbox.stored(claimed(outbox, 101, limit=1)[0], "0000", 102)
    assert outbox.open_objects() == [new_report("7.2").sha256]

"""Retention: what may go goes, what may not stays, and a crash between two steps loses nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select

from storage.commitments import Commitments
from storage.records import (
    Acceptance,
    Arrival,
    DeliveryState,
    NewObject,
    NewReport,
    Sha256,
)
from storage.retention import Retention
from storage.schema import companion, instance
from tests.storing import COMPREHENSIVE_SR, CR, EXPLICIT_LE, Storage, analysed, open_storage


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(tmp_path)


@pytest.fixture
def retention(storage: Storage) -> Retention:
    return Retention(storage.database)


def take(storage: Storage, uid: str, now: float) -> Arrival:
    """Receive an image, with its file."""
    stored = storage.objects.put(f"image {uid}".encode())
    image = Arrival(
        uid, CR, EXPLICIT_LE, stored.sha256, stored.size_bytes, "CR1", "HILUM", "10.0.0.5", now
    )
    storage.queue.accept(image)
    return image


def analyse(storage: Storage, study_uid: str, now: float) -> None:
    job = storage.queue.claim("w1", 60, now)
    assert job is not None
    storage.queue.finish(job, analysed(), study_uid, 0, now)


def put(storage: Storage, text: str) -> tuple[Sha256, int]:
    stored = storage.objects.put(text.encode())
    return stored.sha256, stored.size_bytes


def report(storage: Storage, uid: str, now: float, *, heat_map: bool = False) -> NewReport:
    """Report the study that is due, to PACS a."""
    study = storage.studies.claim_due("w1", 60, now)
    assert study is not None
    beside = (NewObject(uid + ".1", "1.2.3", *put(storage, "map " + uid)),) if heat_map else ()
    made = NewReport(uid, COMPREHENSIVE_SR, *put(storage, "report " + uid), now, beside)
    storage.studies.reported(study, made, ["a"], now)
    return made


def deliver(storage: Storage, now: float, *, commit: bool = False) -> None:
    for delivery in storage.outbox.claim("a", 99, "d1", 60, now):
        storage.outbox.stored(delivery, "0000", now, commit=commit)


def removals(storage: Storage) -> dict[str, str | None]:
    """What the rows say, by SOP Instance UID."""
    with storage.database.read() as connection:
        return {
            row.sop_instance_uid: row.removal
            for table in (instance, companion)
            for row in connection.execute(select(table.c.sop_instance_uid, table.c.removal))
        }


def test_a_delivered_study_goes_when_it_is_old_and_its_report_stays(
    storage: Storage, retention: Retention
) -> None:
    image = take(storage, "1.1", 100)
    analyse(storage, "9.1", 100)
    made = report(storage, "7.1", 200, heat_map=True)
    deliver(storage, 300)
    assert retention.begin(200, 9) == []  # not older than that
    gone = retention.begin(201, 9)
    assert sorted(gone) == sorted([image.sha256, made.companions[0].sha256])
    assert removals(storage) == {"1.1": "deleting", "7.1.1": "deleting"}
    storage.objects.remove(gone)
    retention.end(gone)
    assert removals(storage) == {"1.1": "deleted", "7.1.1": "deleted"}
    assert not any(storage.objects.exists(sha256) for sha256 in gone)
    assert storage.objects.exists(made.sha256)
    assert retention.begin(1e9, 9) == []
    assert storage.queue.rows()[0].sop_instance_uid == "1.1"


def unanswered(storage: Storage) -> None:
    take(storage, "1.1", 100)


def unreported(storage: Storage) -> None:
    take(storage, "1.1", 100)
    analyse(storage, "9.1", 100)


def undelivered(storage: Storage) -> None:
    unreported(storage)
    report(storage, "7.1", 200, heat_map=True)


def on_its_way(storage: Storage) -> None:
    undelivered(storage)
    storage.outbox.claim("a", 9, "d1", 60, 200)


def refused(storage: Storage) -> None:
    undelivered(storage)
    for delivery in storage.outbox.claim("a", 9, "d1", 60, 200):
        storage.outbox.dead(delivery, "C000", "refused", 200)


def uncommitted(storage: Storage) -> None:
    undelivered(storage)
    deliver(storage, 200, commit=True)


def due_again(storage: Storage) -> None:
    undelivered(storage)
    deliver(storage, 200)
    take(storage, "1.2", 300)
    analyse(storage, "9.1", 300)


def in_quarantine(storage: Storage) -> None:
    take(storage, "1.1", 100)
    job = storage.queue.claim("w1", 60, 100)
    assert job is not None
    storage.queue.quarantine(job, "crashed", "it ended the process", 100, "9.1", 0)
    report(storage, "7.1", 200)
    deliver(storage, 200)


@pytest.mark.parametrize(
    "case",
    [
        unanswered, unreported, undelivered, on_its_way, refused, uncommitted, due_again,
        in_quarantine,
    ],
)  # fmt: skip
def test_what_somebody_still_needs_stays(
    storage: Storage, retention: Retention, case: Callable[[Storage], None]
) -> None:
    case(storage)
    assert retention.begin(1e9, 9) == []


def test_what_is_committed_goes(storage: Storage, retention: Retention) -> None:
    uncommitted(storage)
    commitments = Commitments(storage.database)
    commitments.ask("a", "5.1", 9, 999, 300)
    commitments.report("5.1", ["7.1", "7.1.1"], {}, 0, 301)
    assert len(retention.begin(1e9, 9)) == 2


def test_a_heat_map_that_was_not_taken_does_not_keep_the_study(
    storage: Storage, retention: Retention
) -> None:
    undelivered(storage)
    for delivery in storage.outbox.claim("a", 9, "d1", 60, 200):
        if delivery.companion_id is None:
            storage.outbox.stored(delivery, "0000", 200)
        else:
            storage.outbox.not_taken(delivery, None, "not taken", 200)
    assert {row.state for row in storage.outbox.rows()} == {
        DeliveryState.STORED,
        DeliveryState.NOT_TAKEN,
    }
    assert len(retention.begin(1e9, 9)) == 2


def test_an_object_of_ours_that_came_back_goes(storage: Storage, retention: Retention) -> None:
    image = take(storage, "1.1", 100)
    job = storage.queue.claim("w1", 60, 100)
    assert job is not None
    storage.queue.ignore(job, "own_object", "ours", 100)
    assert retention.begin(1e9, 9) == [image.sha256]


def test_a_run_is_bounded_and_the_oldest_go_first(storage: Storage, retention: Retention) -> None:
    for number in (3, 1, 2):
        take(storage, f"1.{number}", 100 + number)
    for number in (1, 2, 3):
        analyse(storage, f"9.{number}", 200)
        report(storage, f"7.{number}", 200)
    deliver(storage, 300)
    assert len(retention.begin(1e9, 2)) == 2
    assert removals(storage) == {"1.1": "deleting", "1.2": "deleting", "1.3": None}


def test_a_run_cut_short_before_the_file_went_is_ended_by_the_next(
    storage: Storage, retention: Retention
) -> None:
    undelivered(storage)
    deliver(storage, 200)
    gone = retention.begin(1e9, 9)
    # killed here: the next process finds the same
    again = Retention(storage.database).begin(0, 9)
    assert sorted(again) == sorted(gone)


def test_a_run_cut_short_after_the_file_went_is_ended_by_the_next(
    storage: Storage, retention: Retention
) -> None:
    undelivered(storage)
    deliver(storage, 200)
    storage.objects.remove(retention.begin(1e9, 9))
    # killed here
    again = Retention(storage.database).begin(0, 9)
    storage.objects.remove(again)
    retention.end(again)
    assert set(removals(storage).values()) == {"deleted"}


def test_nothing_is_called_lost_that_was_deleted(storage: Storage, retention: Retention) -> None:
    """An image that comes late makes the study due again, when the old files are gone."""
    undelivered(storage)
    deliver(storage, 200)
    gone = retention.begin(1e9, 9)
    storage.objects.remove(gone)
    retention.end(gone)
    late = take(storage, "1.2", 1e9)
    analyse(storage, "9.1", 1e9)
    assert storage.studies.open_objects() == [late.sha256]


def test_an_image_that_comes_again_is_there_again(storage: Storage, retention: Retention) -> None:
    undelivered(storage)
    deliver(storage, 200)
    gone = retention.begin(1e9, 9)
    storage.objects.remove(gone)
    retention.end(gone)
    image = Arrival(
        "1.1", CR, EXPLICIT_LE, *put(storage, "image 1.1"), "CR1", "HILUM", "10.0.0.5", 1e9
    )
    assert storage.queue.accept(image) is Acceptance.REPEATED
    assert removals(storage)["1.1"] is None
    assert retention.begin(2e9, 9) == [image.sha256]

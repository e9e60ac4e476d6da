"""What another threshold would have done: counted by hand, and quick at 100,000 results."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from sqlalchemy import insert

from storage import schema
from storage.records import Finding, Result, ResultStatus
from storage.what_if import WhatIf, share, what_if
from tests.storing import Storage, arrival, open_storage

FORCE = {"pneumonia": 0.5, "pleural_effusion": 0.4}


def result(pneumonia: float, effusion: float = 0.0, bundle: str = "chest 1") -> Result:
    findings = (
        Finding("pneumonia", "233604007", "SCT", "Pneumonia", pneumonia, 0.9),  # as it was then
        Finding("pleural_effusion", "60046008", "SCT", "Pleural effusion", effusion, 0.9),
    )
    return Result(ResultStatus.ANALYSED, bundle, findings)


def answer(storage: Storage, uid: str, study: str, answered: Result, at: float) -> int:
    """Take an image to its result; return its id."""
    storage.queue.accept(arrival(uid, received_at=at))
    job = storage.queue.claim("w", 60, at)
    assert job is not None
    storage.queue.finish(job, answered, study, 0, at)
    return job.instance.id


def label(storage: Storage, instance: int, account: int, *, present: bool) -> None:
    """Write what a reader said of the pneumonia in an image."""
    with storage.database.write() as connection:
        study_id = (
            connection.execute(schema.instance.select().where(schema.instance.c.id == instance))
            .one()
            .study_id
        )
        review = connection.execute(
            insert(schema.review)
            .values(
                study_id=study_id, kind="review", state="effective", account=account,
                login=f"r{account}", person_name="R^T", organization="", seen_version=1,
                seen_revision=1, note="", created_at=1, effective_at=1,
            )
            .returning(schema.review.c.id)
        ).scalar_one()  # fmt: skip
        connection.execute(
            insert(schema.label).values(
                instance_id=instance, finding="pneumonia", account=account, present=present,
                login=f"r{account}", review_id=review, source="review", labelled_at=1,
            )
        )  # fmt: skip


def compare(storage: Storage, candidate: float, since: float = 0) -> WhatIf:
    return what_if(storage.database, "chest 1", FORCE, "pneumonia", candidate, since)


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(tmp_path)


def test_images_and_studies_are_counted_at_both_thresholds(storage: Storage) -> None:
    answer(storage, "1.1", "9.1", result(0.6), 100)
    answer(storage, "1.2", "9.1", result(0.35), 100)
    answer(storage, "1.3", "9.2", result(0.3), 100)
    answer(storage, "1.4", "9.3", result(0.1, effusion=0.45), 100)  # flagged for another finding
    answer(storage, "1.5", "9.4", result(0.3), 50)  # before the time asked for
    answer(storage, "1.6", "9.5", result(0.9, bundle="chest 0"), 100)  # by another bundle
    found = compare(storage, 0.3, since=99)
    assert (found.images, found.studies, found.labelled) == (4, 3, 0)
    assert (found.now.images, found.now.studies, found.now.flagged) == (1, 1, 2)
    assert (found.then.images, found.then.studies, found.then.flagged) == (3, 2, 3)
    assert found.now.sensitivity.value is None
    same = compare(storage, 0.5, since=99)
    assert same.now == same.then


def test_sensitivity_and_ppv_are_of_what_readers_agree_on(storage: Storage) -> None:
    said = [
        (0.6, [True]),
        (0.4, [True, True]),
        (0.55, [False]),
        (0.2, [False]),
        (0.9, [True, False]),
    ]
    for number, (probability, readers) in enumerate(said):
        image = answer(storage, f"1.{number}", f"9.{number}", result(probability), 100)
        for account, present in enumerate(readers):
            label(storage, image, account, present=present)
    found = compare(storage, 0.3)
    assert found.labelled == 4, "on one image the readers differ"
    assert (found.now.sensitivity.count, found.now.sensitivity.of) == (1, 2)
    assert (found.then.sensitivity.count, found.then.sensitivity.of) == (2, 2)
    assert (found.now.ppv.count, found.now.ppv.of) == (1, 2)
    assert (found.then.ppv.count, found.then.ppv.of) == (2, 3)


@pytest.mark.parametrize(
    ("count", "of", "low", "high"),
    # Newcombe, Statistics in Medicine 17 (1998), table I, method 3
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_the_interval_is_wilsons(count: int, of: int, low: float, high: float) -> None:
    found = share(count, of)
    assert found.low == pytest.approx(low, abs=5e-5)
    assert found.high == pytest.approx(high, abs=5e-5)


@pytest.mark.sqlite
@pytest.mark.slow
def test_it_is_quick_at_100_000_results(storage: Storage) -> None:
    count, names = 100_000, [*FORCE, "nodule", "atelectasis", "infiltration"]
    force = {**FORCE, "nodule": 0.7, "atelectasis": 0.7, "infiltration": 0.7}
    with storage.database.write() as connection:
        connection.execute(
            insert(schema.study),
            [{"id": n, "study_instance_uid": f"9.{n}", "state": "reported", "last_received_at": 1,
              "due_at": 1, "revision": 1, "attempts": 0, "token": 0, "report_version": 1}
             for n in range(1, count // 2 + 1)],
        )  # fmt: skip
        connection.execute(
            insert(schema.instance),
            [{"id": n, "sop_instance_uid": f"1.{n}", "sop_class_uid": "1",
              "transfer_syntax_uid": "1", "sha256": str(n), "size_bytes": 1,
              "calling_ae": "A", "called_ae": "B", "peer_address": "1",
              "received_at": 1, "contested": False, "repeats": 0,
              "study_id": (n + 1) // 2}
             for n in range(1, count + 1)],
        )  # fmt: skip
        connection.execute(
            insert(schema.result),
            [{"id": n, "instance_id": n, "status": "analysed", "bundle": "chest 1",
              "created_at": 100} for n in range(1, count + 1)],
        )  # fmt: skip
        connection.execute(
            insert(schema.finding),
            [{"result_id": n, "position": position, "name": name, "code_value": "1",
              "code_scheme": "SCT", "code_meaning": name, "threshold": 0.5, "present": False,
              "probability": (n * 7919 * (position + 3)) % 1000 / 1000}
             for n in range(1, count + 1) for position, name in enumerate(names)],
        )  # fmt: skip
    began = time.process_time()  # whatever else the machine does
    found = what_if(storage.database, "chest 1", force, "pneumonia", 0.25, 99)
    took = time.process_time() - began
    assert found.images == count
    assert (found.now.images, found.then.images) == (50_000, 75_000)
    assert took < 1.0

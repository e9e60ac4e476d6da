"""A storage at work, to be killed or starved by a fault test; run as a program.

``life ROOT`` sends three images and takes them through reports and a review to deliveries,
resuming what an earlier life left. ``fill ROOT`` stores images until the disk is full. Whatever it
prints has happened for good: a line is written only after the commit that it names.
"""

from __future__ import annotations

import errno
import hashlib
import os
import sys
from collections.abc import Callable
from pathlib import Path

from storage.errors import OutOfSpace, SyncFailed
from storage.records import Arrival, NewReport, Sha256
from storage.reviews import Reviews
from tests.reviewing import answer, review
from tests.storing import CR, EXPLICIT_LE, Storage, analysed, arrival, new_report, open_storage

IMAGES = ("1.1", "1.2", "1.3")
REVIEWED = "9.2"
STUDIES = {"1.1": "9.1", "1.2": "9.1", "1.3": "9.2"}


def life(root: Path, say: Callable[[str], None]) -> None:
    """Do all that is still to do. Whoever had a claim before is dead."""
    storage = open_storage(root)
    storage.objects.sweep()
    storage.queue.release_all(0)
    storage.outbox.release_all()
    for number, uid in enumerate(IMAGES):
        storage.queue.accept(put_image(storage, uid, uid.encode() * 3000, number))
        say(f"acknowledged {uid}")
    while (
        classify(storage)
        or write_report(storage, say)
        or send(storage, say)
        or read_study(storage, say)
    ):
        pass
    storage.database.close()


def put_image(storage: Storage, uid: str, content: bytes, received_at: float) -> Arrival:
    stored = storage.objects.put(content)
    one = arrival(uid)
    return Arrival(
        uid, CR, EXPLICIT_LE, stored.sha256, stored.size_bytes,
        one.calling_ae, one.called_ae, one.peer_address, received_at,
    )  # fmt: skip


def classify(storage: Storage) -> bool:
    job = storage.queue.claim("w1", 60, 1e6)
    if job is not None:
        uid = job.instance.arrival.sop_instance_uid
        storage.objects.read(job.instance.arrival.sha256)
        storage.queue.finish(job, analysed(), STUDIES[uid], 0, 1e6)
    return job is not None


def write_report(storage: Storage, say: Callable[[str], None]) -> bool:
    study = storage.studies.claim_due("w1", 60, 1e6)
    if study is None:
        return False
    uid = f"7.{study.study_instance_uid}.{study.version}"
    content = " ".join(one.instance.arrival.sop_instance_uid for one in study.instances)
    if study.reading is not None:
        content = f"review {study.reading.last.id} of {study.reading.base_uid}"
    stored = storage.objects.put(uid.encode(), content.encode())
    made = NewReport(uid, new_report(uid).sop_class_uid, stored.sha256, stored.size_bytes, 1e6)
    storage.studies.reported(study, made, ["a"], 1e6)
    say(f"reported {uid}")
    return True


def read_study(storage: Storage, say: Callable[[str], None]) -> bool:
    """Review a study once, and have the review take effect."""
    reviews = Reviews(storage.database)
    if not reviews.of_study(REVIEWED):
        made = reviews.write(review(answer("1.3", "pneumonia", "disagree"), study=REVIEWED), 1e6)
        say(f"reviewed {made.id}")
        return True
    return bool(reviews.take_effect(2e6))


def send(storage: Storage, say: Callable[[str], None]) -> bool:
    deliveries = storage.outbox.claim("a", 10, "d1", 60, 1e6)
    for delivery in deliveries:
        storage.objects.read(delivery.sha256)
        storage.outbox.stored(delivery, "0000", 1e6)
        say(f"stored {delivery.sop_instance_uid}")
    return bool(deliveries)


def fill(root: Path, say: Callable[[str], None]) -> None:
    """Fill the disk, free some of it, and go on; check every image that was acknowledged."""
    ballast = root / "ballast"
    ballast.write_bytes(b"x" * 200_000)
    storage = open_storage(root)
    kept: dict[str, Sha256] = {}

    def accept(number: int, size: int) -> None:
        uid = f"1.{number}"
        one = put_image(storage, uid, hashlib.sha256(uid.encode()).digest() * size, number)
        storage.queue.accept(one)
        kept[uid] = one.sha256
        say(f"acknowledged {uid}")

    number, refused = 0, 0
    for size in (2000, 200, 20, 2):  # finer and finer, until the database finds no room either
        try:
            while True:
                number += 1
                accept(number, size)
        except OutOfSpace:
            refused += 1
    say(f"refused {refused}")
    ballast.unlink()
    accept(number + 1, 200)
    assert {row.sop_instance_uid: row.sha256 for row in storage.queue.rows(limit=9999)} == kept
    for sha256 in kept.values():
        storage.objects.read(sha256)
    assert storage.database.quick_check() == []
    assert storage.objects.sweep() == 0
    say("sound")


def main() -> int:
    """Run one of the two, saying each line at once. Exit 3: a sync failed."""

    def say(line: str) -> None:
        os.write(1, line.encode() + b"\n")

    try:
        {"life": life, "fill": fill}[sys.argv[1]](Path(sys.argv[2]), say)
    except SyncFailed:
        return 3
    except OSError as error:
        return 4 if error.errno == errno.EIO else 5
    return 0


if __name__ == "__main__":
    sys.exit(main())

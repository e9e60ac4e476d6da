"""A real storage in a folder, for the tests that need one."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from storage.database import Database, open_database
from storage.objects import ObjectStore
from storage.outbox import Outbox
from storage.queue import Queue
from storage.records import Arrival, Finding, NewReport, Result, ResultStatus, Sha256
from storage.studies import Studies
from tests import databases

CR = "1.2.840.10008.5.1.4.1.1.1"
COMPREHENSIVE_SR = "1.2.840.10008.5.1.4.1.1.88.33"
EXPLICIT_LE = "1.2.840.10008.1.2.1"


@dataclass(frozen=True)
class Storage:
    """Everything durable, opened on one folder."""

    root: Path
    database: Database
    objects: ObjectStore
    queue: Queue
    studies: Studies
    outbox: Outbox


def open_storage(root: Path, *, migrate: bool = True, busy_timeout_s: float = 10) -> Storage:
    """Open a folder's storage, made where it is not there."""
    objects = ObjectStore(root)
    url = databases.url(root / "hilum.db", migrated=migrate)
    database = open_database(url, busy_timeout_s=busy_timeout_s)
    if migrate:
        database.migrate(root / "backups")
    return Storage(root, database, objects, Queue(database), Studies(database), Outbox(database))


def sha256(text: str) -> Sha256:
    """Return the SHA-256 of a text."""
    return Sha256(hashlib.sha256(text.encode()).hexdigest())


def arrival(uid: str, content: str = "", received_at: float = 0) -> Arrival:
    """Return an arrival; the same uid and content make the same one."""
    return Arrival(
        sop_instance_uid=uid,
        sop_class_uid=CR,
        transfer_syntax_uid=EXPLICIT_LE,
        sha256=sha256(uid + content),
        size_bytes=1000,
        calling_ae="CR1",
        called_ae="HILUM",
        peer_address="10.0.0.5",
        received_at=received_at,
    )


def analysed(probability: float = 0.75) -> Result:
    """Return a result of two findings, one below its threshold."""
    return Result(
        ResultStatus.ANALYSED,
        bundle="chest 1",
        findings=(
            Finding("pneumonia", "233604007", "SCT", "Pneumonia", probability, 0.5),
            Finding("pleural_effusion", "60046008", "SCT", "Pleural effusion", 0.25, 0.5),
        ),
    )


def new_report(uid: str, created_at: float = 0) -> NewReport:
    """Return a report as the builder hands it over."""
    return NewReport(uid, COMPREHENSIVE_SR, sha256(uid), 2000, created_at)


def make_report(storage: Storage, uid: str, study_uid: str, now: float, *pacs: str) -> None:
    """Take one more image of the study to a report."""
    storage.queue.accept(arrival("1." + uid, received_at=now))
    job = storage.queue.claim("w1", 60, now)
    assert job is not None
    storage.queue.finish(job, analysed(), study_uid, 0, now)
    study = storage.studies.claim_due("w1", 60, now)
    assert study is not None
    storage.studies.reported(study, new_report(uid), pacs or ("a",), now)

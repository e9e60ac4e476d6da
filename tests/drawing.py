"""Studies to draw an acceptance test from, on a real storage, and readers who read them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from classifier.bundle import default_folder
from daemon.findings import CATALOGUE
from daemon.shelf import Shelf
from storage.database import Database
from storage.headers import Headers, ImageHeader, StudyHeader
from storage.ledger import Ledger
from storage.queue import Queue
from storage.records import Finding, Result, ResultStatus
from storage.review_records import NewAnswer, NewReview, Reader, ReviewKind, Verdict
from storage.reviews import Reviews
from storage.studies import Studies
from tests.storing import arrival, new_report

NAMES = ("pneumonia", "infiltration", "atelectasis", "pleural_effusion", "nodule_or_mass")


def serve_default(database: Database, root: Path) -> str:
    """Let the default bundle serve, as a worker does; return its version."""
    ledger = Ledger(database)
    taken = Shelf(root).take(default_folder(), ledger, 1.0, link=True)
    ledger.configure(taken.digest, 2.0)
    return taken.version


def take_study(
    database: Database, number: int, present: frozenset[str], now: float, version: str
) -> str:
    """Take a study of one image to its report; return its UID."""
    queue, studies = Queue(database), Studies(database)
    uid = f"9.{number}"
    queue.accept(replace(arrival(f"1.{number}", received_at=now), sha256=arrival(uid).sha256))
    job = queue.claim("w1", 60, now)
    assert job is not None
    found = tuple(
        Finding(name, CATALOGUE[name].code_value, CATALOGUE[name].code_scheme,
                CATALOGUE[name].code_meaning, 0.99 if name in present else 0.01, 0.5)
        for name in NAMES
    )  # fmt: skip
    header = StudyHeader(
        patient_id=f"P{number}", patient_name=f"Test^{number}", patient_sex="FM"[number % 2],
        patient_age="" if number % 5 == 0 else f"{30 + number:03}Y", birth_date="19500102",
        study_date="20260301", study_time="101500", station=f"CR-{number % 2}",
        accession_number=f"A{number}", description="Chest",
    )  # fmt: skip
    headers = Headers(header, ImageHeader(view_position="PA" if number % 3 else "AP"))
    queue.finish(job, Result(ResultStatus.ANALYSED, version, found), uid, 0, now, headers)
    claim = studies.claim_due("w1", 60, now)
    assert claim is not None
    studies.reported(claim, new_report(f"7.{number}", now), (), now)
    return uid


def read_first(
    database: Database, reader: Reader, uid: str, present: frozenset[str], now: float,
    unsure: frozenset[str] = frozenset(),
) -> None:  # fmt: skip
    """Store a first read of each finding."""
    image = f"1.{uid.removeprefix('9.')}"
    answers = tuple(
        NewAnswer(
            image, name,
            Verdict.UNSURE if name in unsure
            else Verdict.PRESENT if name in present else Verdict.ABSENT,
        )
        for name in NAMES
    )  # fmt: skip
    Reviews(database).write(NewReview(uid, ReviewKind.FIRST_READ, reader, 1, answers), now)

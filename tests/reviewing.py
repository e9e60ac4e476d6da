"""Reviews on a real storage, for the tests that need some."""

from __future__ import annotations

from storage.records import StudyJob
from storage.review_records import (
    CodedFinding,
    NewAnswer,
    NewReview,
    Reader,
    Review,
    ReviewKind,
    Verdict,
)
from storage.reviews import Reviews
from tests.storing import Storage, new_report

ANNA = Reader(1, "anna", "Müller^Anna^^Dr.", "Hospital")
BEN = Reader(2, "ben", "Okafor^Ben")
STUDY = "9.9"
PNEUMOTHORAX = CodedFinding("pneumothorax", "36118008", "SCT", "Pneumothorax")


def answer(image: str, finding: str, verdict: Verdict | str) -> NewAnswer:
    coded = PNEUMOTHORAX if finding == "pneumothorax" else None
    return NewAnswer(image, finding, Verdict(verdict), coded)


def review(
    *answers: NewAnswer,
    seen: int = 1,
    reader: Reader = ANNA,
    kind: ReviewKind = ReviewKind.REVIEW,
    study: str = STUDY,
) -> NewReview:
    return NewReview(study, kind, reader, seen, answers)


def write(storage: Storage, new: NewReview, now: float) -> Review:
    return Reviews(storage.database).write(new, now)


def report_all(storage: Storage, now: float) -> list[StudyJob]:
    """Report whatever is due, as a worker does; return the claims."""
    Reviews(storage.database).take_effect(now)
    made = []
    while (claim := storage.studies.claim_due("w1", 60, now)) is not None:
        uid = f"7.{claim.study_instance_uid}.{claim.version}"
        storage.studies.reported(claim, new_report(uid, now), ("a",), now)
        made.append(claim)
    return made

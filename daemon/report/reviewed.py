"""The version of a report that says a review, from the stored reviews and the stored report."""

from __future__ import annotations

from collections.abc import Iterable
from io import BytesIO

from pydicom import dcmread
from pydicom.dataset import Dataset

from daemon.report.codes import Code
from daemon.report.readings import repeat_reviews, say_reviews
from daemon.report.said import Reviewer, Said, Word
from daemon.report.subject import plain
from storage.records import StudyJob
from storage.review_records import Reading, Review, Verdict


def review_version(study: StudyJob, reading: Reading, base: bytes, created_at: float) -> Dataset:
    """Return the version that says a reading; `base` is the stored report of its results.

    Raises ReportError.
    """
    dataset = dcmread(BytesIO(base))
    return say_reviews(
        dataset,
        _said(dataset, reading.reviews),
        study.version,
        study.predecessor_uid or reading.base_uid,
        created_at,
        verifies=reading.verifies,
    )


def with_reviews(dataset: Dataset, reviews: Iterable[Review]) -> Dataset:
    """Return a new report of results with what readers have said in versions before."""
    return repeat_reviews(dataset, _said(dataset, reviews))


def is_positive(reviews: Iterable[Review]) -> bool:
    """Whether a reader has a finding present."""
    return any(answer.present for review in reviews for answer in review.answers)


def is_corrected(reviews: Iterable[Review]) -> bool:
    """Whether a reader has contradicted the computer, or named what it had not."""
    wrong = (Verdict.DISAGREE, Verdict.ADDED)
    return any(answer.verdict in wrong for review in reviews for answer in review.answers)


def _said(dataset: Dataset, reviews: Iterable[Review]) -> list[Said]:
    institution = _institution(dataset)
    return [
        Said(
            Reviewer(
                one.reader.person_name, one.reader.organization or institution, one.reader.login
            ),
            one.created_at,
            tuple(
                Word(
                    answer.sop_instance_uid,
                    answer.finding.name,
                    Code(
                        answer.finding.code_value,
                        answer.finding.code_scheme,
                        plain(answer.finding.code_meaning, 64),
                    ),
                    answer.present,
                )
                for answer in one.answers
            ),
            one.note,
        )
        for one in reviews
    ]


def _institution(dataset: Dataset) -> str:
    """The institution that the image names as its own, "" where it names none."""
    equipment = dataset.get("ContributingEquipmentSequence") or ()
    return next((str(one.InstitutionName) for one in equipment if "InstitutionName" in one), "")

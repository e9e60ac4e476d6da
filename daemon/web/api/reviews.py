"""Reviews: write, undo, list; what may be added; and how far readers agree."""

from __future__ import annotations

from collections import defaultdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, HTTPException, Path
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from daemon.findings import CATALOGUE
from daemon.web.access import Person, Role, Scope, allow
from daemon.web.blinded import withheld
from daemon.web.context import Here, Site
from daemon.web.templating import person_name
from storage.accounts import Accounts
from storage.audit import Audit
from storage.errors import ReviewRefused, StaleVersion, TooLate
from storage.people import Action
from storage.review_records import (
    CodedFinding,
    NewAnswer,
    NewReview,
    Reader,
    Review,
    ReviewId,
    ReviewKind,
    ReviewState,
    Verdict,
)
from storage.reviews import UNDO_S, Reviews
from storage.worklist import Worklist

router = APIRouter(prefix="/api/v1", tags=["reviews"])

MOST_ANSWERS = 500
LONGEST_NOTE = 2000  # characters

Writer = Annotated[Person, Depends(allow(Role.RADIOLOGIST, scope=Scope.REVIEWS))]
Looker = Annotated[Person, Depends(allow(Role.RADIOLOGIST, scope=(Scope.STUDIES, Scope.REVIEWS)))]
Uid = Annotated[str, Field(pattern=r"^[0-9.]{1,64}$")]
Key = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
StudyUid = Annotated[str, Path(pattern=r"^[0-9.]{1,64}$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class AddedFinding(_Strict):
    """A finding that is present and that the computer has not named."""

    sop_instance_uid: Uid
    finding: Key


class GivenAnswer(AddedFinding):
    """What the reader says of one finding in one image.

    Of the computer's result, as it stands in the study's `findings`: agree, disagree or unsure.
    In a first read, which comes before it: present, absent or unsure.
    """

    answer: Literal["agree", "disagree", "unsure", "present", "absent"]


class GivenReview(_Strict):
    """A review. What has no answer is confirmed as the report has it, and makes no label."""

    kind: ReviewKind = ReviewKind.REVIEW
    seen_version: int = Field(ge=0, description="Of the report that the reader saw.")
    answers: list[GivenAnswer] = Field(default_factory=list, max_length=MOST_ANSWERS)
    added: list[AddedFinding] = Field(default_factory=list, max_length=MOST_ANSWERS)
    note: str = Field("", max_length=LONGEST_NOTE)


class StoredReview(BaseModel):
    """A review as stored; times are UNIX seconds."""

    id: int
    kind: ReviewKind
    state: ReviewState
    undo_until: float


@router.post(
    "/studies/{study_uid}/reviews",
    status_code=201,
    response_model=StoredReview,
    responses={409: {"description": "The report has changed since it was seen."}},
)
def write(study_uid: StudyUid, given: GivenReview, here: Here, person: Writer) -> Any:
    """Store a review. It can be undone for ten seconds, and then makes a report and labels."""
    _check_order(here, person, study_uid, given.kind)
    now, reviews = here.clock(), Reviews(here.database)
    new = NewReview(
        study_instance_uid=study_uid,
        kind=given.kind,
        reader=_reader(here, person),
        seen_version=given.seen_version,
        answers=tuple(_answers(given)),
        note=_tidy(given.note),
    )
    try:
        with here.database.write():
            stored = reviews.write(new, now)
            detail = {"review": stored.id, "kind": stored.kind.value, "seen": given.seen_version}
            Audit(here.database).append(
                person.login, Action.REVIEW_WRITTEN, study_uid, detail, at=now
            )
    except StaleVersion as stale:
        return _stale(stale)
    except ReviewRefused as error:
        raise HTTPException(422, str(error)) from None
    return _stored(stored)


@router.delete(
    "/reviews/{review_id}",
    response_model=StoredReview,
    responses={409: {"description": "The review has taken effect."}},
)
def undo(review_id: int, here: Here, person: Writer) -> Any:
    """Take a review of one's own back, within ten seconds. It is kept, marked as undone."""
    now = here.clock()
    try:
        with here.database.write():
            before = Reviews(here.database).show(ReviewId(review_id))
            stored = Reviews(here.database).undo(ReviewId(review_id), person.account, now)
            if before is not None and before.state is not stored.state:
                Audit(here.database).append(
                    person.login, Action.REVIEW_UNDONE, stored.study_instance_uid,
                    {"review": review_id}, at=now,
                )  # fmt: skip
    except TooLate as error:
        raise HTTPException(409, str(error)) from None
    return _stored(stored)


@router.get("/studies/{study_uid}/reviews")
def of_study(study_uid: StudyUid, here: Here, person: Looker) -> dict[str, Any]:
    """List the reviews of a study, and what its readers disagree on.

    A blinded reader who has not read it yet is shown no review of another.
    """
    if Worklist(here.database).study(study_uid) is None:
        raise HTTPException(404, f"There is no study {study_uid}.")
    Audit(here.database).study_read(person.login, study_uid, here.clock())
    reviews = Reviews(here.database).of_study(study_uid)
    hidden = withheld(here, person, study_uid)
    if hidden:
        reviews = tuple(one for one in reviews if one.reader.account == person.account)
    return {
        "study_instance_uid": study_uid,
        "withheld": hidden,
        "undo_s": UNDO_S,
        "reviews": [review_json(one) for one in reviews],
        "disagreements": disagreements(reviews),
    }


@router.get("/findings")
def findings(_here: Here, _person: Looker) -> list[dict[str, str]]:
    """List the findings that may be added to any image."""
    return [
        {
            "name": one.name,
            "meaning": one.code_meaning,
            "code": one.code_value,
            "scheme": one.code_scheme,
        }
        for one in CATALOGUE.values()
    ]


def review_json(review: Review) -> dict[str, Any]:
    """Return a review as the API shows it."""
    return {
        "id": review.id,
        "kind": review.kind,
        "state": review.state,
        "login": review.reader.login,
        "reviewer": shown(review.reader),
        "created_at": review.created_at,
        "undo_until": review.effective_at,
        "undone_at": review.undone_at,
        "seen_version": review.seen_version,
        "version": review.version,
        "note": review.note,
        "answers": [
            {
                "sop_instance_uid": one.sop_instance_uid,
                "finding": one.finding.name,
                "meaning": one.finding.code_meaning,
                "answer": one.verdict,
                "present": one.present,
            }
            for one in review.answers
        ],
    }


def disagreements(reviews: tuple[Review, ...]) -> list[dict[str, Any]]:
    """Return the findings of which two readers' last words differ; who is unsure has none."""
    last: dict[tuple[str, str], dict[int, tuple[Reader, bool]]] = defaultdict(dict)
    meaning: dict[str, CodedFinding] = {}
    for review in reviews:
        if review.state in {ReviewState.UNDONE, ReviewState.PENDING}:
            continue
        for one in review.answers:
            words = last[one.sop_instance_uid, one.finding.name]
            meaning[one.finding.name] = one.finding
            words.pop(review.reader.account, None)
            if one.present is not None:
                words[review.reader.account] = (review.reader, one.present)
    return [
        {
            "sop_instance_uid": uid,
            "finding": name,
            "meaning": meaning[name].code_meaning,
            "readers": [
                {"login": reader.login, "reviewer": shown(reader), "present": present}
                for reader, present in words.values()
            ],
        }
        for (uid, name), words in last.items()
        if len({present for _, present in words.values()}) > 1
    ]


def shown(reader: Reader) -> str:
    """Return a reader's name as people read it."""
    return person_name(reader.person_name) or reader.login


def _check_order(here: Site, person: Person, study_uid: str, kind: ReviewKind) -> None:
    """Raise HTTPException where a first read comes too late, or a review before it."""
    first, hidden = kind is ReviewKind.FIRST_READ, withheld(here, person, study_uid)
    if first == hidden:
        return
    if hidden:
        told = "Read first: the computer's result is shown once you have said what you see."
    elif Reviews(here.database).first_read_done(study_uid, person.account):
        told = "Your first read of this study is stored already: the result is shown."
    else:
        told = "A first read is for accounts that read before the result."
    raise HTTPException(409, told)


def _reader(here: Site, person: Person) -> Reader:
    organization = Accounts(here.database).get(person.account).organization
    return Reader(person.account, person.login, person.person_name, organization)


def _answers(given: GivenReview) -> list[NewAnswer]:
    answers = [
        NewAnswer(one.sop_instance_uid, one.finding, Verdict(one.answer), _coded(one.finding))
        for one in given.answers
    ]
    return answers + [
        NewAnswer(one.sop_instance_uid, one.finding, Verdict.ADDED, _coded(one.finding))
        for one in given.added
    ]


def _coded(finding: str) -> CodedFinding | None:
    return CATALOGUE.get(finding)


def _tidy(note: str) -> str:
    """The note without what no text holds (PS3.5 section 6.1.3)."""
    kept = "".join(c for c in note if c.isprintable() or c == "\n")
    return kept.replace("\\", "/").strip()


def _stored(review: Review) -> StoredReview:
    return StoredReview(
        id=review.id, kind=review.kind, state=review.state, undo_until=review.effective_at
    )


def _stale(stale: StaleVersion) -> Response:
    """Say calmly what came in between, and that nothing is lost."""
    said = [
        f"version {version} has a review by {login}"
        if login is not None
        else f"version {version} has new images or results"
        for version, login in stale.since
    ]
    what = "; ".join(said) or f"the study is at version {stale.current}"
    problem = {
        "type": "about:blank",
        "title": "Conflict",
        "status": 409,
        "detail": f"The report has changed since you opened it: {what}. Nothing was stored yet: "
        "look at what is new, and confirm again.",
        "seen_version": stale.seen,
        "current_version": stale.current,
        "changed": [{"version": version, "reviewer": login} for version, login in stale.since],
    }
    return JSONResponse(problem, 409, media_type="application/problem+json")

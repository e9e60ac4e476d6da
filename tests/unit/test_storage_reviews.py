"""Reviews: durable, undone in time, then in effect, each said in exactly one version."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.errors import NotFound, ReviewRefused, StaleVersion, TooLate
from storage.records import DeliveryState, StudyState
from storage.review_records import ReviewId, ReviewKind, ReviewState, Verdict
from storage.reviews import UNDO_S, Reviews
from storage.worklist import Worklist
from tests.reviewing import ANNA, BEN, STUDY, answer, report_all, review, write
from tests.storing import Storage, analysed, arrival, make_report, new_report, open_storage

IMAGE, SECOND = "1.7.1", "1.7.2"
AGREE, DISAGREE, UNSURE, ADDED = "agree", "disagree", "unsure", "added"


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    """A study of one image, reported: pneumonia present, pleural effusion absent."""
    storage = open_storage(tmp_path)
    make_report(storage, "7.1", STUDY, 100)
    return storage


@pytest.fixture
def reviews(storage: Storage) -> Reviews:
    return Reviews(storage.database)


def late_image(storage: Storage, now: float) -> None:
    storage.queue.accept(arrival(SECOND, received_at=now))
    job = storage.queue.claim("w1", 60, now)
    assert job is not None
    storage.queue.finish(job, analysed(), STUDY, 0, now)


def listed(storage: Storage) -> tuple[bool, str | None]:
    row = Worklist(storage.database).study(STUDY)
    assert row is not None
    return row.reviewed_at is not None, row.reviewed_by


# -- writing and undoing -----------------------------------------------------------------------


def test_a_review_is_stored_with_what_each_answer_comes_to(
    storage: Storage, reviews: Reviews
) -> None:
    made = write(
        storage,
        review(
            answer(IMAGE, "pneumonia", DISAGREE),
            answer(IMAGE, "pleural_effusion", AGREE),
            answer(IMAGE, "pneumothorax", ADDED),
        ),
        200,
    )
    assert (made.state, made.effective_at, made.seen_version) == ("pending", 200 + UNDO_S, 1)
    assert [(one.finding.name, one.present) for one in made.answers] == [
        ("pneumonia", False), ("pleural_effusion", False), ("pneumothorax", True),
    ]  # fmt: skip
    assert made.answers[0].finding.code_value == "233604007"
    assert reviews.of_study(STUDY) == (made,)
    assert reviews.labels() == []


def test_it_can_be_undone_for_ten_seconds_and_is_kept(storage: Storage, reviews: Reviews) -> None:
    made = write(storage, review(answer(IMAGE, "pneumonia", DISAGREE)), 200)
    assert listed(storage) == (True, "anna")
    undone = reviews.undo(made.id, ANNA.account, 209.9)
    assert (undone.state, undone.undone_at) == (ReviewState.UNDONE, 209.9)
    assert reviews.undo(made.id, ANNA.account, 300).undone_at == 209.9
    assert listed(storage) == (False, None)
    assert report_all(storage, 300) == []
    assert reviews.labels() == []
    assert len(reviews.of_study(STUDY)) == 1


def test_after_ten_seconds_it_stands_even_where_no_worker_has_seen_it(
    storage: Storage, reviews: Reviews
) -> None:
    made = write(storage, review(), 200)
    with pytest.raises(TooLate):
        reviews.undo(made.id, ANNA.account, 210)
    assert reviews.due(209.9) == []
    assert reviews.due(210) == [made.id]


def test_nobody_undoes_the_review_of_another(storage: Storage, reviews: Reviews) -> None:
    made = write(storage, review(), 200)
    for review_id, account in ((made.id, BEN.account), (ReviewId(99), ANNA.account)):
        with pytest.raises(NotFound):
            reviews.undo(review_id, account, 201)


def test_a_button_pressed_twice_is_one_review(storage: Storage, reviews: Reviews) -> None:
    write(storage, review(answer(IMAGE, "pneumonia", DISAGREE)), 200)
    write(storage, review(answer(IMAGE, "pneumonia", DISAGREE)), 200.1)
    assert [one.state for one in reviews.of_study(STUDY)] == ["undone", "pending"]
    assert len(report_all(storage, 300)) == 1


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (answer("1.2.3", "pneumonia", AGREE), "Image 1.2.3 is not in this study"),
        (answer(IMAGE, "fracture", AGREE), "fracture of image 1.7.1 is no finding"),
        (answer(IMAGE, "pneumothorax", AGREE), "it can be added only"),
        (answer(IMAGE, "pneumothorax", "present"), "in a review the answers are added, agree"),
    ],
)
def test_an_answer_of_nothing_is_refused_and_nothing_is_stored(
    storage: Storage, reviews: Reviews, wrong: object, why: str
) -> None:
    with pytest.raises(ReviewRefused, match=why):
        write(storage, review(answer(IMAGE, "pneumonia", AGREE), wrong), 200)  # type: ignore[arg-type]
    assert reviews.of_study(STUDY) == ()


def test_the_same_finding_twice_is_refused(storage: Storage) -> None:
    twice = (answer(IMAGE, "pneumonia", AGREE), answer(IMAGE, "pneumonia", DISAGREE))
    with pytest.raises(ReviewRefused, match="answered twice"):
        write(storage, review(*twice), 200)


def test_a_study_that_is_not_there_or_not_reported_is_named(storage: Storage) -> None:
    with pytest.raises(NotFound):
        write(storage, review(study="9.8"), 200)
    storage.queue.accept(arrival("1.8", received_at=200))
    job = storage.queue.claim("w1", 60, 200)
    assert job is not None
    storage.queue.finish(job, analysed(), "9.8", 20, 200)
    with pytest.raises(ReviewRefused, match="no report yet"):
        write(storage, review(study="9.8", seen=0), 201)


# -- taking effect -----------------------------------------------------------------------------


def test_in_effect_it_makes_labels_and_one_version_that_verifies(
    storage: Storage, reviews: Reviews
) -> None:
    made = write(
        storage,
        review(
            answer(IMAGE, "pneumonia", DISAGREE),
            answer(IMAGE, "pleural_effusion", UNSURE),
            answer(IMAGE, "pneumothorax", ADDED),
        ),
        200,
    )
    (claim,) = report_all(storage, 210)
    assert (claim.version, claim.predecessor_uid, claim.instances) == (2, "7.1", ())
    assert claim.sent
    assert claim.reading is not None
    assert claim.reading.verifies
    assert claim.reading.base_uid == "7.1"
    assert [one.id for one in claim.reading.reviews] == [made.id]
    (after,) = reviews.of_study(STUDY)
    assert (after.state, after.version) == (ReviewState.REPORTED, 2)
    assert reviews.verified(STUDY) == after
    assert [(one.finding, one.present, one.reviewer) for one in reviews.labels()] == [
        ("pneumonia", False, "anna"), ("pneumothorax", True, "anna"),
    ]  # fmt: skip
    (label, _) = reviews.labels(since=210)
    assert (label.sop_instance_uid, label.study_instance_uid, label.source) == (
        IMAGE, STUDY, "review",
    )  # fmt: skip
    assert reviews.labels(since=210.1) == reviews.labels(until=210) == []
    assert storage.studies.show(STUDY).state is StudyState.REPORTED
    assert report_all(storage, 400) == []
    versions = [(row.version, row.state) for row in storage.outbox.rows()]
    assert versions == [(2, DeliveryState.PENDING), (1, DeliveryState.PENDING)]


def test_two_readers_make_two_versions_in_order(storage: Storage, reviews: Reviews) -> None:
    write(storage, review(answer(IMAGE, "pneumonia", DISAGREE)), 200)
    write(storage, review(answer(IMAGE, "pneumonia", AGREE), reader=BEN), 201)
    first, second = report_all(storage, 300)
    assert (first.version, second.version) == (2, 3)
    assert second.reading is not None
    assert second.reading.base_uid == "7.1"
    assert [one.reader.login for one in second.reading.reviews] == ["anna", "ben"]
    assert second.predecessor_uid == f"7.{STUDY}.2"
    assert second.reading.verifies
    assert [(one.reviewer, one.present) for one in reviews.labels()] == [
        ("anna", False), ("ben", True),
    ]  # fmt: skip


def test_a_later_word_of_the_same_reader_replaces_the_earlier(
    storage: Storage, reviews: Reviews
) -> None:
    for version, (verdict, left) in enumerate(((DISAGREE, [False]), (AGREE, [True]), (UNSURE, []))):
        now = 1000.0 * (version + 1)
        write(storage, review(answer(IMAGE, "pneumonia", verdict), seen=version + 1), now)
        report_all(storage, now + UNDO_S)
        assert [one.present for one in reviews.labels()] == left


def test_a_version_that_came_in_between_is_named(storage: Storage) -> None:
    write(storage, review(), 200)
    report_all(storage, 300)
    late_image(storage, 400)
    report_all(storage, 400)
    with pytest.raises(StaleVersion) as stale:
        write(storage, review(reader=BEN), 500)
    assert (stale.value.seen, stale.value.current) == (1, 3)
    assert stale.value.since == ((2, "anna"), (3, None))
    with pytest.raises(StaleVersion):
        write(storage, review(seen=4), 500)


def test_an_added_finding_can_be_answered_by_the_next_reader(storage: Storage) -> None:
    write(storage, review(answer(IMAGE, "pneumothorax", ADDED)), 200)
    report_all(storage, 300)
    made = write(storage, review(answer(IMAGE, "pneumothorax", DISAGREE), seen=2, reader=BEN), 400)
    assert made.answers[0].present is False


# -- late images -------------------------------------------------------------------------------


def test_a_late_image_makes_an_unverified_version_that_repeats_the_review(
    storage: Storage, reviews: Reviews
) -> None:
    made = write(storage, review(), 200)
    report_all(storage, 300)
    late_image(storage, 400)
    assert listed(storage) == (False, None)
    (claim,) = report_all(storage, 400)
    assert (claim.version, claim.reading, claim.predecessor_uid) == (3, None, f"7.{STUDY}.2")
    assert [one.id for one in claim.said] == [made.id]
    assert len(claim.instances) == 2
    assert reviews.verified(STUDY) is None

    write(storage, review(seen=3, reader=BEN), 500)
    (claim,) = report_all(storage, 600)
    assert claim.reading is not None
    assert claim.reading.base_uid == f"7.{STUDY}.3"
    assert [one.reader.login for one in claim.reading.reviews] == ["ben"]  # the base says Anna's
    assert claim.reading.verifies


def test_a_review_goes_before_the_results_that_its_reader_has_not_seen(storage: Storage) -> None:
    write(storage, review(), 200)
    late_image(storage, 205)
    first, second = report_all(storage, 300)
    assert first.reading is not None
    assert first.reading.verifies
    assert second.reading is None
    assert [one.version for one in second.said] == [2]
    assert listed(storage) == (False, None)


def test_a_review_of_less_than_is_reported_does_not_verify(
    storage: Storage, reviews: Reviews
) -> None:
    write(storage, review(), 200)
    late_image(storage, 205)
    claim = storage.studies.claim_due("w1", 60, 206)
    assert claim is not None
    storage.studies.reported(claim, new_report("7.2", 206), ("a",), 206)
    (claim,) = report_all(storage, 300)
    assert claim.reading is not None
    assert claim.reading.base_uid == "7.2"
    assert not claim.reading.verifies
    assert reviews.verified(STUDY) is None
    assert listed(storage) == (False, None)


def test_a_review_that_takes_effect_while_the_report_is_built_has_its_version_next(
    storage: Storage, reviews: Reviews
) -> None:
    write(storage, review(), 200)
    late_image(storage, 205)
    claim = storage.studies.claim_due("w1", 60, 206)
    assert claim is not None
    reviews.take_effect(210)
    storage.studies.reported(claim, new_report("7.2", 211), ("a",), 211)
    assert storage.studies.show(STUDY).state is StudyState.DUE
    (claim,) = report_all(storage, 212)
    assert claim.reading is not None
    assert claim.version == 3


def test_a_study_whose_report_could_not_be_built_gets_another_chance(
    storage: Storage, reviews: Reviews
) -> None:
    late_image(storage, 150)
    for _ in range(3):
        claim = storage.studies.claim_due("w1", 60, 1000)
        assert claim is not None
        storage.studies.failed(claim, "failed", "x", 0, 160)
    assert storage.studies.show(STUDY).state is StudyState.QUARANTINED
    write(storage, review(), 2000)
    reviews.take_effect(2010)
    assert len(report_all(storage, 2010)) == 2


# -- first reads -------------------------------------------------------------------------------


def test_a_first_read_stands_at_once_and_makes_labels_and_no_version(
    storage: Storage, reviews: Reviews
) -> None:
    first = ReviewKind.FIRST_READ
    assert not reviews.first_read_done(STUDY, ANNA.account)
    with pytest.raises(ReviewRefused, match="in a first_read the answers are"):
        write(storage, review(answer(IMAGE, "pneumonia", AGREE), kind=first), 200)
    made = write(
        storage,
        review(
            answer(IMAGE, "pneumonia", "absent"), answer(IMAGE, "pneumothorax", "present"),
            kind=first,
        ),
        200,
    )  # fmt: skip
    assert made.state is ReviewState.EFFECTIVE
    assert reviews.first_read_done(STUDY, ANNA.account)
    assert not reviews.first_read_done(STUDY, BEN.account)
    assert not reviews.first_read_done("9.8", ANNA.account)
    assert [(one.finding, one.present, one.source) for one in reviews.labels()] == [
        ("pneumonia", False, "first_read"), ("pneumothorax", True, "first_read"),
    ]  # fmt: skip
    assert report_all(storage, 300) == []
    assert listed(storage) == (False, None)
    with pytest.raises(TooLate, match="first read stands"):
        reviews.undo(made.id, ANNA.account, 201)
    with pytest.raises(ReviewRefused, match="stored already"):
        write(storage, review(kind=first), 300)
    write(storage, review(answer(IMAGE, "pneumonia", AGREE)), 400)
    assert len(report_all(storage, 500)) == 1
    assert {one.finding: one.present for one in reviews.labels()} == {
        "pneumonia": True, "pneumothorax": True,
    }  # fmt: skip


# -- agreement ---------------------------------------------------------------------------------


def test_pairs_of_readers_are_counted_on_what_both_have_judged(
    storage: Storage, reviews: Reviews
) -> None:
    make_report(storage, "8.1", "9.8", 100)
    for reader, said in ((ANNA, (DISAGREE, AGREE)), (BEN, (AGREE, AGREE))):
        one = answer(IMAGE, "pneumonia", said[0])
        two = answer("1.8.1", "pneumonia", said[1])
        write(storage, review(one, answer(IMAGE, "pleural_effusion", UNSURE), reader=reader), 200)
        write(storage, review(two, reader=reader, study="9.8"), 200)
    assert reviews.agreement(0, 1000) == []
    reviews.take_effect(300)
    (pair,) = reviews.agreement(0, 1000)
    assert (pair.finding, pair.first, pair.second) == ("pneumonia", "anna", "ben")
    counts = (pair.both_present, pair.first_only, pair.second_only, pair.both_absent)
    assert counts == (1, 0, 1, 0)
    assert pair.images == 2
    assert reviews.agreement(0, 1000, ReviewKind.FIRST_READ) == []
    assert reviews.agreement(0, 210) == []
    assert reviews.agreement(0, 1000, ReviewKind.REVIEW) == [pair]


def test_verdicts_are_those_that_the_schema_knows() -> None:
    assert {one.value for one in Verdict} == {
        "agree", "disagree", "unsure", "added", "present", "absent",
    }  # fmt: skip

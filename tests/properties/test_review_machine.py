"""Reviews in any order with late images, undoing and crashes: each one in effect is said in exactly
one later version, and nothing that was undone is said anywhere."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import select

from storage.errors import TooLate
from storage.records import StudyJob, StudyState
from storage.review_records import ReviewId, ReviewState, Verdict
from storage.reviews import UNDO_S, Reviews
from storage.schema import report
from tests.reviewing import ANNA, BEN, STUDY, answer, review, write
from tests.storing import analysed, arrival, make_report, new_report, open_storage

IMAGE = "1.7.1"
READERS = st.sampled_from([ANNA, BEN])
SAID = st.dictionaries(
    st.sampled_from(["pneumonia", "pleural_effusion"]),
    st.sampled_from([Verdict.AGREE, Verdict.DISAGREE, Verdict.UNSURE]),
)
COMPUTER = {"pneumonia": True, "pleural_effusion": False}


class ReviewMachine(RuleBasedStateMachine):
    """One study, two readers, one worker that may die with its claim."""

    @initialize()
    def open(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="hilum-reviews-"))
        self.storage = open_storage(self.root)
        self.reviews = Reviews(self.storage.database)
        self.now, self.images = 1000.0, 1
        self.claim: StudyJob | None = None
        self.words: dict[int, tuple[int, dict[str, Verdict]]] = {}  # by review: account, answers
        make_report(self.storage, "7.1", STUDY, self.now)

    @rule(seconds=st.floats(0.1, 15))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(reader=READERS, said=SAID)
    def write(self, reader: object, said: dict[str, Verdict]) -> None:
        version = self.storage.studies.show(STUDY).report_version
        answers = [answer(IMAGE, name, verdict) for name, verdict in said.items()]
        made = write(
            self.storage,
            review(*answers, seen=version, reader=reader),  # type: ignore[arg-type]
            self.now,
        )
        self.words[made.id] = (made.reader.account, said)

    @precondition(lambda self: self.words)
    @rule(data=st.data())
    def undo(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.words)))
        before = self.reviews.show(ReviewId(number))
        assert before is not None
        try:
            after = self.reviews.undo(ReviewId(number), self.words[number][0], self.now)
        except TooLate:
            assert self.now >= before.effective_at
            assert before.state is not ReviewState.UNDONE
            return
        assert after.state is ReviewState.UNDONE
        assert before.state is ReviewState.UNDONE or self.now < before.effective_at

    @rule()
    def late_image(self) -> None:
        self.images += 1
        self.storage.queue.accept(arrival(f"1.8.{self.images}", received_at=self.now))
        job = self.storage.queue.claim("w1", 60, self.now)
        assert job is not None
        self.storage.queue.finish(job, analysed(), STUDY, 0, self.now)

    @rule()
    def take_effect(self) -> None:
        self.reviews.take_effect(self.now)

    @precondition(lambda self: self.claim is None)
    @rule()
    def claim_study(self) -> None:
        self.claim = self.storage.studies.claim_due("w1", 60, self.now)

    @precondition(lambda self: self.claim is not None)
    @rule(dies=st.booleans())
    def report_study(self, dies: bool) -> None:
        claim, self.claim = self.claim, None
        assert claim is not None
        if dies and claim.token % 2:  # not so often in a row that the study is given up
            self.storage.queue.release("w1", self.now)
            return
        uid = f"7.9.{claim.version}"
        self.storage.studies.reported(claim, new_report(uid, self.now), ("a",), self.now)

    @invariant()
    def every_version_is_of_results_or_of_one_review(self) -> None:
        if not hasattr(self, "storage"):
            return
        with self.storage.database.read() as connection:
            rows = connection.execute(select(report).order_by(report.c.version)).all()
        assert [row.version for row in rows] == list(range(1, len(rows) + 1))
        said = {row.review_id: row.version for row in rows if row.review_id is not None}
        kept = self.reviews.of_study(STUDY)
        assert said == {one.id: one.version for one in kept if one.state is ReviewState.REPORTED}
        assert all(one.version > one.seen_version for one in kept if one.version is not None)
        in_order = [one for one in kept if one.version is not None]
        assert sorted(in_order, key=lambda one: (one.effective_at, one.id)) == sorted(
            in_order, key=lambda one: one.version or 0
        )

    def teardown(self) -> None:
        if not hasattr(self, "storage"):
            return
        if self.claim is not None:
            self.report_study(dies=False)
        self.now += UNDO_S
        self.reviews.take_effect(self.now)
        while (claim := self.storage.studies.claim_due("w1", 60, self.now)) is not None:
            uid = f"7.9.{claim.version}"
            self.storage.studies.reported(claim, new_report(uid, self.now), ("a",), self.now)
        self.every_version_is_of_results_or_of_one_review()
        study = self.storage.studies.show(STUDY)
        assert study.state is StudyState.REPORTED
        kept = self.reviews.of_study(STUDY)
        assert {one.state for one in kept} <= {ReviewState.REPORTED, ReviewState.UNDONE}
        sent = sorted(row.version for row in self.storage.outbox.rows())
        assert sent == list(range(1, study.report_version + 1))
        self._labels_are_each_readers_last_word(kept)
        self.storage.database.close()
        shutil.rmtree(self.root)

    def _labels_are_each_readers_last_word(self, kept: tuple[object, ...]) -> None:
        last: dict[tuple[int, str], bool] = {}
        stands = [one for one in kept if one.state is ReviewState.REPORTED]  # type: ignore[attr-defined]
        for one in sorted(stands, key=lambda one: (one.effective_at, one.id)):  # type: ignore[attr-defined]
            account, said = self.words[one.id]  # type: ignore[attr-defined]
            for name, verdict in said.items():
                last.pop((account, name), None)
                if verdict is not Verdict.UNSURE:
                    last[account, name] = COMPUTER[name] == (verdict is Verdict.AGREE)
        found = {(one.account, one.finding): one.present for one in self.reviews.labels()}
        assert found == last


ReviewMachine.TestCase.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
TestReviewMachine = ReviewMachine.TestCase

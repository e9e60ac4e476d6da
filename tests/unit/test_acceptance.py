"""An acceptance test on a real storage: drawn, read, closed, reported."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.acceptance import CannotDraw, Wanted, draw, make_report
from storage.acceptance import Acceptances
from storage.acceptance_records import ANY, AcceptanceState
from storage.accounts import Accounts
from storage.errors import NotFound, Refused
from storage.holdout import Holdouts, patient_key
from storage.labelled import Labelled, ReportLabel
from storage.people import NewAccount, Role
from storage.review_records import NewAnswer, NewReview, Reader, ReviewKind, Verdict
from storage.reviews import Reviews
from tests.drawing import NAMES, read_first, serve_default, take_study
from tests.storing import Storage, open_storage
from training.acceptance import plan
from training.allocation import allocate
from training.errors import TooFewCases

FLAGGED = frozenset(range(0, 40, 3))  # 14 of 40
SICK = frozenset({"pneumonia"})
NONE: frozenset[str] = frozenset()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of forty studies and two radiologists."""
    folder = tmp_path_factory.mktemp("source")
    made = open_storage(folder)
    version = serve_default(made.database, folder)
    for number in range(40):
        take_study(made.database, number, SICK if number in FLAGGED else NONE, 100.0, version)
    for login in ("anna", "ben"):
        new = NewAccount(login, login.title(), f"{login.title()}^Test", "", Role.RADIOLOGIST)
        Accounts(made.database).add(new, 1.0)
    made.database.close()
    return folder / "hilum.db"


@pytest.fixture
def storage(source: Path, tmp_path: Path) -> Iterator[Storage]:
    shutil.copy(source, tmp_path)
    made = open_storage(tmp_path, migrate=False)
    yield made
    made.database.close()


def reader(storage: Storage, login: str) -> Reader:
    account = Accounts(storage.database).by_login(login)
    return Reader(account.id, login, account.person_name)


def wanted(**changes: object) -> Wanted:
    values = {"name": "spring", "finding": ANY, "half_width": 0.22, "sensitivity": 0.8,
              "specificity": 0.8, "prevalence": None, "since": 0.0, "until": 200.0,
              "seed": "seed"}  # fmt: skip
    return Wanted(**{**values, **changes})  # type: ignore[arg-type]


def test_from_draw_to_report(storage: Storage) -> None:
    tests = Acceptances(storage.database)
    drawn = draw(storage.database, wanted(), ["anna", "ben"], "ada", 300.0)
    cases = tests.cases(drawn.id)
    sides = [sum(case.decisions["pneumonia"].present is side for case in cases)
             for side in (True, False)]  # fmt: skip
    weights = {case.decisions["pneumonia"].present: case.weight for case in cases}
    assert [sides[0] * weights[True], sides[1] * weights[False]] == pytest.approx([14, 26])
    assert drawn.plan.counts["drawn_flagged"] == sides[0]

    anna, ben = reader(storage, "anna"), reader(storage, "ben")
    listed = tests.reading_list(drawn.id, anna.account)
    assert [one.number for one in listed] == list(range(1, len(cases) + 1))
    assert tests.unread(anna.account) == {one.study_instance_uid for one in listed}
    with pytest.raises(Refused, match="Nobody has read"):
        tests.close(drawn.id, "ada", "", 310.0)

    for one in listed:
        number = int(one.study_instance_uid.removeprefix("9."))
        truth = SICK if number in FLAGGED else NONE
        read_first(storage.database, anna, one.study_instance_uid, truth, 320.0)
        assert tests.withheld(ben.account, one.study_instance_uid)
        assert not tests.withheld(anna.account, one.study_instance_uid)
    assert tests.unread(anna.account) == frozenset()
    with pytest.raises(Refused, match=f"{len(cases)} reads are left"):
        tests.close(drawn.id, "ada", "enough", 330.0)
    with pytest.raises(Refused, match="is open"):
        make_report(storage.database, drawn, "ada", 335.0)

    closed = tests.close(drawn.id, "ada", "enough", 340.0, incomplete=True)
    assert closed.state is AcceptanceState.CLOSED
    assert tests.unread(ben.account) == frozenset()
    read_first(storage.database, ben, listed[0].study_instance_uid, NONE, 350.0)
    assert [one.account for one in tests.reads(drawn.id)] == [anna.account] * len(cases)

    made = make_report(storage.database, closed, "ada", 360.0)
    found = json.loads(made.figures)["findings"]
    assert [one["finding"] for one in found][:2] == [ANY, "pneumonia"]
    assert found[0]["of_model"]["whole"]["cells"] == [sides[1], 0, 0, sides[0]]
    assert found[1]["by_reader"][0]["figures"]["kappa"]["value"] == pytest.approx(1)
    assert "enough" in made.page
    assert closed.plan.digest in made.page
    assert make_report(storage.database, closed, "ada", 370.0) == made


def test_an_equal_seed_draws_the_same_and_what_a_reader_saw_is_not_drawn(storage: Storage) -> None:
    read_first(storage.database, reader(storage, "anna"), "9.1", NONE, 200.0)
    drawn = draw(storage.database, wanted(name="one"), ["anna"], "ada", 300.0)
    assert drawn.plan.counts["seen"] == 1
    first = [case.study_id for case in Acceptances(storage.database).cases(drawn.id)]
    with pytest.raises(TooFewCases, match="in another open test"):
        draw(storage.database, wanted(name="two", half_width=0.1), ["anna"], "ada", 300.0)
    read_first(storage.database, reader(storage, "anna"),
               Acceptances(storage.database).reading_list(drawn.id, 1)[0].study_instance_uid,
               NONE, 310.0)  # fmt: skip
    Acceptances(storage.database).close(drawn.id, "ada", "a trial", 320.0, incomplete=True)
    again = draw(storage.database, wanted(name="two"), ["ben"], "ada", 330.0)
    assert again.plan.counts["seen"] == 0
    assert len(set(first)) == drawn.cases


@pytest.mark.parametrize(
    ("changes", "logins", "told"),
    [
        ({"name": "-x"}, ["anna"], "begins with a letter"),
        ({"finding": "scurvy"}, ["anna"], "knows no scurvy; it is any, pneumonia"),
        ({"half_width": 1.5}, ["anna"], "half-width is above 0 and below 1"),
        ({"sensitivity": 0.4, "specificity": 0.5}, ["anna"], "add up to more than 1"),
        ({"since": 300.0}, ["anna"], "after the last"),
        ({}, [], "at least one reader"),
        ({}, ["zoe"], "no account zoe"),
    ],
)
def test_what_cannot_be_drawn_is_said(
    storage: Storage, changes: dict[str, object], logins: list[str], told: str
) -> None:
    with pytest.raises(CannotDraw, match=told):
        draw(storage.database, wanted(**changes), logins, "ada", 300.0)
    assert Acceptances(storage.database).all() == []


def test_too_few_studies_says_how_many_there_are_and_are_needed(storage: Storage) -> None:
    with pytest.raises(TooFewCases) as told:
        draw(storage.database, wanted(half_width=0.05), ["anna"], "ada", 300.0)
    assert "There are 14 flagged and 26 others" in str(told.value)
    assert "the test needs about" in str(told.value)
    with pytest.raises(NotFound, match="There are: none"):
        Acceptances(storage.database).find("spring")


def test_nobody_learns_from_a_sample_while_it_is_open(storage: Storage) -> None:
    tests, holdouts = Acceptances(storage.database), Holdouts(storage.database)
    reviews, anna = Reviews(storage.database), reader(storage, "anna")
    drawn = draw(storage.database, wanted(), ["anna"], "ada", 300.0)
    listed = [one.study_instance_uid for one in tests.reading_list(drawn.id, anna.account)]
    for uid in listed[:2]:
        read_first(storage.database, anna, uid, SICK, 310.0)
    assert reviews.labels() == []
    agreed = NewAnswer(f"1.{listed[1].removeprefix('9.')}", "pneumonia", Verdict.UNSURE)
    reviews.write(NewReview(listed[1], ReviewKind.REVIEW, anna, 1, (agreed,)), 320.0)
    said = [ReportLabel(f"A{listed[2].removeprefix('9.')}", "pneumonia", True)]
    Labelled(storage.database).import_reports(said, "ada", 325.0)
    reviews.take_effect(340.0)
    patient = patient_key(f"P{listed[2].removeprefix('9.')}", "", listed[2])
    assert {one.patient for one in Labelled(storage.database).images()} <= holdouts.sampled()
    holdouts.refresh("ada", "none held out", 345.0, share=1e-9)
    with pytest.raises(Refused, match="acceptance test"):
        holdouts.note_trained([patient], 350.0)

    tests.close(drawn.id, "ada", "a trial", 360.0, incomplete=True)
    labels = reviews.labels()
    assert {one.study_instance_uid for one in labels} == {listed[0]}  # the other was reviewed since
    assert len(labels) == len(NAMES)
    holdouts.note_trained([patient], 370.0)
    later = draw(storage.database, wanted(name="later", half_width=0.3), ["ben"], "ada", 380.0)
    assert later.plan.counts["learnt"] == 1


def test_the_allocation_is_as_narrow_as_a_plain_sample_and_no_larger_than_needed() -> None:
    plain = plan(0.1, 0.8, 0.9)
    strata = allocate(plain, 4000, 16000)
    found = (4000 / 20000 - 0.1) / 0.7
    assert strata.prevalence == pytest.approx(found)
    assert strata.flagged + strata.unflagged < plain.cases(found)
    fewer = allocate(plan(0.2, 0.8, 0.9), 4000, 16000)
    assert fewer.flagged + fewer.unflagged < (strata.flagged + strata.unflagged) / 3
    with pytest.raises(TooFewCases, match="none flagged"):
        allocate(plain, 0, 100)
    stated = allocate(plain, 4000, 16000, prevalence=0.3)
    assert stated.prevalence == 0.3

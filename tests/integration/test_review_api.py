"""Reviews through the application: who may, what is refused, and what a blinded reader sees."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from classifier.bundle import load_bundle
from daemon.findings import CATALOGUE
from daemon.web.access import Role, Scope
from daemon.web.blinded import withheld
from storage.audit import Audit, AuditQuery
from storage.people import Action
from storage.reviews import Reviews
from tests.pages import Pages, open_pages
from tests.reviewing import STUDY, report_all
from tests.storing import make_report

IMAGE = "1.7.1"
URL = f"/api/v1/studies/{STUDY}/reviews"


@pytest.fixture
def pages(tmp_path: Path) -> Iterator[Pages]:
    with open_pages(tmp_path) as opened:
        make_report(opened.storage, "7.1", STUDY, opened.clock.now - 100)
        yield opened


def given(*answers: tuple[str, str], seen: int = 1, **more: Any) -> dict[str, Any]:
    return {
        "kind": "review",
        "seen_version": seen,
        "answers": [
            {"sop_instance_uid": IMAGE, "finding": name, "answer": said} for name, said in answers
        ],
        **more,
    }


def test_a_review_is_written_undone_and_audited(pages: Pages) -> None:
    browser = pages.signed_in(Role.RADIOLOGIST)
    added = [{"sop_instance_uid": IMAGE, "finding": "pneumothorax"}]
    written = browser.post(URL, json=given(("pneumonia", "disagree"), added=added, note="x\x00y"))
    assert written.status_code == 201
    assert written.json()["undo_until"] == pages.clock.now + 10
    number = written.json()["id"]
    listed = browser.get(URL).json()
    (one,) = listed["reviews"]
    assert (one["reviewer"], one["login"], one["note"]) == (
        "Radiologist, Test", "radiologist", "xy",
    )  # fmt: skip
    assert [(a["finding"], a["answer"], a["present"]) for a in one["answers"]] == [
        ("pneumonia", "disagree", False), ("pneumothorax", "added", True),
    ]  # fmt: skip
    for _ in range(2):
        assert browser.delete(f"/api/v1/reviews/{number}").json()["state"] == "undone"
    assert browser.delete("/api/v1/reviews/999").status_code == 404
    trail = Audit(pages.storage.database).search(AuditQuery(), 20)
    acts = [(row.action, row.subject) for row in trail]
    assert acts.count((Action.REVIEW_WRITTEN, STUDY)) == 1
    assert acts.count((Action.REVIEW_UNDONE, STUDY)) == 1
    assert acts.count((Action.STUDY_READ, STUDY)) == 1


def test_after_ten_seconds_undo_says_calmly_that_it_is_too_late(pages: Pages) -> None:
    browser = pages.signed_in(Role.RADIOLOGIST)
    number = browser.post(URL, json=given()).json()["id"]
    pages.clock.now += 10
    late = browser.delete(f"/api/v1/reviews/{number}")
    assert late.status_code == 409
    assert "can no longer be undone" in late.json()["detail"]


def test_a_stale_version_is_told_what_changed_and_by_whom(pages: Pages) -> None:
    first = pages.signed_in(Role.RADIOLOGIST, "anna")
    second = pages.signed_in(Role.RADIOLOGIST, "ben")
    first.post(URL, json=given(("pneumonia", "disagree")))
    pages.clock.now += 10
    report_all(pages.storage, pages.clock.now)
    late = second.post(URL, json=given(("pneumonia", "agree")))
    assert late.status_code == 409
    assert late.json()["changed"] == [{"version": 2, "reviewer": "anna"}]
    assert (late.json()["seen_version"], late.json()["current_version"]) == (1, 2)
    assert "version 2 has a review by anna" in late.json()["detail"]
    assert second.post(URL, json=given(("pneumonia", "agree"), seen=2)).status_code == 201
    pages.clock.now += 10
    report_all(pages.storage, pages.clock.now)
    (differs,) = second.get(URL).json()["disagreements"]
    assert {one["login"]: one["present"] for one in differs["readers"]} == {
        "anna": False, "ben": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("wrong", "status", "why"),
    [
        (given(("fracture", "agree")), 422, "no finding that can be named"),
        (given(("pneumonia", "present")), 422, "in a review the answers are"),
        (given(("pneumonia", "maybe")), 422, "answers.0.answer"),
        (given(note="x" * 2001), 422, "note"),
        (given(seen=-1), 422, "seen_version"),
        (given(more=1), 422, "more"),
        (given(kind="first_read"), 409, "read before the result"),
        (given(seen=7), 409, "changed since"),
        ({**given(), "answers": [{"sop_instance_uid": "../x", "finding": "a", "answer": "agree"}]},
         422, "sop_instance_uid"),
    ],
)  # fmt: skip
def test_what_cannot_be_stored_is_named_and_nothing_is(
    pages: Pages, wrong: dict[str, Any], status: int, why: str
) -> None:
    answer = pages.signed_in(Role.RADIOLOGIST).post(URL, json=wrong)
    assert answer.status_code == status
    assert why in answer.json()["detail"]
    assert Reviews(pages.storage.database).of_study(STUDY) == ()


def test_a_study_that_is_not_there(pages: Pages) -> None:
    browser = pages.signed_in(Role.RADIOLOGIST)
    assert browser.post("/api/v1/studies/1.2.3/reviews", json=given()).status_code == 404
    assert browser.get("/api/v1/studies/1.2.3/reviews").status_code == 404
    assert browser.post("/api/v1/studies/a b/reviews", json=given()).status_code == 422


def test_only_a_radiologist_or_a_token_with_the_scope_writes(pages: Pages) -> None:
    for role in (Role.ADMINISTRATOR, Role.AUDITOR):
        browser = pages.signed_in(role)
        assert browser.post(URL, json=given()).status_code == 403
        assert browser.get(URL).status_code == 403
        assert browser.delete("/api/v1/reviews/1").status_code == 403
    assert pages.with_token(Role.RADIOLOGIST, Scope.STUDIES).post(URL, json=given()).status_code \
        == 403  # fmt: skip
    assert pages.with_token(Role.RADIOLOGIST, Scope.REVIEWS).post(URL, json=given()).status_code \
        == 201  # fmt: skip
    assert pages.nobody().get(URL).status_code == 401


def test_what_may_be_added(pages: Pages) -> None:
    found = pages.signed_in(Role.RADIOLOGIST).get("/api/v1/findings").json()
    assert {"name": "pneumothorax", "meaning": "Pneumothorax", "code": "36118008",
            "scheme": "SCT"} in found  # fmt: skip


def test_the_catalogue_is_fit_for_a_report() -> None:
    codes = {(one.code_scheme, one.code_value) for one in CATALOGUE.values()}
    assert len(codes) == len(CATALOGUE)
    for name, one in CATALOGUE.items():
        assert re.fullmatch(r"[a-z0-9_]{1,64}", name)
        assert one.code_meaning.isascii()
        assert len(one.code_meaning) <= 64
    for finding in load_bundle("default").manifest.findings:
        assert CATALOGUE[finding.label.name].code_value == finding.label.code.value


# -- blinded ---------------------------------------------------------------------------------


def test_a_blinded_reader_sees_nothing_of_the_result_before_the_first_read(pages: Pages) -> None:
    other = pages.signed_in(Role.RADIOLOGIST, "anna")
    other.post(URL, json=given(("pneumonia", "disagree")))
    blind = pages.signed_in(Role.RADIOLOGIST, "blind", blinded=True)
    person = _person(pages, "blind")
    assert withheld(pages.site, person, STUDY)
    assert blind.get(URL).json() == {
        "study_instance_uid": STUDY, "withheld": True, "undo_s": 10.0,
        "reviews": [], "disagreements": [],
    }  # fmt: skip
    early = blind.post(URL, json=given(("pneumonia", "agree")))
    assert early.status_code == 409
    assert "Read first" in early.json()["detail"]

    first = given(("pneumonia", "present"), ("pleural_effusion", "absent"), kind="first_read")
    written = blind.post(URL, json=first)
    assert written.status_code == 201
    assert written.json()["undo_until"] == pages.clock.now
    assert not withheld(pages.site, person, STUDY)
    assert len(blind.get(URL).json()["reviews"]) == 2
    assert blind.delete(f"/api/v1/reviews/{written.json()['id']}").status_code == 409
    assert blind.post(URL, json=first).status_code == 409
    assert blind.post(URL, json=given(("pneumonia", "agree"))).status_code == 201


def _person(pages: Pages, login: str) -> Any:
    from daemon.web.access import Person

    account = pages.accounts[login]
    return Person(account.id, login, account.name, account.person_name, account.role, True)


# -- agreement -------------------------------------------------------------------------------


def test_agreement_is_shown_without_patients(pages: Pages) -> None:
    empty = pages.signed_in(Role.ADMINISTRATOR).get("/agreement")
    assert "No image was judged by two readers" in empty.text
    for number in range(2, 12):
        make_report(pages.storage, f"7.{number}", f"8.{number}", pages.clock.now)
    for login, every in (("anna", 2), ("ben", 3)):
        browser = pages.signed_in(Role.RADIOLOGIST, login)
        for number in range(2, 12):
            said = "agree" if number % every else "disagree"
            one = {"sop_instance_uid": f"1.7.{number}", "finding": "pneumonia", "answer": said}
            answer = browser.post(
                f"/api/v1/studies/8.{number}/reviews", json=given() | {"answers": [one]}
            )
            assert answer.status_code == 201
    pages.clock.now += 10
    report_all(pages.storage, pages.clock.now)
    page = pages.signed_in(Role.ADMINISTRATOR).get("/agreement")
    assert page.status_code == 200
    assert "anna and ben" in page.text
    (pair,) = pages.signed_in(Role.RADIOLOGIST).get(
        "/api/v1/agreement", params={"until": pages.clock.now + 1}
    ).json()["pairs"]  # fmt: skip
    assert (pair["images"], pair["both_present"], pair["both_absent"]) == (10, 3, 1)
    assert pair["kappa"]["low"] < pair["kappa"]["value"] < pair["kappa"]["high"]
    assert f"{pair['kappa']['value']:.2f}" in page.text
    assert pages.signed_in(Role.AUDITOR).get("/agreement").status_code == 403
    assert pages.signed_in(Role.AUDITOR).get("/api/v1/agreement").status_code == 403
    firsts = pages.signed_in(Role.RADIOLOGIST).get("/agreement", params={"kind": "first_read"})
    assert "No image was judged" in firsts.text
    assert pages.nobody().get("/agreement").status_code in (303, 401)

"""The worklist page: what a radiologist sees, and what a blinded one does not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from storage.audit import Audit, AuditQuery
from storage.people import Role
from storage.worklist import Worklist
from tests.pages import Pages, after, open_pages
from tests.storing import analysed, make_report
from tests.unit.test_storage_worklist import LATERAL, take

HTMX = {"HX-Request": "true"}


@pytest.fixture
def pages(tmp_path: Path) -> Iterator[Pages]:
    with open_pages(tmp_path) as one:
        yield one


@pytest.fixture
def browser(pages: Pages) -> TestClient:
    return pages.signed_in(Role.RADIOLOGIST)


def listed(html: str) -> list[str]:
    return re.findall(r'data-study="([^"]+)"', html)


def fill(pages: Pages) -> None:
    now = pages.clock.now
    take(pages.storage, "9.1", analysed(0.2), now - 300, patient_name="Roe^Richard", station="A")
    take(
        pages.storage, "9.2", analysed(0.87), now - 7500,
        patient_name="Doe^Jane=王^小東", patient_id="P-7", patient_sex="F", birth_date="19700402",
        study_date="20250301", study_time="101500", description="Chest PA", station="B",
    )  # fmt: skip
    take(pages.storage, "9.3", LATERAL, now - 60)


def test_the_urgent_stand_first_with_all_that_a_reader_needs(
    pages: Pages, browser: TestClient
) -> None:
    fill(pages)
    page = browser.get("/worklist").text
    assert listed(page) == ["9.2", "9.1", "9.3"]
    row = page[page.index('data-study="9.2"') : page.index('data-study="9.1"')]
    for text in ("Flagged", "Doe, Jane", "王小東", "P-7", "54 y F", "2025-03-01 10:15",
                 "2 h 05 min", "Pneumonia", "87 %", "Chest PA", 'href="/studies/9.2"'):  # fmt: skip
        assert text in row, text
    assert "1 not analysed" in page
    assert "3 to review, 1 of them flagged" in page


def test_a_name_is_text_whatever_it_holds(pages: Pages, browser: TestClient) -> None:
    name = "<script>alert(1)</script>\"'&^{{ 7*7 }}"
    take(pages.storage, "9.1", analysed(), 1, patient_name=name, station="<b>", description="</td>")
    page = browser.get("/worklist").text
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "49" not in page[page.index("data-study") :].partition("</th>")[0]
    assert "<b>" not in page
    found = after(browser, browser.post("/worklist", data={"text": "<script>"}))
    assert listed(found) == ["9.1"]
    assert 'value="&lt;script&gt;"' in found


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ({"text": "roe"}, ["9.1"]),
        ({"text": "小東"}, ["9.2"]),
        ({"state": "flagged"}, ["9.2"]),
        ({"state": "not_analysed"}, ["9.3"]),
        ({"finding": "pneumonia"}, ["9.2"]),
        ({"station": "A"}, ["9.1"]),
        ({"first_date": "2025-03-01", "last_date": "2025-03-01"}, ["9.2"]),
        ({"first_date": "2025-03-02"}, []),
        ({"reviewed_by": "nobody"}, []),
    ],
)
def test_the_form_narrows_the_list(
    pages: Pages, browser: TestClient, form: dict[str, str], expected: list[str]
) -> None:
    fill(pages)
    part = browser.post("/worklist", data=form, headers=HTMX)
    assert part.status_code == 200
    assert listed(part.text) == expected
    assert "<html" not in part.text
    assert listed(after(browser, browser.post("/worklist", data=form))) == expected  # no script
    assert listed(browser.get("/worklist").text) == expected, "as it was narrowed last"
    assert len(listed(after(browser, browser.post("/worklist/clear")))) == 3


@pytest.mark.parametrize(
    ("form", "named"),
    [({"state": "all"}, "State"), ({"first_date": "1 March"}, "From"), ({"last_date": "x"}, "To")],
)
def test_a_wrong_field_is_named(browser: TestClient, form: dict[str, str], named: str) -> None:
    answer = browser.post("/worklist", data=form, headers={"Accept": "application/json"})
    assert answer.status_code == 422
    assert named in answer.text


def test_a_search_is_noted_without_its_words(pages: Pages, browser: TestClient) -> None:
    fill(pages)
    browser.post("/worklist", data={"text": "Roe"}, headers=HTMX)
    browser.post("/worklist/changes", data={"text": "Roe"}, headers=HTMX)
    rows = Audit(pages.storage.database).search(AuditQuery(action="worklist.searched"), 10)
    assert len(rows) == 1
    assert "Roe" not in str(rows)


def test_fifty_a_page_and_every_study_once(pages: Pages, browser: TestClient) -> None:
    for number in range(55):
        take(pages.storage, f"9.{number}", analysed(number / 60), number)
    first = browser.get("/worklist").text
    key = re.search(r'id="more" name="after" value="([^"]+)"', first)
    assert key is not None
    second = browser.post("/worklist", data={"after": key[1]}, headers=HTMX).text
    assert len(listed(first)) == 50
    assert len({*listed(first), *listed(second)}) == 55
    assert 'id="more"' not in second
    assert browser.post("/worklist", data={"after": "rubbish"}).status_code == 422


def marker(html: str) -> str:
    found = re.search(r'name="marker" value="([^"]+)"', html)
    assert found is not None
    return found[1]


def test_what_is_new_appears_by_itself_and_else_nothing_is_sent(
    pages: Pages, browser: TestClient
) -> None:
    fill(pages)
    known = {"marker": marker(browser.get("/worklist").text)}
    assert browser.post("/worklist/changes", data=known, headers=HTMX).status_code == 204
    take(pages.storage, "9.4", analysed(0.99), pages.clock.now)
    part = browser.post("/worklist/changes", data=known, headers=HTMX)
    assert listed(part.text) == ["9.4", "9.2", "9.1", "9.3"]
    known = {"marker": marker(part.text)}
    worklist = Worklist(pages.storage.database)
    row = worklist.study("9.4")
    assert row is not None
    worklist.mark_review(row.study_id, "radiologist", pages.clock.now)
    part = browser.post("/worklist/changes", data=known, headers=HTMX)
    assert listed(part.text)[-1] == "9.4"
    known = {"marker": marker(part.text)}
    make_report(pages.storage, "7.1", "9.5", pages.clock.now)
    assert browser.post("/worklist/changes", data=known, headers=HTMX).status_code == 200


def test_a_blinded_reader_sees_no_result(pages: Pages) -> None:
    fill(pages)
    browser = pages.signed_in(Role.RADIOLOGIST, "blind", blinded=True)
    answers = [
        browser.get("/worklist"),
        browser.post("/worklist", data={}, headers=HTMX),
        browser.post("/worklist/changes", data={}, headers=HTMX),
    ]
    for answer in answers:
        assert listed(answer.text) == ["9.2", "9.1", "9.3"]  # who waits longest
        shown = answer.text[answer.text.index('id="rows"') :].casefold()
        for word in ("flagged", "pneumonia", "87", "not analysed", "not present", "tag warn"):
            assert word not in shown, word
    assert 'name="finding"' not in answers[0].text
    for form in ({"state": "flagged"}, {"state": "not_analysed"}, {"finding": "pneumonia"}):
        assert browser.post("/worklist", data=form, headers=HTMX).status_code == 403


def test_the_next_study_is_one_redirect_away(pages: Pages, browser: TestClient) -> None:
    fill(pages)
    after = {
        uid: browser.get(f"/studies/{uid}/next").headers["location"]
        for uid in ("9.2", "9.1", "9.3", "9.404")
    }
    assert after == {
        "9.2": "/studies/9.1",
        "9.1": "/studies/9.3",
        "9.3": "/studies/9.2",
        "9.404": "/studies/9.2",
    }
    for uid in ("9.1", "9.3"):
        row = Worklist(pages.storage.database).study(uid)
        assert row is not None
        Worklist(pages.storage.database).mark_review(row.study_id, "radiologist", 5.0)
    assert browser.get("/studies/9.2/next").headers["location"] == "/worklist"


def test_the_next_study_is_of_the_list_as_it_is_narrowed(pages: Pages, browser: TestClient) -> None:
    fill(pages)
    take(pages.storage, "9.4", analysed(0.1), 1, patient_name="Roe^Ann", station="A")

    def following(uid: str) -> tuple[str, str | None]:
        page = browser.get(f"/studies/{uid}/next").headers["location"]
        told = browser.get(f"/api/v1/studies/{uid}/next").json()["study_instance_uid"]
        return page, told

    form = {"text": "roe", "station": "A"}
    browser.post("/worklist", data=form, headers=HTMX)
    assert following("9.1") == ("/studies/9.4", "9.4")
    assert following("9.4") == ("/studies/9.1", "9.1")
    browser.post("/worklist", data={"text": "roe^ann"}, headers=HTMX)
    assert following("9.4") == ("/worklist", None)
    for uid in ("9.1", "9.4"):
        row = Worklist(pages.storage.database).study(uid)
        assert row is not None
        Worklist(pages.storage.database).mark_review(row.study_id, "radiologist", 5.0)
    browser.post("/worklist", data={**form, "state": "reviewed"}, headers=HTMX)
    assert following("9.1") == ("/studies/9.4", "9.4")
    # A reader who was blinded since has no filter of what the computer found
    browser.post("/worklist", data={"finding": "pneumonia"}, headers=HTMX)
    pages.gate.accounts.set_role(pages.accounts["radiologist"].id, Role.RADIOLOGIST, blinded=True)
    assert len(listed(browser.get("/worklist").text)) == 4


def test_an_old_study_is_listed_before_its_header_is_read(
    pages: Pages, browser: TestClient
) -> None:
    make_report(pages.storage, "7.1", "9.1", pages.clock.now)
    assert "(header not read yet)" in browser.get("/worklist").text


@pytest.mark.parametrize("path", ["/worklist", "/studies/9.1/next"])
def test_only_radiologists_have_a_worklist(pages: Pages, path: str) -> None:
    for role in (Role.ADMINISTRATOR, Role.AUDITOR):
        assert pages.signed_in(role).get(path).status_code == 403
    assert pages.nobody().get(path).status_code == 401

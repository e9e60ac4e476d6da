"""Alarms, stations and findings by page and API, and who is told of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from daemon.web.access import Role
from storage.doubts import Doubts
from storage.people import Scope
from tests.pages import Pages, after, open_pages
from tests.watching import Ward


@pytest.fixture
def pages(tmp_path: Path) -> Iterator[Pages]:
    with open_pages(tmp_path) as opened:
        yield opened


@pytest.fixture
def ward(pages: Pages) -> Ward:
    """A station whose greys have changed, and a finding in doubt."""
    ward = Ward(pages.storage, now=pages.clock.now - 1000)
    ward.send(200)
    ward.send(20, shift=3)
    ids = ward.answer([({"size": 14.0}, {"pneumonia": 0.6})] * 30)
    ward.review(dict.fromkeys(ids, False))
    ward.look()
    return ward


@pytest.fixture
def browser(pages: Pages) -> TestClient:
    return pages.in_session(Role.ADMINISTRATOR)


def numbers(ward: Ward) -> dict[str, int]:
    return {one.kind: one.id for one in ward.alarms.open()}


def test_the_page_says_what_is_wrong_and_what_to_do(ward: Ward, browser: TestClient) -> None:
    page = browser.get("/alarms").text
    assert "Images have changed: CR1" in page
    assert "Brightness higher by" in page
    assert "take them as the station&#39;s reference" in page
    assert "in doubt" in page
    assert "Of 30 reviews 0% show it, where 60% were expected" in page
    assert "0 (0 to 11) %" in page  # PPV
    live = browser.get("/alarms/live").text
    assert "Images have changed: CR1" in live
    assert f'<span class="tag bad">{len(numbers(ward))}</span></a>' in browser.get("/system").text


def test_an_administrator_acknowledges_and_closes(ward: Ward, browser: TestClient) -> None:
    number = numbers(ward)["input_drift"]
    said = after(browser, browser.post(f"/alarms/{number}/acknowledge"))
    assert "is acknowledged" in said
    assert "by administrator" in said
    refused = browser.post(f"/alarms/{number}/close", data={"reason": " "})
    assert refused.status_code == 409
    assert "A reason is needed" in refused.text
    assert "is closed" in after(
        browser, browser.post(f"/alarms/{number}/close", data={"reason": "mended"})
    )
    assert "input_drift" not in numbers(ward)
    again = browser.post(f"/alarms/{number}/acknowledge")
    assert again.status_code == 409
    assert f"There is no open alarm {number}." in again.text


def test_images_are_taken_for_the_reference_where_there_are_enough(
    ward: Ward, browser: TestClient
) -> None:
    few = browser.post("/alarms/stations/accept", data={"station": "CR1"})
    assert few.status_code == 409
    assert "at least 200 images" in few.text
    ward.send(200, shift=3)
    done = after(browser, browser.post("/alarms/stations/accept", data={"station": "CR1"}))
    assert "become its reference now" in done
    ward.look()
    assert "input_drift" not in numbers(ward)


def test_a_doubt_is_lifted_with_a_reason(ward: Ward, pages: Pages, browser: TestClient) -> None:
    form = {"digest": ward.digest, "finding": "pneumonia", "reason": ""}
    assert browser.post("/alarms/findings/lift", data=form).status_code == 409
    form["reason"] = "a list of the wrong patients"
    assert "no longer in doubt" in after(browser, browser.post("/alarms/findings/lift", data=form))
    assert Doubts(pages.storage.database).in_force(ward.digest) == {}
    assert "calibration" not in numbers(ward)


def test_a_program_reads_and_acts(ward: Ward, pages: Pages) -> None:
    program = pages.with_token(Role.ADMINISTRATOR, Scope.ADMIN)
    found = program.get("/api/v1/alarms").json()["open"]
    drift = next(one for one in found if one["kind"] == "input_drift")
    assert (drift["station"], drift["state"]) == ("CR1", "open")
    assert drift["advice"].startswith("Look at the newest images")
    known = program.post(f"/api/v1/alarms/{drift['id']}/acknowledge").json()
    assert known["acknowledged_by"] == "administrator"
    assert program.post("/api/v1/alarms/999/acknowledge").status_code == 404
    why = {"reason": "mended"}
    assert program.post(f"/api/v1/alarms/{drift['id']}/close", json=why).json()["closed_at"]
    assert [one["id"] for one in program.get("/api/v1/alarms?closed=5").json()["closed"]] == [
        drift["id"]
    ]
    watched = program.get("/api/v1/watching").json()
    assert watched["stations"][0]["station"] == "CR1"
    doubted = next(one for one in watched["findings"] if one["doubt"])
    assert doubted["name"] == "pneumonia"
    unknown = program.post("/api/v1/watching/stations/accept", json={"station": "XX9"})
    assert unknown.status_code == 404
    # no drift is open now: all images that there are
    taken = program.post("/api/v1/watching/stations/accept", json={"station": "CR1"})
    assert taken.json() == {"station": "CR1", "images": 250}
    lift = {"digest": ward.digest, "finding": "pneumonia", "reason": "known"}
    assert program.post("/api/v1/watching/findings/lift", json=lift).status_code == 200
    assert program.post("/api/v1/watching/findings/lift", json=lift).status_code == 404


def test_without_a_bundle_nothing_is_watched_and_the_page_says_so(browser: TestClient) -> None:
    page = browser.get("/alarms").text
    assert "No alarm is open." in page
    assert "No bundle serves yet" in page

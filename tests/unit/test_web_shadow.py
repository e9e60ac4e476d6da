"""A candidate's trial by the pages and the API: begun, shown with figures and picture, stopped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from daemon.web.access import Role
from storage.people import Scope
from storage.queue import Queue
from storage.records import Result, ResultStatus
from tests.ledgers import FIRST, SECOND, pages_with
from tests.pages import Pages, after
from tests.storing import analysed, arrival
from tests.trying import try_all

URL = f"/models/{SECOND.digest}/shadow"
API = f"/api/v1{URL}"


@pytest.fixture
def pages(tmp_path: Path) -> Iterator[Pages]:
    with pages_with(tmp_path, FIRST, SECOND) as opened:
        yield opened


@pytest.fixture
def browser(pages: Pages) -> TestClient:
    return pages.signed_in(Role.ADMINISTRATOR)


def serve(pages: Pages, count: int) -> None:
    queue, now = Queue(pages.storage.database), pages.clock()
    for number in range(count):
        queue.accept(arrival(f"1.{number}", received_at=now))
        job = queue.claim("w1", 60, now)
        assert job is not None
        result = Result(ResultStatus.ANALYSED, FIRST.version, analysed().findings)
        queue.finish(job, result, f"9.{number}", 0, now)


def test_a_trial_is_begun_shown_and_stopped_on_its_page(pages: Pages, browser: TestClient) -> None:
    assert "has had no trial" in browser.get(URL).text
    assert "Trial beside what serves" in browser.get(f"/models/{SECOND.digest}").text
    assert browser.post(URL, data={"days": "0", "images": "5"}).status_code == 422
    begun = browser.post(URL, data={"days": "7", "images": "5"})
    assert "classifies beside" in after(browser, begun)
    twice = browser.post(URL, data={"days": "7", "images": "5"})
    assert twice.status_code == 409
    assert "stop that one first" in twice.text
    serve(pages, 3)
    try_all(pages.storage.database, probability=0.4)
    page = browser.get(URL).text
    assert "3 of 5 images" in page
    assert page.count("<svg") == 2
    assert page.count('fill="#d55e00"') == 3, "pneumonia's decisions differ in each"
    assert page.count("<circle") == 3
    assert "an administrator decides" in page
    assert browser.post(f"{URL}/stop", data={"reason": " "}).status_code == 409
    stopped = browser.post(f"{URL}/stop", data={"reason": "the wrong one"})
    assert "The trial is stopped" in after(browser, stopped)
    assert "the wrong one" in browser.get(URL).text


def test_the_json_does_as_the_page_does(pages: Pages) -> None:
    program = pages.with_token(Role.ADMINISTRATOR, Scope.ADMIN)
    reader = pages.with_token(Role.ADMINISTRATOR, Scope.HEALTH)
    assert reader.get(API).json() == {"trial": None, "figures": None, "earlier": []}
    assert reader.post(API, json={}).status_code == 403
    made = program.post(API, json={}).json()
    training = pages.site.settings.training
    assert (made["images"], made["started_by"]) == (training.shadow_images, "administrator")
    assert made["until"] - made["started_at"] == training.shadow_days * 86400
    assert program.post(API, json={}).status_code == 409
    serve(pages, 2)
    try_all(pages.storage.database)
    found = reader.get(API).json()
    assert found["figures"]["findings"][0]["agreement"]["count"] == 2
    assert program.post(f"{API}/stop", json={}).status_code == 422
    why = {"reason": "the wrong one"}
    assert program.post(f"{API}/stop", json=why).json()["state"] == "stopped"
    assert program.post(f"{API}/stop", json=why).status_code == 409
    assert program.post("/api/v1/models/none/shadow", json={}).status_code == 404


def test_nothing_of_a_trial_is_where_a_reader_looks(pages: Pages) -> None:
    """Neither in the study, nor in its results, nor in the worklist."""
    administrator = pages.with_token(Role.ADMINISTRATOR, Scope.ADMIN)
    radiologist = pages.with_token(Role.RADIOLOGIST, Scope.STUDIES)
    administrator.post(API, json={})
    serve(pages, 1)
    before = [radiologist.get(path).text for path in ("/api/v1/studies/9.0", "/api/v1/studies")]
    try_all(pages.storage.database, probability=0.123456)
    after_it = [radiologist.get(path).text for path in ("/api/v1/studies/9.0", "/api/v1/studies")]
    assert before == after_it
    assert SECOND.version not in after_it[0]
    assert radiologist.get(API).status_code == 403

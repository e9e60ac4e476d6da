"""The administrator's pages and their JSON: each change has its reason and its audit row."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from daemon.settings import PacsSettings
from daemon.web.access import Role
from storage.audit import Audit, AuditQuery
from storage.ledger import Ledger
from storage.people import Scope
from storage.records import DeliveryState, JobState
from tests.harness import free_port
from tests.ledgers import FIRST, SECOND, pages_with
from tests.pages import Pages, after, open_pages
from tests.storing import analysed, arrival, make_report

PAGES = [
    "/models", "/models/live", "/models/rollback", f"/models/{FIRST.digest}",
    f"/models/{SECOND.digest}/promote", "/thresholds", f"/thresholds/{SECOND.digest}",
    f"/thresholds/{FIRST.digest}/pneumonia/what-if?value=0.2", "/queue", "/queue/live",
    "/queue/jobs/1", "/deliveries", "/deliveries/live", "/peers", "/peers/live", "/system",
    "/system/live",
]  # fmt: skip
JSON = [
    "/api/v1/models", f"/api/v1/models/{FIRST.digest}", "/api/v1/queue", "/api/v1/queue/jobs",
    f"/api/v1/models/{FIRST.digest}/findings/pneumonia/what-if?threshold=0.2",
    "/api/v1/deliveries", "/api/v1/peers",
]  # fmt: skip


@pytest.fixture
def pages(tmp_path: Path) -> Iterator[Pages]:
    with pages_with(tmp_path, FIRST, SECOND) as opened:
        yield opened


@pytest.fixture
def browser(pages: Pages) -> TestClient:
    return pages.signed_in(Role.ADMINISTRATOR)


def trail(pages: Pages, *actions: str) -> list[tuple[str, str, object]]:
    """Who did what and why, of these actions, the oldest first."""
    rows = Audit(pages.storage.database).search(AuditQuery(), 100)
    return [
        (row.actor, row.action, row.detail.get("reason"))
        for row in reversed(rows)
        if row.action in actions
    ]


def quarantined(pages: Pages, uid: str = "1.1") -> int:
    """Put an image into quarantine; return its job."""
    queue, now = pages.storage.queue, pages.clock()
    queue.accept(arrival(uid, received_at=now))
    job = queue.claim("w1", 60, now)
    assert job is not None
    queue.quarantine(job, "unreadable", "The file is cut off.", now, "1.2.3", 0)
    return job.id


@pytest.mark.parametrize("path", PAGES)
def test_an_administrator_sees_each_page_and_nobody_else_does(pages: Pages, path: str) -> None:
    quarantined(pages)
    make_report(pages.storage, "5.1", "1.2.4", pages.clock(), "main")
    answer = pages.signed_in(Role.ADMINISTRATOR).get(path)
    assert answer.status_code == 200, answer.text
    assert "style=" not in answer.text
    assert "<script>" not in answer.text
    for role in (Role.RADIOLOGIST, Role.AUDITOR):
        assert pages.signed_in(role).get(path).status_code == 403
    assert pages.nobody().get(path).status_code == 401


@pytest.mark.parametrize("path", JSON)
def test_a_token_of_health_reads_the_json(pages: Pages, path: str) -> None:
    answer = pages.with_token(Role.ADMINISTRATOR, Scope.HEALTH).get(path)
    assert answer.status_code == 200, answer.text
    json.loads(answer.text)
    assert pages.with_token(Role.RADIOLOGIST, Scope.STUDIES).get(path).status_code == 403


OVERRIDDEN = (
    "[The gate was overridden. No run of this service made this bundle, so that the gate has not "
    "judged it.]"
)


def test_a_bundle_is_promoted_and_rolled_back_with_a_reason(
    pages: Pages, browser: TestClient
) -> None:
    path = f"/models/{SECOND.digest}/promote"
    asked = browser.get(path)
    assert f"Promote {SECOND.version}?" in asked.text
    nothing = browser.post(path, data={"reason": "  "})
    assert nothing.status_code == 409
    assert "A reason is needed" in nothing.text
    unjudged = browser.post(path, data={"reason": "better by the hold-out"})
    assert unjudged.status_code == 409
    assert "the gate has not judged it" in unjudged.text
    done = browser.post(path, data={"reason": "better by the hold-out", "override": "true"})
    assert f"{SECOND.version} is to serve" in after(browser, done)
    serving = Ledger(pages.storage.database).serving()
    assert serving is not None
    assert (serving.model.version, serving.promotion.actor) == (SECOND.version, "administrator")

    assert FIRST.version in browser.get("/models/rollback").text
    done = browser.post("/models/rollback", data={"reason": "worse at night"})
    assert f"{FIRST.version} is to serve again" in after(browser, done)
    again = browser.post("/models/rollback", data={"reason": "and on"})
    assert again.status_code == 409
    assert "No bundle served before" in again.text
    assert trail(pages, "model.promoted", "model.rolled_back") == [
        ("administrator", "model.promoted", f"better by the hold-out {OVERRIDDEN}"),
        ("administrator", "model.rolled_back", "worse at night"),
    ]


def test_a_threshold_is_changed_after_what_it_would_have_done(
    pages: Pages, browser: TestClient
) -> None:
    path = f"/thresholds/{FIRST.digest}/pneumonia"
    assert "last 30 days" in browser.get(f"{path}/what-if?value=0.9").text
    assert browser.get(f"{path}/what-if?value=1.5").status_code == 422
    assert browser.post(path, data={"value": "0.4", "reason": ""}).status_code in (409, 422)
    beyond = browser.post(path, data={"value": "7", "reason": "all of them"})
    assert beyond.status_code == 409
    assert "above 0 and at most 1" in beyond.text
    page = after(browser, browser.post(path, data={"value": "0.4", "reason": "too many"}))
    assert "The threshold of Pneumonia is changed" in page
    assert "not the bundle's 0.316" in page
    assert Ledger(pages.storage.database).thresholds(FIRST.digest)["pneumonia"] == 0.4
    own = {"value": "0.4", "own": "true", "reason": "as it was"}
    assert browser.post(path, data=own).status_code == 303
    assert Ledger(pages.storage.database).thresholds(FIRST.digest) == FIRST.thresholds
    assert trail(pages, "threshold.changed") == [
        ("administrator", "threshold.changed", "too many"),
        ("administrator", "threshold.changed", "as it was"),
    ]


def test_an_image_in_quarantine_is_retried_and_a_waiting_one_put_there(
    pages: Pages, browser: TestClient
) -> None:
    job = quarantined(pages)
    assert "The file is cut off." in browser.get("/queue").text
    assert "waits for a worker" in after(browser, browser.post(f"/queue/jobs/{job}/retry"))
    again = browser.post(f"/queue/jobs/{job}/retry")
    assert again.status_code == 409
    assert "only a quarantined job can" in again.text
    path = f"/queue/jobs/{job}/quarantine"
    assert browser.post(path, data={"reason": " "}).status_code == 409
    done = browser.post(path, data={"reason": "of a phantom"})
    assert f"Job {job} is in quarantine" in after(browser, done)
    assert pages.storage.queue.show(job).row.state is JobState.QUARANTINED  # type: ignore[arg-type]
    assert browser.get("/queue/jobs/999").status_code == 404
    assert trail(pages, "job.retried", "job.quarantined") == [
        ("administrator", "job.retried", None),
        ("administrator", "job.quarantined", "of a phantom"),
    ]


def test_a_dead_letter_is_sent_again(pages: Pages, browser: TestClient) -> None:
    outbox, now = pages.storage.outbox, pages.clock()
    make_report(pages.storage, "5.1", "1.2.4", now, "main")
    (claimed,) = outbox.claim("main", 1, "d", 60, now)
    outbox.dead(claimed, "A900", "SOP class not supported", now)
    page = browser.get("/deliveries").text
    assert "SOP class not supported" in page
    assert "refused for good" in page.lower()
    path = f"/deliveries/{claimed.id}/retry"
    assert "is sent again" in after(browser, browser.post(path))
    assert outbox.rows()[0].state is DeliveryState.PENDING
    assert browser.post(path).status_code == 409
    assert trail(pages, "delivery.retried") == [("administrator", "delivery.retried", None)]


def test_a_peer_that_is_down_is_said_so(tmp_path: Path) -> None:
    pacs = PacsSettings(name="main", ae_title="PACS", host="127.0.0.1", port=free_port())
    with open_pages(tmp_path) as pages:
        pages.app.state.site = replace(
            pages.site, settings=pages.site.settings.model_copy(update={"pacs": (pacs,)})
        )
        browser = pages.signed_in(Role.ADMINISTRATOR)
        assert "PACS at 127.0.0.1" in browser.get("/peers").text
        assert "does not answer" in browser.post("/peers/main/ask").text
        assert browser.post("/peers/other/ask").status_code == 404


def test_the_json_acts_as_the_pages_do(pages: Pages) -> None:
    program = pages.with_token(Role.ADMINISTRATOR, Scope.ADMIN)
    reader = pages.with_token(Role.ADMINISTRATOR, Scope.HEALTH)
    job = quarantined(pages)
    why = {"reason": "by a program"}
    promote = f"/api/v1/models/{SECOND.digest}/promote"
    threshold = f"/api/v1/models/{FIRST.digest}/findings/pneumonia/threshold"
    assert reader.post(promote, json=why).status_code == 403
    assert program.post(promote, json={}).status_code == 422
    assert "has to override the gate" in program.post(promote, json=why).text
    all_the_same = {**why, "override": True}
    assert program.post(promote, json=all_the_same).json()["deed"] == "promoted"
    assert program.post(promote, json=all_the_same).status_code == 409
    assert program.post("/api/v1/models/rollback", json=why).json()["version"] == FIRST.version
    assert program.put(threshold, json={"value": 0.5, **why}).json()["value"] == 0.5
    assert program.put(threshold, json={"value": 0, **why}).status_code == 422
    assert program.post("/api/v1/models/none/promote", json=why).status_code == 404
    assert program.post(f"/api/v1/queue/jobs/{job}/retry", json={}).json()["state"] == "pending"
    assert program.post(f"/api/v1/queue/jobs/{job}/quarantine", json={}).status_code == 409
    assert program.post("/api/v1/deliveries/9/retry", json={}).status_code == 404
    assert reader.get("/api/v1/models").json()["serving"] == FIRST.version
    assert len(trail(pages, "model.promoted", "threshold.changed", "job.retried")) == 3


def test_counts_are_of_what_is_there(pages: Pages, browser: TestClient) -> None:
    queue, now = pages.storage.queue, pages.clock()
    for number in range(3):
        queue.accept(arrival(f"7.{number}", received_at=now - 60))
    job = queue.claim("w1", 60, now)
    assert job is not None
    queue.finish(job, analysed(), "1.2.9", 0, now)
    found = pages.with_token(Role.ADMINISTRATOR, Scope.HEALTH).get("/api/v1/queue").json()
    assert found["jobs"]["pending"] == 2
    assert (found["received_hour"], found["answered_hour"]) == (3, 1)
    assert found["received_per_minute"] == pytest.approx(3 / 5)
    assert found["oldest_waiting_at"] == now - 60
    assert found["callers"] == [
        {"ae_title": "CR1", "address": "10.0.0.5", "images": 3, "quarantined": 0,
         "not_analysed": 0, "last_at": now - 60}
    ]  # fmt: skip
    assert "the oldest for 60 s" in browser.get("/queue/live").text

"""The pages and the API of schedules and runs, and what the models' pages say of a candidate."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from daemon.web.access import Role
from storage.audit import Audit, AuditQuery
from storage.bundles import BundleFacts
from storage.people import Scope
from storage.runs import Runs
from storage.schedule_records import RunState
from storage.schedules import Schedules
from tests.ledgers import FIRST, SECOND, pages_with
from tests.pages import Pages

THIRD = BundleFacts("hilum_vgg16 three", "3" * 64, "hilum-three", FIRST.card, FIRST.thresholds)
REFUSED = {
    "passed": False, "images": 120, "patients": 100, "gains": [], "remarks": ["Another threshold"],
    "reasons": [{"kind": "worse", "about": "pneumonia", "text": "AUC of pneumonia is lower."}],
}  # fmt: skip
PASSED = {**REFUSED, "passed": True, "reasons": [], "gains": ["Brier score -0.02"]}
NIGHTLY = {"name": "nightly", "kind": "backup", "cron": "30 2 * * *", "timezone": "Europe/Berlin"}


@pytest.fixture
def pages(tmp_path: Path) -> Iterator[Pages]:
    with pages_with(tmp_path, FIRST, SECOND, THIRD) as opened:
        yield opened


@pytest.fixture
def browser(pages: Pages) -> TestClient:
    return pages.in_session(Role.ADMINISTRATOR)


def judged(pages: Pages, digest: str, verdict: dict[str, Any]) -> int:
    """A run that made a bundle and had it judged."""
    runs, now = Runs(pages.storage.database), pages.clock()
    number = Schedules(pages.storage.database).run_now("recalibrate", "ada", now)
    claim = runs.claim(number, "host", 30, now)
    assert claim is not None
    runs.beat(claim, 30, now, "evaluate", 3, 10)
    folder = pages.storage.root / "runs" / str(number)
    folder.mkdir(parents=True)
    (folder / "gate.png").write_bytes(b"\x89PNG made here")
    (folder / "secret.txt").write_text("not a picture")
    found = {
        "bundle": "hilum two",
        "verdict": verdict,
        "pictures": ["gate.png"],
        "cases": {"used": 9},
    }
    runs.end(claim, RunState.DONE, now, found, candidate=digest)
    return number


def actions(pages: Pages) -> list[tuple[str, str]]:
    rows = Audit(pages.storage.database).search(AuditQuery(), 100)
    return [(row.actor, row.action) for row in reversed(rows)]


def test_a_schedule_is_added_run_and_removed_by_page(pages: Pages, browser: TestClient) -> None:
    page = browser.post("/schedules", data={**NIGHTLY, "window": "22:00-05:00"})
    assert page.status_code == 200, page.text
    assert "nightly is added" in page.text
    assert "22:00-05:00" in page.text
    page = browser.post("/schedules/run", data={"named": "nightly"})
    assert "Run 1 starts" in page.text
    page = browser.post("/schedules/runs/1/cancel")
    assert "Run 1 is cancelled" in page.text
    page = browser.post("/schedules/runs/1/cancel")
    assert page.status_code == 409
    page = browser.post("/schedules/remove", data={"name": "nightly"})
    assert "Nothing is scheduled" in page.text
    done = ("schedule.added", "run.requested", "run.cancelled", "schedule.removed")
    assert [one for one in actions(pages) if one[1] in done] == [
        ("administrator", one) for one in done
    ]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"cron": "0 0 30 2 *"}, "never comes due"),
        ({"every": "1h"}, "not both"),
        ({"name": "a/b"}, "1 to 64 letters"),
        ({"name": "backup"}, "not that of a kind"),
        ({"timezone": "Nowhere"}, "no time zone"),
        ({"window": "late"}, "two times of day"),
    ],
)
def test_a_wrong_schedule_is_refused_with_what_is_allowed(
    pages: Pages, browser: TestClient, wrong: dict[str, str], told: str
) -> None:
    page = browser.post("/schedules", data={**NIGHTLY, **wrong})
    assert page.status_code == 409
    assert told in page.text
    program = pages.with_token(Role.ADMINISTRATOR, Scope.ADMIN)
    answer = program.post("/api/v1/schedules", json={**NIGHTLY, **wrong})
    assert answer.status_code == 422
    assert told in answer.json()["detail"]
    assert Schedules(pages.storage.database).all() == ()


def test_the_api_does_the_same(pages: Pages) -> None:
    program = pages.with_token(Role.ADMINISTRATOR, Scope.ADMIN)
    added = program.post("/api/v1/schedules", json=NIGHTLY)
    assert added.status_code == 200, added.text
    assert added.json()["next_due"] > pages.clock()
    assert program.post("/api/v1/schedules", json=NIGHTLY).status_code == 409
    assert [one["name"] for one in program.get("/api/v1/schedules").json()] == ["nightly"]
    run = program.post("/api/v1/runs", json={"named": "nightly"}).json()
    assert (run["state"], run["kind"], run["requested_by"]) == (
        "waiting",
        "backup",
        "administrator",
    )
    assert program.post("/api/v1/runs", json={"named": "none"}).status_code == 404
    assert program.post(f"/api/v1/runs/{run['id']}/cancel").json()["state"] == "cancelled"
    assert program.post(f"/api/v1/runs/{run['id']}/cancel").status_code == 409
    assert program.get("/api/v1/runs").json()[0]["state"] == "cancelled"
    assert program.get("/api/v1/runs/77").status_code == 404
    assert program.delete("/api/v1/schedules/nightly").json() == {"removed": "nightly"}
    assert program.delete("/api/v1/schedules/nightly").status_code == 404
    monitor = pages.with_token(Role.ADMINISTRATOR, Scope.HEALTH)
    assert monitor.get("/api/v1/runs").status_code == 200
    assert monitor.post("/api/v1/runs", json={"named": "backup"}).status_code == 403


def test_a_run_shows_its_verdict_and_its_picture_and_no_other_file(
    pages: Pages, browser: TestClient
) -> None:
    number = judged(pages, SECOND.digest, REFUSED)
    page = browser.get(f"/schedules/runs/{number}")
    assert "AUC of pneumonia is lower." in page.text
    assert f"/schedules/runs/{number}/pictures/gate.png" in page.text
    assert browser.get(f"/schedules/runs/{number}/live").status_code == 200
    for prefix in ("/schedules", "/api/v1"):
        picture = browser.get(f"{prefix}/runs/{number}/pictures/gate.png")
        assert picture.headers["content-type"] == "image/png"
        assert picture.content.startswith(b"\x89PNG")
        for name in ("secret.txt", "..%2Fsecret.txt", "none.png"):
            assert browser.get(f"{prefix}/runs/{number}/pictures/{name}").status_code == 404
    found = browser.get(f"/api/v1/runs/{number}").json()
    assert (found["verdict"], found["outcome"]["verdict"]) == (False, REFUSED)


def test_who_promotes_what_the_gate_refused_is_warned(pages: Pages, browser: TestClient) -> None:
    judged(pages, SECOND.digest, REFUSED)
    judged(pages, THIRD.digest, PASSED)
    page = browser.get(f"/models/{SECOND.digest}/promote").text
    assert "The gate refused this candidate" in page
    assert "AUC of pneumonia is lower." in page
    page = browser.get(f"/models/{THIRD.digest}/promote").text
    assert "The gate passed this candidate on 120 held-out images: Brier score -0.02" in page
    listed = browser.get("/models").text
    assert "gate refused" in listed
    assert "gate passed" in listed
    assert "AUC of pneumonia is lower." in browser.get(f"/models/{SECOND.digest}").text
    unjudged = browser.get(f"/models/{FIRST.digest}/promote").text
    assert "the gate has not judged it" in unjudged


def test_progress_is_on_the_page(pages: Pages, browser: TestClient) -> None:
    runs, now = Runs(pages.storage.database), pages.clock()
    number = Schedules(pages.storage.database).run_now("evaluate", "ada", now)
    claim = runs.claim(number, "host", 30, now)
    assert claim is not None
    runs.beat(claim, 30, now, "evaluate", 3, 10)
    page = browser.get("/schedules/live").text
    assert '<progress max="10" value="3"' in page
    assert "evaluate 3 of 10" in page

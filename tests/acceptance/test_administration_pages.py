"""An administrator in Chromium: sends a dead letter again, changes a threshold, rolls back.

The pages are the real ones on a real storage; the figures in it are the test's.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from classifier.bundle import load_bundle
from daemon.shelf import facts_of
from daemon.web.access import Role
from storage.bundles import BundleFacts, Loaded
from storage.ledger import Ledger
from storage.records import DeliveryState, Finding, Result, ResultStatus
from storage.runs import Runs
from storage.schedule_records import RunState
from storage.schedules import Schedules
from storage.workers import Workers
from tests import browsing
from tests.browsing import look
from tests.pages import Pages, open_pages
from tests.received import on_a_port
from tests.storing import Storage, arrival, make_report

FIRST = facts_of(load_bundle())
SECOND = BundleFacts(
    "hilum_vgg16 night", "2" * 64, "hilum_vgg16-night", FIRST.card, FIRST.thresholds
)
DEMO = Path(__file__).parents[2] / "deploy" / "demo"


@pytest.fixture
def pages(tmp_path: Path) -> Iterator[Pages]:
    with open_pages(tmp_path) as opened:
        opened.clock.now = time.time()
        fill(opened)
        yield opened


@pytest.fixture
def browser(pages: Pages, chromium: Browser) -> Iterator[Page]:
    """Chromium, signed in as the administrator."""
    login = pages.account(Role.ADMINISTRATOR).login
    with on_a_port(pages.app) as url, browsing.room(chromium, url) as context:
        yield browsing.sign_in(context, login)


def fill(pages: Pages) -> None:
    """Two bundles, three hundred results, a refused report and an image in quarantine."""
    storage, now = pages.storage, pages.clock()
    ledger = Ledger(storage.database)
    for facts in (FIRST, SECOND):
        ledger.register(facts, now - 9e5)
    ledger.configure(FIRST.digest, now - 8e5)
    ledger.promote(SECOND.digest, "ada", "calibrated on our own cases", now - 7e5)
    Workers(storage.database).loaded(
        Loaded("worker-0", SECOND.version, "int8", "the fastest", now - 7e5)
    )
    for number in range(60):
        _answer(storage, number, now - 60 * number)
    make_report(storage, "5.1", "1.2.4", now - 30, "main")
    (claimed,) = storage.outbox.claim("main", 1, "d", 60, now)
    storage.outbox.dead(claimed, "A900", "the PACS refused it: SOP class not supported", now)
    storage.queue.accept(arrival("1.2.840.99", received_at=now - 20))
    job = storage.queue.claim("w", 60, now)
    assert job is not None
    storage.queue.quarantine(job, "unreadable", "The file ends too early.", now, None, 0)


def _answer(storage: Storage, number: int, at: float) -> None:
    storage.queue.accept(arrival(f"1.2.840.7.{number}", received_at=at))
    job = storage.queue.claim("w", 60, at)
    assert job is not None
    findings = tuple(
        Finding(name, "1", "SCT", name, (number * (7 + place)) % 60 / 60, threshold)
        for place, (name, threshold) in enumerate(FIRST.thresholds.items())
    )
    result = Result(ResultStatus.ANALYSED, SECOND.version, findings)
    storage.queue.finish(job, result, f"1.2.840.8.{number}", 0, at)


def test_an_administrators_round(pages: Pages, browser: Page) -> None:
    browser.goto("/system")
    look(browser, "system")

    browser.goto("/deliveries")
    assert "SOP class not supported" in browser.inner_text("main")
    look(browser, "deliveries")
    browser.click("text=Send again")
    assert "is sent again" in browser.inner_text(".success")
    assert pages.storage.outbox.rows()[0].state is DeliveryState.PENDING

    browser.goto("/queue")
    assert "The file ends too early." in browser.inner_text("main")
    look(browser, "queue")
    waiting = browser.locator(".figure").first
    assert waiting.inner_text() == "0"
    pages.storage.queue.accept(arrival("1.2.840.100", received_at=pages.clock()))
    expect(waiting).to_have_text("1", timeout=8000)

    browser.goto("/thresholds")
    what_if = browser.locator("#what-if-pneumonia")
    what_if.locator("table").wait_for()
    now = FIRST.thresholds["pneumonia"]
    browser.locator("#range-pneumonia").fill("0.7")
    expect(what_if.locator("thead")).to_contain_text("0.700")
    assert browser.input_value("#value-pneumonia") == "0.7"
    look(browser, "thresholds")
    form = browser.locator("form", has=browser.locator("#value-pneumonia"))
    form.locator("[name=reason]").fill("too many at night")
    form.locator("button", has_text="Save").click()
    expect(browser.locator(".success")).to_contain_text("The threshold of Pneumonia is changed")
    ledger = Ledger(pages.storage.database)
    assert ledger.thresholds(SECOND.digest)["pneumonia"] == 0.7 != now

    browser.goto("/models")
    look(browser, "models")
    browser.locator("table").first.locator(f"text={SECOND.version}").click()
    look(browser, "model")
    browser.goto("/models")
    browser.click("text=Roll back to")
    look(browser, "rollback")
    browser.fill("[name=reason]", "worse than before")
    browser.click("main button")
    assert f"{FIRST.version} is to serve again" in browser.inner_text(".success")
    serving = ledger.serving()
    assert serving is not None
    assert serving.model.version == FIRST.version
    assert "loads" in browser.inner_text(".live"), "the worker has not followed yet"

    browser.goto(f"/models/{SECOND.digest}/promote")
    look(browser, "promote")
    browser.goto("/peers")
    look(browser, "peers")


def test_a_round_of_the_schedules(pages: Pages, browser: Page) -> None:
    runs = Runs(pages.storage.database)
    judged = _judged(pages, runs)

    browser.goto("/schedules")
    browser.fill("[name=name]", "weekly")
    browser.select_option("form[action='/schedules'] [name=kind]", "recalibrate")
    browser.fill("[name=cron]", "0 1 * * sat")
    browser.fill("[name=window]", "22:00-05:00")
    browser.click("text=Add the schedule")
    assert "weekly is added" in browser.inner_text(".success")
    browser.click("button:has-text('Run now weekly')")
    assert "starts as soon as" in browser.inner_text(".success")
    (waiting,) = runs.open()
    claim = runs.claim(waiting.id, "host", 60, time.time())
    assert claim is not None
    runs.beat(claim, 60, time.time(), "evaluate", 30, 96)
    progress = browser.locator("progress")
    expect(progress).to_have_attribute("value", "30", timeout=8000)
    look(browser, "schedules")
    browser.evaluate("() => { window.confirm = () => true; }")  # a dialog fails any other test
    browser.click(f"button:has-text('Cancel run {waiting.id}')")
    assert f"Run {waiting.id} is cancelled" in browser.inner_text(".success")
    assert runs.beat(claim, 60, time.time(), "evaluate", 31, 96), "its process is told"

    browser.goto(f"/schedules/runs/{judged}")
    shown = browser.locator("img.drawn")
    expect(shown).to_be_visible()
    assert shown.evaluate("one => one.naturalWidth") > 0
    look(browser, "run")
    browser.click("text=The candidate")
    assert "AUC of pneumonia: -0.080" in browser.inner_text("main")
    browser.goto(f"/models/{FIRST.digest}/promote")
    assert "The gate refused this candidate" in browser.inner_text("main")
    look(browser, "promote-refused")


def _judged(pages: Pages, runs: Runs) -> int:
    """A run whose candidate, which does not serve, was refused by the gate."""
    number = Schedules(pages.storage.database).run_now("recalibrate", "ada", time.time())
    claim = runs.claim(number, "host", 60, time.time())
    assert claim is not None
    folder = pages.storage.root / "runs" / str(number)
    folder.mkdir(parents=True)
    shutil.copy(DEMO / "00000022_000.png", folder / "gate.png")
    text = "AUC of pneumonia: -0.080 (-0.120 to -0.040). It is lower by more than the margin."
    verdict = {
        "passed": False, "images": 120, "patients": 100, "gains": [], "remarks": [],
        "reasons": [{"kind": "worse", "about": "pneumonia", "text": text}],
    }  # fmt: skip
    found = {"bundle": FIRST.version, "verdict": verdict, "pictures": ["gate.png"],
             "cases": {"used": 70, "held_out": 30}}  # fmt: skip
    runs.end(claim, RunState.DONE, time.time(), found, candidate=FIRST.digest)
    return number

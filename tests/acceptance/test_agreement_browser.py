"""The page of agreement in a real browser: readable, without a fault, at two sizes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

from storage.people import Role
from storage.reviews import Reviews
from tests.pages import PASSWORD, Pages, open_pages
from tests.received import on_a_port
from tests.reviewing import ANNA, BEN, answer, review
from tests.storing import make_report

pytestmark = [pytest.mark.slow, pytest.mark.peer]


@pytest.fixture
def pages(tmp_path: Path) -> Iterator[Pages]:
    """Thirty studies read by two readers who differ on every sixth."""
    with open_pages(tmp_path) as one:
        now, reviews = one.clock.now - 3600, Reviews(one.storage.database)
        for number in range(1, 31):
            make_report(one.storage, f"7.{number}", f"8.{number}", now)
            for reader in (ANNA, BEN):
                differs = reader is BEN and number % 6 == 0
                said = "agree" if (number % 3 > 0) != differs else "disagree"
                image = f"1.7.{number}"
                words = (answer(image, "pneumonia", said), answer(image, "pneumothorax", "added"))
                reviews.write(review(*words, reader=reader, study=f"8.{number}"), now)
        reviews.take_effect(now + 60)
        yield one


@pytest.mark.parametrize("size", [(1280, 800), (1920, 1200)])
def test_the_page_has_no_fault(pages: Pages, size: tuple[int, int], tmp_path: Path) -> None:
    pages.account(Role.ADMINISTRATOR)
    with on_a_port(pages.app) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox"]
        )
        width, height = size
        tab = browser.new_page(
            viewport={"width": width, "height": height}, color_scheme="dark", base_url=url
        )
        faults: list[str] = []
        tab.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
        tab.goto("/sign-in")
        tab.fill("[name=login]", "administrator")
        tab.fill("[name=password]", PASSWORD)
        tab.keyboard.press("Enter")
        tab.wait_for_load_state()
        tab.get_by_role("link", name="Agreement").click()
        tab.wait_for_url("**/agreement")
        rows = tab.locator("tbody tr")
        assert rows.count() == 2
        assert "0.57\t0.26 to 0.88" in rows.nth(0).inner_text()  # 5 of 30 differ
        assert "both said the same of all" in rows.nth(1).inner_text()
        found = Axe().run(tab).response["violations"]
        assert [one["id"] for one in found if one["impact"] in ("serious", "critical")] == []
        tab.screenshot(path=tmp_path / f"agreement-{width}.png")
        tab.select_option("[name=kind]", "first_read")
        tab.get_by_role("button", name="Show").click()
        tab.wait_for_selector(".empty")
        browser.close()
    assert faults == []

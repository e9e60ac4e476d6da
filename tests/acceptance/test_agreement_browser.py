"""The page of agreement in a real browser: readable, without a fault, at two sizes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from storage.people import Role
from storage.reviews import Reviews
from tests import browsing
from tests.pages import Pages, open_pages
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


def test_the_page_has_no_fault(pages: Pages, chromium: Browser) -> None:
    pages.account(Role.ADMINISTRATOR)
    with on_a_port(pages.app) as url, browsing.room(chromium, url) as context:
        tab = browsing.sign_in(context, "administrator")
        tab.get_by_role("link", name="Agreement").click()
        tab.wait_for_url("**/agreement")
        rows = tab.locator("tbody tr")
        assert rows.count() == 2
        assert "0.57\t0.26 to 0.88" in rows.nth(0).inner_text()  # 5 of 30 differ
        assert "both said the same of all" in rows.nth(1).inner_text()
        browsing.look(tab, "agreement")
        tab.select_option("[name=kind]", "first_read")
        tab.get_by_role("button", name="Show").click()
        tab.wait_for_selector(".empty")

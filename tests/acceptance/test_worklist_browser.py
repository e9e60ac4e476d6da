"""The worklist in a real browser: by keyboard alone, and undisturbed by what arrives."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from storage.people import Role
from storage.worklist import Worklist
from tests import browsing
from tests.harness import until
from tests.pages import Pages, open_pages
from tests.received import on_a_port
from tests.storing import analysed
from tests.unit.test_storage_worklist import LATERAL, take

pytestmark = [pytest.mark.slow, pytest.mark.peer]

NAMES = ("Doe^Jane", "Roe^Richard", "Müller^Änne", "Wang^XiaoDong=王^小東", "<b>Bold</b>^<i>It</i>")


@pytest.fixture
def pages(tmp_path: Path) -> Iterator[Pages]:
    with open_pages(tmp_path) as one:
        yield one


@pytest.fixture
def page(pages: Pages, chromium: Browser) -> Iterator[Page]:
    """A radiologist at the worklist of forty studies."""
    for number in range(40):
        day = f"202503{number % 28 + 1:02}"
        take(
            pages.storage, f"9.{number}", LATERAL if number % 9 == 8 else analysed(number / 40),
            pages.clock.now - 600 * number, patient_name=NAMES[number % 5], patient_id=f"P{number}",
            patient_sex="FM"[number % 2], birth_date="19500102", study_date=day,
            study_time="101500", station=f"CR-{number % 3}", description="Chest PA",
        )  # fmt: skip
    pages.account(Role.RADIOLOGIST)
    with on_a_port(pages.app) as url:
        context = browsing.room(chromium, url)
        tab = browsing.sign_in(context, "radiologist")
        tab.wait_for_url("**/worklist")
        yield tab
        context.close()


def focused(page: Page) -> str | None:
    found: str | None = page.evaluate(
        "document.activeElement.closest('tr')?.dataset.study ?? document.activeElement.id"
    )
    return found


def test_moving_searching_and_opening_by_keyboard(page: Page) -> None:
    for key, study in (
        ("j", "9.39"), ("j", "9.38"), ("ArrowDown", "9.37"), ("k", "9.38"), ("ArrowUp", "9.39"),
        ("k", "9.39"), ("End", "9.8"), ("Home", "9.39"), ("/", "search"),
    ):  # fmt: skip
        page.keyboard.press(key)
        assert focused(page) == study, key
    page.keyboard.type("müller")
    until(lambda: page.locator("#rows tbody tr").count() == 8)
    assert focused(page) == "search"
    page.keyboard.press("ArrowDown")
    assert focused(page) == "9.37"
    page.keyboard.press("Enter")
    page.wait_for_url("**/studies/9.37")
    assert "müller" not in page.url


def test_enter_alone_opens_the_most_urgent(page: Page) -> None:
    page.keyboard.press("Enter")
    page.wait_for_url("**/studies/9.39")


def test_what_arrives_leaves_the_row_that_one_is_on_in_its_place(pages: Pages, page: Page) -> None:
    page.set_viewport_size({"width": 1280, "height": 500})
    for _ in range(12):
        page.keyboard.press("j")
    at = focused(page)
    top = page.evaluate("document.activeElement.getBoundingClientRect().top")
    for number in range(3):
        take(pages.storage, f"8.{number}", analysed(0.99), pages.clock.now, patient_name="New^One")
    page.wait_for_selector("tr[data-study='8.0']", state="attached", timeout=9000)
    assert focused(page) == at
    moved = page.evaluate("document.activeElement.getBoundingClientRect().top") - top
    assert abs(moved) < 2
    assert page.locator("tr.arrived").count() == 3
    row = Worklist(pages.storage.database).study(str(at))
    assert row is not None
    Worklist(pages.storage.database).mark_review(row.study_id, "radiologist", pages.clock.now)
    page.wait_for_selector(f"tr[data-study='{at}'].reviewed", state="attached", timeout=9000)
    assert focused(page) == at


def test_the_page_is_sound(page: Page) -> None:
    page.keyboard.press("j")
    browsing.look(page, "worklist", None)

"""Signing in: sessions, and what a browser may not do without one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.web.access import Role
from tests.pages import Pages, open_pages, sign_in


@pytest.fixture
def pages(tmp_path: Path) -> Iterator[Pages]:
    with open_pages(tmp_path) as opened:
        yield opened


def test_a_person_signs_in_and_out(pages: Pages) -> None:
    browser = pages.signed_in(Role.AUDITOR)
    page = browser.get("/account")
    assert page.status_code == 200
    assert "Auditor" in page.text
    assert browser.post("/sign-out").headers["location"] == "/sign-in"
    answer = browser.get("/account", headers={"Accept": "text/html"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in?next=/account")
    assert sign_in(browser, "auditor", "wrong password").status_code == 401

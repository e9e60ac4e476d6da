"""The pages of an acceptance test in a real browser, before and after it is closed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from daemon.acceptance import Wanted, draw, make_report
from storage.acceptance import Acceptances
from storage.labelled import Labelled, ReportLabel
from storage.people import Role
from storage.review_records import Reader
from tests import browsing
from tests.drawing import NAMES, read_first, serve_default, take_study
from tests.pages import Pages, open_pages
from tests.received import on_a_port

pytestmark = [pytest.mark.slow, pytest.mark.peer]

STUDIES = 48


def present(number: int) -> frozenset[str]:
    """What the bundle finds in a study."""
    return frozenset(name for place, name in enumerate(NAMES) if number % (3 + 2 * place) == 0)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    """A test that was closed, and one of which a third is read."""
    folder = tmp_path_factory.mktemp("pages")
    with open_pages(folder) as one:
        database, now = one.storage.database, one.clock.now
        version = serve_default(database, folder)
        for number in range(STUDIES):
            take_study(database, number, present(number), now - 7000, version)
        one.account(Role.ADMINISTRATOR)
        logins = ("radiologist", "ben")
        readers = [
            Reader(one.account(Role.RADIOLOGIST, login).id, login, f"{login}^Test")
            for login in logins
        ]
        tests = Acceptances(database)
        for name, width in (("Spring 2026", 0.2), ("Autumn 2026", 0.28)):
            wanted = Wanted(name, "any", width, 0.8, 0.8, None, now - 8000, now, "1")
            test = draw(database, wanted, logins if name[0] == "S" else logins[:1], "ada", now)
            listed = tests.reading_list(test.id, readers[0].account)
            for reader in readers[: len(test.readers)]:
                for case in listed if name[0] == "S" else listed[: len(listed) // 3]:
                    uid = case.study_instance_uid
                    number = int(uid.removeprefix("9."))
                    said = present(number if number % 7 else number + reader.account)
                    unsure = frozenset({"infiltration"} if number % 5 == 0 else ())
                    read_first(database, reader, uid, said - unsure, now, unsure)
            if name[0] == "S":
                closed = tests.close(test.id, "ada", "", now + 60)
                make_report(database, closed, "ada", now + 90)
        lines = [ReportLabel(f"A{n}", "pneumonia", n % 4 == 0) for n in range(STUDIES)]
        Labelled(database).import_reports(lines, "ada", now)
        yield one


def test_an_administrator_sees_progress_and_no_figure_before_the_end(
    pages: Pages, chromium: Browser
) -> None:
    with on_a_port(pages.app) as url, browsing.room(chromium, url) as context:
        tab = browsing.sign_in(context, "administrator")
        tab.get_by_role("link", name="Acceptance").click()
        tab.wait_for_url("**/acceptance")
        assert tab.locator("section").first.locator("tbody tr").count() == 2
        browsing.look(tab, "acceptance")
        tab.get_by_role("link", name="Autumn 2026").click()
        tab.wait_for_url("**/acceptance/*")
        assert "Sensitivity" not in tab.content()
        browsing.look(tab, "acceptance-open")
        tab.goto("/acceptance")
        tab.get_by_role("link", name="Spring 2026").click()
        tab.wait_for_selector("img.drawn")
        widths = tab.evaluate("[...document.images].filter(i => i.alt).map(i => i.naturalWidth)")
        assert len(widths) >= 2
        assert min(widths) > 100
        browsing.look(tab, "acceptance-report")
        for number, card in enumerate(tab.locator("section.card").all()):
            if browsing.PICTURES:
                card.screenshot(path=Path(browsing.PICTURES) / f"acceptance-card-{number}.png")


def test_a_reader_goes_from_case_to_case(pages: Pages, chromium: Browser) -> None:
    with on_a_port(pages.app) as url, browsing.room(chromium, url) as context:
        tab = browsing.sign_in(context, "radiologist")
        tab.goto("/acceptance")
        browsing.look(tab, "acceptance-reader")
        tab.get_by_role("link", name="Autumn 2026", exact=True).click()
        tab.wait_for_selector("caption")
        browsing.look(tab, "acceptance-list")
        tab.get_by_role("link", name="Read next").click()
        tab.wait_for_url("**/studies/*")
        tab.goto("/agreement/conflicts")
        assert tab.locator("tbody tr").count() > 3
        browsing.look(tab, "conflicts")


def test_the_file_to_be_signed_is_whole_in_itself(pages: Pages, chromium: Browser) -> None:
    made = Acceptances(pages.storage.database).all()[-1]
    report = Acceptances(pages.storage.database).report(made.id)
    assert report is not None
    tab = browsing.room(chromium, theme="light").new_page()
    asked: list[str] = []
    tab.on("request", lambda request: asked.append(request.url[:20]))
    tab.set_content(report.page)
    assert all(url.startswith("data:") for url in asked)
    assert browsing.serious(tab) == []
    assert tab.get_by_text("Signatures of the committee").is_visible()
    over = tab.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert over <= 0
    if browsing.PICTURES:
        tab.screenshot(path=Path(browsing.PICTURES) / "acceptance-file.png", full_page=True)

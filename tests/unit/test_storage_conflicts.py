"""Conflicts: of two readers of an image, and of a reader and the report."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from storage.conflicts import conflicts
from storage.labelled import Labelled, ReportLabel
from storage.people import Role
from storage.review_records import Reader
from tests.drawing import read_first, take_study
from tests.pages import Pages, open_pages
from tests.reviewing import ANNA, BEN

PNEUMONIA = frozenset({"pneumonia"})
NONE: frozenset[str] = frozenset()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    """Of four studies the readers differ on the first, and the report differs on the second."""
    with open_pages(tmp_path_factory.mktemp("pages")) as one:
        database = one.storage.database
        for number in range(4):
            take_study(database, number, NONE, 10.0, "chest 1")
            read_first(database, ANNA, f"9.{number}", PNEUMONIA, 20.0)
            read_first(database, BEN, f"9.{number}", NONE if number == 0 else PNEUMONIA, 20.0)
        said = [ReportLabel("A1", "pneumonia", False), ReportLabel("A2", "pneumonia", True)]
        Labelled(database).import_reports(said, "ada", 30.0)
        yield one


def test_whoever_differs_is_named(pages: Pages) -> None:
    found = conflicts(pages.storage.database, 10)
    assert [(one.study_instance_uid, one.finding, one.images) for one in found] == [
        ("9.1", "pneumonia", 0), ("9.0", "pneumonia", 1),
    ]  # fmt: skip
    by_report, by_readers = ({(w.who, w.present) for w in one.words} for one in found)
    assert by_report == {("anna", True), ("ben", True), ("", False)}
    assert by_readers == {("anna", True), ("ben", False)}
    assert len(conflicts(pages.storage.database, 1)) == 1


def test_the_page_links_studies_for_who_may_read_them_and_names_no_patient(pages: Pages) -> None:
    reader = pages.in_session(Role.RADIOLOGIST).get("/agreement/conflicts").text
    assert 'href="/studies/9.1"' in reader
    assert "the report" in reader
    other = pages.in_session(Role.ADMINISTRATOR).get("/agreement/conflicts").text
    assert "/studies/" not in other
    assert "Test" not in other.replace("^Test", "")


def test_a_blinded_reader_sees_no_conflict_of_a_study_before_reading_it(pages: Pages) -> None:
    browser = pages.signed_in(Role.RADIOLOGIST, "zoe", blinded=True)
    assert "Nobody differs" in browser.get("/agreement/conflicts").text
    account = pages.accounts["zoe"]
    read_first(pages.storage.database, Reader(account.id, "zoe", "Zoe^T"), "9.1", NONE, 40.0)
    assert "/studies/9.1" in browser.get("/agreement/conflicts").text

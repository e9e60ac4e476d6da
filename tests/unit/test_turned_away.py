"""Who was not let in: counted, bounded, shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from daemon.turned_away import Tally
from daemon.web.access import Role
from storage import turned_away
from storage.turned_away import KEPT, TurnedAway
from tests.pages import open_pages
from tests.storing import Storage, open_storage


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(tmp_path)


def test_what_comes_again_is_counted(storage: Storage) -> None:
    database = storage.database
    turned_away.add(database, [TurnedAway("CR9", "10.0.0.9", "unknown", 2, 10.0, 11.0)])
    turned_away.add(database, [TurnedAway("CR9", "10.0.0.9", "unknown", 3, 12.0, 13.0)])
    assert turned_away.since(database, 0) == [
        TurnedAway("CR9", "10.0.0.9", "unknown", 5, 10.0, 13.0)
    ]
    assert turned_away.since(database, 14.0) == []


def test_only_the_latest_are_kept(storage: Storage) -> None:
    many = [TurnedAway("A", f"10.0.{n // 250}.{n % 250}", "r", 1, n, n) for n in range(KEPT + 50)]
    turned_away.add(storage.database, many)
    kept = turned_away.since(storage.database, 0)
    assert len(kept) == KEPT
    assert kept[0].address == many[-1].address


def test_a_tally_says_when_to_log_and_does_not_grow() -> None:
    tally = Tally()
    assert tally.note("CR9", "10.0.0.9", "unknown")
    assert not tally.note("CR9", "10.0.0.9", "unknown")
    for number in range(10 * KEPT):
        tally.note("A\x1b[31m", f"10.0.0.{number}", "unknown")
    tally.let_in()
    counted, accepted = tally.take()
    assert accepted == 1
    assert len(counted) == KEPT + 1
    assert sum(one.count for one in counted) == 2 + 10 * KEPT
    assert all(one.calling_ae.isprintable() for one in counted)
    assert tally.take() == ([], 0)


def test_the_page_shows_it_and_runs_no_script(tmp_path: Path) -> None:
    with open_pages(tmp_path) as pages:
        now = pages.clock()
        hostile = TurnedAway("<script>x", "10.0.0.9", "called AE title not recognised", 7, now, now)
        turned_away.add(pages.site.database, [hostile])
        page = pages.signed_in(Role.ADMINISTRATOR).get("/peers").text
        assert "&lt;script&gt;x" in page
        assert "<script>x" not in page
        assert "called AE title not recognised" in page

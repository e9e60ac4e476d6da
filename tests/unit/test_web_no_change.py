"""What must not change anything does not: every route without its token, from elsewhere, or by a
stranger leaves each row of the database as it was."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.routing import APIRoute
from sqlalchemy import select

from daemon.web.access import Role, Scope
from daemon.web.guard import SAFE
from daemon.web.routes import OPEN
from storage.schema import metadata
from tests.pages import Pages, open_pages

ASIDE = {"session": {"seen_at"}, "api_token": {"used_at"}}  # to be asked is to be seen
FOREIGN = ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"})


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    with open_pages(tmp_path_factory.mktemp("pages")) as opened:
        yield opened


def changes(pages: Pages) -> list[tuple[str, str]]:
    """Every method that changes something, of every route that is not open."""
    found = []
    for route in pages.app.routes:
        if isinstance(route, APIRoute) and route.path not in OPEN:
            path = route.path_format
            for parameter in route.dependant.path_params:
                path = path.replace(f"{{{parameter.name}}}", "1")
            found += [(method, path) for method in route.methods or () if method not in SAFE]
    return found


def rows(pages: Pages) -> dict[str, list[Any]]:
    """Every row of every table, apart from when somebody was last seen."""
    with pages.storage.database.read() as connection:
        return {
            table.name: sorted(
                repr(tuple(row))
                for row in connection.execute(
                    select(*(c for c in table.c if c.name not in ASIDE.get(table.name, ())))
                )
            )
            for table in metadata.sorted_tables
        }


@pytest.mark.parametrize("role", list(Role))
def test_no_change_without_the_forms_token_or_from_another_site(pages: Pages, role: Role) -> None:
    browser = pages.in_session(role)
    good = browser.headers.pop("X-CSRF-Token")
    before, tried = rows(pages), 0
    for method, path in changes(pages):
        for token in ({}, {"X-CSRF-Token": "0" * 64}):
            assert browser.request(method, path, headers=token).status_code == 403, path
        for site in FOREIGN:
            headers = {"X-CSRF-Token": good, **site}
            assert browser.request(method, path, headers=headers).status_code == 403, path
        tried += 1
    assert tried > 10
    assert rows(pages) == before


def test_no_change_by_a_stranger_or_by_a_token_that_only_reads(pages: Pages) -> None:
    stranger = pages.nobody()
    reader = pages.with_token(Role.AUDITOR, Scope.HEALTH)
    before = rows(pages)
    for method, path in changes(pages):
        assert stranger.request(method, path).status_code == 401, path
        assert reader.request(method, path).status_code in (401, 403), path
    assert rows(pages) == before


def test_a_session_fixed_by_another_is_good_for_nothing(pages: Pages) -> None:
    """A secret that was planted before the sign-in is no session after it, on any route."""
    planted = "planted" * 6
    browser = pages.nobody(cookies={"hilum": planted})
    victim = pages.in_session(Role.ADMINISTRATOR)
    assert victim.get("/users").status_code == 200
    before = rows(pages)
    for method, path in changes(pages):
        assert browser.request(method, path).status_code == 401, path
    assert rows(pages) == before

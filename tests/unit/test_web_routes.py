"""Every route by every role, by nobody, and by tokens of every scope: no leak."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import pytest
from fastapi import APIRouter, Depends, FastAPI
from fastapi.routing import APIRoute

from daemon.web.access import Allow, Person, Role, Scope, allow
from daemon.web.answers import HEADERS
from daemon.web.routes import OPEN, UnguardedRoute, allowed, check_guarded
from storage.people import SCOPES
from tests.pages import Pages, open_pages

DENIED = (401, 403)


def a_reader(person: Annotated[Person, Depends(allow(Role.AUDITOR))]) -> Person:
    """Depend on the guard by way of another dependency."""
    return person


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    with open_pages(tmp_path_factory.mktemp("pages")) as opened:
        yield opened


def guarded(pages: Pages) -> Iterator[tuple[str, str, Allow]]:
    """Every method of every route that is not open, with its path's parameters filled in."""
    for route in pages.app.routes:
        if not isinstance(route, APIRoute) or route.path in OPEN:
            continue
        path = route.path_format
        for parameter in route.dependant.path_params:
            path = path.replace(f"{{{parameter.name}}}", "1")
        who = allowed(route)
        assert who is not None, route.path
        for method in route.methods or ():
            yield method, path, who


def test_nobody_gets_in_anywhere(pages: Pages) -> None:
    tried = 0
    browser = pages.nobody()
    for method, path, _ in guarded(pages):
        answer = browser.request(method, path)
        assert answer.status_code == 401, (method, path)
        tried += 1
    assert tried > 15


@pytest.mark.parametrize("role", list(Role))
def test_each_role_gets_in_where_it_may_and_nowhere_else(pages: Pages, role: Role) -> None:
    for method, path, who in guarded(pages):
        answer = pages.in_session(role).request(method, path)
        assert (answer.status_code not in DENIED) == (role in who.roles), (method, path, answer)


@pytest.mark.parametrize("scope", list(Scope))
def test_a_token_gets_in_with_its_scope_alone(pages: Pages, scope: Scope) -> None:
    role = next(role for role in Role if scope in SCOPES[role])
    program = pages.with_token(role, scope)
    for method, path, who in guarded(pages):
        answer = program.request(method, path)
        assert (answer.status_code not in DENIED) == (scope in who.scopes), (method, path, answer)


@pytest.mark.parametrize("role", list(Role))
def test_a_token_may_no_more_than_its_account(pages: Pages, role: Role) -> None:
    program = pages.with_token(role, *Scope)  # as a row that was tampered with would have it
    for method, path, who in guarded(pages):
        answer = program.request(method, path)
        if not who.scopes & SCOPES[role]:
            assert answer.status_code == 403, (method, path)


def test_an_unknown_token_is_refused_whatever_cookie_comes_with_it(pages: Pages) -> None:
    browser = pages.in_session(Role.ADMINISTRATOR)
    browser.headers["Authorization"] = "Bearer hilum_unknown"
    for method, path, _ in guarded(pages):
        assert browser.request(method, path).status_code == 401


def test_every_answer_has_the_headers(pages: Pages) -> None:
    browser = pages.in_session(Role.ADMINISTRATOR)
    paths = ["/sign-in", "/static/style.css", "/static/none", "/none", "/health/live"]
    paths += [path for method, path, _ in guarded(pages) if method == "GET"]
    for path in paths:
        browsers = (browser, pages.nobody(), pages.nobody(base_url="http://evil.example"))
        for one, accept in itertools.product(browsers, ("text/html", "application/json")):
            answer = one.get(path, headers={"Accept": accept})
            for name, value in HEADERS.items():
                assert answer.headers[name] == value, (path, name)
            assert answer.headers["cache-control"], path
            assert "unsafe-inline" not in answer.headers["content-security-policy"]


def test_no_page_has_anything_inline_or_from_elsewhere(pages: Pages) -> None:
    for role in Role:
        browser = pages.in_session(role)
        for method, path, _ in guarded(pages):
            if method != "GET":
                continue
            text = browser.get(path, headers={"Accept": "text/html"}, follow_redirects=True).text
            assert "<style" not in text, path
            assert " style=" not in text, path
            assert "://" not in text, path
            assert " onclick" not in text, path
            assert text.count("<script") == text.count("<script src="), path


def test_a_route_that_does_not_say_who_may_use_it_stops_the_start() -> None:
    router = APIRouter()

    @router.get("/forgotten")
    def forgotten() -> None: ...

    with pytest.raises(UnguardedRoute, match="/forgotten"):
        check_guarded(router.routes)


def test_the_check_sees_a_guard_behind_another_dependency() -> None:
    router = APIRouter()

    @router.get("/deep")
    def deep(person: Annotated[Person, Depends(a_reader)]) -> None: ...

    check_guarded(router.routes)


def test_the_framework_adds_no_route_of_its_own(pages: Pages) -> None:
    assert isinstance(pages.app, FastAPI)
    for path in ("/docs", "/redoc", "/openapi.json"):
        assert pages.nobody().get(path).status_code == 404


def test_the_description_of_the_api_names_who_may_use_each_part(pages: Pages) -> None:
    program = pages.with_token(Role.RADIOLOGIST, Scope.STUDIES)
    told = program.get("/api/v1/openapi.json").json()
    assert told["openapi"].startswith("3.1")
    assert set(told["components"]["securitySchemes"]) == {"token", "session"}
    assert {"/api/v1/health"} <= set(told["paths"])
    for path, operations in told["paths"].items():
        assert path.startswith(("/api/v1/", "/dicomweb/")), path
        for operation in operations.values():
            assert operation["security"], path
            assert operation["summary"], path
    (session, token) = told["paths"]["/api/v1/health"]["get"]["security"]
    assert (session, token) == ({"session": ["administrator"]}, {"token": ["health:read"]})


def test_health_says_what_does_not_run(pages: Pages) -> None:
    answer = pages.with_token(Role.AUDITOR, Scope.HEALTH).get("/api/v1/health")
    assert answer.status_code == 503  # no listener runs beside this test
    told = answer.json()
    assert "the process listener does not run" in told["faults"]
    assert told["jobs"]["pending"] == 0
    assert told["database"]["revision"] == told["database"]["expected"]
    assert pages.nobody().get("/health/live").text == "live\n"


def test_paths_are_not_what_tells_who_may(tmp_path: Path) -> None:
    with open_pages(tmp_path) as pages:
        for path in ("//users", "/users/", "/static/../users", "/%75sers", "/users%2f"):
            answer = pages.in_session(Role.RADIOLOGIST).get(f"http://localhost{path}")
            assert answer.status_code in (307, 403, 404), path

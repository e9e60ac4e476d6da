"""Signing in: sessions, and what a browser may not do without one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient

from daemon.web import guard, server, throttle
from daemon.web.access import Role, Scope
from daemon.web.passwords import Passwords, WeakPassword, check_password
from storage.audit import AuditQuery
from storage.people import Action
from tests.pages import CHEAP, PASSWORD, Pages, csrf_of, open_pages, sign_in


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
    actions = [row.action for row in pages.gate.audit.search(AuditQuery(actor="auditor"), 9)]
    assert actions == [Action.SIGN_IN_FAILED, Action.SIGNED_OUT, Action.SIGNED_IN]


def test_a_wrong_password_and_an_unknown_login_are_told_alike(pages: Pages) -> None:
    pages.account(Role.AUDITOR)
    wrong = sign_in(pages.nobody(), "auditor", "x" * 20)
    unknown = sign_in(pages.nobody(), "nobody", "x" * 20)
    assert wrong.status_code == unknown.status_code == 401

    def told(answer: httpx.Response) -> str:
        return answer.text.replace(csrf_of(answer), "")

    assert told(wrong) == told(unknown)


def test_an_unknown_login_takes_as_long_as_a_wrong_password() -> None:
    passwords = Passwords(memory_kib=8192, passes=2)
    known = passwords.make(PASSWORD)
    passwords.matches("x", None)
    fastest = {known: 9.0, None: 9.0}
    for _ in range(9):  # in turn, so that a busy machine is so to both
        for kept in fastest:
            started = time.perf_counter()
            assert passwords.matches("wrong password", kept) is False
            fastest[kept] = min(fastest[kept], time.perf_counter() - started)
    # without a hash to check, the answer would be there in a hundredth of the time
    assert 0.4 < fastest[None] / fastest[known] < 2.5


def test_the_cookie_is_out_of_reach_of_scripts_and_of_http(pages: Pages) -> None:
    pages.account(Role.AUDITOR)
    cookie = sign_in(pages.nobody(), "auditor").headers["set-cookie"]
    assert cookie.startswith("hilum=")
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    secured = pages.nobody(base_url="https://localhost")
    answer = sign_in(secured, "auditor")
    assert answer.headers["set-cookie"].startswith("__Host-hilum=")
    assert "Secure" in answer.headers["set-cookie"]
    assert answer.headers["strict-transport-security"].startswith("max-age=")


def test_a_session_that_was_planted_is_not_taken_over(pages: Pages) -> None:
    pages.account(Role.AUDITOR)
    browser = pages.nobody(cookies={"hilum": "planted"})
    token = csrf_of(browser.get("/sign-in"))
    form = {"login": "auditor", "password": PASSWORD, "csrf_token": token}
    answer = browser.post("/sign-in", data=form)
    assert "hilum=planted" not in answer.headers["set-cookie"]
    assert pages.nobody(cookies={"hilum": "planted"}).get("/account").status_code == 401


def test_a_new_sign_in_ends_the_session_that_the_browser_had(pages: Pages) -> None:
    browser = pages.signed_in(Role.AUDITOR)
    old = browser.cookies["hilum"]
    token = csrf_of(browser.get("/account"))
    browser.headers.pop("X-CSRF-Token")
    form = {"login": "auditor", "password": PASSWORD, "csrf_token": token}
    assert browser.post("/sign-in", data=form).status_code == 303
    assert browser.cookies["hilum"] != old
    assert pages.nobody(cookies={"hilum": old}).get("/account").status_code == 401


def test_a_session_ends_when_nothing_was_done(pages: Pages) -> None:
    browser = pages.signed_in(Role.AUDITOR)
    for _ in range(3):
        pages.clock.now += 14 * 60
        assert browser.get("/account").status_code == 200
    pages.clock.now += 15 * 60 + 1
    answer = browser.get("/account", headers={"HX-Request": "true"})
    assert (answer.status_code, answer.headers["hx-redirect"]) == (401, "/sign-in")


def test_a_part_that_asks_by_itself_does_not_keep_a_session_alive(pages: Pages) -> None:
    browser = pages.signed_in(Role.AUDITOR)
    for _ in range(15):
        pages.clock.now += 60
        assert browser.get("/account", headers={guard.BACKGROUND: "1"}).status_code == 200
    pages.clock.now += 60
    assert browser.get("/account", headers={guard.BACKGROUND: "1"}).status_code == 401


def test_a_session_ends_after_its_hours_in_any_case(pages: Pages) -> None:
    browser = pages.signed_in(Role.AUDITOR)
    for _ in range(60):
        pages.clock.now += 600
        assert browser.get("/account").status_code == 200
    pages.clock.now += 1
    assert browser.get("/account").status_code == 401


def test_a_disabled_account_is_out_at_once(pages: Pages) -> None:
    reader = pages.signed_in(Role.RADIOLOGIST)
    program = pages.with_token(Role.RADIOLOGIST, Scope.HEALTH)
    assert program.get("/api/v1/health").status_code != 401
    number = pages.accounts["radiologist"].id
    answer = pages.in_session(Role.ADMINISTRATOR).post(f"/users/{number}/disable")
    assert answer.status_code == 303
    assert reader.get("/account").status_code == 401
    assert program.get("/api/v1/health").status_code == 401
    assert sign_in(pages.nobody(), "radiologist").status_code == 401


CHANGES = {"login": "x", "name": "x", "role": "auditor", "password": "x" * 12}


def test_a_change_without_the_forms_token_is_refused(pages: Pages) -> None:
    browser = pages.in_session(Role.ADMINISTRATOR)
    other = pages.in_session(Role.ADMINISTRATOR).headers["X-CSRF-Token"]
    good = browser.headers.pop("X-CSRF-Token")
    for token in ("", "x", other):
        for sent in ({"data": {**CHANGES, "csrf_token": token}},
                     {"data": CHANGES, "headers": {"X-CSRF-Token": token}}):  # fmt: skip
            answer = browser.post("/users", **sent)  # type: ignore[arg-type]
            assert answer.status_code == 403
            assert "nothing was changed" in answer.text
    assert browser.post("/users", json=CHANGES).status_code == 403
    assert [one.login for one in pages.gate.accounts.rows()] == ["administrator"]
    assert browser.post("/users", data={**CHANGES, "csrf_token": good}).status_code == 303


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:81"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
    ],
)
def test_a_change_from_another_site_is_refused_even_with_the_token(
    pages: Pages, headers: dict[str, str]
) -> None:
    browser = pages.in_session(Role.ADMINISTRATOR)
    assert browser.post("/users", data=CHANGES, headers=headers).status_code == 403
    assert browser.post("/sign-out", headers=headers).status_code == 403
    own = {"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"}
    assert browser.post("/users", data=CHANGES, headers=own).status_code == 303


def test_another_site_cannot_sign_a_browser_in(pages: Pages) -> None:
    pages.account(Role.AUDITOR)
    form = {"login": "auditor", "password": PASSWORD}
    assert pages.nobody().post("/sign-in", data=form).status_code == 403
    foreign = csrf_of(pages.nobody().get("/sign-in"))
    browser = pages.nobody()
    browser.get("/sign-in")
    assert browser.post("/sign-in", data={**form, "csrf_token": foreign}).status_code == 403


def test_the_way_back_after_sign_in_stays_on_this_service(pages: Pages) -> None:
    pages.account(Role.AUDITOR)
    for wanted, followed in [
        ("/account", "/account"), ("https://evil.example", "/"), ("//evil.example", "/"),
        ("/\\evil.example", "/"), ("/sign-in", "/"), ("javascript:alert(1)", "/"),
    ]:  # fmt: skip
        browser = pages.nobody()
        token = csrf_of(browser.get("/sign-in"))
        form = {"login": "auditor", "password": PASSWORD, "csrf_token": token, "next": wanted}
        assert browser.post("/sign-in", data=form).headers["location"] == followed


def attempts(browser: TestClient, count: int, token: str) -> dict[int, int]:
    seen: dict[int, int] = {}
    for number in range(count):
        form = {"login": "auditor", "password": f"guess number {number}", "csrf_token": token}
        status = browser.post("/sign-in", data=form).status_code
        seen[status] = seen.get(status, 0) + 1
    return seen


def test_a_thousand_guesses_are_turned_away(pages: Pages) -> None:
    pages.account(Role.AUDITOR)
    browser = pages.nobody()
    token = csrf_of(browser.get("/sign-in"))
    started = time.monotonic()
    # The clock of the waits stands still but for this: five free, then one guess per wait
    seen = attempts(browser, 990, token)
    assert seen == {401: throttle.FREE_A_LOGIN + 1, 429: 990 - throttle.FREE_A_LOGIN - 1}
    for wait_s in (1, 2, 4, 8):
        refused = browser.post(
            "/sign-in", data={"login": "auditor", "password": PASSWORD, "csrf_token": token}
        )
        assert refused.status_code == 429, "not even the right password, before the wait is over"
        assert 0 < int(refused.headers["retry-after"]) <= wait_s + 1
        assert "Try again in" in refused.text
        pages.clock.now += wait_s
        assert attempts(browser, 1, token) == {401: 1}
    assert time.monotonic() - started < 60
    pages.clock.now += 17
    assert sign_in(pages.nobody(), "auditor").status_code == 303


def test_the_waits_grow_to_five_minutes_and_are_forgotten() -> None:
    now = 0.0
    waits = throttle.Throttle(lambda: now)
    longest = 0.0
    for _ in range(40):
        waits.failed("ann", "10.0.0.1")
        now += (wait_s := waits.wait_s("ann", "other"))
        longest = max(longest, wait_s)
    assert longest == throttle.LONGEST_S
    now += throttle.FORGOTTEN_S + 1
    waits.failed("ann", "10.0.0.1")
    assert waits.wait_s("ann", "10.0.0.1") == 0


def test_one_address_cannot_try_every_login() -> None:
    waits = throttle.Throttle(lambda: 0.0)
    for number in range(throttle.FREE_AN_ADDRESS + 1):
        assert waits.wait_s(f"login{number}", "10.0.0.1") == 0
        waits.failed(f"login{number}", "10.0.0.1")
    assert waits.wait_s("another", "10.0.0.1") > 0
    assert waits.wait_s("another", "10.0.0.2") == 0


def test_more_sign_ins_than_can_be_checked_are_told_to_wait(pages: Pages) -> None:
    for _ in range(64):
        CHEAP._queue.acquire(blocking=False)
    try:
        answer = sign_in(pages.nobody(), "auditor")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    finally:
        CHEAP._queue.release(16)


@pytest.mark.parametrize("password", ["", "short", "x" * 11, "x" * 257, "AnnLowAtHilum"])
def test_a_weak_password_is_refused(password: str) -> None:
    with pytest.raises(WeakPassword):
        check_password(password, "annlowathilum")


def test_a_request_that_is_too_large_is_refused(pages: Pages) -> None:
    body = b"x" * (guard.STRANGERS_BYTES + 1)
    assert pages.nobody().post("/sign-in", content=body).status_code == 413
    browser = pages.in_session(Role.ADMINISTRATOR)
    assert browser.post("/users", content=body).status_code == 422
    assert browser.post("/users", content=b"x" * ((1 << 20) + 1)).status_code == 413


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200), ("127.0.0.1:8080", 200), ("[::1]:8080", 200), ("10.1.2.3", 200),
        ("pacs.example", 200), ("evil.example", 421), ("", 421), ("localhost.evil.example", 421),
        ("[::1", 421), ("a b", 421),
    ],
)  # fmt: skip
def test_a_name_that_is_not_ours_is_refused(tmp_path: Path, host: str, status: int) -> None:
    with open_pages(tmp_path, hosts=("pacs.example",)) as pages:
        answer = pages.nobody().get("/sign-in", headers={"Host": host})
    assert answer.status_code == status


def test_without_an_account_the_page_says_how_the_first_is_made(pages: Pages) -> None:
    assert "hilum user add" in pages.nobody().get("/sign-in").text
    pages.account(Role.ADMINISTRATOR)
    assert "hilum user add" not in pages.nobody().get("/sign-in").text


def test_a_hash_of_older_settings_is_renewed_at_sign_in(pages: Pages) -> None:
    account = pages.account(Role.AUDITOR)
    pages.gate.accounts.rehash(account.id, Passwords(memory_kib=16, passes=1).make(PASSWORD))
    assert sign_in(pages.nobody(), "auditor").status_code == 303
    known = pages.gate.accounts.credential("auditor")
    assert known is not None
    assert not CHEAP.is_old(known[1])
    assert sign_in(pages.nobody(), "auditor").status_code == 303


def through_proxy(pages: Pages, *proxies: str) -> httpx.Response:
    settings = pages.site.settings.web.model_copy(update={"proxies": proxies})
    config = server.make_config(settings, pages.app, None)
    config.load()
    headers = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "10.9.9.9"}
    browser = TestClient(config.loaded_app, base_url="http://localhost", headers=headers)
    return browser.get("/sign-in")


def test_only_a_proxy_that_is_named_is_believed(pages: Pages) -> None:
    assert "Secure" in through_proxy(pages, "testclient").headers["set-cookie"]
    assert "Secure" not in through_proxy(pages, "10.0.0.1").headers["set-cookie"]
    assert "Secure" not in through_proxy(pages).headers["set-cookie"]

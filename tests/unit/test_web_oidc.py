"""Sign-in by an OpenID Connect provider: a real one over HTTP, and what it may not do."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from fastapi.testclient import TestClient
from joserfc.jwk import RSAKey

from daemon.settings import OidcSettings
from daemon.web.access import Role
from daemon.web.gate import CLIENT_SECRET
from tests.oidc import CLIENT, SECRET, OidcProvider
from tests.pages import Pages, open_pages

KEY, OTHER_KEY = (RSAKey.generate_key(2048, {"kid": "one"}) for _ in range(2))


@pytest.fixture
def provider() -> Iterator[OidcProvider]:
    one = OidcProvider(key=KEY).start()
    yield one
    one.stop()


@pytest.fixture
def pages(
    tmp_path: Path, provider: OidcProvider, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Pages]:
    monkeypatch.setenv(CLIENT_SECRET, SECRET)
    roles = {"radiology": Role.RADIOLOGIST, "it": Role.ADMINISTRATOR}
    settings = OidcSettings(issuer=provider.issuer, client_id=CLIENT, roles=roles)
    with open_pages(tmp_path, oidc=settings) as opened:
        yield opened


def go(browser: TestClient, wanted: str = "/account") -> httpx.Response:
    """Walk from our page to the provider and back, as a browser does."""
    there = browser.get("/sign-in/provider", params={"next": wanted})
    assert there.status_code == 303, there.text
    back = httpx.get(there.headers["location"])
    url = urlsplit(back.headers["location"])
    return browser.get(f"{url.path}?{url.query}")


def test_who_comes_for_the_first_time_gets_an_account(pages: Pages, provider: OidcProvider) -> None:
    browser = pages.nobody()
    answer = go(browser)
    assert (answer.status_code, answer.headers["location"]) == (303, "/account")
    assert "Low, Ann" in browser.get("/account").text
    account = pages.gate.accounts.by_login("ann")
    assert (account.role, account.person_name, account.by_provider) == (
        Role.RADIOLOGIST, "Low^Ann", True,
    )  # fmt: skip
    asked = provider.asked[0]
    assert asked["response_type"] == "code"
    assert asked["code_challenge_method"] == "S256"
    assert asked["redirect_uri"] == "http://localhost/sign-in/callback"


def test_who_comes_again_has_the_same_account_and_the_role_of_now(
    pages: Pages, provider: OidcProvider
) -> None:
    go(pages.nobody())
    provider.claims = {"groups": "it", "preferred_username": "renamed"}
    assert go(pages.nobody()).status_code == 303
    (account,) = pages.gate.accounts.rows()
    assert (account.login, account.role) == ("ann", Role.ADMINISTRATOR)


def test_a_local_account_of_the_same_name_is_not_handed_over(pages: Pages) -> None:
    pages.account(Role.ADMINISTRATOR, "ann")
    browser = pages.nobody()
    assert go(browser).status_code == 303
    assert browser.get("/users").status_code == 403
    assert [a.role for a in pages.gate.accounts.rows()] == [Role.ADMINISTRATOR, Role.RADIOLOGIST]


def test_a_disabled_account_does_not_come_in(pages: Pages) -> None:
    go(pages.nobody())
    pages.gate.accounts.disable(pages.gate.accounts.by_login("ann").id, 1)
    answer = go(pages.nobody())
    assert answer.status_code == 401
    assert "disabled" in answer.text


@pytest.mark.parametrize(
    ("lie", "told"),
    [
        ({"claims": {"nonce": "of another"}}, "InvalidClaim"),
        ({"without": ("nonce",)}, "MissingClaim"),
        ({"signs_with": OTHER_KEY}, "BadSignature"),
        ({"algorithm": "none"}, "refused"),
        ({"claims": {"iss": "https://evil.example"}}, "InvalidClaim"),
        ({"claims": {"aud": "another client"}}, "InvalidClaim"),
        ({"claims": {"aud": [CLIENT, "another"]}}, "made for several"),
        ({"claims": {"exp": int(time.time()) - 3600}}, "ExpiredToken"),
        ({"without": ("exp",)}, "MissingClaim"),
        ({"claims": {"groups": ["cleaning"]}}, "no role"),
        ({"without": ("groups",)}, "no role"),
    ],
)
def test_a_token_that_is_not_right_lets_nobody_in(
    pages: Pages, provider: OidcProvider, lie: dict[str, Any], told: str
) -> None:
    for name, value in lie.items():
        setattr(provider, name, value)
    browser = pages.nobody()
    answer = go(browser)
    assert answer.status_code == 401
    assert told in answer.text
    assert browser.get("/account").status_code == 401
    assert pages.gate.accounts.rows() == ()


def test_a_key_that_is_new_since_the_last_sign_in_is_fetched(
    pages: Pages, provider: OidcProvider
) -> None:
    go(pages.nobody())
    provider.key = RSAKey.generate_key(2048, {"kid": "two"})
    provider.kid = "two"
    assert go(pages.nobody()).status_code == 303


def test_an_answer_counts_once_and_in_the_browser_that_began(
    pages: Pages, provider: OidcProvider
) -> None:
    browser, other = pages.nobody(), pages.nobody()

    def answer() -> str:
        there = browser.get("/sign-in/provider").headers["location"]
        url = urlsplit(httpx.get(there).headers["location"])
        return f"{url.path}?{url.query}"

    path = answer()
    assert other.get(path).status_code == 401
    path = answer()
    assert browser.get(path).status_code == 303
    assert browser.get(path).status_code == 401
    assert browser.get("/sign-in/callback?state=x&code=y").status_code == 401
    assert len(provider.asked) == 2


def test_a_provider_that_is_down_is_told_calmly(pages: Pages, provider: OidcProvider) -> None:
    provider.stop()
    answer = pages.nobody().get("/sign-in/provider")
    assert answer.status_code == 502
    assert "does not answer" in answer.text
    provider.start()


def test_without_a_provider_there_is_no_such_way(tmp_path: Path) -> None:
    with open_pages(tmp_path) as pages:
        assert pages.nobody().get("/sign-in/provider").status_code == 404
        assert "hospital" not in pages.nobody().get("/sign-in").text

"""The pages as a browser or a program meets them, for the tests: a real storage behind."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI
from fastapi.testclient import TestClient

from daemon.settings import Settings, StorageSettings, WebSettings
from daemon.web.app import create_app
from daemon.web.context import Site
from daemon.web.gate import Gate, csrf_token, make_gate
from daemon.web.passwords import Passwords
from daemon.web.templating import make_templates
from storage.people import Account, NewAccount, Role, Scope
from tests.harness import PASSWORD
from tests.storing import Storage, open_storage

CHEAP = Passwords(memory_kib=8, passes=1)  # a real argon2id, quick
_HASH = CHEAP.make(PASSWORD)


@dataclass
class Clock:
    """The time as the pages see it."""

    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Pages:
    """The application on a storage, and who may use it."""

    storage: Storage
    site: Site
    gate: Gate
    app: FastAPI
    clock: Clock
    accounts: dict[str, Account] = field(default_factory=dict)

    def account(self, role: Role, login: str = "", **values: Any) -> Account:
        """Return an account of the role, made where there is none; its password is PASSWORD."""
        login = login or role.value
        if login not in self.accounts:
            name = login.capitalize()
            new = {"name": name, "person_name": f"{name}^Test", "organization": "Test", **values}
            self.accounts[login] = self.gate.accounts.add(
                NewAccount(login, role=role, password_hash=_HASH, **new), self.clock()
            )
        return self.accounts[login]

    def nobody(self, **options: Any) -> TestClient:
        """Return a browser that is not signed in."""
        defaults = {"base_url": "http://localhost", "follow_redirects": False}
        options = {**defaults, "raise_server_exceptions": False, **options}
        return TestClient(self.app, **options)

    def signed_in(self, role: Role, login: str = "", **values: Any) -> TestClient:
        """Return a browser in a session; its requests carry the form's token."""
        account = self.account(role, login, **values)
        browser = self.nobody()
        answer = sign_in(browser, account.login)
        assert answer.status_code == 303, answer.text
        browser.headers["X-CSRF-Token"] = csrf_of(browser.get("/account"))
        return browser

    def in_session(self, role: Role) -> TestClient:
        """Return a browser in a session that was opened without the form: quick."""
        secret = self.gate.sessions.open(self.account(role).id, "testclient", self.clock())
        return self.nobody(cookies={"hilum": secret}, headers={"X-CSRF-Token": csrf_token(secret)})

    def with_token(self, role: Role, *scopes: Scope) -> TestClient:
        """Return a program that has a token."""
        account = self.account(role)
        _, secret = self.gate.tokens.make(account.id, "test", scopes, None, self.clock())
        return self.nobody(headers={"Authorization": f"Bearer {secret}"})


def csrf_of(page: httpx.Response) -> str:
    """Return the token in a page."""
    found = re.search(r'name="csrf-token" content="([0-9a-f]+)"', page.text)
    assert found is not None, page.text
    return found[1]


def sign_in(browser: TestClient, login: str, password: str = PASSWORD) -> httpx.Response:
    """Fill in the form as a person does."""
    browser.headers.pop("X-CSRF-Token", None)
    token = csrf_of(browser.get("/sign-in"))
    form = {"login": login, "password": password, "csrf_token": token}
    return browser.post("/sign-in", data=form)


def after(browser: TestClient, answer: httpx.Response) -> str:
    """Return the page that a form's answer leads to: a reload of it asks nothing again."""
    assert answer.status_code == 303, answer.text
    page = browser.get(answer.headers["location"])
    assert page.status_code == 200
    said = re.search(r'class="success" role="status">([^<]*)<', page.text)
    again = browser.get(answer.headers["location"]).text
    assert said is None or said[1] not in again, "it is said once"
    return page.text


@contextmanager
def open_pages(folder: Path, **web: Any) -> Iterator[Pages]:
    """Open the pages on a storage in the folder; `web` are settings of the table [web]."""
    storage = open_storage(folder)
    settings = Settings(storage=StorageSettings(root=folder), web=WebSettings(**web))
    clock = Clock()
    site = Site(settings, storage.database, storage.objects, make_templates(), clock=clock)
    gate = make_gate(settings.web, storage.database, CHEAP, clock)
    app = create_app(site, gate)
    yield Pages(storage, site, gate, app, clock)
    storage.database.close()

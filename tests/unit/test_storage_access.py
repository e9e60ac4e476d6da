"""Accounts, sessions and tokens: good for as long as they should be, and no longer."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.accounts import Accounts
from storage.errors import LoginTaken, NotFound
from storage.people import Account, NewAccount, Role, Scope
from storage.sessions import Sessions
from storage.sqlite import sqlite
from storage.tokens import Tokens
from tests.storing import Storage, open_storage

IDLE_S, LIFETIME_S = 900.0, 36000.0


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(tmp_path)


@pytest.fixture
def ann(storage: Storage) -> Account:
    return Accounts(storage.database).add(
        NewAccount("Ann", "Ann Low", "Low^Ann", "Ward", Role.RADIOLOGIST, password_hash="h1"), 5
    )


def sessions(storage: Storage) -> Sessions:
    return Sessions(storage.database, IDLE_S, LIFETIME_S)


def test_an_account_is_found_by_its_login_whatever_its_case(storage: Storage, ann: Account) -> None:
    accounts = Accounts(storage.database)
    assert ann.login == "ann"
    assert accounts.by_login("ANN") == ann == accounts.get(ann.id)
    assert accounts.credential("aNN") == (ann, "h1")
    assert accounts.credential("bob") is None
    with pytest.raises(LoginTaken, match="ann"):
        accounts.add(NewAccount("ANN", "x", "x", "", Role.AUDITOR), 6)
    with pytest.raises(NotFound):
        accounts.by_login("bob")


def test_a_session_ends_when_idle_and_at_its_lifetime(storage: Storage, ann: Account) -> None:
    one = sessions(storage)
    secret = one.open(ann.id, "::1", 1000)
    assert one.find(secret, 1000 + IDLE_S, touch=False) is not None
    assert one.find(secret, 1001 + IDLE_S) is None
    now = 1000.0
    while now < 1000 + LIFETIME_S:
        assert one.find(secret, now) is not None, now
        now += IDLE_S - 60
    assert one.find(secret, 1001 + LIFETIME_S) is None


def test_what_ends_a_session(storage: Storage, ann: Account) -> None:
    one, accounts = sessions(storage), Accounts(storage.database)
    first, second = (one.open(ann.id, "::1", 1000) for _ in range(2))
    one.close(first)
    assert one.find(first, 1000) is None
    found = one.find(second, 1000)
    assert found is not None
    third = one.open(ann.id, "::1", 1000)
    assert one.close_others(ann.id, found.id) == 1
    assert one.find(third, 1000) is None
    accounts.set_password(ann.id, "h2", keep=found.id)
    assert one.find(second, 1000) is not None
    accounts.disable(ann.id, 1001)
    assert one.find(second, 1001) is None
    assert accounts.credential("ann") is None
    accounts.enable(ann.id)
    assert one.find(second, 1001) is None, "a session that was ended does not come back"


def test_no_secret_is_kept(storage: Storage, ann: Account, tmp_path: Path) -> None:
    secret = sessions(storage).open(ann.id, "::1", 1000)
    _, token = Tokens(storage.database).make(ann.id, "x", {Scope.STUDIES}, None, 1000)
    with sqlite.connect(tmp_path / "hilum.db") as connection:
        kept = "\n".join(connection.iterdump())
    assert secret not in kept
    assert token not in kept


def test_a_token_is_good_until_it_expires_or_is_revoked(storage: Storage, ann: Account) -> None:
    tokens = Tokens(storage.database)
    number, secret = tokens.make(ann.id, "PACS", {Scope.STUDIES, Scope.HEALTH}, 2000, 1000)
    found = tokens.find(secret, 1500)
    assert found is not None
    assert (found.scopes, found.account) == ({Scope.STUDIES, Scope.HEALTH}, ann)
    assert tokens.rows()[0].used_at == 1500
    assert tokens.find(secret, 2000) is None
    assert tokens.find(secret + "x", 1500) is None
    Accounts(storage.database).disable(ann.id, 1500)
    assert tokens.find(secret, 1500) is None
    Accounts(storage.database).enable(ann.id)
    tokens.revoke(number, 1500)
    assert tokens.find(secret, 1500) is None
    with pytest.raises(NotFound):
        tokens.revoke(number, 1500)

"""The pages of accounts, tokens and the audit trail; and `hilum user`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from opentelemetry import trace
from opentelemetry.trace import NoOpTracer, Span, TracerProvider
from typer.testing import CliRunner

from daemon.cli import app
from daemon.errors import DaemonError
from daemon.web.access import Role, Scope
from daemon.web.passwords import Passwords
from storage.accounts import Accounts
from storage.audit import Audit, AuditQuery
from storage.database import open_database
from storage.people import Action
from storage.sqlite import sqlite
from tests.pages import PASSWORD, Pages, after, csrf_of, open_pages, sign_in

SCRIPT = "<script>alert(1)</script>"


@pytest.fixture
def pages(tmp_path: Path) -> Iterator[Pages]:
    with open_pages(tmp_path) as opened:
        yield opened


def test_an_administrator_makes_an_account_that_signs_in(pages: Pages) -> None:
    browser = pages.in_session(Role.ADMINISTRATOR)
    form = {
        "login": "Ann", "name": "Dr. Ann Low", "person_name": "Low^Ann", "role": "radiologist",
        "organization": "Ward", "blinded": "true", "password": PASSWORD,
    }  # fmt: skip
    done = browser.post("/users", data=form)
    assert "ann may sign in as radiologist" in after(browser, done)
    account = pages.gate.accounts.by_login("ann")
    assert (account.blinded, account.person_name) == (True, "Low^Ann")
    assert sign_in(pages.nobody(), "ann").status_code == 303
    assert "already" in browser.post("/users", data=form).text
    (row,) = pages.gate.audit.search(AuditQuery(action=Action.ACCOUNT_ADDED), 9)
    assert (row.actor, row.subject) == ("administrator", "ann")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"login": "a b"}, "cannot be used"),
        ({"login": "../x"}, "cannot be used"),
        ({"password": "short"}, "12 to 256"),
        ({"login": "long-enough-login", "password": "Long-Enough-Login"}, "not be the login"),
        ({"name": " "}, "must not be empty"),
        ({"person_name": "Low=Ann"}, "DICOM person name"),
        ({"person_name": "a^b^c^d^e^f"}, "DICOM person name"),
        ({"role": "chef"}, "radiologist"),
    ],
)
def test_what_an_account_cannot_be_is_said(pages: Pages, change: dict[str, str], told: str) -> None:
    form = {"login": "ann", "name": "Ann", "role": "auditor", "password": PASSWORD, **change}
    answer = pages.in_session(Role.ADMINISTRATOR).post("/users", data=form)
    assert answer.status_code == 422
    assert told in answer.text
    assert len(pages.gate.accounts.rows()) == 1


def test_script_tags_in_names_are_text(pages: Pages) -> None:
    pages.account(Role.RADIOLOGIST, "ann", name=SCRIPT, organization=SCRIPT, person_name=SCRIPT)
    browser = pages.in_session(Role.ADMINISTRATOR)
    pages.gate.audit.append(SCRIPT, Action.STUDY_READ, SCRIPT, {"x": SCRIPT}, at=1)
    for path in ("/users", "/audit", "/tokens"):
        page = browser.get(path).text
        assert SCRIPT not in page, path
    assert "&lt;script&gt;" in browser.get("/users").text
    theirs = pages.nobody()
    sign_in(theirs, "ann")
    assert SCRIPT not in theirs.get("/account").text
    search = dict.fromkeys(("since", "actor", "subject", "action"), f'"><{SCRIPT}')
    browser.post("/audit", data=search)
    assert SCRIPT not in browser.get("/audit").text
    assert SCRIPT not in browser.get("/sign-in", params={"next": f"/{SCRIPT}"}).text


def test_nobody_changes_their_own_role_or_locks_themselves_out(pages: Pages) -> None:
    browser = pages.in_session(Role.ADMINISTRATOR)
    number = pages.accounts["administrator"].id
    assert browser.post(f"/users/{number}/disable").status_code == 409
    assert browser.post(f"/users/{number}/role", data={"role": "auditor"}).status_code == 409
    assert browser.get("/users").status_code == 200


def test_a_changed_role_counts_from_the_next_request_on(pages: Pages) -> None:
    theirs = pages.in_session(Role.AUDITOR)
    assert theirs.get("/audit").status_code == 200
    number = pages.accounts["auditor"].id
    browser = pages.in_session(Role.ADMINISTRATOR)
    browser.post(f"/users/{number}/role", data={"role": "radiologist", "blinded": "true"})
    assert theirs.get("/audit").status_code == 403
    assert pages.gate.accounts.get(number).blinded


def test_a_person_changes_the_password_and_the_other_sessions_end(pages: Pages) -> None:
    browser, other = pages.signed_in(Role.AUDITOR), pages.signed_in(Role.AUDITOR)
    new = "a much better one"
    form = {"password": PASSWORD, "new": new, "again": new}
    for change, told in [
        ({"password": "wrong"}, "present password is wrong"),
        ({"again": "another one 123"}, "differ"),
        ({"new": "short"}, "12 to 256"),
    ]:
        assert told in browser.post("/account/password", data={**form, **change}).text
    assert "is changed" in after(browser, browser.post("/account/password", data=form))
    assert browser.get("/account").status_code == 200
    assert other.get("/account").status_code == 401
    assert sign_in(pages.nobody(), "auditor").status_code == 401
    assert sign_in(pages.nobody(), "auditor", new).status_code == 303


def test_a_tokens_secret_is_shown_once_and_works(pages: Pages) -> None:
    pages.account(Role.RADIOLOGIST)
    browser = pages.in_session(Role.ADMINISTRATOR)
    form = {"name": "PACS", "login": "radiologist", "days": "30",
            "scopes": [Scope.STUDIES, Scope.HEALTH]}  # fmt: skip
    made = browser.post("/tokens", data=form)
    found = re.search(r"hilum_[\w-]{40,}", made.text)
    assert found is not None
    assert found[0] not in browser.get("/tokens").text
    program = pages.nobody(headers={"Authorization": f"Bearer {found[0]}"})
    assert program.get("/api/v1/openapi.json").status_code == 200
    pages.clock.now += 31 * 86400
    assert program.get("/api/v1/openapi.json").status_code == 401
    browser = pages.in_session(Role.ADMINISTRATOR)
    browser.post("/tokens/1/revoke")
    assert "revoked" in browser.get("/tokens").text


def test_a_token_cannot_have_what_its_account_may_not(pages: Pages) -> None:
    browser = pages.in_session(Role.ADMINISTRATOR)
    form = {"name": "x", "login": "administrator", "days": "1", "scopes": [Scope.STUDIES]}
    assert browser.post("/tokens", data=form).status_code == 422
    assert browser.post("/tokens", data={**form, "scopes": []}).status_code == 422
    assert browser.post("/tokens", data={**form, "login": "nobody"}).status_code == 422
    assert pages.gate.tokens.rows() == ()


def test_the_audit_trail_is_searched_paged_and_checked(pages: Pages, tmp_path: Path) -> None:
    for number in range(150):
        pages.gate.audit.append("ann", Action.STUDY_READ, f"1.2.{number}", at=1e9 + number)
    browser = pages.in_session(Role.AUDITOR)
    assert browser.post("/audit", data={"actor": "ann"}).headers["location"] == "/audit"
    first = browser.get("/audit").text
    assert "1.2.149<" in first
    assert "1.2.49<" not in first
    (older,) = re.findall(r'href="(/audit\?before=\d+)"', first)
    assert "1.2.49<" in browser.get(older).text
    searched = pages.gate.audit.search(AuditQuery(action=Action.AUDIT_READ), 10)
    assert "1.2.149<" in browser.get("/audit").text, "a reload shows it again, and asks nothing"
    assert pages.gate.audit.search(AuditQuery(action=Action.AUDIT_READ), 10) == searched
    browser.post("/audit", data={"until": "1999-01-01"})
    assert "Nothing fits" in browser.get("/audit").text
    browser.post("/audit")
    assert "Nothing fits" not in browser.get("/audit").text
    assert "are as they were written" in browser.post("/audit/verify").text
    with sqlite.connect(tmp_path / "hilum.db") as connection:
        connection.execute("DROP TRIGGER audit_no_update")
        connection.execute("UPDATE audit SET actor = 'bob' WHERE id = 77")
    assert "Row 77 is not what was written" in browser.post("/audit/verify").text


def test_a_fault_is_answered_calmly_and_told_to_nobody(
    pages: Pages, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("Doe^Jane")

    monkeypatch.setattr(Accounts, "rows", fail)
    browser = pages.in_session(Role.ADMINISTRATOR)
    for accept in ("text/html", "application/json"):
        answer = browser.get("/users", headers={"Accept": accept})
        assert answer.status_code == 500
        assert "Doe" not in answer.text
        assert "Traceback" not in answer.text
        assert answer.headers["content-security-policy"]
    printed = capsys.readouterr()
    assert "Doe" not in printed.out + printed.err
    assert "RuntimeError" in printed.out + printed.err


def test_nothing_is_told_to_a_tracer(pages: Pages, monkeypatch: pytest.MonkeyPatch) -> None:
    """FastAPI records requests and exceptions for OpenTelemetry unless it is told not to."""
    told: list[str] = []

    class Tracer(NoOpTracer):
        def start_span(self, name: str, *arguments: Any, **options: Any) -> Span:
            told.append(name)
            return super().start_span(name, *arguments, **options)

    class Provider(TracerProvider):
        def get_tracer(self, *_: Any, **__: Any) -> Tracer:
            return Tracer()

    monkeypatch.setattr(trace, "_TRACER_PROVIDER", Provider())
    pages.in_session(Role.ADMINISTRATOR).get("/users")
    assert told == []
    loud = FastAPI()
    TestClient(loud).get("/")
    assert told == ["GET"], "the tracer hears what is told"


def test_what_is_refused_names_the_field_and_not_its_value(pages: Pages) -> None:
    browser = pages.in_session(Role.ADMINISTRATOR)
    answer = browser.post("/users/DoeJane/disable")
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert "number" in answer.json()["detail"]
    assert "DoeJane" not in answer.text


def run(config: Path, *arguments: str, stdin: str = "") -> tuple[int, str]:
    answer = CliRunner().invoke(app, ["user", *arguments, "--config", str(config)], input=stdin)
    if answer.exception is not None and not isinstance(answer.exception, SystemExit):
        raise answer.exception
    return answer.exit_code, answer.output


def test_hilum_user(tmp_path: Path) -> None:
    config = tmp_path / "hilum.toml"
    config.write_text(f'[storage]\nroot = "{tmp_path / "root"}"\n')
    described = ("--role", "radiologist", "--name", "Dr. Ann Low", "--person-name", "Low^Ann")
    added = run(config, "add", "ann", *described, "--blinded", "--password-stdin",
                stdin=PASSWORD + "\n")  # fmt: skip
    assert added == (0, "ann may sign in as radiologist\n")
    (row,) = json.loads(run(config, "list", "--json")[1])
    assert (row["login"], row["role"], row["blinded"]) == ("ann", "radiologist", True)
    assert "hash" not in str(row)
    for arguments, stdin, told in [
        (("add", "bob", *described, "--password-stdin"), "short\n", "12 to 256"),
        (("add", "ann", *described, "--password-stdin"), PASSWORD, "already"),
        (("add", "bob", *described), PASSWORD, "--password-stdin"),
        (("passwd", "bob", "--password-stdin"), PASSWORD, "no account bob"),
    ]:
        with pytest.raises((DaemonError, Exception), match=told):
            run(config, *arguments, stdin=stdin)
    assert run(config, "disable", "ann")[0] == 0
    assert "disabled" in run(config, "list")[1]
    assert run(config, "enable", "ann")[0] == 0
    new = "another good one"
    assert run(config, "passwd", "ann", "--password-stdin", stdin=new)[0] == 0
    database = open_database(f"sqlite:///{tmp_path / 'root' / 'hilum.sqlite'}")
    known = Accounts(database).credential("ann")
    assert known is not None
    assert known[1].startswith("$argon2id$")
    assert Passwords().matches(new, known[1])
    actions = [row.action for row in Audit(database).search(AuditQuery(subject="ann"), 9)]
    assert actions == ["account.password_changed", "account.enabled", "account.disabled",
                       "account.added"]  # fmt: skip
    database.close()


def test_the_sign_in_form_has_a_token_of_this_browser(pages: Pages) -> None:
    first, second = pages.nobody(), pages.nobody()
    assert csrf_of(first.get("/sign-in")) == csrf_of(first.get("/sign-in"))
    assert csrf_of(first.get("/sign-in")) != csrf_of(second.get("/sign-in"))

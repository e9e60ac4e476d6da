"""What lets people and programs in: accounts, sessions, tokens, and how they are checked."""

from __future__ import annotations

import hashlib
import hmac
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, cast

from fastapi import Depends, Request
from starlette.datastructures import URL

from daemon.settings import OidcSettings, WebSettings
from daemon.web.access import Person
from daemon.web.passwords import Passwords
from daemon.web.throttle import Throttle
from storage.accounts import Accounts
from storage.audit import Audit
from storage.database import Database
from storage.people import SCOPES, Account, Token
from storage.sessions import Sessions
from storage.tokens import Tokens

if TYPE_CHECKING:
    from daemon.web.oidc import Provider

CLIENT_SECRET = "HILUM_OIDC_CLIENT_SECRET"  # environment variable
FORM_COOKIE = "hilum_form"  # before there is a session


@dataclass(frozen=True, slots=True)
class Gate:
    """Everything that sign-in and the check of each request need."""

    accounts: Accounts
    sessions: Sessions
    tokens: Tokens
    audit: Audit
    passwords: Passwords
    throttle: Throttle
    provider: Provider | None = None  # of OpenID Connect


def make_gate(
    settings: WebSettings,
    database: Database,
    passwords: Passwords | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Gate:
    """Open the gate on a database; `clock` is that of the waits after failed sign-ins."""
    idle_s, lifetime_s = settings.session_idle_minutes * 60, settings.session_hours * 3600
    return Gate(
        Accounts(database),
        Sessions(database, idle_s, lifetime_s),
        Tokens(database),
        Audit(database),
        passwords or Passwords(),
        Throttle(clock),
        None if settings.oidc is None else _provider(settings.oidc),
    )


def _provider(settings: OidcSettings) -> Provider:
    from daemon.web.oidc import Provider  # takes memory that most services can do without

    return Provider(settings, os.environ.get(CLIENT_SECRET, ""), time.time)


def gate(request: Request) -> Gate:
    """The gate of a request."""
    return cast("Gate", request.app.state.gate)


Door = Annotated[Gate, Depends(gate)]
"""The gate, as a route's parameter."""


def session_cookie(url: URL) -> str:
    """Return the cookie's name; a browser takes a __Host- one over HTTPS from this host alone."""
    return "__Host-hilum" if url.scheme == "https" else "hilum"


def csrf_token(secret: str) -> str:
    """Return the token that a form must carry, made of the session's own secret."""
    return hmac.new(secret.encode(), b"csrf", hashlib.sha256).hexdigest()


def person_of(account: Account, token: Token | None = None) -> Person:
    """Return who asks; a token may no more than its account's role."""
    return Person(
        account=account.id,
        login=account.login,
        name=account.name,
        person_name=account.person_name,
        role=account.role,
        blinded=account.blinded,
        scopes=None if token is None else token.scopes & SCOPES[account.role],
    )


def address_of(request: Request) -> str:
    """Return the address that a request came from."""
    return request.client.host if request.client is not None else "unknown"

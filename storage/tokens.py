"""API tokens: what a program shows instead of a session. A secret is shown once, and not kept."""

from __future__ import annotations

import secrets
from collections.abc import Collection
from typing import Any

from sqlalchemy import Row, insert, or_, select, update

from storage.accounts import to_account
from storage.database import Database
from storage.errors import NotFound
from storage.people import Scope, Token
from storage.schema import account, api_token
from storage.sessions import TOUCH_EVERY_S, fingerprint

PREFIX = "hilum_"  # so that a secret that got into a file is known for what it is
START = len(PREFIX) + 6
_OWN = [api_token.c[name].label(f"token_{name}") for name in api_token.c.keys()]  # noqa: SIM118


class Tokens:
    """The API tokens. None is deleted: the audit trail names them. Safe in several threads."""

    def __init__(self, database: Database) -> None:
        """Work on a migrated database."""
        self._database = database

    def make(
        self,
        account_id: int,
        name: str,
        scopes: Collection[Scope],
        expires_at: float | None,
        at: float,
    ) -> tuple[int, str]:
        """Make a token that acts for an account; return its id and its secret."""
        secret = PREFIX + secrets.token_urlsafe(32)
        with self._database.write() as connection:
            made = connection.execute(
                insert(api_token)
                .values(
                    name=name, start=secret[:START], token_sha256=fingerprint(secret),
                    account_id=account_id, scopes=" ".join(sorted(scopes)),
                    created_at=at, expires_at=expires_at,
                )
                .returning(api_token.c.id)
            )  # fmt: skip
            number: int = made.scalar_one()
        return number, secret

    def find(self, secret: str, at: float) -> Token | None:
        """Return the token of a secret, where it is good and its account enabled."""
        wanted = (
            select(account, *_OWN)
            .join(api_token, api_token.c.account_id == account.c.id)
            .where(api_token.c.token_sha256 == fingerprint(secret))
            .where(api_token.c.revoked_at.is_(None), account.c.disabled_at.is_(None))
            .where(or_(api_token.c.expires_at.is_(None), api_token.c.expires_at > at))
        )
        with self._database.read() as connection:
            row = connection.execute(wanted).first()
        if row is None:
            return None
        if row.token_used_at is None or at - row.token_used_at >= TOUCH_EVERY_S:
            with self._database.write() as connection:
                used = update(api_token).where(api_token.c.id == row.token_id)
                connection.execute(used.values(used_at=at))
        return _token(row)

    def rows(self) -> tuple[Token, ...]:
        """Return all tokens, newest first."""
        wanted = (
            select(account, *_OWN)
            .join(api_token, api_token.c.account_id == account.c.id)
            .order_by(api_token.c.id.desc())
        )
        with self._database.read() as connection:
            return tuple(_token(row) for row in connection.execute(wanted))

    def revoke(self, number: int, at: float) -> None:
        """Let a token in no more. Raises NotFound."""
        with self._database.write() as connection:
            revoked = (
                update(api_token)
                .where(api_token.c.id == number, api_token.c.revoked_at.is_(None))
                .values(revoked_at=at)
            )
            if connection.execute(revoked).rowcount == 0:
                raise NotFound(f"There is no token {number} that is good.")


def _token(row: Row[Any]) -> Token:
    return Token(
        id=row.token_id,
        name=row.token_name,
        start=row.token_start,
        account=to_account(row),
        scopes=frozenset(Scope(scope) for scope in row.token_scopes.split()),
        created_at=row.token_created_at,
        expires_at=row.token_expires_at,
        used_at=row.token_used_at,
        revoked_at=row.token_revoked_at,
    )

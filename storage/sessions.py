"""The sessions: each sign-in that is still good, known by a secret that its browser alone has."""

from __future__ import annotations

import hashlib
import secrets

from sqlalchemy import delete, insert, or_, select, update

from storage.accounts import to_account
from storage.database import Database
from storage.people import Session
from storage.results import AnyRow
from storage.schema import account, session

TOUCH_EVERY_S = 30.0  # at most one write a session in so long
LONGEST_TOLD = 255  # characters
_OWN = [session.c[name].label(f"session_{name}") for name in session.c.keys()]  # noqa: SIM118


def fingerprint(secret: str) -> str:
    """Return what is kept of a random secret: its SHA-256."""
    return hashlib.sha256(secret.encode()).hexdigest()


class Sessions:
    """The sessions. Safe to use from several threads."""

    def __init__(self, database: Database, idle_s: float, lifetime_s: float) -> None:
        """Work on a migrated database; a session ends `idle_s` after its last use, or before."""
        self._database = database
        self._idle_s, self._lifetime_s = idle_s, lifetime_s

    def open(self, account_id: int, address: str, at: float) -> str:
        """Begin a session; return its secret. Sessions that have ended are swept away."""
        secret = secrets.token_urlsafe(32)
        with self._database.write() as connection:
            connection.execute(
                delete(session).where(
                    or_(
                        session.c.seen_at < at - self._idle_s,
                        session.c.created_at < at - self._lifetime_s,
                    )
                )
            )
            connection.execute(
                insert(session).values(
                    token_sha256=fingerprint(secret), account_id=account_id,
                    created_at=at, seen_at=at, address=address,
                )
            )  # fmt: skip
        return secret

    def find(self, secret: str, at: float, *, touch: bool = True) -> Session | None:
        """Return the session of a secret, where it has not ended and its account is enabled.

        `touch`: whether a person did something, so that the idle time begins anew.
        """
        wanted = (
            select(account, *_OWN)
            .join(session, session.c.account_id == account.c.id)
            .where(session.c.token_sha256 == fingerprint(secret))
            .where(session.c.seen_at >= at - self._idle_s)
            .where(session.c.created_at >= at - self._lifetime_s)
            .where(account.c.disabled_at.is_(None))
        )
        with self._database.read() as connection:
            row = connection.execute(wanted).first()
        if row is None:
            return None
        if touch and at - row.session_seen_at >= min(TOUCH_EVERY_S, self._idle_s / 4):
            with self._database.write() as connection:
                seen = update(session).where(session.c.id == row.session_id)
                connection.execute(seen.values(seen_at=at))
        return _to_session(row)

    def of(self, account_id: int, at: float) -> tuple[Session, ...]:
        """Return an account's sessions that have not ended, newest first."""
        wanted = (
            select(account, *_OWN)
            .join(session, session.c.account_id == account.c.id)
            .where(session.c.account_id == account_id)
            .where(session.c.seen_at >= at - self._idle_s)
            .where(session.c.created_at >= at - self._lifetime_s)
            .order_by(session.c.id.desc())
        )
        with self._database.read() as connection:
            rows = connection.execute(wanted).all()
        return tuple(_to_session(row) for row in rows)

    def keep_filters(self, session_id: int, filters: str) -> None:
        """Keep what the worklist is narrowed to, until the session ends."""
        self._set(session_id, filters=filters)

    def tell(self, session_id: int, text: str) -> None:
        """Keep what the next page is to say; "" when it has."""
        self._set(session_id, told=text[:LONGEST_TOLD])

    def _set(self, session_id: int, **values: str) -> None:
        with self._database.write() as connection:
            connection.execute(update(session).where(session.c.id == session_id).values(values))

    def close(self, secret: str) -> None:
        """End a session; one that has ended stays so."""
        with self._database.write() as connection:
            connection.execute(delete(session).where(session.c.token_sha256 == fingerprint(secret)))

    def close_others(self, account_id: int, keep: int) -> int:
        """End an account's sessions but one; return how many."""
        with self._database.write() as connection:
            others = delete(session).where(session.c.account_id == account_id)
            return connection.execute(others.where(session.c.id != keep)).rowcount


def _to_session(row: AnyRow) -> Session:
    return Session(
        row.session_id, to_account(row), row.session_created_at, row.session_seen_at,
        row.session_address, row.session_filters, row.session_told,
    )  # fmt: skip

"""The accounts: who may sign in, and as what. A password's hash is made and checked elsewhere."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from sqlalchemy import Row, Select, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from storage.database import Database
from storage.errors import LoginTaken, NotFound
from storage.people import Account, NewAccount, Role
from storage.schema import account, session


class Accounts:
    """The accounts. None is ever deleted: the audit trail names them. Safe in several threads."""

    def __init__(self, database: Database) -> None:
        """Work on a migrated database."""
        self._database = database

    def add(self, new: NewAccount, at: float) -> Account:
        """Make an account. Raises LoginTaken."""
        values = {**asdict(new), "login": new.login.lower(), "created_at": at}
        with self._database.write() as connection:
            taken = select(account.c.id).where(account.c.login == values["login"])
            if connection.execute(taken).first() is not None:
                raise LoginTaken(f"There is an account {values['login']} already.")
            try:
                made = connection.execute(insert(account).values(values).returning(account.c.id))
            except IntegrityError as error:  # another host was quicker
                raise LoginTaken from error
            number: int = made.scalar_one()
        return self.get(number)

    def get(self, number: int) -> Account:
        """Return an account. Raises NotFound."""
        found = self._one(select(account).where(account.c.id == number))
        if found is None:
            raise NotFound(f"There is no account {number}.")
        return to_account(found)

    def by_login(self, login: str) -> Account:
        """Return an account. Raises NotFound."""
        found = self._one(select(account).where(account.c.login == login.lower()))
        if found is None:
            raise NotFound(f"There is no account {login}.")
        return to_account(found)

    def by_subject(self, issuer: str, subject: str) -> Account | None:
        """Return the account of a person whom an OpenID provider names."""
        of_provider = (account.c.issuer == issuer, account.c.subject == subject)
        found = self._one(select(account).where(*of_provider))
        return None if found is None else to_account(found)

    def credential(self, login: str) -> tuple[Account, str] | None:
        """Return an enabled account that has a password, and the password's hash."""
        found = self._one(
            select(account)
            .where(account.c.login == login.lower(), account.c.disabled_at.is_(None))
            .where(account.c.password_hash.is_not(None))
        )
        return None if found is None else (to_account(found), found.password_hash)

    def any(self) -> bool:
        """Tell whether there is an account at all."""
        return self._one(select(account.c.id).limit(1)) is not None

    def rows(self) -> tuple[Account, ...]:
        """Return all accounts by login."""
        with self._database.read() as connection:
            rows = connection.execute(select(account).order_by(account.c.login)).all()
        return tuple(to_account(row) for row in rows)

    def set_password(self, number: int, password_hash: str, keep: int | None = None) -> None:
        """Change a password, and end every session but `keep`. Raises NotFound."""
        with self._database.write() as connection:
            self._change(number, password_hash=password_hash)
            others = delete(session).where(session.c.account_id == number)
            if keep is not None:
                others = others.where(session.c.id != keep)
            connection.execute(others)

    def rehash(self, number: int, password_hash: str) -> None:
        """Keep the same password under a better hash. Raises NotFound."""
        self._change(number, password_hash=password_hash)

    def set_role(self, number: int, role: Role, *, blinded: bool) -> None:
        """Change what an account may do, from its next request on. Raises NotFound."""
        self._change(number, role=role, blinded=blinded)

    def disable(self, number: int, at: float) -> None:
        """End every session of an account, and let it in no more. Raises NotFound."""
        with self._database.write() as connection:
            self._change(number, disabled_at=at)
            connection.execute(delete(session).where(session.c.account_id == number))

    def enable(self, number: int) -> None:
        """Let an account in again. Raises NotFound."""
        self._change(number, disabled_at=None)

    def _one(self, query: Select[Any]) -> Row[Any] | None:
        with self._database.read() as connection:
            return connection.execute(query).first()

    def _change(self, number: int, **values: object) -> None:
        with self._database.write() as connection:
            changed = update(account).where(account.c.id == number).values(values)
            if connection.execute(changed).rowcount == 0:
                raise NotFound(f"There is no account {number}.")


def to_account(row: Row[Any]) -> Account:
    """Read an account from a row that has its columns."""
    return Account(
        id=row.id,
        login=row.login,
        name=row.name,
        person_name=row.person_name,
        organization=row.organization,
        role=Role(row.role),
        blinded=row.blinded,
        created_at=row.created_at,
        disabled_at=row.disabled_at,
        by_provider=row.password_hash is None,
    )

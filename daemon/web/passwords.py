"""Passwords: argon2id, one hash at a time, and the same time whether the login is known or not."""

from __future__ import annotations

import secrets
from functools import cached_property
from threading import Semaphore

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from daemon.errors import DaemonError

SHORTEST, LONGEST = 12, 256  # characters
# OWASP's password storage cheat sheet: 19 MiB, two passes, one lane.
MEMORY_KIB, PASSES = 19456, 2
WAITING = 16  # more than so many sign-ins at once are turned away


class WeakPassword(DaemonError):
    """The password is too weak."""


class Passwords:
    """Makes and checks the hashes. Safe to use from several threads."""

    def __init__(self, memory_kib: int = MEMORY_KIB, passes: int = PASSES) -> None:
        """Hash with so much memory and so many passes."""
        self._hasher = PasswordHasher(time_cost=passes, memory_cost=memory_kib, parallelism=1)
        self._one = Semaphore(1)  # the memory is needed once, however many sign in
        self._queue = Semaphore(WAITING)

    def make(self, password: str) -> str:
        """Return the hash of a password."""
        with self._one:
            return self._hasher.hash(password)

    def matches(self, password: str, known: str | None) -> bool | None:
        """Tell whether a password has the hash; None where too many are asking.

        Without a hash, as for an unknown login, it takes as long, and the answer is no.
        """
        if not self._queue.acquire(blocking=False):
            return None
        try:
            with self._one:
                nobody = self._nobody  # made at the first, whoever that asks for
                good = self._hasher.verify(known or nobody, password)
                return good and known is not None
        except (VerificationError, InvalidHashError):
            return False
        finally:
            self._queue.release()

    def is_old(self, known: str) -> bool:
        """Tell whether a hash was made with other settings than these."""
        return self._hasher.check_needs_rehash(known)

    @cached_property
    def _nobody(self) -> str:
        return self._hasher.hash(secrets.token_urlsafe())


def check_password(password: str, login: str) -> None:
    """Raise WeakPassword, saying what is allowed."""
    if not SHORTEST <= len(password) <= LONGEST:
        raise WeakPassword(
            f"A password has {SHORTEST} to {LONGEST} characters; this one has {len(password)}."
        )
    if password.casefold() == login.casefold():
        raise WeakPassword("A password must not be the login.")

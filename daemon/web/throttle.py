"""How fast sign-in may be tried: after some failures each more costs a longer wait."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

FREE_A_LOGIN, FREE_AN_ADDRESS = 5, 20  # failures without a wait
FIRST_S, LONGEST_S = 1.0, 300.0
FORGOTTEN_S = 900.0  # after so long without a failure
KEPT = 10_000  # logins and addresses


@dataclass(slots=True)
class _Failures:
    count: int = 0
    last_at: float = 0.0
    not_before: float = 0.0


class Throttle:
    """The failures of each login and of each address. Safe to use from several threads.

    They are in memory alone: there is one process of the pages, and a restart forgives.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        """Count by the clock, in seconds."""
        self._clock = clock
        self._lock = Lock()
        self._known: OrderedDict[tuple[str, str], _Failures] = OrderedDict()

    def wait_s(self, login: str, address: str) -> float:
        """Return for how long neither may try; 0 where both may."""
        now = self._clock()
        with self._lock:
            known = [self._known.get(key) for key in _keys(login, address)]
            return max([0.0, *(one.not_before - now for one in known if one is not None)])

    def failed(self, login: str, address: str) -> None:
        """Count a failure: from the sixth on a login waits 1 s, 2 s, 4 s, at most 5 min."""
        now = self._clock()
        with self._lock:
            for key, free in zip(
                _keys(login, address), (FREE_A_LOGIN, FREE_AN_ADDRESS), strict=True
            ):
                one = self._known.setdefault(key, _Failures())
                if now - one.last_at > FORGOTTEN_S:
                    one.count = 0
                one.count, one.last_at = one.count + 1, now
                if one.count > free:
                    wait_s = FIRST_S * 2.0 ** min(one.count - free - 1, 20)
                    one.not_before = now + min(wait_s, LONGEST_S)
                self._known.move_to_end(key)
            while len(self._known) > KEPT:
                self._known.popitem(last=False)

    def succeeded(self, login: str) -> None:
        """Forget a login's failures; its address may be that of many."""
        with self._lock:
            self._known.pop(("login", login.casefold()), None)


def _keys(login: str, address: str) -> tuple[tuple[str, str], tuple[str, str]]:
    return ("login", login.casefold()), ("address", address)

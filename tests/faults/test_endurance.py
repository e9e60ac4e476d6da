"""The listener's memory and descriptors over thousands of callers, good ones and bad ones."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import psutil
import pytest

from tests import soak
from tests.faults.callers import (
    ABORT,
    Caller,
    TurnedAway,
    associate_rq,
    c_echo,
    c_store,
    small_image,
    status_of,
    with_caller,
)
from tests.harness import Service, running, until, write_config

pytestmark = pytest.mark.slow

CALLERS = 6  # at once; the listener lets in more
HALF_OPEN = 4  # connections at once that have said half a word
POOL = 6  # descriptors of the database that it may open meanwhile, and keep
ROOT = "1.2.826.0.1.3680043.10.88.7"


@dataclass(frozen=True)
class Look:
    """The listener after so many connections."""

    connections: int
    memory_mib: float
    descriptors: int
    threads: int


@dataclass
class Traffic:
    """Callers of every kind, several at once."""

    port: int
    done: int = 0
    turned_away: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    half_open: deque[Caller] = field(default_factory=deque)
    failed: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, count: int) -> None:
        """Make so many connections that were let in."""
        until_ = self.done + count
        threads = [threading.Thread(target=self._call, args=(until_, seed))
                   for seed in range(self.done, self.done + CALLERS)]  # fmt: skip
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def settle(self) -> None:
        """Close what is half open."""
        while self.half_open:
            self.half_open.popleft().close()

    def _call(self, until_: int, seed: int) -> None:
        chance = random.Random(seed)
        kinds = ("echo", "store", "again", "aborted", "vanished", "half open", "probe", "junk")
        while self.done < until_ and len(self.failed) < 10:
            (kind,) = chance.choices(kinds, (30, 10, 10, 15, 10, 5, 15, 5))
            try:
                self._one(kind)
            except TurnedAway:
                self.turned_away += 1
                time.sleep(0.05)
                continue
            except (AssertionError, OSError, ValueError) as error:
                self.failed.append(f"{kind}: {error!r}")
                continue
            with self._lock:
                self.done += 1
                self.kinds[kind] += 1

    def _one(self, kind: str) -> None:
        if kind == "probe":
            with_caller(self.port, lambda _: None)
        elif kind == "junk":
            with_caller(self.port, lambda one: one.socket.sendall(b"GET / HTTP/1.0\r\n\r\n"))
        elif kind == "half open":
            half = Caller(self.port)
            half.socket.sendall(associate_rq()[:40])
            self.half_open.append(half)
            if len(self.half_open) > HALF_OPEN:
                self.half_open.popleft().close(reset=True)
        else:
            with_caller(
                self.port, lambda one: self._associated(one, kind), reset=kind == "vanished"
            )

    def _associated(self, one: Caller, kind: str) -> None:
        one.associate()
        if kind == "aborted":
            one.socket.sendall(ABORT)
        elif kind == "echo":
            assert status_of(one.ask(c_echo(), 0x04)) == 0x0000
            one.release()
        elif kind in ("store", "again"):
            uid = f"{ROOT}.{self.done if kind == 'store' else 0}"
            assert status_of(one.ask(c_store(uid, small_image(uid)), 0x04)) == 0x0000
            one.release()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The whole service; its reports wait for their quiet time."""
    folder = tmp_path_factory.mktemp("service")
    config = write_config(
        folder, None, report={"study_quiet_s": 3600}, dicom={"idle_timeout_s": 10}
    )
    with running(Service(folder, config)) as one:
        yield one


def look(service: Service, connections: int) -> Look:
    started = service.events("process.started")
    pid = next(one["pid"] for one in reversed(started) if one["process"] == "listener")
    process = psutil.Process(pid)
    resident = process.memory_info().rss / 2**20
    return Look(connections, resident, process.num_fds(), process.num_threads())


def growth_mib(looks: list[Look]) -> float:
    """The slope of the memory, MiB for each thousand connections, by least squares."""
    xs, ys = zip(*((one.connections, one.memory_mib) for one in looks), strict=True)
    return float(1000 * np.polyfit(xs, ys, 1)[0])


def quiet(service: Service, traffic: Traffic) -> Look:
    """Let everything that is open be closed; return the listener as it is when nothing ends."""
    traffic.settle()
    seen: deque[tuple[int, int]] = deque(maxlen=8)

    def settled() -> Look | None:
        now = look(service, traffic.done)
        seen.append((now.descriptors, now.threads))
        return now if len(seen) == seen.maxlen and len(set(seen)) == 1 else None

    found: Look = until(settled, 90, 0.5)
    return found


SHORT, LONG = (400, 4.0), (20_000, 20.0)  # connections, MiB more after them


@pytest.mark.parametrize(
    ("count", "most_mib"),
    [SHORT, pytest.param(*LONG, marks=[pytest.mark.soak, pytest.mark.timeout(1500)])],
)
def test_callers_leave_neither_memory_nor_descriptors_behind(
    service: Service, count: int, most_mib: float
) -> None:
    traffic = Traffic(service.port)
    traffic.run(count // 4)  # what is made once, is made now
    before = quiet(service, traffic)
    looks = []
    while traffic.done < before.connections + count and not traffic.failed:
        traffic.run(count // 40)
        looks.append(look(service, traffic.done))
    after = quiet(service, traffic)
    assert not traffic.failed, traffic.failed
    # Bad callers stand in nobody's way: those who ask for an association get theirs
    assert traffic.turned_away < 0.05 * traffic.done, (traffic.turned_away, traffic.kinds)
    assert [one["process"] for one in service.events("process.started")].count("listener") == 1
    soak.sample(
        "endurance", ["connections", "memory_mib", "descriptors", "threads"],
        [[one.connections, one.memory_mib, one.descriptors, one.threads] for one in looks],
    )  # fmt: skip
    more, slope = after.memory_mib - before.memory_mib, growth_mib(looks[len(looks) // 4 :])
    soak.record(
        soak.ENDURANCE,
        tried=traffic.done,
        seen=f"{more:+.1f} MiB in all, {slope:+.2f} MiB per 1,000; "
        f"{after.descriptors} descriptors, {before.descriptors} before",
        limit=f"at most {most_mib:g} MiB more; descriptors flat",
        good=more <= most_mib
        and (count < LONG[0] or slope < 1.0)  # of a few hundred it says nothing
        and after.descriptors <= before.descriptors + POOL,
    )

"""Stop and bells: who waits is woken, from a thread, a signal handler or another process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing import get_context

import pytest

from daemon.process import Bell, Bells, Stop

LONG_S = 30.0  # no test waits for so long unless it fails
pytestmark = pytest.mark.alone  # signals to the whole process, and waits that are measured


@pytest.fixture
def stop() -> Iterator[Stop]:
    """A stop signal; the handlers that it sets are put back."""
    before = [(number, signal.getsignal(number)) for number in (signal.SIGTERM, signal.SIGINT)]
    yield Stop()
    for number, handler in before:
        signal.signal(number, handler)


def took(act: Callable[[], object]) -> float:
    started = time.monotonic()
    act()
    return time.monotonic() - started


def test_a_ring_ends_the_wait(stop: Stop) -> None:
    bell = Bell()
    threading.Timer(0.1, bell.ring).start()
    assert took(lambda: bell.wait(stop, LONG_S)) < LONG_S / 2


def test_rings_before_the_wait_are_kept_as_one(stop: Stop) -> None:
    bell = Bell()
    for _ in range(3):
        bell.ring()
    assert took(lambda: bell.wait(stop, LONG_S)) < LONG_S / 2
    assert took(lambda: bell.wait(stop, 0.05)) >= 0.05


def test_without_a_ring_the_wait_ends_by_itself(stop: Stop) -> None:
    assert not Bell().wait(stop, 0.02)


def test_a_signal_ends_every_wait(stop: Stop) -> None:
    bells = [Bell(), Bell()]
    threads = [threading.Thread(target=bell.wait, args=(stop, LONG_S)) for bell in bells]
    for thread in threads:
        thread.start()
    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()
    assert stop.wait(LONG_S)
    assert stop
    for thread in threads:
        thread.join(LONG_S / 2)
        assert not thread.is_alive()
    assert bells[0].wait(stop, LONG_S)


def test_everyone_of_a_role_hears_a_ring_from_a_fork_and_from_the_next_one(stop: Stop) -> None:
    """The supervisor makes the bells; its children have them, and so has one that is restarted."""
    bells = Bells(["worker-0", "worker-1", "delivery-main"])
    for _ in range(2):
        listener = get_context("fork").Process(target=bells.ring, args=("worker",))
        listener.start()
        listener.join(LONG_S)
        for name in ("worker-0", "worker-1"):
            assert took(lambda name=name: bells.of(name).wait(stop, LONG_S)) < LONG_S / 2
        assert took(lambda: bells.of("delivery-main").wait(stop, 0.05)) >= 0.05


def test_a_fork_that_is_told_to_stop_before_it_listens_stops_nobody_else(stop: Stop) -> None:
    child = get_context("fork").Process(target=os.kill, args=(os.getpid(), signal.SIGTERM))
    victim = get_context("fork").Process(target=signal.raise_signal, args=(signal.SIGTERM,))
    victim.start()
    victim.join(LONG_S)
    assert not stop.wait(0.05)
    child.start()
    assert stop.wait(LONG_S)
    child.join(LONG_S)


def test_a_process_without_bells_waits_and_rings_for_nobody(stop: Stop) -> None:
    bells = Bells()
    bells.ring("worker")
    assert took(lambda: bells.of("worker-0").wait(stop, 0.05)) >= 0.05


FREED = """
import sys
from pathlib import Path
from daemon.process import give_memory_back

def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 >> 20

if sys.argv[1] == "guarded":
    give_memory_back()
del (first := [bytearray(b"x") * (24 << 20)])[:]  # glibc remembers the largest block that was freed
before, kept, large = resident(), [], []
for _ in range(20):
    large.append(bytearray(b"x") * (5 << 20))
    kept.append(bytearray(b"x") * 200_000)
del large[:]
print(resident() - before)
"""


@pytest.mark.parametrize(("how", "least", "most"), [("guarded", -5, 5), ("as it is", 50, 200)])
def test_a_freed_image_goes_back_to_the_system(how: str, least: int, most: int) -> None:
    """Without the guard the small blocks between the images hold all of them."""
    done = subprocess.run(
        [sys.executable, "-c", FREED, how], capture_output=True, text=True, check=True, timeout=60
    )
    assert least <= int(done.stdout) <= most

"""What the service tells systemd, over a real datagram socket."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.notify import Notifier
from tests.harness import Service, running, write_config


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(20)
        yield listening


def drain(manager: socket.socket) -> None:
    """Take what was sent before; raises TimeoutError where no more comes."""
    for _ in range(100):
        manager.recv(100)


def test_ready_when_it_listens_alive_while_its_loop_turns_and_stopping(
    tmp_path: Path, manager: socket.socket
) -> None:
    service = Service(tmp_path, write_config(tmp_path, None))
    told = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "600000"}
    with running(service, environment=told, ready=False):
        assert service.process is not None
        heard = []
        while not heard or heard[-1] != b"READY=1":
            heard.append(manager.recv(100))
        with socket.create_connection(("127.0.0.1", service.port), 5):
            pass  # it listens
        assert {manager.recv(100) for _ in range(3)} == {b"WATCHDOG=1"}
        service.process.send_signal(signal.SIGSTOP)  # its loop hangs, its children live on
        try:
            manager.settimeout(1.5)
            with pytest.raises(TimeoutError):
                drain(manager)
        finally:
            service.process.send_signal(signal.SIGCONT)
        manager.settimeout(20)
        assert manager.recv(100) == b"WATCHDOG=1"
        service.process.terminate()
        last = b""
        while last != b"STOPPING=1":
            last = manager.recv(100)
        assert service.process.wait(20) == 0


def test_the_watchdog_is_told_twice_in_its_interval(
    manager: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", "400000")
    notifier = Notifier()
    assert notifier.every_s == 0.2
    until = time.monotonic() + 0.5
    while time.monotonic() < until:
        notifier.alive()
        time.sleep(0.01)
    manager.setblocking(False)
    assert manager.recv(100) == manager.recv(100) == b"WATCHDOG=1"


def test_a_watchdog_meant_for_another_process_and_no_manager_at_all_are_not_spoken_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "@hilum-nobody-listens-here")
    monkeypatch.setenv("WATCHDOG_USEC", "400000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid() + 1))
    notifier = Notifier()
    assert notifier.every_s == 0.0
    notifier.ready()
    monkeypatch.delenv("NOTIFY_SOCKET")
    Notifier().stopping()

"""The HTTP server: callers that say nothing, or half of it, and the stop."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from daemon.web import guard, server
from daemon.web.access import Role
from tests.harness import until
from tests.pages import Pages, open_pages


@dataclass
class Stopping:
    """A stop as a process has it, without its signals."""

    descriptor: int = field(default_factory=lambda: os.eventfd(0))


@dataclass
class Served:
    """The application on a port of the loopback."""

    pages: Pages
    port: int
    stop: Stopping
    thread: threading.Thread

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def end(self) -> None:
        os.eventfd_write(self.stop.descriptor, 1)
        self.thread.join(5)


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setattr(server, "FIRST_REQUEST_S", 0.4)
    monkeypatch.setattr(guard, "BODY_S", 0.4)
    with open_pages(tmp_path) as pages:
        listening, stop = socket.create_server(("127.0.0.1", 0)), Stopping()
        config = server.make_config(pages.site.settings.web, pages.app, None)
        one = server.Server(config, stop)  # type: ignore[arg-type]
        thread = threading.Thread(target=one.run, args=([listening],))
        thread.start()
        until(lambda: one.started)
        running = Served(pages, listening.getsockname()[1], stop, thread)
        yield running
        running.end()


def test_who_says_nothing_is_hung_up_on(served: Served) -> None:
    started = time.monotonic()
    with served.connect() as silent, served.connect() as half:
        half.sendall(b"GET /sign-in HTTP/1.1\r\nHost: local")
        assert silent.recv(100) == b""
        assert half.recv(100) == b""
    assert time.monotonic() - started < 5


def test_a_body_that_does_not_come_is_not_waited_for(served: Served) -> None:
    head = b"POST /sign-in HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nlogin="
    with served.connect() as slow:
        slow.sendall(head)
        assert slow.recv(100).startswith(b"HTTP/1.1 408 ")


def test_a_request_without_or_with_two_names_is_refused(served: Served) -> None:
    for names in (b"", b"Host: localhost\r\nHost: localhost\r\n"):
        with served.connect() as odd:
            odd.sendall(b"GET /sign-in HTTP/1.1\r\n" + names + b"\r\n")
            status = odd.recv(100).split()[1]
            assert status in (b"400", b"421"), names


def test_the_stop_waits_for_nobody(served: Served) -> None:
    with served.connect() as half:
        half.sendall(b"POST /sign-in HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n")
        started = time.monotonic()
        served.end()
        assert not served.thread.is_alive()
        assert time.monotonic() - started < 1.0


def test_many_readers_at_once_are_all_answered(served: Served) -> None:
    served.pages.account(Role.AUDITOR)
    secret = served.pages.gate.sessions.open(
        served.pages.accounts["auditor"].id, "x", served.pages.clock()
    )
    request = (
        f"GET /account HTTP/1.1\r\nHost: localhost\r\nCookie: hilum={secret}\r\n"
        "Connection: close\r\n\r\n"
    ).encode()
    answers: list[bytes] = []

    def ask() -> None:
        with served.connect() as one:
            one.sendall(request)
            answers.append(one.recv(12))

    threads = [threading.Thread(target=ask) for _ in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [b"HTTP/1.1 200"] * 40

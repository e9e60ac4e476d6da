"""The audit trail at a collector: syslog over TLS, in order, at least once."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from daemon.audit.sender import Sender
from daemon.delivery import keep_at
from daemon.settings import Settings
from storage.audit import Audit
from storage.audit_marks import Marks
from storage.database import Database
from storage.people import Action, Mark
from tests.collectors import Authority, Collector, make_authority, rsyslog
from tests.harness import free_port, until
from tests.storing import open_storage


class Told:
    """A stop that a test sets."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self.set = self._event.set

    def __bool__(self) -> bool:
        return self._event.is_set()


class Ringing:
    """Waits in short steps, so that a test need not."""

    def wait(self, stop: Any, seconds: float) -> bool:
        time.sleep(min(seconds, 0.05))
        return bool(stop)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("tls") / "keys")


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return open_storage(tmp_path / "storage").database


def settings(keys: Authority, port: int, **more: Any) -> Settings:
    certificate, key = keys.client
    chosen = {"host": "127.0.0.1", "port": port, "ca": keys.ca, "certificate": certificate}
    return Settings(audit=chosen | {"key": key} | more)


def fill(database: Database, first: int, count: int) -> None:
    audit = Audit(database)
    with database.write():
        for number in range(first, first + count):
            audit.append("ann", Action.STUDY_READ, f"1.2.{number}", at=number)


@contextmanager
def sending(sender: Sender) -> Iterator[None]:
    stop: Any = Told()
    bell: Any = Ringing()
    thread = threading.Thread(target=keep_at, args=(sender, stop, bell), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(20)
        assert not thread.is_alive()


def rows_in(messages: list[bytes]) -> list[int]:
    """Return the rows of the trail that messages tell, in the order in which they came."""
    found = []
    for one in messages:
        xml = ET.fromstring(one[one.index(b"<AuditMessage") :])
        (value,) = [
            str(detail.get("value"))
            for detail in xml.iter("ParticipantObjectDetail")
            if detail.get("type") == "row"
        ]
        found.append(int(base64.b64decode(value)))
    return found


def came(collector: Collector, count: int) -> Callable[[], bool]:
    return lambda: len(set(rows_in(list(collector.messages)))) >= count


@pytest.mark.peer
def test_rsyslog_takes_the_trail_in_order_over_tls(
    tmp_path: Path, keys: Authority, database: Database
) -> None:
    fill(database, 1, 250)
    with (
        rsyslog(tmp_path / "rsyslog", keys) as (port, written),
        sending(Sender(settings(keys, port), database, confirm_s=0.2)),
    ):
        until(lambda: written.exists() and written.read_bytes().count(b"\n") >= 250, 30)
        fill(database, 251, 5)
        until(lambda: written.read_bytes().count(b"\n") >= 255, 20)
        until(lambda: Marks(database).of(Mark.SENT).row == 255, 20)
    lines = written.read_bytes().splitlines()
    assert all(line.startswith(b"DICOM+RFC3881\t") for line in lines)
    assert rows_in(lines) == list(range(1, 256))


def test_what_happens_while_the_collector_is_away_is_sent_when_it_is_back(
    keys: Authority, database: Database
) -> None:
    collector = Collector(keys, free_port())
    collector.start()
    sender = Sender(settings(keys, collector.port), database, backoff_s=(0.1,), confirm_s=0.2)
    with sending(sender):
        fill(database, 1, 30)
        until(came(collector, 30), 20)
        until(lambda: Marks(database).of(Mark.SENT).row == 30, 20)
        collector.close()
        fill(database, 31, 200)
        time.sleep(0.5)  # some attempts in vain
        collector.start()
        until(came(collector, 230), 20)
    collector.close()
    assert collector.version in {"TLSv1.2", "TLSv1.3"}
    assert rows_in(collector.messages) == list(range(1, 231))


def test_what_a_collector_took_and_died_with_unread_is_sent_again(
    keys: Authority, database: Database
) -> None:
    collector = Collector(keys, free_port(), reading=False)
    collector.start()
    fill(database, 1, 20)
    sender = Sender(settings(keys, collector.port), database, backoff_s=(0.1,), confirm_s=2.0)
    with sending(sender):
        until(lambda: sender._written.row == 20, 20)  # its system has acknowledged every byte
        assert Marks(database).of(Mark.SENT).row == 0
        collector.close()
        collector.reading = True
        collector.start()
        until(came(collector, 20), 20)
    collector.close()
    assert rows_in(collector.messages) == list(range(1, 21))


def test_a_service_that_is_started_anew_goes_on_from_the_mark(
    keys: Authority, database: Database
) -> None:
    collector = Collector(keys, free_port())
    collector.start()
    fill(database, 1, 10)
    with sending(Sender(settings(keys, collector.port), database, confirm_s=0.1)):
        until(lambda: Marks(database).of(Mark.SENT).row == 10, 20)
    fill(database, 11, 10)
    with sending(Sender(settings(keys, collector.port), database, confirm_s=0.1)):
        until(came(collector, 20), 20)
    collector.close()
    assert rows_in(collector.messages) == list(range(1, 21))


@pytest.mark.parametrize("fault", ["stranger", "nobody"])
def test_nothing_goes_to_a_collector_that_is_not_ours_or_to_none_without_a_certificate(
    tmp_path: Path, keys: Authority, database: Database, fault: str
) -> None:
    collector = Collector(keys, free_port())
    collector.start()
    wrong: dict[str, Any] = {"certificate": None, "key": None}
    if fault == "stranger":
        wrong = {"ca": make_authority(tmp_path / "other").ca}
    fill(database, 1, 3)
    sender = Sender(
        settings(keys, collector.port, **wrong), database, backoff_s=(0.05,), confirm_s=0.1
    )
    with sending(sender):
        until(lambda: sender._failures > 2, 20)
        time.sleep(0.3)
    collector.close()
    assert collector.messages == []
    assert Marks(database).of(Mark.SENT).row == 0

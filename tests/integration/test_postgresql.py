"""The service on a real PostgreSQL: moved there from SQLite, and when the server goes away."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.simulate.scu import send
from storage.database import open_database
from storage.errors import DatabaseBusy, DatabaseGone
from storage.outbox import Outbox
from storage.queue import Queue
from storage.records import DeliveryState, JobState
from storage.schema import study
from tests.acceptance.test_service import objects
from tests.databases import Server
from tests.harness import Pacs, Service, hilum, running, until, write_config

pytestmark = [pytest.mark.slow, pytest.mark.peer]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server with its every sync."""
    one = Server()
    yield one
    one.remove()


def database(server: Server, name: str) -> str:
    server.execute(f'CREATE DATABASE "{name}"')
    return server.url(name)


def reports(pacs: Pacs) -> list[str]:
    return [str(one.StudyInstanceUID) for one in pacs.stored if one.Modality == "SR"]


def test_a_site_moves_from_sqlite_and_goes_on(
    tmp_path: Path, server: Server, pacs: Pacs, demo_images: list[Path]
) -> None:
    sent = objects(demo_images, 4)
    before = Service(tmp_path, write_config(tmp_path, pacs.port))
    with running(before):
        send(sent[:2], "127.0.0.1", before.port, "CR1", "HILUM")
        until(lambda: len(reports(pacs)) == 2)
        url = database(server, "moved")
        refused = hilum("db", "copy", "--to", url, "--config", str(before.config))
        assert refused.returncode == 1
        assert "holds the storage root" in refused.stderr
        assert before.stop() == 0
    copied = hilum("db", "copy", "--to", url, "--json", "--config", str(before.config))
    assert copied.returncode == 0, copied.stderr
    counts = {one["table"]: one["rows"] for one in json.loads(copied.stdout)}
    assert (counts["instance"], counts["report"]) == (2, 2)

    after = Service(tmp_path, write_config(tmp_path, pacs.port, storage={"database_url": url}))
    with running(after):
        send(sent, "127.0.0.1", after.port, "CR1", "HILUM")  # two of them again
        after.saw("instance.repeated", count=2)
        until(lambda: len(reports(pacs)) == 4)
    assert sorted(reports(pacs)) == sorted({str(one.StudyInstanceUID) for one in sent})


def test_a_server_that_goes_away_loses_nothing(
    tmp_path: Path, server: Server, pacs: Pacs, demo_images: list[Path]
) -> None:
    """Images are refused (A700) while it is away, and what was acknowledged is reported after."""
    url = database(server, "away")
    service = Service(tmp_path, write_config(tmp_path, pacs.port, storage={"database_url": url}))
    sent = objects(demo_images, 12)
    with running(service):
        first = send(sent[:8], "127.0.0.1", service.port, "CR1", "HILUM")
        assert {one.status for one in first} == {0}
        server.stop("immediate")  # amid claims: as a crash would end it
        away = send(sent[8:10], "127.0.0.1", service.port, "CR1", "HILUM")
        assert {one.status for one in away} == {0xA700}
        server.start()
        again = send(sent[8:], "127.0.0.1", service.port, "CR1", "HILUM")
        assert {one.status for one in again} == {0}
        until(lambda: len(reports(pacs)) == 12, 60)
        assert not service.events("not json")  # a traceback, for instance
        queue, outbox = Queue(open_database(url)), Outbox(open_database(url))
        until(lambda: not queue.rows([JobState.PENDING, JobState.RUNNING]))
        until(lambda: not outbox.rows([DeliveryState.PENDING, DeliveryState.SENDING]))
    assert len(reports(pacs)) == len({str(one.StudyInstanceUID) for one in sent})


def test_what_a_server_says_is_told_apart(tmp_path: Path, server: Server) -> None:
    url = database(server, "told")
    one, other = open_database(url), open_database(url, busy_timeout_s=0.3)
    one.migrate(tmp_path)
    row = {
        "study_instance_uid": "1.2", "state": "due", "last_received_at": 0, "due_at": 0,
        "revision": 0, "attempts": 0, "token": 0, "report_version": 0,
    }  # fmt: skip
    with one.write() as held:
        held.execute(study.insert().values(row))
        with pytest.raises(DatabaseBusy), other.write() as waits:
            waits.execute(study.insert().values(row))
    server.stop("immediate")
    with pytest.raises(DatabaseGone), one.read():
        pass
    server.start()
    assert abs(one.clock() - time.time()) < 5
    one.close()
    other.close()


@pytest.mark.parametrize(
    ("roles", "told"),
    [("listener,wroker", "known are listener, worker, delivery, web, scheduler"),
     ("listener", "shares a database with them"), ("", "known are")],
)  # fmt: skip
def test_a_wrong_list_of_roles_is_named(tmp_path: Path, roles: str, told: str) -> None:
    config = write_config(tmp_path, None)
    asked = hilum("serve", "--config", str(config), "--roles", roles)
    assert asked.returncode == 2
    assert told in asked.stderr

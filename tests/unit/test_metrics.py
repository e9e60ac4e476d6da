"""Metrics: what is counted, by whichever process, and that the text is what Prometheus reads."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
from sqlalchemy import select

from daemon.bookkeeper import Bookkeeper
from daemon.settings import WebTlsSettings
from daemon.web.access import Role, Scope
from storage import gauges, turned_away
from storage.audit import Audit
from storage.counting import Sums
from storage.database import Database
from storage.people import SCOPES, Action
from storage.records import DeliveryState, JobState, Result, ResultStatus
from storage.schema import metric_sum
from storage.sums import Tally
from storage.turned_away import TurnedAway
from tests.integration.test_web_service import make_certificate
from tests.pages import Pages, open_pages
from tests.storing import Storage, analysed, arrival, make_report, new_report

NOT_ANALYSED = Result(ResultStatus.NOT_ANALYSED, reason_code="not_frontal", reason="a lateral")


@pytest.fixture
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    with open_pages(tmp_path_factory.mktemp("metrics")) as opened:
        yield opened


def way(storage: Storage) -> None:
    """One image reported to two PACS: one takes it 30 s later, one refuses; others go elsewhere."""
    storage.queue.accept(arrival("1.9", received_at=100.0))
    job = storage.queue.claim("w", 60, 100.0)
    assert job is not None
    storage.queue.finish(job, analysed(), "2.25.7", 0, 100.0)
    study = storage.studies.claim_due("w", 60, 100.0)
    assert study is not None
    storage.studies.reported(study, new_report("2.25.77", 100.0), ("a", "b"), 100.0)
    (to_a,) = storage.outbox.claim("a", 1, "d", 60, 130.0)
    storage.outbox.stored(to_a, "0000H", 130.0)
    (to_b,) = storage.outbox.claim("b", 1, "d", 60, 130.0)
    storage.outbox.dead(to_b, "0122H", "no such class", 130.0)
    for number, received_at in enumerate((200.0, 201.0, 202.0)):
        storage.queue.accept(arrival(f"1.{number}", received_at=received_at))
    storage.queue.accept(arrival("1.0", received_at=203.0))  # the same bytes again
    job = storage.queue.claim("w", 60, 210.0)
    assert job is not None
    storage.queue.finish(job, NOT_ANALYSED, "2.25.8", 0, 212.0)
    job = storage.queue.claim("w", 60, 210.0)
    assert job is not None
    storage.queue.quarantine(job, "undecodable", "no pixels", 213.0, None, 0)


def test_a_way_is_counted(pages: Pages) -> None:
    way(pages.storage)
    sums = Tally(pages.storage.database).catch_up(1)
    assert sums["images_received", ("new",)] == 4
    assert sums["images_received", ("repeated",)] == 1
    assert sums["bytes_received", ()] == 5000
    assert sums["images", ("analysed", "")] == 1
    assert sums["images", ("not_analysed", "not_frontal")] == 1
    assert sums["images", ("quarantined", "undecodable")] == 1
    assert sums["findings", ("pneumonia", "present")] == 1
    assert sums["findings", ("pleural_effusion", "absent")] == 1
    assert sums["reports", ()] == 1
    assert sums["deliveries", ("a", "stored")] == 1
    assert sums["deliveries", ("b", "refused")] == 1
    # Of two answers one took 12 s; the report was there 30 s after the image, and after itself
    assert sums["latency_count", ("classified", "0.5")] == 1
    assert sums["latency_count", ("classified", "30")] == 1
    assert sums["latency_seconds", ("classified",)] == 12
    assert sums["latency_count", ("reported", "0.5")] == 1
    assert sums["latency_seconds", ("delivered",)] == 30
    assert sums["latency_seconds", ("whole",)] == 30
    now = gauges.look(pages.storage.database)
    assert now.jobs == {JobState.PENDING: 1, JobState.RUNNING: 0, JobState.QUARANTINED: 1}
    assert now.oldest_image_at == 202
    assert now.deliveries == {("b", DeliveryState.DEAD): 1}


def test_any_process_has_the_same_sums_whether_kept_or_counted(pages: Pages) -> None:
    database = pages.storage.database
    for number in range(8):
        make_report(pages.storage, f"2.25.{number}1", f"2.25.{number}", float(number), "a")
        if number == 3:
            Bookkeeper(database).step()
        if number == 5:
            early = Tally(database)
            early.catch_up(1)
    kept = Tally(database)  # goes on from what the bookkeeper kept
    assert kept.catch_up(1) == early.catch_up(1) == counted_anew(database)
    Bookkeeper(database).step()
    assert Tally(database).catch_up(0) == counted_anew(database)


def counted_anew(database: Database) -> Sums:
    """Count from the first row of the trail, whatever is kept."""
    tally = Tally(database)
    with database.write() as connection:
        rows = connection.execute(select(metric_sum)).all()
        connection.execute(metric_sum.delete())
    found = tally.catch_up(1)
    with database.write() as connection:
        if rows:
            connection.execute(metric_sum.insert(), [row._asdict() for row in rows])
    return found


def test_a_row_of_another_release_is_counted_as_far_as_it_goes(pages: Pages) -> None:
    audit = Audit(pages.storage.database)
    for action in Action:
        audit.append("another", action, "2.25.1", {"probability.new": 0.9}, at=1.0)
    sums = Tally(pages.storage.database).catch_up(1)
    assert sums["images_received", ("",)] == 1
    assert sums["findings", ("new", "absent")] == 1
    assert pages.with_token(Role.ADMINISTRATOR, Scope.HEALTH).get("/metrics").status_code == 200


def test_a_process_that_is_down_is_told_and_a_certificate_that_ends(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    tls = WebTlsSettings(certificate=certificate, key=key)
    with open_pages(tmp_path / "pages", tls=tls) as pages:
        client = pages.with_token(Role.ADMINISTRATOR, Scope.HEALTH)
        text = client.get("/metrics").text
        assert 'hilum_process_up{process="listener"} 0.0' in text  # nothing runs beside this test
        found = re.search(r'expires_timestamp_seconds\{certificate="web"\} (\S+)', text)
        assert found is not None
        assert float(found[1]) - time.time() == pytest.approx(86400, abs=600)
        certificate.write_text("no certificate")
        pages.app.state.exposition._until = 0.0
        assert 'expires_timestamp_seconds{certificate="web"} 0.0' in client.get("/metrics").text


def test_an_older_sum_does_not_overwrite_a_newer_one(pages: Pages) -> None:
    database = pages.storage.database
    make_report(pages.storage, "2.25.11", "2.25.1", 1.0, "a")
    slow = Tally(database)
    slow.catch_up(1)
    make_report(pages.storage, "2.25.21", "2.25.2", 2.0, "a")
    quick = Tally(database)
    newest = quick.catch_up(1)
    quick.keep()
    slow.keep()
    assert Tally(database).catch_up(0) == newest


def test_associations_are_counted_however_many_callers_are_kept(pages: Pages) -> None:
    database = pages.storage.database
    many = [TurnedAway(f"CR{n}", "10.0.0.1", "unknown", 2, 0.0, 0.0) for n in range(300)]
    turned_away.add(database, many, accepted=7)
    turned_away.add(database, [TurnedAway("", "::1", "TLS: BAD_KEY", 1, 0.0, 0.0)], accepted=1)
    sums = Tally(database).catch_up(1)
    assert sums["associations", ("accepted", "")] == 8
    assert sums["associations", ("refused", "unknown")] == 600
    assert sums["associations", ("refused", "TLS")] == 1
    Bookkeeper(database).step()
    assert Tally(database).catch_up(1)["associations", ("accepted", "")] == 8


@pytest.mark.peer
def test_prometheus_can_read_it_and_no_uid_is_in_it(pages: Pages) -> None:
    way(pages.storage)
    answer = pages.with_token(Role.ADMINISTRATOR, Scope.HEALTH).get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    linted = subprocess.run(
        ["promtool", "check", "metrics"], input=answer.text, capture_output=True, text=True,
        check=False, timeout=20,
    )  # fmt: skip
    assert linted.returncode == 0, linted.stdout + linted.stderr
    assert not linted.stdout + linted.stderr
    assert 'hilum_images_total{outcome="quarantined",reason="undecodable"} 1.0' in answer.text
    assert "2.25." not in answer.text
    assert not re.search(r"\d+\.\d+\.\d+", answer.text.replace(f'"{version("hilum")}"', ""))


def test_a_scrape_is_for_a_monitor_alone(pages: Pages) -> None:
    assert pages.nobody().get("/metrics").status_code == 401
    assert pages.in_session(Role.RADIOLOGIST).get("/metrics").status_code == 403
    for role, scopes in SCOPES.items():
        for scope in scopes:
            answer = pages.with_token(role, scope).get("/metrics")
            assert (answer.status_code == 200) == (scope is Scope.HEALTH), (role, scope)

"""`hilum check`: each fault is found, named, and comes with what to do about it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pynetdicom.sop_class import StorageCommitmentPushModel
from typer.testing import CliRunner

from daemon import check, clock
from daemon.check import Finding
from daemon.cli import app
from daemon.contexts import (
    BASIC_TEXT_SR,
    COMPREHENSIVE_SR,
    PRESENTATION_STATE,
    SECONDARY_CAPTURE,
    VERIFICATION,
)
from daemon.settings import load
from storage.accounts import Accounts
from storage.database import open_database
from storage.outbox import Outbox
from storage.peers import Peers
from storage.people import NewAccount, Role
from storage.records import DeliveryState, Form, NewObject, Peer
from tests.archive import Archive
from tests.harness import free_port, write_config
from tests.storing import analysed, arrival, make_report, new_report, open_storage, sha256

Look = Callable[..., dict[str, Finding]]


@pytest.fixture
def look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Look:
    """Check a service with this PACS and these settings; findings by what was looked at."""
    monkeypatch.setattr(check, "_model", lambda *_: ())  # has tests of its own, and takes seconds

    def run(port: int | None, **sections: dict[str, object]) -> dict[str, Finding]:
        config = write_config(tmp_path, port, **sections)
        findings = check.run(load(config), config)
        check.table(findings)
        return {finding.what: finding for finding in findings}

    return run


@pytest.fixture
def archive() -> Iterator[Archive]:
    """A PACS that is not started; the test says what it takes."""
    peer = Archive()
    yield peer
    peer.stop()


def started(archive: Archive, *classes: str) -> int:
    archive.contexts = classes
    return archive.start().port


def test_a_pacs_that_takes_everything(look: Look, archive: Archive) -> None:
    port = started(archive, VERIFICATION, COMPREHENSIVE_SR, SECONDARY_CAPTURE)
    found = look(port, dicom={"allowed_callers": ["CR1@10.0.0.5"]})
    advised = [one.what for one in found.values() if not one.good or one.remedy]
    assert advised == ["pages"], found  # nobody can sign in yet
    assert "answers C-ECHO; reports go as Comprehensive SR" in found["PACS test"].says
    assert found["PACS test: heat maps"].says == "go as Secondary Capture Image Storage"
    assert archive.ends == ["released"]


def test_a_step_down_is_said_and_is_no_fault(look: Look, archive: Archive) -> None:
    found = look(started(archive, VERIFICATION, BASIC_TEXT_SR))
    assert found["PACS test"].good
    assert "reports go as Basic Text SR Storage" in found["PACS test"].says
    assert "Comprehensive SR" in found["PACS test"].remedy
    assert found["PACS test: heat maps"].good
    assert "does not take Secondary Capture" in found["PACS test: heat maps"].says


def test_a_pacs_that_takes_no_report_is_a_fault(look: Look, archive: Archive) -> None:
    found = look(started(archive, VERIFICATION))["PACS test"]
    assert not found.good
    assert "answers C-ECHO; the PACS takes none of" in found.says
    assert COMPREHENSIVE_SR in found.remedy


def test_contours_are_asked_for_where_they_are_set(look: Look, archive: Archive) -> None:
    port = started(archive, VERIFICATION, COMPREHENSIVE_SR, PRESENTATION_STATE)
    found = look(port, report={"heat_map": "gsps"})
    assert "Presentation State" in found["PACS test: heat maps"].says
    assert "PACS test: heat maps" not in look(port, report={"heat_map": "none"})


def test_what_reports_go_as_until_now_is_said(look: Look, archive: Archive, tmp_path: Path) -> None:
    storage = open_database(f"sqlite:///{tmp_path / 'root' / 'hilum.sqlite'}")
    (tmp_path / "root").mkdir()
    storage.migrate(tmp_path / "backups")
    Peers(storage).learn(Peer("test", "", {BASIC_TEXT_SR: "1.2.840.10008.1.2"}, time.time()))
    storage.close()
    found = look(started(archive, VERIFICATION, COMPREHENSIVE_SR))["PACS test"]
    assert found.good
    assert "until now as Basic Text SR Storage" in found.remedy


@pytest.mark.parametrize(
    ("callers", "good"), [(["CR1@10.0.0.5"], False), (["TESTPACS@127.0.0.1"], True)]
)
def test_the_way_of_a_commitment_report_is_looked_at(
    look: Look, archive: Archive, callers: list[str], good: bool
) -> None:
    port = started(archive, VERIFICATION, COMPREHENSIVE_SR, StorageCommitmentPushModel)
    found = look(
        port, dicom={"allowed_callers": callers}, pacs={"storage_commitment": True}
    )["PACS test: commitment"]  # fmt: skip
    assert found.good is good
    assert good or found.remedy == 'add "TESTPACS@127.0.0.1" to dicom.allowed_callers'


def test_a_pacs_without_commitment_is_named(look: Look, archive: Archive) -> None:
    port = started(archive, VERIFICATION, COMPREHENSIVE_SR)
    found = look(port, pacs={"storage_commitment": True})["PACS test: commitment"]
    assert not found.good
    assert "does not offer" in found.says


def test_a_pacs_that_does_not_answer(look: Look) -> None:
    found = look(free_port())["PACS test"]
    assert not found.good
    assert "check pacs.host and pacs.port" in found.remedy


def test_a_pacs_that_rejects_us(look: Look, archive: Archive) -> None:
    port = started(archive, VERIFICATION, COMPREHENSIVE_SR)
    archive._server.ae.require_called_aet = True
    archive._server.ae_title = "ELSE"
    found = look(port)["PACS test"]
    assert not found.good
    assert "rejected" in found.says
    assert "AE title HILUM" in found.remedy


def test_a_full_disk(look: Look) -> None:
    found = look(None, storage={"reserve_bytes": 1 << 60})["storage"]
    assert not found.good
    assert "free some space" in found.remedy


def test_what_was_given_up_is_a_fault(look: Look, tmp_path: Path) -> None:
    storage = open_storage(tmp_path / "root")
    make_report(storage, "7.1", "9.1", 100, "test", "gone")
    (delivery,) = Outbox(storage.database).claim("test", 9, "d1", 60, 100)
    Outbox(storage.database).dead(delivery, "C000", "refused", 101)
    assert Outbox(storage.database).counts()["test"] == {DeliveryState.DEAD: 1}
    storage.database.close()
    (tmp_path / "root" / "hilum.db").rename(tmp_path / "root" / "hilum.sqlite")
    found = look(None)["reports"]
    assert not found.good
    assert "1 refused by test for good" in found.says
    assert "1 wait for gone, which is not configured" in found.says
    assert "hilum queue retry" in found.remedy


def test_a_damaged_database(look: Look, tmp_path: Path) -> None:
    storage = open_storage(tmp_path / "root")
    storage.database.close()
    file = tmp_path / "root" / "hilum.db"
    content = bytearray(file.read_bytes())
    content[5000:9000] = bytes(4000)
    (tmp_path / "root" / "hilum.sqlite").write_bytes(content)
    found = look(None)
    assert not found["database"].good
    assert "backup" in found["database"].remedy
    assert "clock" in found  # the rest was looked at all the same


def test_an_older_schema_is_said(look: Look, tmp_path: Path) -> None:
    storage = open_storage(tmp_path / "root")
    with storage.database.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0001'")
    storage.database.close()
    (tmp_path / "root" / "hilum.db").rename(tmp_path / "root" / "hilum.sqlite")
    found = look(None)["database"]
    assert found.good
    assert "schema 0001" in found.says
    assert "the next start makes a copy" in found.remedy


def test_the_pages_say_where_they_are_and_how_the_first_account_is_made(
    look: Look, tmp_path: Path
) -> None:
    found = look(None, web={"port": 8080})["pages"]
    assert found.good
    assert found.says == "http://127.0.0.1:8080, this machine alone; nobody can sign in yet"
    assert "hilum user add LOGIN --role administrator --config" in found.remedy
    storage = open_storage(tmp_path / "root")
    new = NewAccount("ann", "Ann", "Ann", "", Role.RADIOLOGIST, password_hash="x")
    Accounts(storage.database).add(new, 1.0)
    storage.database.close()
    file = (tmp_path / "root" / "hilum.db").rename(tmp_path / "root" / "hilum.sqlite")
    found = look(None, web={"port": 8080})["pages"]
    assert "1 radiologists, 0 administrators" in found.says
    assert "--role administrator" in found.remedy, "nobody runs it"
    database = open_database(f"sqlite:///{file}")
    Accounts(database).add(replace(new, login="ada", role=Role.ADMINISTRATOR), 1.0)
    database.close()
    assert look(None, web={"port": 8080})["pages"].remedy == ""


def test_a_certificate_that_cannot_be_used_is_a_fault(look: Look, tmp_path: Path) -> None:
    (tmp_path / "cert.pem").write_text("no certificate")
    tls = look(None, **{"web.tls": {"certificate": str(tmp_path / "cert.pem"), "key": "none.pem"}})
    assert not tls["pages"].good
    assert "cannot be used" in tls["pages"].says
    assert "web.tls.certificate" in tls["pages"].remedy


NOON = 1_767_268_800.0  # 2026-01-01 12:00 UTC


@pytest.mark.parametrize(
    ("newest", "now", "good", "says"),
    [
        (None, NOON, True, "year and last image fit"),
        (NOON - 10, NOON, True, "year and last image fit"),
        (NOON + 3600, NOON, False, "3600 s behind the last image received"),
        (None, 86_400.0, False, "the year cannot be right"),
    ],
)
def test_the_clock(newest: float | None, now: float, good: bool, says: str) -> None:
    judged, found, remedy = clock.look(newest, now)
    assert judged is good
    assert says in found
    assert good or "NTP" in remedy


def test_the_queue_shows_what_was_sent_and_what_was_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = open_storage(tmp_path / "root")
    study = storage.studies
    make_report(storage, "7.1", "9.1", 100, "test")
    storage.queue.accept(arrival("1.8", received_at=200))
    job = storage.queue.claim("w1", 60, 200)
    assert job is not None
    storage.queue.finish(job, analysed(), "9.2", 0, 200)
    due = study.claim_due("w1", 60, 200)
    assert due is not None
    beside = NewObject("7.2.1", SECONDARY_CAPTURE, sha256("map"), 9)
    made = replace(new_report("7.2"), companions=(beside,))
    study.reported(due, made, ["test"], 200)
    first, _, heat_map = storage.outbox.claim("test", 9, "d1", 60, 200)
    storage.outbox.stored(first, "0000", 201, Form(BASIC_TEXT_SR, "7.1.9"))
    storage.outbox.not_taken(heat_map, "no context", "the PACS does not take it", 201)
    storage.database.close()
    (tmp_path / "root" / "hilum.db").rename(tmp_path / "root" / "hilum.sqlite")

    monkeypatch.setenv("COLUMNS", "250")
    config = write_config(tmp_path, None)
    shown = CliRunner().invoke(app, ["queue", "list", "--config", str(config)]).stdout
    lines = [line for line in shown.splitlines() if "test" in line]
    assert any("report: Basic Text SR Storage" in line and "7.1.9" in line for line in lines)
    assert any("heat map: Secondary Capture" in line and "not_taken" in line
               and "the PACS does not take it" in line for line in lines)  # fmt: skip

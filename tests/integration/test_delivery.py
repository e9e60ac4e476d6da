"""Delivery to a scripted PACS: stored once, in order, whatever the PACS answers."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon import association as associations
from daemon import courier as rules
from daemon import delivery
from daemon.process import Bell
from storage.records import DeliveryState
from tests.archive import Archive
from tests.couriers import Bench, Never, document
from tests.harness import Pacs, free_port, until


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "FIRST_DELAY_S", 0.05)
    monkeypatch.setattr(rules, "LAST_DELAY_S", 0.2)


@pytest.fixture
def bench(tmp_path: Path, pacs: Pacs) -> Iterator[Bench]:
    one = Bench(tmp_path, pacs)
    yield one
    one.close()


@pytest.fixture
def archive() -> Iterator[Archive]:
    peer = Archive().start()
    yield peer
    peer.silent = False
    peer.stop()


@pytest.fixture
def archived(tmp_path: Path, archive: Archive) -> Iterator[Bench]:
    """A bench that delivers to the archive."""
    one = Bench(tmp_path, archive)
    yield one
    one.close()


def test_a_report_is_stored_once(bench: Bench, pacs: Pacs) -> None:
    uid = bench.report("1.9.1")
    bench.run(bench.all_in(DeliveryState.STORED))
    assert [str(one.SOPInstanceUID) for one in pacs.stored] == [uid]
    assert bench.rows()[0].last_status == "0000"
    assert bench.courier.step(Never()) > 0
    assert pacs.asked == 1


@pytest.mark.parametrize("status", [0xA700, 0xA7FF, 0x0110])
def test_what_may_pass_is_tried_again(bench: Bench, pacs: Pacs, status: int) -> None:
    pacs.answers = [status, status]
    bench.report("1.9.1")
    bench.run(bench.all_in(DeliveryState.STORED))
    assert (pacs.asked, len(pacs.stored)) == (3, 1)
    assert bench.rows()[0].attempts == 3


@pytest.mark.parametrize("status", [0xA900, 0xA9FF, 0xC000, 0xCFFF, 0x0122])
def test_a_refusal_is_a_dead_letter_that_can_be_retried_by_hand(
    bench: Bench, pacs: Pacs, status: int
) -> None:
    pacs.answers = [status]
    bench.report("1.9.1")
    bench.run(bench.all_in(DeliveryState.DEAD))
    assert bench.rows()[0].last_status == f"{status:04X}"
    assert bench.courier.step(Never()) > 0
    bench.outbox.retry_by_hand(bench.rows()[0].id, time.time())
    bench.run(bench.all_in(DeliveryState.STORED))
    assert len(pacs.stored) == 1


@pytest.mark.parametrize("status", [0xB000, 0xB006, 0xB007])
def test_a_warning_counts_as_stored(bench: Bench, pacs: Pacs, status: int) -> None:
    pacs.answers = [status]
    bench.report("1.9.1")
    bench.run(bench.all_in(DeliveryState.STORED))
    assert bench.rows()[0].last_status == f"{status:04X}"


def test_an_abort_is_no_answer(archived: Bench, archive: Archive) -> None:
    archive.aborts = 2
    uid = archived.report("1.9.1")
    archived.run(archived.all_in(DeliveryState.STORED))
    assert [str(one.SOPInstanceUID) for one in archive.stored] == [uid]
    assert archived.rows()[0].attempts == 3


def test_a_pacs_that_is_down_gets_all_of_it_when_it_is_back(bench: Bench, pacs: Pacs) -> None:
    port = pacs.port
    pacs.stop()
    uids = [bench.report(f"1.9.{number}") for number in range(20)]
    for _ in range(3):
        assert bench.courier.step(Never()) > 0
    assert bench.all_in(DeliveryState.PENDING)()
    assert {row.attempts for row in bench.rows()} == {0}  # nothing was sent
    pacs.start(port)
    bench.run(bench.all_in(DeliveryState.STORED))
    assert sorted(str(one.SOPInstanceUID) for one in pacs.stored) == sorted(uids)


def test_versions_of_a_study_arrive_in_their_order(bench: Bench, pacs: Pacs) -> None:
    first = bench.report("1.9.1")
    pacs.answers = [0xA700]
    bench.courier.step(Never())
    second = bench.report("1.9.1")
    bench.run(bench.all_in(DeliveryState.STORED))
    assert [str(one.SOPInstanceUID) for one in pacs.stored] == [first, second]


def test_one_bad_report_does_not_hold_the_others_back(bench: Bench, pacs: Pacs) -> None:
    pacs.answers = [0xC000]
    for number in range(5):
        bench.report(f"1.9.{number}")
    bench.run(lambda: len(pacs.stored) == 4)
    assert sorted(row.state for row in bench.rows()) == [DeliveryState.DEAD] + (
        [DeliveryState.STORED] * 4
    )


def test_a_silent_pacs_holds_no_thread_and_gets_one_copy(bench: Bench, pacs: Pacs) -> None:
    """The PACS stores, but its answer comes after our time-out: the resend is the same object."""
    pacs.silence_s = 1.6
    uid = bench.report("1.9.1")
    started = time.monotonic()
    bench.courier.step(Never())
    assert time.monotonic() - started < 1 + 5
    pacs.silence_s = 0.0
    bench.run(bench.all_in(DeliveryState.STORED))
    assert {str(one.SOPInstanceUID) for one in pacs.stored} == {uid}


@pytest.mark.alone
def test_a_pacs_that_falls_silent_on_a_kept_association_holds_us_for_one_time_out(
    archived: Bench, archive: Archive
) -> None:
    archived.report("1.9.1")
    archived.run(archived.all_in(DeliveryState.STORED))
    archive.silent = True
    archived.report("1.9.2")
    started = time.monotonic()
    archived.courier.step(Never())
    assert time.monotonic() - started < 1 + 0.9


def test_a_pacs_that_stops_reading_holds_no_thread(tmp_path: Path) -> None:
    """It accepts the connection and nothing more: neither a read nor a write waits for ever."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        mute = Pacs(port=server.getsockname()[1])
        bench = Bench(tmp_path, mute)
        bench.report("1.9.1")
        started = time.monotonic()
        assert bench.courier.step(Never()) > 0
        assert time.monotonic() - started < 1 + 5
        assert bench.rows()[0].state is DeliveryState.PENDING
        bench.close()


def test_a_pacs_that_stops_reading_in_a_report_holds_no_thread(
    tmp_path: Path, archive: Archive
) -> None:
    with Gate(archive.port) as gate:
        bench = Bench(tmp_path, Pacs(port=gate.port))
        big = document("1.2.3.99", "1.9.1")
        big.TextValue = "x" * (30 << 20)  # more than the sockets' buffers hold
        bench.report("1.9.1", big)
        gate.limit = 1 << 20
        started = time.monotonic()
        bench.courier.step(Never())
        assert time.monotonic() - started < 1 + 5
        (row,) = bench.rows()
        assert (row.state, row.last_status) == (DeliveryState.PENDING, "no answer")
        gate.limit = None
        bench.run(bench.all_in(DeliveryState.STORED))
        bench.close()
    assert {str(one.SOPInstanceUID) for one in archive.stored} == {"1.2.3.99"}


def test_a_wrong_ae_title_waits_and_says_so(bench: Bench, pacs: Pacs) -> None:
    pacs._server.ae.require_called_aet = True
    pacs._server.ae_title = "ELSE"
    bench.report("1.9.1")
    bench.courier.step(Never())
    (row,) = bench.rows()
    assert row.state is DeliveryState.PENDING
    assert "rejected" in (row.last_error or "")


def test_a_damaged_report_is_not_sent(bench: Bench, pacs: Pacs) -> None:
    bench.report("1.9.1")
    path = bench.objects.path(bench.outbox.open_objects()[0])
    content = bytearray(path.read_bytes())
    content[200] ^= 1
    path.chmod(0o600)
    path.write_bytes(content)
    bench.courier.step(Never())
    assert bench.rows()[0].state is DeliveryState.DEAD
    assert pacs.asked == 0


@pytest.mark.alone
def test_a_port_where_nobody_listens_is_unreachable_and_not_asked_at_each_ring(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "FIRST_DELAY_S", 60.0)
    monkeypatch.setattr(rules, "LAST_DELAY_S", 60.0)
    bench = Bench(tmp_path, Pacs(port=free_port()))
    bench.report("1.9.1")
    assert bench.courier.step(Never()) >= 29
    began = time.monotonic()
    assert bench.courier.step(Never()) >= 29
    assert time.monotonic() - began < 0.2
    assert bench.all_in(DeliveryState.PENDING)()
    bench.close()


def test_an_association_is_kept_for_the_next_report_and_then_released(
    archived: Bench, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        archived.report(f"1.9.{number}")
        archived.run(archived.all_in(DeliveryState.STORED))
    assert (len(archive.proposals), len(archive.stored)) == (1, 3)
    assert archive.ends == []
    monkeypatch.setattr(associations, "KEEP_S", 0.0)
    archived.courier.step(Never())
    until(lambda: archive.ends == ["released"])


def test_a_kept_association_that_has_died_is_replaced_at_once(
    archived: Bench, archive: Archive
) -> None:
    archived.report("1.9.1")
    archived.run(archived.all_in(DeliveryState.STORED))
    archive.hang_up()
    archived.report("1.9.2")
    assert archived.courier.step(Never()) == 0
    assert archived.all_in(DeliveryState.STORED)()
    assert {row.attempts for row in archived.rows()} == {1}
    assert len(archive.proposals) == 2


def test_the_association_is_released_at_the_end(archived: Bench, archive: Archive) -> None:
    archived.report("1.9.1")
    archived.run(archived.all_in(DeliveryState.STORED))
    archived.courier.end()
    until(lambda: archive.ends == ["released"])


def test_a_ring_has_the_report_sent_at_once(
    archived: Bench, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "POLL_S", 60.0)
    bell, stop = Bell(), Told()
    thread = threading.Thread(target=delivery.keep_at, args=(archived.courier, stop, bell))
    thread.start()
    try:
        until(lambda: stop.looked)
        archived.report("1.9.1")
        bell.ring()
        until(archived.all_in(DeliveryState.STORED), 5)
    finally:
        stop.told = True
        bell.ring()
        thread.join(5)
    assert not thread.is_alive()
    until(lambda: archive.ends == ["released"])


def test_a_fault_gives_the_claims_back(archived: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_down(*_: object) -> None:
        stop.told = failed.is_set()
        failed.set()
        raise RuntimeError

    failed, stop = threading.Event(), Told()
    monkeypatch.setattr(delivery, "FAULT_S", 0.01)
    monkeypatch.setattr(archived.courier, "_deliver", break_down)
    archived.report("1.9.1")
    delivery.keep_at(archived.courier, stop, Bell())
    archived.courier.mend()
    assert archived.rows()[0].state is DeliveryState.PENDING


class Gate:
    """A TCP proxy that passes so many bytes of each connection to the PACS, and no more."""

    def __init__(self, to: int) -> None:
        self.limit: int | None = None
        self._to = to
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])

    def __enter__(self) -> Gate:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()

    def _serve(self) -> None:
        while True:
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._to))
            for one, other, limit in ((near, far, self.limit), (far, near, None)):
                threading.Thread(target=self._pass, args=(one, other, limit), daemon=True).start()

    @staticmethod
    def _pass(one: socket.socket, other: socket.socket, limit: int | None) -> None:
        passed = 0
        try:
            while limit is None or passed < limit:
                piece = one.recv(65536)
                if not piece:
                    other.close()
                    return
                other.sendall(piece)
                passed += len(piece)
        except OSError:
            return


class Told:
    """A stop signal that a test gives, and that knows how often it was looked at."""

    def __init__(self) -> None:
        self.told, self.looked = False, 0
        self.descriptor = os.eventfd(0)

    def __bool__(self) -> bool:
        self.looked += 1
        return self.told

"""Delivery to a scripted PACS: stored once, in order, whatever the PACS answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom.sop_class import BasicTextSRStorage, ComprehensiveSRStorage, Verification

from daemon import delivery as rules
from daemon.delivery import Courier
from daemon.report import encode
from daemon.settings import PacsSettings
from storage.database import Database, open_database
from storage.objects import ObjectStore
from storage.outbox import Outbox
from storage.queue import Queue
from storage.records import (
    Arrival,
    DeliveryRow,
    DeliveryState,
    NewReport,
    Result,
    ResultStatus,
    Sha256,
)
from storage.studies import Studies
from tests.harness import Pacs, free_port


class Never:
    """A stop signal that is not given."""

    def __bool__(self) -> bool:
        return False

    def wait(self, seconds: float) -> bool:
        time.sleep(min(seconds, 0.05))
        return False


class Bench:
    """A storage with reports in its outbox, and a courier for them."""

    def __init__(self, root: Path, pacs: Pacs, monkeypatch: pytest.MonkeyPatch) -> None:
        self.database: Database = open_database(f"sqlite:///{root / 'hilum.sqlite'}")
        self.database.migrate(root / "backups")
        self.objects = ObjectStore(root)
        self.queue = Queue(self.database)
        self.studies = Studies(self.database)
        self.outbox = Outbox(self.database)
        settings = PacsSettings(
            name="test", ae_title=pacs.ae_title, host="127.0.0.1", port=pacs.port, timeout_s=1
        )
        self.courier = Courier(settings, "HILUM", self.outbox, self.objects, "delivery")
        monkeypatch.setattr(rules, "FIRST_DELAY_S", 0.05)
        monkeypatch.setattr(rules, "LAST_DELAY_S", 0.2)

    def report(self, study: str, sop_class: str = ComprehensiveSRStorage) -> str:
        """Put one more image, and so one more report, of the study into the storage."""
        now = time.time()
        number = len(self.queue.rows())
        arrival = Arrival(
            f"1.2.{number}", "1.2.840.10008.5.1.4.1.1.1", ExplicitVRLittleEndian,
            Sha256(f"{number:064}"), 1, "CR1", "HILUM", "127.0.0.1", now,
        )  # fmt: skip
        self.queue.accept(arrival)
        job = self.queue.claim("w", 30, now)
        assert job is not None
        result = Result(ResultStatus.NOT_ANALYSED, reason_code="too_small", reason="small")
        self.queue.finish(job, result, study, 0.0, now)
        claim = self.studies.claim_due("w", 30, now + 1)
        assert claim is not None
        dataset = document(f"1.2.3.{number}", study, sop_class)
        stored = self.objects.put(encode(dataset))
        self.studies.reported(
            claim,
            NewReport(dataset.SOPInstanceUID, sop_class, stored.sha256, stored.size_bytes, now),
            ["test"],
            now,
        )
        return str(dataset.SOPInstanceUID)

    def run(self, condition: Callable[[], object], seconds: float = 10.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, self.rows()
            if not self.courier.step(Never()):
                time.sleep(0.02)

    def rows(self) -> list[DeliveryRow]:
        return self.outbox.rows()

    def all_in(self, state: DeliveryState) -> Callable[[], bool]:
        return lambda: all(row.state is state for row in self.rows())


def document(uid: str, study: str, sop_class: str) -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.StudyInstanceUID = sop_class, uid, study
    dataset.Modality = "SR"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = sop_class
    dataset.file_meta.MediaStorageSOPInstanceUID = uid
    return dataset


@pytest.fixture
def bench(tmp_path: Path, pacs: Pacs, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    one = Bench(tmp_path, pacs, monkeypatch)
    yield one
    one.database.close()


def test_a_report_is_stored_once(bench: Bench, pacs: Pacs) -> None:
    uid = bench.report("1.9.1")
    bench.run(bench.all_in(DeliveryState.STORED))
    assert [str(one.SOPInstanceUID) for one in pacs.stored] == [uid]
    assert bench.rows()[0].last_status == "0000"
    assert bench.courier.step(Never()) is False
    assert pacs.asked == 1


@pytest.mark.parametrize("status", [0xA700, 0x0110])
def test_what_may_pass_is_tried_again(bench: Bench, pacs: Pacs, status: int) -> None:
    pacs.answers = [status, status]
    bench.report("1.9.1")
    bench.run(bench.all_in(DeliveryState.STORED))
    assert (pacs.asked, len(pacs.stored)) == (3, 1)
    assert bench.rows()[0].attempts == 3


@pytest.mark.parametrize("status", [0xA900, 0xC000, 0x0122])
def test_a_refusal_is_a_dead_letter_that_can_be_retried_by_hand(
    bench: Bench, pacs: Pacs, status: int
) -> None:
    pacs.answers = [status]
    bench.report("1.9.1")
    bench.run(bench.all_in(DeliveryState.DEAD))
    assert bench.rows()[0].last_status == f"{status:04X}"
    assert bench.courier.step(Never()) is False
    bench.outbox.retry_by_hand(bench.rows()[0].id, time.time())
    bench.run(bench.all_in(DeliveryState.STORED))
    assert len(pacs.stored) == 1


def test_a_warning_counts_as_stored(bench: Bench, pacs: Pacs) -> None:
    pacs.answers = [0xB000]
    bench.report("1.9.1")
    bench.run(bench.all_in(DeliveryState.STORED))
    assert bench.rows()[0].last_status == "B000"


def test_a_pacs_that_is_down_gets_all_of_it_when_it_is_back(bench: Bench, pacs: Pacs) -> None:
    port = pacs.port
    pacs.stop()
    uids = [bench.report(f"1.9.{number}") for number in range(20)]
    for _ in range(3):
        assert bench.courier.step(Never()) is False
    assert bench.all_in(DeliveryState.PENDING)()
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


def test_a_pacs_that_takes_no_such_object_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    narrow = Pacs(contexts=(BasicTextSRStorage, Verification)).start()
    bench = Bench(tmp_path, narrow, monkeypatch)
    try:
        bench.report("1.9.1")
        bench.courier.step(Never())
        (row,) = bench.rows()
        assert row.state in (DeliveryState.DEAD, DeliveryState.PENDING)
        assert row.last_error
        assert narrow.stored == []
    finally:
        narrow.stop()
        bench.database.close()


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


def test_a_port_where_nobody_listens_is_unreachable(bench: Bench) -> None:
    bench.courier._pacs = bench.courier._pacs.model_copy(update={"port": free_port()})
    bench.report("1.9.1")
    assert bench.courier.step(Never()) is False
    assert bench.all_in(DeliveryState.PENDING)()

"""Storage commitment with a scripted archive: both ways of the report, failures, restarts."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance

from daemon import commitment as rules
from daemon import demo_peers
from daemon.commitment import Notary, Receiver
from daemon.listener import Listener
from daemon.report import build_report
from daemon.settings import DicomSettings, Settings
from storage.commitments import MAX_RESENT, Commitments
from storage.records import DeliveryState
from tests.archive import Archive, Committer
from tests.couriers import Bench, Never
from tests.harness import Orthanc, until
from tests.reporting import ANALYSED, CREATED_AT, DEVICE, header, headers, study


class Office(Bench):
    """A bench whose PACS is asked to commit, with a notary and a listener for the reports."""

    def __init__(self, root: Path, archive: Committer, **settings: object) -> None:
        super().__init__(root, archive, storage_commitment=True, **settings)
        self.commitments = Commitments(self.database)
        self.notary = Notary(self.settings, "HILUM", self.commitments)
        own = Settings(dicom=DicomSettings(bind="127.0.0.1", port=0))
        receiver = Receiver(lambda: self.commitments)
        self.listener = Listener(own, self.objects, lambda: self.queue, receiver=receiver)
        archive.listener_port = self.listener.start()

    def close(self) -> None:
        self.listener.stop(0.5)
        super().close()

    def run_both(self, condition: Callable[[], object], seconds: float = 25.0) -> None:
        """Deliver and ask until the condition holds."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, self.rows()
            wait_s = min(self.courier.step(Never()), self.notary.step(Never()))
            time.sleep(min(wait_s, 0.02))


@pytest.fixture
def archive() -> Iterator[Committer]:
    peer = Committer().start()
    yield peer
    peer.stop()


@pytest.fixture
def office(tmp_path: Path, archive: Committer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Office]:
    monkeypatch.setattr(rules, "REPORT_S", 0.6)
    monkeypatch.setattr(rules, "RESEND_S", 0.0)
    one = Office(tmp_path, archive, commitment_timeout_s=2)
    yield one
    one.close()


@pytest.mark.parametrize("way", ["same", "new"])
def test_what_is_stored_is_committed(office: Office, archive: Committer, way: str) -> None:
    archive.report = way
    uids = [office.report(f"1.9.{number}") for number in range(3)]
    office.run(lambda: len(archive.stored) == 3)
    assert {row.state for row in office.rows()} == {DeliveryState.COMMITTING}
    office.run_both(office.all_in(DeliveryState.COMMITTED))
    (request,) = archive.requests
    assert {str(item.ReferencedSOPInstanceUID) for item in request.ReferencedSOPSequence} == {*uids}
    until(lambda: archive.statuses == [0x0000])
    assert "aborted" not in archive.ends


def test_a_report_without_role_selection_is_taken(office: Office, archive: Committer) -> None:
    """Some archives leave it out when they report on an association of their own."""
    archive.report = "never"
    office.report("1.9.1")
    office.run_both(lambda: archive.requests)
    archive.report_anew(archive.requests[0], role=False)
    assert office.all_in(DeliveryState.COMMITTED)()


def test_a_failure_is_sent_again_with_its_reason_and_bounded(
    office: Office, archive: Committer
) -> None:
    bad, good = office.report("1.9.1"), office.report("1.9.2")
    archive.fails = {bad: 0x0112}
    office.run_both(lambda: office.row(bad).state is DeliveryState.DEAD)
    assert office.row(good).state is DeliveryState.COMMITTED
    assert office.row(bad).last_error == "storage commitment failed: 0112H no such object instance"
    stored = [str(one.SOPInstanceUID) for one in archive.stored]
    assert stored.count(bad) == 1 + MAX_RESENT
    assert stored.count(good) == 1


def test_a_failure_that_passes_is_committed(office: Office, archive: Committer) -> None:
    uid = office.report("1.9.1")
    archive.fails = {uid: 0x0110}
    office.run_both(lambda: len(archive.stored) == 2)
    archive.fails = {}
    office.run_both(office.all_in(DeliveryState.COMMITTED))


def test_without_an_answer_it_is_asked_again(office: Office, archive: Committer) -> None:
    archive.report = "never"
    office.report("1.9.1")
    office.run_both(lambda: archive.requests)
    archive.report = "same"
    asked = time.monotonic()
    office.run_both(office.all_in(DeliveryState.COMMITTED))
    assert time.monotonic() - asked > 1  # not before its time
    assert len({str(request.TransactionUID) for request in archive.requests}) == 2


def test_a_refused_request_is_made_again(office: Office, archive: Committer) -> None:
    archive.refuses = 0x0213
    office.report("1.9.1")
    office.run_both(office.all_in(DeliveryState.COMMITTED))
    assert len(archive.requests) == 1


def test_an_archive_without_the_service_is_named(tmp_path: Path) -> None:
    plain = Archive().start()
    bench = Bench(tmp_path, plain, storage_commitment=True)
    try:
        bench.report("1.9.1")
        bench.run(lambda: plain.stored)
        notary = Notary(bench.settings, "HILUM", Commitments(bench.database))
        assert notary.step(Never()) == 0
        (row,) = bench.rows()
        assert row.state is DeliveryState.COMMITTING
        assert row.last_error == "the PACS does not offer storage commitment"
        assert notary.step(Never()) > 0
    finally:
        bench.close()
        plain.stop()


def test_a_restart_between_request_and_report_loses_nothing(
    tmp_path: Path, archive: Committer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "REPORT_S", 0.1)
    archive.report = "never"
    before = Office(tmp_path, archive)
    before.report("1.9.1")
    before.run_both(lambda: archive.requests)
    before.close()
    after = Office(tmp_path, archive)
    try:
        assert after.notary.step(Never()) > 0  # asked already
        archive.report_anew(archive.requests[0])
        assert after.all_in(DeliveryState.COMMITTED)()
        assert archive.statuses == [0x0000]
    finally:
        after.close()


def test_a_report_of_no_transaction_of_ours_changes_nothing(
    office: Office, archive: Committer
) -> None:
    archive.report = "never"
    office.report("1.9.1")
    office.run_both(lambda: archive.requests)
    forged = Dataset()
    forged.TransactionUID = "1.2.3.4"
    forged.ReferencedSOPSequence = archive.requests[0].ReferencedSOPSequence
    archive.report_anew(forged)
    assert archive.statuses == [0x0115]
    assert office.all_in(DeliveryState.COMMITTING)()


def test_a_hostile_report_is_refused_and_the_next_is_taken(
    office: Office, archive: Committer
) -> None:
    archive.report = "never"
    office.report("1.9.1")
    office.run_both(lambda: archive.requests)
    nested = Dataset()
    for _ in range(200):
        outer = Dataset()
        outer.ReferencedSOPSequence = [nested]
        nested = outer
    nested.TransactionUID = archive.requests[0].TransactionUID
    nested.ReferencedSOPSequence = [*nested.ReferencedSOPSequence, Dataset()]
    long = Dataset()
    long.TransactionUID = archive.requests[0].TransactionUID
    long.ReferencedSOPSequence = []
    long.TextValue = "x" * (2 << 20)
    for bad in (nested, long):
        archive.report_anew(archive.requests[0], information=bad)
    assert office.all_in(DeliveryState.COMMITTING)()
    archive.report_anew(archive.requests[0])
    assert office.all_in(DeliveryState.COMMITTED)()
    assert archive.statuses[-1] == 0x0000


@pytest.mark.usefixtures("office")
def test_nobody_can_ask_us_to_commit(archive: Committer) -> None:
    entity = AE(ae_title="CR1")
    entity.add_requested_context(StorageCommitmentPushModel)
    association = entity.associate("127.0.0.1", archive.listener_port, ae_title="HILUM")
    assert association.is_established
    information = Dataset()
    information.TransactionUID = "1.2.3"
    status, _ = association.send_n_action(
        information, 1, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
    )
    association.release()
    assert status.Status == 0x0211


@pytest.mark.peer
@pytest.mark.skipif(shutil.which("Orthanc") is None, reason="Orthanc is not installed")
def test_orthanc_commits_on_an_association_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = Committer(port=1)  # not started: it only learns the port of our listener
    office = Office(tmp_path, archive)
    plain = demo_peers.orthanc_settings

    def known(*arguments: object) -> dict[str, object]:
        """Tell Orthanc where to report."""
        settings = plain(*arguments)  # type: ignore[arg-type]
        settings["DicomModalities"] = {
            "hilum": {"AET": "HILUM", "Host": "127.0.0.1", "Port": archive.listener_port}
        }
        return settings

    monkeypatch.setattr(demo_peers, "orthanc_settings", known)
    orthanc = Orthanc(tmp_path / "orthanc")
    orthanc.start()
    try:
        office.settings = office.settings.model_copy(
            update={"port": orthanc.dicom_port, "timeout_s": 10.0}
        )
        office.courier = office.another()
        office.notary = Notary(office.settings, "HILUM", office.commitments)
        image = (header(), ANALYSED)
        office.report("1.9.1", build_report(study(image), headers(image), DEVICE, CREATED_AT))
        office.run_both(office.all_in(DeliveryState.COMMITTED))
        assert len(orthanc.reports()) == 1
        # Deleted there, and asked for once more: Orthanc cannot commit to it, and gets it again
        for study_id in orthanc.get("/studies"):
            url = f"http://127.0.0.1:{orthanc.http_port}/studies/{study_id}"
            urlopen(Request(url, method="DELETE"), timeout=10).close()
        with office.database.write() as connection:
            connection.exec_driver_sql(
                "UPDATE delivery SET state = 'committing', next_attempt_at = 0"
            )
        monkeypatch.setattr(rules, "RESEND_S", 0.0)
        office.run_both(lambda: "0112H" in str(office.rows()[0].last_error))
        office.run_both(office.all_in(DeliveryState.COMMITTED))
        assert len(orthanc.reports()) == 1
    finally:
        orthanc.stop()
        office.close()

"""The listener over TCP: what it takes, what it refuses, and that 0000H means durable."""

from __future__ import annotations

import hashlib
import select
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
)
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode

from daemon import admission, contexts, transport
from storage.records import JobState
from tests.listening import Bench
from tests.pdus import request

UID = "1.2.826.0.1.3680043.10.1.1"


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    one = Bench(tmp_path)
    yield one
    one.close()


def image(uid: str = UID, fill: int = 7) -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID = contexts.COMPUTED_RADIOGRAPHY
    dataset.SOPInstanceUID = uid
    dataset.StudyInstanceUID = "1.2.3"
    dataset.PatientName = "Secret^Name"
    dataset.Rows = dataset.Columns = 16
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.PixelRepresentation = 0
    dataset.PixelData = bytes([fill]) * 256
    dataset["PixelData"].VR = "OB"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPInstanceUID = uid
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    return dataset


def store(bench: Bench, dataset: Dataset) -> int:
    association = bench.associate()
    assert association.is_established
    status = association.send_c_store(dataset).Status
    association.release()
    return int(status)


def raw_store(bench: Bench, *, uid: str, sop_class: str, dataset: bytes) -> int:
    """Send a C-STORE as given, whatever pynetdicom's own SCU would think of it."""
    association = bench.associate()
    request = C_STORE()
    request.MessageID, request.Priority = 1, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = sop_class, "1.2"
    request.DataSet = BytesIO(dataset)
    message = C_STORE_RQ()
    message.primitive_to_message(request)
    message.command_set.AffectedSOPInstanceUID = uid
    context = next(c for c in association.accepted_contexts if c.abstract_syntax == sop_class)
    association._reactor_checkpoint.clear()
    for pdu in message.encode_msg(context.context_id, 16384):
        association.dul.send_pdu(pdu)
    _, answer = association.dimse.get_msg(block=True)
    association._reactor_checkpoint.set()
    association.release()
    return int(answer.Status)


def test_echo_is_answered(bench: Bench) -> None:
    association = bench.associate()
    assert association.send_c_echo().Status == 0x0000
    association.release()


def test_success_means_file_and_row(bench: Bench) -> None:
    assert store(bench, image()) == 0x0000
    (row,) = bench.queue.rows()
    assert (row.sop_instance_uid, row.state, row.calling_ae) == (UID, JobState.PENDING, "CR1")
    content = bench.objects.path(row.sha256).read_bytes()
    assert hashlib.sha256(content).hexdigest() == row.sha256
    assert content[:128] == bytes(128)
    assert dcmread(BytesIO(content)).PixelData == image().PixelData


def test_bytes_are_kept_as_received(bench: Bench) -> None:
    sent = encode(image(), is_implicit_vr=False, is_little_endian=True)
    assert store(bench, image()) == 0x0000
    assert bench.objects.read(bench.queue.rows()[0].sha256).endswith(sent)


def test_the_same_image_from_another_sender_is_a_repetition(bench: Bench) -> None:
    assert store(bench, image()) == 0x0000
    association = bench.associate(calling="CR2")
    assert association.send_c_store(image()).Status == 0x0000
    association.release()
    assert len(bench.queue.rows()) == 1


def test_other_pixels_under_one_uid_are_kept_and_quarantined(bench: Bench) -> None:
    assert store(bench, image(fill=1)) == 0x0000
    assert store(bench, image(fill=2)) == 0x0000
    rows = {row.state: row for row in bench.queue.rows()}
    assert set(rows) == {JobState.PENDING, JobState.QUARANTINED}
    assert rows[JobState.QUARANTINED].reason_code == "uid_conflict"
    assert all(bench.objects.exists(row.sha256) for row in rows.values())


@pytest.mark.parametrize("uid", ["../../etc/passwd", "1.2.3; rm", "", "9" * 65, "<script>"])
def test_a_uid_that_is_none_is_refused(bench: Bench, uid: str) -> None:
    status = raw_store(bench, uid=uid, sop_class=contexts.COMPUTED_RADIOGRAPHY, dataset=b"\0" * 8)
    assert status == 0x0117
    assert bench.queue.rows() == []
    assert store(bench, image()) == 0x0000


@pytest.mark.parametrize(
    ("titles", "reason"),
    [({"called": "OTHER"}, 7), ({"calling": "STRANGER"}, 3)],
)
def test_a_wrong_ae_title_is_rejected(tmp_path: Path, titles: dict[str, str], reason: int) -> None:
    bench = Bench(tmp_path, allowed_callers=["CR1@127.0.0.1"])
    try:
        association = bench.associate(**titles)
        assert association.is_rejected
        assert association.acceptor.primitive.diagnostic == reason
        assert store(bench, image()) == 0x0000
    finally:
        bench.close()


def test_a_wrong_address_is_rejected(tmp_path: Path) -> None:
    bench = Bench(tmp_path, allowed_callers=["CR1@10.0.0.5"])
    try:
        assert bench.associate().is_rejected
    finally:
        bench.close()


def test_an_association_over_the_limit_is_rejected_and_the_others_go_on(tmp_path: Path) -> None:
    bench = Bench(tmp_path, max_associations=2)
    try:
        held = [bench.associate(), bench.associate()]
        excess = bench.associate()
        assert excess.is_rejected
        assert excess.acceptor.primitive.result == 2
        assert all(one.send_c_echo().Status == 0x0000 for one in held)
        for one in held:
            one.release()
    finally:
        bench.close()


@pytest.mark.parametrize(
    ("sop_class", "syntax"),
    [
        ("1.2.840.10008.5.1.4.1.1.2", ExplicitVRLittleEndian),  # CT
        (contexts.COMPUTED_RADIOGRAPHY, DeflatedExplicitVRLittleEndian),
        ("1.2.840.10008.5.1.4.1.1.88.33", JPEG2000Lossless),
    ],
)
def test_an_unlisted_class_or_syntax_is_not_negotiated(
    bench: Bench, sop_class: str, syntax: str
) -> None:
    association = bench.associate(sop_class, [syntax])
    assert association.is_established
    assert [str(c.abstract_syntax) for c in association.rejected_contexts] == [sop_class]
    assert association.send_c_echo().Status == 0x0000
    association.release()


@pytest.mark.parametrize("syntax", list(contexts.TRANSFER_SYNTAXES))
def test_every_listed_syntax_is_negotiated_as_proposed(bench: Bench, syntax: str) -> None:
    for sop_class in contexts.IMAGES:
        association = bench.associate(sop_class, [syntax])
        accepted = {
            str(c.abstract_syntax): c.transfer_syntax[0] for c in association.accepted_contexts
        }
        assert accepted[sop_class] == syntax
        association.release()


def test_reports_are_acknowledged_and_ignored(bench: Bench) -> None:
    dataset = image()
    dataset.SOPClassUID = contexts.COMPREHENSIVE_SR
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    association = bench.associate(contexts.COMPREHENSIVE_SR, [ImplicitVRLittleEndian])
    assert association.send_c_store(dataset).Status == 0x0000
    association.release()
    assert bench.queue.rows() == []


def test_no_space_is_a700_and_nothing_is_kept(bench: Bench) -> None:
    bench.objects._reserve_bytes = 1 << 60
    assert store(bench, image()) == 0xA700
    assert bench.queue.rows() == []
    bench.objects._reserve_bytes = 0
    assert store(bench, image()) == 0x0000


def test_too_long_a_queue_is_a700_until_it_is_shorter(tmp_path: Path) -> None:
    bench = Bench(tmp_path, max_waiting=2)
    try:
        for number in range(3):
            assert store(bench, image(f"1.2.{number}")) == 0x0000
        crowd = bench.listener._crowd
        crowd._looked_at -= 10  # as if the last look were long ago
        assert store(bench, image("1.2.8")) == 0xA700
        crowd._looked_at -= 10
        assert len(bench.queue.rows()) == 3
        assert bench.queue.claim("w", 60, time.time()) is not None
        assert store(bench, image("1.2.8")) == 0x0000
    finally:
        bench.close()


@pytest.mark.parametrize("title", ["../../etc/x", "<script>x", ";id", "$(id)", "A\x1b[31m"])
def test_a_hostile_ae_title_is_rejected_and_breaks_nothing(tmp_path: Path, title: str) -> None:
    bench = Bench(tmp_path, allowed_callers=["CR1@127.0.0.1"])
    try:
        with socket.create_connection(("127.0.0.1", bench.port), 5) as peer:
            peer.sendall(request().replace(b"CR1".ljust(16), title.encode().ljust(16)))
            assert peer.recv(10) == admission.CALLING_AE_UNKNOWN.pdu
        (noted,), _ = bench.listener.tally.take()
        assert noted.calling_ae.isprintable()
        assert store(bench, image()) == 0x0000
    finally:
        bench.close()


def test_a_large_pdu_is_offered(bench: Bench) -> None:
    association = bench.associate()
    assert association.acceptor.maximum_length == bench.settings.dicom.max_pdu_bytes == 1 << 20
    association.release()


def test_bytes_that_are_no_dicom_disturb_nobody(bench: Bench) -> None:
    for junk in (b"GET / HTTP/1.0\r\n\r\n", b"\x01\x00\x00\x00\x00\x04junk", b""):
        with socket.create_connection(("127.0.0.1", bench.port), 5) as raw:
            raw.sendall(junk)
    assert store(bench, image()) == 0x0000


def test_a_header_that_announces_4_gib_is_not_believed(bench: Bench) -> None:
    with socket.create_connection(("127.0.0.1", bench.port), 5) as raw:
        raw.sendall(b"\x01\x00\xff\xff\xff\xff" + bytes(1000))
        raw.settimeout(5)
        assert raw.recv(100) == transport.ABORT  # at once, with nothing allocated or awaited
        assert raw.recv(1) == b""
    assert store(bench, image()) == 0x0000


def test_a_pdu_that_does_not_come_to_its_end_is_not_awaited(tmp_path: Path) -> None:
    """A byte now and then keeps no connection open: the bound is on the whole PDU."""
    bench = Bench(tmp_path, request_timeout_s=1)
    try:
        with socket.create_connection(("127.0.0.1", bench.port), 20) as raw:
            raw.sendall(b"\x01\x00\x00\x00\x10\x00")
            started = time.monotonic()
            with suppress(ConnectionError):
                while not select.select([raw], [], [], 0.2)[0]:
                    raw.sendall(b"x")
                    assert time.monotonic() - started < 10
        assert store(bench, image()) == 0x0000
    finally:
        bench.close()


def test_a_dataset_cut_short_is_taken_as_it_came(bench: Bench) -> None:
    """Its bytes are durable; that they are no image is the worker's finding."""
    whole = encode(image(), is_implicit_vr=False, is_little_endian=True)
    status = raw_store(
        bench, uid=UID, sop_class=contexts.COMPUTED_RADIOGRAPHY, dataset=whole[: len(whole) // 2]
    )
    assert status == 0x0000
    assert len(bench.queue.rows()) == 1

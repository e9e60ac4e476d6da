"""What a PACS takes decides what it gets: the form of a report, and the heat maps beside it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from daemon.contexts import (
    BASIC_TEXT_SR,
    COMPREHENSIVE_SR,
    PRESENTATION_STATE,
    SECONDARY_CAPTURE,
    VERIFICATION,
)
from daemon.report import build_report, encode
from storage.peers import Peers
from storage.records import DeliveryState, Form, Peer
from tests.archive import Archive
from tests.couriers import Bench, Never, capture
from tests.reporting import ANALYSED, CREATED_AT, DEVICE, header, headers, study

Meet = Callable[..., tuple[Archive, Bench]]


@pytest.fixture
def meet(tmp_path: Path) -> Iterator[Meet]:
    """Make a PACS that takes these classes, and a bench that delivers to it."""
    met: list[tuple[Archive, Bench]] = []

    def make(*classes: str, syntaxes: tuple[str, ...] | None = None) -> tuple[Archive, Bench]:
        archive = Archive(contexts=classes)
        if syntaxes:
            archive.syntaxes = syntaxes
        archive.start()
        met.append((archive, Bench(tmp_path, archive)))
        return met[-1]

    yield make
    for archive, bench in met:
        bench.close()
        archive.stop()


def report(number: int = 1) -> Dataset:
    """A real report."""
    image = (header(number), ANALYSED)
    return build_report(study(image), headers(image), DEVICE, CREATED_AT)


def deliver(bench: Bench) -> None:
    """Deliver until nothing waits."""
    waiting = (DeliveryState.PENDING, DeliveryState.SENDING)
    bench.run(lambda: not any(row.state in waiting for row in bench.rows()))


@pytest.mark.parametrize(
    "takes",
    [
        (COMPREHENSIVE_SR, BASIC_TEXT_SR, SECONDARY_CAPTURE),
        (BASIC_TEXT_SR, SECONDARY_CAPTURE),
        (SECONDARY_CAPTURE,),
    ],
    ids=["all", "no Comprehensive SR", "only Secondary Capture"],
)
def test_a_report_is_sent_in_the_richest_form_that_the_pacs_takes(
    meet: Meet, takes: tuple[str, ...]
) -> None:
    archive, bench = meet(*takes)
    made = report()
    uid = bench.report("1.9.1", made)
    deliver(bench)
    (got,) = archive.stored
    (row,) = bench.rows()
    assert got.SOPClassUID == takes[0]
    assert row.state is DeliveryState.STORED
    assert row.sent == Form(takes[0], str(got.SOPInstanceUID))
    assert (got.SOPInstanceUID == uid) == (takes[0] == COMPREHENSIVE_SR)
    for keyword in ("StudyInstanceUID", "PatientID", "PatientName", "AccessionNumber"):
        assert got[keyword].value == made[keyword].value


def test_a_form_sent_again_is_the_same_object(meet: Meet) -> None:
    """The PACS stores, but its answer comes after our time-out."""
    archive, bench = meet(BASIC_TEXT_SR)
    archive.silence_s = 1.3
    bench.report("1.9.1", report())
    bench.courier.step(Never())
    (row,) = bench.rows()
    assert (row.state, row.last_status) == (DeliveryState.PENDING, "no answer")
    archive.silence_s = 0.0
    deliver(bench)
    assert len(archive.stored) == 2
    assert {str(one.SOPInstanceUID) for one in archive.stored} == {
        row.sent.sop_instance_uid if row.sent else None
    }


def test_a_pacs_that_takes_no_form_leaves_a_dead_letter_that_says_so(meet: Meet) -> None:
    archive, bench = meet(VERIFICATION)
    bench.report("1.9.1")
    deliver(bench)
    (row,) = bench.rows()
    assert row.state is DeliveryState.DEAD
    assert "takes none of: Comprehensive SR Storage, Basic Text SR Storage" in str(row.last_error)
    assert archive.stored == []
    bench.outbox.retry_by_hand(row.id, time.time())
    deliver(bench)  # asked for everything again: it might have learnt
    assert len(archive.proposals) == 2
    assert archive.proposals[0] == archive.proposals[1]


def test_a_pacs_of_implicit_vr_alone_gets_its_bytes_so(meet: Meet) -> None:
    archive, bench = meet(
        COMPREHENSIVE_SR, SECONDARY_CAPTURE, syntaxes=(str(ImplicitVRLittleEndian),)
    )
    made, picture = report(), capture("1.2.3.77", "1.9.1", SECONDARY_CAPTURE)
    bench.report("1.9.1", made, [picture])
    deliver(bench)
    assert archive.encodings == [ImplicitVRLittleEndian, ImplicitVRLittleEndian]
    got, sent = archive.stored
    assert sent.PixelData == picture.PixelData
    assert got.to_json_dict() == dcmread(BytesIO(encode(made))).to_json_dict()
    assert bench.all_in(DeliveryState.STORED)()


def test_explicit_vr_is_preferred(meet: Meet) -> None:
    archive, bench = meet(COMPREHENSIVE_SR)
    bench.report("1.9.1")
    deliver(bench)
    assert archive.encodings == [ExplicitVRLittleEndian]


def test_heat_maps_go_after_the_report(meet: Meet) -> None:
    archive, bench = meet(COMPREHENSIVE_SR, SECONDARY_CAPTURE)
    beside = [capture(f"1.2.3.7{n}", "1.9.1", SECONDARY_CAPTURE) for n in range(3)]
    uid = bench.report("1.9.1", beside=beside)
    deliver(bench)
    assert [str(one.SOPInstanceUID) for one in archive.stored] == [
        uid, "1.2.3.70", "1.2.3.71", "1.2.3.72",
    ]  # fmt: skip
    assert len(archive.proposals) == 1


def test_a_heat_map_that_the_pacs_does_not_take_holds_nothing_up(meet: Meet) -> None:
    _, bench = meet(COMPREHENSIVE_SR)
    uid = bench.report("1.9.1", beside=[capture("1.2.3.7", "1.9.1", SECONDARY_CAPTURE)])
    assert bench.courier.step(Never()) == 0
    assert bench.row(uid).state is DeliveryState.STORED
    let_go = bench.row("1.2.3.7")
    assert (let_go.state, let_go.companion) == (DeliveryState.NOT_TAKEN, True)
    assert let_go.last_error == "the PACS does not take Secondary Capture Image Storage"
    bench.outbox.retry_by_hand(let_go.id, time.time())
    deliver(bench)
    assert bench.row("1.2.3.7").state is DeliveryState.NOT_TAKEN


@pytest.mark.parametrize(
    ("status", "then"), [(0xA700, DeliveryState.PENDING), (0xC000, DeliveryState.DEAD)]
)
def test_a_heat_map_that_the_pacs_cannot_store_holds_nothing_up(
    meet: Meet, status: int, then: DeliveryState
) -> None:
    archive, bench = meet(COMPREHENSIVE_SR, SECONDARY_CAPTURE)
    archive.answers = [0x0000, status]
    uid = bench.report("1.9.1", beside=[capture("1.2.3.7", "1.9.1", SECONDARY_CAPTURE)])
    assert bench.courier.step(Never()) == 0
    assert bench.row(uid).state is DeliveryState.STORED
    assert bench.row("1.2.3.7").state is then


def test_a_class_that_was_not_usual_is_proposed_when_it_waits(meet: Meet) -> None:
    """Contours that were made before the setting changed."""
    archive, bench = meet(COMPREHENSIVE_SR, PRESENTATION_STATE)
    bench.report("1.9.1")
    deliver(bench)
    bench.report("1.9.2", beside=[capture("1.2.3.7", "1.9.2", PRESENTATION_STATE)])
    deliver(bench)
    assert bench.all_in(DeliveryState.STORED)()
    assert PRESENTATION_STATE not in archive.proposals[0]
    assert PRESENTATION_STATE in archive.proposals[1]


def test_what_a_later_version_needs_again_is_sent_once(meet: Meet) -> None:
    archive, bench = meet(COMPREHENSIVE_SR, SECONDARY_CAPTURE)
    picture = capture("1.2.3.7", "1.9.1", SECONDARY_CAPTURE)
    bench.report("1.9.1", beside=[picture])
    deliver(bench)
    bench.report("1.9.1", beside=[picture, capture("1.2.3.8", "1.9.1", SECONDARY_CAPTURE)])
    deliver(bench)
    assert [str(one.SOPInstanceUID) for one in archive.stored].count("1.2.3.7") == 1
    assert len(archive.stored) == 4


# -- remembered per peer -----------------------------------------------------------------------


def test_only_what_the_pacs_takes_is_proposed_to_it_again(meet: Meet) -> None:
    archive, bench = meet(BASIC_TEXT_SR, SECONDARY_CAPTURE)
    for number in range(2):
        bench.report(f"1.9.{number}", report(number + 1))
        deliver(bench)
        bench.courier.end()
    assert archive.proposals == [
        {COMPREHENSIVE_SR, BASIC_TEXT_SR, SECONDARY_CAPTURE},
        {BASIC_TEXT_SR, SECONDARY_CAPTURE},
    ]
    known = Peers(bench.database).recall("test")
    assert known is not None
    assert known.accepted.keys() == {BASIC_TEXT_SR, SECONDARY_CAPTURE}


def test_what_the_pacs_takes_is_remembered_over_a_restart(meet: Meet) -> None:
    archive, bench = meet(BASIC_TEXT_SR)
    bench.report("1.9.1", report(1))
    deliver(bench)
    bench.courier.end()
    bench.courier = bench.another()
    bench.report("1.9.2", report(2))
    deliver(bench)
    assert archive.proposals[1] == {BASIC_TEXT_SR}


def relearnt(archive: Archive, bench: Bench) -> set[str]:
    """Let the PACS learn Comprehensive SR; return what it is then sent."""
    archive.stop()
    archive.contexts = (COMPREHENSIVE_SR, BASIC_TEXT_SR, SECONDARY_CAPTURE)
    archive.start(archive.port)
    archive.stored.clear()
    bench.report(f"1.9.{len(archive.proposals)}", report(1 + len(archive.proposals)))
    deliver(bench)
    return {str(one.SOPClassUID) for one in archive.stored}


def test_a_pacs_that_learns_sr_gets_it_within_a_day(meet: Meet) -> None:
    archive, bench = meet(BASIC_TEXT_SR)
    bench.report("1.9.1", report(1))
    deliver(bench)
    assert relearnt(archive, bench) == {BASIC_TEXT_SR}
    bench.courier.end()
    peers = Peers(bench.database)
    known = peers.recall("test")
    assert known is not None
    peers.learn(Peer("test", known.fingerprint, known.accepted, known.learnt_at - 86_401))
    assert relearnt(archive, bench) == {COMPREHENSIVE_SR}


def test_a_changed_configuration_asks_anew(meet: Meet) -> None:
    archive, bench = meet(BASIC_TEXT_SR)
    bench.report("1.9.1", report(1))
    deliver(bench)
    bench.courier.end()
    bench.settings = bench.settings.model_copy(update={"host": "localhost"})
    bench.courier = bench.another()
    assert relearnt(archive, bench) == {COMPREHENSIVE_SR}


def test_a_pacs_that_unlearns_a_class_is_asked_for_everything_at_once(meet: Meet) -> None:
    archive, bench = meet(COMPREHENSIVE_SR)
    bench.report("1.9.1", report(1))
    deliver(bench)
    archive.stop()
    archive.contexts = (BASIC_TEXT_SR,)
    archive.start(archive.port)
    bench.report("1.9.2", report(2))
    deliver(bench)
    assert bench.all_in(DeliveryState.STORED)()
    assert [str(one.SOPClassUID) for one in archive.stored] == [COMPREHENSIVE_SR, BASIC_TEXT_SR]

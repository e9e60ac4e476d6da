"""Sending as a modality does, to a real storage SCP on the loopback."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, RLELossless
from pynetdicom import AE, evt

from daemon import contexts
from daemon.errors import PeerUnreachable
from daemon.simulate import Form, Kind, SendOutcome, make_object, send, transfer_syntaxes


def image(number: int, form: Form) -> Dataset:
    return make_object(np.full((32, 40), number, dtype=np.uint8), form)


class Peer:
    """A storage SCP that takes what the listener takes, and answers as it is told."""

    def __init__(self, *, without: frozenset[str] = frozenset()) -> None:
        self.answers: dict[str, int] = {}
        self.received: dict[str, bytes] = {}
        self.syntaxes: list[str] = []
        self.associations = 0
        entity = AE(ae_title="PEER")
        entity.require_called_aet = True
        for sop_class in contexts.IMAGES:
            accepted = [uid for uid in contexts.TRANSFER_SYNTAXES if uid not in without]
            entity.add_supported_context(sop_class, accepted)
        handlers = [(evt.EVT_C_STORE, self._store), (evt.EVT_ACCEPTED, self._count)]
        self._server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
        self.port = int(self._server.server_address[1])

    def stop(self) -> None:
        self._server.shutdown()

    def _count(self, _: Any) -> None:
        self.associations += 1

    def _store(self, event: Any) -> int:
        uid = str(event.request.AffectedSOPInstanceUID)
        self.received[uid] = event.encoded_dataset(include_meta=False)
        self.syntaxes.append(event.context.transfer_syntax)
        return self.answers.get(uid, 0x0000)


@pytest.fixture
def peer() -> Iterator[Peer]:
    one = Peer()
    yield one
    one.stop()


def sent(peer: Peer, objects: list[Dataset], **options: Any) -> list[SendOutcome]:
    return send(objects, "127.0.0.1", peer.port, "CR1", "PEER", timeout_s=10, **options)


def test_every_transfer_syntax_goes_over_one_association(peer: Peer) -> None:
    forms = [
        Form(kind, 8 if syntax == JPEGBaseline8Bit else 12, transfer_syntax=syntax)
        for kind in Kind
        for syntax in transfer_syntaxes()
    ]
    objects = [image(number, form) for number, form in enumerate(forms)]
    seen: list[SendOutcome] = []
    outcomes = sent(peer, objects, progress=seen.append)
    assert seen == outcomes
    assert [outcome.status for outcome in outcomes] == [0x0000] * len(objects)
    assert [outcome.sop_instance_uid for outcome in outcomes] == [
        one.SOPInstanceUID for one in objects
    ]
    assert all(outcome.seconds >= 0 for outcome in outcomes)
    assert peer.syntaxes == [form.transfer_syntax for form in forms]
    assert peer.associations == 1
    for one in objects:
        assert one.PixelData in peer.received[str(one.SOPInstanceUID)]


def test_the_status_of_the_peer_is_returned(peer: Peer) -> None:
    objects = [image(number, Form()) for number in range(3)]
    peer.answers = {str(objects[0].SOPInstanceUID): 0xA700, str(objects[1].SOPInstanceUID): 0xB000}
    assert [outcome.status for outcome in sent(peer, objects)] == [0xA700, 0xB000, 0x0000]


def test_a_context_that_is_not_accepted_leaves_the_others_alone() -> None:
    peer = Peer(without=frozenset({JPEG2000Lossless}))
    try:
        objects = [image(1, Form(transfer_syntax=JPEG2000Lossless)),
                   image(2, Form(transfer_syntax=RLELossless))]  # fmt: skip
        assert [outcome.status for outcome in sent(peer, objects)] == [None, 0x0000]
    finally:
        peer.stop()


def test_a_rejection_says_so(peer: Peer) -> None:
    with pytest.raises(PeerUnreachable, match=r"OTHER at .* rejected .* CR1"):
        send([image(1, Form())], "127.0.0.1", peer.port, "CR1", "OTHER", timeout_s=5)


def test_a_closed_port_says_so() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(PeerUnreachable, match="did not accept"):
        send([image(1, Form())], "127.0.0.1", port, "CR1", "PEER", timeout_s=5)

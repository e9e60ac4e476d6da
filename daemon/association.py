"""Associations that we open: one for each sending thread, kept a while, and what a PACS takes."""

from __future__ import annotations

import hashlib
import json
import socket
import struct
import time
from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING, Any

from pydicom.dataset import Dataset
from pynetdicom import AE, build_context, evt
from pynetdicom.association import Association

from daemon import tls
from daemon.contexts import REPORT_FORMS, SENT_IN
from daemon.errors import CertificateUnusable, PeerUnreachable
from daemon.settings import PacsSettings
from daemon.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from storage.records import Peer

if TYPE_CHECKING:
    from storage.peers import Peers

KEEP_S = 5.0  # an association waits so long for the next report
LEARN_AGAIN_S = 86_400.0  # what a PACS takes is asked anew after a day


def associate(
    pacs: PacsSettings,
    calling_ae: str,
    classes: Iterable[str],
    report: Callable[[evt.Event], tuple[int, None]] | None = None,
) -> Association:
    """Open an association that proposes these SOP classes.

    `report` answers an N-EVENT-REPORT that comes on it. The association is not established where
    the PACS accepted it and none of its contexts; `accepted` is empty then. Raises PeerUnreachable.
    """
    entity = AE(ae_title=calling_ae)
    entity.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    entity.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    entity.connection_timeout = pacs.timeout_s
    entity.acse_timeout = pacs.timeout_s
    entity.dimse_timeout = pacs.timeout_s
    # Longer than we keep one: we release it, and do not abort it
    entity.network_timeout = pacs.timeout_s + 2 * KEEP_S
    handlers: list[Any] = [(evt.EVT_CONN_OPEN, _bound, [pacs.timeout_s])]
    if report is not None:
        handlers.append((evt.EVT_N_EVENT_REPORT, report))
    attempt = _tls(pacs)
    association = entity.associate(
        pacs.host,
        pacs.port,
        contexts=[build_context(uid, list(SENT_IN)) for uid in classes],
        ae_title=pacs.ae_title,
        evt_handlers=handlers,
        tls_args=None if attempt is None else (attempt, pacs.tls_name),
    )
    if association.is_established or association.rejected_contexts:
        return association
    if association.is_rejected:
        answer = association.acceptor.primitive
        raise PeerUnreachable(
            f"the PACS rejected the association: {answer.result_str}, {answer.reason_str}"
        )
    says = f"no association with {pacs.host} port {pacs.port}"
    why = "" if attempt is None else attempt.failure
    raise PeerUnreachable(f"{says}: {why}" if why else says)


def _tls(pacs: PacsSettings) -> tls.Attempt | None:
    """How TLS is spoken to a PACS, if it is. Raises PeerUnreachable."""
    if pacs.tls is None:
        return None
    try:
        context = tls.client_credentials(pacs.tls).context()
    except CertificateUnusable as error:
        raise PeerUnreachable(str(error)) from None
    return tls.Attempt(context, pacs.timeout_s)


def _bound(event: evt.Event, timeout_s: float) -> None:
    """Bound writes as pynetdicom bounds reads: a PACS that stops reading must not hold us.

    A command and its data set are two small writes, which Nagle's algorithm would hold apart.
    """
    opened = event.assoc.dul.socket.socket
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    seconds, fraction = divmod(timeout_s, 1)
    timeout = struct.pack("ll", int(seconds), int(fraction * 1_000_000))
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeout)


def accepted(association: Association) -> dict[str, str]:
    """Return what was negotiated: SOP class UID to transfer syntax UID."""
    return {
        str(context.abstract_syntax): str(context.transfer_syntax[0])
        for context in association.accepted_contexts
    }


def best_form(taken: Collection[str]) -> str | None:
    """Return the SOP class that a report is sent as to a PACS that takes these."""
    return next((form for form in REPORT_FORMS if form in taken), None)


class KeptAssociation:
    """The association of one sending thread: opened for what is sent, kept, replaced when dead.

    All that we might send is proposed once a day; in between only what the PACS took of it, so
    that its log is not filled with refusals.
    """

    def __init__(
        self,
        pacs: PacsSettings,
        calling_ae: str,
        heat_map: str | None,
        peers: Peers,
        learnt: Callable[[Peer], None],
    ) -> None:
        """`heat_map`: SOP class of the heat maps, if any; `learnt` is told what the PACS takes."""
        self._pacs = pacs
        self._calling_ae = calling_ae
        self._peers = peers
        self._learnt = learnt
        self._usual = {*REPORT_FORMS, *([heat_map] if heat_map else [])}
        self._heat_map = heat_map
        self._known: dict[str, str] = {}
        self._proposed: set[str] = set()
        self._association: Association | None = None
        self._used_at = 0.0
        self.accepted: dict[str, str] = {}

    def ready(self, sop_class: str) -> bool:
        """Have an association for an object of that class, in whichever form it is sent.

        Return whether it is new. `accepted` says what was negotiated: nothing where the PACS takes
        none of it, and there is no association then. Raises PeerUnreachable.
        """
        if self._is_open() and not self._lacks(sop_class):
            return False
        self.release()
        self._known = self._recall()
        if self._known:
            wanted = self._known.keys() & {best_form(self._known), self._heat_map}
            self._open(wanted | ({sop_class} if self._lacks(sop_class) else set()))
            if wanted <= self.accepted.keys():
                return True
            self.release()  # it has unlearnt something
        self._open(self._usual | {sop_class})
        self._learn()
        return True

    def send(self, dataset: Dataset) -> int | None:
        """Send an object; return the PACS's status, None where it gave none.

        Raises ValueError where the object cannot be encoded as the PACS takes it.
        """
        assert self._association is not None
        try:
            answer = self._association.send_c_store(dataset)
        except RuntimeError:  # the association ended between our look and now
            return None
        self._used_at = time.monotonic()
        return answer.Status if "Status" in answer else None

    def tidy(self) -> None:
        """Release the association where nothing was sent on it for a while."""
        if self._association is not None and time.monotonic() - self._used_at > KEEP_S:
            self.release()

    def release(self) -> None:
        """End the association, if there is one."""
        if self._is_open():
            assert self._association is not None
            self._association.release()
        self._association, self.accepted, self._proposed = None, {}, set()

    def _is_open(self) -> bool:
        return self._association is not None and self._association.is_established

    def _lacks(self, sop_class: str) -> bool:
        """Whether a class was not proposed that the PACS may take."""
        may_take = sop_class in self._known or sop_class not in self._usual
        return may_take and sop_class not in self._proposed

    def _open(self, classes: set[str]) -> None:
        association = associate(self._pacs, self._calling_ae, sorted(classes))
        self._proposed, self._used_at = classes, time.monotonic()
        self.accepted = accepted(association)
        self._association = association if association.is_established else None

    def _learn(self) -> None:
        self._known = {uid: ts for uid, ts in self.accepted.items() if uid in self._usual}
        learnt = Peer(self._pacs.name, self._fingerprint, self._known, time.time())
        self._peers.learn(learnt)
        self._learnt(learnt)

    def _recall(self) -> dict[str, str]:
        """What the PACS takes, where that was learnt within a day and includes a report."""
        peer = self._peers.recall(self._pacs.name)
        if peer is None or peer.fingerprint != self._fingerprint:
            return {}
        fresh = 0 <= time.time() - peer.learnt_at < LEARN_AGAIN_S
        return peer.accepted if fresh and best_form(peer.accepted) else {}

    @property
    def _fingerprint(self) -> str:
        """What the PACS's answer depends on: it is asked anew where this has changed."""
        peer = [self._pacs.host, self._pacs.port, self._pacs.ae_title, self._calling_ae]
        return hashlib.sha256(json.dumps([peer, sorted(self._usual)]).encode()).hexdigest()

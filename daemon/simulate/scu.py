"""C-STORE as a modality does it: one association, one object after another (PS3.4 annex B)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.association import Association

from daemon.errors import PeerUnreachable

MAXIMUM_PDU_BYTES = 1 << 20
Progress = Callable[["SendOutcome"], None]


@dataclass(frozen=True, slots=True)
class SendOutcome:
    """The answer to one C-STORE; status None where none came, or no context was accepted."""

    sop_instance_uid: str
    status: int | None
    seconds: float


def send(
    objects: Sequence[Dataset],
    host: str,
    port: int,
    calling_ae: str,
    called_ae: str,
    timeout_s: float = 30.0,
    progress: Progress | None = None,
) -> list[SendOutcome]:
    """Send the objects over one association and return one outcome each, in their order.

    Bytes go in the transfer syntax of each object, never transcoded. Raises
    PeerUnreachable where no association comes about.
    """
    association = _associate(objects, host, port, calling_ae, called_ae, timeout_s)
    outcomes = []
    try:
        for one in objects:
            outcome = _store(association, one)
            outcomes.append(outcome)
            if progress is not None:
                progress(outcome)
    finally:
        if association.is_established:
            association.release()
    return outcomes


def _associate(
    objects: Sequence[Dataset],
    host: str,
    port: int,
    calling_ae: str,
    called_ae: str,
    timeout_s: float,
) -> Association:
    entity = AE(ae_title=calling_ae)
    entity.maximum_pdu_size = MAXIMUM_PDU_BYTES
    entity.connection_timeout = entity.acse_timeout = timeout_s
    entity.dimse_timeout = entity.network_timeout = timeout_s
    # One context per syntax, so that the peer's choice of a syntax is never ours to convert.
    for sop_class, syntax in dict.fromkeys(_context(one) for one in objects):
        entity.add_requested_context(sop_class, syntax)
    association = entity.associate(host, port, ae_title=called_ae, max_pdu=MAXIMUM_PDU_BYTES)
    if association.is_established:
        return association
    where = f"{called_ae} at {host}:{port}"
    if association.is_rejected:
        raise PeerUnreachable(f"{where} rejected the association of {calling_ae}.")
    raise PeerUnreachable(f"{where} did not accept an association within {timeout_s:.0f} s.")


def _store(association: Association, one: Dataset) -> SendOutcome:
    started = time.monotonic()
    status: int | None = None
    if association.is_established and _accepted(association, one):
        answer = association.send_c_store(one)
        status = answer.Status if "Status" in answer else None
    return SendOutcome(str(one.SOPInstanceUID), status, time.monotonic() - started)


def _accepted(association: Association, one: Dataset) -> bool:
    return any(
        (context.abstract_syntax, context.transfer_syntax[0]) == _context(one)
        for context in association.accepted_contexts
    )


def _context(one: Dataset) -> tuple[str, str]:
    return str(one.SOPClassUID), str(one.file_meta.TransferSyntaxUID)

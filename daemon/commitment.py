"""Storage commitment (PS3.4 annex J): we ask a PACS to answer for what it has stored.

We are SCU. The PACS reports on the association on which we asked, while that is open, or opens one
to our listener; a report is known by its transaction UID alone, so that neither a restart nor a
different process stands in its way.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING
from uuid import uuid4

from pydicom.dataset import Dataset
from pynetdicom import AE, evt

from daemon import logs, process
from daemon.association import accepted, associate
from daemon.contexts import STORAGE_COMMITMENT, UNCOMPRESSED
from daemon.errors import PeerUnreachable
from daemon.events import Event
from daemon.settings import PacsSettings
from storage.errors import NotFound, StorageError, SyncFailed
from storage.records import Form

if TYPE_CHECKING:
    from storage.commitments import Commitments

INSTANCE = f"{STORAGE_COMMITMENT}.1"  # Storage Commitment Push Model SOP Instance
BATCH = 100  # objects in one request
POLL_S = 1.0
REPORT_S = 5.0  # how long a report is awaited on the association of the request
ANSWER_S = 0.1
RESEND_S = 60.0  # an object that the PACS could not commit to is sent again after so long
REFUSED_S = 300.0  # a request that the PACS did not take is made again after so long, at most

MAX_INFORMATION_BYTES = 1 << 20
ALL_COMMITTED, SOME_FAILED = 1, 2  # event types, PS3.4 table J.3-2
REQUEST_COMMITMENT = 1  # action type, PS3.4 table J.3-1

# PS3.7 annex C and PS3.4 J.3.3: what we answer an N-EVENT-REPORT with.
STATUS_CODES = {
    0x0000: "Success: the report is durable",
    0x0110: "Processing failure: the database is busy; report again later",
    0x0113: "No such event type",
    0x0115: "Invalid argument value: no such transaction of ours",
    0x0213: "Resource limitation: the event information is longer than 1 MiB",
}
# PS3.3 C.14.1.1, Failure Reason (0008,1197)
FAILURE_REASONS = {
    0x0110: "processing failure",
    0x0112: "no such object instance",
    0x0119: "class/instance conflict",
    0x0122: "referenced SOP class not supported",
    0x0131: "duplicate transaction UID",
    0x0213: "resource limitation",
}


class Receiver:
    """Takes reports of commitment, on whichever association they come."""

    def __init__(self, commitments: Callable[[], Commitments]) -> None:
        """`commitments` is asked when a report comes: to open the database takes a while."""
        self._commitments = commitments
        self._log = logs.get()

    def offer(self, entity: AE) -> list[evt.EventHandlerType]:
        """Have a listener take reports, as SCU alone; return its handlers."""
        entity.add_supported_context(
            STORAGE_COMMITMENT, list(UNCOMPRESSED), scu_role=False, scp_role=True
        )
        return [
            (evt.EVT_N_EVENT_REPORT, self.report),
            (evt.EVT_N_ACTION, lambda _: (0x0211, None)),  # nobody can ask us to commit
        ]

    def report(self, event: evt.Event) -> tuple[int, None]:
        """Answer an N-EVENT-REPORT (PS3.4 J.3.3)."""
        try:
            return self._take(event), None
        except SyncFailed:
            os._exit(process.EXIT_FAULT)
        except StorageError as error:
            self._log.error(Event.FAULT, **logs.whereabouts(error))
            return 0x0110, None

    def _take(self, event: evt.Event) -> int:
        if event.event_type not in (ALL_COMMITTED, SOME_FAILED):
            return 0x0113
        information = event.request.EventInformation
        if information is None or len(information.getvalue()) > MAX_INFORMATION_BYTES:
            return 0x0213 if information else 0x0115
        told = event.event_information
        transaction = str(told.get("TransactionUID") or "")
        failed = {
            str(item.get("ReferencedSOPInstanceUID")): _reason(item.get("FailureReason"))
            for item in told.get("FailedSOPSequence") or ()
        }
        committed = [
            str(item.get("ReferencedSOPInstanceUID"))
            for item in told.get("ReferencedSOPSequence") or ()
        ]
        now = time.time()
        log = self._log.bind(transaction=transaction)
        try:
            done = self._commitments().report(transaction, committed, failed, now + RESEND_S, now)
        except NotFound:
            log.warning(Event.COMMITMENT_REFUSED, reason="a report of no transaction of ours")
            return 0x0115
        log.info(Event.COMMITMENT_REPORTED, committed=done.committed, failed=len(failed))
        for uid, reason in failed.items():
            log.error(Event.COMMITMENT_FAILED, object=uid, reason=reason)
        if done.dead:
            log.error(Event.REPORT_DEAD, count=done.dead, reason="storage commitment failed")
        return 0x0000


class Notary:
    """Asks one PACS to commit to what it has stored, on an association of its own."""

    def __init__(self, pacs: PacsSettings, calling_ae: str, commitments: Commitments) -> None:
        self._pacs = pacs
        self._calling_ae = calling_ae
        self._commitments = commitments
        self._receiver = Receiver(lambda: commitments)
        self._log = logs.get().bind(pacs=pacs.name)

    def step(self, stop: process.Stop) -> float:
        """Ask for what is due, at most one request; return how long nothing is to do."""
        transaction = f"2.25.{uuid4().int}"
        now = time.time()
        request = self._commitments.ask(
            self._pacs.name, transaction, BATCH, now + self._pacs.commitment_timeout_s, now
        )
        if not request.forms:
            return POLL_S
        log = self._log.bind(transaction=transaction)
        if request.unanswered:
            log.warning(Event.COMMITMENT_UNANSWERED, count=request.unanswered)
        try:
            self._ask(transaction, request.forms, stop)
            log.info(Event.COMMITMENT_REQUESTED, count=len(request.forms))
        except PeerUnreachable as error:
            wait_s = min(REFUSED_S, self._pacs.commitment_timeout_s)
            self._commitments.postpone(transaction, time.time() + wait_s, str(error))
            log.warning(Event.COMMITMENT_REFUSED, reason=str(error), wait_s=wait_s)
        return 0.0

    def mend(self) -> None:
        """Nothing is held: what was asked for is known, and asked for again in time."""

    def end(self) -> None:
        """Nothing is open between two steps."""

    def _ask(self, transaction: str, forms: Iterable[Form], stop: process.Stop) -> None:
        """Send the N-ACTION, and give the report a while. Raises PeerUnreachable."""
        came, answered = threading.Event(), threading.Event()

        def report(event: evt.Event) -> tuple[int, None]:
            came.set()
            answer = self._receiver.report(event)
            answered.set()
            return answer

        association = associate(self._pacs, self._calling_ae, [STORAGE_COMMITMENT], report)
        if STORAGE_COMMITMENT not in accepted(association):
            raise PeerUnreachable("the PACS does not offer storage commitment")
        try:
            answer, _ = association.send_n_action(
                _request(transaction, forms), REQUEST_COMMITMENT, STORAGE_COMMITMENT, INSTANCE
            )
            status = answer.get("Status")
            if status != 0x0000:
                said = "gave no answer" if status is None else f"answered {status:04X}H"
                raise PeerUnreachable(f"the PACS {said} to the request for storage commitment")
            deadline = time.monotonic() + REPORT_S
            while not answered.wait(0.05) and association.is_established and not stop:
                if time.monotonic() > deadline and not came.is_set():
                    break
            stop.wait(ANSWER_S)  # our answer to the report goes out after the handler's end
        finally:
            association.release()


def _request(transaction: str, forms: Iterable[Form]) -> Dataset:
    """Action information of a request (PS3.4 table J.3-1)."""
    information = Dataset()
    information.TransactionUID = transaction
    information.ReferencedSOPSequence = []
    for form in forms:
        item = Dataset()
        item.ReferencedSOPClassUID = form.sop_class_uid
        item.ReferencedSOPInstanceUID = form.sop_instance_uid
        information.ReferencedSOPSequence.append(item)
    return information


def _reason(code: int | None) -> str:
    if code is None:
        return "no reason given"
    return f"{code:04X}H {FAILURE_REASONS.get(code, 'unknown reason')}"

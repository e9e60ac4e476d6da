"""The outbox: each report to each PACS by C-STORE, in order per study, until it is stored.

Delivery is at least once. A report's UID is derived from its content, so that a resend after a
crash or a lost answer is the same object, and the PACS keeps one.
"""

from __future__ import annotations

import random
import sys
import threading
import time
from collections.abc import Callable
from enum import Enum
from io import BytesIO

from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom import AE, _config, build_context
from pynetdicom.association import Association

from daemon import logs, process
from daemon.contexts import UNCOMPRESSED
from daemon.errors import PeerUnreachable
from daemon.events import Event
from daemon.settings import PacsSettings, Settings
from daemon.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from storage.database import open_database
from storage.errors import LostClaim, ObjectDamaged, ObjectMissing
from storage.objects import ObjectStore
from storage.outbox import Outbox
from storage.records import Delivery

BATCH = 16  # reports on one association
LEASE_S = 900.0
POLL_S = 0.1
FIRST_DELAY_S, LAST_DELAY_S = 1.0, 900.0
# A peer that cannot be reached is asked again at least this often: a connection attempt costs
# little, and every report waits for it.
LAST_UNREACHABLE_DELAY_S = 60.0


class Answer(Enum):
    """What a PACS's answer means for a report."""

    STORED = "stored"
    LATER = "later"
    DEAD = "dead"


def meaning(status: int | None) -> Answer:
    """Read a C-STORE status (PS3.4 table B.2-1); None where there was no answer.

    What may pass (no answer, out of resources) is tried again for ever; what will not (data set
    mismatch, cannot understand, SOP class not supported) is left to the administrator.
    """
    if status is None:
        return Answer.LATER
    if status == 0x0000 or status >> 12 == 0xB:
        return Answer.STORED
    if status >> 8 == 0xA9 or status >> 12 == 0xC or status == 0x0122:
        return Answer.DEAD
    return Answer.LATER


def delay_s(attempts: int, jitter: Callable[[], float] = random.random) -> float:
    """Return how long to wait after so many failed attempts: 1 s doubling to 15 min, halved at most
    by jitter, so that many services do not return in step."""
    longest = min(LAST_DELAY_S, FIRST_DELAY_S * 2.0 ** min(attempts - 1, 20))
    return longest * (0.5 + 0.5 * jitter())


class Courier:
    """Takes the reports for one PACS there, on its own thread."""

    def __init__(
        self, pacs: PacsSettings, calling_ae: str, outbox: Outbox, objects: ObjectStore, owner: str
    ) -> None:
        self._pacs = pacs
        self._calling_ae = calling_ae
        self._outbox = outbox
        self._objects = objects
        self._owner = owner
        self._log = logs.get().bind(pacs=pacs.name)
        self._failures = 0  # associations that failed in a row

    def run(self, stop: process.Stop) -> None:
        """Deliver until told to stop."""
        while not stop:
            try:
                busy = self.step(stop)
            except Exception as error:  # noqa: BLE001 - one PACS's fault must not stop the others
                self._log.error(Event.FAULT, **logs.whereabouts(error))
                busy = False
                stop.wait(5.0)
            if not busy:
                stop.wait(self._pause_s())

    def step(self, stop: process.Stop) -> bool:
        """Send what is due, at most one association's worth; return whether anything was sent."""
        now = time.time()
        batch = self._outbox.claim(self._pacs.name, BATCH, self._owner, LEASE_S, now)
        if not batch:
            return False
        readable = [(delivery, dataset) for delivery in batch if (dataset := self._read(delivery))]
        if not readable:
            return True
        try:
            association = self._associate([dataset for _, dataset in readable])
        except PeerUnreachable as error:
            self._failures += 1
            self._log.warning(
                Event.PACS_UNREACHABLE, reason=str(error), failures=self._failures,
                waiting=len(readable),
            )  # fmt: skip
            for delivery, _ in readable:
                self._put_back(delivery, "no association", str(error), now)
            return False
        if self._failures:
            self._log.info(Event.PACS_REACHED, after_failures=self._failures)
        self._failures = 0
        try:
            for delivery, dataset in readable:
                if stop or not association.is_established:
                    self._put_back(delivery, "not sent", "the association ended", now)
                else:
                    self._send(association, delivery, dataset)
        finally:
            if association.is_established:
                association.release()
        return True

    def _read(self, delivery: Delivery) -> Dataset | None:
        try:
            return dcmread(BytesIO(self._objects.read(delivery.sha256)))
        except (ObjectMissing, ObjectDamaged) as error:
            self._settle(delivery, Answer.DEAD, "not sent", str(error))
            return None

    def _associate(self, datasets: list[Dataset]) -> Association:
        entity = AE(ae_title=self._calling_ae)
        entity.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        entity.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        entity.connection_timeout = self._pacs.timeout_s
        entity.acse_timeout = self._pacs.timeout_s
        entity.dimse_timeout = self._pacs.timeout_s
        entity.network_timeout = self._pacs.timeout_s
        classes = sorted({str(dataset.SOPClassUID) for dataset in datasets})
        association = entity.associate(
            self._pacs.host,
            self._pacs.port,
            contexts=[build_context(uid, list(UNCOMPRESSED)[:2][::-1]) for uid in classes],
            ae_title=self._pacs.ae_title,
        )
        if association.is_established:
            return association
        if association.is_rejected:
            primitive = association.acceptor.primitive
            raise PeerUnreachable(
                f"the PACS rejected the association: {primitive.result_str}, {primitive.reason_str}"
            )
        raise PeerUnreachable(f"no association with {self._pacs.host} port {self._pacs.port}")

    def _send(self, association: Association, delivery: Delivery, dataset: Dataset) -> None:
        accepted = {context.abstract_syntax for context in association.accepted_contexts}
        if delivery.sop_class_uid not in accepted:
            self._settle(
                delivery, Answer.DEAD, "no context", "the PACS does not accept this SOP class"
            )
            return
        answer = association.send_c_store(dataset)
        status: int | None = answer.Status if "Status" in answer else None
        self._settle(
            delivery,
            meaning(status),
            "no answer" if status is None else f"{status:04X}",
            None,
        )

    def _settle(self, delivery: Delivery, answer: Answer, status: str, error: str | None) -> None:
        now = time.time()
        log = self._log.bind(
            report=delivery.sop_instance_uid, status=status, attempts=delivery.attempts
        )
        try:
            match answer:
                case Answer.STORED:
                    self._outbox.stored(delivery, status, now)
                    log.info(Event.REPORT_STORED)
                case Answer.DEAD:
                    self._outbox.dead(delivery, status, error or "refused by the PACS", now)
                    log.error(Event.REPORT_DEAD, reason=error)
                case Answer.LATER:
                    wait_s = delay_s(delivery.attempts)
                    self._outbox.later(
                        delivery, now + wait_s, status, error or "the PACS asked to wait", now
                    )
                    log.warning(Event.REPORT_DELAYED, wait_s=round(wait_s, 1))
        except LostClaim:
            log.warning(Event.CLAIM_LOST)

    def _put_back(self, delivery: Delivery, status: str, error: str, now: float) -> None:
        """Undo a claim that sent nothing: the report stays due until the PACS is reached."""
        try:
            self._outbox.later(delivery, now, status, error, now)
        except LostClaim:
            self._log.warning(Event.CLAIM_LOST, report=delivery.sop_instance_uid)

    def _pause_s(self) -> float:
        if not self._failures:
            return POLL_S
        return min(delay_s(self._failures), LAST_UNREACHABLE_DELAY_S)


def serve(settings: Settings, stop: process.Stop, owner: str) -> int:
    """Deliver to every configured PACS until told to stop; return the exit status."""
    _config.LOG_HANDLER_LEVEL = "none"
    database = open_database(settings.storage.url)
    objects = ObjectStore(settings.storage.root)
    couriers = [
        threading.Thread(
            target=Courier(pacs, settings.dicom.ae_title, Outbox(database), objects, owner).run,
            args=(stop,),
            name=f"courier-{pacs.name}",
            daemon=True,
        )
        for pacs in settings.pacs
    ]
    for courier in couriers:
        courier.start()
    while not stop.wait(3600):
        pass
    deadline = time.monotonic() + process.DRAIN_S
    for courier in couriers:
        courier.join(max(0.0, deadline - time.monotonic()))
    return 0


if __name__ == "__main__":
    sys.exit(process.run("delivery", serve))

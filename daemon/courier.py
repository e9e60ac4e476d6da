"""The courier: reports, and the heat maps beside them, to one PACS by C-STORE.

Delivery is at least once. A report's UID is derived from its content, so that a resend after a
crash or a lost answer is the same object, and the PACS keeps one.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from io import BytesIO

from pydicom import dcmread
from pydicom.dataset import Dataset

from daemon import logs, process
from daemon.association import KeptAssociation
from daemon.contexts import HEAT_MAPS, NAMES, REPORT_FORMS
from daemon.errors import CannotStepDown, PeerUnreachable
from daemon.events import Event
from daemon.settings import PacsSettings
from storage.database import Database
from storage.errors import LostClaim, ObjectDamaged, ObjectMissing
from storage.objects import ObjectStore
from storage.outbox import Outbox
from storage.peers import Peers
from storage.records import Delivery, Form, Peer

BATCH = 16  # objects claimed at a time
LEASE_S = 900.0
POLL_S = 0.5  # a look in case no ring announced the work
FIRST_DELAY_S, LAST_DELAY_S = 1.0, 900.0
# A peer that cannot be reached is asked again at least this often: a connection attempt costs
# little, and every report waits for it.
LAST_UNREACHABLE_DELAY_S = 60.0

NO_FORM = "the PACS takes none of: " + ", ".join(REPORT_FORMS.values())


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
    """Takes the reports for one PACS there, and the heat maps beside them."""

    def __init__(
        self,
        pacs: PacsSettings,
        calling_ae: str,
        database: Database,
        objects: ObjectStore,
        owner: str,
        heat_map: str = "none",
        stored: Callable[[], None] = lambda: None,
    ) -> None:
        """`stored` is called when there is something new for the PACS to commit to."""
        self._pacs = pacs
        self._outbox = Outbox(database)
        self._clock = database.clock
        self._objects = objects
        self._owner = owner
        self._stored = stored
        self._log = logs.get().bind(pacs=pacs.name)
        self._association = KeptAssociation(
            pacs, calling_ae, HEAT_MAPS.get(heat_map), Peers(database), self._learnt
        )
        self._failures = 0  # associations that failed in a row
        self._not_before = 0.0  # on the monotonic clock

    def step(self, stop: process.Stop) -> float:
        """Send what is due, at most a batch; return for how many seconds nothing is to do."""
        wait_s = self._not_before - time.monotonic()
        if wait_s > 0:
            return wait_s  # a new report is no reason to ask a silent PACS again
        batch = self._outbox.claim(self._pacs.name, BATCH, self._owner, LEASE_S, self._clock())
        if not batch:
            self._association.tidy()
            return POLL_S
        for position, delivery in enumerate(batch):
            if stop:
                self._put_back(batch[position:], "the service stopped")
                break
            try:
                self._deliver(delivery)
            except PeerUnreachable as error:
                self._put_back(batch[position:], str(error))
                return self._unreachable(str(error), len(batch) - position)
        return 0.0

    def end(self) -> None:
        """Release the association."""
        self._association.release()

    def mend(self) -> None:
        """After a fault: give back what was claimed, and begin with a new association."""
        self._association.release()
        self._outbox.release(self._owner, self._pacs.name)

    def _deliver(self, delivery: Delivery) -> None:
        """Send one object in the form that the PACS takes. Raises PeerUnreachable."""
        try:
            dataset = dcmread(BytesIO(self._objects.read(delivery.sha256)))
        except (ObjectMissing, ObjectDamaged) as error:
            self._dead(delivery, "not sent", str(error))
            return
        fresh = self._association.ready(delivery.sop_class_uid)
        self._reached()
        form = self._form(delivery)
        if form is None:
            self._refused(delivery)
            return
        try:
            shown = dataset if form == delivery.sop_class_uid else _step_down(dataset, form)
            sent = Form(form, str(shown.SOPInstanceUID))
            status = self._send(shown, form, fresh=fresh)
        except (CannotStepDown, ValueError) as error:
            name = NAMES.get(form, form)
            self._dead(delivery, "not sent", f"it cannot be sent as {name}: {error}")
            return
        self._settle(delivery, status, sent)

    def _form(self, delivery: Delivery) -> str | None:
        """The SOP class to send it as: what was tried before, so that the PACS gets no second."""
        if delivery.companion_id is not None:
            taken = delivery.sop_class_uid in self._association.accepted
            return delivery.sop_class_uid if taken else None
        tried = (delivery.tried.sop_class_uid,) if delivery.tried else ()
        forms = (*tried, *REPORT_FORMS)
        return next((uid for uid in forms if uid in self._association.accepted), None)

    def _send(self, dataset: Dataset, form: str, *, fresh: bool) -> int | None:
        started = time.monotonic()
        status = self._association.send(dataset)
        if status is not None or fresh or time.monotonic() - started > self._pacs.timeout_s / 2:
            return status
        # A kept association that the PACS has given up: that is not the report's failure
        self._association.ready(form)
        return self._association.send(dataset) if form in self._association.accepted else None

    def _settle(self, delivery: Delivery, status: int | None, sent: Form) -> None:
        now = self._clock()
        answered = "no answer" if status is None else f"{status:04X}"
        log = self._log.bind(report=sent.sop_instance_uid, status=answered)
        match meaning(status):
            case Answer.STORED:
                commit = self._pacs.storage_commitment
                with self._claim_lost(delivery):
                    self._outbox.stored(delivery, answered, now, sent, commit=commit)
                    report = delivery.companion_id is None
                    log.info(
                        Event.REPORT_STORED if report else Event.HEAT_MAP_STORED,
                        attempts=delivery.attempts,
                    )
                    if sent.sop_class_uid != delivery.sop_class_uid:
                        log.info(Event.REPORT_STEPPED_DOWN, form=NAMES[sent.sop_class_uid])
                    self._stored()
            case Answer.DEAD:
                self._dead(delivery, answered, "refused by the PACS")
            case Answer.LATER:
                wait_s = delay_s(delivery.attempts)
                reason = "no answer" if status is None else "the PACS asked to wait"
                with self._claim_lost(delivery):
                    self._outbox.later(delivery, now + wait_s, answered, reason, now, sent)
                    log.warning(Event.REPORT_DELAYED, wait_s=round(wait_s, 1))

    def _refused(self, delivery: Delivery) -> None:
        """The PACS takes no form of it: a heat map is let go, a report is for somebody to see."""
        if delivery.companion_id is None:
            self._dead(delivery, "no context", NO_FORM)
            return
        reason = f"the PACS does not take {NAMES.get(delivery.sop_class_uid, 'its SOP class')}"
        with self._claim_lost(delivery):
            self._outbox.not_taken(delivery, "no context", reason, self._clock())
            self._log.warning(
                Event.HEAT_MAP_NOT_TAKEN, report=delivery.sop_instance_uid, reason=reason
            )

    def _dead(self, delivery: Delivery, status: str, reason: str) -> None:
        with self._claim_lost(delivery):
            self._outbox.dead(delivery, status, reason, self._clock())
            self._log.error(
                Event.REPORT_DEAD, report=delivery.sop_instance_uid, status=status, reason=reason
            )

    def _put_back(self, deliveries: list[Delivery], reason: str) -> None:
        """Undo claims that sent nothing: the reports stay due until the PACS is reached."""
        now = self._clock()
        for delivery in deliveries:
            with self._claim_lost(delivery):
                self._outbox.put_back(delivery, "no association", reason, now)

    def _unreachable(self, reason: str, waiting: int) -> float:
        self._failures += 1
        self._log.warning(
            Event.PACS_UNREACHABLE, reason=reason, failures=self._failures, waiting=waiting
        )
        wait_s = min(delay_s(self._failures), LAST_UNREACHABLE_DELAY_S)
        self._not_before = time.monotonic() + wait_s
        return wait_s

    def _reached(self) -> None:
        if self._failures:
            self._log.info(Event.PACS_REACHED, after_failures=self._failures)
        self._failures = 0

    def _learnt(self, peer: Peer) -> None:
        takes = [NAMES.get(uid, uid) for uid in peer.accepted]
        self._log.info(Event.PACS_LEARNT, takes=takes)

    @contextmanager
    def _claim_lost(self, delivery: Delivery) -> Iterator[None]:
        try:
            yield
        except LostClaim:
            self._log.warning(Event.CLAIM_LOST, report=delivery.sop_instance_uid)


def _step_down(dataset: Dataset, form: str) -> Dataset:
    """Return the report in a plainer form. Raises CannotStepDown."""
    # Loaded where a PACS needs it: it takes memory that most services can do without
    from daemon.report.errors import ReportError
    from daemon.report.forms import step_down

    try:
        return step_down(dataset, form)
    except ReportError as error:
        raise CannotStepDown(str(error)) from error

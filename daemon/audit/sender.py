"""Sends the audit trail to a collector: in order, at least once. The trail itself is the buffer.

The mark of what was sent moves on when the collector's system has acknowledged the bytes and the
connection has lived on for `CONFIRM_S` since: a collector that died with messages unread has closed
it by then. From a break on everything after the mark is sent again, so that a collector may see a
message twice, and never misses one.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from daemon import logs, process
from daemon.audit.messages import Messages, Patient
from daemon.audit.syslog import SEND_S, CollectorAway, Line, frame, own_name, own_process
from daemon.events import Event
from daemon.settings import Settings
from storage.audit import Audit
from storage.audit_marks import Marked, Marks
from storage.database import Database
from storage.patients import patient_of
from storage.people import Mark

BATCH = 100  # rows
POLL_S = 1.0
CONFIRM_S = 3.0
BACKOFF_S = (1.0, 2.0, 5.0, 15.0, 30.0, 60.0)


class Sender:
    """A duty of the delivery process. It reads the trail, and changes only its mark."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        clock: Callable[[], float] = time.time,
        backoff_s: tuple[float, ...] = BACKOFF_S,
        confirm_s: float = CONFIRM_S,
    ) -> None:
        self._chosen, self._clock = settings.audit, clock
        self._audit, self._marks = Audit(database), Marks(database)
        self._host = own_name()
        self._messages = Messages(settings, self._host, patients(settings, database))
        self._backoff_s, self._confirm_s = backoff_s, confirm_s
        self._line: Line | None = None
        self._failures = 0
        self._connected_at, self._well = 0.0, False
        self._written = Marked()  # the last row that this connection was given
        self._waiting: deque[Marked] = deque()  # written, `at` on the monotonic clock
        self._log = logs.get()

    def step(self, stop: process.Stop) -> float:
        """Send a batch; return for how many seconds nothing is to do."""
        try:
            if self._line is None:
                self._connect()
            return self._send(stop)
        except CollectorAway as error:
            return self._broken(str(error))

    def mend(self) -> None:
        """Begin again from the mark."""
        self._drop()

    def end(self) -> None:
        """Close the connection; what it may not have delivered is sent again."""
        self._drop()

    def _connect(self) -> None:
        self._line = Line(self._chosen)
        self._written = self._marks.of(Mark.SENT)
        self._connected_at, self._well = time.monotonic(), False

    def _send(self, stop: process.Stop) -> float:
        line = self._line
        if line is None:
            return POLL_S
        line.check()
        if not self._well and time.monotonic() - self._connected_at >= self._confirm_s:
            # Not before: in TLS 1.3 a certificate is refused after the client's handshake
            self._well, self._failures = True, 0
            self._log.info(Event.AUDIT_REACHED, host=self._chosen.host, row=self._written.row)
        self._confirm()
        rows = self._audit.after(self._written.row, BATCH)
        if not rows:
            return POLL_S
        number = own_process()
        line.send(b"".join(frame(self._messages.xml(row), row.at, self._host, number)
                           for row in rows))  # fmt: skip
        deadline = time.monotonic() + SEND_S
        while line.unread:
            if stop or time.monotonic() > deadline:
                raise CollectorAway("The collector takes nothing in.")
            time.sleep(0.01)
        self._written = Marked(rows[-1].id, rows[-1].sha256, time.monotonic())
        self._waiting.append(self._written)
        return 0.0 if len(rows) == BATCH else POLL_S

    def _confirm(self) -> None:
        """Move the mark to what was written long enough ago."""
        known, now = None, time.monotonic()
        while self._waiting and now - self._waiting[0].at >= self._confirm_s:
            known = self._waiting.popleft()
        if known is not None:
            self._marks.put(Mark.SENT, Marked(known.row, known.sha256, self._clock()))

    def _broken(self, why: str) -> float:
        self._drop()
        wait_s = self._backoff_s[min(self._failures, len(self._backoff_s) - 1)]
        if self._failures == 0:  # once, not each minute of a long absence
            self._log.warning(Event.AUDIT_UNREACHABLE, host=self._chosen.host, reason=why)
        self._failures += 1
        return wait_s

    def _drop(self) -> None:
        if self._line is not None:
            self._line.close()
        self._line = None
        self._waiting.clear()


def patients(settings: Settings, database: Database) -> Callable[[str], Patient | None]:
    """Return what finds a study's patient, and finds nobody where the settings do not allow it."""

    def find(study_uid: str) -> Patient | None:
        found = patient_of(database, study_uid) if settings.audit.patient_id else None
        return None if found is None else Patient(*found)

    return find

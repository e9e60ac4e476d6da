"""What some peers do that pynetdicom has no answer to."""

from __future__ import annotations

import threading
import time

from pynetdicom.dimse_messages import C_STORE_RQ, N_EVENT_REPORT_RQ
from pynetdicom.events import Event as DicomEvent

from daemon import logs
from daemon.events import Event

NO_UID = "0"
REPORTS = 32  # on commitments, at a time


def name_the_nameless(event: DicomEvent) -> None:
    """Give a C-STORE without a SOP Instance UID one that is refused.

    pynetdicom drops such a request, and the peer would wait for its time-out.
    """
    command = event.message.command_set
    if isinstance(event.message, C_STORE_RQ) and not command.get("AffectedSOPInstanceUID"):
        command.AffectedSOPInstanceUID = NO_UID


def one_at_a_time(event: DicomEvent, threads: int) -> None:
    """Let a peer wait that reports on commitments faster than we take it.

    pynetdicom starts a thread for each such report; here, in the thread that reads, is where the
    peer can be held up.
    """
    until = time.monotonic() + event.assoc.network_timeout
    while isinstance(event.message, N_EVENT_REPORT_RQ) and time.monotonic() < until:
        if threading.active_count() < threads:
            return
        time.sleep(0.01)


def fault(unforeseen: threading.ExceptHookArgs) -> None:
    """A peer's bytes that pynetdicom fails on end the association's thread: say so, without them"""
    if isinstance(unforeseen.exc_value, Exception):
        logs.get().error(Event.FAULT, **logs.whereabouts(unforeseen.exc_value))

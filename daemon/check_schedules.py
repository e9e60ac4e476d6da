"""What `hilum check` says of the schedules: whether what came due was made a run; the canary."""

from __future__ import annotations

import time
from collections.abc import Iterator

from daemon import admission, duetimes
from daemon.check_storage import Finding
from daemon.errors import WrongTiming
from daemon.own_port import own_address
from daemon.settings import Settings
from daemon.silences import silences
from storage.database import Database
from storage.schedule_records import RunKind, Schedule
from storage.schedules import Schedules

LATE_S = 300.0
"""The scheduler looks every few seconds."""


def look(settings: Settings, database: Database, now: float) -> Iterator[Finding]:
    """Look at every schedule, at the canary, and at who is silent. Raises StorageError."""
    schedules = Schedules(database).all()
    faults = [fault for one in schedules if (fault := _fault(one, now))]
    if faults:
        remedy = "start `hilum serve`, or mend the schedule: `hilum schedule list`"
        yield Finding("schedules", False, "; ".join(faults), remedy)
    else:
        yield Finding("schedules", True, f"{len(schedules)}, none is overdue")
    if any(one.kind is RunKind.CANARY for one in schedules):
        yield _canary(settings)
    silent = silences(database)
    if silent:
        yield Finding("silence", False, "; ".join(silent), "look at the station and its network")


def _fault(one: Schedule, now: float) -> str | None:
    try:
        due = duetimes.next_due(one, one.seen_until)
    except (WrongTiming, ValueError, LookupError, OSError):
        return f"{one.name} cannot be read: its time zone is not on this machine"
    if due is None:
        return f"{one.name} never comes due"
    if now - due > LATE_S:
        since = time.strftime("%Y-%m-%d %H:%M", time.localtime(due))
        return f"{one.name} came due at {since} and no scheduler was there"
    return None


def _canary(settings: Settings) -> Finding:
    dicom, caller = settings.dicom, settings.canary.ae_title
    host = own_address(dicom.bind)
    if dicom.port == 0:
        remedy = "set dicom.port to a number"
        return Finding("canary", False, "dicom.port is 0: it knows no port to go to", remedy)
    rejection = admission.judge(
        dicom.model_copy(update={"tls": None}),
        admission.Caller(caller, dicom.ae_title, host), open_now=1, open_there=1,
    )  # fmt: skip
    if rejection is not None:
        remedy = f'add "{caller}@{host}" to dicom.allowed_callers'
        return Finding("canary", False, f"our own port would reject {caller}", remedy)
    if not settings.canary_pacs:
        return Finding("canary", False, "it has no PACS to go to", "add a [[pacs]] table")
    to = ", ".join(pacs.name for pacs in settings.canary_pacs)
    return Finding("canary", True, f"from {caller} to our own port, its report to {to}")

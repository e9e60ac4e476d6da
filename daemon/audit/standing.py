"""How the audit trail stands: whether its chain holds, and what its collector lacks."""

from __future__ import annotations

import time

from daemon.check_storage import Finding
from daemon.settings import Settings
from storage.audit import Audit
from storage.audit_marks import Marks
from storage.database import Database
from storage.people import Mark

LATE_S = 600.0  # after so long without a row sent, a collector is away


def look_at_audit(settings: Settings, database: Database, now: float) -> Finding:
    """What the last checks found, and how many rows wait for the collector."""
    marks, head = Marks(database), Audit(database).head()
    whole, checked, sent = (marks.of(one) for one in (Mark.WHOLE, Mark.CHECKED, Mark.SENT))
    for mark in (checked, whole):
        if mark.broken is not None:
            says = f"row {mark.broken} is not what was written, or is missing"
            remedy = "compare with the collector's copy and with backups: `hilum audit verify`"
            return Finding("audit trail", False, says, remedy)
    when = time.strftime("%Y-%m-%d", time.localtime(whole.at)) if whole.at else "never yet"
    says = f"{head.rows} rows; checked as a whole {when}, since then up to row {checked.row}"
    if settings.audit.host is None:
        return Finding("audit trail", True, says)
    waiting = head.rows - sent.row
    says = f"{says}; {waiting} wait for {settings.audit.host}"
    oldest = Audit(database).after(sent.row, 1)
    if oldest and now - oldest[0].at > LATE_S and now - sent.at > LATE_S:
        remedy = "look at the collector and at audit.unreachable in the log: nothing is lost"
        return Finding("audit trail", False, says, remedy)
    return Finding("audit trail", True, says)

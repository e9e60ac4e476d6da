"""What `hilum check` and the pages say of the disk, the database and the outbox.

Nothing here imports machine learning.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import asdict, dataclass

from daemon.settings import Settings
from storage.database import Database, open_database
from storage.errors import StorageError
from storage.outbox import Outbox
from storage.queue import Queue
from storage.records import DeliveryState, JobState


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. What is good may still come with advice."""

    what: str
    good: bool
    says: str
    remedy: str = ""

    def as_dict(self) -> dict[str, object]:
        """Return the fields by name, for JSON."""
        return asdict(self)


def look_at_storage(settings: Settings) -> Finding:
    """Whether there is space for what comes."""
    root = settings.storage.root
    existing = next(folder for folder in (root, *root.parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    kept_free = f"{settings.storage.reserve_bytes / 1e9:.1f} GB of it kept free"
    says = f"{root}: {free / 1e9:.1f} GB free, {kept_free}"
    if not os.access(existing, os.W_OK):
        return Finding("storage", False, f"{existing} cannot be written to", "change its owner")
    if free <= settings.storage.reserve_bytes:
        remedy = "free some space, or lower storage.reserve_bytes or storage.retention_days"
        return Finding("storage", False, says, remedy)
    days = settings.storage.retention_days
    kept = f"delivered images are kept {days} days" if days else "images are kept for ever"
    return Finding("storage", True, f"{says}; {kept}")


def look_at_database(settings: Settings) -> tuple[Database | None, Finding]:
    """Open the database, and say whether it can be used; None where it cannot."""
    file = settings.storage.root / "hilum.sqlite"
    if settings.storage.database_url is None and not file.exists():
        return None, Finding("database", True, "will be made at the first start")
    database = open_database(settings.storage.url)
    try:
        faults = database.quick_check()
        revision, newest = (None, None) if faults else database.revisions()
    except StorageError as error:
        return None, Finding("database", False, str(error), "restore it from a backup")
    if faults:
        return None, Finding("database", False, faults[0], "restore it from a backup")
    says = f"sound; schema {revision}; journal mode {database.journal_mode or 'its own'}"
    if revision == newest:
        return database, Finding("database", True, says)
    if revision is not None and revision > str(newest):
        remedy = "install the release that made it"
        return None, Finding("database", False, f"{says}, newer than this release's", remedy)
    advice = f"the next start makes a copy and brings it to schema {newest}"
    if file.exists() and shutil.disk_usage(file.parent).free < 2 * file.stat().st_size:
        return None, Finding("database", False, f"{says}; no space for a copy", "free some space")
    return None, Finding("database", True, says, advice)


def look_at_reports(settings: Settings, database: Database) -> Finding:
    """What was given up, or goes nowhere, for an administrator to see."""
    faults, remedies = [], []
    quarantined = Queue(database).counts().jobs.get(JobState.QUARANTINED, 0)
    if quarantined:
        faults.append(f"{quarantined} images in quarantine")
        remedies.append("see `hilum queue list --state quarantined`")
    waiting = not_taken = 0
    known = {pacs.name for pacs in settings.pacs}
    for pacs, counts in Outbox(database).counts().items():
        dead = counts.get(DeliveryState.DEAD, 0)
        open_now = counts.get(DeliveryState.PENDING, 0) + counts.get(DeliveryState.SENDING, 0)
        waiting += open_now
        not_taken += counts.get(DeliveryState.NOT_TAKEN, 0)
        if dead:
            faults.append(f"{dead} refused by {pacs} for good")
            remedies.append("see `hilum queue list`, mend the cause, `hilum queue retry`")
        if open_now and pacs not in known:
            faults.append(f"{open_now} wait for {pacs}, which is not configured")
            remedies.append(f"configure {pacs} again")
    says = "; ".join([*faults, f"{waiting} wait", f"{not_taken} heat maps not taken"])
    return Finding("reports", not faults, says, "; ".join(dict.fromkeys(remedies)))

"""A run that checks the database, and a sample of the stored objects."""

from __future__ import annotations

from daemon.alarms import Bell
from daemon.care import SAMPLE, shown, tell
from daemon.run import Outcome, Task
from storage.care import check
from storage.errors import DatabaseDamaged
from storage.objects import ObjectStore


def perform(task: Task) -> Outcome:
    """Check, and raise or clear the alarm. Raises DatabaseDamaged where anything is wrong."""
    storage = task.settings.storage
    task.progress("copy", 0, 1)
    health = check(
        task.database, ObjectStore(storage.root), task.folder, storage.reserve_bytes, SAMPLE,
        lambda done, of: task.progress("objects", done, of),
    )  # fmt: skip
    fault = tell(Bell(task.database), health, task.clock())
    if fault is not None:
        raise DatabaseDamaged(fault)
    return Outcome(shown(health))

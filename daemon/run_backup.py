"""A run that copies the database."""

from __future__ import annotations

from daemon.run import Outcome, Task
from storage.backup import back_up


def perform(task: Task) -> Outcome:
    """Make and check a copy under ``<root>/backups``. Raises as `storage.backup.back_up`."""
    storage = task.settings.storage
    task.progress("copy", 0, 1)
    made = back_up(
        task.database, storage.root / "backups", storage.backups_kept, storage.reserve_bytes,
        task.clock(),
    )  # fmt: skip
    task.progress("copy", 1, 1)
    return Outcome(
        {
            "file": str(made.file.relative_to(storage.root)), "size_bytes": made.size_bytes,
            "tables": made.tables, "rows": made.rows, "integrity": "ok",
            "removed": list(made.removed),
        }
    )  # fmt: skip

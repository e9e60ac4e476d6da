"""What is silent, in words: for the pages and `hilum check`."""

from __future__ import annotations

import time

from storage.alarm_records import AlarmKind
from storage.alarms import Alarms
from storage.database import Database


def silences(database: Database) -> list[str]:
    """Say what should have come and has not. Raises StorageError."""
    told = []
    for one in Alarms(database).open():
        if one.kind == AlarmKind.SILENCE:
            since = time.strftime("%Y-%m-%d %H:%M", time.localtime(one.detail["last_at"]))
            told.append(f"nothing has come from {one.subject} since {since}")
        elif one.kind == AlarmKind.CANARY:
            told.append(f"the canary has not come through: {one.detail['reason']}")
    return told

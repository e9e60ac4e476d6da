"""What is said of the health of the storage: in the log, as an alarm, and to who asks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from daemon import logs
from daemon.alarms import Bell
from daemon.events import Event
from storage.alarm_records import AlarmKind
from storage.care import Health
from storage.errors import ObjectDamaged, ObjectMissing
from storage.records import Sha256

SAMPLE = 1000  # objects that a scheduled check hashes
_SHOWN = 5
_SUBJECT_DATABASE, _SUBJECT_OBJECTS = "database", "objects"


def tell(bell: Bell, health: Health, now: float) -> str | None:
    """Log each fault, raise or clear the alarms; return the faults as a line, None without one."""
    damaged = dict.fromkeys(health.objects.damaged, ObjectDamaged)
    tell_objects(bell, {**dict.fromkeys(health.objects.missing, ObjectMissing), **damaged}, now)
    if health.database:
        first = list(health.database[:_SHOWN])
        logs.get().critical(Event.DATABASE_DAMAGED, count=len(health.database), first=first)
        bell.ring(AlarmKind.STORAGE, _SUBJECT_DATABASE, {"faults": first}, now)
    else:
        bell.still(AlarmKind.STORAGE, _SUBJECT_DATABASE, now, "a check found it sound")
    if not (health.objects.missing or damaged):
        bell.still(AlarmKind.STORAGE, _SUBJECT_OBJECTS, now, "a check found them sound")
    return None if health.is_sound else in_words(health)


def tell_objects(
    bell: Bell, found: Mapping[Sha256, type[ObjectMissing | ObjectDamaged]], now: float
) -> None:
    """Log each object that is damaged or lost, and raise the alarm."""
    for one, fault in found.items():
        event = Event.OBJECT_LOST if fault is ObjectMissing else Event.OBJECT_DAMAGED
        logs.get().error(event, sha256=one)
    if found:
        lost = sum(1 for fault in found.values() if fault is ObjectMissing)
        detail = {"lost": lost, "damaged": len(found) - lost, "first": list(found)[:_SHOWN]}
        bell.ring(AlarmKind.STORAGE, _SUBJECT_OBJECTS, detail, now)


def in_words(health: Health) -> str:
    """Say in a line what is wrong, or that nothing is."""
    objects, parts = health.objects, []
    if health.database:
        parts.append("the database is damaged: " + "; ".join(health.database[:_SHOWN]))
    if objects.missing:
        parts.append(f"{len(objects.missing)} of {objects.named} objects are missing")
    if objects.damaged:
        parts.append(f"{len(objects.damaged)} of {objects.hashed} objects read are damaged")
    sound = f"sound; {objects.named} objects are there, {objects.hashed} of them read"
    return "; ".join(parts) or sound


def shown(health: Health) -> dict[str, Any]:
    """Return a check as JSON."""
    objects = health.objects
    return {
        "sound": health.is_sound, "database": list(health.database), "objects": objects.named,
        "hashed": objects.hashed, "missing": list(objects.missing),
        "damaged": list(objects.damaged),
    }  # fmt: skip

"""Care of what is stored: is the database sound, and are the objects there that it names?"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Select, select, union_all

from storage.backup import room_for_copy
from storage.copies import copied, faults
from storage.database import Database
from storage.errors import AlreadyServing, DatabaseDamaged, ObjectDamaged, ObjectMissing, Refused
from storage.objects import ObjectStore
from storage.records import Sha256
from storage.root import lock_root
from storage.schema import companion, instance, report


@dataclass(frozen=True, slots=True)
class Objects:
    """What became of reading objects again."""

    named: int  # by the database
    hashed: int
    missing: tuple[Sha256, ...]
    damaged: tuple[Sha256, ...]


@dataclass(frozen=True, slots=True)
class Health:
    """What a check found; `database` is empty where it is sound."""

    database: tuple[str, ...]
    objects: Objects

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong."""
        return not (self.database or self.objects.missing or self.objects.damaged)


def check(
    database: Database,
    objects: ObjectStore,
    scratch: Path,
    reserve_bytes: int,
    sample: int | None,
    progress: Callable[[int, int], None] = lambda _done, _of: None,
) -> Health:
    """Check a copy of the database, so that no writer waits, and hash `sample` of its objects.

    `sample` None is all; that each is there is looked at of all. Raises OutOfSpace.
    """
    return Health(tuple(_database_faults(database, scratch, reserve_bytes)),
                  look_at(objects, named(database), sample, progress))  # fmt: skip


def named(database: Database) -> list[Sha256]:
    """Return each object that the database names and retention has not begun to delete."""
    of_images: Select[tuple[str]] = select(instance.c.sha256).where(instance.c.removal.is_(None))
    beside: Select[tuple[str]] = select(companion.c.sha256).where(companion.c.removal.is_(None))
    query = union_all(of_images, beside, select(report.c.sha256))
    with database.read() as connection:
        return list(dict.fromkeys(connection.execute(query).scalars()))


def look_at(
    objects: ObjectStore,
    which: list[Sha256],
    sample: int | None,
    progress: Callable[[int, int], None] = lambda _done, _of: None,
) -> Objects:
    """Look whether each is there, and hash some of them or, `sample` None, all."""
    missing = [one for one in which if not objects.exists(one)]
    there = sorted({*which} - {*missing})
    chosen = there if sample is None else random.sample(there, min(sample, len(there)))
    damaged = []
    for number, one in enumerate(chosen):
        progress(number, len(chosen))
        if unsound(objects, one) is ObjectDamaged:  # if missing, retention has just deleted it
            damaged.append(one)
    return Objects(len(which), len(chosen), tuple(missing), tuple(damaged))


def unsound(objects: ObjectStore, one: Sha256) -> type[ObjectMissing | ObjectDamaged] | None:
    """Read an object; return what is wrong with it, None if nothing is."""
    try:
        objects.read(one)
    except (ObjectMissing, ObjectDamaged) as error:
        return type(error)
    except OSError:  # the disk cannot read it
        return ObjectDamaged
    return None


def unsound_within(
    objects: ObjectStore, which: Iterable[Sha256], seconds: float
) -> dict[Sha256, type[ObjectMissing | ObjectDamaged]]:
    """Look whether each is there, and hash as many as that time allows, in their order."""
    found, deadline = {}, time.monotonic() + seconds
    for one in dict.fromkeys(which):
        if time.monotonic() < deadline:
            fault = unsound(objects, one)
        else:
            fault = None if objects.exists(one) else ObjectMissing
        if fault is not None:
            found[one] = fault
    return found


def restore(backup: Path, file: Path, root: Path) -> None:
    """Put a backup in the place of a database that is gone. `file`: where the service opens it.

    Raises AlreadyServing; Refused where there is a database, which no restore overwrites, or no
    backup; DatabaseDamaged where the backup is not sound; and OutOfSpace.
    """
    try:
        held = lock_root(root)
    except AlreadyServing as error:
        raise AlreadyServing(f"{error} Stop it, then restore.") from None
    with held:
        for there in (file, *(file.with_name(file.name + end) for end in ("-wal", "-journal"))):
            # A journal that is not empty would be played into the database restored
            if there.exists() and there.stat().st_size:
                raise Refused(f"{there} is there. Move it away: a restore overwrites nothing.")
        if not backup.is_file():
            raise Refused(f"There is no backup {backup}.")
        found = faults(backup)
        if found:
            raise DatabaseDamaged(f"The backup is not sound: {'; '.join(found[:5])}.")
        with copied(backup, file) as draft:
            if faults(draft):
                raise DatabaseDamaged("The copy of the backup is not sound; the backup is.")


def _database_faults(database: Database, scratch: Path, reserve_bytes: int) -> list[str]:
    if database.journal_mode is None:
        return []  # PostgreSQL's own means look after it
    source = room_for_copy(database, scratch, reserve_bytes)
    file = scratch / "check.sqlite"
    try:
        with copied(source, file) as draft:
            return faults(draft)
    except DatabaseDamaged as error:
        return [str(error)]
    finally:
        file.unlink(missing_ok=True)

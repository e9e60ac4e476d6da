"""How the service is: which of its processes run, what waits, the disk and the database."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

from pydantic import BaseModel, Field

from daemon.settings import Settings
from daemon.silences import silences
from daemon.web.context import Site
from storage.queue import Queue
from storage.records import DeliveryState, JobState

PREFIX = "hilum-"  # what the supervisor calls its processes


class Process(BaseModel):
    """A process of the service."""

    name: str = Field(description="Its role, and its number where there are several.")
    running: bool = Field(description="Whether it runs at this moment.")
    pid: int | None = Field(description="Its process number, none where it does not run.")


class Disk(BaseModel):
    """The file system of the storage root."""

    total_bytes: int = Field(description="Its size, in bytes.")
    free_bytes: int = Field(description="What is free of it, in bytes.")
    reserve_bytes: int = Field(description="Below so much free space no image is taken, in bytes.")
    good: bool = Field(description="Whether images are taken.")


class DatabaseState(BaseModel):
    """The database."""

    revision: str | None = Field(description="Revision of its schema.")
    expected: str = Field(description="Revision that this release expects.")
    journal_mode: str | None = Field(description="SQLite's journal; none with PostgreSQL.")
    answered_ms: float = Field(description="How long it took to answer, in milliseconds.")


class Health(BaseModel):
    """How the service is."""

    good: bool = Field(description="Whether all processes run, and images are taken.")
    faults: list[str] = Field(description="What is not good, in words.")
    silent: list[str] = Field(
        description="What should have come and has not: stations, and the canary. No fault of a"
        " process, so that `good` does not tell it."
    )
    processes: list[Process] = Field(description="The processes that should run.")
    jobs: dict[JobState, int] = Field(description="How many images stand in each state.")
    deliveries: dict[DeliveryState, int] = Field(
        description="How many reports and heat maps stand in each state."
    )
    disk: Disk = Field(description="The file system of the storage root.")
    database: DatabaseState = Field(description="The database.")


def look(site: Site) -> Health:
    """Look at everything once; takes some milliseconds. Raises StorageError."""
    started = time.perf_counter()
    counts = Queue(site.database).counts()
    answered_ms = (time.perf_counter() - started) * 1000
    revision, expected = site.database.revisions()
    running = processes(site.settings)
    disk = _disk(site.settings)
    faults = [f"the process {one.name} does not run" for one in running if not one.running]
    if not disk.good:
        faults.append("the disk is too full for images to be taken")
    if revision != expected:
        faults.append("the database has another schema than this release expects")
    return Health(
        good=not faults,
        faults=faults,
        silent=silences(site.database),
        processes=running,
        jobs=counts.jobs,
        deliveries=counts.deliveries,
        disk=disk,
        database=DatabaseState(
            revision=revision, expected=expected, journal_mode=site.database.journal_mode,
            answered_ms=round(answered_ms, 2),
        ),
    )  # fmt: skip


def processes(settings: Settings) -> list[Process]:
    """Return the processes that should run beside this one, children of the same supervisor."""
    wanted = ["listener", *(f"worker-{n}" for n in range(settings.classifier.workers))]
    found = _siblings(os.getppid())
    return [
        Process(name=name, running=name in found, pid=found.get(name))
        for name in (*wanted, "delivery", "web", "scheduler")
    ]


def _siblings(parent: int) -> dict[str, int]:
    """Return the name and the number of each child of a process (proc(5), /proc/pid/stat)."""
    found = {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = file.read_text()
        except OSError:
            continue  # it has just ended
        name = text[text.index("(") + 1 : text.rindex(")")]
        state, above = text[text.rindex(")") + 2 :].split()[:2]
        if int(above) == parent and state not in "ZX" and name.startswith(PREFIX):
            found[name.removeprefix(PREFIX)] = int(file.parent.name)
    return found


def _disk(settings: Settings) -> Disk:
    usage, reserve = shutil.disk_usage(settings.storage.root), settings.storage.reserve_bytes
    return Disk(
        total_bytes=usage.total, free_bytes=usage.free, reserve_bytes=reserve,
        good=usage.free >= reserve,
    )  # fmt: skip

"""The delivery process: one thread to each PACS, one more for its commitment, one for retention,
one that checks the audit trail, and one that sends it to a collector."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from typing import Protocol

from pynetdicom import _config

from daemon import logs, process
from daemon.audit.checker import Checker
from daemon.audit.sender import Sender
from daemon.commitment import Notary
from daemon.courier import Courier
from daemon.events import Event
from daemon.renewal import Renewal
from daemon.retention import Sweeper
from daemon.settings import Settings
from storage.commitments import Commitments
from storage.database import Database, open_database
from storage.errors import SyncFailed
from storage.objects import ObjectStore

FAULT_S = 5.0  # after a fault, before the next attempt


class Duty(Protocol):
    """What a thread of this process does, again and again."""

    def step(self, stop: process.Stop) -> float:
        """Do a piece of it; return for how many seconds nothing is to do."""

    def mend(self) -> None:
        """Come into order after a fault."""

    def end(self) -> None:
        """Leave nothing open."""


def keep_at(duty: Duty, stop: process.Stop, bell: process.Bell) -> None:
    """Do a duty until told to stop."""
    faulty = False
    while not stop:
        try:
            if faulty:
                duty.mend()
            faulty = False
            wait_s = duty.step(stop)
        except SyncFailed:
            # What the disk holds now is unknown: no further write, a new process
            logs.get().critical(Event.FAULT, reason="fsync failed")
            os._exit(process.EXIT_FAULT)
        except Exception as error:  # noqa: BLE001 - one PACS's fault must not stop the others
            logs.get().error(Event.FAULT, duty=type(duty).__name__, **logs.whereabouts(error))
            faulty, wait_s = True, FAULT_S
        if wait_s > 0:
            bell.wait(stop, wait_s)
    duty.end()


def serve(settings: Settings, stop: process.Stop, owner: str, bells: process.Bells) -> int:
    """Deliver to every configured PACS until told to stop; return the exit status."""
    _config.LOG_HANDLER_LEVEL = "none"
    database = open_database(settings.storage.url)
    objects = ObjectStore(settings.storage.root)
    threads = [
        threading.Thread(target=keep_at, args=(duty, stop, bell), daemon=True)
        for duty, bell in _duties(settings, database, objects, owner, bells)
    ]
    for thread in threads:
        thread.start()
    while not stop.wait(3600):
        pass
    deadline = time.monotonic() + process.DRAIN_S
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return 0


def _duties(
    settings: Settings, database: Database, objects: ObjectStore, owner: str, bells: process.Bells
) -> Iterator[tuple[Duty, process.Bell]]:
    own_ae = settings.dicom.ae_title
    commitments = Commitments(database)
    for pacs in settings.pacs:
        stored = process.Bell()
        yield (
            Courier(pacs, own_ae, database, objects, owner, settings.report.heat_map, stored.ring),
            bells.of(f"delivery-{pacs.name}"),
        )
        if pacs.storage_commitment:
            yield Notary(pacs, own_ae, commitments), stored
        else:
            commitments.waive(pacs.name)
    if any(pacs.tls for pacs in settings.pacs):
        yield Renewal(settings.pacs, database), process.Bell()
    if settings.storage.retention_days:
        kept = settings.training.keep_labelled_days
        yield (
            Sweeper(settings.storage.retention_days, database, objects, kept),
            process.Bell(),
        )
    yield Checker(database, settings.audit.check_days), process.Bell()
    if settings.audit.host is not None:
        yield Sender(settings, database), process.Bell()

"""`hilum check`: is everything in place that the service needs, and if not, what to do."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.table import Table

from classifier.bundle import load_bundle
from classifier.engine import open_engine
from classifier.errors import ClassifierError
from daemon import check_peers, clock
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


def run(settings: Settings, config: Path) -> list[Finding]:
    """Look at everything; a fault in one does not keep the others from being looked at."""
    findings = [_settings(settings, config), _storage(settings)]
    database, found = _database(settings)
    findings += [found, *_model(settings)]
    newest: float | None = None
    if database is not None:
        try:
            findings.append(_reports(settings, database))
            newest = max((row.received_at for row in Queue(database).rows(limit=1)), default=None)
        except StorageError as error:
            findings.append(Finding("reports", False, str(error), "restore the database"))
    findings += [
        Finding(*one)
        for pacs in settings.pacs
        for one in check_peers.look(settings, pacs, database)
    ]
    if not settings.pacs:
        findings.append(
            Finding("PACS", False, "none is configured", "add a [[pacs]] table to the settings")
        )
    findings.append(Finding("clock", *clock.look(newest)))
    if database is not None:
        database.close()
    return findings


def _settings(settings: Settings, config: Path) -> Finding:
    callers = settings.dicom.allowed_callers
    says = f"{config}: read; AE title {settings.dicom.ae_title}, port {settings.dicom.port}"
    if "*@*" in callers:
        advice = "everybody may send: name the modalities in dicom.allowed_callers"
        return Finding("settings", True, says, advice)
    return Finding("settings", True, f"{says}, {len(callers)} allowed callers")


def _storage(settings: Settings) -> Finding:
    root = settings.storage.root
    existing = next(folder for folder in (root, *root.parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    says = f"{root}: {free / 1e9:.1f} GB free, {settings.storage.reserve_bytes / 1e9:.1f} GB kept"
    if not os.access(existing, os.W_OK):
        return Finding("storage", False, f"{existing} cannot be written to", "change its owner")
    if free <= settings.storage.reserve_bytes:
        remedy = "free some space, or lower storage.reserve_bytes or storage.retention_days"
        return Finding("storage", False, says, remedy)
    days = settings.storage.retention_days
    kept = f"delivered images are kept {days} days" if days else "images are kept for ever"
    return Finding("storage", True, f"{says}; {kept}")


def _database(settings: Settings) -> tuple[Database | None, Finding]:
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


def _model(settings: Settings) -> Iterator[Finding]:
    try:
        bundle = load_bundle(settings.classifier.bundle)
    except ClassifierError as error:
        yield Finding("model", False, str(error), "set classifier.bundle to a sound bundle")
        return
    yield Finding("model", True, f"{bundle.version}, every file as hashed")
    try:
        engine = open_engine(bundle, settings.classifier.engine)
    except ClassifierError as error:
        yield Finding("engine", False, str(error), 'set classifier.engine to "auto"')
        return
    yield Finding("engine", True, f"{engine.name}: {engine.reason}")
    if bundle.manifest.frontal is None:
        says = "the bundle has no model of frontal chests: the header alone says what is analysed"
        remedy = "make one with `hilum eligibility --data DIR --out BUNDLE`"
        yield Finding("eligibility", True, says, remedy)
    else:
        share = f"{bundle.manifest.frontal.accepted.value:.1%}"
        yield Finding("eligibility", True, f"by the pixels; {share} of frontal chests pass")


def _reports(settings: Settings, database: Database) -> Finding:
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


def table(findings: list[Finding]) -> Table:
    """Return the findings as a table for a person."""
    drawn = Table("", "what", "found", "what to do")
    for finding in findings:
        drawn.add_row(_mark(finding), finding.what, finding.says, finding.remedy)
    return drawn


def _mark(finding: Finding) -> str:
    if not finding.good:
        return "[red]fault[/red]"
    return "[yellow]note[/yellow]" if finding.remedy else "[green]ok[/green]"

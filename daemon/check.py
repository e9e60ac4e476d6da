"""`hilum check`: is everything in place that the service needs, and if not, what to do."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from rich.table import Table

from classifier.bundle import Bundle, load_bundle
from classifier.engine import open_engine
from classifier.errors import ClassifierError
from daemon import check_peers, check_schedules, check_tls, check_web, clock
from daemon.audit.standing import look_at_audit
from daemon.check_storage import Finding, look_at_database, look_at_reports, look_at_storage
from daemon.settings import Settings
from daemon.shelf import Shelf
from storage.bundles import Deed
from storage.database import Database
from storage.errors import StorageError
from storage.ledger import Ledger
from storage.queue import Queue


def run(settings: Settings, config: Path) -> list[Finding]:
    """Look at everything; a fault in one does not keep the others from being looked at."""
    findings = [_settings(settings, config), look_at_storage(settings)]
    database, found = look_at_database(settings)
    findings += [found, *_model(settings, database)]
    newest: float | None = None
    if database is not None:
        try:
            findings.append(look_at_reports(settings, database))
            findings += check_schedules.look(settings, database, time.time())
            findings.append(look_at_audit(settings, database, time.time()))
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
    findings.append(check_web.look(settings, config, database))
    findings += check_tls.look(settings)
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


def _model(settings: Settings, database: Database | None) -> Iterator[Finding]:
    try:
        bundle, where = _serving(settings, database)
    except (ClassifierError, StorageError) as error:
        remedy = "set classifier.bundle to a sound bundle, or promote one: `hilum model list`"
        yield Finding("model", False, str(error), remedy)
        return
    yield Finding("model", True, f"{bundle.version}, {where}, every file as hashed")
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


def _serving(settings: Settings, database: Database | None) -> tuple[Bundle, str]:
    """The bundle that the next worker would serve. Raises ClassifierError and StorageError."""
    serving = None if database is None else Ledger(database).serving()
    if serving is None or serving.promotion.deed is Deed.CONFIGURED:
        return load_bundle(settings.classifier.bundle), "as the settings name it"
    shelf = Shelf(settings.storage.root)
    deed = serving.promotion.deed.replace("_", " ")
    return shelf.load(serving.model.folder, serving.model.digest), f"as the ledger says ({deed})"


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

"""`hilum check`: is everything in place that the service needs, and if not, what to do."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

from pynetdicom import AE, _config, build_context
from rich.table import Table

from classifier.bundle import load_bundle
from classifier.classify import Classifier
from classifier.errors import ClassifierError
from daemon.contexts import COMPREHENSIVE_SR, VERIFICATION
from daemon.settings import PacsSettings, Settings
from storage.database import open_database
from storage.errors import StorageError


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    what: str
    good: bool
    says: str
    remedy: str = ""

    def as_dict(self) -> dict[str, object]:
        """Return the fields by name, for JSON."""
        return asdict(self)


def run(settings: Settings) -> list[Finding]:
    """Look at everything; a fault in one does not keep the others from being looked at."""
    checks: list[Callable[[], Finding]] = [
        lambda: _storage(settings),
        lambda: _database(settings),
        lambda: _model(settings),
    ]
    findings = [check() for check in checks]
    findings += [_peer(settings.dicom.ae_title, pacs) for pacs in settings.pacs]
    if not settings.pacs:
        findings.append(
            Finding("PACS", False, "none is configured", "add a [[pacs]] table to the settings")
        )
    return findings


def _storage(settings: Settings) -> Finding:
    root = settings.storage.root
    existing = next(folder for folder in (root, *root.parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    says = f"{root}: {free / 1e9:.1f} GB free, {settings.storage.reserve_bytes / 1e9:.1f} GB kept"
    if free <= settings.storage.reserve_bytes:
        return Finding("storage", False, says, "free some space or lower storage.reserve_bytes")
    return Finding("storage", True, says)


def _database(settings: Settings) -> Finding:
    if (
        settings.storage.database_url is None
        and not (settings.storage.root / "hilum.sqlite").exists()
    ):
        return Finding("database", True, "will be made at the first start")
    try:
        database = open_database(settings.storage.url)
        faults = database.quick_check()
    except StorageError as error:
        return Finding("database", False, str(error), "restore it from a backup")
    if faults:
        return Finding("database", False, faults[0], "restore it from a backup")
    return Finding("database", True, f"sound; journal mode {database.journal_mode}")


def _model(settings: Settings) -> Finding:
    try:
        classifier = Classifier(load_bundle(settings.classifier.bundle), settings.classifier.engine)
    except ClassifierError as error:
        return Finding("model", False, str(error), "set classifier.bundle to a sound bundle")
    return Finding(
        "model",
        True,
        f"{classifier.version}, every file as hashed; engine {classifier.engine.name}",
    )


def _peer(calling_ae: str, pacs: PacsSettings) -> Finding:
    what = f"PACS {pacs.name}"
    _config.LOG_HANDLER_LEVEL = "none"
    entity = AE(ae_title=calling_ae)
    entity.connection_timeout = entity.acse_timeout = entity.dimse_timeout = pacs.timeout_s
    contexts = [build_context(VERIFICATION), build_context(COMPREHENSIVE_SR)]
    association = entity.associate(pacs.host, pacs.port, contexts, ae_title=pacs.ae_title)
    where = f"{pacs.ae_title} at {pacs.host} port {pacs.port}"
    if association.is_rejected:
        return Finding(
            what, False, f"{where} rejected the association",
            f"let the PACS know AE title {calling_ae}, and check pacs.ae_title",
        )  # fmt: skip
    if not association.is_established:
        return Finding(what, False, f"{where} does not answer", "check pacs.host and pacs.port")
    try:
        return _ask(
            what, where, association.accepted_contexts, association.send_c_echo().get("Status")
        )
    finally:
        association.release()


def _ask(what: str, where: str, accepted: list[object], status: int | None) -> Finding:
    if status != 0x0000:
        return Finding(what, False, f"{where} did not answer C-ECHO", "check the PACS")
    if COMPREHENSIVE_SR not in {str(getattr(one, "abstract_syntax", "")) for one in accepted}:
        return Finding(
            what, False, f"{where} answers, but takes no Comprehensive SR",
            "let the PACS accept 1.2.840.10008.5.1.4.1.1.88.33 from us",
        )  # fmt: skip
    return Finding(what, True, f"{where} answers C-ECHO and takes Comprehensive SR")


def table(findings: list[Finding]) -> Table:
    """Return the findings as a table for a person."""
    drawn = Table("", "what", "found", "what to do")
    for row in _rows(findings):
        drawn.add_row(*row)
    return drawn


def _rows(findings: list[Finding]) -> Iterator[tuple[str, str, str, str]]:
    for finding in findings:
        mark = "[green]ok[/green]" if finding.good else "[red]fault[/red]"
        yield mark, finding.what, finding.says, finding.remedy

"""What a PACS says when it is asked: C-ECHO, the form of reports, heat maps, commitment."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from typing import TypeAlias

from pynetdicom import _config
from pynetdicom.association import Association

from daemon import admission
from daemon.association import accepted, associate, best_form
from daemon.contexts import (
    COMPREHENSIVE_SR,
    HEAT_MAPS,
    NAMES,
    REPORT_FORMS,
    STORAGE_COMMITMENT,
    VERIFICATION,
)
from daemon.courier import NO_FORM
from daemon.errors import PeerUnreachable
from daemon.settings import PacsSettings, Settings
from storage.database import Database
from storage.peers import Peers

Row: TypeAlias = tuple[str, bool, str, str]  # what, good, found, what to do


def look(settings: Settings, pacs: PacsSettings, database: Database | None) -> Iterator[Row]:
    """Ask a PACS for all that delivery may ask it for."""
    _config.LOG_HANDLER_LEVEL = "none"
    what, own = f"PACS {pacs.name}", settings.dicom.ae_title
    heat_map = HEAT_MAPS.get(settings.report.heat_map)
    classes = [VERIFICATION, *REPORT_FORMS]
    classes += [heat_map] if heat_map and heat_map not in classes else []
    classes += [STORAGE_COMMITMENT] if pacs.storage_commitment else []
    where = f"{pacs.ae_title} at {pacs.host} port {pacs.port}{' by TLS' if pacs.tls else ''}"
    try:
        association = associate(pacs, own, classes)
    except PeerUnreachable as error:
        if "rejected" in str(error):
            remedy = f"let the PACS know AE title {own}, and check pacs.ae_title"
            yield what, False, f"{where}: {error}", remedy
        elif pacs.tls is not None:
            remedy = "check that the PACS speaks TLS there, pacs.tls.ca, and pacs.tls.server_name"
            yield what, False, f"{where}: {error}", remedy
        else:
            remedy = "check pacs.host and pacs.port, and that the PACS runs"
            yield what, False, f"{where} does not answer", remedy
        return
    takes = accepted(association)
    try:
        echo = _echo(association, takes)
    finally:
        association.release()
    yield _reports(what, f"{where} {echo}", takes, database, pacs)
    if heat_map:
        yield _heat_maps(f"{what}: heat maps", heat_map, takes)
    if pacs.storage_commitment:
        yield _commitment(f"{what}: commitment", settings, pacs, takes)


def _echo(association: Association, takes: dict[str, str]) -> str:
    if VERIFICATION not in takes:
        return "does not offer C-ECHO"
    status = association.send_c_echo().get("Status")
    return "answers C-ECHO" if status == 0x0000 else "does not answer C-ECHO"


def _reports(
    what: str, says: str, takes: dict[str, str], database: Database | None, pacs: PacsSettings
) -> Row:
    form = best_form(takes)
    if form is None:
        remedy = f"let the PACS accept {NAMES[COMPREHENSIVE_SR]} ({COMPREHENSIVE_SR}) from us"
        return what, False, f"{says}; {NO_FORM}", remedy
    says += f"; reports go as {NAMES[form]}"
    if "does not answer" in says:
        return what, False, says, "check the PACS"
    known = Peers(database).recall(pacs.name) if database is not None else None
    used = best_form(known.accepted) if known is not None else None
    if known is not None and used not in (None, form):
        since = time.strftime("%Y-%m-%d %H:%M", time.localtime(known.learnt_at))
        advice = f"until now as {NAMES[str(used)]}, learnt {since}; asked anew a day after that"
        return what, True, says, advice
    if form != COMPREHENSIVE_SR:
        return what, True, says, f"codes and measurements need {NAMES[COMPREHENSIVE_SR]}"
    return what, True, says, ""


def _heat_maps(what: str, heat_map: str, takes: dict[str, str]) -> Row:
    if heat_map in takes:
        return what, True, f"go as {NAMES[heat_map]}", ""
    advice = f"let the PACS accept {heat_map} from us, or set report.heat_map"
    return what, True, f"the PACS does not take {NAMES[heat_map]}: they are not sent", advice


def _commitment(what: str, settings: Settings, pacs: PacsSettings, takes: dict[str, str]) -> Row:
    if STORAGE_COMMITMENT not in takes:
        remedy = "let the PACS offer it to us, or set pacs.storage_commitment = false"
        return what, False, "the PACS does not offer storage commitment", remedy
    try:
        address = socket.gethostbyname(pacs.host)
    except OSError:
        return what, False, f"{pacs.host} cannot be resolved", "check pacs.host"
    # Which certificate it will come with cannot be known: its title and address alone are judged
    rejection = admission.judge(
        settings.dicom.model_copy(update={"tls": None}),
        admission.Caller(pacs.ae_title, settings.dicom.ae_title, address),
        open_now=1, open_there=1,
    )  # fmt: skip
    if rejection is not None:
        remedy = f'add "{pacs.ae_title}@{address}" to dicom.allowed_callers'
        return what, False, "offered, but its report to our port would be rejected", remedy
    return what, True, "offered; its report is admitted at our port", ""

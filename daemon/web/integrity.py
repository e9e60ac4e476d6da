"""Stored objects whose bytes are no longer those that came: noted when somebody meets one, and
raised on the administrator's system page until each is sound again."""

from __future__ import annotations

from daemon import logs
from daemon.check_storage import Finding
from daemon.events import Event
from daemon.web.context import Site
from storage.audit import Audit, AuditQuery, Detail
from storage.catalogue import Catalogue, StoredObject
from storage.errors import ObjectDamaged, ObjectMissing
from storage.people import Action
from storage.records import Sha256
from storage.traffic import undecodable

LOOKED_AT = 20  # of those noted, the latest
DAY_S = 86_400.0


def note(here: Site, actor: str, one: StoredObject, *, lost: bool) -> None:
    """Note in the log and, once, in the audit trail that an object is damaged or lost."""
    event = Event.OBJECT_LOST if lost else Event.OBJECT_DAMAGED
    logs.get().critical(event, sha256=one.sha256, sop_instance=one.sop_instance_uid)
    audit, uid = Audit(here.database), one.sop_instance_uid
    if audit.search(AuditQuery(action=Action.OBJECT_UNSOUND, subject=uid), 1):
        return
    detail: Detail = {"sha256": one.sha256, "lost": lost, "study": one.study_instance_uid}
    audit.append(actor, Action.OBJECT_UNSOUND, uid, detail, at=here.clock())


def look_at_objects(here: Site) -> Finding:
    """Read again what was noted. An object that is sound by now, or past its time, is no fault."""
    noted = Audit(here.database).search(AuditQuery(action=Action.OBJECT_UNSOUND), LOOKED_AT)
    bad = [
        row.subject
        for row in noted
        if _unsound(here, str(row.detail["study"]), row.subject, Sha256(str(row.detail["sha256"])))
    ]
    if not bad:
        return Finding("stored objects", True, "none is known to be damaged")
    says = f"damaged or lost on this disk: {', '.join(bad)}"
    remedy = "look at the disk; have the PACS send them again, or restore their files from a backup"
    return Finding("stored objects", False, says, remedy)


def look_at_images(here: Site) -> Finding:
    """What came damaged in the last day, and from whom."""
    count, sender = undecodable(here.database, here.clock() - DAY_S)
    if not count:
        return Finding("images", True, "none came damaged in the last 24 h")
    says = f"{count} came damaged and cannot be decoded in the last 24 h, the latest from {sender}"
    return Finding("images", True, says, "their studies say so; look at the sender")


def _unsound(here: Site, study: str, uid: str, sha256: Sha256) -> bool:
    kept = Catalogue(here.database).objects(study, sop_instance_uid=uid)
    if not kept or kept[0].removed or kept[0].sha256 != sha256:
        return False
    try:
        here.objects.read(sha256)
    except (ObjectDamaged, ObjectMissing, OSError):
        return True
    return False

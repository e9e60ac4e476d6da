"""DICOM audit messages (PS3.15 A.5) of the rows of the audit trail.

A row's own fields go along as details of its object, with its number and its hash: a collector's
copy shows a trail that was made anew.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from xml.etree.ElementTree import Element, SubElement, tostring

from daemon.audit import codes
from daemon.audit.codes import Code, Kind, kind_of
from daemon.settings import Settings
from storage.audit import AuditRow
from storage.people import Action

_ABOUT_USER = (Action.SIGNED_IN, Action.SIGN_IN_FAILED, Action.SIGNED_OUT, Action.SESSIONS_ENDED)
_RECEIVED = {"new": "C", "repeated": "R", "conflict": "U"}  # as A.5.3.7 has EventActionCode


@dataclass(frozen=True, slots=True)
class Patient:
    """Whose study it is, where the settings say that a collector may know."""

    patient_id: str
    issuer: str = ""


class Messages:
    """Turns rows into messages."""

    def __init__(
        self, settings: Settings, host: str, patient_of: Callable[[str], Patient | None]
    ) -> None:
        """`host` is this machine's name; `patient_of` finds the patient of a study UID."""
        self._own_ae = settings.dicom.ae_title
        self._site = settings.audit.site
        self._pacs = {one.name: one for one in settings.pacs}
        self._host = host
        self._patient_of = patient_of

    def xml(self, row: AuditRow) -> bytes:
        """Return the message of a row, UTF-8 without a declaration of encoding."""
        kind = kind_of(row.action)
        message = Element("AuditMessage")
        self._event(message, row, kind)
        self._participants(message, row, kind)
        source = SubElement(
            message, "AuditSourceIdentification",
            {"AuditSourceID": f"{self._own_ae}@{self._host}"},
        )  # fmt: skip
        if self._site:
            source.set("AuditEnterpriseSiteID", self._site)
        SubElement(source, "AuditSourceTypeCode", {"csd-code": "4"})  # application server
        self._objects(message, row, kind)
        made: bytes = tostring(message, encoding="utf-8", xml_declaration=False)
        return made

    def _event(self, message: Element, row: AuditRow, kind: Kind) -> None:
        deed = _RECEIVED.get(str(row.detail.get("outcome")), kind.deed)
        event = SubElement(
            message, "EventIdentification",
            {
                "EventActionCode": deed,
                "EventDateTime": datetime.fromtimestamp(row.at, UTC).isoformat(),
                "EventOutcomeIndicator": kind.outcome,
            },
        )  # fmt: skip
        _coded(event, "EventID", kind.event)
        if kind.type is not None:
            _coded(event, "EventTypeCode", kind.type)
        name = row.action.replace(".", " ").replace("_", " ")
        _coded(event, "EventTypeCode", Code(row.action, name, codes.OURS))
        if kind.outcome != "0":
            said = row.detail.get("reason") or row.detail.get("status") or "failed"
            SubElement(event, "EventOutcomeDescription").text = _clean(str(said))

    # -- who ---------------------------------------------------------------------------------

    def _participants(self, message: Element, row: AuditRow, kind: Kind) -> None:
        if row.action == Action.INSTANCE_RECEIVED:
            ae, _, address = row.actor.partition("@")
            _participant(message, ae, codes.SOURCE, asked=True, address=address)
            self._ourselves(message, codes.DESTINATION)
        elif kind.event is codes.INSTANCES_TRANSFERRED:
            self._ourselves(message, codes.SOURCE, asked=True)
            pacs = self._pacs.get(str(row.detail.get("pacs")))
            name = str(row.detail.get("pacs")) if pacs is None else pacs.ae_title
            host = "" if pacs is None else pacs.host
            _participant(message, name, codes.DESTINATION, address=host)
        elif kind.event is codes.APPLICATION_ACTIVITY:
            self._ourselves(message, codes.APPLICATION)
        else:
            _participant(message, row.actor or "unknown", None, asked=True,
                         address=str(row.detail.get("address", "")))  # fmt: skip
            destination = kind.event is codes.QUERY
            self._ourselves(message, codes.DESTINATION if destination else codes.APPLICATION)

    def _ourselves(self, message: Element, role: Code, *, asked: bool = False) -> None:
        _participant(message, self._own_ae, role, asked=asked, address=self._host)

    # -- of what -----------------------------------------------------------------------------

    def _objects(self, message: Element, row: AuditRow, kind: Kind) -> None:
        study = row.subject if row.action in _OF_STUDY else str(row.detail.get("study", ""))
        instances = kind.event in (codes.INSTANCES_ACCESSED, codes.INSTANCES_TRANSFERRED)
        if instances and study:
            found = _object(message, study, "2", "3", codes.STUDY_UID, "study")
            _details(found, row)
            if row.action not in _OF_STUDY:
                _instance(found, row)
        elif instances:
            # As it arrives an image's study is unknown: nothing has read it yet
            found = _object(message, row.subject, "2", "3", codes.SOP_CLASS_UID, "instance")
            _details(found, row)
            _instance(found, row)
        elif kind.event is codes.QUERY:
            found = _object(message, self._own_ae, "2", "24", codes.SOP_CLASS_UID, None)
            SubElement(found, "ParticipantObjectQuery").text = ""
            _details(found, row)
        elif kind.event is codes.AUDIT_LOG_USED:
            found = _object(message, "audit", "2", "13", codes.URI, "Security Audit Log")
            _details(found, row)
        else:
            role = "11" if row.action in _ABOUT_USER else "13"
            named = row.subject or row.actor or "hilum"
            found = _object(message, named, "2", role, codes.URI, row.subject or "hilum")
            _details(found, row)
        patient = self._patient_of(study) if study else None
        if patient is not None:
            identity = f"{patient.patient_id}^^^{patient.issuer}".rstrip("^")
            _object(message, identity, "1", "1", codes.PATIENT_NUMBER, "patient")


_NO_XML = re.compile("[^\\t\\n\\r\\x20-\\ud7ff\\ue000-\\ufffd]")
_OF_STUDY = (Action.STUDY_READ, Action.REVIEW_WRITTEN, Action.REVIEW_UNDONE)


def _participant(
    message: Element, user: str, role: Code | None, *, asked: bool = False, address: str = ""
) -> None:
    found = SubElement(
        message, "ActiveParticipant",
        {"UserID": _clean(user), "UserIsRequestor": "true" if asked else "false"},
    )  # fmt: skip
    if address:
        found.set("NetworkAccessPointID", _clean(address))
        found.set("NetworkAccessPointTypeCode", "2" if _is_ip(address) else "1")
    if role is not None:
        _coded(found, "RoleIDCode", role)


def _object(
    message: Element, identity: str, kind: str, role: str, coded: Code, name: str | None
) -> Element:
    found = SubElement(
        message, "ParticipantObjectIdentification",
        {
            "ParticipantObjectID": _clean(identity),
            "ParticipantObjectTypeCode": kind,
            "ParticipantObjectTypeCodeRole": role,
        },
    )  # fmt: skip
    _coded(found, "ParticipantObjectIDTypeCode", coded)
    if name is not None:
        SubElement(found, "ParticipantObjectName").text = _clean(name)
    return found


def _details(found: Element, row: AuditRow) -> None:
    kept = {"row": row.id, "sha256": row.sha256} | {
        f"detail.{name}": value for name, value in row.detail.items()
    }
    for name, value in kept.items():
        encoded = base64.b64encode(str(value).encode()).decode()
        SubElement(found, "ParticipantObjectDetail", {"type": name, "value": encoded})


def _instance(found: Element, row: AuditRow) -> None:
    described = SubElement(found, "ParticipantObjectDescription")
    sop_class = SubElement(described, "SOPClass", {"NumberOfInstances": "1"})
    if "sop_class" in row.detail:
        sop_class.set("UID", str(row.detail["sop_class"]))
    SubElement(sop_class, "Instance", {"UID": row.subject})


def _coded(parent: Element, name: str, code: Code) -> None:
    SubElement(
        parent, name,
        {"csd-code": code.value, "codeSystemName": code.scheme, "originalText": code.meaning},
    )  # fmt: skip


def _clean(text: str) -> str:
    """Leave out what XML 1.0 cannot hold: a peer's AE title may be any bytes."""
    return _NO_XML.sub("", text) or "unknown"


def _is_ip(address: str) -> bool:
    return (
        bool(address)
        and all(c in "0123456789abcdefABCDEF.:" for c in address)
        and (":" in address or address.replace(".", "").isdecimal())
    )

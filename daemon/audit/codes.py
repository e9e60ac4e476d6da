"""Which DICOM audit message tells what the trail records (PS3.15 A.5.3; PS3.16 CID 400 to 402).

Every message also carries the trail's own name of the event as a type code of ours, so that nothing
is lost where several of ours are one of DICOM's.
"""

from __future__ import annotations

from dataclasses import dataclass

from storage.people import Action

DCM = "DCM"
OURS = "99HILUM"
RFC_3881 = "RFC-3881"


@dataclass(frozen=True, slots=True)
class Code:
    """A coded value: `meaning` is the standard's."""

    value: str
    meaning: str
    scheme: str = DCM


@dataclass(frozen=True, slots=True)
class Kind:
    """Which message an event becomes."""

    event: Code
    deed: str  # EventActionCode: Create, Read, Update, Delete or Execute
    type: Code | None = None
    outcome: str = "0"  # success; 4, 8 and 12 are failures from minor to major


APPLICATION_ACTIVITY = Code("110100", "Application Activity")
AUDIT_LOG_USED = Code("110101", "Audit Log Used")
INSTANCES_ACCESSED = Code("110103", "DICOM Instances Accessed")
INSTANCES_TRANSFERRED = Code("110104", "DICOM Instances Transferred")
QUERY = Code("110112", "Query")
SECURITY_ALERT = Code("110113", "Security Alert")
USER_AUTHENTICATION = Code("110114", "User Authentication")

START = Code("110120", "Application Start")
STOP = Code("110121", "Application Stop")
LOGIN = Code("110122", "Login")
LOGOUT = Code("110123", "Logout")
SOFTWARE = Code("110131", "Software Configuration")
RESTRICTED = Code("110132", "Use of Restricted Function")
OBJECT_SECURITY = Code("110135", "Object Security Attributes Changed")
ROLES_CHANGED = Code("110136", "Security Roles Changed")
USER_CHANGED = Code("110137", "User security Attributes Changed")

APPLICATION = Code("110150", "Application")
DESTINATION = Code("110152", "Destination Role ID")
SOURCE = Code("110153", "Source Role ID")

STUDY_UID = Code("110180", "Study Instance UID")
SOP_CLASS_UID = Code("110181", "SOP Class UID")
PATIENT_NUMBER = Code("2", "Patient Number", RFC_3881)
URI = Code("12", "URI", RFC_3881)

_ACCOUNT = Kind(SECURITY_ALERT, "E", USER_CHANGED)
_MODEL = Kind(SECURITY_ALERT, "E", SOFTWARE)
_BY_HAND = Kind(SECURITY_ALERT, "E", RESTRICTED)
_FAILED = "4"
_SERIOUS = "8"

KINDS: dict[Action, Kind] = {
    Action.SERVICE_STARTED: Kind(APPLICATION_ACTIVITY, "E", START),
    Action.SERVICE_STOPPED: Kind(APPLICATION_ACTIVITY, "E", STOP),
    Action.SIGNED_IN: Kind(USER_AUTHENTICATION, "E", LOGIN),
    Action.SIGN_IN_FAILED: Kind(USER_AUTHENTICATION, "E", LOGIN, _FAILED),
    Action.SIGNED_OUT: Kind(USER_AUTHENTICATION, "E", LOGOUT),
    Action.SESSIONS_ENDED: Kind(USER_AUTHENTICATION, "E", LOGOUT),
    Action.ACCOUNT_ADDED: Kind(SECURITY_ALERT, "E", ROLES_CHANGED),
    Action.ACCOUNT_CHANGED: Kind(SECURITY_ALERT, "E", ROLES_CHANGED),
    Action.ACCOUNT_DISABLED: _ACCOUNT,
    Action.ACCOUNT_ENABLED: _ACCOUNT,
    Action.PASSWORD_CHANGED: _ACCOUNT,
    Action.TOKEN_MADE: _ACCOUNT,
    Action.TOKEN_REVOKED: _ACCOUNT,
    Action.INSTANCE_RECEIVED: Kind(INSTANCES_TRANSFERRED, "C"),
    Action.REPORT_DELIVERED: Kind(INSTANCES_TRANSFERRED, "C"),
    Action.REPORT_REFUSED: Kind(INSTANCES_TRANSFERRED, "C", None, _FAILED),
    Action.INSTANCE_ANALYSED: Kind(INSTANCES_ACCESSED, "R"),
    Action.INSTANCE_NOT_ANALYSED: Kind(INSTANCES_ACCESSED, "R", None, _FAILED),
    Action.REPORT_MADE: Kind(INSTANCES_ACCESSED, "C"),
    Action.STUDY_READ: Kind(INSTANCES_ACCESSED, "R"),
    Action.REVIEW_WRITTEN: Kind(INSTANCES_ACCESSED, "U"),
    Action.REVIEW_UNDONE: Kind(INSTANCES_ACCESSED, "U"),
    Action.WORKLIST_SEARCHED: Kind(QUERY, "E"),
    Action.AUDIT_READ: Kind(AUDIT_LOG_USED, "R"),
    Action.AUDIT_BROKEN: Kind(SECURITY_ALERT, "E", OBJECT_SECURITY, _SERIOUS),
    Action.OBJECT_UNSOUND: Kind(SECURITY_ALERT, "E", OBJECT_SECURITY, _SERIOUS),
    Action.MODEL_REGISTERED: _MODEL,
    Action.MODEL_CONFIGURED: _MODEL,
    Action.MODEL_PROMOTED: _MODEL,
    Action.MODEL_ROLLED_BACK: _MODEL,
    Action.MODEL_REFUSED: Kind(SECURITY_ALERT, "E", SOFTWARE, _FAILED),
    Action.MODEL_LOADED: _MODEL,
    Action.THRESHOLD_CHANGED: _MODEL,
}


def kind_of(action: str) -> Kind:
    """Return the message of an event; what has none of its own is a use of a restricted function.

    Of that sort are an administrator's acts on the queue, the schedules and the hold-out.
    """
    return next((kind for known, kind in KINDS.items() if known == action), _BY_HAND)

"""The catalogue of log events: every record that the service writes carries one of these."""

from __future__ import annotations

from enum import StrEnum


class Event(StrEnum):
    """Name of a log record. Fields hold UIDs, codes and sizes, never patient data."""

    SERVICE_STARTED = "service.started"
    SERVICE_STOPPING = "service.stopping"
    SERVICE_STOPPED = "service.stopped"
    PROCESS_STARTED = "process.started"
    PROCESS_DIED = "process.died"
    PROCESS_KILLED = "process.killed"  # it held a claim past its lease
    HOST_SILENT = "host.silent"  # another host; what it held is given back
    DATABASE_OPENED = "database.opened"
    DATABASE_MIGRATED = "database.migrated"
    DATABASE_DAMAGED = "database.damaged"  # a check found it
    CLAIMS_RELEASED = "claims.released"
    OBJECT_LOST = "object.lost"
    OBJECT_DAMAGED = "object.damaged"  # its bytes are no longer those that came

    LISTENER_LISTENING = "listener.listening"
    LISTENER_OPEN_TO_ALL = "listener.open_to_all"
    ASSOCIATION_ACCEPTED = "association.accepted"
    ASSOCIATION_REJECTED = "association.rejected"
    ASSOCIATION_ENDED = "association.ended"
    ASSOCIATION_CUT = "association.cut"  # it went beyond a limit
    CONNECTION_REFUSED = "connection.refused"  # before it asked for an association
    CERTIFICATE_TAKEN_UP = "certificate.taken_up"  # its files were changed
    CERTIFICATE_REFUSED = "certificate.refused"  # the one before goes on
    CONTEXTS_REFUSED = "association.contexts_refused"
    INSTANCE_ACCEPTED = "instance.accepted"
    INSTANCE_REPEATED = "instance.repeated"
    INSTANCE_CONFLICT = "instance.conflict"
    INSTANCE_IGNORED = "instance.ignored"
    INSTANCE_REFUSED = "instance.refused"

    WORKER_READY = "worker.ready"
    WORKER_BY_HEADER = "worker.by_header"  # the bundle has no model of frontal chests
    WORKER_CANNOT_CLASSIFY = "worker.cannot_classify"
    MODEL_SWITCHED = "model.switched"  # to what the ledger says serves
    MODEL_FOLLOWED = "model.followed"  # its thresholds were changed
    MODEL_REFUSED = "model.refused"  # the one before goes on
    MODEL_PROMOTED = "model.promoted"  # by rule, after its trial
    SHADOW_STARTED = "shadow.started"  # a candidate's trial beside what serves
    SHADOW_NOT_STARTED = "shadow.not_started"
    SHADOW_READY = "shadow.ready"
    SHADOW_FAILED = "shadow.failed"  # an image by the candidate
    SHADOW_ENDED = "shadow.ended"
    INSTANCE_ANALYSED = "instance.analysed"
    INSTANCE_NOT_ANALYSED = "instance.not_analysed"
    INSTANCE_RETRIED = "instance.retried"
    INSTANCE_QUARANTINED = "instance.quarantined"
    HEADER_UNREADABLE = "header.unreadable"  # a fault of ours: the list shows the study without
    REVIEW_EFFECTIVE = "review.effective"  # it can no longer be undone; a version is to say it
    CLAIM_LOST = "claim.lost"
    STUDY_ANALYSED_AGAIN = "study.analysed_again"  # no report mixes bundles
    REPORT_BUILT = "report.built"
    REPORT_FAILED = "report.failed"
    HEAT_MAP_MISSING = "heat_map.missing"

    REPORT_STORED = "report.stored"
    HEAT_MAP_STORED = "heat_map.stored"
    REPORT_DELAYED = "report.delayed"
    REPORT_DEAD = "report.dead"
    REPORT_STEPPED_DOWN = "report.stepped_down"  # sent in a form that the PACS takes
    HEAT_MAP_NOT_TAKEN = "heat_map.not_taken"
    PACS_LEARNT = "pacs.learnt"  # what it takes
    COMMITMENT_REQUESTED = "commitment.requested"
    COMMITMENT_REFUSED = "commitment.refused"  # the request was; asked again
    COMMITMENT_UNANSWERED = "commitment.unanswered"  # in time; asked again
    COMMITMENT_REPORTED = "commitment.reported"
    COMMITMENT_FAILED = "commitment.failed"  # the PACS cannot commit to an object
    OBJECTS_REMOVED = "objects.removed"  # by retention
    PACS_UNREACHABLE = "pacs.unreachable"
    PACS_REACHED = "pacs.reached"

    RUN_DUE = "run.due"
    RUN_STARTED = "run.started"
    RUN_ENDED = "run.ended"  # with its state, and why where it is not done
    RUN_PUT_BACK = "run.put_back"  # its lease ran out

    STATION_LEARNT = "station.learnt"  # its images are its own reference now
    FINDING_DOUBTED = "finding.doubted"  # its probabilities do not hold, by reviews
    ALARM_OPENED = "alarm.opened"  # with its kind and subject
    ALARM_CLOSED = "alarm.closed"

    WEB_LISTENING = "web.listening"  # with the audit trail's head
    WEB_ANSWERED = "web.answered"
    SIGN_IN_FAILED = "web.sign_in_failed"
    SIGN_IN_DELAYED = "web.sign_in_delayed"  # too many failures
    AUDIT_VERIFIED = "audit.verified"  # with its head
    AUDIT_BROKEN = "audit.broken"
    AUDIT_REACHED = "audit.reached"  # the collector; from which row it is sent
    AUDIT_UNREACHABLE = "audit.unreachable"
    FAULT = "fault"

"""What an image's way leaves in the audit trail: each row by the commit of what it tells.

The rows hold no patient data: UIDs, hashes, codes and numbers.
"""

from __future__ import annotations

from storage.audit import Audit
from storage.database import Database
from storage.people import SERVICE, Action
from storage.records import Acceptance, Arrival, Delivery, Form, NewReport, Result, StudyJob

PROBABILITY, THRESHOLD = "probability.", "threshold."  # before a finding's name in a detail
_ACTOR = 64  # characters


class Trail:
    """The rows of the pipeline. Each goes last in its transaction: on PostgreSQL the trail is held
    by one writer at a time, from its row to its commit.
    """

    def __init__(self, database: Database) -> None:
        """Work on a migrated database."""
        self._audit = Audit(database)

    def received(self, arrival: Arrival, outcome: Acceptance) -> None:
        """Who sent what, and whether it was here already."""
        actor = f"{arrival.calling_ae}@{arrival.peer_address}"[:_ACTOR]
        self._audit.append(
            actor,
            Action.INSTANCE_RECEIVED,
            arrival.sop_instance_uid,
            {
                "outcome": str(outcome),
                "sha256": arrival.sha256,
                "bytes": arrival.size_bytes,
                "sop_class": arrival.sop_class_uid,
                "transfer_syntax": arrival.transfer_syntax_uid,
                "called_ae": arrival.called_ae,
            },
            at=arrival.received_at,
        )

    def answered(self, arrival: Arrival, answer: Result, study_uid: str, now: float) -> None:
        """What was found, by which bundle and engine, held against which thresholds.

        The bundle's digest covers its calibration: a new calibration is a new bundle.
        """
        maker = answer.maker
        detail: dict[str, str | int | float | bool] = {
            "study": study_uid,
            "sha256": arrival.sha256,
        }
        if maker is not None:
            detail |= {"bundle": maker.version, "digest": maker.digest, "engine": maker.engine}
        if answer.reason_code is not None:
            detail["reason"] = answer.reason_code
        for found in answer.findings:
            detail[PROBABILITY + found.name] = found.probability
            detail[THRESHOLD + found.name] = found.threshold
        actor = SERVICE if maker is None else maker.owner[:_ACTOR]
        action = Action(f"instance.{answer.status}")
        self._audit.append(actor, action, arrival.sop_instance_uid, detail, at=now)

    def given_up(self, arrival: Arrival, reason_code: str, now: float, *, kept: bool) -> None:
        """An image without an answer of its own: `kept` in quarantine, or ignored."""
        action = Action.INSTANCE_QUARANTINED if kept else Action.INSTANCE_IGNORED
        detail = {"reason": reason_code, "sha256": arrival.sha256}
        self._audit.append(SERVICE, action, arrival.sop_instance_uid, detail, at=now)

    def reported(self, claim: StudyJob, made: NewReport, pacs: str, now: float) -> None:
        """A version of a study's report; by whom, where it says a review."""
        reading = claim.reading
        self._audit.append(
            SERVICE if reading is None else reading.last.reader.login[:_ACTOR],
            Action.REPORT_MADE,
            made.sop_instance_uid,
            {
                "study": claim.study_instance_uid,
                "version": claim.version,
                "sha256": made.sha256,
                "sop_class": made.sop_class_uid,
                "images": len(claim.instances),
                "beside": len(made.companions),
                "for": pacs,
            },
            at=now,
        )

    def delivered(self, claim: Delivery, sent: Form, status: str, now: float) -> None:
        """A PACS has answered that it holds an object."""
        self._sent(Action.REPORT_DELIVERED, claim, sent, status, now)

    def refused(self, claim: Delivery, status: str, now: float) -> None:
        """A PACS does not take an object."""
        sent = claim.tried or Form(claim.sop_class_uid, claim.sop_instance_uid)
        self._sent(Action.REPORT_REFUSED, claim, sent, status, now)

    def _sent(self, action: Action, claim: Delivery, sent: Form, status: str, now: float) -> None:
        detail = {
            "study": claim.study_instance_uid,
            "pacs": claim.pacs,
            "status": status,
            "sop_class": sent.sop_class_uid,
            "sha256": claim.sha256,
        }
        self._audit.append(SERVICE, action, sent.sop_instance_uid, detail, at=now)

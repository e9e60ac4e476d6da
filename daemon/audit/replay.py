"""Classify an image again as the audit trail says that it was, and compare the numbers.

With the same bundle, engine, processor and library the numbers are the same to the last bit.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

from classifier.bundle import Bundle
from classifier.classify import Classification, Classifier
from classifier.eligibility import ExtraKind
from classifier.engine import ORDER, processor
from classifier.errors import BundleRefused, EngineUnavailable, NotEligible, Undecodable
from daemon.errors import DaemonError
from daemon.shelf import Shelf
from storage.audit import Audit, AuditQuery, AuditRow
from storage.catalogue import removed
from storage.database import Database
from storage.errors import ObjectDamaged, ObjectMissing
from storage.ledger import Ledger
from storage.objects import ObjectStore
from storage.people import Action
from storage.records import Sha256
from storage.trail import PROBABILITY, THRESHOLD

TOLERANCE = 0.03
"""Of a probability on another engine or machine: four standard deviations of what int8 and f32
differ by (docs/decisions/0006), at the steepest point of the calibration."""
_ANSWERS = (Action.INSTANCE_ANALYSED, Action.INSTANCE_NOT_ANALYSED)


class CannotReplay(DaemonError):
    """What a replay needs is not there any more."""


@dataclass(frozen=True, slots=True)
class Compared:
    """One finding then and now."""

    finding: str
    then: float
    now: float
    threshold: float  # of then

    @property
    def difference(self) -> float:
        """How far apart the probabilities are."""
        return abs(self.now - self.then)

    @property
    def same_decision(self) -> bool:
        """Whether both reach the threshold, or neither."""
        return (self.then >= self.threshold) == (self.now >= self.threshold)


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay found. `exact`: bundle, engine, processor and library are those of then."""

    instance: str
    row: int
    at: float
    bundle: str
    digest: str
    engine_then: str
    engine_now: str
    machine_then: str
    machine_now: str
    exact: bool
    tolerance: float
    reason_then: str | None
    reason_now: str | None
    findings: tuple[Compared, ...]

    @property
    def same(self) -> bool:
        """Whether the answer is the same, within the tolerance."""
        near = all(one.difference <= self.tolerance for one in self.findings)
        return near and self.reason_then == self.reason_now

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name, for JSON."""
        differences = [one.difference for one in self.findings]
        return asdict(self) | {"same": self.same, "largest_difference": max(differences, default=0)}


def replay(root: Path, database: Database, uid: str, row_id: int | None = None) -> Replayed:
    """Classify an instance again as in a row of the trail, by default its newest result.

    Raises CannotReplay, which says what is missing.
    """
    audit = Audit(database)
    row = _row(audit, uid, row_id)
    loaded = _loaded(audit, row)
    data = _image(root, database, uid, Sha256(str(row.detail["sha256"])))
    classifier = _classifier(_bundle(root, database, row), row, loaded)
    reason, found = None, None
    try:
        found = classifier.classify(data)
        reason = found.remarks[0].code if found.remarks else None
    except NotEligible as error:
        reason = error.code
    except Undecodable:
        reason = "undecodable"
    machine = {"machine": processor(), "openvino": version("openvino")}
    exact = classifier.engine.name == row.detail["engine"] and all(
        loaded.get(name) == value for name, value in machine.items()
    )
    then = row.detail.get("reason")
    return Replayed(
        instance=uid,
        row=row.id,
        at=row.at,
        bundle=classifier.version,
        digest=classifier.digest,
        engine_then=str(row.detail["engine"]),
        engine_now=classifier.engine.name,
        machine_then=f"{loaded.get('machine', 'unknown')}, OpenVINO {loaded.get('openvino', '?')}",
        machine_now=f"{machine['machine']}, OpenVINO {machine['openvino']}",
        exact=exact,
        tolerance=0.0 if exact else TOLERANCE,
        reason_then=None if then is None else str(then),
        reason_now=reason,
        findings=_compare(row, found),
    )


def _row(audit: Audit, uid: str, row_id: int | None) -> AuditRow:
    rows = audit.search(AuditQuery(subject=uid), 1000)
    answers = [one for one in rows if one.action in _ANSWERS]
    if row_id is not None:
        answers = [one for one in answers if one.id == row_id]
    if not answers:
        which = "" if row_id is None else f" in row {row_id}"
        given_up = [one for one in rows if one.action == Action.INSTANCE_QUARANTINED]
        if given_up and row_id is None:
            reason = given_up[0].detail.get("reason")
            raise CannotReplay(f"{uid} was given up ({reason}) and has no result to repeat.")
        raise CannotReplay(f"The audit trail has no result of {uid}{which}.")
    if "digest" not in answers[0].detail:
        raise CannotReplay(f"Row {answers[0].id} was not made by a bundle: nothing to repeat.")
    return answers[0]


def _loaded(audit: Audit, row: AuditRow) -> dict[str, str]:
    """What the worker that answered had loaded: the machine, the library, and what it took."""
    loads = AuditQuery(actor=row.actor, action=Action.MODEL_LOADED)
    for one in audit.search(loads, 1000, before=row.id):
        if one.detail.get("digest") == row.detail["digest"]:
            return {name: str(value) for name, value in one.detail.items()}
    return {}


def _image(root: Path, database: Database, uid: str, sha256: Sha256) -> bytes:
    if removed(database, uid, sha256):
        raise CannotReplay(f"Retention has deleted the image {uid}: have the PACS send it again.")
    try:
        return ObjectStore(root).read(sha256)
    except ObjectMissing:
        raise CannotReplay(f"The file of {uid} is lost: objects/{sha256} is not there.") from None
    except ObjectDamaged:
        raise CannotReplay(
            f"The file of {uid} is damaged: its bytes are not those that came."
        ) from None


def _bundle(root: Path, database: Database, row: AuditRow) -> Bundle:
    digest, named = str(row.detail["digest"]), str(row.detail["bundle"])
    known = [one for one in Ledger(database).models() if one.digest == digest]
    if not known:
        raise CannotReplay(f"The bundle {named} ({digest[:12]}) is not registered here.")
    try:
        return Shelf(root).load(known[0].folder, digest)
    except BundleRefused as error:
        raise CannotReplay(
            f"The bundle {named} ({digest[:12]}) is not on the shelf: {error} "
            f"`hilum model add` with a copy of it puts it back."
        ) from error


def _classifier(bundle: Bundle, row: AuditRow, loaded: dict[str, str]) -> Classifier:
    thresholds = {
        name.removeprefix(THRESHOLD): float(value)
        for name, value in row.detail.items()
        if name.startswith(THRESHOLD)
    }
    also = cast("list[ExtraKind]", loaded.get("also", "").split())
    for name in (str(row.detail["engine"]), "auto"):
        try:
            if name in (*ORDER, "auto"):
                return Classifier(bundle, name, also, thresholds or None)
        except (EngineUnavailable, BundleRefused):
            if name == "auto":
                raise
    raise CannotReplay("No engine runs here.")


def _compare(row: AuditRow, found: Classification | None) -> tuple[Compared, ...]:
    now = {} if found is None else {one.name: one.probability for one in found.findings}
    names = [name.removeprefix(PROBABILITY) for name in row.detail if name.startswith(PROBABILITY)]
    return tuple(
        Compared(
            name, float(row.detail[PROBABILITY + name]), now.get(name, -1.0),
            float(row.detail[THRESHOLD + name]),
        )
        for name in names
    )  # fmt: skip

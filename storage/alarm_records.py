"""Alarms, as values. Times are UNIX seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class AlarmKind(StrEnum):
    """What an alarm is about; `daemon.alarms` says of each what to do."""

    INPUT_DRIFT = "input_drift"  # a station's images are no longer those of the reference
    SCORE_DRIFT = "score_drift"  # nor a finding's probabilities
    LABEL_DRIFT = "label_drift"  # nor the share of a finding that its readers see
    CANDIDATE = "candidate"  # a bundle that was to serve, or to be tried, cannot be loaded
    CALIBRATION = "calibration"  # reviews say that a finding's probabilities do not hold
    SILENCE = "silence"  # a station sends nothing that should have
    CANARY = "canary"  # the known image did not come through as it is known
    CERTIFICATE = "certificate"  # newer files of TLS cannot be used; those before are
    STORAGE = "storage"  # the database is damaged, or stored objects are damaged or lost
    CONFLICT = "uid_conflict"  # other pixels came under a known SOP Instance UID


class AlarmState(StrEnum):
    """An alarm's way.

    ::

        open --acknowledged--> acknowledged --> closed, by what raised it or by a person
          '--------------------------------------^
    """

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"  # a person knows; it lasts
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Alarm:
    """An alarm; `count` is how often it was raised since it opened, `detail` of the last time."""

    id: int
    kind: str  # an AlarmKind, or one of an earlier release
    subject: str
    station: str | None
    finding: str | None
    state: AlarmState
    opened_at: float
    last_seen_at: float
    count: int
    detail: Mapping[str, Any]
    acknowledged_by: str | None
    acknowledged_at: float | None
    closed_at: float | None
    closed_by: str | None
    closed_because: str | None

    @property
    def is_new(self) -> bool:
        """Whether it was raised this once alone."""
        return self.count == 1

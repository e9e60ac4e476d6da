"""Trials of candidates, as values. Times are UNIX seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NewType

from storage.bundles import Model, Revision
from storage.records import InstanceId, Sha256

TrialId = NewType("TrialId", int)


class TrialState(StrEnum):
    """A trial's way.

    ::

        open --its images or its time are over--> ended, or by rule: promoted or refused
          |----by hand, or what serves has changed--> stopped
          '----the candidate cannot be loaded-------> failed
    """

    OPEN = "open"  # the candidate classifies what the serving bundle has classified
    ENDED = "ended"  # an administrator decides
    PROMOTED = "promoted"  # the candidate serves, by rule or by hand
    REFUSED = "refused"  # the rule does not hold; the reason says why
    STOPPED = "stopped"
    FAILED = "failed"


class ShadowState(StrEnum):
    """What the candidate made of one image."""

    RUNNING = "running"  # begun; where the process died, it is begun again
    ANALYSED = "analysed"
    NOT_ANALYSED = "not_analysed"  # the serving bundle did
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Trial:
    """A trial; `against` is what serves, and both stand at the ledger's `revision`.

    It is complete at `images`, and over at `until` whatever was reached. `done` counts the images
    that the candidate has answered for.
    """

    id: TrialId
    model: Model
    against: Model
    revision: Revision
    after_result: int
    state: TrialState
    images: int
    done: int
    started_by: str
    started_at: float
    until: float
    ended_by: str | None
    ended_at: float | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class ShadowJob:
    """An image to classify beside what serves: what the serving bundle said, by finding."""

    id: int
    instance_id: InstanceId
    sha256: Sha256
    attempts: int  # this one included
    serving: Mapping[str, tuple[float, float]]  # probability and threshold


@dataclass(frozen=True, slots=True)
class Decision:
    """One finding of one image by both bundles: probabilities and the thresholds held against."""

    name: str
    probability: float
    threshold: float
    serving_probability: float
    serving_threshold: float

    @property
    def present(self) -> bool:
        """Whether the candidate says so."""
        return self.probability >= self.threshold

    @property
    def serving_present(self) -> bool:
        """Whether the serving bundle says so."""
        return self.serving_probability >= self.serving_threshold


@dataclass(frozen=True, slots=True)
class Compared:
    """An image of a trial. truth: finding to what readers who agree, else the report, say of it.

    patient: a key, as the hold-out has it, so that images of one patient count together.
    """

    instance_id: InstanceId
    state: ShadowState
    patient: str
    decisions: tuple[Decision, ...]
    truth: Mapping[str, bool] = field(default_factory=dict)

"""What the gate goes by, and what it says: rule, comparisons, reasons, verdict."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from classifier.bundle import Interval

Side = Literal["sensitivity", "specificity"]
Kind = Literal["worse", "not shown", "too few", "no gain"]


@dataclass(frozen=True, slots=True)
class Rule:
    """When a candidate passes; all levels are one-sided.

    macro_margin, finding_margin: how much lower an AUC may be, as a mean over the findings and in
        each one. The bound at `level` has to be above minus the margin.
    gain_level: of the test that the mean AUC is higher.
    other_gain_level: of each of the two others, that some finding's AUC is higher (Holm), and that
        the Brier score is lower.
    decision_margin: how much lower sensitivity + specificity of a finding may be, where one of them
        is lower by more than chance.
    min_cases: positive and negative images that a finding needs to be compared.
    """

    macro_margin: float = 0.02
    finding_margin: float = 0.05
    level: float = 0.05
    gain_level: float = 0.05
    other_gain_level: float = 0.025
    decision_margin: float = 0.05
    min_cases: int = 10


STANDARD = Rule()


@dataclass(frozen=True, slots=True)
class AucChange:
    """AUC of a finding, or its mean over findings, among some images.

    finding: None for the mean. group: column and value, None for all images.
    bound: one-sided lower bound of the difference at the rule's level.
    p_worse, p_better: one-sided, not adjusted.
    """

    finding: str | None
    group: tuple[str, str] | None
    positives: int
    negatives: int
    serving: Interval
    candidate: Interval
    difference: Interval
    bound: float
    p_worse: float
    p_better: float


@dataclass(frozen=True, slots=True)
class DecisionChange:
    """Sensitivity or specificity of a finding, each bundle at its own thresholds.

    lost, won: images that the serving bundle alone, or the candidate alone, decides rightly.
    p_worse, p_better: McNemar's exact test, one-sided, not adjusted.
    """

    finding: str
    side: Side
    images: int
    lost: int
    won: int
    serving: Interval
    candidate: Interval
    difference: Interval
    p_worse: float
    p_better: float


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a candidate is refused; `about` names the finding, the group or the figure."""

    kind: Kind
    about: str
    text: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gate found. `remarks` are no reasons: trades, and groups that were too small."""

    passed: bool
    reasons: tuple[Reason, ...]
    gains: tuple[str, ...]
    remarks: tuple[str, ...]
    rule: Rule
    images: int
    patients: int
    macro: AucChange | None
    findings: tuple[AucChange, ...]
    groups: tuple[AucChange, ...]
    decisions: tuple[DecisionChange, ...]
    brier: Interval

    def as_json(self) -> dict[str, Any]:
        """Plain values, as JSON holds them."""
        return asdict(self)

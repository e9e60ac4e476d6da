"""A trial in figures: how a candidate's decisions differ from those that serve, and who was right.

Agreement and flags are of all images; right and wrong are of those that readers have judged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import comb, sqrt

from daemon.kappa import Z95, Kappa, cohen_kappa
from storage.shadow_records import Compared, Decision, ShadowState
from storage.what_if import Share, share

LEVEL = 0.05  # of the test that decisions are worse, over all findings (Holm)


@dataclass(frozen=True, slots=True)
class Shift:
    """Mean of the candidate's probability less the serving one's, with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class FindingFigures:
    """A finding over the images that both have analysed.

    lost, won: judged images that the serving bundle alone, or the candidate alone, decides rightly.
    p_worse, p_better: exact one-sided McNemar, a patient counting once; not adjusted.
    """

    name: str
    both: int
    serving_only: int
    candidate_only: int
    neither: int
    agreement: Share
    kappa: Kappa | None
    shift: Shift | None
    judged: int
    lost: int
    won: int
    p_worse: float
    p_better: float


@dataclass(frozen=True, slots=True)
class Figures:
    """Of a trial. `flagged` are images with any finding; the rest of `images` has no decision."""

    images: int
    analysed: int
    not_analysed: int
    failed: int
    serving_flagged: Share
    candidate_flagged: Share
    findings: tuple[FindingFigures, ...]


def figures(compared: Sequence[Compared]) -> Figures:
    """Return what the images of a trial come to."""
    states = Counter(one.state for one in compared)
    whole = [one for one in compared if one.state is ShadowState.ANALYSED]
    names = list(dict.fromkeys(d.name for one in whole for d in one.decisions))
    before = sum(any(d.serving_present for d in one.decisions) for one in whole)
    after = sum(any(d.present for d in one.decisions) for one in whole)
    return Figures(
        images=len(compared),
        analysed=len(whole),
        not_analysed=states[ShadowState.NOT_ANALYSED],
        failed=states[ShadowState.FAILED],
        serving_flagged=share(before, len(whole)),
        candidate_flagged=share(after, len(whole)),
        findings=tuple(_finding(name, whole) for name in names),
    )


def objections(found: Figures, wanted: int, margin: float) -> list[str]:
    """Say what stands against a promotion by rule, in sentences; none where the rule holds.

    `margin` is how much the share of flagged images may change.
    """
    against = []
    if found.images < wanted:
        against.append(f"The trial has {found.images} of the {wanted} images that it needs.")
    for count, what in ((found.failed, "failed on"), (found.not_analysed, "did not analyse")):
        if count:
            against.append(f"The candidate {what} {count} images that the serving bundle analysed.")
    before, after = found.serving_flagged.value, found.candidate_flagged.value
    if before is not None and after is not None and abs(after - before) > margin:
        against.append(
            f"The share of flagged images goes from {before:.1%} to {after:.1%}: "
            f"by more than {margin:.1%}."
        )
    for one, p in zip(found.findings, _holm([f.p_worse for f in found.findings]), strict=True):
        if p < LEVEL:
            against.append(
                f"By reviews the candidate's decisions on {one.name} are worse: {one.lost} lost "
                f"and {one.won} won of {one.judged} (p = {p:.2g})."
            )
    return against


def _finding(name: str, images: Sequence[Compared]) -> FindingFigures:
    pairs = [(one, d) for one in images for d in one.decisions if d.name == name]
    cells = Counter((d.serving_present, d.present) for _, d in pairs)
    both, neither = cells[True, True], cells[False, False]
    judged = [
        (one.patient, d.serving_present == one.truth[name], d.present == one.truth[name])
        for one, d in pairs
        if name in one.truth
    ]
    p_worse, p_better = _mcnemar(judged)
    return FindingFigures(
        name, both, cells[True, False], cells[False, True], neither,
        share(both + neither, len(pairs)),
        cohen_kappa(both, cells[True, False], cells[False, True], neither),
        _shift([d for _, d in pairs]),
        judged=len(judged),
        lost=sum(before and not after for _, before, after in judged),
        won=sum(after and not before for _, before, after in judged),
        p_worse=p_worse,
        p_better=p_better,
    )  # fmt: skip


def _shift(decisions: Sequence[Decision]) -> Shift | None:
    if len(decisions) < 2:
        return None
    gaps = [d.probability - d.serving_probability for d in decisions]
    mean = sum(gaps) / len(gaps)
    variance = sum((gap - mean) ** 2 for gap in gaps) / (len(gaps) - 1)
    half = Z95 * sqrt(variance / len(gaps))
    return Shift(mean, mean - half, mean + half)


def _mcnemar(judged: Sequence[tuple[str, bool, bool]]) -> tuple[float, float]:
    """Return the exact p values as `training.paired.mcnemar` does, without its libraries."""
    net: Counter[str] = Counter()
    for patient, before, after in judged:
        net[patient] += after - before
    worse = sum(value < 0 for value in net.values())
    better = sum(value > 0 for value in net.values())
    return _tail(better, worse + better), _tail(worse, worse + better)


def _tail(at_most: int, of: int) -> float:
    """P(X <= at_most) of a binomial at even odds."""
    return float(sum(comb(of, k) for k in range(at_most + 1)) / 2**of)


def _holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p values; Holm, Scandinavian Journal of Statistics 6, 1979."""
    adjusted, highest = [0.0] * len(p_values), 0.0
    order = sorted(range(len(p_values)), key=lambda at: p_values[at])
    for rank, at in enumerate(order):
        highest = max(highest, min(1.0, p_values[at] * (len(p_values) - rank)))
        adjusted[at] = highest
    return adjusted

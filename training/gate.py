"""Candidate against serving bundle on the frozen hold-out: may it be promoted, and why not.

Promoted is what is shown to be no worse beyond a margin, and better somewhere. The margins and
levels were chosen by simulation: docs/decisions/0012-gate.md.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from classifier.bundle import Interval
from training.errors import HoldOutsDiffer
from training.figures import Scored
from training.paired import (
    Aucs,
    Codes,
    Estimate,
    clustered_mean,
    delong,
    holm,
    mcnemar,
    mean_difference,
)
from training.subgroups import Groups
from training.verdict import (
    STANDARD,
    AucChange,
    DecisionChange,
    Reason,
    Rule,
    Side,
    Verdict,
)

__all__ = ["STANDARD", "Rule", "Verdict", "judge"]

Rows = NDArray[np.int64]


def judge(
    serving: Scored, candidate: Scored, groups: Groups | None = None, rule: Rule = STANDARD
) -> Verdict:
    """The verdict on two bundles' answers to the same images.

    Raises:
        HoldOutsDiffer: the images, patients, labels or findings are not the same.
    """
    _check_same(serving, candidate)
    codes = np.unique(serving.patients, return_inverse=True)[1].astype(np.int64)
    every = np.arange(len(codes))
    findings, macro = _changes(serving, candidate, codes, every, None, rule)
    decisions = _decisions(serving, candidate, codes, {change.finding for change in findings})
    parts = _group_changes(serving, candidate, codes, groups or {}, rule)
    brier = clustered_mean(_brier(candidate) - _brier(serving), codes)
    reasons = [
        *_too_few(serving, findings, rule),
        *_not_shown(macro, findings, rule),
        *_worse_groups(parts, rule),
    ]
    lost, trades = _worse_decisions(decisions, rule)
    gains = _gains(macro, findings, brier, rule)
    reasons += lost
    if not gains:
        reasons.append(
            Reason("no gain", "all findings", "It is not shown to be better anywhere: neither the "
                   "mean AUC, nor that of a finding, nor the Brier score.")
        )  # fmt: skip
    return Verdict(
        passed=not reasons,
        reasons=tuple(reasons),
        gains=gains,
        remarks=tuple(trades),
        rule=rule,
        images=len(codes),
        patients=int(codes.max()) + 1,
        macro=macro,
        findings=findings,
        groups=parts,
        decisions=decisions,
        brier=brier.interval(),
    )


def _check_same(serving: Scored, candidate: Scored) -> None:
    same = (
        serving.names == candidate.names
        and serving.targets.shape == candidate.targets.shape
        and bool((serving.targets == candidate.targets).all())
        and bool((serving.patients == candidate.patients).all())
    )
    if not same or not len(serving.targets):
        raise HoldOutsDiffer


def _changes(
    serving: Scored,
    candidate: Scored,
    codes: Codes,
    rows: Rows,
    group: tuple[str, str] | None,
    rule: Rule,
) -> tuple[tuple[AucChange, ...], AucChange | None]:
    """Of each finding with enough cases among the rows, and of their mean."""
    found, aucs = [], []
    for column, name in enumerate(serving.names):
        truth = serving.targets[rows, column]
        positives = int(truth.sum())
        if min(positives, len(rows) - positives) < rule.min_cases:
            continue
        scores = np.stack([serving.scores[rows, column], candidate.scores[rows, column]])
        each = delong(scores, truth, codes[rows])
        counts = positives, len(rows) - positives
        found.append(
            _change(
                name, group, counts, each.estimate(0), each.estimate(1), each.difference(), rule
            )
        )
        aucs.append(_wide(each, int(codes.max()) + 1))
    if not aucs:
        return (), None
    counts = sum(c.positives for c in found), sum(c.negatives for c in found)
    one, two = (_mean(aucs, model) for model in (0, 1))
    return tuple(found), _change(None, group, counts, one, two, mean_difference(aucs), rule)


def _wide(aucs: Aucs, count: int) -> Aucs:
    """The same with a column for each patient of the hold-out."""
    parts = np.zeros((len(aucs.parts), count))
    parts[:, : aucs.parts.shape[1]] = aucs.parts
    return Aucs(aucs.values, parts, aucs.freedom)


def _mean(aucs: list[Aucs], model: int) -> Estimate:
    parts = np.mean([each.parts[model] for each in aucs], axis=0)
    value = float(np.mean([each.values[model] for each in aucs]))
    return Estimate(value, float(np.sqrt((parts**2).sum())), sum(each.freedom for each in aucs))


def _change(
    finding: str | None,
    group: tuple[str, str] | None,
    counts: tuple[int, int],
    one: Estimate,
    two: Estimate,
    difference: Estimate,
    rule: Rule,
) -> AucChange:
    return AucChange(
        finding=finding,
        group=group,
        positives=counts[0],
        negatives=counts[1],
        serving=one.interval(),
        candidate=two.interval(),
        difference=difference.interval(),
        bound=difference.lower(rule.level),
        p_worse=difference.p_below(),
        p_better=difference.p_above(),
    )


def _group_changes(
    serving: Scored, candidate: Scored, codes: Codes, groups: Groups, rule: Rule
) -> tuple[AucChange, ...]:
    """Within each group; the mean only where it is of more than one finding."""
    parts: list[AucChange] = []
    for column, values in groups.items():
        for value, rows in values.items():
            if len(rows) == len(codes):
                continue  # the group is the whole
            found, mean = _changes(serving, candidate, codes, rows, (column, value), rule)
            parts += found
            if mean is not None and len(found) > 1:
                parts.append(mean)
    return tuple(parts)


def _decisions(
    serving: Scored, candidate: Scored, codes: Codes, measured: set[str | None]
) -> tuple[DecisionChange, ...]:
    changes = []
    one, two = serving.decisions, candidate.decisions
    for column, name in enumerate(serving.names):
        if name not in measured:
            continue
        truth = serving.targets[:, column]
        sides: tuple[tuple[Side, int], ...] = (("sensitivity", 1), ("specificity", 0))
        for side, value in sides:
            rows = np.flatnonzero(truth == value)
            right = [(decided[rows, column] == value).astype(np.uint8) for decided in (one, two)]
            lost, won = right[0] & (1 - right[1]), right[1] & (1 - right[0])
            rates = [clustered_mean(each.astype(np.float64), codes[rows]) for each in right]
            gap = clustered_mean(right[1].astype(np.float64) - right[0], codes[rows])
            p_worse, p_better = mcnemar(lost, won, codes[rows])
            changes.append(
                DecisionChange(
                    name, side, len(rows), int(lost.sum()), int(won.sum()),
                    _share(rates[0]), _share(rates[1]), gap.interval(), p_worse, p_better,
                )
            )  # fmt: skip
    return tuple(changes)


def _share(rate: Estimate) -> Interval:
    found = rate.interval()
    return Interval(found.value, max(0.0, found.low), min(1.0, found.high))


def _brier(scored: Scored) -> NDArray[np.float64]:
    """Of each image, the mean over the findings (Brier, Monthly Weather Review 78, 1950)."""
    return np.asarray(((scored.probabilities - scored.targets) ** 2).mean(axis=1))


def _too_few(serving: Scored, findings: tuple[AucChange, ...], rule: Rule) -> list[Reason]:
    measured = {change.finding for change in findings}
    reasons = []
    for column, name in enumerate(serving.names):
        if name not in measured:
            positives = int(serving.targets[:, column].sum())
            negatives = len(serving.targets) - positives
            reasons.append(
                Reason("too few", name, f"The hold-out has {positives} images with {name} and "
                       f"{negatives} without; at least {rule.min_cases} of each are needed.")
            )  # fmt: skip
    return reasons


def _not_shown(
    macro: AucChange | None, findings: tuple[AucChange, ...], rule: Rule
) -> list[Reason]:
    reasons = []
    for change in (*((macro,) if macro else ()), *findings):
        margin = rule.finding_margin if change.finding else rule.macro_margin
        if change.bound > -margin:
            continue
        worse = change.difference.high < 0
        about = change.finding or "mean over the findings"
        reasons.append(
            Reason(
                "worse" if worse else "not shown", about,
                f"AUC of {about}: {_told(change.difference)}. It "
                f"{'is lower' if worse else 'may be lower'} by more than the margin of {margin:g}: "
                f"the bound is {change.bound:+.3f}.",
            )
        )  # fmt: skip
    return reasons


def _worse_groups(parts: tuple[AucChange, ...], rule: Rule) -> list[Reason]:
    """Groups are small: refused is what is lower by more than the margin and by more than chance,
    at `level` over all groups and findings together."""
    reasons = []
    for change, p in zip(parts, holm([c.p_worse for c in parts]), strict=True):
        if change.group and p < rule.level and change.difference.value < -rule.finding_margin:
            about = f"{change.finding or 'mean over the findings'} in {' '.join(change.group)}"
            reasons.append(
                Reason("worse", about, f"AUC of {about}: {_told(change.difference)}, lower by more "
                       f"than {rule.finding_margin:g} and by more than chance (p = {p:.2g}).")
            )  # fmt: skip
    return reasons


def _worse_decisions(
    decisions: tuple[DecisionChange, ...], rule: Rule
) -> tuple[list[Reason], list[str]]:
    """Losses by more than chance (Holm over all); one that the other side of its finding pays for
    is a trade, which is what thresholds are for."""
    gaps = {(change.finding, change.side): change.difference for change in decisions}
    other: Mapping[Side, Side] = {"sensitivity": "specificity", "specificity": "sensitivity"}
    reasons, trades = [], []
    for change, p in zip(decisions, holm([c.p_worse for c in decisions]), strict=True):
        if p >= rule.level:
            continue
        against = gaps[change.finding, other[change.side]]
        text = (
            f"{change.side} for {change.finding}: {_told(change.difference)} (p = {p:.2g}), "
            f"against {other[change.side]} {_told(against)}"
        )
        if change.difference.value + against.value < -rule.decision_margin:
            reasons.append(Reason("worse", change.finding, f"Decisions lose: {text}."))
        else:
            trades.append(f"Another threshold: {text}.")
    return reasons, trades


def _gains(
    macro: AucChange | None, findings: tuple[AucChange, ...], brier: Estimate, rule: Rule
) -> tuple[str, ...]:
    gains = []
    if macro and macro.p_better < rule.gain_level:
        gains.append(f"mean AUC {_told(macro.difference)}")
    for change, p in zip(findings, holm([c.p_better for c in findings]), strict=True):
        if p < rule.other_gain_level:
            gains.append(f"AUC of {change.finding} {_told(change.difference)}")
    if brier.p_below() < rule.other_gain_level:
        gains.append(f"Brier score {_told(brier.interval(), 4)}")
    return tuple(gains)


def _told(found: Interval, digits: int = 3) -> str:
    value, low, high = (f"{each:+.{digits}f}" for each in (found.value, found.low, found.high))
    return f"{value} ({low} to {high})"

"""The acceptance test's sample is as large as the interval needs, blind, and weighed rightly."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from training.acceptance import Drawn, Read, draw, figures, plan, report
from training.errors import TooFewCases
from training.reviewed import wilson


@given(st.floats(0.03, 0.3), st.floats(0.5, 0.99))
def test_the_interval_is_as_narrow_as_wanted_and_one_case_less_is_not(
    half: float, share: float
) -> None:
    def width(count: int) -> float:
        z = 1.959963984540054
        return (
            z / (1 + z * z / count) * np.sqrt(share * (1 - share) / count + (z / (2 * count)) ** 2)
        )

    wanted = plan(half, sensitivity=share)
    assert width(wanted.positives) <= half + 1e-9
    assert wanted.positives == 1 or width(wanted.positives - 1) > half - 1e-9
    assert wanted.cases(0.1) >= wanted.positives / 0.1


def test_ten_points_to_each_side_at_ninety_percent_need_what_tables_say() -> None:
    """Buderer's formula asks for 35 positives; Wilson's interval is a little wider there."""
    assert 33 <= plan(0.1, sensitivity=0.9).positives <= 40
    assert plan(0.05, 0.9, 0.9).positives > 3.5 * plan(0.1, 0.9, 0.9).positives
    with pytest.raises(ValueError, match=r"Received: 1\.0"):
        plan(1.0)
    with pytest.raises(ValueError, match="prevalence"):
        plan(0.1).cases(0.0)


CASES = st.dictionaries(st.text(min_size=1, max_size=8), st.booleans(), min_size=6, max_size=60)


@settings(max_examples=60)
@given(CASES, st.integers(0, 5), st.integers(0, 5), st.text(max_size=4), st.randoms())
def test_a_sample_is_reproducible_and_stands_for_all(
    cases: dict[str, bool], flagged: int, unflagged: int, seed: str, random: object
) -> None:
    have = sum(cases.values()), len(cases) - sum(cases.values())
    if have[0] < flagged or have[1] < unflagged:
        with pytest.raises(TooFewCases, match="Received: "):
            draw(cases, flagged, unflagged, seed)
        return
    drawn = draw(cases, flagged, unflagged, seed)
    items = list(cases.items())
    random.shuffle(items)  # type: ignore[attr-defined]
    assert draw(dict(items), flagged, unflagged, seed) == drawn
    assert len({each.case for each in drawn}) == flagged + unflagged
    for side, wanted, count in ((True, flagged, have[0]), (False, unflagged, have[1])):
        part = [each.weight for each in drawn if cases[each.case] == side]
        assert len(part) == wanted
        assert sum(part) == pytest.approx(count if wanted else 0)


def test_the_order_of_a_sample_does_not_tell_the_answer() -> None:
    cases = {f"case {i}": i % 4 == 0 for i in range(4000)}
    flags = [cases[each.case] for each in draw(cases, 300, 300, "2026")]
    first = sum(flags[:300])
    assert 110 < first < 190
    assert draw(cases, 300, 300, "2027") != draw(cases, 300, 300, "2026")


def reads(
    truth: np.ndarray, decision: np.ndarray, weights: np.ndarray, **groups: str
) -> list[Read]:
    return [
        Read(f"{i}", f"p{i}", bool(t), bool(d), float(w), groups or None)
        for i, (t, d, w) in enumerate(zip(truth, decision, weights, strict=True))
    ]


def test_plain_figures_are_wilsons_and_scikit_learns() -> None:
    random = np.random.default_rng(0)
    truth, decision = random.random(200) < 0.3, random.random(200) < 0.4
    found = figures(reads(truth, decision, np.ones(200)))
    tp, positives = int((truth & decision).sum()), int(truth.sum())
    assert found.sensitivity == wilson(tp, positives)
    assert found.kappa is not None
    assert found.kappa.value == pytest.approx(cohen_kappa_score(truth, decision))
    assert found.agreement.value == pytest.approx((truth == decision).mean())
    assert sum(found.cells) == found.cases == found.patients == 200


def test_weights_undo_that_flagged_cases_were_drawn_more_often() -> None:
    """Of 20,000 cases with sensitivity 0.7, 150 flagged and 150 others are read, often over."""
    random = np.random.default_rng(1)
    truth = random.random(20_000) < 0.1
    decision = np.where(truth, random.random(20_000) < 0.7, random.random(20_000) < 0.2)
    cases = {f"{i}": bool(flag) for i, flag in enumerate(decision)}
    held, values = [], []
    for seed in range(40):
        drawn: tuple[Drawn, ...] = draw(cases, 150, 150, str(seed))
        index = np.array([int(each.case) for each in drawn])
        found = figures(
            reads(truth[index], decision[index], np.array([each.weight for each in drawn]))
        ).specificity
        assert found is not None
        held.append(found.low <= (1 - decision[~truth]).mean() <= found.high)
        values.append(found.value)
    assert np.mean(held) >= 0.85
    assert np.mean(values) == pytest.approx((1 - decision[~truth]).mean(), abs=0.01)


def test_a_report_names_the_groups_that_are_too_small_and_is_json() -> None:
    random = np.random.default_rng(2)
    truth, decision = random.random(120) < 0.4, random.random(120) < 0.5
    made = [
        Read(
            f"{i}",
            f"p{i}",
            bool(truth[i]),
            bool(decision[i]),
            groups={"view": "AP" if i < 8 else "PA"},
        )
        for i in range(120)
    ]
    found = report(made)
    assert set(found.groups["view"]) == {"PA"}
    assert [line.split(":")[0] for line in found.too_few] == ["view AP"]
    assert json.loads(json.dumps(found.as_json()))["whole"]["cases"] == 120
    with pytest.raises(TooFewCases, match="no report"):
        report([])


def test_cases_of_one_class_have_no_sensitivity_and_no_fault() -> None:
    zeros = np.zeros(20, dtype=bool)
    found = figures(reads(zeros, zeros, np.ones(20)))
    assert found.sensitivity is None
    assert found.kappa is None
    assert found.specificity is not None


def test_where_all_agree_the_interval_is_that_of_as_many_cases_and_not_of_none() -> None:
    """A bootstrap of twenty hits has twenty hits in each redraw."""
    truth = np.arange(40) < 20
    weights = np.where(truth, 1.0, 5.0)
    found = figures(reads(truth, truth, weights))
    assert found.sensitivity is not None
    assert found.kappa is not None
    alike = wilson(20, 20)
    assert alike is not None
    assert found.sensitivity.low == pytest.approx(alike.low)
    assert found.sensitivity.value == found.sensitivity.high == 1
    assert 0.4 < found.kappa.low < found.agreement.low < 1

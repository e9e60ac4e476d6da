"""A trial in figures, against the library forms of the same tests."""

from __future__ import annotations

import numpy as np
import pytest

from daemon.trial_figures import _holm, figures, objections
from storage.records import InstanceId
from storage.shadow_records import Compared, Decision, ShadowState
from training.paired import holm, mcnemar


def image(
    number: int, serving: float, candidate: float, truth: bool | None = None, patient: str = ""
) -> Compared:
    decision = Decision("pneumonia", candidate, 0.5, serving, 0.5)
    said = {} if truth is None else {"pneumonia": truth}
    return Compared(
        InstanceId(number), ShadowState.ANALYSED, patient or f"p{number}", (decision,), said
    )


def many(seed: int, count: int, patients: int) -> list[Compared]:
    random = np.random.default_rng(seed)
    rows = random.random((count, 3))
    return [
        image(n, float(a), float(b), bool(t > 0.5), f"p{n % patients}")
        for n, (a, b, t) in enumerate(rows)
    ]


@pytest.mark.parametrize(("seed", "patients"), [(1, 60), (2, 25), (3, 7)])
def test_mcnemar_is_that_of_the_gate(seed: int, patients: int) -> None:
    images = many(seed, 60, patients)
    (found,) = figures(images).findings
    right = [
        np.array([(getattr(one.decisions[0], side)) == one.truth["pneumonia"] for one in images])
        for side in ("serving_present", "present")
    ]
    lost, won = right[0] & ~right[1], right[1] & ~right[0]
    owners = np.array([int(one.patient[1:]) for one in images])
    expected = mcnemar(lost.astype(np.uint8), won.astype(np.uint8), owners)
    assert (found.p_worse, found.p_better) == pytest.approx(expected)
    assert (found.lost, found.won, found.judged) == (int(lost.sum()), int(won.sum()), 60)


def test_holm_is_that_of_the_gate() -> None:
    for values in ([0.01, 0.04, 0.03, 0.5], [0.2], [], [0.05, 0.05]):
        assert _holm(values) == pytest.approx(holm(values))


def test_agreement_shift_and_flags_are_counted() -> None:
    images = [image(1, 0.9, 0.8), image(2, 0.9, 0.1), image(3, 0.1, 0.7), image(4, 0.2, 0.1)]
    images.append(Compared(InstanceId(5), ShadowState.FAILED, "p5", ()))
    found = figures(images)
    (one,) = found.findings
    assert (one.both, one.serving_only, one.candidate_only, one.neither) == (1, 1, 1, 1)
    assert one.agreement.value == 0.5
    assert one.kappa is not None
    assert one.kappa.value == 0
    assert one.shift is not None
    assert one.shift.value == pytest.approx((-0.1 - 0.8 + 0.6 - 0.1) / 4)
    assert one.shift.low < one.shift.value < one.shift.high
    assert (found.images, found.analysed, found.failed) == (5, 4, 1)
    assert found.serving_flagged.value == found.candidate_flagged.value == 0.5
    assert (one.judged, one.p_worse) == (0, 1.0)


def test_each_objection_is_named() -> None:
    fine = [image(n, 0.9, 0.8, truth=True) for n in range(20)]
    assert objections(figures(fine), 20, 0.1) == []
    assert "20 of the 30" in objections(figures(fine), 30, 0.1)[0]
    broken = [*fine, Compared(InstanceId(99), ShadowState.FAILED, "p", ())]
    assert "failed on 1 images" in objections(figures(broken), 20, 0.1)[0]
    silent = [*fine, Compared(InstanceId(99), ShadowState.NOT_ANALYSED, "p", ())]
    assert "did not analyse 1 images" in objections(figures(silent), 20, 0.1)[0]
    louder = [*fine, *(image(n, 0.1, 0.9) for n in range(20, 40))]
    assert "from 50.0% to 100.0%" in objections(figures(louder), 20, 0.1)[0]
    worse = [*fine, *(image(n, 0.9, 0.1, truth=True) for n in range(20, 26))]
    against = objections(figures(worse), 20, 1.0)
    assert len(against) == 1
    assert "worse: 6 lost and 0 won of 26 (p = 0.016)" in against[0]
    fewer = [*fine, *(image(n, 0.9, 0.1, truth=True) for n in range(20, 23))]
    assert objections(figures(fewer), 20, 1.0) == [], "three may be chance"


def test_no_image_is_no_figure_and_no_fault() -> None:
    found = figures([])
    assert (found.images, found.findings, found.serving_flagged.value) == (0, (), None)
    assert "0 of the 5" in objections(found, 5, 0.1)[0]

"""Calibration and thresholds per finding, from logits of images that the network was not fit on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize  # type: ignore[import-untyped]
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_curve

from classifier.calibration import MAX_POINTS, AnyCalibration, Calibration, Isotonic
from training.errors import TargetUnreachable, TooFewCases

Method = Literal["platt", "temperature", "isotonic", "anchored"]
MethodChoice = Literal["platt", "temperature", "isotonic", "anchored", "auto"]

ANCHOR_SLOPE, ANCHOR_SHIFT = 0.5, 1.0
"""Prior deviations of the logarithm of the slope and of the shift, on log odds that were calibrated
elsewhere: docs/decisions/0014-recalibration.md."""

MIN_SLOPE = 0.05
"""A finding whose logits say nothing keeps its order, and a probability near its prevalence."""

ISOTONIC_IMAGES, ISOTONIC_CASES = 1000, 100
"""Isotonic regression needs so many images, and so many with and without the finding: with fewer
it follows the noise (Niculescu-Mizil and Caruana, ICML 2005, section 5)."""

Logits = NDArray[np.floating]
Bits = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Target:
    """What a threshold is to reach on the images that it is chosen on."""

    kind: Literal["youden", "sensitivity", "specificity"] = "youden"
    at_least: float = 0.0

    def __str__(self) -> str:
        return self.kind if self.kind == "youden" else f"{self.kind}={self.at_least:g}"

    @classmethod
    def parse(cls, text: str) -> Target:
        """From "youden", "sensitivity=0.9" or "specificity=0.9".

        Raises:
            ValueError: it is none of them, or the number is not above 0 and at most 1.
        """
        kind, equals, number = text.partition("=")
        if kind == "youden" and not equals:
            return cls()
        if kind in ("sensitivity", "specificity"):
            try:
                share = float(number)
            except ValueError:
                share = 0.0
            if 0 < share <= 1:
                return cls("sensitivity" if kind == "sensitivity" else "specificity", share)
        raise ValueError(
            "A target is youden, sensitivity=X or specificity=X, X above 0 and at most 1. "
            f"Received: {text}."
        )


def platt(logits: Logits, targets: Bits) -> Calibration:
    """Platt scaling of one finding, with Platt's own smoothing of the targets (1999, section 2.2).

    Raises:
        TooFewCases: one class is missing.
    """
    positives, negatives = _counts(targets)
    x = logits.astype(np.float64)
    centre, width = float(x.mean()), float(x.std()) or 1.0
    model = _logistic((x - centre) / width, targets, intercept=True)
    slope = float(model.coef_[0, 0]) / width
    intercept = float(model.intercept_[0]) - slope * centre
    if slope < MIN_SLOPE:
        slope, intercept = MIN_SLOPE, float(np.log(positives / negatives)) - MIN_SLOPE * centre
    return Calibration(slope, intercept)


def anchored(logits: Logits, targets: Bits, serving: Calibration) -> Calibration:
    """Platt scaling of the serving calibration's log odds, held to it by a normal prior.

    The most probable slope and shift (maximum a posteriori), so that few cases change little, and
    many as much as they say.

    Raises:
        TooFewCases: one class is missing.
    """
    _counts(targets)
    odds = serving.slope * logits.astype(np.float64) + serving.intercept
    truth = targets.astype(np.float64)

    def objective(values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        slope = np.exp(values[0])
        x = slope * odds + values[1]
        wrong = 0.5 * (1 + np.tanh(x / 2)) - truth
        away = values / np.array([ANCHOR_SLOPE, ANCHOR_SHIFT])
        loss = float((np.logaddexp(0, x) - truth * x).sum() + (away**2).sum() / 2)
        pull = away / np.array([ANCHOR_SLOPE, ANCHOR_SHIFT])
        return loss, pull + np.array([(wrong * slope * odds).sum(), wrong.sum()])

    found = minimize(objective, np.zeros(2), jac=True, method="L-BFGS-B", bounds=[(-4, 4)] * 2).x
    slope = float(np.exp(found[0]))
    return Calibration(slope * serving.slope, slope * serving.intercept + float(found[1]))


def temperature(logits: Logits, targets: Bits) -> Calibration:
    """Temperature scaling of one finding (Guo et al., ICML 2017): the slope is 1 / temperature.

    Raises:
        TooFewCases: one class is missing.
    """
    _counts(targets)
    x = logits.astype(np.float64)
    width = float(np.abs(x).mean()) or 1.0
    model = _logistic(x / width, targets, intercept=False)
    return Calibration(max(float(model.coef_[0, 0]) / width, MIN_SLOPE), 0.0)


def isotonic(logits: Logits, targets: Bits) -> Isotonic:
    """Isotonic regression of one finding; no probability is nearer to 0 or 1 than 1 / (n + 2).

    Raises:
        TooFewCases: one class is missing.
    """
    _counts(targets)
    edge = 1 / (len(targets) + 2)
    model = IsotonicRegression(y_min=edge, y_max=1 - edge, out_of_bounds="clip")
    model.fit(logits.astype(np.float64), targets)
    x, y = model.X_thresholds_, model.y_thresholds_
    if len(x) > MAX_POINTS:
        kept = np.unique(np.linspace(0, len(x) - 1, MAX_POINTS).round().astype(np.int64))
        x, y = x[kept], y[kept]
    return Isotonic(tuple(zip(x.tolist(), y.tolist(), strict=True)))


def choose_method(choice: MethodChoice, targets: Bits) -> Method:
    """The method for one finding: "auto" is isotonic where the data suffice, and else Platt.

    Raises:
        TooFewCases: isotonic is asked for, and the data do not suffice for it.
    """
    if choice != "auto" and choice != "isotonic":
        return choice
    positives, negatives = _counts(targets)
    if len(targets) >= ISOTONIC_IMAGES and min(positives, negatives) >= ISOTONIC_CASES:
        return "isotonic"
    if choice == "auto":
        return "platt"
    raise TooFewCases(
        f"Isotonic calibration needs at least {ISOTONIC_IMAGES} images, {ISOTONIC_CASES} of them "
        f"positive and {ISOTONIC_CASES} negative. Received: {positives} positive, {negatives} "
        "negative. Allowed instead: platt, temperature, auto."
    )


def fit_calibration(
    method: Method, logits: Logits, targets: Bits, serving: AnyCalibration | None = None
) -> AnyCalibration:
    """Fit one finding by the method named; "anchored" to `serving`, which an isotonic one is no
    anchor for: Platt then.

    Raises:
        TooFewCases: one class is missing.
    """
    if method == "isotonic":
        return isotonic(logits, targets)
    if method == "anchored" and isinstance(serving, Calibration):
        return anchored(logits, targets, serving)
    return temperature(logits, targets) if method == "temperature" else platt(logits, targets)


def threshold_for(target: Target, probabilities: NDArray[np.float64], targets: Bits) -> float:
    """The threshold that reaches the target, at the least cost to the other of the two rates.

    Halfway to the next lower probability, so that rounding does not decide a case.

    Raises:
        TooFewCases: one class is missing.
        TargetUnreachable: even probability 1 is below the specificity wanted.
    """
    _counts(targets)
    false, true, thresholds = roc_curve(targets, probabilities, drop_intermediate=False)
    if target.kind == "youden":
        best = int(np.argmax((true - false)[1:])) + 1
    elif target.kind == "sensitivity":
        best = int(np.flatnonzero(true >= target.at_least)[0])
    else:
        best = int(np.flatnonzero(1 - false >= target.at_least)[-1])
    upper = 1.0 if best == 0 else float(thresholds[best])
    lower = float(thresholds[best + 1]) if best + 1 < len(thresholds) else 0.0
    if best == 0 and lower >= 1.0:
        raise TargetUnreachable(
            f"No threshold reaches {target}: negative images have probability 1."
        )
    middle = (upper + lower) / 2
    return float(np.clip(middle if lower < middle else upper, 0.0, 1.0))


def youden_threshold(probabilities: NDArray[np.float64], targets: Bits) -> float:
    """The probability that maximises sensitivity + specificity - 1 (Youden, 1950)."""
    return threshold_for(Target(), probabilities, targets)


def _counts(targets: Bits) -> tuple[int, int]:
    positives, negatives = int(targets.sum()), int((1 - targets).sum())
    if positives == 0 or negatives == 0:
        raise TooFewCases(
            "Calibration needs positive and negative cases. Received: "
            f"{positives} positive, {negatives} negative."
        )
    return positives, negatives


def _logistic(x: NDArray[np.float64], targets: Bits, *, intercept: bool) -> LogisticRegression:
    """Without a penalty, on smoothed targets: each image counts partly as the other class."""
    positives, negatives = _counts(targets)
    hit = np.where(targets == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    model = LogisticRegression(C=np.inf, fit_intercept=intercept, tol=1e-6)
    return model.fit(
        np.concatenate([x, x])[:, np.newaxis],
        np.repeat([1, 0], len(x)),
        sample_weight=np.concatenate([hit, 1 - hit]),
    )

"""New labelled cases to a new version of a bundle: other probabilities and thresholds, the same
weights."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifier.bundle import (
    Bundle,
    CalibrationGain,
    FindingOutput,
    Manifest,
    Parity,
    Precision,
    Recalibration,
    write_bundle,
)
from classifier.calibration import AnyCalibration
from classifier.engine import open_engine
from classifier.errors import BundleRefused, EngineUnavailable
from training.calibrate import (
    Method,
    MethodChoice,
    Target,
    choose_method,
    fit_calibration,
    threshold_for,
)
from training.dataset import LabelledImages, patient_folds
from training.errors import BundleNotWritten, TooFewCases, UnknownFinding
from training.evaluate import predict, score, seen
from training.features import Progress
from training.figures import Bits, Floats, Group, Scored, group_figures, resamples
from training.quantise import parity
from training.references import reference

FOLDS = 5
MIN_IMAGES = 50
MIN_CASES = 10
ANCHORED_CASES = FOLDS
"""With few cases the calibration that is held to the serving one says little else than that."""


@dataclass(frozen=True, slots=True)
class Recalibrated:
    """The new bundle, and its figures: `before` by the old calibration, `after` cross-fitted.

    `seen` says that the parent was trained or calibrated on these very images.
    """

    bundle: Bundle
    before: Group
    after: Group
    unreadable: tuple[str, ...]
    seen: bool

    def as_json(self) -> dict[str, Any]:
        """The object that ``hilum calibrate --json`` prints."""
        manifest = self.bundle.manifest
        again = manifest.recalibration
        findings = {}
        for output in manifest.findings:
            name = output.label.name
            gain = again.findings[name] if again else None
            before, after = self.before.findings[name], self.after.findings[name]
            findings[name] = {
                "positives": after.positives,
                "negatives": after.negatives,
                "method": gain.method if gain else None,
                "target": gain.target if gain else None,
                "threshold": output.threshold,
                **{
                    f"{figure}_{when}": _plain(getattr(figures, figure))
                    for figure in ("ece", "brier")
                    for when, figures in (("before", before), ("after", after))
                },
                "sensitivity": _plain(after.rates["sensitivity"]),
                "specificity": _plain(after.rates["specificity"]),
            }
        return {
            "bundle": self.bundle.version,
            "digest": self.bundle.digest,
            "folder": str(self.bundle.folder),
            "parent": again.parent_version if again else None,
            "parent_digest": again.parent if again else None,
            "images": self.after.images,
            "patients": self.after.patients,
            "folds": FOLDS,
            "findings": findings,
            "seen_in_training": self.seen,
            "unreadable": list(self.unreadable),
        }


def recalibrate(
    parent: Bundle,
    data: LabelledImages,
    out_dir: Path,
    *,
    method: MethodChoice = "platt",
    target: Target = Target(),  # noqa: B008 (frozen)
    targets: Mapping[str, Target] | None = None,
    seed: int = 0,
    progress: Progress = lambda *_: None,
) -> Recalibrated:
    """Calibrate `parent` anew and write the result to `out_dir`, which must not exist.

    `targets` are those of single findings, `target` that of the others.

    Raises:
        TooFewCases: the data cannot carry it; names each finding.
        UnknownFinding: a target names no finding of the bundle.
        TargetUnreachable: no threshold reaches a target.
        BundleRefused: `out_dir` exists, or the parent is damaged.
        BundleNotWritten: the disk does not take it.
    """
    if out_dir.exists():
        raise BundleRefused(f"{out_dir} exists already; a bundle is never edited.")
    wanted = _wanted(parent, target, targets or {})
    check_cases(parent, data, method)
    logits, used = predict(open_engine(parent, "f32"), parent, data, progress)
    methods = check_cases(parent, used, method)
    old = score(parent, used, logits)
    new, crossed = _fitted(parent, old, methods, wanted, seed)
    draws = resamples(old.patients, seed)
    before, after = group_figures(old, draws), group_figures(crossed, draws)
    manifest = _manifest(parent, new, methods, wanted, used, before, after)
    parities = _parities(parent, new, old, used, progress)
    paths = [case.path for case in used.cases]
    known = reference(paths, logits, new, parent.manifest.reference, progress)
    update = {"parity": parities, "reference": known}
    return Recalibrated(
        bundle=_written(out_dir, manifest.model_copy(update=update), parent),
        before=before,
        after=after,
        unreadable=used.unreadable,
        seen=seen(parent, data) or seen(parent, used),
    )


def _manifest(
    parent: Bundle,
    new: tuple[FindingOutput, ...],
    methods: list[Method],
    wanted: list[Target],
    used: LabelledImages,
    before: Group,
    after: Group,
) -> Manifest:
    """The parent's with other calibrations, and what they were fitted to."""
    names = tuple(output.label.name for output in new)
    source = used.folder.resolve().name
    gains = {
        name: CalibrationGain(kind, str(aim), before.findings[name].ece, after.findings[name].ece)
        for name, kind, aim in zip(names, methods, wanted, strict=True)
    }
    return parent.manifest.model_copy(
        update={
            **_dated(parent, new),
            "findings": new,
            "threshold_target": _target_text(names, wanted),
            "recalibration": Recalibration(
                parent=parent.digest,
                parent_version=parent.version,
                data=source,
                images=after.images,
                patients=after.patients,
                fingerprint=used.fingerprint,
                findings=gains,
            ),
            "metrics": after.metrics(f"recalibration on {source}, cross-fitted by patient"),
        }
    )


def _wanted(parent: Bundle, target: Target, targets: Mapping[str, Target]) -> list[Target]:
    """The target of each finding of the bundle."""
    names = tuple(finding.label.name for finding in parent.manifest.findings)
    unknown = set(targets) - set(names)
    if unknown:
        raise UnknownFinding(
            f"A target names no finding of the bundle. Allowed: {', '.join(names)}. "
            f"Received: {', '.join(sorted(unknown))}."
        )
    return [targets.get(name, target) for name in names]


def check_cases(
    bundle: Bundle, data: LabelledImages, choice: MethodChoice = "auto"
) -> list[Method]:
    """The method for each finding of the bundle, which the data can carry.

    Raises:
        TooFewCases: names what the data lack.
    """
    if len(data.cases) < MIN_IMAGES:
        raise TooFewCases(
            f"Calibration needs at least {MIN_IMAGES} usable images. Received: {len(data.cases)}."
        )
    findings = [finding.label for finding in bundle.manifest.findings]
    targets = data.targets([(label.name, *label.labels) for label in findings])
    needed = ANCHORED_CASES if choice == "anchored" else MIN_CASES
    few = []
    for label, truth in zip(findings, targets.T, strict=True):
        parts = [data.patients[truth == side] for side in (1, 0)]
        if any(len(part) < needed or len(np.unique(part)) < FOLDS for part in parts):
            told = (f"{len(part)} of {len(np.unique(part))} patients" for part in parts)
            few.append(f"{label.name} ({' and '.join(told)})")
    if few:
        raise TooFewCases(
            f"Calibration needs for each finding at least {needed} positive and {needed} "
            f"negative images, each of at least {FOLDS} patients. Received, positive and negative "
            f"images: {', '.join(few)}."
        )
    return [choose_method(choice, truth) for truth in targets.T]


def crossfit(
    logits: NDArray[np.floating],
    truth: Bits,
    patients: NDArray[np.str_],
    method: Method,
    target: Target,
    seed: int = 0,
    serving: AnyCalibration | None = None,
) -> tuple[Floats, Floats]:
    """Probability and threshold of each image, fit on the other patients of one finding.

    Raises:
        TooFewCases: there are fewer patients with or without the finding than folds.
    """
    probabilities, thresholds = np.empty(len(truth)), np.empty(len(truth))
    for fit, rest in patient_folds(patients, FOLDS, seed, truth[:, np.newaxis]):
        calibration = fit_calibration(method, logits[fit], truth[fit], serving)
        thresholds[rest] = threshold_for(target, calibration.probability(logits[fit]), truth[fit])
        probabilities[rest] = calibration.probability(logits[rest])
    return probabilities, thresholds


def _fitted(
    parent: Bundle, old: Scored, methods: list[Method], wanted: list[Target], seed: int
) -> tuple[tuple[FindingOutput, ...], Scored]:
    """The new outputs, fit on all images, and what they would say of patients not fit on."""
    outputs, probabilities, thresholds = [], [], []
    for column, finding in enumerate(parent.manifest.findings):
        logits, truth = old.scores[:, column], old.targets[:, column]
        method, target = methods[column], wanted[column]
        calibration = fit_calibration(method, logits, truth, finding.calibration)
        threshold = threshold_for(target, calibration.probability(logits), truth)
        outputs.append(FindingOutput(finding.label, calibration, threshold))
        unseen = crossfit(logits, truth, old.patients, method, target, seed, finding.calibration)
        probabilities.append(unseen[0])
        thresholds.append(unseen[1])
    crossed = replace(
        old,
        probabilities=np.stack(probabilities, axis=1),
        thresholds=np.stack(thresholds, axis=1),
    )
    return tuple(outputs), crossed


def _parities(
    parent: Bundle,
    outputs: tuple[FindingOutput, ...],
    old: Scored,
    data: LabelledImages,
    progress: Progress,
) -> dict[Precision, Parity]:
    """The engine gate again at the new thresholds; an engine that does not run here is left out."""
    found: dict[Precision, Parity] = {}
    for name in parent.manifest.parity:
        try:
            other, _ = predict(open_engine(parent, name), parent, data, progress)
        except (EngineUnavailable, BundleRefused):
            continue
        found[name] = parity(outputs, old.targets, old.scores, other)
    return found


def _dated(parent: Bundle, outputs: tuple[FindingOutput, ...]) -> dict[str, Any]:
    """Version and time: the weights' version, then the day and a hash of what is new."""
    now = datetime.now(UTC).replace(microsecond=0)
    digest = hashlib.sha256(f"{parent.digest} {outputs!r}".encode()).hexdigest()
    weights = parent.manifest.version.partition("+")[0][:32]
    return {"version": f"{weights}+cal.{now:%Y%m%d}.{digest[:8]}", "created": now}


def _target_text(names: tuple[str, ...], wanted: list[Target]) -> str:
    if len(set(wanted)) == 1:
        return str(wanted[0])
    return "; ".join(f"{name}: {target}" for name, target in zip(names, wanted, strict=True))


def _written(out_dir: Path, manifest: Manifest, parent: Bundle) -> Bundle:
    contents = {name: parent.read(name) for name in parent.manifest.files}
    try:
        return write_bundle(out_dir, manifest, contents)
    except OSError as error:
        raise BundleNotWritten(f"{out_dir} cannot be written: {error.strerror}.") from error


def _plain(interval: Any) -> dict[str, float] | None:
    return interval and {"value": interval.value, "low": interval.low, "high": interval.high}

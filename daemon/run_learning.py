"""Runs that make a candidate: recalibrated or retrained, registered, judged, not serving.

A candidate is promoted by an administrator alone. What was reached before a process died is taken
up again: the features of images, and a bundle that was written but not judged.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from classifier.bundle import Bundle, load_bundle
from classifier.engine import open_engine
from classifier.errors import BundleRefused
from daemon.run import Outcome, Task
from daemon.run_data import Material, gather
from daemon.shelf import Shelf
from storage.errors import Refused
from storage.holdout import Holdouts
from storage.ledger import Ledger
from storage.runs import Runs
from storage.schedule_records import RunKind
from training.dataset import LabelledImages
from training.errors import ResultsNotWritten, TooFewCases
from training.evaluate import predict, score
from training.figures import Scored
from training.gate import Rule, judge
from training.gate_picture import picture
from training.recalibrate import check_cases as check_calibration
from training.recalibrate import recalibrate
from training.replay import read_replay
from training.retrain import MIN_CASES, retrain
from training.subgroups import subgroups
from training.train import Work, check_cases

GATE = "gate.png"


def perform(task: Task) -> Outcome:
    """Make a candidate of what serves, register it, and judge it on the hold-out.

    Raises TooFewCases, ReplayMissing, Refused where there is nothing new, and what the training
    does.
    """
    material = gather(task)
    made = _made_before(task)
    if made is None:
        _check_new(task, material)
        made = _make(task, material)
    registered = Shelf(task.settings.storage.root).take(
        made.folder, Ledger(task.database), task.clock(), f"run {task.claim.id}"
    )
    task.note_candidate(registered.digest)
    verdict = _judge(task, material, made)
    shutil.rmtree(task.folder / "candidate", ignore_errors=True)  # the shelf has its own
    shutil.rmtree(task.folder / "features", ignore_errors=True)
    counts = material.cases.counts
    found: dict[str, Any] = {
        "bundle": registered.version, "digest": registered.digest,
        "parent": material.serving.model.version, "origin": _origin(material),
        "cases": counts.as_json(),
        "metrics": asdict(made.manifest.metrics), **verdict,
    }  # fmt: skip
    return Outcome(found, registered.digest)


def _made_before(task: Task) -> Bundle | None:
    """What an earlier process of this run has written whole."""
    try:
        return load_bundle(task.folder / "candidate")
    except BundleRefused:
        shutil.rmtree(task.folder / "candidate", ignore_errors=True)
        return None


def _check_new(task: Task, material: Material) -> None:
    """Raise Refused where a run has made a bundle of the same cases and the same parent before."""
    here = _origin(material)
    for one in Runs(task.database).rows(1000):
        before = (one.outcome or {}).get("origin")
        if one.kind is task.claim.kind and before == here:
            raise Refused(f"There are no new reviews since run {one.id} learnt from them.")


def _origin(material: Material) -> dict[str, str]:
    """What a candidate was made of."""
    learning = material.cases.learning
    return {"parent": material.serving.model.digest, "cases": learning.fingerprint}


def _make(task: Task, material: Material) -> Bundle:
    """Write the candidate into the run's folder; the draft of a dead process goes."""
    draft = task.folder / "draft"
    shutil.rmtree(draft, ignore_errors=True)
    cases = material.cases
    if not cases.learning.cases:
        raise TooFewCases(f"No reviewed image can be learnt from. There are {cases.counts}.")
    try:
        _check_cases(task, material)
    except TooFewCases as error:
        raise TooFewCases(f"{error} There are {cases.counts}.") from error
    Holdouts(task.database).note_trained(cases.learning.patients.tolist(), task.clock())
    if task.claim.kind is RunKind.RECALIBRATE:
        recalibrate(
            material.bundle, cases.learning, draft, method="anchored", progress=task.progress
        )
    else:
        work = Work(cache=task.folder / "features", progress=task.progress)
        retrain(material.bundle, cases.learning, draft, work=work)
    draft.rename(task.folder / "candidate")
    return load_bundle(task.folder / "candidate")


def _check_cases(task: Task, material: Material) -> None:
    """Refuse what cannot be carried before anybody counts as learnt from."""
    bundle, data = material.bundle, material.cases.learning
    if task.claim.kind is RunKind.RECALIBRATE:
        check_calibration(bundle, data, "anchored")
        return
    read_replay(bundle)
    findings = tuple(finding.label for finding in bundle.manifest.findings)
    targets = data.targets([(label.name, *label.labels) for label in findings])
    check_cases(targets, findings, max(MIN_CASES, bundle.manifest.architecture.members))


def _judge(task: Task, material: Material, candidate: Bundle) -> dict[str, Any]:
    """The verdict and its picture, as they are kept."""
    held_out = material.cases.held_out
    if not held_out.cases:
        return {"verdict": _none("The hold-out has no reviewed image yet."), "pictures": []}
    try:
        serving, other, used = _answers(task, material, candidate, held_out)
    except TooFewCases as error:
        return {"verdict": _none(str(error)), "pictures": []}
    chosen = task.settings.training
    rule = Rule(
        macro_margin=chosen.gate_mean_margin,
        finding_margin=chosen.gate_finding_margin,
        min_cases=chosen.gate_min_cases,
    )
    verdict = judge(serving, other, subgroups(used), rule)
    _keep(task.folder / GATE, picture(verdict))
    return {"verdict": verdict.as_json(), "pictures": [GATE]}


def _answers(
    task: Task, material: Material, candidate: Bundle, held_out: LabelledImages
) -> tuple[Scored, Scored, LabelledImages]:
    """What both bundles say of the hold-out: the serving one at the thresholds in force."""
    bundle, own = material.bundle, material.serving.thresholds
    logits, used = predict(open_engine(bundle, "f32"), bundle, held_out, task.progress)
    now = replace(
        score(bundle, used, logits),
        thresholds=np.array([own[f.label.name] for f in bundle.manifest.findings]),
    )
    if task.claim.kind is RunKind.RETRAIN:  # else the weights, and so the logits, are the same
        logits, used = predict(open_engine(candidate, "f32"), candidate, used, task.progress)
    return now, score(candidate, used, logits), used


def _none(reason: str) -> dict[str, Any]:
    """A verdict without a comparison: refused."""
    return {
        "passed": False, "images": 0, "patients": 0, "gains": [], "remarks": [], "findings": [],
        "reasons": [{"kind": "too few", "about": "all findings", "text": reason}],
    }  # fmt: skip


def _keep(file: Path, contents: bytes) -> None:
    try:
        file.write_bytes(contents)
    except OSError as error:
        raise ResultsNotWritten(f"{file.name} cannot be written: {error.strerror}.") from error

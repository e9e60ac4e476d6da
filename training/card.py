"""What the model card of a bundle says.

After Mitchell et al., Model Cards for Model Reporting, FAT* 2019.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from classifier.bundle import Bundle, FindingOutput, Interval
from classifier.calibration import Isotonic
from training.errors import ResultsNotWritten
from training.evaluate import MIN_CASES, Evaluation
from training.figures import RATES, Group
from training.layout import Block, as_html, as_markdown
from training.pictures import pictures, words
from training.subgroups import COLUMNS

CAPTIONS = {
    "roc": "ROC curves, with the threshold of each finding.",
    "reliability": "Reliability: how often a finding is there, by the probability that was stated.",
    "confusion": "Confusion matrices at the threshold.",
    "scores": "Probabilities of images with and without the finding, and the threshold.",
    "subgroups": "AUC within groups.",
}

LIMITS = (
    "It is not a medical device and has no approval. It supports a radiologist, who reads every "
    "image; it does not replace a reading, and a finding that it does not flag is not excluded.",
    "Labels that were mined from the text of reports, as those of ChestX-ray14 are, hold errors. "
    "The figures measure agreement with such labels, not with the truth.",
    "The labels depend on the view and on the source: bedside images (AP) are of sicker patients, "
    "and in the training data most pneumonia and most normal images come from one collection. "
    "Part of what the network sees is that. Read the figures within AP and within PA.",
    "Adults only. Training data like ChestX-ray14 hold few children: do not use it on them.",
    "It knows frontal images alone, and only the findings listed here. It says nothing about any "
    "other disease.",
    "Probabilities hold for a prevalence like that of the data of the calibration. Where findings "
    "are rarer, they are too high and the PPV is lower: recalibrate with local cases.",
    "The intervals say how much the figures vary with the draw of patients. They say nothing about "
    "another hospital, another machine or other years.",
)


def make_folder(folder: Path) -> None:
    """Before the work of minutes whose results it takes. Raises: ResultsNotWritten."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ResultsNotWritten(f"{folder} cannot be made: {error.strerror}.") from error


def write_results(folder: Path, bundle: Bundle, evaluation: Evaluation) -> list[Path]:
    """Pictures, metrics.json and the model card into `folder`; the files that were written.

    Raises:
        ResultsNotWritten: the disk does not take them.
    """
    drawn = pictures(evaluation)
    blocks = list(card(bundle, evaluation, drawn))
    contents = {f"{name}.png": png for name, png in drawn.items()}
    contents["metrics.json"] = (json.dumps(evaluation.as_json(), indent=1) + "\n").encode()
    contents["model-card.md"] = as_markdown(blocks).encode()
    contents["model-card.html"] = as_html(blocks, drawn, bundle.version).encode()
    try:
        for name, data in contents.items():
            (folder / name).write_bytes(data)
    except OSError as error:
        raise ResultsNotWritten(f"{folder} cannot be written: {error.strerror}.") from error
    return [folder / name for name in contents]


def card(bundle: Bundle, evaluation: Evaluation, drawn: Iterable[str]) -> Iterator[Block]:
    """The card's text, in order."""
    manifest = bundle.manifest
    yield Block("title", f"Model card: {bundle.version}")
    yield Block("strong", "Decision support only. Not a medical device.")
    yield Block(
        "text",
        f"Made {manifest.created:%Y-%m-%d}. SHA-256 of the manifest: {bundle.digest}.",
    )
    yield Block("heading", "Intended use")
    yield Block("text", manifest.intended_use)
    yield from _data(bundle, evaluation)
    yield from _architecture(bundle)
    yield from _calibration(bundle)
    yield from _figures(evaluation)
    yield from _subgroups(evaluation)
    yield Block("heading", "Pictures")
    for name in drawn:
        yield Block("picture", CAPTIONS[name], [f"{name}.png"])
    yield Block("heading", "Limits")
    yield Block("list", items=LIMITS)


def _data(bundle: Bundle, evaluation: Evaluation) -> Iterator[Block]:
    training, whole = bundle.manifest.training, evaluation.whole
    yield Block("heading", "Data")
    rows = [
        ["", "images", "patients", "fingerprint"],
        ["trained on: " + training.credit, str(training.images), str(training.patients),
         training.fingerprint[:16]],
    ]  # fmt: skip
    again = bundle.manifest.recalibration
    if again:
        rows.append([f"recalibrated on: {again.data}", str(again.images), str(again.patients),
                     again.fingerprint[:16]])  # fmt: skip
    rows.append([f"measured on: {evaluation.metrics.data}", str(whole.images), str(whole.patients),
                 evaluation.fingerprint[:16]])  # fmt: skip
    yield Block("table", rows=rows)
    yield Block("text", f"Hold-out of the training: {training.holdout}.")
    if evaluation.seen:
        yield Block(
            "strong",
            "These are the images that the bundle was trained or calibrated on: the figures below "
            "are better than they will be on new patients.",
        )
    if evaluation.unreadable:
        yield Block("text", f"{len(evaluation.unreadable)} files could not be used:")
        yield Block("list", items=evaluation.unreadable)


def _architecture(bundle: Bundle) -> Iterator[Block]:
    a = bundle.manifest.architecture
    yield Block("heading", "Architecture")
    yield Block(
        "text",
        "VGG16's convolutional base, extended by two convolutional blocks and one dense block "
        "(after Benavente, Gatica and González-Feliu, Axioms 2022, 11, 115).",
    )
    settings = {
        "input": f"{a.side} x {a.side}, one channel, preprocessing {bundle.manifest.preprocessing}",
        "layers of the base": ", ".join(a.taps),
        "averages beside the blocks": ", ".join(a.skips) or "none",
        "filters of block6 and block7": f"{a.block6_filters}, {a.block7_filters}",
        "dense units": str(a.dense_units),
        "extensions on the base": str(a.members),
        "dropout, L2": f"{a.dropout:g}, {a.l2:g}",
    }
    yield Block("table", rows=[["", ""], *([key, value] for key, value in settings.items())])
    for name, parity in bundle.manifest.parity.items():
        yield Block(
            "text",
            f"In {name} against f32, on images that were not trained on: macro AUC "
            f"{parity.macro_auc_difference:+.4f}, {parity.decisions:.2%} of the decisions differ; "
            f"{'the service uses it' if parity.passed else 'too much, so f32 serves'}.",
        )


def _calibration(bundle: Bundle) -> Iterator[Block]:
    manifest, again = bundle.manifest, bundle.manifest.recalibration
    yield Block("heading", "Calibration and thresholds")
    yield Block("text", f"Target of the thresholds: {manifest.threshold_target}.")
    rows = [["finding", "code", "calibration", "threshold"]]
    rows += [
        [words(f.label.name), f"{f.label.code.value} {f.label.code.scheme}", _method(f),
         f"{f.threshold:.3f}"]
        for f in manifest.findings
    ]  # fmt: skip
    yield Block("table", rows=rows)
    if again:
        yield Block(
            "text",
            f"Recalibrated from {again.parent_version} (manifest {again.parent[:16]}), the weights "
            "unchanged. ECE by the old calibration, and by the new one on patients that it was not "
            "fit on:",
        )
        gains = [["finding", "method", "target", "ECE before", "ECE after"]]
        gains += [
            [words(name), gain.method, gain.target, told(gain.ece_before), told(gain.ece_after)]
            for name, gain in again.findings.items()
        ]
        yield Block("table", rows=gains)


def _method(finding: FindingOutput) -> str:
    calibration = finding.calibration
    if isinstance(calibration, Isotonic):
        return f"isotonic, {len(calibration.points)} points"
    return f"slope {calibration.slope:.3f}, intercept {calibration.intercept:.3f}"


def _figures(evaluation: Evaluation) -> Iterator[Block]:
    whole = evaluation.whole
    yield Block("heading", "Figures")
    yield Block(
        "text",
        f"On {whole.images} images of {whole.patients} patients; in brackets the 95 % interval of "
        f"a bootstrap that draws patients. Macro AUC: {told(whole.macro_auc)}.",
    )
    discrimination = [["finding", "positive", "AUC", "ECE", "Brier"]]
    decisions = [["finding", *(_title(rate) for rate in RATES), "at prevalence"]]
    for name, f in whole.findings.items():
        discrimination.append(
            [words(name), str(f.positives), told(f.auc), told(f.ece), told(f.brier)]
        )
        stated = "stated" if name in evaluation.stated else "of these images"
        rates = (told(f.rates[rate], 2) for rate in RATES)
        decisions.append([words(name), *rates, f"{f.prevalence:.3g} ({stated})"])
    yield Block("table", rows=discrimination)
    yield Block("table", rows=decisions)
    few = [words(name) for name in evaluation.doubtful]
    if few:
        yield Block("strong", f"Fewer than {MIN_CASES} positive or negative images, so that the "
                    f"figures say little: {', '.join(few)}.")  # fmt: skip


def _subgroups(evaluation: Evaluation) -> Iterator[Block]:
    yield Block("heading", "Subgroups")
    absent = [column for column in COLUMNS if column not in evaluation.groups]
    if absent:
        yield Block("text", f"labels.csv has no column {', '.join(absent)}.")
    for column, groups in evaluation.groups.items():
        yield Block("subheading", f"By {column}")
        rows = [[column, "images", "finding", "positive", "AUC", "sensitivity", "specificity",
                 "PPV", "NPV", "ECE"]]  # fmt: skip
        for value, group in groups.items():
            rows += _group_rows(value, group)
        yield Block("table", rows=rows)
        few = [
            f"{value}: {words(name)} ({positives} with, {negatives} without)"
            for value, group in groups.items()
            for name, (positives, negatives) in group.too_few.items()
        ]
        if few:
            yield Block("text", f"Not measured, fewer than {MIN_CASES} images on one side: "
                        f"{'; '.join(few)}.")  # fmt: skip


def _group_rows(value: str, group: Group) -> Iterator[list[str]]:
    if group.macro_auc:
        yield [value, str(group.images), "macro", "", told(group.macro_auc, 2), *[""] * 5]
    for name, f in group.findings.items():
        rates = (told(f.rates[r], 2) for r in ("sensitivity", "specificity", "ppv", "npv"))
        yield [value, "", words(name), str(f.positives), told(f.auc, 2), *rates, told(f.ece)]


def told(interval: Interval | None, digits: int = 3) -> str:
    """A figure with its interval, or a dash."""
    if interval is None:
        return "-"
    return f"{interval.value:.{digits}f} ({interval.low:.{digits}f} to {interval.high:.{digits}f})"


def _title(rate: str) -> str:
    return rate.upper() if rate in ("ppv", "npv") else words(rate)

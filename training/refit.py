"""A new version of a bundle: its int8 graph and its model of frontal chests are made anew.

Weights, calibration and thresholds are the same. Each precision that runs here is measured against
f32, so that a bundle made by an older release or on another processor gets the figures of this one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from classifier.bundle import (
    FRONTAL,
    Bundle,
    Frontal,
    Parity,
    Precision,
    Reference,
    write_bundle,
)
from classifier.engine import Engine, OpenVinoEngine, Outputs, compile_graph, open_engine
from classifier.errors import BundleRefused, EngineUnavailable, NotEligible, Undecodable
from classifier.frontal import pack
from training.assemble import MIN_AGE_YEARS
from training.dataset import Indices, LabelledImages, patient_folds
from training.errors import BundleNotWritten, TooFewCases
from training.evaluate import seen
from training.features import Progress
from training.frontal import Fitted, copies, described, fit_frontal, skips_of
from training.images import input_of
from training.quantise import GRAPH, SAMPLE, packed, parity, quantised
from training.references import from_frontal, measured, reference_of, with_distances

if TYPE_CHECKING:
    import openvino as ov

MIN_IMAGES = 50
FOLDS = 5
PRECISIONS: tuple[Precision, ...] = ("int8", "bf16")

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Refitted:
    """The new bundle, and what was measured on the way."""

    bundle: Bundle
    fitted: Fitted
    parity: dict[Precision, Parity]
    unreadable: tuple[str, ...]


def refit(
    parent: Bundle, data: LabelledImages, out_dir: Path, progress: Progress = lambda *_: None
) -> Refitted:
    """Take every image of `data` for a frontal chest; write to `out_dir`, which must not exist.

    Raises:
        TooFewCases: fewer than `MIN_IMAGES` can be used, or fewer patients than folds.
        BundleRefused: `out_dir` exists, the parent is damaged, or its network has no averages.
        BundleNotWritten: the disk does not take it.
    """
    architecture, manifest = parent.manifest.architecture, parent.manifest
    if out_dir.exists():
        raise BundleRefused(f"{out_dir} exists already; a bundle is never edited.")
    if not skips_of(architecture):
        raise BundleRefused("The network has no averages that a model of frontal chests reads.")
    graph = _quantised(parent, data, progress)
    engines: dict[Precision, Engine] = {
        "f32": open_engine(parent, "f32"),
        "int8": OpenVinoEngine("int8", compile_graph(graph), ""),
    }
    with suppress(EngineUnavailable):
        engines["bf16"] = open_engine(parent, "bf16")
    members, averages, used = _observed(engines, parent, data, progress)
    if len(used.cases) < MIN_IMAGES:
        raise TooFewCases(
            f"Frontal chests need at least {MIN_IMAGES} usable images. Received: {len(used.cases)}."
        )
    targets = used.targets([(f.label.name, *f.label.labels) for f in manifest.findings])
    count = architecture.members if architecture.members > 1 else FOLDS
    folds = [
        part for _, part in patient_folds(used.patients, count, manifest.training.seed, targets)
    ]
    more = copies(
        engines["f32"], len(used.cases),
        lambda row: input_of(used.cases[row].path, manifest.preprocessing, architecture.side),
        progress,
    )  # fmt: skip
    fitted = fit_frontal(architecture, averages, more, folds)
    out_of_fold = seen(parent, used) and architecture.members > 1
    logits = {
        name: _unseen(each, folds) if out_of_fold else each.mean(axis=1)
        for name, each in members.items()
    }
    found = {
        name: parity(manifest.findings, targets, logits["f32"], logits[name])
        for name in PRECISIONS
        if name in logits
    }
    made = {FRONTAL: pack(fitted.model)}
    if found["int8"].passed:
        made |= dict(zip((GRAPH.xml, GRAPH.bin), packed(graph), strict=True))
    about = described(fitted, len(used.cases), FRONTAL)
    distances = fitted.model.distance(architecture, averages).tolist()
    known = with_distances(manifest.reference, distances, about.limit)
    bundle = _written(parent, made, about, found, known, out_dir)
    return Refitted(bundle, fitted, found, used.unreadable)


def add_reference(
    parent: Bundle, data: LabelledImages, out_dir: Path, progress: Progress = lambda *_: None
) -> Bundle:
    """The same bundle with the reference of the images that it was trained on.

    Raises:
        TooFewCases: these are not the images that the manifest states, or too few.
        BundleRefused: `out_dir` exists, or the bundle is damaged.
        BundleNotWritten: the disk does not take it.
    """
    manifest, architecture = parent.manifest, parent.manifest.architecture
    frontal = parent.frontal()
    if frontal is None or manifest.frontal is None:
        raise BundleRefused("The bundle has no model of frontal chests to measure with.")
    engines: dict[Precision, Engine] = {"int8": open_engine(parent, "auto")}  # what serves
    members, averages, used = _observed(engines, parent, data, progress)
    if used.fingerprint != manifest.training.fingerprint:
        raise TooFewCases("These are not the images and labels that the bundle was trained on.")
    targets = used.targets([(f.label.name, *f.label.labels) for f in manifest.findings])
    count = max(2, architecture.members)
    parts = patient_folds(used.patients, count, manifest.training.seed, targets)
    logits = _unseen(members["int8"], [rest for _, rest in parts])
    images = measured([case.path for case in used.cases], logits, manifest.findings, progress)
    if len(images) != len(used.cases):
        raise TooFewCases("An image of the training data can no longer be read.")
    distances = frontal.distance(architecture, averages).tolist()
    for image, distance in zip(images, distances, strict=True):
        image |= from_frontal(distance, manifest.frontal.limit)
    made = reference_of(images)
    now = datetime.now(UTC).replace(microsecond=0)
    digest = hashlib.sha256(f"{parent.digest} {made!r}".encode()).hexdigest()
    weights = manifest.version.partition("+")[0][:32]
    version = f"{weights}+ref.{now:%Y%m%d}.{digest[:8]}"
    update = {"reference": made, "version": version, "created": now}
    contents = {name: parent.read(name) for name in manifest.files}
    try:
        return write_bundle(out_dir, manifest.model_copy(update=update), contents)
    except OSError as error:
        raise BundleNotWritten(f"{out_dir} cannot be written: {error.strerror}.") from error


def _quantised(parent: Bundle, data: LabelledImages, progress: Progress) -> ov.Model:
    """The int8 graph, from images that are spread evenly over `data`."""
    manifest, sample = parent.manifest, []
    chosen = data.cases[:: max(1, len(data.cases) // SAMPLE)]
    for number, case in enumerate(chosen):
        progress("int8", number, len(chosen))
        with suppress(Undecodable, NotEligible, OSError):
            image = input_of(case.path, manifest.preprocessing, manifest.architecture.side)
            sample.append(image)
    if not sample:
        raise TooFewCases("Not one image of the data set can be used.")
    return quantised(manifest.architecture, parent.weights(), sample)


def _observed(
    engines: dict[Precision, Engine], parent: Bundle, data: LabelledImages, progress: Progress
) -> tuple[dict[Precision, Floats], Floats, LabelledImages]:
    """Logits (images, members, findings) by precision, averages, and the usable images.

    The averages are those of the fastest precision, which serves.
    """
    manifest, unusable, digests = parent.manifest, {}, []
    rows: dict[Precision, list[Outputs]] = {name: [] for name in engines}
    for number, case in enumerate(data.cases):
        progress("images", number, len(data.cases))
        try:
            image = input_of(case.path, manifest.preprocessing, manifest.architecture.side)
        except (Undecodable, NotEligible) as error:
            unusable[case.path] = str(error)
            continue
        except OSError as error:
            unusable[case.path] = str(error.strerror)
            continue
        digests.append(hashlib.sha256(image.tobytes()).hexdigest())
        for name, engine in engines.items():
            rows[name].append(engine.run(image[np.newaxis]))
    progress("images", len(data.cases), len(data.cases))
    usable = data.without(unusable)
    used = usable.without_duplicates(digests)
    if not used.cases:
        raise TooFewCases("Not one image of the data set can be used.")
    kept = {case.path for case in used.cases}
    chosen = [row for row, case in enumerate(usable.cases) if case.path in kept]
    members = {
        name: np.concatenate([found[row].members for row in chosen]) for name, found in rows.items()
    }
    serving = next(name for name in (*PRECISIONS, "f32") if name in rows)
    return members, np.concatenate([rows[serving][row].averages for row in chosen]), used


def _unseen(members: Floats, folds: list[Indices]) -> Floats:
    """Of each image, the logits of the member that was trained without it."""
    logits = np.empty((len(members), members.shape[2]), dtype=np.float32)
    for member, fold in enumerate(folds):
        logits[fold] = members[fold, member]
    return logits


def _written(
    parent: Bundle,
    made: Mapping[str, bytes],
    frontal: Frontal,
    found: Mapping[Precision, Parity],
    reference: Reference | None,
    out_dir: Path,
) -> Bundle:
    """Without an int8 graph where the one made did not pass its gate."""
    now = datetime.now(UTC).replace(microsecond=0)
    kept = set(parent.manifest.files) - parent.manifest.graph_files - made.keys()
    contents = {**{name: parent.read(name) for name in kept}, **made}
    digest = hashlib.sha256(parent.digest.encode() + b"".join(made.values())).hexdigest()
    weights = parent.manifest.version.partition("+")[0][:32]
    manifest = parent.manifest.model_copy(
        update={
            "version": f"{weights}+refit.{now:%Y%m%d}.{digest[:8]}",
            "created": now,
            "min_age_years": MIN_AGE_YEARS,
            "frontal": frontal,
            "reference": reference,
            "graphs": {"int8": GRAPH} if GRAPH.xml in made else {},
            "parity": {**parent.manifest.parity, **found},
        }
    )
    try:
        return write_bundle(out_dir, manifest, contents)
    except OSError as error:
        raise BundleNotWritten(f"{out_dir} cannot be written: {error.strerror}.") from error

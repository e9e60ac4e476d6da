"""Labelled radiographs: a folder with labels.csv and its images, split by patient.

labels.csv has the columns `image`, `labels` (names joined by a bar) and `patient` or `patient_id`;
others are kept as they are. The images stand in `images/` or beside labels.csv.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.errors import LabelsMissing, PatientOnBothSides, TooFewCases, UnknownLabel
from training.labels import AUXILIARY, FINDINGS

KNOWN_LABELS = frozenset(
    [name for finding in FINDINGS for name in (finding.name, *finding.labels)]
    + [name for names in AUXILIARY for name in names]
)

Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Case:
    """One image with its labels. `sha256` is of the file's bytes."""

    path: Path
    patient: str
    labels: frozenset[str]
    sha256: str
    columns: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class LabelledImages:
    """A data set. `unreadable` names the files of labels.csv that could not be used."""

    folder: Path
    cases: tuple[Case, ...]
    unreadable: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        """SHA-256 over each image's bytes, patient and labels, whatever the order of the rows."""
        lines = sorted(f"{c.sha256} {c.patient} {'|'.join(sorted(c.labels))}" for c in self.cases)
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    @property
    def patients(self) -> NDArray[np.str_]:
        return np.array([case.patient for case in self.cases])

    def targets(self, labels: Iterable[Sequence[str]]) -> NDArray[np.uint8]:
        """(images, findings), 1 where the image carries one of the finding's names."""
        wanted = [frozenset(names) for names in labels]
        return np.array([[bool(c.labels & names) for names in wanted] for c in self.cases], "u1")

    def without(self, files: Mapping[Path, str]) -> LabelledImages:
        """The same without files that turned out unreadable, which it names with the reason."""
        named = tuple(f"{path.name}: {reason}" for path, reason in files.items())
        kept = tuple(case for case in self.cases if case.path not in files)
        return replace(self, cases=kept, unreadable=self.unreadable + named)


def read_dataset(folder: Path, extra_labels: Iterable[str] = ()) -> LabelledImages:
    """Read DIR/labels.csv and hash each image.

    Raises:
        LabelsMissing: no labels.csv, a column is missing, or a row has no patient.
        UnknownLabel: a label is neither known nor among `extra_labels`.
        TooFewCases: not one image can be read.
    """
    rows = _rows(folder / "labels.csv")
    known = KNOWN_LABELS | frozenset(extra_labels)
    images = folder / "images" if (folder / "images").is_dir() else folder
    cases, unreadable = [], []
    for number, row in enumerate(rows, start=2):
        patient = (row.get("patient") or row.get("patient_id") or "").strip()
        if not patient:
            raise LabelsMissing(f"labels.csv, line {number}: no patient.")
        labels = frozenset(name.strip() for name in row["labels"].split("|") if name.strip())
        if labels - known:
            raise UnknownLabel(
                f"labels.csv, line {number}: unknown label. Allowed: {', '.join(sorted(known))}. "
                f"Received: {', '.join(sorted(labels - known))}."
            )
        path = images / row["image"]
        try:
            sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            unreadable.append(f"{row['image']}: {error.strerror}")
            continue
        cases.append(Case(path, patient, labels, sha256, row))
    if not cases:
        raise TooFewCases(f"Not one image of labels.csv can be read in {images.name}/.")
    return LabelledImages(folder, tuple(cases), tuple(unreadable))


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restval="")
            columns = set(reader.fieldnames or ())
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise LabelsMissing(f"{path} cannot be read ({type(error).__name__}).") from error
    missing = {"image", "labels"} - columns
    if missing or not columns & {"patient", "patient_id"}:
        raise LabelsMissing(
            "labels.csv needs the columns image, labels, and patient or patient_id. Received: "
            f"{', '.join(sorted(columns)) or 'none'}."
        )
    return rows


def patient_folds(
    patients: NDArray[np.str_], count: int, seed: int, strata: NDArray[np.uint8] | None = None
) -> list[tuple[Indices, Indices]]:
    """`count` pairs of the larger and the smaller part; each image is in one smaller part.

    A patient's images stay together. With `strata` (images, findings), each patient counts by the
    rarest finding that he has, and the patients of each finding are dealt out evenly.

    Raises:
        TooFewCases: there are fewer patients than folds.
    """
    names, owner = np.unique(patients, return_inverse=True)
    if not 2 <= count <= len(names):
        raise TooFewCases(
            f"{count} folds need as many patients, and at least 2. Received: {len(names)} patients."
        )
    stratum = np.zeros(len(names), dtype=np.int64)
    if strata is not None:
        for column in np.argsort(-strata.sum(axis=0, dtype=np.int64), kind="stable"):
            stratum[owner[strata[:, column] == 1]] = column + 1
    shuffled = np.random.default_rng(seed).permutation(len(names))
    dealt = shuffled[np.argsort(stratum[shuffled], kind="stable")]
    fold = np.empty(len(names), dtype=np.int64)
    fold[dealt] = np.arange(len(names)) % count
    pairs = [
        (np.flatnonzero(fold[owner] != f), np.flatnonzero(fold[owner] == f)) for f in range(count)
    ]
    for larger, smaller in pairs:
        check_split(patients, larger, smaller)
    return pairs


def check_split(patients: NDArray[np.str_], one: Indices, other: Indices) -> None:
    """Raises: PatientOnBothSides."""
    both = set(patients[one]) & set(patients[other])
    if both:
        raise PatientOnBothSides(f"{len(both)} patients would stand on both sides of the split.")

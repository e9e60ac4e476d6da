"""Labelled radiographs: a folder with labels.csv and its images, split by patient.

labels.csv has the columns `image` (PNG, JPEG or DICOM file) or `sop_instance_uid`, `labels` (names
joined by a bar) or `label`, and `patient` or `patient_id`; others are kept as they are. The images
stand in `images/` or beside labels.csv.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from classifier.decode import DECODE_FAULTS
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
    """A data set.

    unreadable: the files of labels.csv that could not be used, with the reason.
    notes: what else a person should know of it.
    """

    folder: Path
    cases: tuple[Case, ...]
    unreadable: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

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

    def without_duplicates(self, inputs: Sequence[str]) -> LabelledImages:
        """The same with one image of those that show the same pixels, and a note on each other.

        `inputs` says what a case shows, one value per case.
        """
        kept: dict[str, Case] = {}
        notes = []
        for case, shown in zip(self.cases, inputs, strict=True):
            first = kept.setdefault(shown, case)
            if first is case:
                continue
            faults = ["another patient"] if case.patient != first.patient else []
            faults += ["other labels"] if case.labels != first.labels else []
            told = f", with {' and '.join(faults)}" if faults else ""
            notes.append(f"{case.path.name}: not used, the same pixels as {first.path.name}{told}")
        return replace(self, cases=tuple(kept.values()), notes=(*self.notes, *notes))


def read_dataset(
    folder: Path, extra_labels: Iterable[str] = (), *, single: bool = False
) -> LabelledImages:
    """Read DIR/labels.csv and hash each image.

    With `single`, each image has one label, of any name, and one without a patient counts as a
    patient of its own.

    Raises:
        LabelsMissing: no labels.csv, a column is missing, or a row has no patient or no label.
        UnknownLabel: a label is neither known nor among `extra_labels`.
        TooFewCases: not one image can be read.
    """
    rows = _rows(folder / "labels.csv", single)
    known = None if single and "label" in rows[0] else KNOWN_LABELS | frozenset(extra_labels)
    images = folder / "images" if (folder / "images").is_dir() else folder
    instances = _instances(images) if "image" not in rows[0] else {}
    cases, unreadable, lone = [], [], 0
    for number, row in enumerate(rows, start=2):
        labels = _labels(row, number, known)
        name = row.get("image") or row["sop_instance_uid"].strip()
        path = images / name if "image" in row else instances.get(name)
        if path is None:
            unreadable.append(f"{name}: no DICOM file of this instance")
            continue
        try:
            sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            unreadable.append(f"{name}: {error.strerror}")
            continue
        patient = (row.get("patient") or row.get("patient_id") or "").strip()
        if not patient and not single:
            raise LabelsMissing(f"labels.csv, line {number}: no patient.")
        lone += not patient
        cases.append(Case(path, patient or f"image {sha256}", labels, sha256, row))
    if not cases:
        raise TooFewCases(f"Not one image of labels.csv can be read in {images.name}/.")
    notes = (f"{lone} images have no patient: each counts as a patient of its own",) if lone else ()
    return LabelledImages(folder, tuple(cases), tuple(unreadable), notes)


def _labels(row: Mapping[str, str], number: int, known: frozenset[str] | None) -> frozenset[str]:
    text = row["labels"] if "labels" in row else row["label"]
    labels = frozenset(name.strip() for name in text.split("|") if name.strip())
    if known is None and len(labels) != 1:
        raise LabelsMissing(f"labels.csv, line {number}: not one label. Received: {text!r}.")
    if known is not None and labels - known:
        raise UnknownLabel(
            f"labels.csv, line {number}: unknown label. Allowed: {', '.join(sorted(known))}. "
            f"Received: {', '.join(sorted(labels - known))}."
        )
    return labels


def _rows(path: Path, single: bool) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restval="")
            columns = set(reader.fieldnames or ())
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise LabelsMissing(f"{path} cannot be read ({type(error).__name__}).") from error
    found = (columns & names for names in ({"image", "sop_instance_uid"}, {"labels", "label"}))
    if not all(found) or not (single or columns & {"patient", "patient_id"}):
        raise LabelsMissing(
            "labels.csv needs the columns image (or sop_instance_uid), labels (or label), and "
            f"patient or patient_id. Received: {', '.join(sorted(columns)) or 'none'}."
        )
    if not rows:
        raise TooFewCases("labels.csv names no image.")
    return rows


def _instances(folder: Path) -> dict[str, Path]:
    """The DICOM files of a folder by SOP Instance UID."""
    found = {}
    for path in sorted(folder.rglob("*")):
        try:
            header = dcmread(path, specific_tags=["SOPInstanceUID"], stop_before_pixels=True)
        except (OSError, *DECODE_FAULTS, InvalidDicomError):
            continue  # labels.csv and other files; an instance that is wanted is missed by name
        found[str(header.get("SOPInstanceUID", ""))] = path
    return found


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

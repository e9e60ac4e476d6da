"""What a bundle accepts and refuses of labelled images, as the service would: by header and pixels.

labels.csv needs the column `image`, and may have `label`; without it every image counts as
"frontal".
"""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from classifier.classify import Classifier
from classifier.eligibility import ExtraKind
from classifier.errors import NotEligible, Undecodable
from training.errors import LabelsMissing, TooFewCases
from training.features import Progress
from training.images import is_dicom, read_radiograph

FRONTAL = "frontal"

ALSO: tuple[ExtraKind, ...] = ("secondary_capture", "for_processing")
"""Kinds of object that are judged here as well: a data set's files were chosen by a person."""


@dataclass(slots=True)
class Tally:
    """Of the images of one label; `corrected` counts those accepted with a remark, by its code."""

    accepted: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    corrected: Counter[str] = field(default_factory=Counter)

    @property
    def images(self) -> int:
        """Accepted and refused."""
        return self.accepted + self.refused.total()


@dataclass(frozen=True, slots=True)
class Screened:
    """What became of each label's images, and which files could not be opened."""

    bundle: str
    labels: dict[str, Tally]
    unreadable: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """The object that ``hilum eligibility --json`` prints."""
        return {
            "bundle": self.bundle,
            "labels": {
                label: {
                    "accepted": tally.accepted,
                    "refused": dict(sorted(tally.refused.items())),
                    "remarks": dict(sorted(tally.corrected.items())),
                }
                for label, tally in self.labels.items()
            },
            "unreadable": list(self.unreadable),
        }


def screen(classifier: Classifier, folder: Path, progress: Progress = lambda *_: None) -> Screened:
    """Classify every image of DIR/labels.csv and count what was refused, and why.

    Raises:
        LabelsMissing: there is no labels.csv, or it has no column `image`.
        TooFewCases: not one image could be opened.
    """
    rows = _rows(folder / "labels.csv")
    images = folder / "images" if (folder / "images").is_dir() else folder
    labels: dict[str, Tally] = {}
    unreadable = []
    for number, row in enumerate(rows):
        progress("eligibility", number, len(rows))
        tally = labels.setdefault(row.get("label", FRONTAL), Tally())
        try:
            remarks = _judge(classifier, images / row["image"])
        except NotEligible as error:
            tally.refused[error.code] += 1
        except Undecodable as error:
            tally.refused[error.code] += 1
        except OSError as error:
            unreadable.append(f"{row['image']}: {error.strerror}")
        else:
            tally.accepted += 1
            tally.corrected.update(remarks)
    progress("eligibility", len(rows), len(rows))
    if not any(tally.images for tally in labels.values()):
        raise TooFewCases(f"Not one image of labels.csv can be opened in {images.name}/.")
    return Screened(classifier.version, dict(sorted(labels.items())), tuple(unreadable))


def _judge(classifier: Classifier, path: Path) -> list[str]:
    """Codes of the remarks. Raises: NotEligible, Undecodable, OSError."""
    if is_dicom(path):
        found = classifier.classify(path)
    else:
        found = classifier.infer(classifier.place(read_radiograph(path)))
    return [remark.code for remark in found.remarks]


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restval="")
            columns = set(reader.fieldnames or ())
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise LabelsMissing(f"{path} cannot be read ({type(error).__name__}).") from error
    if "image" not in columns:
        raise LabelsMissing(
            f"labels.csv needs the column image. Received: {', '.join(sorted(columns)) or 'none'}."
        )
    if not rows:
        raise TooFewCases("labels.csv names no image.")
    return rows

"""A hospital's own cases: labelled images of the service, as training and measuring take them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from classifier.bundle import Bundle
from storage.labelled import LabelledImage
from storage.records import Sha256
from training.dataset import Case, LabelledImages

NAME = "local reviews"  # the data set's, in manifests and figures


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of the labelled images.

    conflicts: readers differ on a finding. incomplete: nobody has said of each finding of the
    bundle whether it is there. removed: the file is gone.
    """

    labelled: int
    used: int
    held_out: int
    conflicts: int
    incomplete: int
    removed: int

    def as_json(self) -> dict[str, int]:
        """Plain values."""
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"{self.labelled} labelled images: {self.used} to learn from, {self.held_out} held "
            f"out, {self.conflicts} on which readers differ, {self.incomplete} of which not every "
            f"finding was judged, {self.removed} whose file is gone"
        )


@dataclass(frozen=True, slots=True)
class LocalCases:
    """The usable images, those to learn from apart from those of patients who are held out."""

    learning: LabelledImages
    held_out: LabelledImages
    counts: Counts


def local_cases(
    bundle: Bundle,
    images: Iterable[LabelledImage],
    held_out: Mapping[str, bool],
    path: Callable[[Sha256], Path],
    folder: Path,
) -> LocalCases:
    """Sort labelled images; `held_out` says of each patient whether he is.

    An image counts where of each finding of the bundle it is known whether it is there: by readers
    who agree, else by the radiologist's report.
    """
    names = [finding.label.name for finding in bundle.manifest.findings]
    counts = dict.fromkeys(("labelled", "conflicts", "incomplete", "removed"), 0)
    sides: dict[bool, list[Case]] = {False: [], True: []}
    for image in images:
        counts["labelled"] += 1
        said = {name: said_of(image, name) for name in names}
        if any(len(words) > 1 for words in said.values()):
            counts["conflicts"] += 1
        elif not all(said.values()):
            counts["incomplete"] += 1
        elif not image.kept:
            counts["removed"] += 1
        else:
            present = frozenset(name for name in names if True in said[name])
            sides[held_out[image.patient]].append(_case(image, present, path(image.sha256)))
    learning, apart = (LabelledImages(folder / NAME, tuple(sides[side])) for side in (False, True))
    used = {"used": len(learning.cases), "held_out": len(apart.cases)}
    return LocalCases(learning, apart, Counts(**counts, **used))


def said_of(image: LabelledImage, finding: str) -> frozenset[bool]:
    """What is said of a finding: both where readers differ, nothing where nobody judged it."""
    readers = image.readers.get(finding)
    if readers:
        return frozenset(readers)
    return frozenset({image.report[finding]}) if finding in image.report else frozenset()


def _case(image: LabelledImage, present: frozenset[str], path: Path) -> Case:
    columns: dict[str, Any] = {
        "view": image.view, "sex": image.sex, "age": image.age, "station": image.station,
    }  # fmt: skip
    return Case(path, image.patient, present, image.sha256, columns)

"""Everything that is sent for one study: heat maps or contours, then the report that cites them.

Needs the classifier for the pixels; what only builds or reads reports does not import it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from io import BytesIO
from typing import Literal

import cv2
import numpy as np
from pydicom.dataset import Dataset

from classifier.classify import INVERTED
from classifier.decode import DECODE_FAULTS, read_object
from classifier.errors import ClassifierError, Undecodable
from classifier.pixels import Grey, displayed
from daemon.headers import read_headers
from daemon.report.attention import unpack
from daemon.report.checks import check
from daemon.report.document import build_report
from daemon.report.errors import HeaderUnreadable, ReportError
from daemon.report.header import read_header, text
from daemon.report.heat_map import Shown, build_heat_map
from daemon.report.heat_map import series_uid as heat_map_series
from daemon.report.items import Reference
from daemon.report.objects import encode
from daemon.report.picture import draw
from daemon.report.presentation import build_contours
from daemon.report.presentation import series_uid as contour_series
from daemon.report.regions import Activation, activation
from daemon.report.reviewed import review_version, with_reviews
from daemon.report.subject import Device, Image, Mark
from storage.errors import ObjectDamaged, ObjectMissing
from storage.objects import ObjectStore
from storage.records import (
    AnsweredInstance,
    Finding,
    InstanceId,
    NewObject,
    NewReport,
    Sha256,
    StudyJob,
)

HeatMap = Literal["sc", "gsps", "none"]
Read = Callable[[Sha256], bytes]

# What a picture may fail with; the report goes without it.
_UNDRAWN = (*DECODE_FAULTS, ClassifierError, ReportError, cv2.error)


@dataclass(frozen=True, slots=True)
class Encoded:
    """An object of ours as a Part 10 file that has passed our checks."""

    sop_instance_uid: str
    sop_class_uid: str
    content: bytes


@dataclass(frozen=True, slots=True)
class StudyReport:
    """A study's report, and the objects that it refers to: they are to be delivered first.

    `faults` says what could not be drawn; the report says so as well.
    """

    report: Encoded
    companions: tuple[Encoded, ...]
    faults: tuple[str, ...]

    def stored(self, objects: ObjectStore, created_at: float) -> NewReport:
        """Put every object into the store, and return what the database keeps of them."""
        companions = tuple(_stored(one, objects) for one in self.companions)
        kept = _stored(self.report, objects)
        return NewReport(
            kept.sop_instance_uid,
            kept.sop_class_uid,
            kept.sha256,
            kept.size_bytes,
            created_at,
            companions,
            kept.header,
        )


def _stored(one: Encoded, objects: ObjectStore) -> NewObject:
    kept = objects.put(one.content)
    header = read_headers(read_object(one.content)).image
    return NewObject(one.sop_instance_uid, one.sop_class_uid, kept.sha256, kept.size_bytes, header)


def build_study(
    study: StudyJob, read: Read, device: Device, heat_map: HeatMap, created_at: float
) -> StudyReport:
    """Build and check everything that is sent for a study.

    `read` gives a stored object's bytes. The report of a study does not fail for a picture.
    Raises ReportError, and ReportInvalid where the report itself fails our checks.
    """
    album = _Album(study.study_instance_uid, device, heat_map)
    headers: dict[InstanceId, Dataset | None] = {}
    for number, one in enumerate(study.instances, 1):
        source = _Source(one, read)
        headers[one.instance.id] = source.header
        album.add(source, number)
    notes = ["Heat maps are missing: they could not be drawn."] if album.faults else []
    dataset = build_report(study, headers, device, created_at, album.marks, notes)
    if study.said:
        dataset = with_reviews(dataset, study.said)
    return StudyReport(_checked(dataset), tuple(album.objects), tuple(album.faults))


def build_reading(study: StudyJob, read: Read, created_at: float) -> StudyReport:
    """Build and check the version that says a review; what it refers to is there already.

    Raises ReportError, ReportInvalid, ObjectMissing and ObjectDamaged.
    """
    if study.reading is None:
        raise ReportError("No review waits for a version of this study's report.")
    dataset = review_version(study, study.reading, read(study.reading.base_sha256), created_at)
    return StudyReport(_checked(dataset), (), ())


class _Source:
    """One image of the study: its bytes are read once, and its pixels only where needed."""

    def __init__(self, answered: AnsweredInstance, read: Read) -> None:
        self.answered = answered
        self._content: bytes | None = None
        self.header: Dataset | None = None
        try:
            content = read(answered.instance.arrival.sha256)
            self.header = read_header(BytesIO(content))
        except (HeaderUnreadable, ObjectMissing, ObjectDamaged):
            return
        if any(finding.present for finding in answered.result.findings):
            self._content = content

    @cached_property
    def grey(self) -> Grey:
        """The displayed image. Raises Undecodable."""
        if self._content is None:
            raise Undecodable("The image is not there any more.")
        grey = displayed(read_object(self._content))
        attention = self.answered.result.attention
        if attention is not None and grey.shape != (attention.rows, attention.columns):
            raise Undecodable("The image has another size than when it was analysed.")
        corrected = INVERTED.code in (self.answered.result.reason_code or "")
        return np.asarray(255 - grey) if corrected else grey

    def active(self) -> Iterator[tuple[Finding, Activation]]:
        """Give each positive finding that the network looked somewhere for."""
        result = self.answered.result
        if result.attention is None:
            return
        for finding, coarse in zip(result.findings, unpack(result), strict=False):
            found = activation(coarse, result.attention) if finding.present else None
            if found is not None:
                yield finding, found


@dataclass(slots=True)
class _Album:
    """What is drawn for a study, and which object shows which finding."""

    study_uid: str
    device: Device
    kind: HeatMap
    objects: list[Encoded] = field(default_factory=list)
    marks: dict[tuple[str, str], Mark] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def add(self, source: _Source, number: int) -> None:
        """Mark the positive findings of an image, and draw them as the setting says."""
        image = Image(source.answered, source.header)
        if source.header is None or not image.series_instance_uid:
            return
        active = dict(source.active())
        shown = [
            Shown(image, finding, source.header, 100 * number + 1 + place, self.study_uid)
            for place, finding in enumerate(image.result.findings)
            if finding in active
        ]
        for one in shown:
            outlines = active[one.finding].outlines
            region = outlines[0] if outlines else ()
            self.marks[image.sop_instance_uid, one.finding.name] = Mark(region)
        if self.kind == "sc":
            for one in shown:
                self._draw(one, active[one.finding], source)
        elif self.kind == "gsps" and shown:
            self._outline(shown, {one.name: found for one, found in active.items()})

    def _draw(self, one: Shown, active: Activation, source: _Source) -> None:
        try:
            made = build_heat_map(one, draw(source.grey, active, one.legend), self.device)
            self._keep([one], _checked(made), heat_map_series(self.study_uid))
        except _UNDRAWN as error:
            self._fault(one, error)

    def _outline(self, shown: list[Shown], active: dict[str, Activation]) -> None:
        try:
            made = build_contours(shown, active, self.device)
            self._keep(shown, _checked(made), contour_series(self.study_uid))
        except _UNDRAWN as error:
            self._fault(shown[0], error)

    def _keep(self, shown: list[Shown], made: Encoded, series_uid: str) -> None:
        self.objects.append(made)
        target = Reference(made.sop_class_uid, made.sop_instance_uid)
        for one in shown:
            key = (one.image.sop_instance_uid, one.finding.name)
            if self.kind == "gsps":  # the image, seen through the presentation state
                target = Reference(
                    one.image.sop_class_uid,
                    one.image.sop_instance_uid,
                    Reference(made.sop_class_uid, made.sop_instance_uid),
                )
            self.marks[key] = Mark(self.marks[key].region, target, series_uid)

    def _fault(self, one: Shown, error: Exception) -> None:
        # Only messages of ours are known to hold no patient data
        ours = isinstance(error, (ClassifierError, ReportError))
        why = str(error) if ours else type(error).__name__
        self.faults.append(f"{one.name} on {one.image.sop_instance_uid}: {why}")


def _checked(dataset: Dataset) -> Encoded:
    content = encode(dataset)
    check(content)
    return Encoded(text(dataset, "SOPInstanceUID"), text(dataset, "SOPClassUID"), content)

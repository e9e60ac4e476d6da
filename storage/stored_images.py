"""The images of a study, with what their headers say."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Select, select

from storage.headers import Frame, ImageHeader
from storage.listing import IMAGE_VALUES
from storage.records import Instance
from storage.results import INSTANCE_COLUMNS, AnyRow, to_instance
from storage.schema import image_header, instance, study


@dataclass(frozen=True, slots=True)
class StoredImage:
    """An image of a study; no header where its dataset was never read."""

    instance: Instance
    header: ImageHeader | None = field(repr=False)
    study_instance_uid: str
    removed: bool  # retention has deleted its file

    @property
    def sop_instance_uid(self) -> str:
        """As announced when it arrived."""
        return self.instance.arrival.sop_instance_uid

    @property
    def series_instance_uid(self) -> str:
        """Of the dataset, "" where it was never read."""
        return "" if self.header is None else self.header.series_instance_uid


_IMAGE_COLUMNS = [image_header.c[name] for name in (*IMAGE_VALUES, "pixels") if name != "metadata"]


def stored_images() -> Select[Any]:
    """Select what `to_stored_image` reads: the images that belong to a study."""
    return (
        select(
            *INSTANCE_COLUMNS,
            instance.c.removal,
            study.c.study_instance_uid,
            image_header.c.instance_id.label("header_id"),
            *_IMAGE_COLUMNS,
        )
        .join(study, instance.c.study_id == study.c.id)
        .outerjoin(image_header, image_header.c.instance_id == instance.c.id)
    )


def to_stored_image(row: AnyRow) -> StoredImage:
    """Read `stored_images`."""
    header = None
    if row.header_id is not None:
        values = {name: getattr(row, name) for name in IMAGE_VALUES if name != "metadata"}
        header = ImageHeader(**values, pixels=read_pixels(row.pixels))
    return StoredImage(to_instance(row), header, row.study_instance_uid, row.removal is not None)


def read_pixels(text: str) -> tuple[Frame, ...]:
    """Read the column `pixels`."""
    return tuple(
        tuple((int(at), int(length)) for at, length in frame) for frame in json.loads(text)
    )


def by_series_and_number(header: ImageHeader) -> tuple[Any, ...]:
    """Return what the images of a study are sorted by; those without a number come last."""
    numbers = (header.series_number, header.instance_number)
    first, second = (float("inf") if number is None else number for number in numbers)
    return (first, header.series_instance_uid, second)


def place(image: StoredImage) -> tuple[Any, ...]:
    """Return an image's place within its study."""
    return (*by_series_and_number(image.header or ImageHeader()), image.instance.id)

"""What another threshold would have done to the studies of the last weeks.

Both sides are counted from the stored probabilities of the same bundle, so that what is compared is
the one threshold alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    Select,
    Subquery,
    and_,
    case,
    cast,
    func,
    or_,
    select,
)

from storage.database import Database
from storage.results import AnyRow
from storage.schema import finding, instance, label, result

Z_95 = 1.959963984540054  # of the normal distribution, two-sided 95 %
DAYS_30_S = 30 * 86400.0


@dataclass(frozen=True, slots=True)
class Share:
    """A share of `of` cases with its 95 % interval; no value where there are none."""

    count: int
    of: int
    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Side:
    """What one threshold does. Sensitivity and PPV are of the images that readers agree on."""

    threshold: float
    images: int  # in which the finding is present
    studies: int  # with such an image
    flagged: int  # studies in which this or any other finding is present
    sensitivity: Share
    ppv: Share


@dataclass(frozen=True, slots=True)
class WhatIf:
    """The threshold in force beside another one, over the same images."""

    finding: str
    since: float
    images: int
    studies: int
    labelled: int  # images with a label for the finding on which all readers agree
    now: Side
    then: Side


def share(count: int, of: int) -> Share:
    """Return a share with Wilson's interval (J. Am. Stat. Assoc. 22, 1927).

    It stays within 0 and 1, and is sound for few cases.
    """
    if of == 0:
        return Share(count, of, None, None, None)
    p, z2 = count / of, Z_95**2
    centre = (p + z2 / (2 * of)) / (1 + z2 / of)
    half = Z_95 / (1 + z2 / of) * math.sqrt(p * (1 - p) / of + z2 / (4 * of * of))
    return Share(count, of, p, max(0.0, centre - half), min(1.0, centre + half))


def what_if(
    database: Database,
    bundle: str,
    thresholds: Mapping[str, float],
    name: str,
    candidate: float,
    since: float,
) -> WhatIf:
    """Compare a candidate with the threshold in force of the finding `name`.

    `bundle` is the version as results state it, `thresholds` those in force, of every finding.
    """
    sides = (thresholds[name], candidate)
    with database.read() as connection:
        counted = connection.execute(_counts(bundle, thresholds, name, sides, since)).one()
        labelled = _labelled(connection, bundle, name, sides, since)
    now, then = (_side(counted, labelled, number, value) for number, value in enumerate(sides))
    return WhatIf(
        name, since, counted.images or 0, counted.studies or 0, labelled.images or 0, now, then
    )


def _side(counted: AnyRow, labelled: AnyRow, number: int, threshold: float) -> Side:
    def of(row: AnyRow, key: str) -> int:
        return int(getattr(row, f"{key}_{number}") or 0)

    hits = of(labelled, "hits")
    return Side(
        threshold,
        of(counted, "images"),
        of(counted, "studies"),
        of(counted, "flagged"),
        share(hits, int(labelled.positives or 0)),
        share(hits, of(labelled, "flagged")),
    )


def _counts(
    bundle: str,
    thresholds: Mapping[str, float],
    name: str,
    sides: tuple[float, float],
    since: float,
) -> Select[Any]:
    """Select one row: one pass over the findings, a study at a time."""
    p, this = finding.c.probability, finding.c.name == name
    others = {one: value for one, value in thresholds.items() if one != name}
    other = (
        and_(finding.c.name.in_(others), p >= case(others, value=finding.c.name))
        if others
        else this & ~this
    )
    study: Subquery = (
        select(
            func.sum(_one(this)).label("images"),
            func.max(case((this, p))).label("highest"),
            func.max(_one(other)).label("other"),
            *(func.sum(_one(this & (p >= t))).label(f"at_{n}") for n, t in enumerate(sides)),
        )
        .select_from(result)
        .join(instance, result.c.instance_id == instance.c.id)
        .join(finding, finding.c.result_id == result.c.id)
        .where(result.c.bundle == bundle, result.c.created_at >= since)
        # Not the bare column: SQLite would walk its index, and with it all images there ever were
        .group_by(instance.c.study_id + 0)
        .subquery()
    )
    columns: list[ColumnElement[Any]] = []
    for number, threshold in enumerate(sides):
        above = study.c.highest >= threshold
        columns += [
            func.sum(study.c[f"at_{number}"]).label(f"images_{number}"),
            func.sum(_one(above)).label(f"studies_{number}"),
            func.sum(_one(or_(above, study.c.other == 1))).label(f"flagged_{number}"),
        ]
    return select(func.sum(study.c.images).label("images"), func.count().label("studies"), *columns)


def _labelled(
    connection: Connection, bundle: str, name: str, sides: tuple[float, float], since: float
) -> AnyRow:
    """Count what readers said, where all who read the image said the same."""
    said = cast(label.c.present, Integer)
    agreed = (
        select(label.c.instance_id, func.max(said).label("present"))
        .where(label.c.finding == name)
        .group_by(label.c.instance_id)
        .having(func.max(said) == func.min(said))
        .subquery()
    )
    p = finding.c.probability
    columns: list[ColumnElement[Any]] = []
    for number, threshold in enumerate(sides):
        above = p >= threshold
        columns += [
            func.sum(_one(above)).label(f"flagged_{number}"),
            func.sum(_one(above & (agreed.c.present == 1))).label(f"hits_{number}"),
        ]
    query = (
        select(
            func.count().label("images"), func.sum(agreed.c.present).label("positives"), *columns
        )
        .select_from(agreed)
        .join(result, result.c.instance_id == agreed.c.instance_id)
        .join(finding, and_(finding.c.result_id == result.c.id, finding.c.name == name))
        .where(result.c.bundle == bundle, result.c.created_at >= since)
    )
    return connection.execute(query).one()


def _one(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return case((condition, 1), else_=0)

"""What a list shows and in which order, as statements that stay on an index."""

from __future__ import annotations

import base64
import binascii
import struct
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from sqlalchemy import Column, ColumnElement, Select, Table, func, select, tuple_

from storage.acceptance_rows import withheld_cases
from storage.errors import StorageError, UnknownPlace
from storage.headers import fold
from storage.results import AnyRow
from storage.schema import acceptance_case, study_finding
from storage.schema import study_header as listed

_KEY = struct.Struct(">?ddq")
TO_REVIEW = 3.5  # `urgency` of what is reviewed is larger
FLAGGED = 1.5  # of what is flagged and not reviewed, smaller


class ListState(StrEnum):
    """What a list can be narrowed to."""

    TO_REVIEW = "to_review"  # nobody has reviewed it since its last result
    FLAGGED = "flagged"  # to be reviewed, and a finding is present
    NOT_ANALYSED = "not_analysed"  # an image of it was not analysed
    REVIEWED = "reviewed"


@dataclass(frozen=True, slots=True)
class Query:
    """What a list shows; all of it holds together. `blinded`: in the order of waiting alone.

    A blinded list is not narrowed by what the computer found: raises StorageError.
    """

    text: str = field(default="", repr=False)  # words of a name, id or accession number
    state: ListState | None = None
    finding: str | None = None  # the finding's key: it is present in an image
    station: str | None = None
    first_date: str | None = None  # YYYYMMDD, of the study, included
    last_date: str | None = None
    reviewed_by: str | None = None
    blinded: bool = False
    apart_from: int | None = None  # an account: without what an acceptance test withholds from it

    def __post_init__(self) -> None:
        computed = self.state in (ListState.FLAGGED, ListState.NOT_ANALYSED)
        if self.blinded and (computed or self.finding is not None):
            raise StorageError("A blinded list is not narrowed by the computer's result.")


class Order:
    """The order of a list: its table, and the columns that it is sorted by."""

    def __init__(self, table: Table, first: str) -> None:
        self._table = table
        self.columns = (table.c[first], table.c.first_received_at, table.c.study_id)

    @classmethod
    def of(cls, query: Query) -> Order:
        if query.finding is not None:
            return cls(study_finding, "urgency")
        return cls(listed, "reviewed" if query.blinded else "urgency")

    def select(self, query: Query) -> Select[Any]:
        """Select the keys of the rows that a query asks for."""
        first, received_at, study_id = self.columns
        keys = select(first.label("place"), received_at, study_id)
        filters = list(_filters(query))
        if query.finding is not None:
            keys = keys.where(study_finding.c.name == query.finding)
            if filters or query.state is ListState.NOT_ANALYSED:
                keys = keys.join(listed, listed.c.study_id == study_finding.c.study_id)
        if query.apart_from is not None:
            cases = withheld_cases(query.apart_from)
            filters.append(~cases.where(acceptance_case.c.study_id == study_id).exists())
        if query.state is not None:
            filters.append(self._in_state(query.state, blinded=query.blinded))
        return keys.where(*filters).order_by(*self.columns)

    def after(self, key: tuple[Any, ...]) -> ColumnElement[bool]:
        return tuple_(*self.columns) > tuple_(*key)

    def _in_state(self, state: ListState, *, blinded: bool) -> ColumnElement[bool]:
        if state is ListState.NOT_ANALYSED:
            return listed.c.not_analysed > 0
        place = self.columns[0]
        if blinded:
            return place == (state is ListState.REVIEWED)
        if state is ListState.REVIEWED:
            return place > TO_REVIEW
        return place < (FLAGGED if state is ListState.FLAGGED else TO_REVIEW)


def different(column: Column[Any]) -> Select[Any]:
    """Select each different text of an indexed column, in order: one index search for each."""
    first = select(func.min(column).label("text")).where(column > "")
    found = first.cte("found", recursive=True)
    following = select(func.min(column)).where(column > found.c.text).scalar_subquery()
    found = found.union_all(select(following).where(found.c.text.is_not(None)))
    return select(found.c.text).where(found.c.text.is_not(None))


def _filters(query: Query) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = [
        listed.c.search.contains(word, autoescape=True) for word in fold(query.text).split()
    ]
    if query.station is not None:
        found.append(listed.c.station == query.station)
    if query.first_date is not None:
        found.append(listed.c.study_date >= query.first_date)
    if query.last_date is not None:
        found.append(listed.c.study_date.between("0", query.last_date))
    if query.reviewed_by is not None:
        found.append(listed.c.reviewed_by == query.reviewed_by)
    return found


def write_key(blinded: bool, row: AnyRow) -> str:
    return pack_key(blinded, (float(row.place), row.first_received_at, row.study_id))


def pack_key(blinded: bool, values: tuple[float, float, int]) -> str:
    return base64.urlsafe_b64encode(_KEY.pack(blinded, *values)).decode("ascii").rstrip("=")


def read_key(key: str, *, blinded: bool) -> tuple[Any, ...]:
    try:
        packed = base64.urlsafe_b64decode(key.encode("ascii") + b"=" * (-len(key) % 4))
        of_blinded, place, received_at, study_id = _KEY.unpack(packed)
    except (UnicodeEncodeError, binascii.Error, struct.error):
        raise UnknownPlace("The key of a page of the worklist is none.") from None
    if of_blinded != blinded:
        raise UnknownPlace("The key is of a worklist in another order.")
    return (bool(place) if blinded else place, received_at, study_id)

"""What the worklist is narrowed to: kept in the session, for a search may be a patient's name."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, fields

from fastapi import HTTPException, Request

from daemon.web import kept
from daemon.web.access import Person
from storage.worklist import ListState, Query

PAGE = "worklist"
LONGEST = 200  # characters of a field
STATES = {
    ListState.TO_REVIEW: "To review",
    ListState.FLAGGED: "Flagged, to review",
    ListState.NOT_ANALYSED: "With images not analysed",
    ListState.REVIEWED: "Reviewed",
}
BLINDED = (ListState.TO_REVIEW, ListState.REVIEWED)  # what a blinded list can be narrowed to


@dataclass(frozen=True, slots=True)
class Filters:
    """The form above the list, as it was filled in."""

    text: str = ""
    state: str = ""
    finding: str = ""
    station: str = ""
    first_date: str = ""
    last_date: str = ""
    reviewed_by: str = ""

    def query(self, *, blinded: bool) -> Query:
        """Return what is asked for. Raises 422 and names the field that is wrong."""
        for field in fields(self):
            if len(getattr(self, field.name)) > LONGEST:
                raise HTTPException(422, f"A field has at most {LONGEST} characters.")
        if self.state not in ("", *STATES):
            raise HTTPException(422, f"State is one of {', '.join(STATES)}.")
        state = ListState(self.state) if self.state else None
        if blinded and (self.finding or (state is not None and state not in BLINDED)):
            raise HTTPException(403, "A blinded list is not narrowed by the computer's result.")
        return Query(
            text=self.text,
            state=state,
            finding=self.finding or None,
            station=self.station or None,
            first_date=_day("From", self.first_date),
            last_date=_day("To", self.last_date),
            reviewed_by=self.reviewed_by or None,
            blinded=blinded,
        )


def keep(request: Request, filters: Filters) -> None:
    """Keep the filters of a session."""
    kept.keep(request, PAGE, asdict(filters))


def in_force(request: Request, person: Person) -> Filters:
    """Return the filters of a session; none that a reader, blinded since, may not have."""
    filters = Filters(**kept.kept(request, PAGE))
    try:
        filters.query(blinded=person.blinded)
    except HTTPException:
        return Filters()
    return filters


def _day(field: str, value: str) -> str | None:
    """Read a date as a browser's field gives it."""
    if not value:
        return None
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", value):
        raise HTTPException(422, f"{field} is a date, for instance 2025-03-01.")
    return value.replace("-", "")

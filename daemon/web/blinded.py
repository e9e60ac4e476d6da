"""Blinded readers: the computer's result is withheld until they have said what they see."""

from __future__ import annotations

from daemon.web.access import Person
from daemon.web.context import Site
from storage.reviews import Reviews


def withheld(here: Site, person: Person, study_uid: str) -> bool:
    """Whether nothing of the computer's may be shown: result, heat map, report, other reviews."""
    if not person.blinded:
        return False
    return not Reviews(here.database).first_read_done(study_uid, person.account)

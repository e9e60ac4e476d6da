"""Blinded readers: the computer's result is withheld until they have said what they see.

Some accounts read every study so. Any reader of an acceptance test reads its sample so.
"""

from __future__ import annotations

from dataclasses import replace

from daemon.web.access import Person
from daemon.web.context import Site
from daemon.web.filters import Filters
from storage.acceptance import Acceptances
from storage.reviews import Reviews
from storage.worklist import Query


def withheld(here: Site, person: Person, study_uid: str) -> bool:
    """Whether nothing of the computer's may be shown: result, heat map, report, other reviews."""
    if not person.blinded:
        return Acceptances(here.database).withheld(person.account, study_uid)
    return not Reviews(here.database).first_read_done(study_uid, person.account)


def sampled(here: Site, person: Person) -> bool:
    """Whether studies of an acceptance test are withheld from the person, so that a list of many
    studies must not tell what was found in one."""
    return bool(Acceptances(here.database).unread(person.account))


def listed(here: Site, person: Person, filters: Filters) -> Query:
    """Return what the worklist shows to a person: without what an order by urgency would tell."""
    query = filters.query(blinded=person.blinded)
    if person.blinded or not sampled(here, person):
        return query
    return replace(query, apart_from=person.account)

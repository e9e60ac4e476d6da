"""Who must not see the computer's result yet."""

from __future__ import annotations

from daemon.web.access import Person
from daemon.web.context import Site


def withheld(here: Site, person: Person, study_instance_uid: str) -> bool:
    """Return whether a study's result is to be kept from a reader: blinded, and not read yet."""
    del here, study_instance_uid
    return person.blinded

"""Who must not see the computer's result yet."""

from __future__ import annotations

from collections.abc import Sequence

from daemon.web.access import Person
from daemon.web.context import Site


class Blinding:
    """What is kept from a person: a blinded reader reads a study before the computer's result."""

    def __init__(self, here: Site, person: Person) -> None:
        self._here, self._person = here, person

    def withheld_of(self, studies: Sequence[str]) -> frozenset[str]:
        """Return the studies whose result is to be kept back."""
        return frozenset(studies) if self._person.blinded else frozenset()


def withheld(here: Site, person: Person, study_instance_uid: str) -> bool:
    """Return whether a study's result is to be kept back from a person."""
    return study_instance_uid in Blinding(here, person).withheld_of([study_instance_uid])

"""How each PACS stands: configured or once sent to, what it takes, what waits for it."""

from __future__ import annotations

from dataclasses import dataclass

from daemon.check_storage import Finding
from daemon.settings import PacsSettings
from daemon.web.context import Site
from storage.errors import NotFound
from storage.peers import Peers
from storage.records import DeliveryState
from storage.traffic import Backlog, backlog


@dataclass(frozen=True, slots=True)
class Standing:
    """A PACS and its backlog. `pacs` is None where it is not configured any more."""

    name: str
    ae_title: str
    address: str
    configured: bool
    takes: tuple[str, ...]  # by name, as last learnt
    learnt_at: float | None
    waiting: int
    dead: int
    not_taken: int
    sent: int
    last_success_at: float | None
    oldest_waiting_at: float | None
    last_error: str | None


def standing(here: Site) -> list[Standing]:
    """Return every PACS that is configured or that something was ever sent to."""
    known = {one.pacs: one for one in backlog(here.database)}
    configured = {one.name: one for one in here.settings.pacs}
    names = [*configured, *(name for name in known if name not in configured)]
    return [_standing(here, name, configured.get(name), known.get(name)) for name in names]


def ask(here: Site, name: str) -> list[Finding]:
    """Ask a PACS now, by C-ECHO and by what it accepts. Raises NotFound."""
    from daemon import check_peers  # brings the network library along

    for pacs in here.settings.pacs:
        if pacs.name == name:
            return [Finding(*row) for row in check_peers.look(here.settings, pacs, here.database)]
    raise NotFound(f"There is no PACS {name} in the settings.")


def _standing(here: Site, name: str, pacs: PacsSettings | None, held: Backlog | None) -> Standing:
    from daemon.contexts import NAMES  # brings the DICOM dictionary along

    learnt = Peers(here.database).recall(name)
    accepted = () if learnt is None else tuple(NAMES.get(one, one) for one in learnt.accepted)
    states = {} if held is None else held.states

    def count(*which: DeliveryState) -> int:
        return sum(states.get(state, 0) for state in which)

    return Standing(
        name=name,
        ae_title="" if pacs is None else pacs.ae_title,
        address="" if pacs is None else f"{pacs.host}:{pacs.port}",
        configured=pacs is not None,
        takes=accepted,
        learnt_at=None if learnt is None else learnt.learnt_at,
        waiting=count(DeliveryState.PENDING, DeliveryState.SENDING),
        dead=count(DeliveryState.DEAD),
        not_taken=count(DeliveryState.NOT_TAKEN),
        sent=count(DeliveryState.STORED, DeliveryState.COMMITTING, DeliveryState.COMMITTED),
        last_success_at=None if held is None else held.last_success_at,
        oldest_waiting_at=None if held is None else held.oldest_waiting_at,
        last_error=None if held is None else held.last_error,
    )

"""How trials begin and end by themselves; the scheduler looks once in a while.

Each step is one commit that begins with a look at what is true then, so that neither a process
that dies nor a second scheduler promotes twice, or anything but one bundle.
"""

from __future__ import annotations

from collections.abc import Callable

from daemon import logs, promotion
from daemon.events import Event
from daemon.settings import Settings
from daemon.trial_figures import figures, objections
from storage.bundles import ModelState
from storage.database import Database
from storage.errors import Refused
from storage.ledger import NO_REASON, Ledger
from storage.people import SERVICE
from storage.runs import Runs
from storage.schedule_records import RunState
from storage.shadow import Shadow
from storage.shadow_records import Trial, TrialState
from storage.trials import Trials

CHANGED = "What serves, or a threshold, is no longer what it was when the trial began."
DAY_S = 86400.0


def stop(database: Database, named: str, actor: str, reason: str, now: float) -> Trial:
    """Stop the trial of a bundle by hand; what was found stays.

    Raises NotFound, and Refused where it is in none, or no reason is given.
    """
    trials, digest = Trials(database), Ledger(database).find(named).digest
    running = trials.open()
    if running is None or running.model.digest != digest:
        raise Refused("It is in no trial.")
    if not reason.strip():
        raise Refused(NO_REASON)
    trials.end(running.id, TrialState.STOPPED, actor, reason.strip(), now)
    return trials.of(digest)[0]


class Conductor:
    """Begins the trial of what the gate has passed, ends what is over, and promotes by rule."""

    def __init__(self, settings: Settings, database: Database, clock: Callable[[], float]) -> None:
        self._chosen = settings.training
        self._database, self._clock = database, clock
        self._trials, self._ledger = Trials(database), Ledger(database)
        self._log = logs.get()

    def step(self) -> None:
        """Look once. Raises StorageError."""
        running, now = self._trials.open(), self._clock()
        if running is None:
            if self._chosen.promote == "after_shadow":
                self._begin(now)
        elif not self._trials.is_current(running):
            self._end(running, TrialState.STOPPED, CHANGED, now)
        elif running.done >= running.images or now >= running.until:
            self._decide(running, now)

    def _begin(self, now: float) -> None:
        digest = self._candidate()
        if digest is None:
            return
        until = now + self._chosen.shadow_days * DAY_S
        try:
            made = self._trials.start(digest, SERVICE, now, until, self._chosen.shadow_images)
        except Refused as error:  # another scheduler was quicker, or an administrator
            self._log.info(Event.SHADOW_NOT_STARTED, reason=str(error))
            return
        self._log.info(Event.SHADOW_STARTED, model=made.model.version, images=made.images)

    def _candidate(self) -> str | None:
        """The newest bundle that the gate has passed against what serves, and that is untried.

        What has served before is an administrator's to bring back.
        """
        served = {line.digest for line in self._ledger.history(10_000)}
        for one in Runs(self._database).rows(20):
            if one.state is not RunState.DONE or one.candidate is None or one.candidate in served:
                continue
            model = self._ledger.find(one.candidate)
            if model.state is ModelState.REFUSED or promotion.doubt(self._database, model):
                continue
            return None if self._trials.of(one.candidate) else one.candidate
        return None

    def _decide(self, running: Trial, now: float) -> None:
        if self._chosen.promote == "by_hand":
            reason = f"{running.done} of {running.images} images. An administrator decides."
            self._end(running, TrialState.ENDED, reason, now)
            return
        reason = f"By rule, after a trial on {running.done} images."
        try:
            # One commit: what is true, the decision, the end, and what serves from now on
            with self._database.write():
                against = self._objections(running)
                if not against:
                    promotion.promote(self._database, running.model.digest, SERVICE, reason, now)
        except Refused as error:
            against = [str(error)]
        if against:
            self._end(running, TrialState.REFUSED, " ".join(against), now)
        else:
            self._log.info(Event.MODEL_PROMOTED, model=running.model.version, reason=reason)

    def _objections(self, running: Trial) -> list[str]:
        if not self._trials.is_current(running):
            return [CHANGED]
        found = figures(Shadow(self._database).compared(running.id))
        margin = self._chosen.shadow_flagged_margin
        against = objections(found, running.images, margin)
        doubt = promotion.doubt(self._database, running.model)
        return against if doubt is None else [*against, doubt]

    def _end(self, running: Trial, state: TrialState, reason: str, now: float) -> None:
        if self._trials.end(running.id, state, SERVICE, reason, now):
            self._log.info(
                Event.SHADOW_ENDED, model=running.model.version, state=state, reason=reason
            )

"""What an administrator does, by a page or by the API: each act and its audit row in one commit."""

from __future__ import annotations

from typing import Any

from daemon import promotion
from daemon.alarms import Bell
from daemon.duetimes import read_timing
from daemon.scheduled import checked_name, shown
from daemon.trial_shown import brief
from daemon.trials import DAY_S, stop
from daemon.web.access import Person
from daemon.web.context import Site
from storage.alarm_records import Alarm, AlarmKind
from storage.alarms import Alarms
from storage.audit import Audit
from storage.bundles import Promotion, ThresholdChange
from storage.doubts import Doubts
from storage.errors import NotFound, Refused
from storage.ledger import Ledger
from storage.outbox import Outbox
from storage.people import Action
from storage.queue import Queue
from storage.records import DeliveryId, JobId, StudyId
from storage.runs import Runs
from storage.schedule_records import RunId, RunKind, RunState
from storage.schedules import Schedules
from storage.studies import Studies
from storage.trials import Trials
from storage.watching import Watching


class Acts:
    """The acts of one person. Each raises NotFound, and Refused where the state does not allow."""

    def __init__(self, here: Site, person: Person) -> None:
        self._here = here
        self._actor = person.login
        self._audit = Audit(here.database)

    def retry_job(self, job: JobId, reason: str = "") -> None:
        """Classify an image in quarantine again."""
        now = self._here.clock()
        with self._here.database.write():
            Queue(self._here.database).retry_by_hand(job, now)
            self._note(Action.JOB_RETRIED, job, reason, now)
        self._here.bells.ring("worker")

    def quarantine_job(self, job: JobId, reason: str) -> None:
        """Take an image that waits or runs out of the queue."""
        if not reason.strip():
            raise Refused("A reason is needed, for whoever looks at it next.")
        now = self._here.clock()
        with self._here.database.write():
            Queue(self._here.database).quarantine_by_hand(job, reason.strip(), now)
            self._note(Action.JOB_QUARANTINED, job, reason, now)

    def retry_study(self, study: StudyId, reason: str = "") -> None:
        """Build the report of a study in quarantine again."""
        now = self._here.clock()
        with self._here.database.write():
            Studies(self._here.database).retry_by_hand(study, now)
            self._note(Action.STUDY_RETRIED, study, reason, now)
        self._here.bells.ring("worker")

    def retry_delivery(self, delivery: DeliveryId, reason: str = "") -> None:
        """Send again what a PACS has refused for good."""
        now = self._here.clock()
        with self._here.database.write():
            Outbox(self._here.database).retry_by_hand(delivery, now)
            self._note(Action.DELIVERY_RETRIED, delivery, reason, now)
        self._here.bells.ring("delivery")

    def promote(self, version: str, reason: str, *, override: bool = False) -> Promotion:
        """Let a bundle serve; the workers verify it, and refuse what is damaged."""
        now = self._here.clock()
        line = promotion.promote(
            self._here.database, version, self._actor, reason, now, override=override
        )
        self._here.bells.ring("worker")
        return line

    def rollback(self, reason: str) -> Promotion:
        """Let the bundle that served before serve again."""
        line = Ledger(self._here.database).rollback(self._actor, reason, self._here.clock())
        self._here.bells.ring("worker")
        return line

    def start_trial(self, named: str, days: float | None, images: int | None) -> dict[str, Any]:
        """Have a candidate classify beside what serves; none: as the settings say."""
        chosen, now = self._here.settings.training, self._here.clock()
        until = now + (days or chosen.shadow_days) * DAY_S
        wanted = images or chosen.shadow_images
        made = Trials(self._here.database).start(named, self._actor, now, until, wanted)
        return brief(made)

    def stop_trial(self, named: str, reason: str) -> dict[str, Any]:
        """Stop the trial of a bundle."""
        return brief(stop(self._here.database, named, self._actor, reason, self._here.clock()))

    def set_threshold(
        self, digest: str, finding: str, value: float | None, reason: str
    ) -> ThresholdChange:
        """Change a finding's threshold for what is classified from now on."""
        change = Ledger(self._here.database).set_threshold(
            digest, finding, value, self._actor, reason, self._here.clock()
        )
        self._here.bells.ring("worker")
        return change

    def add_schedule(
        self,
        name: str,
        kind: RunKind,
        cron: str | None,
        every: str | None,
        window: str | None,
        timezone: str | None,
    ) -> dict[str, Any]:
        """Add a schedule. Raises WrongTiming, which says what is allowed."""
        now = self._here.clock()
        timing = read_timing(cron, every, window, timezone, now)
        made = Schedules(self._here.database).add(
            checked_name(name), kind, timing, self._actor, now
        )
        return shown(made, now)

    def remove_schedule(self, name: str) -> None:
        """Remove a schedule; what is in work goes on."""
        Schedules(self._here.database).remove(name, self._actor, self._here.clock())

    def run_now(self, named: str) -> RunId:
        """Have a schedule or a kind run now."""
        return Schedules(self._here.database).run_now(named, self._actor, self._here.clock())

    def cancel_run(self, number: int) -> RunState:
        """Cancel a run; return its state, which is still running until its process has seen it."""
        return Runs(self._here.database).cancel(number, self._actor, self._here.clock())

    def acknowledge_alarm(self, number: int) -> Alarm:
        """Note that a person knows of an alarm."""
        return Alarms(self._here.database).acknowledge(number, self._actor, self._here.clock())

    def close_alarm(self, number: int, reason: str) -> Alarm:
        """Close an alarm; should its cause last, it opens anew."""
        return Bell(self._here.database).close(number, self._actor, reason, self._here.clock())

    def accept_station(self, station: str) -> int:
        """Take a station's images since its drift began for its reference; return how many."""
        serving = Ledger(self._here.database).serving()
        if serving is None:
            raise NotFound("No bundle serves yet.")
        return Watching(self._here.database).ask_acceptance(
            serving.model.digest, station, self._actor, self._here.clock()
        )

    def lift_doubt(self, digest: str, finding: str, reason: str) -> None:
        """Let a finding in doubt flag again, for what is classified from now on."""
        now, database = self._here.clock(), self._here.database
        with database.write():
            Doubts(database).lift(digest, finding, self._actor, reason, now)
            version = Ledger(database).find(digest).version
            because = f"{self._actor} lifted the doubt"
            Bell(database).still(AlarmKind.CALIBRATION, f"{version}: {finding}", now, because)
        self._here.bells.ring("worker")

    def _note(self, action: Action, subject: int, reason: str, now: float) -> None:
        detail = {"reason": reason.strip()} if reason.strip() else {}
        self._audit.append(self._actor, action, str(subject), detail, at=now)

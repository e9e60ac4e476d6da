"""One study: its report built, its bytes and its deliveries committed.

Step 7 of docs/reliability.md: the report's file is synced first; its row, its deliveries and the
end of the claim are one commit, where the token is still ours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from classifier.classify import Classifier
from daemon import logs, process
from daemon.events import Event
from daemon.image_work import LEASE_S, NO_SPACE_S, RETRY_S
from daemon.one_model import others, without
from daemon.report import Device
from daemon.report.reviewed import is_corrected, is_positive
from daemon.report.study import build_reading, build_study
from daemon.settings import Settings
from storage.database import Database
from storage.errors import LostClaim, OutOfSpace, SyncFailed
from storage.objects import ObjectStore, RecentObjects
from storage.records import AnsweredInstance, StudyJob
from storage.studies import Studies


class StudyWork:
    """Takes studies whose time has come to their reports."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        objects: ObjectStore,
        recent: RecentObjects,
        owner: str,
        bells: process.Bells,
        clock: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._objects = objects
        self._recent = recent
        self._studies = Studies(database)
        self._device = Device.of(settings.dicom.ae_title)
        self._owner = owner
        self._bells = bells
        self._clock = clock
        self._log = logs.get()

    def claim(self) -> StudyJob | None:
        """Take the study that is due first, if any is."""
        return self._studies.claim_due(self._owner, LEASE_S, self._clock())

    def answer(self, study: StudyJob, classifier: Classifier) -> None:
        """Report the study by what serves, or have its images of another model analysed again."""
        log = self._log.bind(study=study.study_instance_uid, version=study.version)
        now, chosen = self._clock(), self._settings.report
        try:
            if study.reading is not None:
                made = build_reading(study, self._recent.read, now)
            else:
                mixed = others(study, classifier)
                if mixed and self._analyse_again(study, mixed, classifier, now):
                    return
                study = without(study, mixed)
                made = build_study(study, self._recent.read, self._device, chosen.heat_map, now)
            flagged = _is_flagged(study)
            send = flagged or chosen.send_negative or study.sent or study.canary
            to = self._settings.canary_pacs if study.canary else self._settings.pacs
            pacs = [one.name for one in to if send]
            self._studies.reported(study, made.stored(self._objects, now), pacs, now)
            self._bells.ring("delivery")
            log.info(
                Event.REPORT_BUILT,
                report=made.report.sop_instance_uid, flagged=flagged, beside=len(made.companions),
            )  # fmt: skip
            for fault in made.faults:
                log.warning(Event.HEAT_MAP_MISSING, reason=fault)
        except LostClaim:
            log.warning(Event.CLAIM_LOST)
        except SyncFailed:
            raise
        except OutOfSpace as error:
            self._studies.put_back(study, now + NO_SPACE_S)
            log.warning(Event.REPORT_FAILED, **logs.whereabouts(error))
        except Exception as error:  # noqa: BLE001 - the next study must not suffer from this one
            where = logs.whereabouts(error)
            log.error(Event.REPORT_FAILED, **where)
            self._studies.failed(study, "failed", where["error"], now + RETRY_S, now)

    def _analyse_again(
        self,
        study: StudyJob,
        mixed: Sequence[AnsweredInstance],
        classifier: Classifier,
        now: float,
    ) -> bool:
        """Have the images whose files are there classified anew; the report waits for that.

        Return whether it does: retention may have deleted them all.
        """
        again = [a for a in mixed if self._objects.exists(a.instance.arrival.sha256)]
        if again:
            self._studies.analyse_again(study, [a.instance.id for a in again], now)
            self._log.info(
                Event.STUDY_ANALYSED_AGAIN, study=study.study_instance_uid, count=len(again),
                model=classifier.version,
            )  # fmt: skip
        return bool(again)


def _is_flagged(study: StudyJob) -> bool:
    """Whether a report says what a PACS must know: a finding, or a reader's correction."""
    reviews = study.said if study.reading is None else study.reading.reviews
    found = any(f.present for a in study.instances for f in a.result.findings)
    return found or is_positive(reviews) or is_corrected(reviews)

"""The worker: claims an image, decodes it, classifies it; writes a study's report when it is due.

It may die at any statement without harm: a claim that it held is released, and what it had not
committed never was.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import structlog
from pydicom.dataset import Dataset

from classifier.classify import Classifier, PreparedImage
from classifier.decode import read_object
from classifier.errors import ClassifierError, NotEligible, Undecodable
from daemon import logs, process
from daemon.errors import EndedProcess, NoStudy
from daemon.events import Event
from daemon.headers import Backlog, read_headers
from daemon.one_model import others, without
from daemon.report import Device
from daemon.report.attention import pack
from daemon.report.reviewed import is_corrected, is_positive
from daemon.report.study import build_reading, build_study
from daemon.serving import Serving
from daemon.settings import Settings
from daemon.uids import is_own
from storage.database import Database, open_database
from storage.errors import LostClaim, ObjectDamaged, ObjectMissing, StorageError, SyncFailed
from storage.headers import Headers
from storage.objects import ObjectStore, RecentObjects
from storage.queue import Queue
from storage.records import AnsweredInstance, Job, Maker, Result, ResultStatus, StudyJob
from storage.reviews import Reviews
from storage.studies import Studies

LEASE_S = 30.0  # a claim older than this is taken for hung, and its process killed
ATTEMPTS = 3
POLL_S = 0.5  # between looks for work that no ring announced
RETRY_S = 2.0
KEPT_BYTES = 32 << 20  # of the images just classified, for the report that may follow at once
OPEN_AGAIN_S = 60.0  # between attempts to open a classifier that cannot be opened

_UID = re.compile(r"[0-9.]{1,64}")


@dataclass(slots=True)
class Opened:
    """A claimed image and what reading it came to: an image to classify, or an error."""

    job: Job
    started: float
    classifier: Classifier  # that reads it and, whatever serves by then, judges it
    study_uid: str | None = None
    headers: Headers | None = None
    own: bool = False
    image: PreparedImage | None = None
    error: Exception | None = None


class Worker:
    """Moves images from the queue to results, and studies from results to reports.

    While the engine runs on one image, a thread claims and decodes the next. Only an image never
    claimed before is decoded in such company: should the process end, neither of the two tells
    which was to blame, so each is tried again alone, and what is given up ended it alone.
    """

    def __init__(
        self,
        settings: Settings,
        objects: ObjectStore,
        database: Database,
        classifier: Classifier,
        owner: str,
        bells: process.Bells | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._objects = objects
        self._recent = RecentObjects(objects, KEPT_BYTES)
        self._database = database
        self._queue = Queue(database)
        self._studies = Studies(database)
        self._reviews = Reviews(database)
        self._reviews_looked_at = 0.0
        self._classifier = classifier
        self._device = Device.of(settings.dicom.ae_title)
        self._owner = owner
        self._bells = bells or process.Bells()
        self._clock = clock
        self._log = logs.get()
        self._beside = ThreadPoolExecutor(1, "decoder")
        self._ahead: Future[Opened | None] | None = None
        self._due: StudyJob | None = None

    @property
    def holds(self) -> bool:
        """Whether something is claimed that no step has answered yet."""
        return self._ahead is not None or self._due is not None

    def use(self, classifier: Classifier) -> None:
        """Classify with this one what is opened from now on."""
        self._classifier = classifier

    def step(self, *, ahead: bool = True) -> bool:
        """Do one piece of work; return whether there was any. `ahead`: begin the one after it."""
        self._take_effect()
        study, self._due = self._due or self._claim_study(), None
        if study is not None:
            self._answer_study(study)
            return True
        begun, self._ahead = self._ahead, None
        opened = (begun.result() if begun is not None else None) or self._open_next()
        if opened is None:
            return False
        if ahead and opened.job.attempts == 1:
            self._ahead = self._beside.submit(self._open_next, fresh=True)
        self._answer_instance(opened)
        return True

    def _take_effect(self) -> None:
        """Put reviews into effect whose time to be undone has ended."""
        now = self._clock()
        if abs(now - self._reviews_looked_at) < POLL_S:
            return
        self._reviews_looked_at = now
        for study in self._reviews.take_effect(now):
            self._log.info(Event.REVIEW_EFFECTIVE, study=study)

    def _claim_study(self) -> StudyJob | None:
        return self._studies.claim_due(self._owner, LEASE_S, self._clock())

    # -- one image ---------------------------------------------------------------------------

    def _open_next(self, *, fresh: bool = False) -> Opened | None:
        """Claim the next image and decode it; an error in it waits for its turn."""
        job = self._queue.claim(self._owner, LEASE_S, self._clock(), fresh=fresh)
        if job is None:
            return None
        opened = Opened(job, time.monotonic(), self._classifier)
        try:
            self._open(opened)
        except Exception as error:  # noqa: BLE001 - raised again where this image is answered
            opened.error = error
        return opened

    def _open(self, opened: Opened) -> None:
        attempts = opened.job.attempts
        if attempts > ATTEMPTS + 1:
            raise EndedProcess("reading it ended the process")
        dataset = read_object(self._recent.read(opened.job.instance.arrival.sha256))
        opened.study_uid = _study_of(dataset)
        opened.headers = self._headers(dataset)
        if attempts > ATTEMPTS:
            # The attempts before ended with the process, or were killed for their lease
            raise EndedProcess("decoding ended the process")
        opened.own = is_own(dataset)
        if not opened.own:
            opened.image = opened.classifier.prepare(dataset)

    def _headers(self, dataset: Dataset) -> Headers | None:
        try:
            return read_headers(dataset)
        except Exception as error:  # noqa: BLE001 - an image is not lost to what a list shows of it
            self._log.error(Event.HEADER_UNREADABLE, **logs.whereabouts(error))
            return None

    def _answer_instance(self, opened: Opened) -> None:
        job, study_uid = opened.job, opened.study_uid
        log = self._log.bind(
            job=job.id, sop_instance=job.instance.arrival.sop_instance_uid, attempts=job.attempts,
            model=opened.classifier.version,
        )  # fmt: skip
        try:
            if opened.own:
                self._queue.ignore(job, "own_object", "made by Hilum itself", self._clock())
                log.info(Event.INSTANCE_IGNORED, reason="own_object")
                return
            result = self._result(opened)
            quiet_s = self._settings.report.study_quiet_s
            with self._database.write():  # one commit for both
                now = self._clock()
                self._queue.finish(job, result, str(study_uid), quiet_s, now, opened.headers)
                self._due = self._claim_study()
            self._log_result(log, result, opened.started)
        except LostClaim:
            log.warning(Event.CLAIM_LOST)
        except (Undecodable, NoStudy, EndedProcess, ObjectMissing, ObjectDamaged) as error:
            code = _QUARANTINE_CODES[type(error)]
            self._quarantine(log, opened, code, str(error))
        except SyncFailed:
            raise
        except Exception as error:  # noqa: BLE001 - the next image must not suffer from this one
            self._put_back(log, opened, error)

    def _result(self, opened: Opened) -> Result:
        """Classify. Raises what opening raised, unless it is an answer to a known study."""
        with_what = opened.classifier
        maker = Maker(self._owner, with_what.version, with_what.digest, with_what.engine.name)
        try:
            if opened.image is None:
                raise opened.error or Undecodable
            found = with_what.infer(opened.image)
        except NotEligible as error:
            return Result(
                ResultStatus.NOT_ANALYSED, reason_code=error.code, reason=error.text, maker=maker
            )
        except Undecodable as error:
            if opened.study_uid is None:
                raise
            return Result(
                ResultStatus.NOT_ANALYSED, reason_code="undecodable", reason=str(error),
                maker=maker,
            )  # fmt: skip
        return Result(
            ResultStatus.ANALYSED,
            bundle=with_what.version,
            findings=found.findings,
            reason_code=found.remarks[0].code if found.remarks else None,
            reason=" ".join(remark.text for remark in found.remarks) or None,
            attention=pack(found.maps, found.placement),
            maker=maker,
        )

    def _put_back(
        self,
        log: structlog.typing.FilteringBoundLogger,
        opened: Opened,
        error: Exception,
    ) -> None:
        job, where = opened.job, logs.whereabouts(error)
        if job.attempts >= ATTEMPTS:
            reason = f"{where['error']} at {where['at']}, {job.attempts} times"
            self._quarantine(log, opened, "failed", reason)
            return
        now = self._clock()
        try:
            self._queue.retry(job, "failed", where["error"], now + RETRY_S * job.attempts, now)
        except LostClaim:
            log.warning(Event.CLAIM_LOST)
            return
        log.warning(Event.INSTANCE_RETRIED, **where)

    def _quarantine(
        self,
        log: structlog.typing.FilteringBoundLogger,
        opened: Opened,
        code: str,
        reason: str,
    ) -> None:
        quiet_s, now = self._settings.report.study_quiet_s, self._clock()
        try:
            self._queue.quarantine(
                opened.job, code, reason, now, opened.study_uid, quiet_s, opened.headers
            )
        except LostClaim:
            log.warning(Event.CLAIM_LOST)
            return
        log.error(Event.INSTANCE_QUARANTINED, reason_code=code, reason=reason)

    def _log_result(
        self, log: structlog.typing.FilteringBoundLogger, result: Result, started: float
    ) -> None:
        took_ms = round(1000 * (time.monotonic() - started))
        if result.status is ResultStatus.ANALYSED:
            present = [finding.name for finding in result.findings if finding.present]
            said = {"remark": result.reason_code} if result.reason_code else {}
            log.info(Event.INSTANCE_ANALYSED, present=present, took_ms=took_ms, **said)
        else:
            log.warning(
                Event.INSTANCE_NOT_ANALYSED, reason_code=result.reason_code, took_ms=took_ms
            )

    # -- one study ---------------------------------------------------------------------------

    def _answer_study(self, study: StudyJob) -> None:
        log = self._log.bind(study=study.study_instance_uid, version=study.version)
        now, chosen = self._clock(), self._settings.report
        try:
            if study.reading is not None:
                made = build_reading(study, self._recent.read, now)
            else:
                mixed = others(study, self._classifier)
                if mixed and self._analyse_again(study, mixed, now):
                    return
                study = without(study, mixed)
                made = build_study(study, self._recent.read, self._device, chosen.heat_map, now)
            flagged = _is_flagged(study)
            send = flagged or chosen.send_negative or study.sent
            pacs = [one.name for one in self._settings.pacs if send]
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
        except Exception as error:  # noqa: BLE001 - the next study must not suffer from this one
            where = logs.whereabouts(error)
            log.error(Event.REPORT_FAILED, **where)
            self._studies.failed(study, "failed", where["error"], now + RETRY_S, now)

    def _analyse_again(
        self, study: StudyJob, mixed: Sequence[AnsweredInstance], now: float
    ) -> bool:
        """Have the images whose files are there classified anew; the report waits for that.

        Return whether it does: retention may have deleted them all.
        """
        again = [a for a in mixed if self._objects.exists(a.instance.arrival.sha256)]
        if again:
            self._studies.analyse_again(study, [a.instance.id for a in again], now)
            self._log.info(
                Event.STUDY_ANALYSED_AGAIN, study=study.study_instance_uid, count=len(again),
                model=self._classifier.version,
            )  # fmt: skip
        return bool(again)


def _is_flagged(study: StudyJob) -> bool:
    """Whether a report says what a PACS must know: a finding, or a reader's correction."""
    reviews = study.said if study.reading is None else study.reading.reviews
    found = any(f.present for a in study.instances for f in a.result.findings)
    return found or is_positive(reviews) or is_corrected(reviews)


_QUARANTINE_CODES: dict[type[Exception], str] = {
    EndedProcess: "crashed",
    Undecodable: "unreadable",
    NoStudy: "no_study",
    ObjectMissing: "object_missing",
    ObjectDamaged: "object_damaged",
}


def _study_of(dataset: Dataset) -> str:
    """Return the Study Instance UID, which a report cannot do without. Raises NoStudy."""
    uid = str(dataset.get("StudyInstanceUID") or "")
    if not _UID.fullmatch(uid):
        raise NoStudy
    return uid


def serve(settings: Settings, stop: process.Stop, owner: str, bells: process.Bells) -> int:
    """Work until told to stop; return the exit status."""
    process.give_memory_back()
    log, bell = logs.get(), bells.of(owner)
    database = open_database(settings.storage.url)
    serving = Serving(settings, database, owner)
    classifier = _open_classifier(serving, stop)
    if classifier is None:
        return 0
    objects = ObjectStore(settings.storage.root)
    worker = Worker(settings, objects, database, classifier, owner, bells)
    backlog, engine = Backlog(database, objects), classifier.engine
    log.info(Event.WORKER_READY, model=classifier.version, engine=engine.name, why=engine.reason)
    if classifier.bundle.manifest.frontal is None:
        log.warning(Event.WORKER_BY_HEADER, reason="no model of frontal chests in the bundle")
    del classifier, engine  # a bundle that serves no more is to leave the memory
    while not stop or worker.holds:
        try:
            worker.use(serving.look())
            busy = worker.step(ahead=not stop) or (not stop and backlog.step())
        except SyncFailed:
            # What the disk holds now is unknown: no further write, a new process
            log.critical(Event.FAULT, reason="fsync failed")
            os._exit(process.EXIT_FAULT)
        except StorageError as error:
            log.error(Event.FAULT, **logs.whereabouts(error))
            busy = False
            stop.wait(1.0)
        if not busy:
            bell.wait(stop, POLL_S)
    database.close()
    return 0


def _open_classifier(serving: Serving, stop: process.Stop) -> Classifier | None:
    """Return None only when told to stop: until there is a classifier, the images wait."""
    while not stop:
        try:
            return serving.open()
        except (ClassifierError, StorageError) as error:
            logs.get().critical(
                Event.WORKER_CANNOT_CLASSIFY, reason=str(error), again_in_s=OPEN_AGAIN_S
            )
            stop.wait(OPEN_AGAIN_S)
    return None

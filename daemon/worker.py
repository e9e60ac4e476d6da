"""The worker: claims an image, decodes it, classifies it; writes a study's report when it is due.

It may die at any statement without harm: a claim that it held is released, and what it had not
committed never was.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable
from io import BytesIO

import structlog
from pydicom.dataset import Dataset

from classifier.bundle import load_bundle
from classifier.classify import Classifier
from classifier.decode import read_object
from classifier.errors import ClassifierError, NotEligible, Undecodable
from daemon import logs, process
from daemon.errors import NoStudy
from daemon.events import Event
from daemon.report import Device, HeaderUnreadable, build_report, encode, read_header
from daemon.settings import Settings
from daemon.uids import is_own
from storage.database import Database, open_database
from storage.errors import LostClaim, ObjectDamaged, ObjectMissing, StorageError
from storage.objects import ObjectStore
from storage.queue import Queue
from storage.records import Job, NewReport, Result, ResultStatus, Sha256, StudyJob
from storage.studies import Studies

LEASE_S = 30.0  # a claim older than this is taken for hung, and its process killed
ATTEMPTS = 3
POLL_S = 0.05
RETRY_S = 2.0

_UID = re.compile(r"[0-9.]{1,64}")


class Worker:
    """Moves images from the queue to results, and studies from results to reports."""

    def __init__(
        self,
        settings: Settings,
        objects: ObjectStore,
        database: Database,
        classifier: Classifier,
        owner: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._objects = objects
        self._queue = Queue(database)
        self._studies = Studies(database)
        self._classifier = classifier
        self._device = Device.of(settings.dicom.ae_title)
        self._owner = owner
        self._clock = clock
        self._log = logs.get()

    def step(self) -> bool:
        """Do one piece of work; return whether there was any."""
        study = self._studies.claim_due(self._owner, LEASE_S, self._clock())
        if study is not None:
            self._answer_study(study)
            return True
        job = self._queue.claim(self._owner, LEASE_S, self._clock())
        if job is not None:
            self._answer_instance(job)
            return True
        return False

    # -- one image ---------------------------------------------------------------------------

    def _answer_instance(self, job: Job) -> None:
        arrival = job.instance.arrival
        log = self._log.bind(
            job=job.id, sop_instance=arrival.sop_instance_uid, attempts=job.attempts,
            model=self._classifier.version,
        )  # fmt: skip
        started = time.monotonic()
        study_uid: str | None = None
        try:
            if job.attempts > ATTEMPTS + 1:  # even to read its header ends the process
                self._quarantine(log, job, "crashed", "reading it ended the process", None)
                return
            dataset = read_object(self._objects.read(arrival.sha256))
            study_uid = _study_of(dataset)
            if job.attempts > ATTEMPTS:
                # The attempts before ended with the process, or were killed for their lease
                self._quarantine(log, job, "crashed", "decoding ended the process", study_uid)
                return
            if is_own(dataset):
                self._queue.ignore(job, "own_object", "made by Hilum itself", self._clock())
                log.info(Event.INSTANCE_IGNORED, reason="own_object")
                return
            result = self._classify(dataset)
            self._queue.finish(
                job, result, study_uid, self._settings.report.study_quiet_s, self._clock()
            )
            self._log_result(log, result, started)
        except LostClaim:
            log.warning(Event.CLAIM_LOST)
        except (Undecodable, NoStudy, ObjectMissing, ObjectDamaged) as error:
            code = _QUARANTINE_CODES[type(error)]
            self._quarantine(log, job, code, str(error), study_uid)
        except Exception as error:  # noqa: BLE001 - the next image must not suffer from this one
            self._put_back(log, job, error, study_uid)

    def _classify(self, dataset: Dataset) -> Result:
        try:
            prepared = self._classifier.prepare(dataset)
        except NotEligible as error:
            return Result(ResultStatus.NOT_ANALYSED, reason_code=error.code, reason=error.text)
        except Undecodable as error:
            return Result(ResultStatus.NOT_ANALYSED, reason_code="undecodable", reason=str(error))
        found = self._classifier.infer(prepared)
        return Result(
            ResultStatus.ANALYSED, bundle=self._classifier.version, findings=found.findings
        )

    def _put_back(
        self,
        log: structlog.typing.FilteringBoundLogger,
        job: Job,
        error: Exception,
        study_uid: str | None,
    ) -> None:
        where = logs.whereabouts(error)
        if job.attempts >= ATTEMPTS:
            reason = f"{where['error']} at {where['at']}, {job.attempts} times"
            self._quarantine(log, job, "failed", reason, study_uid)
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
        job: Job,
        code: str,
        reason: str,
        study_uid: str | None,
    ) -> None:
        try:
            self._queue.quarantine(
                job, code, reason, self._clock(), study_uid, self._settings.report.study_quiet_s
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
            log.info(Event.INSTANCE_ANALYSED, present=present, took_ms=took_ms)
        else:
            log.warning(
                Event.INSTANCE_NOT_ANALYSED, reason_code=result.reason_code, took_ms=took_ms
            )

    # -- one study ---------------------------------------------------------------------------

    def _answer_study(self, study: StudyJob) -> None:
        log = self._log.bind(study=study.study_instance_uid, version=study.version)
        now = self._clock()
        try:
            headers = {answered.instance.id: self._header(answered.instance.arrival.sha256)
                       for answered in study.instances}  # fmt: skip
            dataset = build_report(study, headers, self._device, now)
            content = encode(dataset)
            stored = self._objects.put(content)
            flagged = any(f.present for a in study.instances for f in a.result.findings)
            send = flagged or self._settings.report.send_negative
            self._studies.reported(
                study,
                NewReport(
                    sop_instance_uid=str(dataset.SOPInstanceUID),
                    sop_class_uid=str(dataset.SOPClassUID),
                    sha256=stored.sha256,
                    size_bytes=stored.size_bytes,
                    created_at=now,
                ),
                [pacs.name for pacs in self._settings.pacs] if send else [],
                now,
            )
            log.info(Event.REPORT_BUILT, report=str(dataset.SOPInstanceUID), flagged=flagged)
        except LostClaim:
            log.warning(Event.CLAIM_LOST)
        except Exception as error:  # noqa: BLE001 - the next study must not suffer from this one
            where = logs.whereabouts(error)
            log.error(Event.REPORT_FAILED, **where)
            self._studies.failed(study, "failed", where["error"], now + RETRY_S, now)

    def _header(self, sha256: Sha256) -> Dataset | None:
        try:
            return read_header(BytesIO(self._objects.read(sha256)))
        except (HeaderUnreadable, ObjectMissing, ObjectDamaged):
            return None


_QUARANTINE_CODES: dict[type[Exception], str] = {
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


def serve(settings: Settings, stop: process.Stop, owner: str) -> int:
    """Work until told to stop; return the exit status."""
    log = logs.get()
    try:
        chosen = settings.classifier
        classifier = Classifier(load_bundle(chosen.bundle), chosen.engine, chosen.also_classify)
    except ClassifierError as error:
        log.critical(Event.WORKER_CANNOT_CLASSIFY, reason=str(error))
        return process.EXIT_FAULT
    database = open_database(settings.storage.url)
    objects = ObjectStore(settings.storage.root)
    worker = Worker(settings, objects, database, classifier, owner)
    log.info(Event.WORKER_READY, model=classifier.version, engine=classifier.engine.name)
    while not stop:
        try:
            busy = worker.step()
        except StorageError as error:
            log.error(Event.FAULT, **logs.whereabouts(error))
            busy = False
            stop.wait(1.0)
        if not busy:
            stop.wait(POLL_S)
    database.close()
    return 0


if __name__ == "__main__":
    sys.exit(process.run("worker", serve))

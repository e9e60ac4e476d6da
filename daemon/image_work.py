"""One image: claimed, opened, classified, answered; a thread may open the next meanwhile.

Steps 6 and 7 of docs/reliability.md: the claim, with its attempt and its token, is committed before
anything is read; the result, the end of the job and the study's due time are one commit, where the
token is still ours.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import structlog
from pydicom.dataset import Dataset

from classifier.classify import Classifier, PreparedImage
from classifier.decode import read_object
from classifier.errors import NotEligible, Undecodable
from daemon import logs
from daemon.errors import EndedProcess, NoStudy
from daemon.events import Event
from daemon.headers import read_headers
from daemon.limits import TimeLimit
from daemon.report.attention import pack
from daemon.uids import is_own
from storage.database import Database
from storage.errors import LostClaim, ObjectDamaged, ObjectMissing, OutOfSpace, SyncFailed
from storage.headers import Headers
from storage.objects import RecentObjects
from storage.queue import Queue
from storage.records import Job, Maker, Result, ResultStatus

LEASE_S = 30.0  # a claim older than this is taken for hung, and its process killed
ATTEMPTS = 3
RETRY_S = 2.0
NO_SPACE_S = 5.0

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


class ImageWork:
    """Takes images from the queue to their results."""

    def __init__(
        self,
        database: Database,
        recent: RecentObjects,
        owner: str,
        quiet_s: float,
        clock: Callable[[], float],
        limit: TimeLimit | None = None,
    ) -> None:
        self._database = database
        self._recent = recent
        self._queue = Queue(database)
        self._owner = owner
        self._quiet_s = quiet_s
        self._clock = clock
        self._limit = limit
        self._log = logs.get()

    def open_next(self, classifier: Classifier, *, fresh: bool = False) -> Opened | None:
        """Claim the next image and decode it; an error in it waits for its turn.

        `fresh` passes over the images that were ever claimed before.
        """
        job = self._queue.claim(self._owner, LEASE_S, self._clock(), fresh=fresh)
        if job is None:
            return None
        opened = Opened(job, time.monotonic(), classifier)
        try:
            with self._limited():
                self._open(opened)
        except Exception as error:  # noqa: BLE001 - raised again where this image is answered
            opened.error = error
        return opened

    def _open(self, opened: Opened) -> None:
        attempts = opened.job.attempts
        if attempts > ATTEMPTS + 1:
            raise EndedProcess(f"reading it ended the process: {opened.job.last_end}")
        dataset = read_object(self._recent.read(opened.job.instance.arrival.sha256))
        opened.study_uid = _study_of(dataset)
        opened.headers = self._headers(dataset)
        if attempts > ATTEMPTS:
            # The attempts before ended with the process, or were killed for their lease
            raise EndedProcess(f"decoding it ended the process: {opened.job.last_end}")
        opened.own = is_own(dataset)
        if not opened.own:
            opened.image = opened.classifier.prepare(dataset)

    def _headers(self, dataset: Dataset) -> Headers | None:
        try:
            return read_headers(dataset)
        except Exception as error:  # noqa: BLE001 - an image is not lost to what a list shows of it
            self._log.error(Event.HEADER_UNREADABLE, **logs.whereabouts(error))
            return None

    def answer(self, opened: Opened, and_then: Callable[[], None]) -> None:
        """Commit what the image came to: a result, a new attempt, or its quarantine.

        With a result, `and_then` is in the same transaction.
        """
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
            with self._database.write():  # one commit for both
                self._queue.finish(
                    job, result, str(study_uid), self._quiet_s, self._clock(), opened.headers
                )
                and_then()
            self._log_result(log, result, opened.started)
        except LostClaim:
            log.warning(Event.CLAIM_LOST)
        except (Undecodable, NoStudy, EndedProcess, ObjectMissing, ObjectDamaged) as error:
            code = _QUARANTINE_CODES[type(error)]
            self._quarantine(log, opened, code, str(error))
        except SyncFailed:
            raise
        except OutOfSpace as error:  # not the image's fault: it waits, however long
            now = self._clock()
            self._queue.retry(job, "no_space", str(error), now + NO_SPACE_S, now, counts=False)
            log.warning(Event.INSTANCE_RETRIED, **logs.whereabouts(error))
        except Exception as error:  # noqa: BLE001 - the next image must not suffer from this one
            self._put_back(log, opened, error)

    def _result(self, opened: Opened) -> Result:
        """Classify. Raises what opening raised, unless it is an answer to a known study."""
        with_what = opened.classifier
        maker = Maker(self._owner, with_what.version, with_what.digest, with_what.engine.name)
        try:
            if opened.image is None:
                raise opened.error or Undecodable
            with self._limited():
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
            measures=found.measures,
        )

    def _limited(self) -> AbstractContextManager[None]:
        return nullcontext() if self._limit is None else self._limit.running()

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
        try:
            self._queue.quarantine(
                opened.job, code, reason, self._clock(), opened.study_uid, self._quiet_s,
                opened.headers,
            )  # fmt: skip
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

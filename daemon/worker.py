"""The worker: claims an image, decodes it, classifies it; writes a study's report when it is due.

It may die at any statement without harm: a claim that it held is released, and what it had not
committed never was.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from classifier.classify import Classifier
from classifier.errors import ClassifierError
from daemon import logs, process
from daemon.events import Event
from daemon.headers import Backlog
from daemon.image_work import ImageWork, Opened
from daemon.limits import IMAGE_S, TimeLimit, limit_memory
from daemon.serving import Serving
from daemon.settings import Settings
from daemon.study_work import StudyWork
from storage.database import Database, open_database
from storage.errors import StorageError, SyncFailed
from storage.objects import ObjectStore, RecentObjects
from storage.queue import Queue
from storage.records import StudyJob
from storage.reviews import Reviews

POLL_S = 0.5  # between looks for work that no ring announced
KEPT_BYTES = 32 << 20  # of the images just classified, for the report that may follow at once
OPEN_AGAIN_S = 60.0  # between attempts to open a classifier that cannot be opened


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
        limit: TimeLimit | None = None,
    ) -> None:
        """`limit`: of an image's time; only a process that may end is given one."""
        recent = RecentObjects(objects, KEPT_BYTES)
        quiet_s = settings.report.study_quiet_s
        self._images = ImageWork(database, recent, owner, quiet_s, clock, limit)
        self._studies = StudyWork(
            settings, database, objects, recent, owner, bells or process.Bells(), clock
        )
        self._queue, self._owner = Queue(database), owner
        self._reviews = Reviews(database)
        self._reviews_looked_at = 0.0
        self._classifier = classifier
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
        study, self._due = self._due or self._studies.claim(), None
        if study is not None:
            self._studies.answer(study, self._classifier)
            return True
        begun, self._ahead = self._ahead, None
        opened = (begun.result() if begun is not None else None) or self._open_next()
        if opened is None:
            return False
        if ahead and opened.job.attempts == 1:
            self._ahead = self._beside.submit(self._open_next, fresh=True)
        self._images.answer(opened, and_then=self._claim_due)
        return True

    def mend(self) -> None:
        """After a fault of the storage: give back what it left claimed. Raises StorageError."""
        begun, self._ahead, self._due = self._ahead, None, None
        if begun is not None:
            begun.exception()  # what it claimed is given back with the rest
        self._queue.release(self._owner, self._clock())

    def _open_next(self, *, fresh: bool = False) -> Opened | None:
        return self._images.open_next(self._classifier, fresh=fresh)

    def _claim_due(self) -> None:
        self._due = self._studies.claim()

    def _take_effect(self) -> None:
        """Put reviews into effect whose time to be undone has ended."""
        now = self._clock()
        if abs(now - self._reviews_looked_at) < POLL_S:
            return
        self._reviews_looked_at = now
        for study in self._reviews.take_effect(now):
            self._log.info(Event.REVIEW_EFFECTIVE, study=study)


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
    limit = TimeLimit(IMAGE_S)
    worker = Worker(
        settings, objects, database, classifier, owner, bells, database.clock, limit=limit
    )
    limit_memory()
    backlog, engine = Backlog(database, objects), classifier.engine
    log.info(Event.WORKER_READY, model=classifier.version, engine=engine.name, why=engine.reason)
    if classifier.bundle.manifest.frontal is None:
        log.warning(Event.WORKER_BY_HEADER, reason="no model of frontal chests in the bundle")
    del classifier, engine  # a bundle that serves no more is to leave the memory
    faulty = False
    while not stop or worker.holds:
        try:
            if faulty:
                worker.mend()
            faulty = False
            worker.use(serving.look())
            busy = worker.step(ahead=not stop) or (not stop and backlog.step())
        except SyncFailed:
            # What the disk holds now is unknown: no further write, a new process
            log.critical(Event.FAULT, reason="fsync failed")
            os._exit(process.EXIT_FAULT)
        except StorageError as error:
            log.error(Event.FAULT, **logs.whereabouts(error))
            busy, faulty = False, True
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

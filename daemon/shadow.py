"""The process that classifies with a candidate what the serving bundle has classified.

It lives as long as a trial, and gives way: it runs when the machine has nothing else to do, begins
an image only while none waits in the queue, and is the first to go where memory ends. Its results
are compared and never sent.
"""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

from classifier.classify import Classifier
from classifier.decode import read_object
from classifier.errors import ClassifierError, NotEligible
from daemon import logs, process
from daemon.alarms import Bell
from daemon.courtesy import step_back
from daemon.events import Event
from daemon.serving import open_classifier
from daemon.settings import Settings
from daemon.shelf import Shelf
from storage.alarm_records import AlarmKind
from storage.database import Database, open_database
from storage.errors import ObjectDamaged, ObjectMissing, StorageError
from storage.ledger import Ledger
from storage.objects import ObjectStore
from storage.shadow import Shadow
from storage.shadow_records import Decision, ShadowJob, ShadowState, Trial, TrialState
from storage.trials import Trials

IDLE_S = 0.5  # between looks whether the queue is empty, and whether there is an image


def serve(settings: Settings, stop: process.Stop, owner: str, bells: process.Bells) -> int:
    """Classify until told to stop, or until the trial has ended; return the exit status."""
    del bells
    step_back()
    process.give_memory_back()
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")
    database = open_database(settings.storage.url)
    trial = Trials(database).open()
    classifier = None if trial is None else _open(settings, database, trial, owner)
    if trial is not None and classifier is not None:
        engine = classifier.engine
        logs.get().info(Event.SHADOW_READY, model=classifier.version, engine=engine.name)
        _classify(settings, database, trial, classifier, stop)
    database.close()
    return 0


def _open(settings: Settings, database: Database, trial: Trial, owner: str) -> Classifier | None:
    """Return the candidate's classifier; None, and no more trial, where it cannot be loaded."""
    ledger, found = Ledger(database), trial.model
    thresholds = ledger.thresholds(found.digest)
    try:
        return open_classifier(settings.classifier, Shelf(settings.storage.root), found, thresholds)
    except ClassifierError as error:
        reason, now = str(error), time.time()
        with database.write():
            ledger.refuse(found.digest, owner, reason, now)
            Bell(database).ring(AlarmKind.CANDIDATE, found.version, {"reason": reason}, now)
            Trials(database).end(trial.id, TrialState.FAILED, owner, reason, now)
        logs.get().error(Event.MODEL_REFUSED, model=found.version, reason=reason)
        return None


def _classify(
    settings: Settings,
    database: Database,
    trial: Trial,
    classifier: Classifier,
    stop: process.Stop,
) -> None:
    objects, shadow, trials = ObjectStore(settings.storage.root), Shadow(database), Trials(database)
    while not stop:
        try:
            running = trials.open()
            if running is None or running.id != trial.id:
                return
            busy = running.done < running.images and shadow.idle()
            job = shadow.claim(trial, time.time()) if busy else None
            if job is not None:
                _answer(shadow, job, classifier, objects)
                continue
        except StorageError as error:
            logs.get().error(Event.FAULT, **logs.whereabouts(error))
        stop.wait(IDLE_S)


def _answer(shadow: Shadow, job: ShadowJob, classifier: Classifier, objects: ObjectStore) -> None:
    try:
        found = classifier.classify(read_object(objects.read(job.sha256)))
    except NotEligible as error:
        shadow.finish(job, ShadowState.NOT_ANALYSED, time.time(), reason=error.text)
        return
    except (ClassifierError, ObjectMissing, ObjectDamaged) as error:
        shadow.finish(job, ShadowState.FAILED, time.time(), reason=str(error))
        logs.get().warning(Event.SHADOW_FAILED, **logs.whereabouts(error))
        return
    decisions = [
        Decision(one.name, one.probability, one.threshold, *job.serving[one.name])
        for one in found.findings
        if one.name in job.serving
    ]
    shadow.finish(job, ShadowState.ANALYSED, time.time(), decisions)

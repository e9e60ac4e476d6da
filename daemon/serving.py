"""What a worker classifies with: the bundle that the ledger says, loaded while images flow.

A worker looks at the ledger at most once a second, between two images. It loads what it finds in a
thread, tries it on a blank image, and only then lets it serve; a bundle that cannot is refused in
the ledger, and the one before goes on. The one that was replaced stays in memory for a while, so
that a roll-back takes no loading.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.metadata import version

import numpy as np

from classifier.classify import Classifier
from classifier.engine import processor
from classifier.errors import BundleRefused, ClassifierError
from daemon import logs
from daemon.alarms import Bell
from daemon.events import Event
from daemon.settings import Settings
from daemon.settings.service import ClassifierSettings
from daemon.shelf import Shelf, configured
from storage.alarm_records import AlarmKind
from storage.audit import Audit
from storage.bundles import Loaded, Model, Revision, ServingModel
from storage.database import Database
from storage.errors import StorageError
from storage.ledger import Ledger
from storage.people import Action
from storage.records import Doubt
from storage.workers import Workers

LOOK_EVERY_S = 1.0
KEEP_S = 300.0  # a bundle that was replaced


class Serving:
    """The classifier of one worker, kept to the ledger."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        owner: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._chosen = settings.classifier
        self._stops = settings.watch.broken_calibration == "stop"
        self._shelf = Shelf(settings.storage.root)
        self._database, self._audit = database, Audit(database)
        self._ledger, self._workers = Ledger(database), Workers(database)
        self._bell = Bell(database)
        self._owner = owner
        self._clock = clock
        self._log = logs.get()
        self._beside = ThreadPoolExecutor(1, "loader")
        self._loading: tuple[ServingModel, Future[Classifier]] | None = None
        self._revision = Revision()
        self._next_look = 0.0
        self._classifier: Classifier | None = None
        self._replaced: tuple[Classifier, float] | None = None  # kept until then

    def open(self) -> Classifier:
        """Register the bundle of the settings, and return the classifier that is to serve.

        Raises ClassifierError or StorageError where there is none.
        """
        self._register()
        while True:
            serving = self._ledger.serving()
            if serving is None:
                raise BundleRefused("No bundle is registered.")
            try:
                self._classifier = self._load(serving)
            except ClassifierError as error:
                if not self._refuse(serving, str(error)):
                    raise
            else:
                self._revision = serving.revision
                self._note(self._classifier)
                return self._classifier

    def look(self) -> Classifier:
        """Return what is to classify from now on. Costs nothing within a second of the last look.

        Raises StorageError.
        """
        current = self._classifier or self.open()
        if self._loading is not None:
            if self._loading[1].done():
                self._settle(current, *self._loading)
        elif time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + LOOK_EVERY_S
            if self._replaced is not None and time.monotonic() >= self._replaced[1]:
                self._replaced = None
                gc.collect()
            if self._ledger.revision() != self._revision:
                self._follow(current)
        return self._classifier or current

    def _follow(self, classifier: Classifier) -> None:
        serving = self._ledger.serving()
        if serving is None:
            return
        kept = None if self._replaced is None else self._replaced[0]
        if serving.model.digest == classifier.bundle.digest:
            classifier.thresholds = dict(serving.thresholds)
            classifier.doubts = self._doubts(serving)
            self._revision = serving.revision
            self._log.info(Event.MODEL_FOLLOWED, model=classifier.version, **classifier.thresholds)
        elif kept is not None and kept.bundle.digest == serving.model.digest:
            kept.thresholds = dict(serving.thresholds)
            kept.doubts = self._doubts(serving)
            self._switch(classifier, kept, serving)
        else:
            self._loading = serving, self._beside.submit(self._load, serving)

    def _switch(self, before: Classifier, after: Classifier, serving: ServingModel) -> None:
        self._classifier, self._revision = after, serving.revision
        self._replaced = before, time.monotonic() + KEEP_S
        self._note(after)
        self._log.info(
            Event.MODEL_SWITCHED, model=after.version, engine=after.engine.name,
            deed=serving.promotion.deed,
        )  # fmt: skip

    def _settle(
        self, current: Classifier, serving: ServingModel, loaded: Future[Classifier]
    ) -> None:
        self._loading = None
        error = loaded.exception()
        if error is None:
            self._switch(current, loaded.result(), serving)
            return
        ours = isinstance(error, ClassifierError)
        self._refuse(serving, str(error) if ours else f"Loading it failed: {type(error).__name__}.")
        # Should nothing take its place, it must not be tried again every second
        self._revision = serving.revision

    def _note(self, one: Classifier) -> None:
        engine, now = one.engine, self._clock()
        machine = {
            "digest": one.digest, "engine": engine.name, "machine": processor(),
            "openvino": version("openvino"), "also": " ".join(self._chosen.also_classify),
        }  # fmt: skip
        with self._database.write():
            self._workers.loaded(Loaded(self._owner, one.version, engine.name, engine.reason, now))
            self._audit.append(self._owner, Action.MODEL_LOADED, one.version, machine, at=now)

    def _refuse(self, serving: ServingModel, reason: str) -> bool:
        self._log.error(Event.MODEL_REFUSED, model=serving.model.version, reason=reason)
        told = {"reason": reason}
        self._bell.ring(AlarmKind.CANDIDATE, serving.model.version, told, self._clock())
        return self._ledger.refuse(serving.model.digest, self._owner, reason, self._clock())

    def _register(self) -> None:
        """Take the bundle of the settings in; where it cannot be, what served may go on."""
        now = self._clock()
        try:
            shipped = self._chosen.bundle == "default"
            named = configured(self._chosen.bundle)
            found = self._shelf.take(named, self._ledger, now, link=shipped)
            self._ledger.configure(found.digest, now)
        except (ClassifierError, StorageError, OSError) as error:
            if self._ledger.serving() is None:
                if isinstance(error, OSError):
                    raise BundleRefused(f"It cannot be copied in: {error.strerror}.") from error
                raise
            self._log.error(Event.MODEL_REFUSED, model=self._chosen.bundle, reason=str(error))

    def _load(self, serving: ServingModel) -> Classifier:
        """Load and try a bundle. Raises ClassifierError."""
        classifier = open_classifier(self._chosen, self._shelf, serving.model, serving.thresholds)
        classifier.doubts = self._doubts(serving)
        return classifier

    def _doubts(self, serving: ServingModel) -> dict[str, Doubt]:
        """What becomes of the findings whose probabilities do not hold."""
        return dict.fromkeys(serving.doubted, Doubt.STOPPED if self._stops else Doubt.MARKED)


def open_classifier(
    chosen: ClassifierSettings, shelf: Shelf, found: Model, thresholds: Mapping[str, float]
) -> Classifier:
    """Load a registered bundle and try it. Raises ClassifierError."""
    bundle = shelf.load(found.folder, found.digest)
    classifier = Classifier(bundle, chosen.engine, chosen.also_classify, thresholds)
    _try(classifier)
    return classifier


def _try(classifier: Classifier) -> None:
    """Run the network once. Raises BundleRefused where it does not give what it must."""
    side, wanted = classifier.bundle.manifest.architecture.side, len(classifier.thresholds)
    try:
        outputs = classifier.engine.run(np.zeros((1, side, side), dtype=np.uint8))
        sound = outputs.logits.shape == (1, wanted) and outputs.maps.shape[:2] == (1, wanted)
    except (RuntimeError, ValueError, KeyError, IndexError) as error:
        raise BundleRefused(f"Its network does not run ({type(error).__name__}).") from error
    if not sound or not np.isfinite(outputs.logits).all():
        raise BundleRefused("Its network does not answer each finding.")

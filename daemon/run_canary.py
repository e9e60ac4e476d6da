"""A run that sends the canary: over the network to our own port, through queue, worker, report and
outbox to the PACS, which is asked for it; and its score is compared with what is known.

What a bundle is known to say is computed once, by its first canary, with the engine that is
compiled from its weights (f32) and not with the one that serves.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

from pydicom.dataset import Dataset

from daemon.canary import SHA256, draw, fly, hatch
from daemon.errors import CanaryLost, PeerUnreachable
from daemon.find import CannotAsk, objects_of
from daemon.run import Outcome, Task
from daemon.settings import PacsSettings, Settings
from storage.bundles import ServingModel
from storage.canaries import Canaries, Canary, Delivered, Way
from storage.errors import Refused
from storage.ledger import Ledger
from storage.records import DeliveryState, Finding, JobState

TOLERANCE = 0.02
"""Of a probability. Over the twelve demo radiographs int8 differs from f32 by 0.008 at most."""

LOOK_EVERY_S = 0.2
ASK_EVERY_S = 2.0
STAGES = ("send", "classify", "report", "deliver", "ask the PACS", "compare")
_THERE = (DeliveryState.STORED, DeliveryState.COMMITTING, DeliveryState.COMMITTED)


def perform(task: Task) -> Outcome:
    """Send a canary and follow it to its end.

    Raises CanaryLost, which says how far it came, and Refused where there is no PACS.
    """
    settings, canaries = task.settings, Canaries(task.database)
    if not settings.canary_pacs:
        raise Refused("There is no PACS that the canary's report could go to.")
    served = [_serving(task)]
    one = hatch(task.clock())
    image = draw(one)
    _tell(task, 0)
    canaries.note(task.claim.id, one)
    fly(settings, image)
    deadline = time.monotonic() + settings.report.study_quiet_s + settings.canary.within_s
    way = _follow(task, canaries, one, deadline)
    _tell(task, 4)
    asked = {pacs.name: _held(settings, pacs, one, way, deadline) for pacs in settings.canary_pacs}
    took_s = round(task.clock() - one.sent_at, 2)
    _tell(task, 5)
    served.append(_serving(task))  # it may have been replaced meanwhile
    compared = _compare(task, canaries, image, way, served)
    _tell(task, 6)
    return Outcome({
        "study": one.study_instance_uid, "took_s": took_s, "bundle": way.bundle, "pacs": asked,
        "findings": compared,
    })  # fmt: skip


def _tell(task: Task, done: int) -> None:
    task.progress(STAGES[min(done, len(STAGES) - 1)], done, len(STAGES))


def _serving(task: Task) -> ServingModel:
    found = Ledger(task.database).serving()
    if found is None:
        raise CanaryLost("No bundle serves.")
    return found


def _follow(task: Task, canaries: Canaries, one: Canary, deadline: float) -> Way:
    """Wait until its report is with every PACS. Raises CanaryLost."""
    while True:
        way = canaries.way(one)
        if way.job is JobState.QUARANTINED:
            raise CanaryLost(f"It is in quarantine: {way.reason}.")
        if way.job is JobState.DONE and not way.findings:
            raise CanaryLost(f"It was not analysed: {way.reason}.")
        dead = [one for one in way.deliveries if one.state is DeliveryState.DEAD]
        if dead:
            raise CanaryLost(f"{dead[0].pacs} refused its report: {dead[0].error}.")
        names = {one.name for one in task.settings.canary_pacs}
        if names <= {one.pacs for one in way.deliveries if one.state in _THERE}:
            return way
        _tell(task, 1 + (way.job is JobState.DONE) + (way.report is not None))
        if time.monotonic() > deadline:
            raise CanaryLost(f"It did not come through in time: {_stuck(way)}.")
        time.sleep(LOOK_EVERY_S)


def _stuck(way: Way) -> str:
    if way.job is not JobState.DONE:
        return f"its image is {way.job or 'not in the queue'}; does a worker run?"
    if way.report is None:
        return "its report was not made"
    waits = [one for one in way.deliveries if one.state not in _THERE]
    return "; ".join(_waits(one) for one in waits) or "its report goes nowhere"


def _waits(one: Delivered) -> str:
    return f"its report waits for {one.pacs}" + (f" ({one.error})" if one.error else "")


def _held(settings: Settings, pacs: PacsSettings, one: Canary, way: Way, deadline: float) -> str:
    """Say how it is known that a PACS holds the report. Raises CanaryLost where it does not."""
    (sent,) = (each for each in way.deliveries if each.pacs == pacs.name)
    while True:
        try:
            if sent.sent_uid in objects_of(pacs, settings.dicom.ae_title, one.study_instance_uid):
                return "found by C-FIND"
            said = "does not find it"
        except CannotAsk:
            return (
                "committed to" if sent.state is DeliveryState.COMMITTED
                else "answered its C-STORE; it cannot be asked"
            )  # fmt: skip
        except PeerUnreachable as error:
            said = f"cannot be asked: {error}"
        if time.monotonic() > deadline:
            raise CanaryLost(f"{pacs.name} stored its report and {said}.")
        time.sleep(ASK_EVERY_S)


def _compare(
    task: Task, canaries: Canaries, image: Dataset, way: Way, served: Sequence[ServingModel]
) -> dict[str, Any]:
    """Return what was said and what is known of each finding. Raises CanaryLost."""
    serving = next((one for one in served if one.model.version == way.bundle), None)
    if serving is None:
        raise CanaryLost(f"It was judged by {way.bundle}, which does not serve.")
    known = canaries.known(serving.model.digest, SHA256)
    if not known:
        known = _computed(task, serving, image)
        canaries.learn(serving.model.digest, SHA256, known, task.clock())
    compared = {
        one.name: {"said": round(one.probability, 4), "known": round(known.get(one.name, -1.0), 4)}
        for one in way.findings
    }
    wrong = [
        f"{name} {one['said']:.3f}, known {one['known']:.3f}"
        for name, one in compared.items()
        if abs(one["said"] - one["known"]) > TOLERANCE
    ]
    missing = sorted(known.keys() - compared.keys())
    if wrong or missing:
        told = "; ".join([*wrong, *(f"{name} is missing" for name in missing)])
        raise CanaryLost(f"Its score is not the known one: {told}.")
    _check_thresholds(way.findings, [one for one in served if one.model == serving.model])
    return compared


def _check_thresholds(findings: Iterable[Finding], served: Sequence[ServingModel]) -> None:
    used = {one.name: one.threshold for one in findings}
    if all(dict(one.thresholds) != used for one in served):
        raise CanaryLost("It was judged by other thresholds than those in force.")


def _computed(task: Task, serving: ServingModel, image: Dataset) -> dict[str, float]:
    """What the bundle's weights say of the image, by an engine that does not serve."""
    from classifier.classify import Classifier
    from classifier.errors import NotEligible
    from daemon.shelf import Shelf
    from daemon.simulate import to_bytes

    bundle = Shelf(task.settings.storage.root).load(serving.model.folder, serving.model.digest)
    try:
        found = Classifier(bundle, "f32").classify(to_bytes(image))
    except NotEligible as error:
        raise CanaryLost(f"{serving.model.version} takes it for no chest: {error.text}") from error
    return {one.name: one.probability for one in found.findings}

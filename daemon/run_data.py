"""What runs that learn or measure have in common: what serves, the reviewed cases, pictures."""

from __future__ import annotations

from dataclasses import dataclass

from classifier.bundle import Bundle
from daemon.run import Task
from daemon.shelf import Shelf
from storage.bundles import ServingModel
from storage.errors import Refused
from storage.holdout import Holdouts
from storage.labelled import Labelled
from storage.ledger import Ledger
from storage.objects import ObjectStore
from training.local import LocalCases, local_cases


@dataclass(frozen=True, slots=True)
class Material:
    """The bundle that serves, and the local cases by its findings."""

    serving: ServingModel
    bundle: Bundle
    cases: LocalCases


def gather(task: Task) -> Material:
    """Load what serves, and sort the labelled images. Raises Refused where nothing serves."""
    serving = Ledger(task.database).serving()
    if serving is None:
        raise Refused("No bundle serves yet: start the service once.")
    root = task.settings.storage.root
    bundle = Shelf(root).load(serving.model.folder, serving.model.digest)
    holdouts = Holdouts(task.database)
    sampled = holdouts.sampled()  # what an acceptance test is made on is not learnt meanwhile
    images = [one for one in Labelled(task.database).images() if one.patient not in sampled]
    drawn = holdouts.draw((one.patient for one in images), task.clock())
    path = ObjectStore(root).path
    return Material(serving, bundle, local_cases(bundle, images, drawn, path, task.folder))

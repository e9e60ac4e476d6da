"""A run that measures what serves on reviewed images that no bundle has learnt from."""

from __future__ import annotations

from daemon.run import Outcome, Task
from daemon.run_data import gather
from storage.holdout import Holdouts
from training.card import write_results
from training.dataset import LabelledImages
from training.errors import TooFewCases
from training.evaluate import evaluate


def perform(task: Task) -> Outcome:
    """Measure, and leave pictures and the model card in the run's folder.

    Raises TooFewCases, and what `training.evaluate.evaluate` does.
    """
    material = gather(task)
    cases = material.cases
    trained = Holdouts(task.database).trained()
    kept = [
        case
        for part in (cases.held_out, cases.learning)
        for case in part.cases
        if case.patient not in trained
    ]
    if not kept:
        raise TooFewCases(f"No reviewed image can be used. There are {cases.counts}.")
    data = LabelledImages(cases.learning.folder, tuple(kept))
    found = evaluate(material.bundle, data, engine="f32", progress=task.progress)
    written = write_results(task.folder, material.bundle, found)
    learnt = len(cases.learning.cases) + len(cases.held_out.cases) - len(kept)
    return Outcome(
        {
            "bundle": material.bundle.version,
            "cases": cases.counts.as_json(),
            "left_out_as_learnt_from": learnt,
            "figures": found.as_json(),
            "pictures": [file.name for file in written if file.suffix == ".png"],
        }
    )

"""Trains a small bundle in a process of its own, to be killed or to meet a full disk."""

from __future__ import annotations

import resource
import sys
from dataclasses import replace
from pathlib import Path

from training.errors import TrainingError
from training.fit import Recipe
from training.train import ARCHITECTURE, Work, train

SMALL = replace(
    ARCHITECTURE, side=64, block6_filters=8, block7_filters=8, dense_units=16, members=2
)
RECIPE = Recipe(epochs=6, min_cases=1, batch=4, learning_rate=1e-2)


def main(data: str, out: str, largest_file: str) -> int:
    """`largest_file` in bytes, or 0 for no limit."""
    if int(largest_file):
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(largest_file), int(largest_file)))

    def say(line: str) -> None:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    try:
        train(Path(data), Path(out), architecture=SMALL, recipe=RECIPE, work=Work(say=say))
    except TrainingError as error:
        say(f"{type(error).__name__}: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

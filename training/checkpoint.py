"""What a fit has reached, on disk after each epoch, so that a kill costs one epoch at most."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from training.errors import CacheFailed

Arrays = Sequence[NDArray[np.generic]]


@dataclass(frozen=True, slots=True)
class Progressed:
    """A fit after an epoch.

    state: all variables of the model (random seeds too) and of the optimiser.
    best: weights of the best epoch so far, which `best_epoch` and `score` belong to.
    """

    epoch: int
    state: Arrays
    best_epoch: int
    score: float
    best: Arrays


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A file that holds the last finished epoch of the fit that `key` describes."""

    folder: Path
    key: str

    @property
    def path(self) -> Path:
        digest = hashlib.sha256(self.key.encode()).hexdigest()[:16]
        return self.folder / f"fit-{digest}.npz"

    def save(self, reached: Progressed) -> None:
        """All or nothing.

        Raises:
            CacheFailed: the disk does not take it.
        """
        arrays = {f"state{i:04}": array for i, array in enumerate(reached.state)}
        arrays |= {f"best{i:04}": array for i, array in enumerate(reached.best)}
        numbers = np.array([reached.epoch, reached.best_epoch, reached.score], dtype=np.float64)
        draft = self.path.with_suffix(".draft")
        try:
            with draft.open("wb") as file:
                np.savez(file, numbers=numbers, **arrays)  # type: ignore[arg-type]
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self.path)
        except OSError as error:
            raise CacheFailed(
                f"The training cannot be kept in {self.folder}: {error.strerror}."
            ) from error

    def load(self) -> Progressed | None:
        """None where there is none, or none that can be read."""
        try:
            with np.load(self.path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in sorted(file.files)}
        except (OSError, ValueError, BadZipFile):
            return None
        epoch, best_epoch, score = arrays["numbers"].tolist()
        state, best = (
            [array for name, array in arrays.items() if name.startswith(prefix)]
            for prefix in ("state", "best")
        )
        return Progressed(int(epoch), state, int(best_epoch), score, best)

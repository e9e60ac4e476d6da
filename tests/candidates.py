"""Simulated candidates for the gate, and how often they pass: `python -m tests.candidates`.

Binormal scores: with a finding they are normal with mean sqrt(2) * probit(AUC), without it with
mean 0, both with variance 1. Within an image, the scores of serving bundle and candidate correlate
with `between`, those of two findings with `across`, and those of two images of one patient with
`within`; all given the labels. Both bundles are calibrated and decide by Youden's threshold.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import norm

from training.figures import Scored
from training.gate import STANDARD, Rule, judge
from training.subgroups import Groups

NAMES = ("pneumonia", "infiltration", "atelectasis", "pleural_effusion", "nodule_or_mass")


RUNS = 200


@dataclass(frozen=True)
class World:
    """What is assumed. `prevalence` and `aucs` are of each finding; 400 images by default of 300
    patients, of whom every third has two."""

    images: int = 400
    patients: int = 300
    prevalence: tuple[float, ...] = (0.30, 0.18, 0.11, 0.10, 0.11)
    aucs: tuple[float, ...] = (0.75, 0.75, 0.70, 0.80, 0.71)
    between: float = 0.9
    across: float = 0.3
    within: float = 0.3
    grouped: bool = True


def candidates(
    world: World, changes: tuple[float, ...], random: np.random.Generator
) -> tuple[Scored, Scored, Groups]:
    """Serving bundle, candidate with true AUCs changed by `changes`, and the groups."""
    count, findings = world.images, len(world.prevalence)
    owners = np.arange(count) % world.patients
    prevalence = np.array(world.prevalence)
    truth = (random.random((count, findings)) < prevalence).astype(np.uint8)

    def noise() -> np.ndarray:
        """(images, findings), variance 1."""

        def shared(*shape: int) -> np.ndarray:
            return np.sqrt(world.across) * random.normal(size=(shape[0], 1)) + np.sqrt(
                1 - world.across
            ) * random.normal(size=shape)

        of_patient = shared(world.patients, findings)[owners]
        return np.sqrt(world.within) * of_patient + np.sqrt(1 - world.within) * shared(
            count, findings
        )

    common = noise()
    found = []
    for aucs in (np.array(world.aucs), np.array(world.aucs) + np.array(changes)):
        mean = np.sqrt(2) * norm.ppf(aucs)
        mix = np.sqrt(world.between) * common + np.sqrt(1 - world.between) * noise()
        scores = mean * truth + mix
        odds = np.log(prevalence / (1 - prevalence)) + mean * scores - mean**2 / 2
        limits = 1 / (1 + np.exp(-np.log(prevalence / (1 - prevalence))))
        found.append(
            Scored(NAMES[:findings], scores, 1 / (1 + np.exp(-odds)), limits, truth,
                   owners.astype(str))
        )  # fmt: skip
    traits = {
        column: random.integers(kinds, size=world.patients)[owners]
        for column, kinds in {"view": 2, "sex": 2, "age": 3, "station": 4}.items()
    }
    groups = {
        column: {f"{value}": np.flatnonzero(codes == value) for value in np.unique(codes)}
        for column, codes in traits.items()
    }
    return found[0], found[1], groups if world.grouped else {}


def passing(
    world: World, changes: tuple[float, ...], runs: int, seed: int = 0, rule: Rule = STANDARD
) -> float:
    """Share of simulated candidates that pass."""
    random = np.random.default_rng(seed)
    passed = [judge(*candidates(world, changes, random), rule).passed for _ in range(runs)]
    return float(np.mean(passed))


def everywhere(change: float, findings: int = 5) -> tuple[float, ...]:
    return (change,) * findings


def main() -> None:
    """The table of docs/decisions/0012-gate.md."""
    plain = World(grouped=False)
    worlds = {
        "as assumed, with subgroups": World(),
        "as assumed, no subgroups": plain,
        "correlation 0.8": replace(plain, between=0.8),
        "correlation 0.95": replace(plain, between=0.95),
        "prevalence 0.05 of each": replace(plain, prevalence=(0.05,) * 5),
        "prevalence 0.3 of each": replace(plain, prevalence=(0.3,) * 5),
        "one finding, prevalence 0.3": replace(plain, prevalence=(0.3,), aucs=(0.75,)),
        "one finding, prevalence 0.5": replace(plain, prevalence=(0.5,), aucs=(0.75,)),
        "200 images of 150 patients": replace(plain, images=200, patients=150),
        "800 images of 600 patients": replace(plain, images=800, patients=600),
    }
    print(
        f"| {RUNS} runs | all worse by 0.03 | one worse | equal | one worse, rest better | better |"
    )
    for name, world in worlds.items():
        n = len(world.prevalence) - 1
        kinds = (
            everywhere(-0.03, n + 1), (-0.03, *everywhere(0.0, n)), everywhere(0.0, n + 1),
            (-0.03, *everywhere(0.03, n)), everywhere(0.03, n + 1),
        )  # fmt: skip
        shares = [passing(world, kind, RUNS) for kind in kinds]
        print(f"| {name} | " + " | ".join(f"{share:.1%}" for share in shares) + " |", flush=True)


if __name__ == "__main__":
    main()

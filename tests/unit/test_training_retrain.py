"""A replay keeps what was known, at 3 MB; the readout is taken out and put back unchanged."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from classifier.bundle import Replay as Stated
from classifier.bundle import load_bundle
from classifier.errors import BundleRefused
from classifier.network import Architecture
from training.errors import ReadoutMissing, ReplayMissing
from training.extension import Linear
from training.fit import macro_auc
from training.readout import readout, with_readout
from training.replay import (
    MAX_BYTES,
    Replay,
    compressed,
    fitting,
    pack,
    read_replay,
    stated,
    unpack,
)
from training.retrain import Cases, refit, unseen_logits

SMALL = Architecture(
    targets=("a", "b"), skips=("block1_pool", "block2_pool"), dense_units=8, members=2,
    block6_filters=4, block7_filters=4,
)  # fmt: skip
FEATURES = SMALL.skip_filters


def images(count: int, seed: int, weight: np.ndarray, shift: float = 0.0) -> Cases:
    """Images whose findings depend on their averages by `weight` (features, findings)."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(count, FEATURES)) * np.exp(-np.arange(FEATURES) / 40)
    x[:, 0] += shift
    odds = 2 * x @ weight
    truth = (random.random(odds.shape) < 1 / (1 + np.exp(-odds))).astype(np.uint8)
    zeros = np.zeros((count, SMALL.members, 2), dtype=np.float32)
    return Cases(x.astype(np.float32), zeros, truth, np.arange(count) % SMALL.members)


def worlds() -> tuple[np.ndarray, np.ndarray]:
    """What a finding looks like in the first hospital, and in another: alike, not the same."""
    random = np.random.default_rng(0)
    one = random.normal(size=(FEATURES, 2)) / 4
    return one, 0.8 * one + 0.5 * random.normal(size=(FEATURES, 2)) / 4


def nothing() -> Linear:
    return np.zeros((FEATURES, 2), dtype=np.float32), np.zeros(2, dtype=np.float32)


def as_replay(cases: Cases, components: int = 96) -> Replay:
    made = compressed(
        SMALL, cases.averages.astype(np.float16), cases.blocks, cases.targets, cases.folds,
        components,
    )  # fmt: skip
    return unpack(pack(made), SMALL, stated(made, "made up"))


def test_with_a_replay_the_old_is_kept_and_the_new_is_learnt() -> None:
    one, two = worlds()
    first, local = images(1200, 1, one), images(300, 2, two, shift=0.5)
    old_holdout, new_holdout = images(1500, 3, one), images(1500, 4, two, shift=0.5)
    kept = as_replay(first)
    replayed = Cases(
        (kept.averages - kept.shift) / kept.gain, kept.blocks, kept.targets, kept.folds
    )

    def auc(readouts: list[Linear], cases: Cases) -> float:
        return macro_auc(cases.targets, unseen_logits(cases, readouts))

    serving = [refit(nothing(), member, first, None) for member in range(2)]
    alone = [refit(old, member, local, None) for member, old in enumerate(serving)]
    beside = [refit(old, member, local, replayed) for member, old in enumerate(serving)]
    exact = [refit(old, member, local, first) for member, old in enumerate(serving)]
    assert auc(alone, old_holdout) < auc(serving, old_holdout) - 0.05  # forgotten
    assert auc(beside, old_holdout) > auc(serving, old_holdout) - 0.015
    assert auc(beside, new_holdout) > auc(serving, new_holdout) + 0.01
    assert auc(beside, new_holdout) > auc(alone, new_holdout)
    assert abs(auc(beside, old_holdout) - auc(exact, old_holdout)) < 0.01


def test_the_same_cases_give_the_same_readout_wherever_the_search_begins() -> None:
    one, two = worlds()
    local = images(300, 2, two)
    far = (one.astype(np.float32), np.ones(2, dtype=np.float32))
    for a, b in zip(refit(nothing(), 0, local, None), refit(far, 0, local, None), strict=True):
        assert np.abs(a - b).max() < 0.02 * np.abs(a).max() + 0.01


def test_the_default_bundles_replay_would_fit_and_its_readout_goes_back_unchanged() -> None:
    bundle = load_bundle()
    a, weights = bundle.manifest.architecture, bundle.weights()
    random = np.random.default_rng(0)
    averages = random.random((1394, a.skip_filters)).astype(np.float16)
    blocks = np.zeros((1394, a.members, len(a.targets)), dtype=np.float32)
    bits = (random.random((1394, len(a.targets))) < 0.2).astype(np.uint8)
    made = compressed(a, averages, blocks, bits, np.arange(1394) % a.members, components=64)
    norm = made.norm
    for member in range(a.members):
        linear = readout(a, weights, member, norm)
        for name, array in with_readout(a, weights, member, norm, linear).items():
            assert np.abs(array - weights[name]).max() < 1e-3
    assert len(pack(made)) < MAX_BYTES


@pytest.mark.parametrize("count", [1394, 6000, 12_000])
def test_a_replay_stays_below_its_limit(count: int) -> None:
    """Of the default network's width; the decomposition itself is left out."""
    a = load_bundle().manifest.architecture
    components = fitting((count, a.skip_filters), a.members * len(a.targets))
    rows, bits = np.zeros((count, components), dtype=np.float32), np.zeros((count, 5), np.uint8)
    one = np.ones(a.skip_filters, dtype=np.float32)
    made = Replay(
        one, one, np.zeros((a.skip_filters, components), dtype=np.float32), rows,
        np.zeros((count, 5, 5), dtype=np.float32), bits, np.zeros(count, dtype=np.int64), 1.0,
    )  # fmt: skip
    assert len(pack(made)) <= MAX_BYTES
    assert components >= 64


def test_what_does_not_fit_is_said() -> None:
    with pytest.raises(ReplayMissing, match="60000 images does not fit"):
        fitting((60_000, 3584), 25)


def test_a_bundle_without_a_replay_says_how_it_gets_one() -> None:
    bundle = load_bundle()
    without = replace(bundle, manifest=bundle.manifest.model_copy(update={"replay": None}))
    with pytest.raises(ReplayMissing, match="hilum replay --bundle"):
        read_replay(without)


def test_a_network_without_a_readout_is_refused() -> None:
    bundle = load_bundle()
    a, weights = bundle.manifest.architecture, dict(bundle.weights())
    made = as_replay(images(60, 1, worlds()[0]))
    norm = replace(made.norm, gain=np.ones(a.skip_filters, dtype=np.float32),
                   shift=np.zeros(a.skip_filters, dtype=np.float32))  # fmt: skip
    weights["0.findings.kernel"] = weights["0.findings.kernel"] + 1
    with pytest.raises(ReadoutMissing):
        readout(a, weights, 0, norm)
    readout(a, weights, 1, norm)


@pytest.mark.parametrize("fault", ["torn", "shape", "nan", "fold"])
def test_a_damaged_replay_is_refused(fault: str) -> None:
    made = compressed(
        SMALL, np.random.default_rng(0).random((80, FEATURES)).astype(np.float16),
        np.zeros((80, 2, 2), dtype=np.float32), np.zeros((80, 2), np.uint8), np.arange(80) % 2, 64,
    )  # fmt: skip
    entry = stated(made, "made up")
    if fault == "shape":
        entry = Stated(entry.file, entry.images + 1, entry.components, entry.kept, entry.origin)
    if fault == "nan":
        made = replace(made, gain=made.gain * np.nan)
    if fault == "fold":
        made = replace(made, folds=made.folds + 2)
    data = pack(made)
    with pytest.raises(BundleRefused):
        unpack(data[:-9] if fault == "torn" else data, SMALL, entry)

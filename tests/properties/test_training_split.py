"""Folds by patient: nobody on both sides, nobody left out, every finding dealt out evenly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from training.dataset import patient_folds
from training.errors import TooFewCases


@st.composite
def cohorts(draw: st.DrawFn) -> tuple[NDArray[np.str_], NDArray[np.uint8], int, int]:
    """Patients of images, findings of images, a number of folds and a seed."""
    owners = draw(st.lists(st.integers(0, 30), min_size=2, max_size=120))
    patients = np.array([str(owner) for owner in owners])
    random = np.random.default_rng(draw(st.integers(0, 99)))
    findings = (random.random((len(patients), 3)) < 0.3).astype(np.uint8)
    folds = draw(st.integers(2, max(2, min(6, len(set(owners))))))
    return patients, findings, folds, draw(st.integers(0, 2**31))


@given(cohorts())
def test_folds_part_patients_and_cover_every_image_once(
    cohort: tuple[NDArray[np.str_], NDArray[np.uint8], int, int],
) -> None:
    patients, findings, count, seed = cohort
    if len(set(patients)) < count:
        with pytest.raises(TooFewCases, match="folds need as many patients"):
            patient_folds(patients, count, seed, findings)
        return
    pairs = patient_folds(patients, count, seed, findings)
    for larger, smaller in pairs:
        assert len(smaller) > 0
        assert not set(patients[larger]) & set(patients[smaller])
        assert sorted([*larger, *smaller]) == list(range(len(patients)))
    assert sorted(i for _, smaller in pairs for i in smaller) == list(range(len(patients)))
    sizes = [len(set(patients[smaller])) for _, smaller in pairs]
    assert max(sizes) - min(sizes) <= 1


@given(seed=st.integers(0, 999), count=st.integers(2, 8))
def test_each_finding_is_dealt_out_evenly(seed: int, count: int) -> None:
    """With one image a patient and one finding an image, no fold has two more than another."""
    random = np.random.default_rng(seed)
    findings = np.eye(4, dtype=np.uint8)[random.integers(0, 4, 100)]
    pairs = patient_folds(np.arange(100).astype(str), count, seed, findings)
    held = np.array([findings[smaller].sum(axis=0) for _, smaller in pairs])
    assert (held.max(axis=0) - held.min(axis=0)).max() <= 1


@given(seed=st.integers(0, 999))
def test_the_same_seed_gives_the_same_folds(seed: int) -> None:
    patients = np.arange(40).astype(str)
    one, two = (patient_folds(patients, 4, seed) for _ in range(2))
    assert all(np.array_equal(a[1], b[1]) for a, b in zip(one, two, strict=True))
    other = patient_folds(patients, 4, seed + 1)
    assert any(not np.array_equal(a[1], b[1]) for a, b in zip(one, other, strict=True))

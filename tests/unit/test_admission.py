"""Admission: which callers are let in, and how the others are told."""

from __future__ import annotations

import pytest

from daemon import admission
from daemon.settings import DicomSettings


def judge(
    callers: list[str],
    calling: str,
    address: str,
    called: str = "HILUM",
    open_now: int = 1,
    open_there: int = 1,
) -> admission.Rejection | None:
    settings = DicomSettings(allowed_callers=tuple(callers), max_associations=2)
    caller = admission.Caller(calling.strip(), called, address)
    return admission.judge(settings, caller, open_now=open_now, open_there=open_there)


@pytest.mark.parametrize(
    ("callers", "calling", "address"),
    [
        (["*@*"], "ANY", "10.9.8.7"),
        (["CR1@10.0.0.5"], "CR1", "10.0.0.5"),
        (["CR1@10.0.0.5"], "CR1 ", "::ffff:10.0.0.5"),
        (["CR1@10.0.0.0/24"], "CR1", "10.0.0.77"),
        (["*@10.0.0.5"], "WHO", "10.0.0.5"),
        (["CR1@*"], "CR1", "fd00::1"),
        (["A@*", "B@10.0.0.1"], "B", "10.0.0.1"),
    ],
)
def test_an_allowed_caller_is_let_in(callers: list[str], calling: str, address: str) -> None:
    assert judge(callers, calling, address) is None


@pytest.mark.parametrize(
    ("callers", "calling", "address"),
    [
        (["CR1@10.0.0.5"], "CR2", "10.0.0.5"),
        (["CR1@10.0.0.5"], "CR1", "10.0.0.6"),
        (["CR1@10.0.0.0/24"], "CR1", "10.0.1.1"),
        (["CR1@10.0.0.5"], "cr1", "10.0.0.5"),
        (["CR1@10.0.0.5"], "CR1", "fd00::1"),
        ([], "CR1", "10.0.0.5"),
    ],
)
def test_another_caller_is_rejected(callers: list[str], calling: str, address: str) -> None:
    assert judge(callers, calling, address) is admission.CALLING_AE_UNKNOWN


def test_another_called_title_is_rejected() -> None:
    assert judge(["*@*"], "CR1", "10.0.0.5", called="OTHER") is admission.CALLED_AE_UNKNOWN


def test_the_limit_is_a_transient_rejection() -> None:
    rejection = judge(["*@*"], "CR1", "10.0.0.5", open_now=3)
    assert rejection is admission.LIMIT_EXCEEDED
    assert (rejection.result, rejection.source, rejection.diagnostic) == (2, 3, 2)

"""What a PACS's answer means, and how long the outbox waits (dicom.md's rules of sending)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.courier import Answer, delay_s, meaning


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (0x0000, Answer.STORED),
        (0xB000, Answer.STORED),
        (0xB007, Answer.STORED),
        (None, Answer.LATER),
        (0xA700, Answer.LATER),
        (0xA7FF, Answer.LATER),
        (0x0110, Answer.LATER),
        (0xA900, Answer.DEAD),
        (0xA9FF, Answer.DEAD),
        (0xC000, Answer.DEAD),
        (0xCFFF, Answer.DEAD),
        (0x0122, Answer.DEAD),
    ],
)
def test_each_status_has_its_meaning(status: int | None, answer: Answer) -> None:
    assert meaning(status) is answer


@given(st.integers(0, 0xFFFF))
def test_only_success_and_warnings_count_as_stored(status: int) -> None:
    assert (meaning(status) is Answer.STORED) == (status == 0 or 0xB000 <= status <= 0xBFFF)


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_the_delay_stays_between_half_a_second_and_a_quarter_hour(attempts: int, chance: float):
    assert 0.5 <= delay_s(attempts, lambda: chance) <= 900.0


def test_the_delay_doubles() -> None:
    assert [delay_s(n, lambda: 1.0) for n in (1, 2, 3, 4)] == [1.0, 2.0, 4.0, 8.0]

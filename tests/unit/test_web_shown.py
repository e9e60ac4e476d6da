"""A study in words: names of every script, ages, times and chances."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.web.shown import age_sex, duration, names, percent, studied
from storage.headers import StudyHeader


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("Doe^Jane", ("Doe, Jane", "")),
        ("Doe^Jane^Ann^Dr.^MD", ("Doe, Jane Ann", "")),
        ("Doe", ("Doe", "")),
        ("^Jane", ("Jane", "")),
        ("Wang^XiaoDong=王^小東", ("Wang, XiaoDong", "王小東")),
        ("=王^小東", ("王小東", "")),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", ("Yamada, Tarou", "山田太郎")),
        ("Иванов^Иван", ("Иванов, Иван", "")),
        ("قباني^لنزار", ("قباني, لنزار", "")),
        ("", ("", "")),
        ("^^^^==", ("", "")),
    ],
)
def test_names(value: str, expected: tuple[str, str]) -> None:
    assert names(value) == expected


@pytest.mark.parametrize(
    ("stated", "born", "at", "expected"),
    [
        ("045Y", "", "", "45 y"),
        ("003M", "", "", "3 m"),
        ("", "19700402", "20250301", "54 y"),
        ("", "19700301", "20250301", "55 y"),
        ("", "20240110", "20250301", "13 m"),
        ("", "20250220", "20250301", "9 d"),
        ("", "20250302", "20250301", ""),
        ("", "19700402", "", ""),
        ("ABCD", "", "", ""),
    ],
)
def test_ages(stated: str, born: str, at: str, expected: str) -> None:
    header = StudyHeader(patient_age=stated, birth_date=born, study_date=at)
    assert age_sex(header) == expected


def test_sex_follows_the_age() -> None:
    assert age_sex(StudyHeader(patient_age="045Y", patient_sex="F")) == "45 y F"
    assert age_sex(StudyHeader(patient_sex="O")) == "O"


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(-5, "0 min"), (59, "0 min"), (3599, "59 min"), (3660, "1 h 01 min"), (90000, "1 d 1 h")],
)
def test_durations(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected


@given(st.floats(0, 1))
def test_a_chance_is_never_a_certainty(probability: float) -> None:
    assert percent(probability) not in ("0 %", "100 %")


@pytest.mark.parametrize(
    ("day", "time", "expected"),
    [
        ("20250301", "101500.25", "2025-03-01 10:15"),
        ("20250301", "10", "2025-03-01"),
        ("20250301", "", "2025-03-01"),
        ("", "1015", ""),
    ],
)
def test_when_it_was_made(day: str, time: str, expected: str) -> None:
    assert studied(StudyHeader(study_date=day, study_time=time)) == expected

"""Alarms: one stands for all that is raised of a kind and a subject, until it is over."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from storage.alarm_records import AlarmKind, AlarmState
from storage.alarms import Alarms
from storage.audit import Audit, AuditQuery
from storage.errors import NotFound
from tests.storing import open_storage

DRIFT = AlarmKind.INPUT_DRIFT


def open_alarms(folder: Path) -> Alarms:
    return Alarms(open_storage(folder).database)


def test_what_lasts_is_one_alarm_that_counts(tmp_path: Path) -> None:
    alarms = open_alarms(tmp_path)
    first = alarms.raise_(DRIFT, "CR1 brightness", {"shift": 1.5}, 10, station="CR1")
    again = alarms.raise_(DRIFT, "CR1 brightness", {"shift": 2.5}, 20, station="CR1")
    other = alarms.raise_(AlarmKind.SCORE_DRIFT, "CR1 brightness", {}, 15)

    assert (first.is_new, first.station, first.state) == (True, "CR1", AlarmState.OPEN)
    assert (again.id, again.count, again.is_new) == (first.id, 2, False)
    assert (again.opened_at, again.last_seen_at, again.detail) == (10, 20, {"shift": 2.5})
    assert other.id != first.id
    assert [one.id for one in alarms.open()] == [first.id, other.id]
    assert alarms.waiting() == 2


def test_what_is_over_is_closed_and_opens_anew(tmp_path: Path) -> None:
    alarms = open_alarms(tmp_path)
    first = alarms.raise_(DRIFT, "CR1", {}, 10)
    closed = alarms.clear(DRIFT, "CR1", 20)
    assert closed is not None
    assert (closed.state, closed.closed_at, closed.closed_by) == (AlarmState.CLOSED, 20, "service")
    assert alarms.clear(DRIFT, "CR1", 21) is None
    assert alarms.open() == ()

    anew = alarms.raise_(DRIFT, "CR1", {}, 30)
    assert anew.id != first.id
    assert anew.is_new
    assert [one.id for one in alarms.recent()] == [anew.id, first.id]


def test_a_person_acknowledges_or_closes_by_name(tmp_path: Path) -> None:
    storage = open_storage(tmp_path)
    alarms = Alarms(storage.database)
    one = alarms.raise_(DRIFT, "CR1", {}, 10)
    known = alarms.acknowledge(one.id, "ada", 20)
    assert (known.state, known.acknowledged_by) == (AlarmState.ACKNOWLEDGED, "ada")
    assert alarms.acknowledge(one.id, "bob", 21).acknowledged_by == "ada"
    assert alarms.waiting() == 0
    assert alarms.raise_(DRIFT, "CR1", {}, 25).state is AlarmState.ACKNOWLEDGED

    closed = alarms.close(one.id, "ada", "the detector was changed", 30)
    assert (closed.closed_by, closed.closed_because) == ("ada", "the detector was changed")
    for act in (alarms.acknowledge, lambda *of: alarms.close(of[0], of[1], "", of[2])):
        with pytest.raises(NotFound, match="no open alarm"):
            act(one.id, "ada", 40)
    trail = Audit(storage.database).search(AuditQuery(subject="input_drift CR1"), 10)
    assert [(row.actor, row.action) for row in trail] == [
        ("ada", "alarm.closed"), ("ada", "alarm.acknowledged"),
    ]  # fmt: skip


def test_many_at_once_raise_one(tmp_path: Path) -> None:
    alarms = open_alarms(tmp_path)
    threads = [
        threading.Thread(target=alarms.raise_, args=(DRIFT, "CR1", {}, at)) for at in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (one,) = alarms.open()
    assert one.count == 8

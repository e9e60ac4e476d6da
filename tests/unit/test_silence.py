"""The watchman over stored images: whom it learns, when it cries, and what it is deaf to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import insert, select

from daemon.silence import Watchman
from storage.alarm_records import Alarm
from storage.alarms import Alarms
from storage.arrivals import HOUR, ArrivalBook, floor_hour
from storage.headers import Headers, ImageHeader, StudyHeader
from storage.schema import arrival_hour, watched_hour
from tests.storing import Storage, analysed, arrival, open_storage
from tests.unit.test_storage_plans import plans

MONDAY = 1_799_625_600.0  # 2027-01-11 00:00 UTC
WEEKS = 5
NINE = MONDAY + WEEKS * 168 * HOUR + 9 * HOUR


class Ward:
    """A hospital on a clock of its own: a busy station CR1 that is known for five weeks."""

    def __init__(self, root: Path) -> None:
        self.storage: Storage = open_storage(root)
        self.now = NINE - 60
        self._number = 0
        self.watchman = Watchman(self.storage.database, lambda: self.now, "UTC")
        first = floor_hour(MONDAY)
        hours = [first + hour for hour in range(WEEKS * 168 + 9)]
        busy = [hour for hour in hours if 8 <= hour % 24 < 18 and (hour - first) % 168 < 120]
        with self.storage.database.write() as connection:
            connection.execute(
                insert(watched_hour), [{"hour": hour, "seconds": HOUR} for hour in hours]
            )
            connection.execute(insert(arrival_hour), [
                {"hour": hour, "station": "CR1", "images": 8, "last_at": hour * HOUR + 3000}
                for hour in busy
            ])  # fmt: skip

    def sends(self, station: str = "CR1", *, read: bool = True) -> None:
        self._number += 1
        uid = f"1.2.{self._number}"
        self.storage.queue.accept(arrival(uid, received_at=self.now))
        if read:
            self.reads(station)

    def reads(self, station: str = "CR1") -> None:
        job = self.storage.queue.claim("w1", 60, self.now)
        assert job is not None
        headers = Headers(StudyHeader(station=station), ImageHeader())
        self.storage.queue.finish(job, analysed(), f"9.{job.id}", 0, self.now, headers)

    def wait(self, hours: float, *, every: float = 240.0) -> None:
        until = self.now + hours * HOUR
        while self.now < until:
            self.now += every
            self.watchman.look()

    def alarms(self) -> tuple[Alarm, ...]:
        return Alarms(self.storage.database).open()


@pytest.fixture
def ward(tmp_path: Path) -> Ward:
    made = Ward(tmp_path)
    made.watchman.look()
    made.now = NINE
    made.sends()
    made.watchman.look()
    return made


def test_silence_in_the_day_is_an_alarm_that_ends_with_the_next_image(ward: Ward) -> None:
    ward.wait(0.5)
    assert not ward.alarms()
    ward.wait(2.5)
    (found,) = ward.alarms()
    assert (found.kind, found.subject, found.station) == ("silence", "CR1", "CR1")
    assert found.detail["last_at"] == NINE
    assert found.detail["expected"] >= 5
    assert found.opened_at < NINE + 2.5 * HOUR
    ward.sends()
    ward.wait(0.1)
    assert not ward.alarms()
    (closed,) = Alarms(ward.storage.database).recent()
    assert closed.closed_because == "images come again"


def test_a_friday_evening_a_night_and_a_saturday_are_none(ward: Ward) -> None:
    friday = NINE + (4 * 24 + 8.9) * HOUR
    ward.now = friday - 60
    ward.watchman.look()
    ward.now = friday
    ward.sends()
    ward.wait(22, every=300)
    assert not ward.alarms()


def test_a_service_that_was_down_and_a_clock_that_jumps_raise_none(ward: Ward) -> None:
    ward.now += 5 * HOUR  # down, or the clock moved
    ward.watchman.look()
    ward.wait(0.5)
    assert not ward.alarms()
    ward.now += 400 * 24 * HOUR
    ward.watchman.look()
    ward.now = NINE + 1800
    ward.watchman.look()
    assert not ward.alarms()
    ward.wait(3)
    assert ward.alarms(), "and it hears again"


def test_images_that_wait_to_be_read_are_not_missed(ward: Ward) -> None:
    ward.now += 60
    ward.sends(read=False)
    ward.wait(3)
    assert not ward.alarms()
    ward.reads("DX9")
    ward.wait(0.1)
    (found,) = ward.alarms()
    assert found.subject == "CR1", "it was another station's"


def test_a_new_station_is_learnt_first_and_one_that_is_gone_is_let_go(ward: Ward) -> None:
    ward.sends("NEW")
    ward.wait(3)
    assert [one.subject for one in ward.alarms()] == ["CR1"]
    ward.now += 28 * 24 * HOUR
    ward.watchman.look()
    assert not ward.alarms()


def test_an_image_is_counted_once_however_often_it_is_looked_at(ward: Ward) -> None:
    for _ in range(3):
        ward.now += 30
        ward.sends("NEW")
        ward.watchman.look()
    with ward.storage.database.read() as connection:
        query = select(arrival_hour.c.images).where(arrival_hour.c.station == "NEW")
        assert connection.execute(query).scalars().all() == [3]


def test_a_header_without_a_station_goes_by_who_called(ward: Ward) -> None:
    job = ward.storage.queue
    job.accept(replace(arrival("1.77", received_at=ward.now), calling_ae="ROUTER"))
    ward.reads("")
    ward.now += 30
    ward.watchman.look()
    assert "ROUTER" in {
        one.name for one in ArrivalBook(ward.storage.database).read(ward.now).stations
    }


def test_of_two_that_look_at_once_one_counts(ward: Ward) -> None:
    ward.now += 60
    ward.watchman.look()
    before = ArrivalBook(ward.storage.database).read(ward.now).watched
    ArrivalBook(ward.storage.database).look(ward.now)
    assert ArrivalBook(ward.storage.database).read(ward.now).watched == before


def test_what_is_looked_at_comes_from_indexes(ward: Ward) -> None:
    ward.now += HOUR
    found = plans(ward.storage, ward.watchman.look)
    scans = [step for plan in found for step in plan if step.startswith("SCAN")]
    # One row, and a few thousand in the order of their key
    assert set(scans) <= {"SCAN arrival_watch", "SCAN watched_hour"}, scans

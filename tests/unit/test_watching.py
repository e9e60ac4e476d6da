"""The watch: what stations send and what readers say becomes alarms, and alarms act."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from daemon.alarm_text import ADVICE, TITLES, says
from daemon.watched import overview
from storage.agreed import Agreed
from storage.alarm_records import AlarmKind
from storage.audit import Audit, AuditQuery
from storage.doubts import Doubts
from storage.errors import NotFound, Refused
from storage.watching import Watching
from tests.watching import FINDINGS, Ward, open_ward
from training.charts import normal_of


@pytest.fixture
def ward(tmp_path: Path) -> Ward:
    return open_ward(tmp_path)


def standing(ward: Ward, station: str = "CR1") -> dict[str, object]:
    (found,) = (
        one for one in overview(ward.storage.database)["stations"] if one["station"] == station
    )
    return dict(found)


def test_every_kind_of_alarm_has_a_title_and_says_what_to_do() -> None:
    assert set(TITLES) == set(ADVICE) == set(AlarmKind)


def test_a_bundle_without_reference_learns_a_station_from_its_first_images(ward: Ward) -> None:
    ward.send(199, shift=5)
    assert standing(ward)["against"] == "the bundle's reference"
    ward.send(1, shift=5)
    assert standing(ward)["against"] == "200 images of its own, by its own images"
    assert ward.open() == {}
    ward.send(300, shift=5)
    assert standing(ward)["against"] == "500 images of its own, by its own images"


def test_a_station_that_changes_is_one_alarm_and_the_others_stay_silent(ward: Ward) -> None:
    ward.send(200)
    ward.send(200, station="DX2")
    ward.send(20, shift=3)
    ward.send(20, station="DX2")
    (one,) = ward.alarms.open()
    assert (one.kind, one.subject, one.station) == ("input_drift", "CR1", "CR1")
    assert list(one.detail["measures"]) == ["brightness"]
    assert one.detail["measures"]["brightness"]["direction"] == "higher"
    assert "Brightness higher by" in says(one)
    assert standing(ward)["drifted"] == ["brightness"]
    assert standing(ward, "DX2")["drifted"] == []


def test_a_drift_is_over_after_two_hundred_images_within_the_limits(ward: Ward) -> None:
    ward.send(200)
    ward.send(20, shift=3)
    (one,) = ward.alarms.open()
    ward.send(199)
    assert ward.open()
    ward.send(15)
    assert ward.open() == {}
    (closed,) = ward.alarms.recent()
    assert (closed.id, closed.closed_by) == (one.id, "service")
    assert standing(ward)["drifted"] == []


def test_probabilities_that_shift_alarm_by_finding(ward: Ward) -> None:
    ward.send(200)
    ward.send(30, odds=3)
    assert set(ward.open()) == {f"score_drift CR1: {name}" for name in FINDINGS}


def test_images_that_their_pixels_refuse_alarm(ward: Ward) -> None:
    ward.send(200)
    ward.answer([None] * 10)
    ward.look()
    assert list(ward.open()["input_drift CR1"].detail["measures"]) == ["refused"]


def test_a_person_takes_new_images_for_the_reference(ward: Ward) -> None:
    ward.send(200)
    ward.send(50, shift=3)
    watching = Watching(ward.storage.database)
    with pytest.raises(Refused, match="at least 200 images of the station since its alarm"):
        watching.ask_acceptance(ward.digest, "CR1", "ada", ward.now)
    with pytest.raises(NotFound, match="XX9"):
        watching.ask_acceptance(ward.digest, "XX9", "ada", ward.now)
    ward.send(200, shift=3)
    assert watching.ask_acceptance(ward.digest, "CR1", "ada", ward.now) >= 200
    ward.look()
    assert ward.open() == {}
    assert str(standing(ward)["against"]).endswith("by ada")
    ward.send(100, shift=3)
    assert ward.open() == {}
    trail = Audit(ward.storage.database).search(AuditQuery(action="station.accepted"), 5)
    assert [(row.actor, row.subject) for row in trail] == [("ada", "CR1")]


def test_a_station_is_held_against_the_bundles_reference_from_its_first_image(ward: Ward) -> None:
    images = [{"brightness": float(value)} for value in ward.random.normal(100, 20, 1000)]
    normal = normal_of(images)
    stated = {"images": normal.images, "measures": dict(normal.quantiles)}
    ward.serve("2", json.dumps({"reference": stated}))
    ward.send(30, shift=2)
    assert ward.open()["input_drift CR1"].detail["against"] == "the bundle's reference"
    ward.send(300, shift=2)  # what differs from the first does not become its own reference
    assert standing(ward)["against"] == "the bundle's reference"


def test_another_bundle_keeps_what_is_known_of_the_images_and_learns_the_scores(ward: Ward) -> None:
    ward.send(200)
    ward.serve("2")
    ward.send(20, shift=3, odds=5)
    assert set(ward.open()) == {"input_drift CR1"}


def test_a_watch_that_died_goes_on_where_it_was(ward: Ward) -> None:
    ward.send(210)
    again = Ward(
        ward.storage, now=ward.now, random=ward.random, sent=ward.sent, stations=ward.stations
    )
    again.send(8, shift=3)
    assert standing(again)["images"] == 218


# -- reviews -----------------------------------------------------------------------------------


def reviewed(ward: Ward, count: int, true: float, probability: float = 0.6) -> None:
    """So many images with one probability of pneumonia, of which a share is true."""
    shares = {"pneumonia": probability, "effusion": 0.1}
    ids = ward.answer([({"size": 14.0}, shares)] * count)
    ward.review({one: number < true * count for number, one in enumerate(ids)})
    ward.look()


def test_a_finding_whose_probabilities_do_not_hold_comes_into_doubt(ward: Ward) -> None:
    reviewed(ward, 29, 0.0)
    assert ward.open() == {}
    reviewed(ward, 1, 0.0)
    assert set(ward.open()) == {"calibration chest 1: pneumonia"}
    serving = ward.ledger.serving()
    assert serving is not None
    assert serving.doubted == {"pneumonia"}
    assert serving.revision.doubt == 1
    found = {one["name"]: one for one in overview(ward.storage.database)["findings"]}
    assert found["pneumonia"]["doubt"]["reason"].startswith("Of 30 reviews 0% show it, where 60%")
    assert found["pneumonia"]["all"]["ppv"]["value"] == 0
    assert found["pneumonia"]["stations"]["CR1"]["reviews"] == 30
    assert found["effusion"]["doubt"] is None


def test_a_finding_whose_probabilities_hold_does_not(ward: Ward) -> None:
    reviewed(ward, 100, 0.6)
    assert ward.open() == {}
    assert Doubts(ward.storage.database).in_force(ward.digest) == {}


def test_a_person_lifts_a_doubt_and_later_reviews_alone_bring_it_back(ward: Ward) -> None:
    reviewed(ward, 30, 0.0)
    doubts = Doubts(ward.storage.database)
    with pytest.raises(Refused, match="reason"):
        doubts.lift(ward.digest, "pneumonia", "ada", " ", ward.now)
    doubts.lift(ward.digest, "pneumonia", "ada", "a wrong list", ward.now)
    with pytest.raises(NotFound, match="not in doubt"):
        doubts.lift(ward.digest, "pneumonia", "ada", "again", ward.now)
    ward.look()
    ward.now += 1
    reviewed(ward, 29, 0.0)
    assert doubts.in_force(ward.digest) == {}
    reviewed(ward, 1, 0.0)
    assert set(doubts.in_force(ward.digest)) == {"pneumonia"}
    trail = Audit(ward.storage.database).search(AuditQuery(), 500)
    acts = [row.action for row in reversed(trail) if row.action.startswith("finding.")]
    assert acts == ["finding.doubted", "finding.doubt_lifted", "finding.doubted"]


def test_another_bundle_begins_without_doubt(ward: Ward) -> None:
    reviewed(ward, 30, 0.0)
    ward.serve("2")
    ward.look()
    serving = ward.ledger.serving()
    assert serving is not None
    assert serving.doubted == frozenset()
    assert ward.open() == {}
    (closed,) = ward.alarms.recent()
    assert closed.closed_because == "another bundle serves"


def test_readers_who_see_a_finding_more_often_alarm(ward: Ward) -> None:
    reviewed(ward, 100, 0.6)
    reviewed(ward, 100, 0.9)
    (one,) = (a for a in ward.alarms.open() if a.kind == "label_drift")
    assert (one.subject, one.station, one.finding) == ("CR1: pneumonia", "CR1", "pneumonia")
    assert says(one) == "Seen in 90% (83% to 94%), before in 60% (50% to 69%)."


def test_readers_who_differ_are_left_out(ward: Ward) -> None:
    ids = ward.answer([({"size": 14.0}, {"pneumonia": 0.6})])
    ward.review({ids[0]: True})
    assert len(Agreed(ward.storage.database).said(ward.version)) == 1
    with ward.storage.database.write() as connection:
        connection.exec_driver_sql(
            "INSERT INTO label SELECT 2, instance_id, finding, 2, 0, login, review_id, source, "
            "labelled_at FROM label"
        )
    assert Agreed(ward.storage.database).said(ward.version) == ()

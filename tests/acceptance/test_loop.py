"""The closed loop in real processes, from images to a bundle that learnt from their reviews, and
back: nothing here is called that a hospital does not call."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from storage.audit import Audit, AuditQuery
from storage.reviews import Reviews
from tests.harness import Pacs, Service, running, until, write_config
from tests.loop import LEARNT, Loop, signed_in, small_bundle

TRIED = 8  # images of the candidate's trial
WITHIN_S = 5.0


@pytest.fixture
def loop(tmp_path: Path, pacs: Pacs) -> Iterator[Loop]:
    config = write_config(
        tmp_path, pacs.port,
        report={"heat_map": "none"},
        classifier={"bundle": str(small_bundle(tmp_path / "bundle")), "engine": "f32"},
        training={
            "gate_min_cases": 5, "promote": "after_shadow", "shadow_images": TRIED,
            "shadow_flagged_margin": 1.0,
        },
    )  # fmt: skip
    service = Service(tmp_path, config)
    with running(service):
        yield Loop(service, pacs)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_loop_is_walked_and_walked_back(loop: Loop) -> None:
    service, database = loop.service, loop.database()
    loop.draw()
    with (
        closing(signed_in(service, "ann", "radiologist")) as radiologist,
        closing(signed_in(service, "ada", "administrator")) as administrator,
    ):
        models = "/api/v1/models"
        first = administrator.get(models).json()["serving"]

        # images in, reviews by the API
        studies = loop.send(LEARNT)
        assert loop.versions(studies) == {first}
        loop.review(radiologist)
        until(lambda: len({one.instance_id for one in Reviews(database).labels()}) == LEARNT, 60)

        # a scheduled recalibration fires, its time brought forward by 59 s; and the gate
        added = {"name": "nightly", "kind": "recalibrate", "every": "1m"}
        assert administrator.post("/api/v1/schedules", json=added).status_code == 200
        with database.write() as connection:
            connection.exec_driver_sql(
                "UPDATE schedule SET created_at = created_at - 59, seen_until = seen_until - 59"
            )
        due = service.saw("run.due", 20)
        service.saw("run.started", 60)  # with its schedule, a run that waits would go
        assert administrator.delete("/api/v1/schedules/nightly").status_code == 200
        ended = service.saw("run.ended", 400)  # it gives way to whatever else runs
        assert (ended["run"], ended["state"]) == (due["run"], "done")
        run = administrator.get(f"/api/v1/runs/{ended['run']}").json()
        assert run["verdict"] is True, run["outcome"]["verdict"]["reasons"]
        assert "Brier score" in " ".join(run["outcome"]["verdict"]["gains"])
        second, digest = run["outcome"]["bundle"], run["candidate"]

        # its trial begins by itself, beside what serves
        assert service.saw("shadow.started", 20)["model"] == second
        assert administrator.get(models).json()["serving"] == first
        tried = loop.send(TRIED)
        assert loop.versions(tried) == {first}, "nothing of a trial is in a report"

        # it is promoted by rule; new reports carry the new version
        promoted = service.saw("model.promoted", 240)
        switched = service.saw("model.switched", WITHIN_S)
        assert promoted["model"] == switched["model"] == second
        assert loop.versions(loop.send(2)) == {second}
        shown = administrator.get(f"{models}/{digest}/shadow").json()
        assert (shown["trial"]["state"], shown["figures"]["analysed"]) == ("promoted", TRIED)
        assert all(one["shift"]["high"] < 0 for one in shown["figures"]["findings"])
        page = administrator.get(f"/models/{digest}/shadow")
        assert page.status_code == 200
        assert page.text.count("<svg") == len(shown["figures"]["findings"])

        # one act back; new reports carry the old version again, and no rule promotes it anew
        why = {"reason": "worse at night"}
        asked = time.monotonic()
        assert administrator.post(f"{models}/rollback", json=why).json()["version"] == first
        until(lambda: service.events("model.switched")[-1]["model"] == first, WITHIN_S)
        assert time.monotonic() - asked < WITHIN_S
        assert loop.versions(loop.send(2)) == {first}
        assert len(service.events("shadow.started")) == len(service.events("model.promoted")) == 1
        assert not service.events("process.died")
        assert not service.events("fault")

    trail = [(row.actor, row.action) for row in reversed(Audit(database).search(AuditQuery(), 300))]
    assert [one for one in trail if one[1].startswith(("shadow.", "model.pro", "model.roll"))] == [
        ("service", "shadow.started"), ("service", "model.promoted"), ("service", "shadow.ended"),
        ("ada", "model.rolled_back"),
    ]  # fmt: skip
    database.close()

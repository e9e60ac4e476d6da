"""A radiologist's review reaches the PACS as a superseding report, and training as a label."""

from __future__ import annotations

import subprocess
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from daemon.report.reading import groups
from daemon.simulate import Form, Kind, Patient, make_object, send
from storage.database import open_database
from storage.reviews import Reviews
from tests import databases
from tests.harness import Orthanc, Service, running, until, write_config
from tests.pages import PASSWORD, csrf_of
from tests.reporting import dciodvfy


def signed_in(service: Service, login: str) -> httpx.Client:
    """Make an account by the command line, and sign in as a browser does."""
    service.add_user(login, "radiologist")
    browser = httpx.Client(base_url=service.saw("web.listening", 30)["url"], timeout=30)
    form = {"login": login, "password": PASSWORD, "csrf_token": csrf_of(browser.get("/sign-in"))}
    assert browser.post("/sign-in", data=form).status_code == 303
    browser.headers["X-CSRF-Token"] = csrf_of(browser.get("/account"))
    return browser


@pytest.mark.peer
def test_a_review_by_the_api_supersedes_the_report_in_orthanc(
    tmp_path: Path, orthanc: Orthanc, demo_images: list[Path]
) -> None:
    service = Service(tmp_path, write_config(tmp_path, orthanc.dicom_port))
    with running(service):
        image = make_object(demo_images[0], Form(Kind.CR, 12), Patient(name="Demo^Jörg"))
        send([image], "127.0.0.1", service.port, "CR1", "HILUM")
        (first,) = until(lambda: orthanc.held(), 30)
        computer = groups(first)[0]
        study, uid = str(image.StudyInstanceUID), str(image.SOPInstanceUID)
        with closing(signed_in(service, "ann")) as browser:
            written = browser.post(
                f"/api/v1/studies/{study}/reviews",
                json={
                    "kind": "review",
                    "seen_version": 1,
                    "answers": [
                        {"sop_instance_uid": uid, "finding": computer.name, "answer": "disagree"}
                    ],
                    "added": [{"sop_instance_uid": uid, "finding": "pneumothorax"}],
                    "note": "Größe 1 cm",
                },
            )
            assert written.status_code == 201, written.text
            _, second = until(lambda: len(found := orthanc.held()) == 2 and found, 40)
            listed = browser.get(f"/api/v1/studies/{study}/reviews").json()
        service.kill()  # and no second start sends anything twice
    service.start()
    service.stop()
    assert len(orthanc.held()) == 2

    assert (second.VerificationFlag, second.PreliminaryFlag) == ("VERIFIED", "FINAL")
    assert second.VerifyingObserverSequence[0].VerifyingObserverName == "Ann^Test"
    before = second.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0]
    assert before.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == first.SOPInstanceUID
    assert second.SeriesInstanceUID == first.SeriesInstanceUID
    opposite = "Absent" if computer.presence == "Present" else "Present"
    said = {group.name: group.presence for group in groups(second)}
    assert (said[computer.name], said["pneumothorax"]) == (opposite, "Present")
    assert (listed["reviews"][0]["state"], listed["reviews"][0]["version"]) == ("reported", 2)

    reviews = Reviews(open_database(databases.url(tmp_path / "root" / "hilum.sqlite")))
    assert {(one.finding, one.present, one.reviewer) for one in reviews.labels()} == {
        (computer.name, opposite == "Present", "ann"), ("pneumothorax", True, "ann"),
    }  # fmt: skip

    copy = tmp_path / "second.dcm"
    second.save_as(copy)
    assert dciodvfy(copy) == []
    dump = subprocess.run(
        ["dsrdump", "+U8", str(copy)], capture_output=True, text=True, check=True, timeout=30
    )
    assert "Pneumothorax" in dump.stdout

"""A day at the pages: Chromium, the real service, Orthanc as the PACS, and an archive that refuses.

The guide's pictures are taken here: HILUM_PICTURES=DIR leaves them in a folder.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest
from fastapi.routing import APIRoute
from playwright.sync_api import Browser, Page, expect
from pydicom.dataset import Dataset
from pydicom.uid import JPEG2000Lossless

from classifier.bundle import Bundle, load_bundle, write_bundle
from daemon.report.reading import groups
from daemon.settings import load
from daemon.simulate import Damage, Form, Kind, Patient, make_object, send
from storage.database import Database, open_database
from storage.reviews import Reviews
from storage.worklist import Query, Worklist
from tests import browsing
from tests.browsing import look
from tests.harness import Orthanc, Pacs, Service, running, until, write_config
from tests.pages import open_pages

pytestmark = [pytest.mark.peer, pytest.mark.slow, pytest.mark.timeout(240)]

SHOWN = "#slot-main[data-state=shown]"
REFUSED = 0xA900
KEYS = 5  # at most, from the worklist to the next study
LATE_MS = 40_000
WITHIN_S = 15.0  # of which 5 s are the worker's, the rest the report's and the page's
LOGINS = {"ada": "administrator", "ann": "radiologist", "ben": "radiologist", "max": "auditor"}
SCRIPT = "<script>alert(1)</script>^Eva"
NAMES = (
    "Lindqvist^Maria", "Okafor^Ben", "Müller^Änne", "Kowalski^Zofia", "García López^José",
    "Rossi^Marco", "Smith^Ann", "Иванов^Пётр", "Nguyễn^Lan", "Haddad^Samir", "Roe^Richard",
    "Doe^Jane",
)  # fmt: skip


@dataclass
class Hospital:
    """The service with a day's studies in it, and who it sends to."""

    service: Service
    orthanc: Orthanc
    archive: Pacs
    images: list[Path]
    second: Bundle
    sent: int = 0

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.service.saw('web.listening', 30)['port']}"

    @property
    def database(self) -> Database:
        return open_database(load(self.service.config).storage.url)

    def send(self, image: Path, form: Form | None = None, name: str = "") -> Dataset:
        """Send an image of the next patient, a study of its own; return it."""
        number, self.sent = self.sent, self.sent + 1
        patient = Patient(
            name or NAMES[number % len(NAMES)], f"P-{4711 + number}", f"19{50 + number}0402",
            "FM"[number % 2], f"A{90210 + number}", studied_at=datetime(2026, 11, 24, 8, number),
        )  # fmt: skip
        one = make_object(image, form or Form(Kind.CR, 12), patient)
        one.StationName = f"CR-{number % 3 + 1}"
        one.StudyDescription = "Chest PA"
        (outcome,) = send([one], "127.0.0.1", self.service.port, "CR1", "HILUM")
        assert outcome.status == 0x0000
        return one

    def reports(self, study: str) -> list[Dataset]:
        """What Orthanc holds of a study."""
        return [one for one in self.orthanc.held() if str(one.StudyInstanceUID) == study]

    def open(self, browser: Browser, login: str) -> Page:
        """A window of somebody who has signed in."""
        return browsing.sign_in(browsing.room(browser, self.address), login)


@pytest.fixture(scope="module")
def hospital(
    tmp_path_factory: pytest.TempPathFactory, demo_images: list[Path]
) -> Iterator[Hospital]:
    """Eleven studies, one of a damaged image; the archive refuses one report."""
    folder = tmp_path_factory.mktemp("hospital")
    orthanc = Orthanc(folder / "orthanc").start()
    archive = Pacs("ARCHIVE", answers=[REFUSED]).start()
    try:
        config = write_config(folder, orthanc.dicom_port)
        with config.open("a") as file:
            file.write(
                f'[[pacs]]\nname = "archive"\nae_title = "ARCHIVE"\nhost = "127.0.0.1"\n'
                f"port = {archive.port}\n"
            )
        service = Service(folder, config)
        for login, role in LOGINS.items():
            service.add_user(login, role)
        one = Hospital(service, orthanc, archive, demo_images, second(folder / "second"))
        with running(service):
            for image in demo_images[:10]:
                one.send(image)
            damaged = Form(
                Kind.CR, 12, transfer_syntax=JPEG2000Lossless, damage=Damage.GARBLED
            )  # fmt: skip
            one.send(demo_images[11], damaged)
            until(lambda: len(orthanc.reports()) >= one.sent, 60)
            until(lambda: len(archive.stored) >= one.sent - 1, 30)
            added = service.hilum("model", "add", str(one.second.folder))
            assert added.returncode == 0, added.stderr
            yield one
    finally:
        archive.stop()
        orthanc.stop()


def second(folder: Path) -> Bundle:
    """The default bundle's networks under another version, as a training writes one."""
    first = load_bundle()
    manifest = first.manifest.model_copy(update={"version": "2026-11-local"})
    contents = {name: (first.folder / name).read_bytes() for name in first.manifest.files}
    return write_bundle(folder, manifest, contents)


def press(page: Page, *keys: str) -> int:
    """Press keys; return how many."""
    for key in keys:
        page.keyboard.press(key)
    return len(keys)


def study_of(page: Page) -> str:
    return page.url.rpartition("/")[2]


def opened(page: Page) -> str:
    """Wait until a study and its findings are seen; return its UID."""
    page.wait_for_url(lambda url: "/studies/" in url)
    page.wait_for_selector(SHOWN)
    page.wait_for_selector("#findings ol")
    return study_of(page)


def test_a_radiologist_disagrees_and_the_pacs_has_it(hospital: Hospital, chromium: Browser) -> None:
    page = hospital.open(chromium, "ann")
    page.wait_for_selector("#rows tbody tr")
    assert page.locator("#rows tbody tr").count() == hospital.sent
    look(page, "worklist")
    top = page.locator("#rows tbody tr").first.get_attribute("data-study")
    press(page, "Enter")
    study = opened(page)
    assert study == top
    press(page, "h")
    page.wait_for_selector("#slot-main[data-heat]")
    look(page, "study")
    (first,) = hospital.reports(study)
    computer = groups(first)[0]
    press(page, "1", "d")
    expect(page.locator("#confirm-says")).to_contain_text("1 disagreed")
    press(page, "Enter")
    expect(page.locator("#undo")).to_contain_text("Confirmed.")
    look(page, "study-confirmed")
    _, corrected = until(lambda: len(found := hospital.reports(study)) == 2 and found, 40)
    assert corrected.VerificationFlag == "VERIFIED"
    assert corrected.VerifyingObserverSequence[0].VerifyingObserverName == "Ann^Test"
    before = corrected.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0]
    assert before.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == first.SOPInstanceUID
    said = {group.name: group.presence for group in groups(corrected)}
    assert said[computer.name] != computer.presence
    labels = [one for one in Reviews(hospital.database).labels() if one.reviewer == "ann"]
    assert (computer.name, said[computer.name] == "Present") in {
        (one.finding, one.present) for one in labels
    }
    expect(page.locator("#report")).to_contain_text("verified", ignore_case=True, timeout=LATE_MS)
    page.context.close()


def test_a_plain_confirm_takes_few_keys(hospital: Hospital, chromium: Browser) -> None:
    page = hospital.open(chromium, "ann")
    pressed = press(page, "Enter")
    study = opened(page)
    pressed += press(page, "Enter")
    expect(page.locator("#undo")).to_contain_text("Confirmed.")
    pressed += press(page, "n")
    page.wait_for_url(lambda url: "/studies/" in url and study not in url)
    assert opened(page) != study
    assert pressed <= KEYS
    until(lambda: hospital.reports(study)[-1].VerificationFlag == "VERIFIED", 40)
    page.context.close()


def test_two_radiologists_on_one_study_lose_nothing(hospital: Hospital, chromium: Browser) -> None:
    """Ben's reading takes effect while Ann has the study open: she is told, and both are kept."""
    ann, ben = hospital.open(chromium, "ann"), hospital.open(chromium, "ben")
    press(ann, "Enter")
    study = opened(ann)
    press(ann, "2", "d")
    ben.goto(f"/studies/{study}")
    assert opened(ben) == study
    press(ben, "Enter")
    expect(ben.locator("#undo")).to_contain_text("Confirmed.")
    until(lambda: hospital.reports(study)[-1].VerificationFlag == "VERIFIED", 40)
    press(ann, "Enter")
    expect(ann.locator("#notice")).to_contain_text("has changed since you opened it")
    expect(ann.locator("#notice")).to_contain_text("Nothing that you have said is lost")
    look(ann, "study-changed")
    ann.locator("#notice button").click()
    expect(ann.locator("#notice")).to_contain_text("as it is now")
    expect(ann.locator("#confirm-says")).to_contain_text("1 disagreed")
    press(ann, "Enter")
    expect(ann.locator("#undo")).to_contain_text("Confirmed.")
    until(lambda: len(hospital.reports(study)) == 3, 40)
    said = Reviews(hospital.database).of_study(study)
    assert [one.reader.login for one in said] == ["ben", "ann"]
    for page in (ann, ben):
        page.context.close()


def test_script_tags_in_a_name_are_text_everywhere(hospital: Hospital, chromium: Browser) -> None:
    """On the worklist, the study page and in the API; the administrator's pages have no name."""
    sent = str(hospital.send(hospital.images[5], name=SCRIPT).StudyInstanceUID)
    until(lambda: hospital.reports(sent), 40)
    page = hospital.open(chromium, "ann")
    page.locator("#search").fill("<script>")
    expect(page.locator("#rows tbody tr")).to_have_count(1)
    expect(page.locator("#rows tbody tr")).to_contain_text("<script>alert(1)</script>, Eva")
    page.locator("#rows a.open").click()
    study = opened(page)
    assert study == sent
    expect(page.locator("body")).to_contain_text("<script>alert(1)</script>, Eva")
    look(page, "study-hostile", None)
    told = page.request.get(f"/api/v1/studies/{study}")
    assert told.headers["content-type"].startswith("application/json")
    assert told.json()["patient"]["name"] == SCRIPT
    page.context.close()
    ada = hospital.open(chromium, "ada")
    for path in ("/queue", "/deliveries", "/audit"):
        ada.goto(path)
        assert "alert(1)" not in ada.content()
    ada.context.close()


def test_an_administrator_sends_a_dead_letter_again(hospital: Hospital, chromium: Browser) -> None:
    page = hospital.open(chromium, "ada")
    expect(page.locator("main")).to_contain_text("1 refused by archive for good")
    expect(page.locator("main")).to_contain_text("1 came damaged")
    page.evaluate(  # the picture is of no machine in particular
        """(root) => document.querySelectorAll('.checks span').forEach((one) => {
             one.firstChild.data = one.firstChild.data.replace(root, '/var/lib/hilum'); })""",
        str(load(hospital.service.config).storage.root),
    )
    look(page, "system")
    go(page, "Deliveries")
    expect(page.locator("main")).to_contain_text("A900")
    look(page, "deliveries")
    stored = len(hospital.archive.stored)
    dead = page.get_by_role("row", name=re.compile("A900"))
    dead.get_by_role("button", name="Send again").click()
    expect(page.locator(".success")).to_contain_text("is sent again")
    page.reload()
    expect(page.locator(".success")).to_have_count(0)
    until(lambda: len(hospital.archive.stored) > stored)
    expect(page.locator("main")).to_contain_text("Every PACS has taken", timeout=10_000)
    go(page, "Queue")
    look(page, "queue")
    go(page, "Peers")
    page.get_by_role("button", name="Ask it now").first.click()
    expect(page.locator("main")).to_contain_text("answers C-ECHO")
    look(page, "peers")
    page.context.close()


def test_a_threshold_and_a_roll_back_take_effect(hospital: Hospital, chromium: Browser) -> None:
    second, first = hospital.second, load_bundle()
    page = hospital.open(chromium, "ada")
    go(page, "Thresholds")
    what_if = page.locator("#what-if-pneumonia")
    what_if.locator("table").wait_for()
    page.locator("#range-pneumonia").fill("0.7")
    expect(what_if.locator("thead")).to_contain_text("0.700")
    expect(what_if).to_contain_text(re.compile(r"1\d images that this bundle analysed"))
    look(page, "thresholds")
    form = page.locator("form", has=page.locator("#value-pneumonia"))
    form.locator("[name=reason]").fill("too many at night")
    form.get_by_role("button", name="Save").click()
    expect(page.locator(".success")).to_contain_text("The threshold of Pneumonia is changed")
    # The worker takes it up at the bell, or within 5 s: an image that it had in hand goes before
    until(
        lambda: answer_of(hospital, chromium, hospital.images[0]) == (first.version, 0.7), WITHIN_S
    )

    go(page, "Models")
    page.get_by_role("link", name="Promote").click()
    look(page, "promote")
    page.fill("[name=reason]", "calibrated on our own cases")
    page.get_by_label(re.compile("Override the gate")).check()
    page.get_by_role("button", name=re.compile("Promote")).click()
    workers = page.locator(".live section", has_text="Workers")
    expect(workers).to_contain_text(f"{second.version} in", timeout=10_000)
    expect(workers).to_contain_text("up to date")
    look(page, "models")
    own = {one.label.name: one.threshold for one in second.manifest.findings}["pneumonia"]
    promoted = answer_of(hospital, chromium, hospital.images[1])
    assert promoted == (second.version, pytest.approx(own))
    page.locator("table").first.get_by_role("link", name=second.version).click()
    look(page, "model")

    go(page, "Models")
    page.get_by_role("link", name=re.compile("Roll back to")).click()
    look(page, "rollback")
    page.fill("[name=reason]", "worse than before")
    page.get_by_role("button", name=re.compile("Roll back")).click()
    expect(page.locator(".success")).to_contain_text(f"{first.version} is to serve again")
    expect(workers).to_contain_text(f"{first.version} in", timeout=10_000)
    assert answer_of(hospital, chromium, hospital.images[2]) == (first.version, 0.7)
    page.context.close()


def go(page: Page, name: str) -> None:
    """Go to a page by the navigation."""
    page.get_by_role("navigation").get_by_role("link", name=name, exact=True).click()


def answer_of(hospital: Hospital, browser: Browser, image: Path) -> tuple[str, float]:
    """What the study page says of an image that comes now: the model, pneumonia's threshold."""
    study = str(hospital.send(image).StudyInstanceUID)
    until(lambda: hospital.reports(study), 40)
    page = hospital.open(browser, "ann")
    told = page.request.get(f"{hospital.address}/api/v1/studies/{study}").json()
    page.context.close()
    (one,) = told["images"]
    (found,) = [one for one in one["findings"] if one["name"] == "pneumonia"]
    return one["model"], found["threshold"]


# Every page, by the role that looks at it; {study}, {job} and {digest} stand for real ones
PAGES = {
    "ann": (
        "/worklist", "/studies/{study}", "/agreement", "/agreement/conflicts", "/acceptance",
        "/account",
    ),
    "ada": (
        "/system", "/queue", "/queue/jobs/{job}", "/deliveries", "/peers", "/models",
        "/models/{digest}", "/models/{digest}/promote", "/models/rollback", "/thresholds",
        "/models/{digest}/shadow", "/thresholds/{digest}", "/users", "/tokens", "/audit",
        "/alarms", "/schedules", "/agreement", "/acceptance", "/account",
    ),
    "max": ("/audit", "/account"),
}  # fmt: skip
NO_PAGES = (
    "/", "/metrics", "/live", "/next", "/what-if", "/sign-in/provider", "/sign-in/callback",
    # of runs: test_administration_pages.py; of acceptance tests: test_acceptance_pages.py
    "/runs/{number}", "/pictures/{name}", "/acceptance/{number}", "/report.{form}",
)  # fmt: skip


def test_the_pages_below_are_all(tmp_path: Path) -> None:
    known = {re.sub(r"{\w+}", "{}", path) for paths in PAGES.values() for path in paths}
    with open_pages(tmp_path) as pages:
        served = {
            re.sub(r"{\w+}", "{}", route.path_format)
            for route in pages.app.routes
            if isinstance(route, APIRoute) and "GET" in (route.methods or ())
            and not route.path.startswith(("/api/", "/dicomweb/", "/health/"))
            and not route.path.endswith(NO_PAGES[1:]) and route.path != "/"
        }  # fmt: skip
    assert served == known | {"/sign-in"}


@pytest.mark.parametrize("theme", ["dark", "light"])
@pytest.mark.parametrize("login", PAGES)
def test_no_page_has_a_serious_fault(
    hospital: Hospital, chromium: Browser, login: str, theme: str
) -> None:
    row = Worklist(hospital.database).page(Query()).rows[0]
    places = {"study": row.study_instance_uid, "job": 1, "digest": hospital.second.digest}
    context = browsing.room(chromium, hospital.address, theme)
    page = context.new_page()
    page.goto("/sign-in")
    assert browsing.serious(page) == []
    page.close()
    page = browsing.sign_in(context, login)
    for path in PAGES[login]:
        answer = page.goto(path.format(**places))
        assert answer is not None
        assert answer.status == 200, path
        if "/studies/" in path:
            page.wait_for_selector(SHOWN)
        if "/thresholds" in path:
            page.locator("#what-if-pneumonia table").wait_for()
        assert browsing.serious(page) == [], path
        over = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert over <= 0, path
    context.close()

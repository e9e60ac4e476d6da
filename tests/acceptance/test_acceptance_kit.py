"""An acceptance test in real processes: images in, a sample drawn, read blind by two, reported."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import dcmread

from daemon.settings import load
from daemon.simulate import Form, Patient, make_object, send
from storage.accounts import Accounts
from storage.database import open_database
from storage.people import NewAccount, Role
from storage.records import ResultStatus
from storage.studies import Studies
from tests.harness import PASSWORD, Pacs, Service, running, until, write_config
from tests.learning import DEMO
from tests.pages import CHEAP
from training.reviewed import wilson

pytestmark = [pytest.mark.slow]

ANY = "any"


@dataclass
class Site:
    """The service with its studies; `decided` of each study says which findings are present."""

    service: Service
    address: str
    decided: dict[str, dict[str, bool]]
    sops: dict[str, str]

    def client(self, login: str) -> httpx.Client:
        client = httpx.Client(base_url=self.address, timeout=60, follow_redirects=True)
        token = _token(client.get("/sign-in").text)
        form = {"login": login, "password": PASSWORD, "csrf_token": token}
        assert client.post("/sign-in", data=form).status_code == 200
        client.headers["X-CSRF-Token"] = _token(client.get("/account").text)
        return client

    def command(self, *arguments: str) -> Any:
        done = self.service.hilum("acceptance", *arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


def _token(page: str) -> str:
    return page.split('name="csrf-token" content="')[1].split('"')[0]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("acceptance")
    pacs = Pacs().start()
    service = Service(folder, write_config(folder, pacs.port))
    try:
        with running(service):
            _people(service)
            made = [
                make_object(grey, Form(), Patient(id=f"P{n}", sex="FM"[n % 2], accession=f"A{n}"))
                for n, grey in enumerate(_greys())
            ]
            send(made, "127.0.0.1", service.port, "CR1", "HILUM")
            studies = [str(one.StudyInstanceUID) for one in made]
            database = open_database(load(service.config).storage.url)
            store = Studies(database)
            until(lambda: len(pacs.stored) >= len(made), 60)
            decided = {}
            for uid in studies:
                (one,) = store.show(uid).instances
                if one.result.status is ResultStatus.ANALYSED:
                    decided[uid] = {found.name: found.present for found in one.result.findings}
            database.close()
            port = service.saw("web.listening", 30)["port"]
            sops = {str(one.StudyInstanceUID): str(one.SOPInstanceUID) for one in made}
            yield Site(service, f"http://127.0.0.1:{port}", decided, sops)
    finally:
        pacs.stop()


def _greys() -> Iterator[NDArray[np.uint8]]:
    """The twelve radiographs, and again a little darker."""
    for darker in (1.0, 0.9):
        for file in sorted(DEMO.glob("*.png")):
            grey = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)
            assert grey is not None
            small = cv2.resize(grey, (512, 512), interpolation=cv2.INTER_AREA)
            yield (small * darker).astype(np.uint8)


def _people(service: Service) -> None:
    database = open_database(load(service.config).storage.url)
    for login in ("anna", "ben", "eva", "ada"):
        role = Role.ADMINISTRATOR if login == "ada" else Role.RADIOLOGIST
        name = login.title()
        new = NewAccount(login, name, f"{name}^Test", "", role, password_hash=CHEAP.make(PASSWORD))
        Accounts(database).add(new, time.time())
    database.close()


def test_a_sample_is_read_blind_and_its_report_states_what_a_hand_counts(site: Site) -> None:
    flags = {uid: any(found.values()) for uid, found in site.decided.items()}
    assert 0 < sum(flags.values()) < len(flags)
    finding = min(
        site.decided[next(iter(flags))],
        key=lambda name: abs(sum(d[name] for d in site.decided.values()) - len(flags) / 2),
    )
    positives = sum(found[finding] for found in site.decided.values())
    anna, ben, eva, ada = (site.client(login) for login in ("anna", "ben", "eva", "ada"))
    form = {"name": "large", "readers": ["anna"], "half_width": "0.05"}
    too_few = ada.post("/acceptance", data=form)
    assert too_few.status_code == 409
    assert f"There are {sum(flags.values())} flagged and" in too_few.text
    drawn = site.command(
        "draw", "spring", "--reader", "anna", "--reader", "ben", "--half-width", "0.3",
        "--finding", finding, "--seed", "7",
    )  # fmt: skip
    counts = drawn["plan"]["counts"]
    assert (counts["flagged"], counts["others"]) == (positives, len(flags) - positives)

    (listed,) = anna.get("/api/v1/acceptance").json()
    sample = [one["study_instance_uid"] for one in listed["studies"]]
    assert len(sample) == drawn["cases"] == counts["drawn_flagged"] + counts["drawn_others"]
    assert eva.get("/api/v1/acceptance").json() == []
    assert eva.get(f"/acceptance/{listed['id']}").status_code == 404
    for uid in sample[:2]:
        _blind(site, anna, eva, uid, finding)
    _worklist_says_nothing(anna, eva, sample)

    # Anna says what the bundle has found but of every fifth case; Ben the same, but of every fourth
    said: dict[str, dict[str, bool]] = {"anna": {}, "ben": {}}
    for login, client, wrong in (("anna", anna, 5), ("ben", ben, 4)):
        for number, uid in enumerate(sample, 1):
            truth = site.decided[uid][finding] != (number % wrong == 0)
            said[login][uid] = truth
            _read(site, client, uid, finding, present=truth)
    shown = ben.get(f"/api/v1/studies/{sample[0]}").json()
    assert not shown["withheld"]
    assert shown["images"][0]["findings"]
    assert "all" not in site.command("show", "spring")[0]

    number = listed["id"]
    assert ada.get(f"/acceptance/{number}/report.json").status_code == 404
    before = ada.get(f"/acceptance/{number}").text
    assert "Sensitivity" not in before
    closed = ada.post(f"/acceptance/{number}/close", data={"reason": ""})
    assert closed.status_code == 200, closed.text
    assert "Agreement" in closed.text
    report = ada.get(f"/acceptance/{number}/report.json").json()
    _check(site, report, finding, sample, said, counts)
    page = anna.get(f"/acceptance/{number}/report.html")
    assert page.headers["content-disposition"].startswith("attachment")
    assert "://" not in page.text
    for part in (drawn["plan"]["digest"], "Signatures of the committee", "What this is not"):
        assert part in page.text
    assert eva.get(f"/acceptance/{number}/report.html").status_code == 404


def _blind(site: Site, anna: httpx.Client, eva: httpx.Client, uid: str, finding: str) -> None:
    """Whoever reads the sample sees nothing of the result; who does not, sees it."""
    api, web = f"/api/v1/studies/{uid}", f"/dicomweb/studies/{uid}"
    for client, hidden in ((eva, False), (anna, True)):
        view = client.get(api).json()
        assert view["withheld"] is hidden
        assert bool(view["images"][0]["findings"]) is not hidden
        assert (view["report"] is None) is hidden
        heat_map = client.get(f"{api}/instances/{site.sops[uid]}/maps/{finding}")
        assert heat_map.status_code == (404 if hidden else 200)
        modalities = [one["00080060"]["Value"][0] for one in client.get(f"{web}/series").json()]
        assert ("SR" in modalities) is not hidden
        whole = client.get(web, headers={"Accept": 'multipart/related; type="application/dicom"'})
        assert _sent(whole) == {"DX"} if hidden else _sent(whole) > {"DX", "SR"}
        assert client.get(f"{api}/reviews").json()["withheld"] is hidden
    of_study = anna.get("/dicomweb/studies", params={"StudyInstanceUID": uid}).json()[0]
    assert of_study["00080061"]["Value"] == ["DX"]
    refused = anna.post(f"{api}/reviews", json={"kind": "review", "seen_version": 1})
    assert refused.status_code == 409
    assert "Read first" in refused.json()["detail"]
    page = anna.get(f"/studies/{uid}").text
    assert finding.replace("_", " ") not in page.lower()


def _sent(answer: httpx.Response) -> set[str]:
    """The modalities of the objects in an answer of WADO-RS."""
    boundary = answer.headers["content-type"].split("boundary=")[1].split(";")[0].strip('"')
    found = set()
    for part in answer.content.split(b"--" + boundary.encode())[1:-1]:
        body = part.partition(b"\r\n\r\n")[2]
        found.add(str(dcmread(BytesIO(body), force=True).Modality))
    return found


def _worklist_says_nothing(anna: httpx.Client, eva: httpx.Client, sample: list[str]) -> None:
    """A study of the sample is not in the list of whoever is to read it: its place would tell."""
    for narrowed in ({}, {"state": "flagged"}):
        page = anna.post("/worklist", data=narrowed, headers={"HX-Request": "true"}).text
        assert not any(uid in page for uid in sample)
    page = eva.post("/worklist", data={}, headers={"HX-Request": "true"}).text
    assert all(uid in page for uid in sample)
    following = anna.get(f"/api/v1/studies/{sample[0]}/next").json()
    assert following["study_instance_uid"] == sample[1]


def _read(site: Site, client: httpx.Client, uid: str, finding: str, *, present: bool) -> None:
    answers = [
        {"sop_instance_uid": site.sops[uid], "finding": name,
         "answer": "present" if name == finding and present else "absent"}
        for name in site.decided[uid]
    ]  # fmt: skip
    review = {"kind": "first_read", "seen_version": 1, "answers": answers}
    stored = client.post(f"/api/v1/studies/{uid}/reviews", json=review)
    assert stored.status_code == 201, stored.text


def _check(
    site: Site,
    report: dict[str, Any],
    finding: str,
    sample: list[str],
    said: dict[str, dict[str, bool]],
    counts: dict[str, int],
) -> None:
    """Reckon the report's figures again, by hand."""
    found = next(one for one in report["findings"] if one["finding"] == finding)
    agreed = [uid for uid in sample if said["anna"][uid] == said["ben"][uid]]
    assert found["left_out"]["readers differ"] == len(sample) - len(agreed)
    weight = {True: counts["flagged"] / counts["drawn_flagged"],
              False: counts["others"] / counts["drawn_others"]}  # fmt: skip
    cells = {(t, m): 0 for t in (True, False) for m in (True, False)}
    for uid in agreed:
        cells[said["anna"][uid], site.decided[uid][finding]] += 1
    whole = found["of_model"]["whole"]
    assert whole["cells"] == [cells[False, False], cells[False, True], cells[True, False],
                              cells[True, True]]  # fmt: skip
    weighed = {key: count * weight[key[1]] for key, count in cells.items()}
    sensitivity = weighed[True, True] / (weighed[True, True] + weighed[True, False])
    specificity = weighed[False, False] / (weighed[False, False] + weighed[False, True])
    if weight[True] != weight[False]:
        assert whole["sensitivity"]["value"] == pytest.approx(sensitivity)
        assert whole["specificity"]["value"] == pytest.approx(specificity)
    else:
        assert (
            whole["sensitivity"]["value"]
            == wilson(cells[True, True], cells[True, True] + cells[True, False]).value
        )  # type: ignore[union-attr]
    both = [(said["anna"][uid], said["ben"][uid], weight[site.decided[uid][finding]])
            for uid in sample]  # fmt: skip
    total = sum(w for *_, w in both)
    same = sum(w for a, b, w in both if a == b) / total
    first, second = (sum(row[2] for row in both if row[i]) / total for i in (0, 1))
    chance = first * second + (1 - first) * (1 - second)
    (pair,) = found["between"]
    assert pair["figures"]["kappa"]["value"] == pytest.approx((same - chance) / (1 - chance))
    assert pair["figures"]["agreement"]["value"] == pytest.approx(same)
    assert report["closed"]["actor"] == "ada"
    assert report["closed"]["at"] <= time.time()
    assert {"sex", "view", "age", "station"} >= {
        line.split()[0] for line in found["of_model"]["too_few"]
    }

"""A real Prometheus scrapes the real service by the files of deploy/monitoring."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from daemon.errors import PeerUnreachable
from daemon.simulate import Form, Kind, Patient, make_object, send
from storage.accounts import Accounts
from storage.database import open_database
from storage.people import Scope
from storage.tokens import Tokens
from tests.harness import Pacs, Service, free_port, running, until, write_config

pytestmark = pytest.mark.peer

MONITORING = Path(__file__).parents[2] / "deploy" / "monitoring"
RULES = MONITORING / "hilum.rules.yml"
NAMES = re.compile(r"\bhilum_[a-z_]+")
IMAGES = 3


@dataclass
class Monitored:
    """The service after images went through, and the Prometheus that scrapes it."""

    pages: str
    prometheus: str
    secret: str

    def ask(self, query: str) -> dict[tuple[str, ...], float]:
        """Return a query's answer: values by the labels' values, apart from instance and job."""
        answer = httpx.get(f"{self.prometheus}/api/v1/query", params={"query": query}, timeout=10)
        answer.raise_for_status()
        aside = ("instance", "job", "__name__")
        return {
            tuple(value for key, value in sorted(one["metric"].items()) if key not in aside):
            float(one["value"][1])
            for one in answer.json()["data"]["result"]
        }  # fmt: skip

    def scrape(self) -> httpx.Response:
        """Ask as Prometheus does."""
        return httpx.get(
            f"{self.pages}/metrics", headers={"Authorization": f"Bearer {self.secret}"}, timeout=10
        )


@pytest.fixture(scope="module")
def monitored(
    tmp_path_factory: pytest.TempPathFactory, demo_images: list[Path]
) -> Iterator[Monitored]:
    folder = tmp_path_factory.mktemp("monitored")
    pacs = Pacs().start()
    service = Service(folder, write_config(folder, pacs.port))
    with running(service):
        pages = service.saw("web.listening", 30)["url"]
        service.add_user("monitor", "administrator")
        secret = make_token(service)
        images = [
            make_object(demo_images[n], Form(Kind.CR, 12), Patient(name="Secret^Name", id=f"ID{n}"))
            for n in range(IMAGES)
        ]
        send(images, "127.0.0.1", service.port, "CR1", "HILUM")
        with pytest.raises(PeerUnreachable, match="rejected"):
            send(images[:1], "127.0.0.1", service.port, "CR1", "WRONG")
        until(lambda: len(pacs.stored) == IMAGES, 60)
        with Prometheus(folder / "prometheus", pages, secret) as url:
            yield Monitored(pages, url, secret)
    pacs.stop()


def make_token(service: Service) -> str:
    """Make the token that an administrator makes on the page of tokens."""
    database = open_database(service.database_url)
    account = next(one for one in Accounts(database).rows() if one.login == "monitor")
    _, secret = Tokens(database).make(account.id, "prometheus", [Scope.HEALTH], None, 0.0)
    database.close()
    return secret


class Prometheus:
    """A Prometheus of our own, on the loopback."""

    def __init__(self, folder: Path, pages: str, secret: str) -> None:
        shutil.copytree(MONITORING, folder)
        (folder / "hilum.token").write_text(secret)
        config = folder / "prometheus.yml"
        text = config.read_text()
        assert "127.0.0.1:8080" in text
        assert "_interval: 15s" in text
        text = text.replace("127.0.0.1:8080", pages.removeprefix("http://"))
        config.write_text(text.replace("_interval: 15s", "_interval: 1s"))
        checked = subprocess.run(
            ["promtool", "check", "config", str(config)], capture_output=True, text=True,
            check=False, timeout=20,
        )  # fmt: skip
        assert checked.returncode == 0, checked.stdout + checked.stderr
        self.port = free_port()
        self.process = subprocess.Popen(
            ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}",
             f"--web.listen-address=127.0.0.1:{self.port}", "--log.level=error"],
            stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def __enter__(self) -> str:
        url = f"http://127.0.0.1:{self.port}"
        until(lambda: answers(f"{url}/-/ready"), 30, 0.2)
        return url

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(20)


def answers(url: str) -> bool:
    """Whether there is a good answer."""
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def test_prometheus_has_the_figures_of_the_images_that_went_through(monitored: Monitored) -> None:
    ask = monitored.ask
    until(lambda: ask("hilum_deliveries_total").get(("stored", "test"), 0) >= IMAGES, 30, 0.5)
    assert ask("up") == {(): 1}
    assert ask("hilum_images_received_total") == {("new",): IMAGES}
    assert sum(ask("hilum_images_total").values()) == IMAGES
    assert ask('hilum_images_total{outcome="analysed"}') == {("analysed",): IMAGES}
    assert ask("hilum_reports_total") == {(): IMAGES}
    findings = ask("sum by (finding) (hilum_findings_total)")
    assert len(findings) == 5
    assert set(findings.values()) == {IMAGES}
    for stage in ("classified", "reported", "delivered", "whole"):
        counted = ask(f'hilum_stage_seconds_count{{stage="{stage}"}}')
        assert counted == {(stage,): IMAGES}, counted
        within = f'histogram_quantile(0.99, hilum_stage_seconds_bucket{{stage="{stage}"}})'
        assert 0 < ask(within)[stage,] <= 120
    assert ask("hilum_queue_oldest_seconds") == {(): 0}
    assert ask('hilum_disk_bytes{kind="free"} > 0')
    assert ask("hilum_bundle_info")
    assert ask("count(hilum_worker_bundle_info)") == {(): 1}


def test_each_association_is_counted(monitored: Monitored) -> None:
    refused = ("refused", "called AE title not recognised")

    def counted() -> dict[tuple[str, ...], float]:
        return monitored.ask("hilum_associations_total")

    until(lambda: refused in counted(), 20, 0.5)
    assert counted()[refused] == 1
    assert counted()["accepted",] >= 1


def test_each_process_is_seen_to_run(monitored: Monitored) -> None:
    up = monitored.ask("hilum_process_up")
    assert set(up.values()) == {1}
    assert {one for (one,) in up} >= {"listener", "worker-0", "delivery", "web", "scheduler"}


def test_the_rules_are_evaluated_and_nothing_fires(monitored: Monitored) -> None:
    answer = httpx.get(f"{monitored.prometheus}/api/v1/rules", timeout=10).json()
    rules = [rule for group in answer["data"]["groups"] for rule in group["rules"]]
    assert len(rules) == RULES.read_text().count("- alert:")
    known = until(lambda: evaluated(monitored.prometheus), 20, 0.5)
    assert all(rule["health"] == "ok" for rule in known), known
    firing = [rule["name"] for rule in known if rule["state"] == "firing"]
    assert not set(firing) - {"HilumDiskLow", "HilumDiskFull"}  # of this machine


def evaluated(prometheus: str) -> list[dict[str, Any]]:
    """Return the rules once each was evaluated."""
    answer = httpx.get(f"{prometheus}/api/v1/rules", timeout=10).json()
    rules = [rule for group in answer["data"]["groups"] for rule in group["rules"]]
    return rules if all(rule["health"] != "unknown" for rule in rules) else []


def test_no_patient_data_is_in_the_metrics(monitored: Monitored) -> None:
    text = monitored.scrape().text
    assert "hilum_build_info" in text
    assert "Secret" not in text
    assert "ID0" not in text
    assert not re.search(r"(?<![\d.])\d+(\.\d+){3,}", text)


def test_every_metric_of_dashboard_and_rules_exists(monitored: Monitored) -> None:
    dashboard = json.loads((MONITORING / "grafana-dashboard.json").read_text())
    asked = {t["expr"] for p in dashboard["panels"] for t in p.get("targets", ())}
    variables = {one["query"]["query"] for one in dashboard["templating"]["list"]
                 if one["type"] == "query"}  # fmt: skip
    expressions = re.findall(r"expr: (?:\|\n((?: {10}.*\n)+)|(.*))", RULES.read_text())
    named = set(NAMES.findall(" ".join([*asked, *variables, *map(" ".join, expressions)])))
    assert len(named) > 20
    offered = set()
    kinds = re.findall(r"^# TYPE (\S+) (\S+)", monitored.scrape().text, re.MULTILINE)
    for name, kind in kinds:
        offered |= {f"{name}{end}" for end in ("_bucket", "_count", "_sum")
                    if kind == "histogram"} or {name}  # fmt: skip
    assert named <= offered, named - offered
    aside = {"hilum_stage_seconds_sum", "hilum_stage_seconds_count"}
    assert offered - aside <= named, "each is shown, or raises an alert"


def test_every_query_of_the_dashboard_is_understood(monitored: Monitored) -> None:
    dashboard = json.loads((MONITORING / "grafana-dashboard.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            query = target["expr"].replace("$instance", ".*").replace("$__rate_interval", "1m")
            monitored.ask(query)


def test_the_alerts_fire_when_they_should_and_not_else() -> None:
    """Each alert of the rules has its test, run by promtool."""
    tests = Path(__file__).parents[1] / "alerts.test.yml"
    alerts = set(re.findall(r"- alert: (\S+)", RULES.read_text()))
    assert alerts == set(re.findall(r'alertname="(\w+)"', tests.read_text()))
    done = subprocess.run(
        ["promtool", "test", "rules", str(tests)], capture_output=True, text=True, check=False,
        timeout=30,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr

"""What each image costs, and how long it takes, at a steady load."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from pathlib import Path

from tests.bench.timing import Measured
from tests.bench.watched import (
    Watched,
    folder_in_build,
    moment,
    radiographs,
    storescu,
    watched_service,
)

OFFERED = (1.0, 2.0, 4.0, 8.0)  # images a second
LOAD_S = 10.0
RESENT = 20


@dataclass(frozen=True)
class Load:
    """What the service does at a load: images a second, CPU seconds of ours for each, waits."""

    offered: float
    done: float
    cpu_s: float
    median_ms: float
    p95_ms: float


def cost_against_load() -> list[Load]:
    """Offer images at a steady pace, one a study, reported at once; measure the cost of each."""
    found = []
    with folder_in_build() as folder:
        studies = radiographs(folder / "images", int(max(OFFERED) * LOAD_S))
        for offered in OFFERED:
            with watched_service(folder / f"{offered:g}") as watched:
                found.append(_offer(watched, offered, studies[: int(offered * LOAD_S)]))
    return found


def offer(watched: Watched, offered: float, studies: list[list[Path]]) -> list[float]:
    """Send one image a study at that pace; return the milliseconds from each one's
    acknowledgement to its report's."""
    started, senders = time.time(), []
    before = len(watched.service.events("report.stored"))
    for number, files in enumerate(studies):
        time.sleep(max(0.0, started + number / offered - time.time()))
        senders.append(storescu(watched.service.port, "HILUM", files))
    for sender, files in zip(senders, studies, strict=True):
        # more at once than dicom.max_associations are rejected; a modality tries again, as here
        for _ in range(RESENT):
            if sender.wait(300) == 0:
                break
            sender = storescu(watched.service.port, "HILUM", files)
        assert sender.wait(300) == 0
    watched.reported(before + len(studies))
    stored = {r["report"]: moment(r) for r in watched.service.events("report.stored")}
    built = {r["study"]: r["report"] for r in watched.service.events("report.built")}
    waits = []
    for record in watched.service.events("instance.accepted"):
        if moment(record) >= started:
            study = record["sop_instance"].rsplit(".", 2)[0]
            waits.append(1000 * (stored[built[study]] - moment(record)))
    return waits


def _offer(watched: Watched, offered: float, studies: list[list[Path]]) -> Load:
    started = time.time()
    waits = offer(watched, offered, studies)
    stored = watched.times("report.stored")
    ours_s = sum(used for name, used in watched.cpu_s().items() if name != "Orthanc")
    return Load(
        offered=offered,
        done=len(studies) / (max(stored) - started),
        cpu_s=ours_s / len(studies),
        median_ms=statistics.median(waits),
        p95_ms=sorted(waits)[int(0.95 * len(waits))],
    )


def load() -> Measured:
    """`cost_against_load` as figures."""
    for one in cost_against_load():
        yield f"done at {one.offered:g} images/s offered", one.done, "images/s"
        yield f"CPU for each at {one.offered:g} images/s", 1000 * one.cpu_s, "ms"
        yield f"acknowledgement to report at {one.offered:g} images/s", one.median_ms, "ms"

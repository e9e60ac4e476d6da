"""Metrics in the form of Prometheus, from the database's own rows: any process gives the same.

Counters go on over restarts (`storage.sums`), gauges are read (`storage.gauges`). No label holds
patient data or a UID: labels are codes of ours, stations, and names of the settings.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import Any

from prometheus_client.core import CounterMetricFamily as Counter
from prometheus_client.core import GaugeMetricFamily as Gauge
from prometheus_client.core import HistogramMetricFamily as Histogram
from prometheus_client.core import InfoMetricFamily as Info
from prometheus_client.core import Metric

from daemon.authority import show
from daemon.errors import CertificateUnusable
from daemon.settings import Settings
from storage.counting import BOUNDS_S, CLASSIFIED, DELIVERED, MORE, REPORTED, WHOLE, Sums
from storage.gauges import Gauges
from storage.sums import ASSOCIATIONS


def from_sums(sums: Sums) -> Iterator[Metric]:
    """Give the counters and histograms."""
    for name, said, labels in _COUNTERS:
        family = Counter(f"hilum_{name}", said, labels=labels)
        if not labels:
            family.add_metric((), sums.get((name, ()), 0.0))
        for (of, values), value in sorted(sums.items()):
            if of == name and labels:
                family.add_metric(values, value)
        yield family
    yield _associations(sums)
    yield _latencies(sums)


_COUNTERS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("images_received", "Images taken by C-STORE: new, repeated or conflict", ("outcome",)),
    ("bytes_received", "Bytes of the images taken, repeated ones too", ()),
    ("images", "What became of images, and why they were not analysed", ("outcome", "reason")),
    ("findings", "Findings of analysed images; present: the threshold was reached",
     ("finding", "result")),
    ("reports", "Reports made, each version", ()),
    ("deliveries", "What PACS answered to reports and heat maps", ("pacs", "outcome")),
    ("audit_rows", "Rows of the audit trail", ("action",)),
)  # fmt: skip


def _associations(sums: Sums) -> Counter:
    said = "Associations accepted; refused or cut, and connections refused, with the reason"
    family = Counter("hilum_associations", said, labels=("outcome", "reason"))
    for (name, values), value in sorted(sums.items()):
        if name == ASSOCIATIONS:
            family.add_metric(values, value)
    return family


def _latencies(sums: Sums) -> Histogram:
    said = (
        "Seconds from an image accepted to classified, from a study's last result to reported, from"
        " a report made to delivered, and as a whole from a study's last image to its report at the"
        " PACS"
    )
    family = Histogram("hilum_stage_seconds", said, labels=("stage",))
    for stage in (CLASSIFIED, REPORTED, DELIVERED, WHOLE):
        buckets, below = [], 0.0
        for bound in (*(f"{one:g}" for one in BOUNDS_S), MORE):
            below += sums.get(("latency_count", (stage, bound)), 0.0)
            buckets.append((bound, below))
        family.add_metric((stage,), buckets, sums.get(("latency_seconds", (stage,)), 0.0))
    return family


def from_gauges(now: Gauges, at: float) -> Iterator[Metric]:
    """Give how things stand; `at`: the time by the database's clock."""
    yield from _of_work(now, at)
    yield from _of_care(now, at)


def _age(since: float | None, at: float) -> float:
    return 0.0 if since is None else max(0.0, at - since)


def _of_work(now: Gauges, at: float) -> Iterator[Metric]:
    """What is on its way from the modality to the PACS."""
    yield _one(
        "queue_images",
        "Images that wait, are in work, or are in quarantine",
        ("state",),
        {(str(state),): count for state, count in now.jobs.items()},
    )
    yield _one(
        "queue_oldest_seconds",
        "Age of the oldest image that has no answer yet",
        (),
        {(): _age(now.oldest_image_at, at)},
    )
    yield _one(
        "studies",
        "Studies whose report is due, in work, or cannot be built",
        ("state",),
        {(str(state),): count for state, count in now.studies.items()},
    )
    yield _one(
        "outbox_objects",
        "Reports and heat maps that are not done with",
        ("pacs", "state"),
        {(pacs, str(state)): count for (pacs, state), count in now.deliveries.items()},
    )
    yield _one(
        "outbox_oldest_seconds",
        "Age of the oldest report that waits for a PACS",
        ("pacs",),
        {(pacs,): _age(made, at) for pacs, made in now.oldest_report_at.items()},
    )


def _of_care(now: Gauges, at: float) -> Iterator[Metric]:
    """What looks after the service, and what it serves with."""
    yield _one("alarms", "Alarms that are open or acknowledged", ("kind", "state"), now.alarms)
    yield _one("runs", "Runs that wait or are in work", ("kind", "state"), now.runs)
    yield _one(
        "run_ended_timestamp_seconds",
        "When a run last ended in that state",
        ("kind", "state"),
        now.run_ended_at,
    )
    yield _one(
        "host_silent_seconds",
        "How long ago a host said that it lives",
        ("host",),
        {(name,): _age(seen, at) for name, seen in now.hosts},
    )
    yield _one(
        "drift_images",
        "Images in a station's control charts",
        ("station",),
        {(one.station,): one.images for one in now.drift},
    )
    yield _one(
        "drift_highest_sum",
        "A station's highest CUSUM, in standard deviations",
        ("station",),
        {(one.station,): one.highest for one in now.drift},
    )
    yield _one(
        "drift_measures_left",
        "Measures of a station that left their reference",
        ("station",),
        {(one.station,): one.left for one in now.drift},
    )
    yield _one(
        "worker_bundle_info",
        "What each worker has loaded",
        ("worker", "bundle", "engine"),
        dict.fromkeys(now.workers, 1),
    )
    bundle = Info("hilum_bundle", "The bundle that serves")
    if now.serving is not None:
        bundle.add_metric((), dict(zip(("version", "digest"), now.serving, strict=True)))
    yield bundle


def of_machine(settings: Settings) -> Iterator[Metric]:
    """Give the release, the disk, and until when certificates are valid."""
    build = Info("hilum_build", "The release")
    build.add_metric((), {"version": version("hilum")})
    yield build
    usage = shutil.disk_usage(settings.storage.root)
    yield _one(
        "disk_bytes",
        "The storage root's file system; below the reserve no image is taken",
        ("kind",),
        {
            ("total",): usage.total,
            ("free",): usage.free,
            ("reserve",): settings.storage.reserve_bytes,
        },
    )
    yield _one("certificate_expires_timestamp_seconds", "Until when a certificate is valid;"
               " 0: it cannot be read", ("certificate",), _certificates(settings))  # fmt: skip


def _certificates(settings: Settings) -> dict[tuple[str, ...], float]:
    own, web = settings.dicom.tls, settings.web.tls
    files = {} if own is None else {"dicom": own.certificate, "dicom_authority": own.ca}
    files |= {} if web is None else {"web": web.certificate}
    for pacs in settings.pacs:
        if pacs.tls is not None and pacs.tls.certificate is not None:
            files[f"pacs.{pacs.name}"] = pacs.tls.certificate
    found: dict[tuple[str, ...], float] = {}
    for name, file in files.items():
        try:
            found[name,] = show(file).not_after.timestamp()
        except CertificateUnusable:
            found[name,] = 0.0
    return found


def _one(name: str, said: str, labels: tuple[str, ...], values: Mapping[Any, float]) -> Gauge:
    """A family of gauges; `values`: by the tuple of the labels' values."""
    family = Gauge(f"hilum_{name}", said, labels=labels)
    for which, value in values.items():
        family.add_metric(which, value)
    return family

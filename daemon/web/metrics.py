"""What a monitor scrapes: read at most every few seconds, however many ask."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest

from daemon import metrics
from daemon.web.context import Site
from daemon.web.health import processes
from storage import gauges
from storage.sums import Tally

KEPT_S = 3.0
CATCH_UP_S = 0.02  # what the scheduler has not kept yet; more of it with the next scrape


class Exposition:
    """The metrics of a site, as text. Safe to use from several threads."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._tally = Tally(site.database)
        self._lock = threading.Lock()
        self._text, self._until = b"", 0.0

    def text(self) -> bytes:
        """Return them in the text format 0.0.4. Raises StorageError."""
        with self._lock:
            now = time.monotonic()
            if now >= self._until:
                self._text = generate_latest(self)
                self._until = time.monotonic() + KEPT_S
            return self._text

    def collect(self) -> Iterator[Metric]:
        """Give each family, as a registry of prometheus_client does."""
        started, settings = time.perf_counter(), self._site.settings
        database = self._site.database
        yield from metrics.from_sums(self._tally.catch_up(CATCH_UP_S))
        yield from metrics.from_gauges(gauges.look(database), database.clock())
        yield from metrics.of_machine(settings)
        if not settings.storage.host:  # else the roles are spread, and each host says that it lives
            family = GaugeMetricFamily(
                "hilum_process_up", "Whether a process of the service runs", labels=("process",)
            )
            for one in processes(settings):
                family.add_metric((one.name,), float(one.running))
            yield family
        took = time.perf_counter() - started
        yield GaugeMetricFamily("hilum_metrics_seconds", "How long it took to read all this", took)

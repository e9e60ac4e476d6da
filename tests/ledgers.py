"""A ledger that pages show: the default bundle serves, and others were taken in beside it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from classifier.bundle import load_bundle
from daemon.shelf import facts_of
from storage.bundles import BundleFacts
from storage.ledger import Ledger
from tests.pages import Pages, open_pages

FIRST = facts_of(load_bundle())
SECOND = BundleFacts("hilum_vgg16 two", "2" * 64, "hilum_vgg16-two", FIRST.card, FIRST.thresholds)


@contextmanager
def pages_with(folder: Path, *bundles: BundleFacts) -> Iterator[Pages]:
    """Open pages whose ledger has these bundles; the first serves."""
    with open_pages(folder) as opened:
        ledger = Ledger(opened.storage.database)
        for facts in bundles:
            ledger.register(facts, 1)
        ledger.configure(bundles[0].digest, 2)
        yield opened

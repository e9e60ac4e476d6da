"""One worker's classifier, kept to the ledger: in the test's own process, with real bundles."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

import pytest

from classifier.classify import Classifier
from classifier.errors import BundleRefused
from classifier.pixels import from_image_file
from daemon import serving
from daemon.serving import Serving
from daemon.settings import ClassifierSettings, Settings, StorageSettings, WatchSettings
from daemon.shelf import Shelf
from storage.bundles import ModelState
from storage.doubts import Doubts
from storage.ledger import Ledger, LedgerRefuses
from storage.records import Doubt
from storage.workers import Workers
from tests.bundles import another, unanswering
from tests.harness import until
from tests.storing import open_storage


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(storage=StorageSettings(root=tmp_path / "root"))


@pytest.fixture
def ledger(settings: Settings) -> Ledger:
    return Ledger(open_storage(settings.storage.root).database)


def opened(settings: Settings, ledger: Ledger) -> Serving:
    one = Serving(settings, ledger._database, "worker-0")
    one.open()
    return one


def add(settings: Settings, ledger: Ledger, folder: Path) -> str:
    return Shelf(settings.storage.root).take(folder, ledger, 1).digest


def follow(one: Serving, wanted: str) -> Classifier:
    return until(lambda: (found := one.look()).bundle.digest == wanted and found)  # type: ignore[no-any-return]


def test_what_was_replaced_is_at_hand_for_a_roll_back_and_then_leaves_the_memory(
    tmp_path: Path, settings: Settings, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "LOOK_EVERY_S", 0.0)
    one = opened(settings, ledger)
    first = one.look()
    second = add(settings, ledger, another(tmp_path / "second", "second"))
    ledger.promote(second, "ada", "better", 3)
    promoted = follow(one, second)
    ledger.rollback("ada", "worse", 4)
    assert one.look() is first, "at once, not loaded anew"
    assert Workers(ledger._database).all()[0].version == first.version

    monkeypatch.setattr(serving, "KEEP_S", 0.0)
    ledger.promote(second, "ada", "once more", 5)
    assert one.look() is promoted
    gone = weakref.ref(first)
    del first
    one.look()
    gc.collect()
    assert gone() is None


def test_a_worker_that_starts_takes_what_was_promoted(
    tmp_path: Path, settings: Settings, ledger: Ledger
) -> None:
    opened(settings, ledger)
    second = add(settings, ledger, another(tmp_path / "second", "second"))
    ledger.promote(second, "ada", "better", 3)
    ledger.set_threshold(second, "pneumonia", 0.77, "ada", "too many", 4)
    found = opened(settings, ledger).look()
    assert found.bundle.digest == second
    assert found.thresholds["pneumonia"] == 0.77

    # Damaged while no worker ran: the one that starts goes back to what served before
    weights = settings.storage.root / "models" / "hilum_vgg16-second" / "weights.safetensors"
    weights.write_bytes(b"")
    again = opened(settings, ledger).look()
    assert again.bundle.digest != second
    assert ledger.models()[0].state is ModelState.REFUSED


def test_a_doubt_reaches_the_next_image_and_goes_when_it_is_lifted(
    settings: Settings,
    ledger: Ledger,
    monkeypatch: pytest.MonkeyPatch,
    demo_images: list[Path],
) -> None:
    monkeypatch.setattr(serving, "LOOK_EVERY_S", 0.0)
    one = opened(settings, ledger)
    digest, doubts = one.look().bundle.digest, Doubts(ledger._database)
    assert doubts.doubt(digest, "pneumonia", "of 30 reviews none show it", 2)
    assert not doubts.doubt(digest, "pneumonia", "again", 3)
    classifier = one.look()
    assert classifier.doubts == {"pneumonia": Doubt.STOPPED}
    found = classifier.infer(classifier.place(from_image_file(demo_images[0]))).findings
    assert {one.name: one.doubt for one in found if one.doubt} == classifier.doubts
    update = {"watch": WatchSettings(broken_calibration="mark")}
    marking = Serving(settings.model_copy(update=update), ledger._database, "worker-1")
    now = ledger.serving()
    assert now is not None
    assert marking._doubts(now) == {"pneumonia": Doubt.MARKED}
    doubts.lift(digest, "pneumonia", "ada", "a wrong list", 4)
    assert one.look().doubts == {}


def test_settings_that_name_no_bundle_do_not_stop_what_serves(
    tmp_path: Path, settings: Settings, ledger: Ledger
) -> None:
    wrong = settings.model_copy(
        update={"classifier": ClassifierSettings(bundle=str(tmp_path / "none"))}
    )
    with pytest.raises(BundleRefused, match="cannot be read"):
        opened(wrong, ledger)
    digest = opened(settings, ledger).look().bundle.digest
    assert opened(wrong, ledger).look().bundle.digest == digest


def test_a_bundle_whose_graph_does_not_answer_is_refused(
    tmp_path: Path, settings: Settings, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every hash is right, and yet it must not serve: its graph is another network's."""
    monkeypatch.setattr(serving, "LOOK_EVERY_S", 0.0)
    one = opened(settings, ledger)
    first = one.look()
    digest = add(settings, ledger, unanswering(tmp_path / "broken", "broken"))
    ledger.promote(digest, "ada", "better", 3)
    until(lambda: one.look() and ledger.models()[0].state is ModelState.REFUSED)
    assert one.look() is first
    assert "does not run" in str(ledger.models()[0].reason)
    found = ledger.serving()
    assert found is not None
    assert found.model.digest == first.bundle.digest


def test_a_version_is_never_two_bundles(tmp_path: Path, settings: Settings, ledger: Ledger) -> None:
    digest = add(settings, ledger, another(tmp_path / "second", "second"))
    other = another(tmp_path / "other", "second", intended_use="Another one.")
    with pytest.raises(LedgerRefuses, match="another bundle of the version"):
        add(settings, ledger, other)
    kept = Shelf(settings.storage.root).load("hilum_vgg16-second", digest)
    assert kept.manifest.intended_use != "Another one."

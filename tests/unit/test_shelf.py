"""The shelf keeps one sound copy of a bundle, and makes it anew only where that mends it."""

from __future__ import annotations

from pathlib import Path

import pytest

from classifier.bundle import load_bundle
from classifier.errors import BundleRefused
from daemon.shelf import Shelf
from storage.ledger import Ledger
from tests.bundles import another
from tests.storing import open_storage


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(open_storage(tmp_path / "root").database)


def damage(folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[-1] ^= 1
    (folder / name).write_bytes(content)


def test_a_bundle_with_a_damaged_graph_is_copied_once(tmp_path: Path, ledger: Ledger) -> None:
    """The service's own, from its settings: another engine serves, at each start anew."""
    source, shelf = another(tmp_path / "source", "second"), Shelf(tmp_path / "root")
    damage(source, "int8.bin")
    folder = shelf.folder / shelf.take(source, ledger, 1).folder
    first = folder.stat().st_ino
    shelf.take(source, ledger, 2)
    assert folder.stat().st_ino == first

    # One more graph is damaged on the shelf alone: the copy is made anew
    damage(folder, "int8.xml")
    shelf.take(source, ledger, 3)
    assert folder.stat().st_ino != first
    assert list(load_bundle(folder).damaged_graphs()) == ["int8.bin"]

    # The source is mended: so is the shelf
    damage(source, "int8.bin")
    shelf.take(source, ledger, 4)
    assert load_bundle(folder).damaged_graphs() == {}


def test_a_person_adds_no_bundle_with_a_damaged_graph(tmp_path: Path, ledger: Ledger) -> None:
    source, shelf = another(tmp_path / "source", "second"), Shelf(tmp_path / "root")
    damage(source, "int8.bin")
    with pytest.raises(BundleRefused, match=r"int8\.bin was changed"):
        shelf.take(source, ledger, 1, "ada")
    assert not shelf.folder.exists()

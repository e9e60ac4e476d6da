"""Fixtures that several folders share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests import databases
from tests.harness import Orthanc, Pacs, Service, write_config


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """On PostgreSQL, leave out what is about SQLite."""
    if databases.POSTGRESQL:
        for item in items:
            if item.get_closest_marker("sqlite"):
                item.add_marker(pytest.mark.skip(reason="about SQLite itself"))


# The same examples each time, so that a release is judged by what changed; `make soak` looks for
# others.
settings.register_profile("repeatable", derandomize=True)
if "HILUM_ANY_EXAMPLES" not in os.environ:
    settings.load_profile("repeatable")

DEMO = Path(__file__).parents[1] / "deploy" / "demo"


@pytest.fixture(scope="session")
def demo_images() -> list[Path]:
    """The twelve published radiographs."""
    return sorted(DEMO.glob("*.png"))


@pytest.fixture
def tmp_path(tmp_path: Path) -> Iterator[Path]:
    """The folder of one test, whose databases go with it."""
    yield tmp_path
    databases.drop(tmp_path)


@pytest.fixture
def pacs() -> Iterator[Pacs]:
    """A scripted PACS on the loopback."""
    peer = Pacs().start()
    yield peer
    peer.stop()


@pytest.fixture
def orthanc(tmp_path: Path) -> Iterator[Orthanc]:
    """A real Orthanc on the loopback."""
    peer = Orthanc(tmp_path / "orthanc").start()
    yield peer
    peer.stop()


@pytest.fixture
def service(tmp_path: Path, pacs: Pacs) -> Iterator[Service]:
    """A service that is not started yet, and reports to the scripted PACS."""
    one = Service(tmp_path, write_config(tmp_path, pacs.port))
    yield one
    if one.process is not None and one.process.poll() is None:
        one.kill()

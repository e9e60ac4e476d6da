"""The four packages are ours, and the processes that face the network stay small."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("package", ["daemon", "classifier", "storage", "training"])
def test_each_package_is_imported_from_our_own_tree(package: str) -> None:
    """PyPI's python-daemon also imports as `daemon`: it must not be the one that answers."""
    module = __import__(package)
    assert module.__file__ is not None
    assert Path(module.__file__).parent == ROOT / package


@pytest.mark.parametrize("module", ["daemon.listener", "daemon.delivery", "daemon.web.server"])
def test_no_machine_learning_is_loaded_where_the_network_is_faced(module: str) -> None:
    code = (
        f"import sys, {module}; heavy = {{'openvino', 'tensorflow', 'keras', 'cv2', 'sklearn', "
        "'highdicom'}; print(sorted(heavy & set(sys.modules)))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert loaded.stdout.strip() == "[]"


def test_every_package_is_part_of_the_distribution() -> None:
    """A checkout works without: the list counts in an installed wheel alone."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    listed = set(project["tool"]["setuptools"]["packages"])
    there = {
        ".".join(file.parent.relative_to(ROOT).parts)
        for name in ("daemon", "classifier", "storage", "training")
        for file in (ROOT / name).rglob("__init__.py")
    }
    assert there == listed

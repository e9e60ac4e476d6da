"""Rules of the house that a reader would otherwise have to trust."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OURS = [file for name in ("daemon", "classifier", "storage", "training")
        for file in sorted((ROOT / name).rglob("*.py"))]  # fmt: skip

# Where one thing's fault must not end the others: an instance, a study, a PACS, the command line.
CATCH_ALL = {
    "daemon/listener.py", "daemon/image_work.py", "daemon/study_work.py", "daemon/delivery.py",
    "daemon/cli.py",
}  # fmt: skip


def test_only_the_outermost_loops_catch_everything() -> None:
    catching = {
        str(file.relative_to(ROOT)) for file in OURS if "except Exception" in file.read_text()
    }
    assert catching == CATCH_ALL


@pytest.mark.parametrize("lock", ["runtime.txt", "dev.txt"])
def test_the_lock_files_hold_hashes_and_no_registry(lock: str) -> None:
    text = (ROOT / "deploy" / "lock" / lock).read_text()
    assert "://" not in text
    requirements = re.findall(r"^([A-Za-z0-9._-]+)==.*?(?=^\S|\Z)", text, re.MULTILINE | re.DOTALL)
    blocks = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)[1:]
    assert len(requirements) == len(blocks) > 20
    assert all("--hash=sha256:" in block for block in blocks)


def test_no_log_record_is_written_but_from_the_catalogue() -> None:
    written = re.compile(r"(?:log|_log)\.(?:info|warning|error|critical)\(\s*(\S+?)[,)\s]")
    for file in OURS:
        for first in written.findall(file.read_text()):
            assert first.startswith(("Event.", "_ACCEPTANCE_EVENTS")), (file.name, first)


def test_nothing_is_unpickled_and_no_model_file_is_run() -> None:
    for file in OURS:
        text = file.read_text()
        assert not re.search(r"\bimport pickle|pickle\.load|load_model\(|joblib\.load", text), file

"""More bundles, made cheaply of the default one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from classifier.bundle import MANIFEST, default_folder


def another(folder: Path, version: str, **changes: Any) -> Path:
    """Return a bundle in a new folder: the default one's weights under another version."""
    folder.mkdir(parents=True)
    for source in default_folder().iterdir():
        if source.name != MANIFEST:
            (folder / source.name).write_bytes(source.read_bytes())
    manifest = json.loads((default_folder() / MANIFEST).read_bytes())
    manifest.update(version=version, **changes)
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
    return folder

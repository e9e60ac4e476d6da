"""More bundles, made cheaply of the default one."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from openvino import opset13 as ops

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


def unanswering(folder: Path, version: str) -> Path:
    """Return a bundle, every hash of it right, whose graph gives logits and no maps."""
    another(folder, version)
    image = ops.parameter([1, 224, 224], np.uint8, "image")
    mean = ops.reduce_mean(ops.convert(image, "f32"), np.array([1, 2]), keep_dims=False)
    logits = ops.multiply(ops.unsqueeze(mean, np.array(1)), np.ones((1, 5), np.float32))
    logits.output(0).set_names({"logits"})
    image.output(0).set_names({"image"})
    ov.save_model(ov.Model([logits], [image]), folder / "int8.xml", compress_to_fp16=False)
    manifest = json.loads((folder / MANIFEST).read_bytes())
    for name in ("int8.xml", "int8.bin"):
        manifest["files"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return folder

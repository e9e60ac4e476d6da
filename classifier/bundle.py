"""A model bundle: a folder of weights, graphs and a manifest, verified byte by byte.

Nothing in it is run or unpickled: the manifest is JSON checked against a schema, the weights are
safetensors, a graph is OpenVINO IR. A bundle is written once and never edited.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from classifier.errors import BundleRefused
from classifier.frontal import FrontalModel, unpack
from classifier.interval import Interval as Interval
from classifier.manifest import (
    CalibrationGain,
    Code,
    FindingLabel,
    FindingMetrics,
    FindingOutput,
    Frontal,
    Graph,
    Manifest,
    Metrics,
    Parity,
    Precision,
    Recalibration,
    Reference,
    Replay,
    Retraining,
    TrainingData,
)
from classifier.network import Weights, weight_shapes
from classifier.preprocessing import VERSIONS

__all__ = [
    "FRONTAL",
    "MANIFEST",
    "MAX_BYTES",
    "REPLAY",
    "WEIGHTS",
    "Bundle",
    "CalibrationGain",
    "Code",
    "FindingLabel",
    "FindingMetrics",
    "FindingOutput",
    "Frontal",
    "Graph",
    "Manifest",
    "Metrics",
    "Parity",
    "Precision",
    "Recalibration",
    "Reference",
    "Replay",
    "Retraining",
    "TrainingData",
    "default_folder",
    "load_bundle",
    "pack_weights",
    "write_bundle",
]

MANIFEST = "manifest.json"
WEIGHTS = "weights.safetensors"
FRONTAL = "frontal.safetensors"
REPLAY = "replay.safetensors"
MAX_BYTES = 60_000_000


@dataclass(frozen=True)
class Bundle:
    """A verified bundle. `digest` is the SHA-256 of its manifest, and so of all that it names."""

    folder: Path
    manifest: Manifest
    digest: str

    @property
    def version(self) -> str:
        """Name and version, as results and reports state it."""
        return f"{self.manifest.name} {self.manifest.version}"

    def read(self, name: str) -> bytes:
        """The bytes of one file, verified.

        Raises:
            BundleRefused: the file is missing, too large or was changed.
        """
        return _read_verified(self.folder, name, self.manifest.files.get(name, ""))

    def damaged_graphs(self) -> dict[str, str]:
        """Each file of a graph that is missing or was changed, and what is wrong with it.

        `load_bundle` does not look at them: another engine serves where one is damaged.
        """
        damaged = {}
        for name in sorted(self.manifest.graph_files):
            try:
                self.read(name)
            except BundleRefused as error:
                damaged[name] = str(error)
        return damaged

    def weights(self) -> Weights:
        """All weights as float32.

        Raises:
            BundleRefused: they are damaged, or not those of the architecture.
        """
        try:
            tensors = load_tensors(self.read(WEIGHTS))
        except (SafetensorError, ValueError, KeyError) as error:
            raise BundleRefused(f"{WEIGHTS} cannot be read ({type(error).__name__}).") from error
        shapes = weight_shapes(self.manifest.architecture)
        if {name: tensor.shape for name, tensor in tensors.items()} != shapes:
            raise BundleRefused(f"{WEIGHTS} does not hold the weights of the architecture.")
        if not all(np.isfinite(tensor).all() for tensor in tensors.values()):
            raise BundleRefused(f"{WEIGHTS} holds infinite values.")
        return {name: tensor.astype(np.float32) for name, tensor in tensors.items()}

    def frontal(self) -> FrontalModel | None:
        """The model of frontal chests, where the bundle has one.

        Raises:
            BundleRefused: it is damaged, or not of this network.
        """
        stated = self.manifest.frontal
        if stated is None:
            return None
        return unpack(self.read(stated.file), self.manifest.architecture, stated.skips)


def load_bundle(folder: Path | str = "default") -> Bundle:
    """A bundle whose every file has the hash that the manifest states.

    The graphs alone are verified when they are read: see `Bundle.damaged_graphs`.

    Raises:
        BundleRefused: names the file that is missing, changed, unknown or malformed.
    """
    folder = default_folder() if str(folder) == "default" else Path(folder)
    try:
        raw = (folder / MANIFEST).read_bytes()
        names = {entry.name for entry in folder.iterdir()}
    except OSError as error:
        raise BundleRefused(f"{folder / MANIFEST} cannot be read: {error.strerror}.") from error
    try:
        manifest = Manifest.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "document"
        raise BundleRefused(f"{MANIFEST} is malformed: {where}: {first['msg']}.") from error
    _check(manifest)
    needed = set(manifest.files) - manifest.graph_files
    unknown, missing = names - {MANIFEST, *manifest.files}, needed - names
    if unknown or missing:
        raise BundleRefused(
            "The bundle's files are not those of its manifest. "
            f"Unknown: {', '.join(sorted(unknown)) or 'none'}. "
            f"Missing: {', '.join(sorted(missing)) or 'none'}."
        )
    for name in needed:
        _read_verified(folder, name, manifest.files[name])
    return Bundle(folder, manifest, hashlib.sha256(raw).hexdigest())


def write_bundle(folder: Path, manifest: Manifest, contents: Mapping[str, bytes]) -> Bundle:
    """Write a bundle: all of it appears at once under `folder`, or nothing.

    `manifest.files` is filled in from `contents`.

    Raises:
        BundleRefused: `folder` exists already, or what would be written is no valid bundle.
    """
    if folder.exists():
        raise BundleRefused(f"{folder} exists already; a bundle is never edited.")
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}
    manifest = Manifest.model_validate({**manifest.model_dump(), "files": hashes})
    text = manifest.model_dump_json(indent=1) + "\n"
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        for name, data in {**contents, MANIFEST: text.encode()}.items():
            with (draft / name).open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        load_bundle(draft).weights()
        draft.chmod(0o755)
        _sync_folder(draft)
        draft.rename(folder)
        _sync_folder(folder.parent)
    finally:
        if draft.exists():
            shutil.rmtree(draft)
    return load_bundle(folder)


def pack_weights(weights: Weights) -> bytes:
    """safetensors in half precision."""
    halves = {name: array.astype(np.float16) for name, array in sorted(weights.items())}
    return bytes(save_tensors(halves))


def default_folder() -> Path:
    """Where the bundle that ships with the product stands."""
    return Path(str(files("classifier.bundles"))) / "default"


def _check(manifest: Manifest) -> None:
    names = tuple(finding.label.name for finding in manifest.findings)
    if manifest.preprocessing not in VERSIONS:
        raise BundleRefused(
            f"{MANIFEST} names an unknown preprocessing. Allowed: {', '.join(VERSIONS)}. "
            f"Received: {manifest.preprocessing}."
        )
    if not names or names != manifest.architecture.targets or len(set(names)) != len(names):
        raise BundleRefused(f"{MANIFEST}: the findings are not the network's targets.")
    extra = {part.file for part in (manifest.frontal, manifest.replay) if part is not None}
    if {WEIGHTS} | extra | manifest.graph_files != set(manifest.files):
        raise BundleRefused(f"{MANIFEST}: the files are not those of a bundle.")


def _read_verified(folder: Path, name: str, expected: str) -> bytes:
    path = folder / name
    try:
        if path.is_symlink() or not path.is_file() or path.stat().st_size > MAX_BYTES:
            raise BundleRefused(f"{name} is no regular file of at most {MAX_BYTES:,} bytes.")
        data = path.read_bytes()
    except OSError as error:
        raise BundleRefused(f"{name} cannot be read: {error.strerror}.") from error
    if hashlib.sha256(data).hexdigest() != expected:
        raise BundleRefused(f"{name} was changed: its SHA-256 is not that of the manifest.")
    return data


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

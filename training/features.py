"""Features of the frozen base, computed once per image and kept on disk.

The cache is two files of half-precision rows, maps and averages, and an index that names the image
of each row. It is keyed by what the features depend on: base weights, layers, preprocessing and
side by the folder's name; image bytes and variant by the index. A row counts once it stands in the
index, so that work goes on after a kill where it ended.
"""

from __future__ import annotations

import hashlib
import mmap
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import openvino as ov
from numpy.typing import NDArray

from classifier.engine import compile_graph
from classifier.errors import NotEligible, Undecodable
from classifier.graph import base_graph
from classifier.network import LAYERS, STRIDE, Weights, base_shapes, skip_filters
from classifier.pixels import Grey
from classifier.preprocessing import network_input
from training.dataset import Case, LabelledImages
from training.effort import Effort
from training.errors import CacheFailed
from training.images import read_radiograph

Progress = Callable[[str, int, int], None]
"""Called with the step's name, what is done and what there is to do."""

SPARE_BYTES = 64_000_000
"""Left free on the disk beside the cache."""


@dataclass(frozen=True, slots=True)
class FeatureKind:
    """What the features are of: layers of the base, and the input that it sees."""

    taps: tuple[str, ...]
    skips: tuple[str, ...]
    preprocessing: str
    side: int

    @property
    def maps_size(self) -> int:
        """Values of the taps' maps, side by side."""
        return (self.side // STRIDE) ** 2 * sum(LAYERS[tap][0] for tap in self.taps)

    @property
    def averages_size(self) -> int:
        """Values of the skips' averages."""
        return sum(skip_filters(skip) for skip in self.skips)


class Rows:
    """A file of half-precision rows, memory-mapped, of which only what is in use is resident."""

    def __init__(self, path: Path, count: int, size: int) -> None:
        self.shape = (count, size)
        self._map: mmap.mmap | None = None
        self._array: NDArray[np.float16] = np.zeros((count, size), dtype=np.float16)
        if count and size:
            with path.open("rb") as file:
                self._map = mmap.mmap(file.fileno(), 2 * count * size, access=mmap.ACCESS_READ)
            self._array = np.frombuffer(self._map, dtype=np.float16).reshape(count, size)

    def take(self, rows: NDArray[np.int64]) -> NDArray[np.float16]:
        """A copy of some rows."""
        taken = self._array[rows]
        if self._map is not None:
            self._map.madvise(mmap.MADV_DONTNEED)  # pages stay in the system's cache, not in ours
        return taken


class FeatureCache:
    """Rows of features by image and variant.

    rows: row by name, which is the image's SHA-256 and the variant.
    inputs: SHA-256 of the base's input by name; equal where images show the same pixels.
    """

    def __init__(self, root: Path, kind: FeatureKind, base: Weights) -> None:
        digest = hashlib.sha256(repr(kind).encode())
        for name in base_shapes():
            digest.update(np.ascontiguousarray(base[name], dtype=np.float16).tobytes())
        self.kind = kind
        self.folder = root / digest.hexdigest()[:16]
        self._index = self.folder / "index.txt"
        self._files = (self.folder / "maps.f16", self.folder / "averages.f16")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for file in self._files:
                file.touch()
            text = self._index.read_text() if self._index.exists() else ""
            lines = text[: text.rfind("\n") + 1].splitlines()  # a torn last line does not count
            self._index.write_text("".join(f"{line}\n" for line in lines))
        except OSError as error:
            raise _failed(self.folder, error) from error
        entries = [line.split() for line in lines]
        self.rows = {name: row for row, (name, _) in enumerate(entries)}
        self.inputs = dict(entries)

    @property
    def row_bytes(self) -> int:
        """On the disk, of one variant of one image."""
        return 2 * (self.kind.maps_size + self.kind.averages_size)

    def check_space(self, rows: int) -> None:
        """Raises: CacheFailed: so many more rows do not fit on the disk."""
        needed, free = rows * self.row_bytes + SPARE_BYTES, shutil.disk_usage(self.folder).free
        if needed > free:
            raise CacheFailed(
                f"The features need {needed / 1e9:.1f} GB in {self.folder.parent}. "
                f"Free: {free / 1e9:.1f} GB."
            )

    def append(
        self, name: str, digest: str, maps: NDArray[np.float16], averages: NDArray[np.float16]
    ) -> None:
        """Keep one row. The data reach the files before the index names them.

        Raises:
            CacheFailed: the disk does not take it.
        """
        row = len(self.rows)
        try:
            for path, part in zip(self._files, (maps, averages), strict=True):
                with path.open("r+b") as file:
                    file.seek(2 * row * part.size)
                    file.write(np.ascontiguousarray(part, dtype=np.float16).tobytes())
            with self._index.open("a") as file:
                file.write(f"{name} {digest}\n")
        except OSError as error:
            raise _failed(self.folder, error) from error
        self.rows[name], self.inputs[name] = row, digest

    def maps(self) -> Rows:
        """The taps' maps, (rows, maps_size)."""
        return Rows(self._files[0], len(self.rows), self.kind.maps_size)

    def averages(self) -> Rows:
        """The skips' averages, (rows, averages_size)."""
        return Rows(self._files[1], len(self.rows), self.kind.averages_size)

    def find(self, cases: tuple[Case, ...], variant: int) -> NDArray[np.int64]:
        """Row of each case."""
        return np.array([self.rows[_name(case, variant)] for case in cases], dtype=np.int64)

    def input_of(self, case: Case) -> str:
        """SHA-256 of the base's input."""
        return self.inputs[_name(case, 0)]


class _Base:
    """The base at work: inputs go in, rows of the cache come out in the background."""

    def __init__(self, cache: FeatureCache, base: Weights) -> None:
        kind = cache.kind
        graph = base_graph(kind.side, kind.taps, kind.skips, base)
        self._queue = ov.AsyncInferQueue(compile_graph(graph, streams=True))
        self._queue.set_callback(self._keep)
        self._cache, self._lock = cache, threading.Lock()
        self._failure: CacheFailed | None = None

    def start(self, name: str, image: Grey) -> None:
        """Raises: CacheFailed: an earlier row could not be kept."""
        if self._failure is not None:
            self.finish()
        digest = hashlib.sha256(image.tobytes()).hexdigest()[:32]
        self._queue.start_async({"image": image[np.newaxis]}, (name, digest))

    def finish(self) -> None:
        """Raises: CacheFailed."""
        self._queue.wait_all()
        if self._failure is not None:
            raise self._failure

    def _keep(self, request: ov.InferRequest, key: tuple[str, str]) -> None:
        outputs = len(request.model_outputs)
        parts = [
            np.asarray(request.get_output_tensor(i).data.ravel(), dtype=np.float16)
            for i in range(outputs)
        ]
        averages = parts[1] if outputs > 1 else np.zeros(0, dtype=np.float16)
        with self._lock:
            try:
                if self._failure is None and key[0] not in self._cache.rows:
                    self._cache.append(*key, parts[0], averages)
            except CacheFailed as error:
                self._failure = error  # this is OpenVINO's thread: the caller is told in his own


def compute_features(
    data: LabelledImages,
    cache: FeatureCache,
    base: Weights,
    variants: int = 1,
    progress: Progress = lambda *_: None,
    effort: Effort | None = None,
) -> LabelledImages:
    """Fill the cache for all images and return the data set without the unreadable ones.

    Variant 0 is the image, 1 its mirror image, each further one a small random change.

    Raises:
        CacheFailed: the disk is full or fails.
    """
    effort = effort or Effort()
    kind, names = cache.kind, range(variants)
    missing = {c.sha256: c for c in data.cases if any(_name(c, v) not in cache.rows for v in names)}
    if not missing:
        return data
    cache.check_space(variants * len(missing))
    running = _Base(cache, base)
    unreadable: dict[str, str] = {}
    for number, case in enumerate(missing.values()):
        progress("features", number, len(missing))
        try:
            with effort.on("reading the images"):
                image, _ = network_input(read_radiograph(case.path), kind.preprocessing, kind.side)
        except (Undecodable, NotEligible) as error:
            unreadable[case.sha256] = str(error)
            continue
        except OSError as error:
            unreadable[case.sha256] = str(error.strerror)
            continue
        with effort.on("the base network"):
            for variant in names:
                if _name(case, variant) not in cache.rows:
                    running.start(_name(case, variant), varied(image, variant, case.sha256))
    with effort.on("the base network"):
        running.finish()
    progress("features", len(missing), len(missing))
    return data.without(
        {c.path: unreadable[c.sha256] for c in data.cases if c.sha256 in unreadable}
    )


def varied(image: Grey, variant: int, sha256: str) -> Grey:
    """A variant of a network input; odd ones are mirrored. The same arguments, the same pixels."""
    if variant % 2:
        image = np.ascontiguousarray(image[:, ::-1])
    if variant < 2:
        return image
    random = np.random.default_rng([variant, int(sha256[:12], 16)])
    side = image.shape[0]
    centre = ((side - 1) / 2, (side - 1) / 2)
    matrix = cv2.getRotationMatrix2D(centre, random.uniform(-8, 8), random.uniform(0.92, 1.12))
    matrix[:, 2] += random.uniform(-0.05, 0.05, size=2) * side
    image = np.asarray(cv2.warpAffine(image, matrix, (side, side), flags=cv2.INTER_LINEAR))
    gamma = np.exp(random.uniform(-0.25, 0.25))
    table = np.rint(255 * (np.arange(256) / 255) ** gamma).astype(np.uint8)
    return np.asarray(cv2.LUT(image, table))


def _name(case: Case, variant: int) -> str:
    return f"{case.sha256}:{variant}"


def _failed(folder: Path, error: OSError) -> CacheFailed:
    return CacheFailed(f"The features cannot be kept in {folder.parent}: {error.strerror}.")

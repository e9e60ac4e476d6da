"""Features of the frozen base, computed once per image and kept on disk.

The cache is a file of half-precision rows, and an index that names the image of each row. It is
keyed by what the features depend on: base weights, layers, preprocessing and side by the folder's
name; image bytes and variant by the index. A row counts once it stands in the
index, so that work goes on after a kill where it ended.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import openvino as ov
from numpy.typing import NDArray

from classifier.engine import compile_graph
from classifier.errors import Undecodable
from classifier.graph import base_graph
from classifier.network import LAYERS, STRIDE, Weights, base_shapes
from classifier.pixels import Grey, from_image_file
from classifier.preprocessing import network_input
from training.dataset import Case, LabelledImages

Progress = Callable[[str, int, int], None]
"""Called with the step's name, what is done and what there is to do."""


@dataclass(frozen=True, slots=True)
class FeatureKind:
    """What the features are of: layers of the base, and the input that it sees."""

    taps: tuple[str, ...]
    skips: tuple[str, ...]
    preprocessing: str
    side: int

    @property
    def maps_shape(self) -> tuple[int, int, int]:
        """Rows, columns and filters of the taps side by side."""
        grid = self.side // STRIDE
        return grid, grid, sum(LAYERS[tap][0] for tap in self.taps)

    @property
    def row_size(self) -> int:
        """Values of the taps' maps, followed by the averages of the skips."""
        return int(np.prod(self.maps_shape)) + sum(LAYERS[skip][0] for skip in self.skips)


class FeatureCache:
    """Rows of features by image and variant."""

    def __init__(self, root: Path, kind: FeatureKind, base: Weights) -> None:
        digest = hashlib.sha256(repr(kind).encode())
        for name in base_shapes():
            digest.update(np.ascontiguousarray(base[name], dtype=np.float16).tobytes())
        self.kind = kind
        self.folder = root / digest.hexdigest()[:16]
        self.folder.mkdir(parents=True, exist_ok=True)
        self._index = self.folder / "index.txt"
        self._data = self.folder / "features.f16"
        self._data.touch()
        text = self._index.read_text() if self._index.exists() else ""
        names = text[: text.rfind("\n") + 1].splitlines()  # a torn last line does not count
        self.rows = {name: row for row, name in enumerate(names)}
        self._index.write_text("".join(f"{name}\n" for name in names))

    @property
    def _row_bytes(self) -> int:
        return 2 * self.kind.row_size

    def append(self, name: str, features: NDArray[np.float16]) -> None:
        """Keep one row. The data reach the file before the index names them."""
        with self._data.open("r+b") as file:
            file.seek(len(self.rows) * self._row_bytes)
            file.write(np.ascontiguousarray(features, dtype=np.float16).tobytes())
        with self._index.open("a") as file:
            file.write(f"{name}\n")
        self.rows[name] = len(self.rows)

    def array(self) -> NDArray[np.float16]:
        """All rows, memory-mapped: (rows, row_size)."""
        shape = (len(self.rows), self.kind.row_size)
        return np.memmap(self._data, dtype=np.float16, mode="r", shape=shape)

    def find(self, cases: tuple[Case, ...], variant: int) -> NDArray[np.int64]:
        """Row of each case."""
        return np.array([self.rows[_name(case, variant)] for case in cases], dtype=np.int64)


def compute_features(
    data: LabelledImages,
    cache: FeatureCache,
    base: Weights,
    variants: int = 1,
    progress: Progress = lambda *_: None,
) -> LabelledImages:
    """Fill the cache for all images and return the data set without the unreadable ones.

    Variant 0 is the image, 1 its mirror image, each further one a small random change.
    """
    kind = cache.kind
    unreadable: dict[Path, str] = {}
    missing = [
        (case, [v for v in range(variants) if _name(case, v) not in cache.rows])
        for case in data.cases
    ]
    missing = [(case, wanted) for case, wanted in missing if wanted]
    if missing:
        graph = base_graph(kind.side, kind.taps, kind.skips, base)
        queue = ov.AsyncInferQueue(compile_graph(graph, streams=True))
        lock = threading.Lock()

        def keep(request: ov.InferRequest, name: str) -> None:
            parts = [
                request.get_output_tensor(i).data.ravel() for i in range(len(request.model_outputs))
            ]
            row = np.concatenate(parts).astype(np.float16)
            with lock:
                cache.append(name, row)

        queue.set_callback(keep)
    for number, (case, wanted) in enumerate(missing):
        progress("features", number, len(missing))
        try:
            radiograph = from_image_file(case.path)
        except Undecodable as error:
            unreadable[case.path] = str(error)
            continue
        image, _ = network_input(radiograph, kind.preprocessing, kind.side)
        for variant in wanted:
            varied_image = varied(image, variant, case.sha256)
            queue.start_async({"image": varied_image[np.newaxis]}, _name(case, variant))
    if missing:
        queue.wait_all()
    progress("features", len(missing), len(missing))
    return data.without(unreadable)


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

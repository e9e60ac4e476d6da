"""Engines that run a bundle's network, and the choice between them."""

from __future__ import annotations

import os
from typing import Any, Literal, Protocol

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from classifier.bundle import Bundle
from classifier.errors import BundleRefused, EngineUnavailable
from classifier.graph import network_graph

EngineName = Literal["auto", "int8", "bf16", "f32", "tensorflow"]
ORDER: tuple[EngineName, ...] = ("int8", "bf16", "f32", "tensorflow")
"""Fastest first."""

Logits = NDArray[np.float32]
Maps = NDArray[np.float32]


class Engine(Protocol):
    """Runs the network. `reason` says why it was chosen, or why faster ones were not."""

    name: str
    reason: str

    def run(self, batch: NDArray[np.uint8]) -> tuple[Logits, Maps]:
        """(N, side, side) to logits (N, findings) and maps (N, findings, grid, grid).

        A map is Grad-CAM of its finding: at least 0, in units of the logit per position.
        """


def open_engine(bundle: Bundle, name: EngineName = "auto") -> Engine:
    """The engine of that name, or for "auto" the fastest that runs here and passed its gate.

    Raises:
        EngineUnavailable: it cannot run here; for "auto", none can.
    """
    if name != "auto":
        return _open(bundle, name, "chosen by the configuration")
    refused: list[str] = []
    for candidate in ORDER:
        try:
            if candidate in ("int8", "bf16") and not _passed(bundle, candidate):
                raise EngineUnavailable("not passed by the bundle's accuracy gate")
            return _open(bundle, candidate, "; ".join(refused) or "the fastest")
        except (EngineUnavailable, BundleRefused) as error:
            refused.append(f"{candidate}: {error}")
    raise EngineUnavailable(f"No engine runs here. {'; '.join(refused)}")


def _passed(bundle: Bundle, name: Literal["int8", "bf16"]) -> bool:
    parity = bundle.manifest.parity.get(name)
    return parity is not None and parity.passed


def _open(bundle: Bundle, name: EngineName, reason: str) -> Engine:
    if name == "tensorflow":
        try:
            from classifier.reference import TensorFlowEngine
        except ImportError as error:
            raise EngineUnavailable("TensorFlow is not installed") from error
        return TensorFlowEngine(bundle, reason)
    return OpenVinoEngine(bundle, name, reason)


class OpenVinoEngine:
    """The network compiled by OpenVINO, one image at a time, on all cores of this process."""

    def __init__(self, bundle: Bundle, name: str, reason: str) -> None:
        self.name = name
        self.reason = reason
        core = ov.Core()
        if name == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise EngineUnavailable("the processor has no bf16")
        self._compiled = compile_graph(_graph(bundle, name, core), bf16=name == "bf16")
        self._request = self._compiled.create_infer_request()

    def run(self, batch: NDArray[np.uint8]) -> tuple[Logits, Maps]:
        """See `Engine.run`."""
        logits, maps = [], []
        for image in batch:
            outputs = self._request.infer({"image": image[np.newaxis]})
            logits.append(outputs["logits"].copy())
            maps.append(outputs["maps"].copy())
        return np.concatenate(logits), np.concatenate(maps)


def compile_graph(graph: ov.Model, *, bf16: bool = False, streams: bool = False) -> Any:
    """Compile for the cores that this process may use.

    One image at a time on all cores; with `streams`, one image on each core.
    """
    cores = len(os.sched_getaffinity(0))
    options = {
        "PERFORMANCE_HINT": "THROUGHPUT" if streams else "LATENCY",
        "NUM_STREAMS": cores if streams else 1,
        "INFERENCE_PRECISION_HINT": "bf16" if bf16 else "f32",
        "INFERENCE_NUM_THREADS": cores,
        "ENABLE_CPU_PINNING": not streams,
    }
    try:
        return ov.compile_model(graph, "CPU", options)
    except RuntimeError as error:
        raise EngineUnavailable(f"OpenVINO cannot compile the network: {error}") from error


def _graph(bundle: Bundle, name: str, core: ov.Core) -> ov.Model:
    if name != "int8":
        return network_graph(bundle.manifest.architecture, bundle.weights())
    stored = bundle.manifest.graphs.get("int8")
    if stored is None:
        raise EngineUnavailable("the bundle has no int8 graph")
    try:
        return core.read_model(bundle.read(stored.xml), bundle.read(stored.bin))
    except RuntimeError as error:
        raise BundleRefused(f"{stored.xml} is no OpenVINO graph.") from error

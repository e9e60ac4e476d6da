"""Engines that run a bundle's network, and the choice between them."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from classifier.bundle import Bundle
from classifier.errors import BundleRefused, EngineUnavailable

if TYPE_CHECKING:
    import openvino as ov

EngineName = Literal["auto", "int8", "bf16", "f32", "tensorflow"]
ORDER: tuple[EngineName, ...] = ("int8", "bf16", "f32", "tensorflow")
"""Fastest first, on every processor that has them: docs/decisions/0006."""

BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
"""Linux's names of instructions that multiply bf16: x86-64's, and Arm's."""

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Outputs:
    """What one pass of the network says of N images.

    members: logits of each member (N, members, findings).
    maps: Grad-CAM of each finding (N, findings, grid, grid): at least 0, logit per position.
    averages: of the base's layers that the dense blocks read (N, features), in the order of
        `Architecture.skips`.
    """

    members: Floats
    maps: Floats
    averages: Floats

    @property
    def logits(self) -> Floats:
        """The network's logits (N, findings): the mean of its members."""
        return np.asarray(self.members.mean(axis=1), dtype=np.float32)


class Engine(Protocol):
    """Runs the network. `reason` says why it was chosen, or why faster ones were not."""

    name: str
    reason: str

    def run(self, batch: NDArray[np.uint8]) -> Outputs:
        """The network's answer to (N, side, side) uint8."""


def open_engine(bundle: Bundle, name: EngineName = "auto") -> Engine:
    """The engine of that name, or for "auto" the fastest that runs here and passed its gate.

    Raises:
        EngineUnavailable: it cannot run here; for "auto", none can.
        BundleRefused: for a name other than "auto", its files were changed.
    """
    if name != "auto":
        return _OPEN[name](bundle, "chosen by the configuration")
    refused: list[str] = []
    for candidate in ORDER:
        try:
            if candidate in ("int8", "bf16"):
                _check_gate(bundle, candidate)
            return _OPEN[candidate](bundle, "; ".join(refused) or "the fastest")
        except (EngineUnavailable, BundleRefused) as error:
            refused.append(f"{candidate}: {error}")
    raise EngineUnavailable(f"No engine runs here. {'; '.join(refused)}")


def _check_gate(bundle: Bundle, name: Literal["int8", "bf16"]) -> None:
    parity = bundle.manifest.parity.get(name)
    if parity is None:
        raise EngineUnavailable("the bundle's accuracy gate was not run for it")
    if not parity.passed:
        raise EngineUnavailable(
            f"not passed by the bundle's accuracy gate (macro AUC {parity.macro_auc_difference:+}, "
            f"{parity.decisions:.1%} of decisions differ)"
        )


class OpenVinoEngine:
    """The network compiled by OpenVINO, one image at a time, on all cores of this process."""

    def __init__(self, name: str, compiled: ov.CompiledModel, reason: str) -> None:
        self.name = name
        self.reason = reason
        self._request = compiled.create_infer_request()
        self._outputs = {output.get_any_name() for output in compiled.outputs}

    def run(self, batch: NDArray[np.uint8]) -> Outputs:
        """See `Engine.run`."""
        found: dict[str, list[Floats]] = {name: [] for name in self._outputs}
        for image in batch:
            answer = self._request.infer({"image": image[np.newaxis]})
            for name, parts in found.items():
                parts.append(answer[name].copy())
        whole = {name: np.concatenate(parts) for name, parts in found.items()}
        none = np.zeros((len(batch), 0), dtype=np.float32)
        return Outputs(whole["logits"], whole["maps"], whole.get("averages", none))


def _open_int8(bundle: Bundle, reason: str) -> Engine:
    core, stored = _core(), bundle.manifest.graphs.get("int8")
    if stored is None:
        raise EngineUnavailable("the bundle has no int8 graph")
    try:
        graph = core.read_model(bundle.read(stored.xml), bundle.read(stored.bin))
    except RuntimeError as error:
        raise BundleRefused(f"{stored.xml} is no OpenVINO graph.") from error
    return OpenVinoEngine("int8", compile_graph(graph), reason)


def _open_bf16(bundle: Bundle, reason: str) -> Engine:
    core = _core()
    if "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES") or not has_bf16():
        raise EngineUnavailable("the processor has no bf16")
    return OpenVinoEngine("bf16", compile_graph(_built(bundle), bf16=True), reason)


def processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's name: the same network gives the same numbers on the same one alone."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def has_bf16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the processor multiplies bf16.

    OpenVINO says BF16 of every processor with AVX-512, and converts where it cannot multiply: five
    times slower than f32. True where the system does not say.
    """
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return True
    flags = {flag for line in lines if line.lower().startswith(("flags", "features"))
             for flag in line.partition(":")[2].split()}  # fmt: skip
    return not flags or not flags.isdisjoint(BF16_FLAGS)


def _open_f32(bundle: Bundle, reason: str) -> Engine:
    _core()
    return OpenVinoEngine("f32", compile_graph(_built(bundle)), reason)


def _open_tensorflow(bundle: Bundle, reason: str) -> Engine:
    try:
        from classifier.reference import TensorFlowEngine
    except ImportError as error:
        raise EngineUnavailable("TensorFlow is not installed") from error
    return TensorFlowEngine(bundle, reason)


_OPEN: dict[str, Callable[[Bundle, str], Engine]] = {
    "int8": _open_int8,
    "bf16": _open_bf16,
    "f32": _open_f32,
    "tensorflow": _open_tensorflow,
}


def compile_graph(graph: ov.Model, *, bf16: bool = False, streams: bool = False) -> Any:
    """Compile for the cores that this process may use.

    One image at a time on all cores, each thread on its own; with `streams`, an image per core.
    """
    try:
        return _core().compile_model(graph, "CPU", compile_options(bf16=bf16, streams=streams))
    except RuntimeError as error:
        *_, last = filter(None, map(str.strip, str(error).splitlines()))
        raise EngineUnavailable(f"OpenVINO cannot compile the network: {last}") from error


def compile_options(*, bf16: bool = False, streams: bool = False) -> dict[str, Any]:
    """OpenVINO's settings for `compile_graph`."""
    cores = len(os.sched_getaffinity(0))
    return {
        "PERFORMANCE_HINT": "THROUGHPUT" if streams else "LATENCY",
        "NUM_STREAMS": cores if streams else 1,
        "INFERENCE_PRECISION_HINT": "bf16" if bf16 else "f32",
        "INFERENCE_NUM_THREADS": cores,
        "ENABLE_CPU_PINNING": not streams,
    }


def _core() -> ov.Core:
    """OpenVINO's, imported here so that a site without it still has the reference engine."""
    try:
        import openvino
    except ImportError as error:
        raise EngineUnavailable("OpenVINO is not installed") from error
    return openvino.Core()


def _built(bundle: Bundle) -> ov.Model:
    from classifier.graph import network_graph

    return network_graph(bundle.manifest.architecture, bundle.weights())

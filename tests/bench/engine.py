"""The network: our engines against other ways to run it, and against what the processor can do."""

from __future__ import annotations

import math
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifier.bundle import Bundle, load_bundle
from classifier.classify import Classifier
from classifier.engine import EngineName, compile_graph, open_engine
from classifier.network import BASE, LAYERS, STRIDE, Architecture, Weights, fold_grey
from tests.bench.timing import Measured, in_turn

RUNS = 30
DEMO = Path("deploy") / "demo"


def engine() -> Measured:
    """Milliseconds for one image, and ratios of them."""
    bundle = load_bundle()
    architecture = bundle.manifest.architecture
    classifier = Classifier(bundle)
    prepared = classifier.place(_radiograph())
    image = prepared.input[np.newaxis]
    ways: dict[str, Callable[[], object]] = {"ours": lambda: classifier.infer(prepared)}
    ways |= {name: partial(open_engine(bundle, name).run, image) for name in _precisions()}
    ways |= _keras(bundle, image)
    ways["onnx"] = _onnxruntime(architecture, bundle.weights(), image)
    took = dict(zip(ways, in_turn(*ways.values(), runs=RUNS), strict=True))
    yield (
        f"classify a decoded image ({classifier.engine.name}, map, calibration)",
        took["ours"],
        "ms",
    )
    for name in _precisions():
        yield f"{name} forward with maps", took[name], "ms"
    for name, what in (
        ("predict", "Keras predict"),
        ("function", "tf.function"),
        ("onnx", "ONNX Runtime f32"),
    ):
        yield f"{what}, logits alone", took[name], "ms"
    yield "classify against Keras predict", took["predict"] / took["ours"], "x"
    yield "classify against tf.function", took["function"] / took["ours"], "x"
    yield "classify against ONNX Runtime", took["onnx"] / took["ours"], "x"
    yield "the heat maps' share of a pass", _share_of_maps(bundle, image), "%"
    yield from _rooflines(took, operations(architecture))


def _precisions() -> list[EngineName]:
    """Of the engines that run here."""
    import openvino

    found = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return ["int8", "bf16", "f32"] if "BF16" in found else ["int8", "f32"]


def _rooflines(took: dict[str, float], macs: int) -> Measured:
    """Each precision against operations divided by the peak of the widest instructions here.

    Where AMX is, two more rooflines of int8: AMX with operands that come from the second cache, as
    a convolution's do; and VNNI with AMX taken away, which compares with processors without it.
    """
    yield "multiply-accumulates of a pass", macs / 1e9, "G"
    peaks = peak()
    for (kind, instructions), rate in peaks.items():
        yield f"peak of all cores, {kind} {instructions}", rate, "GMAC/s"
    for kind in ("int8", "bf16", "f32"):
        widest = next((rate for (name, _), rate in peaks.items() if name == kind), None)
        if widest is not None and kind in took:
            yield f"{kind} forward against its roofline", took[kind] * widest * 1e6 / macs, "x"
    if fed := peaks.get(("int8", "AMX-fed")):
        yield (
            "int8 forward against AMX fed from the second cache",
            took["int8"] * fed * 1e6 / macs,
            "x",
        )
        vnni = _without_amx()
        rate = peaks["int8", "VNNI"]
        yield "int8 forward by VNNI alone", vnni, "ms"
        yield "int8 forward by VNNI alone against its roofline", vnni * rate * 1e6 / macs, "x"


def _without_amx() -> float:
    """Milliseconds of the int8 engine in a process where oneDNN uses no AMX."""
    program = (
        "import numpy as np; from classifier.bundle import load_bundle;"
        "from classifier.engine import open_engine; from tests.bench.timing import in_turn;"
        "b = load_bundle(); e = open_engine(b, 'int8'); s = b.manifest.architecture.side;"
        "print(in_turn(lambda: e.run(np.full((1, s, s), 90, np.uint8)))[0])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120,
        env={**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX512_CORE_VNNI"},
    )  # fmt: skip
    return float(done.stdout.split()[-1])


def operations(a: Architecture) -> int:
    """Multiply-accumulates of one pass: all convolutions; the rest is under a thousandth."""
    total, channels = 0, 2
    for name, filters in BASE:
        total += 9 * channels * filters * (a.side // LAYERS[name][1]) ** 2
        channels = filters
    blocks = a.tap_filters * a.block6_filters + a.block6_filters * a.block7_filters
    return total + a.members * 9 * blocks * (a.side // STRIDE) ** 2


def _radiograph() -> Any:
    from classifier.pixels import from_image_file

    return from_image_file(sorted(DEMO.glob("*.png"))[0])


def _keras(bundle: Bundle, image: NDArray[np.uint8]) -> dict[str, Callable[[], object]]:
    """Of the same network and weights, without maps."""
    import keras
    import tensorflow as tf

    from classifier.reference import keras_network

    whole = keras_network(bundle.manifest.architecture, bundle.weights())
    logits = keras.layers.Average()(whole.outputs[0::3])
    model = keras.Model(whole.input, logits)
    grey = image[..., np.newaxis].astype(np.float32)
    function = tf.function(lambda x: model(x, training=False))
    return {
        "predict": lambda: model.predict(grey, verbose=0),
        "function": lambda: function(grey).numpy(),
    }


def _onnxruntime(
    architecture: Architecture, weights: Weights, image: NDArray[np.uint8]
) -> Callable[[], object]:
    """The same logits in f32; the agreement is checked, so that the comparison is of equals."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = len(os.sched_getaffinity(0))
    graph = _onnx_graph(architecture, weights)
    session = onnxruntime.InferenceSession(graph, options, ["CPUExecutionProvider"])
    constant = np.full_like(image, 255)
    feed = {"image": np.stack([image, constant], axis=1).astype(np.float32)}
    expected = open_engine(load_bundle(), "f32").run(image).logits
    if not np.allclose(session.run(None, feed)[0], expected, atol=1e-3):
        raise AssertionError("ONNX Runtime runs another network than ours")
    return lambda: session.run(None, feed)


def _onnx_graph(a: Architecture, weights: Weights) -> bytes:
    """The network as ONNX, from the folded input (1, 2, side, side) to the mean logits."""
    from onnx import TensorProto, helper, numpy_helper

    from classifier.network import region_weights, skip_parts

    nodes: list[Any] = []
    constants: list[Any] = []

    def const(values: NDArray[Any]) -> str:
        name = f"c{len(constants)}"
        constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def add(kind: str, inputs: list[str], **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, inputs, [f"n{len(nodes)}"], **attributes))
        return str(nodes[-1].output[0])

    def conv(x: str, kernel: NDArray[np.float32], bias: NDArray[np.float32]) -> str:
        parameters = [const(kernel.transpose(3, 2, 0, 1)), const(bias)]
        return add("Relu", [add("Conv", [x, *parameters], pads=[1, 1, 1, 1])])

    x, layers = "image", {}
    for index, (name, _) in enumerate(BASE):
        kernel = weights[f"{name}.kernel"]
        x = conv(x, fold_grey(kernel) if index == 0 else kernel, weights[f"{name}.bias"])
        layers[name] = x
        if index + 1 < len(BASE) and BASE[index + 1][0][:6] != name[:6]:
            x = layers[f"{name[:6]}_pool"] = add(
                "MaxPool", [x], kernel_shape=[2, 2], strides=[2, 2]
            )
    pooled = []
    for layer, region in map(skip_parts, a.skips):
        cell = STRIDE // LAYERS[layer][1]
        maps = layers[layer]
        if cell > 1:
            maps = add("AveragePool", [maps], kernel_shape=[cell, cell], strides=[cell, cell])
        if region:
            maps = add("Mul", [maps, const(region_weights(a.grid)[np.newaxis, np.newaxis])])
        pooled.append(add("Flatten", [add("GlobalAveragePool", [maps])]))
    taps = [layers[tap] for tap in a.taps]
    joined = taps[0] if len(taps) == 1 else add("Concat", taps, axis=1)
    votes = []
    for member in range(a.members):
        w = {n: weights[f"{member}.{n}"] for n in ("dense.kernel", "dense.bias",
             "findings.kernel", "findings.bias")}  # fmt: skip
        last = joined
        for block in ("block6_conv1", "block7_conv1"):
            last = conv(
                last, weights[f"{member}.{block}.kernel"], weights[f"{member}.{block}.bias"]
            )
        features = [add("Flatten", [add("GlobalAveragePool", [last])]), *pooled]
        units = add("Gemm", [add("Concat", features, axis=1), const(w["dense.kernel"]),
                             const(w["dense.bias"])])  # fmt: skip
        votes.append(add("Gemm", [add("Relu", [units]), const(w["findings.kernel"]),
                                  const(w["findings.bias"])]))  # fmt: skip
    logits = add("Mean", votes)
    graph = helper.make_graph(
        nodes, "network",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 2, a.side, a.side])],
        [helper.make_tensor_value_info(logits, TensorProto.FLOAT, [1, len(a.targets)])],
        constants,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def _share_of_maps(bundle: Bundle, image: NDArray[np.uint8]) -> float:
    """Per cent that the second output adds to the engine that serves; runs are interleaved."""
    import openvino as ov

    stored = bundle.manifest.graphs["int8"]
    engines = []
    for names in (("logits", "maps"), ("logits",)):
        graph = ov.Core().read_model(bundle.read(stored.xml), bundle.read(stored.bin))
        results = [r for r in graph.get_results() if r.get_input_tensor(0).get_names() & {*names}]
        request = compile_graph(
            ov.Model(results, graph.get_parameters(), "part")
        ).create_infer_request()
        engines.append(request)
    with_maps, without = in_turn(
        *(partial(request.infer, {"image": image}) for request in engines), runs=2 * RUNS
    )
    return 100 * (with_maps - without) / with_maps


def peak(cores: int | None = None) -> dict[tuple[str, str], float]:
    """GMAC/s of all cores at once, or of so many, by kind of number and instructions.

    The widest instructions of a kind come first.

    By tests/bench/peak.c; none but on x86-64.
    """
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or platform.machine() != "x86_64":
        return {}
    cores = cores or len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        program = str(Path(folder) / "peak")
        source = str(Path(__file__).with_name("peak.c"))
        subprocess.run([compiler, "-O2", "-o", program, source], check=True, timeout=60)
        running = [
            subprocess.Popen([program], stdout=subprocess.PIPE, text=True) for _ in range(cores)
        ]
        lines = [process.communicate(timeout=120)[0].splitlines() for process in running]
    found: dict[tuple[str, str], float] = {}
    for line in (line for each in lines for line in each):
        kind, instructions, value = line.split()
        found[kind, instructions] = found.get((kind, instructions), 0.0) + float(value)
    if not found or not all(math.isfinite(v) and v > 0 for v in found.values()):
        raise AssertionError("the peak could not be measured")
    return found

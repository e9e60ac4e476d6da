"""The network: our engines against other ways to run it, and against what the processor can do."""

from __future__ import annotations

import math
import os
import platform
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifier.bundle import Bundle, load_bundle
from classifier.classify import Classifier
from classifier.engine import compile_graph, open_engine
from classifier.network import BASE, LAYERS, STRIDE, Architecture, Weights, fold_grey

Measured = Iterator[tuple[str, float, str]]
RUNS = 30
DEMO = Path("deploy") / "demo"


def engine() -> Measured:
    """Milliseconds for one image, and ratios of them."""
    bundle = load_bundle()
    architecture = bundle.manifest.architecture
    classifier = Classifier(bundle)
    prepared = classifier.place(_radiograph())
    image = prepared.input[np.newaxis]
    took = {"ours": _time(lambda: classifier.infer(prepared))}
    yield (
        f"classify a decoded image ({classifier.engine.name}, map, calibration)",
        took["ours"],
        "ms",
    )
    for name in ("int8", "f32"):
        ours = open_engine(bundle, name)  # type: ignore[arg-type]
        took[name] = _time(lambda ours=ours: ours.run(image))
        yield f"{name} forward with maps", took[name], "ms"
    took |= _keras(bundle, image)
    took["onnx"] = _onnxruntime(architecture, bundle.weights(), image)
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
    macs = operations(architecture)
    yield "multiply-accumulates of a pass", macs / 1e9, "G"
    for name, peak in _peak().items():
        yield f"peak of all cores, {name}", peak, "GMAC/s"
        yield f"{name} forward against its roofline", took[name] / (macs / peak / 1e6), "x"
        if name == "int8":
            least = macs / peak / 1e6
            yield "the most that int8 can gain on Keras predict here", took["predict"] / least, "x"


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


def _time(run: Callable[[], object]) -> float:
    """Median milliseconds."""
    for _ in range(3):
        run()
    took = []
    for _ in range(RUNS):
        started = time.perf_counter()
        run()
        took.append(time.perf_counter() - started)
    return 1000 * float(np.median(took))


def _keras(bundle: Bundle, image: NDArray[np.uint8]) -> dict[str, float]:
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
        "predict": _time(lambda: model.predict(grey, verbose=0)),
        "function": _time(lambda: function(grey).numpy()),
    }


def _onnxruntime(architecture: Architecture, weights: Weights, image: NDArray[np.uint8]) -> float:
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
    return _time(lambda: session.run(None, feed))


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
    took: list[list[float]] = [[], []]
    for _ in range(2 * RUNS):
        for request, times in zip(engines, took, strict=True):
            started = time.perf_counter()
            request.infer({"image": image})
            times.append(time.perf_counter() - started)
    with_maps, without = (float(np.median(times)) for times in took)
    return 100 * (with_maps - without) / with_maps


def _peak() -> dict[str, float]:
    """GMAC/s of all cores at once, int8 and f32, by tests/bench/peak.c; none but on x86-64."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or platform.machine() != "x86_64":
        return {}
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        program = str(Path(folder) / "peak")
        source = str(Path(__file__).with_name("peak.c"))
        subprocess.run([compiler, "-O2", "-o", program, source], check=True, timeout=60)
        running = [
            subprocess.Popen([program], stdout=subprocess.PIPE, text=True) for _ in range(cores)
        ]
        lines = [process.communicate(timeout=120)[0].splitlines() for process in running]
    found = {"int8": 0.0, "f32": 0.0}
    for line in (line for each in lines for line in each):
        name, _, value = line.partition(" ")
        found[name] += float(value)
    if not all(math.isfinite(v) and v > 0 for v in found.values()):
        raise AssertionError("the peak could not be measured")
    return found

"""The folded input, the graph and the class activation maps against Keras and its gradients."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from classifier.bundle import Bundle, load_bundle
from classifier.classify import Classifier
from classifier.engine import compile_graph, open_engine
from classifier.graph import BLOCK6, base_graph, network_graph, worth_quantising
from classifier.network import Architecture, Weights, weight_shapes
from classifier.pixels import from_image_file
from classifier.preprocessing import network_input
from daemon.simulate import Form, Kind, Modality, Voi, make_object, to_bytes


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load_bundle()


@pytest.fixture(scope="module")
def weights(bundle: Bundle) -> Weights:
    return bundle.weights()


@pytest.fixture(scope="module")
def inputs(bundle: Bundle, demo_images: list[Path]) -> NDArray[np.uint8]:
    manifest = bundle.manifest
    side = manifest.architecture.side
    return np.stack(
        [
            network_input(from_image_file(path), manifest.preprocessing, side)[0]
            for path in demo_images[:4]
        ]
    )


@pytest.mark.slow
def test_the_folded_input_equals_the_published_base_at_the_border_too(
    weights: Weights, inputs: NDArray[np.uint8]
) -> None:
    """Against keras.applications' own network and its own preprocess_input, padding included."""
    from keras.applications import vgg16

    side = inputs.shape[1]
    plain = vgg16.VGG16(include_top=False, weights=None, input_shape=(side, side, 3))
    for layer in plain.layers:
        if layer.weights:
            layer.set_weights([weights[f"{layer.name}.kernel"], weights[f"{layer.name}.bias"]])
    colour = np.repeat(inputs[:1, ..., np.newaxis], 3, axis=-1).astype(np.float32)
    # block5_pool is the maximum over 2 x 2 of block5_conv3
    expected = np.asarray(plain(vgg16.preprocess_input(colour)))
    tapped = compile_graph(base_graph(side, ["block5_conv3"], [], weights))(inputs[:1])[0]
    cells = tapped.reshape(1, side // 32, 2, side // 32, 2, 512).max(axis=(2, 4))
    assert np.abs(cells - expected).max() < 1e-4 * expected.max()


@pytest.mark.slow
def test_openvino_equals_the_reference_engine(bundle: Bundle, inputs: NDArray[np.uint8]) -> None:
    fast, reference = open_engine(bundle, "f32"), open_engine(bundle, "tensorflow")
    found, expected = fast.run(inputs), reference.run(inputs)
    assert np.abs(found.logits - expected.logits).max() < 1e-3
    assert np.abs(found.members - expected.members).max() < 1e-3
    assert np.abs(found.maps - expected.maps).max() < 1e-4 * max(1.0, float(expected.maps.max()))
    assert np.abs(found.averages - expected.averages).max() < 1e-4 * expected.averages.max()


@pytest.mark.slow
def test_the_closed_form_is_grad_cam(bundle: Bundle, inputs: NDArray[np.uint8]) -> None:
    """Selvaraju et al., ICCV 2017, equations 1 and 2, by TensorFlow's gradient tape."""
    import tensorflow as tf

    from classifier.reference import TensorFlowEngine

    architecture = bundle.manifest.architecture
    model = TensorFlowEngine(bundle, "test").model
    parts = model(inputs[:2, ..., np.newaxis].astype(np.float32))
    logits = np.mean(parts[0::3], axis=0)
    members = [tf.constant(maps) for maps in parts[1::3]]
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(members)
        votes = []
        for number, maps in enumerate(members):
            dense, out = (model.get_layer(f"member{number}_{n}") for n in ("dense", "findings"))
            votes.append(out(tf.nn.relu(dense(tf.reduce_mean(maps, axis=(1, 2))))))
        mean = tf.add_n(votes) / len(votes)
        each = [mean[:, f] for f in range(len(architecture.targets))]
    assert np.allclose(mean, logits, atol=1e-4)
    expected = np.zeros((2, len(each), architecture.grid, architecture.grid), dtype=np.float32)
    for maps in members:
        for finding, logit in enumerate(each):
            alpha = tf.reduce_mean(tape.gradient(logit, maps), axis=(1, 2), keepdims=True)
            expected[:, finding] += tf.reduce_sum(alpha * maps, axis=-1).numpy()
    found = open_engine(bundle, "f32").run(inputs[:2]).maps
    assert found.max() > 0
    assert np.abs(found - np.maximum(expected, 0)).max() < 1e-3 * found.max()


@pytest.mark.parametrize("skips", [(), ("block3_conv3", "block4_pool@lungs", "block5_conv3")])
@pytest.mark.parametrize("taps", [("block5_conv3",), ("block4_pool", "block5_conv1")])
@pytest.mark.parametrize("members", [1, 3])
def test_every_architecture_makes_a_graph(
    skips: tuple[str, ...], taps: tuple[str, ...], members: int
) -> None:
    """A map's sum over positions is its finding's part of the logit where all units are active."""
    architecture = Architecture(
        targets=("a", "b"), side=64, taps=taps, skips=skips, members=members, block6_filters=4,
        block7_filters=4, dense_units=3,
    )  # fmt: skip
    random = np.random.default_rng(1)
    weights = {  # of half precision, as a bundle keeps them
        name: random.normal(0, 0.5 / np.sqrt(max(1, np.prod(shape[:-1]))), shape)
        .astype("f2")
        .astype("f4")
        for name, shape in weight_shapes(architecture).items()
    }
    for member in range(
        members
    ):  # all units active, all gradients positive: no ReLU hides anything
        weights[f"{member}.dense.bias"][:] = 1e3
        weights[f"{member}.dense.kernel"] = np.abs(weights[f"{member}.dense.kernel"])
        weights[f"{member}.findings.kernel"] = np.abs(weights[f"{member}.findings.kernel"])
    image = random.integers(0, 256, (1, 64, 64)).astype(np.uint8)
    graph = network_graph(architecture, weights)
    quantised = set(worth_quantising(graph))
    assert "base/block1_conv1" in quantised
    assert (BLOCK6 in quantised) is bool(skips)
    outputs = compile_graph(graph)(image)
    assert outputs["logits"].shape == (1, members, 2)
    constant = np.mean(
        [
            weights[f"{m}.dense.bias"] @ weights[f"{m}.findings.kernel"]
            + weights[f"{m}.findings.bias"]
            for m in range(members)
        ],
        axis=0,
    )
    assert outputs["maps"].shape == (1, 2, 4, 4)
    logits = outputs["logits"].mean(axis=1)
    assert np.allclose(outputs["maps"].sum(axis=(2, 3)) + constant, logits, atol=1e-2)


def test_an_impossible_architecture_is_refused() -> None:
    with pytest.raises(ValueError, match="taps must be some of"):
        Architecture(targets=("a",), taps=("block3_pool",))
    with pytest.raises(ValueError, match="@lungs"):
        Architecture(targets=("a",), skips=("block3_conv3@heart",))
    with pytest.raises(ValueError, match="multiple"):
        Architecture(targets=("a",), side=225)


@pytest.mark.slow
def test_a_radiograph_has_the_same_findings_as_a_file_and_in_each_form_of_dicom(
    bundle: Bundle, demo_images: list[Path]
) -> None:
    """Windowed, inverted, by a table, with fewer bits: the same; without a window: nearly."""
    classifier = Classifier(bundle, "f32")
    bounds = {
        Form(): 0.005,
        Form(inverted=True): 0.005,
        Form(bits=10, voi=Voi.LUT): 0.005,
        Form(Kind.CR, 16, modality=Modality.RESCALE, voi=Voi.SIGMOID): 0.005,
        Form(voi=Voi.NONE): 0.1,
    }
    for path in demo_images[:5]:
        file = classifier.infer(classifier.place(from_image_file(path))).findings
        for form, bound in bounds.items():
            sent = classifier.classify(to_bytes(make_object(path, form))).findings
            for one, other in zip(file, sent, strict=True):
                assert abs(one.probability - other.probability) < bound, (path.name, str(form))

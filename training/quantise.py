"""The int8 form of a network, and how far it is from f32: what the engine gate reads.

The base's convolutions are quantised, and block6's beside skips: they are 99 % of the operations,
and what follows turns their averages into small differences. Weights by channel, activations by
layer, the shift that rounding leaves corrected layer by layer (Finkelstein et al., 2019; full bias
correction of NNCF), and what is left of it in the logits' own bias. docs/decisions/0006 gives the
measurements.
"""

from __future__ import annotations

import logging
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from classifier.bundle import FindingOutput, Graph, Parity
from classifier.calibration import calibrated
from classifier.engine import Engine, OpenVinoEngine, compile_graph
from classifier.graph import LOGITS, name_in_order, network_graph, worth_quantising
from classifier.network import Architecture, Weights
from classifier.pixels import Grey
from training.features import Progress
from training.fit import macro_auc

if TYPE_CHECKING:
    import openvino as ov

SAMPLE = 150
"""Images from which ranges and shifts are taken; 300 give the same within what 150 vary."""

GRAPH = Graph(xml="int8.xml", bin="int8.bin")

Logits = NDArray[np.float32]


def quantised(architecture: Architecture, weights: Weights, sample: list[Grey]) -> ov.Model:
    """The int8 graph of the network, from inputs (side, side) uint8 of its training images."""
    import nncf

    logging.getLogger("nncf").setLevel(logging.ERROR)
    graph = network_graph(architecture, weights)
    inputs = [{"image": image[np.newaxis]} for image in sample[:SAMPLE]]
    work = [node for node in graph.get_ordered_ops() if node.get_type_name() not in _NO_WORK]
    rest = {node.get_friendly_name() for node in work} - set(worth_quantising(graph))
    with redirect_stdout(sys.stderr):  # its progress bars are no result of a command
        network = nncf.quantize(
            graph,
            nncf.Dataset(inputs),
            preset=nncf.QuantizationPreset.PERFORMANCE,
            subset_size=len(inputs),
            fast_bias_correction=False,
            ignored_scope=nncf.IgnoredScope(names=sorted(rest)),
            # Without VNNI, pairs of products are added in 16 bits. Their overflow was measured to
            # move a logit by 0.003, the halved weights that avoid it by ten times as much.
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                overflow_fix=nncf.OverflowFix.DISABLE
            ),
        )
    exact = OpenVinoEngine("f32", compile_graph(network_graph(architecture, weights)), "")
    rough = OpenVinoEngine("int8", compile_graph(network), "")
    shift = np.mean(
        [exact.run(i[np.newaxis]).members[0] - rough.run(i[np.newaxis]).members[0]
         for i in sample[:SAMPLE]], axis=0,
    )  # fmt: skip
    _shift_logits(network, shift)
    return network


_NO_WORK = {"Constant", "Parameter", "Result"}


def _shift_logits(network: ov.Model, shift: Logits) -> None:
    """Add (members, findings) to the biases of the members' logits."""
    from openvino import opset13 as op

    (last,) = (node for node in network.get_ordered_ops() if node.get_friendly_name() == LOGITS)
    bias = last.input_value(1).get_node().get_data()
    last.input(1).replace_source_output(op.constant(bias + shift[:, np.newaxis]).output(0))


def packed(network: ov.Model) -> tuple[bytes, bytes]:
    """The .xml and the .bin of a graph; what is not quantised in half precision."""
    import openvino

    name_in_order(network)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "graph.xml"
        openvino.save_model(network, path, compress_to_fp16=True)
        return path.read_bytes(), path.with_suffix(".bin").read_bytes()


@dataclass(frozen=True, slots=True)
class Unseen:
    """What the members say in f32 of images that they did not see.

    images: which, of the data set; member: of each, the one that did not see its patient.
    truth: (images, findings) 0 or 1; logits: of that member, (images, findings).
    """

    images: NDArray[np.int64]
    member: NDArray[np.int64]
    truth: NDArray[np.uint8]
    logits: Logits


@dataclass(frozen=True, slots=True)
class Int8Form:
    """Files of a bundle, none where the gate was not passed; and the gate's figures."""

    files: Mapping[str, bytes]
    parity: Parity
    engine: Engine | None = None  # that measured it


def int8_form(
    architecture: Architecture,
    weights: Weights,
    outputs: tuple[FindingOutput, ...],
    unseen: Unseen,
    input_of: Callable[[int], Grey],
    progress: Progress = lambda *_: None,
) -> Int8Form:
    """Quantise a network and measure it out of fold; `input_of` gives the input of an image."""
    count = len(unseen.images)
    chosen = unseen.images[:: max(1, count // SAMPLE)][:SAMPLE]
    progress("int8", 0, count)
    network = quantised(architecture, weights, [input_of(row) for row in chosen])
    engine = OpenVinoEngine("int8", compile_graph(network), "")
    rows = []
    for number, (image, member) in enumerate(zip(unseen.images, unseen.member, strict=True)):
        rows.append(engine.run(input_of(image)[np.newaxis]).members[0, member])
        progress("int8", number + 1, count)
    figures = parity(outputs, unseen.truth, unseen.logits, np.stack(rows))
    files = dict(zip((GRAPH.xml, GRAPH.bin), packed(network), strict=True))
    return Int8Form(files if figures.passed else {}, figures, engine)


def parity(
    outputs: tuple[FindingOutput, ...], truth: NDArray[np.uint8], exact: Logits, other: Logits
) -> Parity:
    """Of logits (images, findings) of the same unseen images by f32 and by another precision."""
    calibrations = tuple(output.calibration for output in outputs)
    thresholds = np.array([output.threshold for output in outputs])
    decided = [calibrated(logits, calibrations) >= thresholds for logits in (exact, other)]
    return Parity(
        macro_auc_difference=round(macro_auc(truth, other) - macro_auc(truth, exact), 6),
        decisions=float((decided[0] != decided[1]).mean()),
    )

"""Other processors and other installations, in processes of their own.

oneDNN's own setting takes newer instructions away from OpenVINO's kernels; a package set to None in
sys.modules is one that is not installed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from classifier.bundle import load_bundle
from classifier.calibration import calibrated
from training.images import input_of

pytestmark = pytest.mark.slow

RUN = """
import json, sys
from dataclasses import replace
arguments = json.loads(sys.argv[1])
for name in arguments["missing"]:
    sys.modules[name] = None
import numpy as np
from classifier.bundle import Parity, load_bundle
from classifier.engine import open_engine
from classifier.errors import EngineUnavailable
bundle = load_bundle()
if arguments["gate"]:
    parity = {name: Parity(*figures) for name, figures in arguments["gate"].items()}
    bundle = replace(bundle, manifest=bundle.manifest.model_copy(update={"parity": parity}))
try:
    engine = open_engine(bundle, arguments["engine"])
    logits = engine.run(np.load(arguments["images"])).logits.tolist()
    print(json.dumps({"engine": engine.name, "reason": engine.reason, "logits": logits}))
except EngineUnavailable as error:
    print(json.dumps({"engine": "none", "reason": str(error)}))
"""


@pytest.fixture(scope="module")
def images(demo_images: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The inputs of the demo radiographs, (12, side, side) uint8."""
    manifest = load_bundle().manifest
    inputs = [input_of(one, manifest.preprocessing, manifest.architecture.side)
              for one in demo_images]  # fmt: skip
    path = tmp_path_factory.mktemp("inputs") / "demo.npy"
    np.save(path, np.stack(inputs))
    return path


def run(
    images: Path,
    engine: str = "auto",
    missing: tuple[str, ...] = (),
    gate: dict[str, tuple[float, float]] | None = None,
    **environment: str,
) -> dict[str, Any]:
    """Engine, reason and logits of the images, from a process of its own."""
    arguments = {"images": str(images), "engine": engine, "missing": missing, "gate": gate}
    done = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps(arguments)], capture_output=True, text=True,
        timeout=150, check=True, env={**os.environ, **environment},
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def test_an_engine_that_is_not_installed_leaves_the_next(images: Path) -> None:
    found = run(images, missing=("openvino",))
    assert found["engine"] == "tensorflow"
    assert "int8: OpenVINO is not installed" in found["reason"]
    found = run(images, missing=("openvino", "tensorflow", "keras"))
    assert found["engine"] == "none"
    assert "OpenVINO is not installed" in found["reason"]
    assert "TensorFlow is not installed" in found["reason"]


def decisions(logits: Any) -> NDArray[np.bool_]:
    findings = load_bundle().manifest.findings
    probabilities = calibrated(np.array(logits, "f4"), tuple(f.calibration for f in findings))
    return np.asarray(probabilities >= [finding.threshold for finding in findings])


def test_int8_says_the_same_on_every_processor(images: Path) -> None:
    """AMX and VNNI add exactly; without them pairs are added in 16 bits, which may overflow."""
    usual = run(images)
    assert usual["engine"] == "int8"
    for isa, most in (("AVX512_CORE_VNNI", 0.03), ("AVX2", 0.1), ("SSE41", 0.1)):
        found = run(images, ONEDNN_MAX_CPU_ISA=isa)
        assert found["engine"] == "int8"
        moved = np.abs(np.array(found["logits"]) - usual["logits"])
        assert moved.max() < most, isa
        assert moved.mean() < most / 5, isa
        changed = decisions(found["logits"]) != decisions(usual["logits"])
        assert changed.mean() <= 1 / changed.size, isa


def test_without_bf16_the_next_engine_serves(images: Path) -> None:
    gate = {"int8": (0.02, 0.0), "bf16": (0.0, 0.0)}
    found = run(images, gate=gate, ONEDNN_MAX_CPU_ISA="AVX2")
    assert found["engine"] == "f32"
    assert "int8: not passed by the bundle's accuracy gate" in found["reason"]
    assert "; bf16: " in found["reason"]
    assert "\n" not in found["reason"]


@pytest.mark.skipif("avx512_bf16" not in Path("/proc/cpuinfo").read_text(), reason="no bf16 here")
def test_bf16_serves_where_the_processor_has_it_and_the_gate_was_passed(images: Path) -> None:
    found = run(images, gate={"bf16": (0.0, 0.0)})
    assert found["engine"] == "bf16"
    assert "int8: the bundle's accuracy gate was not run for it" in found["reason"]
    assert np.abs(np.array(found["logits"]) - run(images, "f32")["logits"]).max() < 0.2

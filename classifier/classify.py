"""One DICOM object to calibrated findings: `prepare` reads the pixels, `infer` runs the network."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from classifier.bundle import Bundle
from classifier.calibration import calibrated
from classifier.decode import DECODE_FAULTS, read_object
from classifier.eligibility import ExtraKind, check_contrast, check_header
from classifier.engine import EngineName, open_engine
from classifier.errors import Undecodable
from classifier.pixels import Grey, Radiograph, from_dicom
from classifier.preprocessing import Placement, network_input
from storage.records import Finding


@dataclass(frozen=True, slots=True)
class PreparedImage:
    """The network's input (side, side), and where it lies on the source image."""

    input: Grey
    placement: Placement


@dataclass(frozen=True, slots=True)
class Classification:
    """Findings in the bundle's order, and their maps (findings, grid, grid) over the input.

    A map is Grad-CAM: at least 0, in units of the logit per position.
    `placement.on_image(maps[i])` lays one over the source image.
    """

    findings: tuple[Finding, ...]
    maps: NDArray[np.float32]
    placement: Placement


class Classifier:
    """A bundle and an engine, ready to classify."""

    def __init__(
        self,
        bundle: Bundle,
        engine: EngineName = "auto",
        also: Collection[ExtraKind] = (),
        thresholds: Mapping[str, float] | None = None,
    ) -> None:
        """`thresholds`, by finding, stand in for the bundle's own."""
        self.bundle = bundle
        own = {finding.label.name: finding.threshold for finding in bundle.manifest.findings}
        self.thresholds = {name: (thresholds or own).get(name, own[name]) for name in own}
        self.engine = open_engine(bundle, engine)
        self._also = also
        self._calibrations = tuple(f.calibration for f in bundle.manifest.findings)

    @property
    def version(self) -> str:
        """Name and version of the bundle."""
        return self.bundle.version

    def prepare(self, source: bytes | Path | Dataset) -> PreparedImage:
        """Header check and pixels; needs no engine.

        Raises:
            Undecodable: the object or its pixels cannot be read.
            NotEligible: the model may not judge this image.
        """
        dataset = source if isinstance(source, Dataset) else read_object(source)
        try:
            check_header(dataset, self._also)
        except DECODE_FAULTS as error:
            raise Undecodable(f"The header cannot be read ({type(error).__name__}).") from error
        return self.place(from_dicom(dataset))

    def place(self, radiograph: Radiograph) -> PreparedImage:
        """The network's input of a displayed radiograph, however it was read.

        Raises:
            NotEligible: it has no contrast.
        """
        check_contrast(radiograph.grey)
        manifest = self.bundle.manifest
        image, placement = network_input(
            radiograph, manifest.preprocessing, manifest.architecture.side
        )
        return PreparedImage(image, placement)

    def infer(self, prepared: PreparedImage) -> Classification:
        """Runs the network once."""
        outputs = self.engine.run(prepared.input[np.newaxis])
        probabilities = calibrated(outputs.logits, self._calibrations)[0]
        findings = tuple(
            Finding(
                name=output.label.name,
                code_value=output.label.code.value,
                code_scheme=output.label.code.scheme,
                code_meaning=output.label.code.meaning,
                probability=float(probability),
                threshold=self.thresholds[output.label.name],
            )
            for output, probability in zip(
                self.bundle.manifest.findings, probabilities, strict=True
            )
        )
        return Classification(findings, outputs.maps[0], prepared.placement)

    def classify(self, source: bytes | Path | Dataset) -> Classification:
        """`prepare` and `infer` in one."""
        return self.infer(self.prepare(source))

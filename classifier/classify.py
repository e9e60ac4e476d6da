"""One DICOM object to calibrated findings: `prepare` reads the pixels, `infer` runs the network."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from classifier.bundle import Bundle, Frontal
from classifier.calibration import calibrated
from classifier.decode import DECODE_FAULTS, read_object
from classifier.eligibility import ExtraKind, check_contrast, check_header, doubt
from classifier.engine import EngineName, Outputs, open_engine
from classifier.errors import NotEligible, Undecodable
from classifier.frontal import FrontalModel
from classifier.measures import measures_of, rounded
from classifier.pixels import Grey, Radiograph, from_dicom, inverted
from classifier.preprocessing import Placement, network_input
from storage.records import Doubt, Finding


@dataclass(frozen=True, slots=True)
class PreparedImage:
    """The network's input (side, side), where it lies on the source image, and that image.

    `doubt` is what the header says against a frontal chest radiograph. `measures` are what is
    watched of the image (`classifier.measures`).
    """

    input: Grey
    placement: Placement
    radiograph: Radiograph
    doubt: NotEligible | None = None
    measures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Remark:
    """What a radiologist must know of how an image was read: a stable key, and a sentence."""

    code: str
    text: str


NOT_FRONTAL = ("not_frontal_chest", "By its pixels the image is no frontal chest radiograph.")
OVERRULED = "The pixels are clearly those of a frontal chest radiograph, so it was analysed."
INVERTED = Remark(
    "greys_inverted",
    "The greys were the reverse of what the header says; they were corrected before the analysis.",
)


@dataclass(frozen=True, slots=True)
class Classification:
    """Findings in the bundle's order, and their maps (findings, grid, grid) over the input.

    A map is Grad-CAM: at least 0, in units of the logit per position.
    `placement.on_image(maps[i])` lays one over the source image.
    """

    findings: tuple[Finding, ...]
    maps: NDArray[np.float32]
    placement: Placement
    remarks: tuple[Remark, ...] = ()
    measures: Mapping[str, float] | None = None  # of the image as it came, with its distance


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
        self.doubts: Mapping[str, Doubt] = {}  # of findings; they go into the results
        self.engine = open_engine(bundle, engine)
        self._also = also
        self._frontal = bundle.frontal()
        self._calibrations = tuple(f.calibration for f in bundle.manifest.findings)

    @property
    def version(self) -> str:
        """Name and version of the bundle."""
        return self.bundle.version

    @property
    def digest(self) -> str:
        """SHA-256 of the bundle's manifest, which covers its calibration."""
        return self.bundle.digest

    def prepare(self, source: bytes | Path | Dataset) -> PreparedImage:
        """Header check and pixels; needs no engine.

        Raises:
            Undecodable: the object or its pixels cannot be read.
            NotEligible: the model may not judge this image.
        """
        dataset = source if isinstance(source, Dataset) else read_object(source)
        try:
            check_header(dataset, self._also, self.bundle.manifest.min_age_years)
            doubted = doubt(dataset)
        except DECODE_FAULTS as error:
            raise Undecodable(f"The header cannot be read ({type(error).__name__}).") from error
        if doubted is not None and self._frontal is None:
            raise doubted
        return self.place(from_dicom(dataset), doubted)

    def place(self, radiograph: Radiograph, doubted: NotEligible | None = None) -> PreparedImage:
        """The network's input of a displayed radiograph, however it was read.

        Raises:
            NotEligible: it has no contrast, or is burnt out.
        """
        check_contrast(radiograph.grey)
        manifest = self.bundle.manifest
        image, placement = network_input(
            radiograph, manifest.preprocessing, manifest.architecture.side
        )
        return PreparedImage(image, placement, radiograph, doubted, measures_of(radiograph))

    def infer(self, prepared: PreparedImage) -> Classification:
        """Runs the network once, and again where the greys look inverted.

        Raises:
            NotEligible: by its pixels it is no frontal chest radiograph.
        """
        outputs = self.engine.run(prepared.input[np.newaxis])
        remarks: list[Remark] = []
        limits, watched = self.bundle.manifest.frontal, dict(prepared.measures)
        if self._frontal is not None and limits is not None:
            prepared, outputs, came = self._judged(
                self._frontal, limits, prepared, outputs, remarks
            )
            watched["distance"] = came
        probabilities = calibrated(outputs.logits, self._calibrations)[0]
        findings = tuple(
            Finding(
                name=output.label.name,
                code_value=output.label.code.value,
                code_scheme=output.label.code.scheme,
                code_meaning=output.label.code.meaning,
                probability=float(probability),
                threshold=self.thresholds[output.label.name],
                doubt=self.doubts.get(output.label.name),
            )
            for output, probability in zip(
                self.bundle.manifest.findings, probabilities, strict=True
            )
        )
        return Classification(
            findings, outputs.maps[0], prepared.placement, tuple(remarks), rounded(watched)
        )

    def _judged(
        self,
        frontal: FrontalModel,
        limits: Frontal,
        prepared: PreparedImage,
        outputs: Outputs,
        remarks: list[Remark],
    ) -> tuple[PreparedImage, Outputs, float]:
        """The image as it is to be analysed, as it came or with its greys put right; and how far
        it was from frontal chests as it came.

        Raises:
            NotEligible: see `infer`.
        """
        architecture = self.bundle.manifest.architecture
        came = distance = float(frontal.distance(architecture, outputs.averages)[0])
        if frontal.looks_inverted(architecture, outputs.averages)[0]:
            other = self.place(inverted(prepared.radiograph), prepared.doubt)
            again = self.engine.run(other.input[np.newaxis])
            nearer = float(frontal.distance(architecture, again.averages)[0])
            if nearer < distance and not frontal.looks_inverted(architecture, again.averages)[0]:
                prepared, outputs, distance = other, again, nearer
                remarks.append(INVERTED)
        if distance > limits.limit:
            raise prepared.doubt or NotEligible(*NOT_FRONTAL)
        if prepared.doubt is not None:
            if distance > limits.clear:
                raise prepared.doubt
            remarks.append(Remark("header_overruled", f"{prepared.doubt.text} {OVERRULED}"))
        return prepared, outputs, came

    def classify(self, source: bytes | Path | Dataset) -> Classification:
        """`prepare` and `infer` in one."""
        return self.infer(self.prepare(source))

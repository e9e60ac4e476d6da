"""What a bundle says of itself: the records of its manifest.json, checked against this schema."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from pydantic.dataclasses import dataclass

from classifier.calibration import AnyCalibration
from classifier.interval import Interval
from classifier.network import Architecture

FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}$")]
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Key = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
Share = Annotated[float, Field(ge=0, le=1)]
Precision = Literal["int8", "bf16", "f32"]

STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True, config=STRICT)
class Code:
    """A coded concept; PS3.16 section 8.1 for the scheme."""

    value: Annotated[str, Field(min_length=1, max_length=16)]
    scheme: Annotated[str, Field(min_length=1, max_length=16)]
    meaning: Annotated[str, Field(min_length=1, max_length=64)]


@dataclass(frozen=True, config=STRICT)
class FindingLabel:
    """A finding: its key, its code, and the names that published labels give it."""

    name: Key
    code: Code
    labels: tuple[str, ...]


@dataclass(frozen=True, config=STRICT)
class FindingOutput:
    """A finding as the network's output of the same position answers it."""

    label: FindingLabel
    calibration: AnyCalibration
    threshold: Share


@dataclass(frozen=True, config=STRICT)
class FindingMetrics:
    """Figures of one finding; None where the data hold one class only."""

    positives: int
    auc: Interval | None
    accuracy: Share
    sensitivity: Share | None
    specificity: Share | None
    ece: Share
    brier: Share


@dataclass(frozen=True, config=STRICT)
class Metrics:
    """Figures on patients that the weights were not trained on, and what those were.

    by_view: macro AUC within AP and within PA, where the data say which is which.
    accuracy: of the most probable class, where the classes exclude each other.
    """

    data: str
    images: int
    patients: int
    macro_auc: Interval | None
    findings: dict[str, FindingMetrics]
    by_view: dict[str, Interval | None] = Field(default_factory=dict)
    accuracy: Interval | None = None


@dataclass(frozen=True, config=STRICT)
class TrainingData:
    """What the bundle learnt from. The fingerprint is that of `training.dataset`."""

    credit: str
    images: int
    patients: int
    fingerprint: Hash
    holdout: str
    seed: int


@dataclass(frozen=True, config=STRICT)
class CalibrationGain:
    """What recalibration did to one finding; both errors on images that no fit has seen."""

    method: Literal["platt", "temperature", "isotonic", "anchored"]
    target: str
    ece_before: Interval
    ece_after: Interval


@dataclass(frozen=True, config=STRICT)
class Recalibration:
    """Whose weights these are (`parent` is that bundle's digest), and what recalibrated them."""

    parent: Hash
    parent_version: str
    data: str
    images: int
    patients: int
    fingerprint: Hash
    findings: dict[str, CalibrationGain]


@dataclass(frozen=True, config=STRICT)
class Retraining:
    """Whose weights these went on from (`parent` is that bundle's digest), and with which cases.

    replayed: images of the first training that were learnt again from the parent's replay.
    remembered_before, remembered_after: macro AUC on those, each by the one member that does not
        learn from its patient, of the parent and of this bundle.
    """

    parent: Hash
    parent_version: str
    data: str
    images: int
    patients: int
    fingerprint: Hash
    replayed: int
    remembered_before: float
    remembered_after: float


@dataclass(frozen=True, config=STRICT)
class Graph:
    """A stored OpenVINO IR: its .xml and its .bin."""

    xml: FileName
    bin: FileName


@dataclass(frozen=True, config=STRICT)
class Parity:
    """How far a precision is from f32 on the hold-out: what the engine gate reads.

    `decisions` is the share of present/absent decisions that differ.
    """

    macro_auc_difference: float
    decisions: Share

    @property
    def passed(self) -> bool:
        return abs(self.macro_auc_difference) <= 0.005 and self.decisions <= 0.01


@dataclass(frozen=True, config=STRICT)
class Frontal:
    """The model of frontal chests (`classifier.frontal`): its file, and what it was fitted to.

    skips: averages of the network that it reads. limit: distance from which an image is refused.
    clear: up to which it is accepted whatever its header says of body part and view.
    accepted: of its own `images`, the share within the limit of a model not fitted to the patient.
    """

    file: FileName
    skips: tuple[str, ...]
    limit: float
    clear: float
    images: int
    accepted: Interval


@dataclass(frozen=True, config=STRICT)
class Replay:
    """Features of the training images, from which a retraining learns again (`training.replay`).

    components: principal components of the averages of the skips. kept: share of their variance.
    """

    file: FileName
    images: int
    components: int
    kept: Share
    origin: str


Quantiles = Annotated[tuple[float, ...], Field(min_length=2, max_length=201)]


@dataclass(frozen=True, config=STRICT)
class Reference:
    """How images and answers are distributed where nothing is amiss (`training.watch`).

    measures: quantiles of each, evenly spaced from the least value to the greatest.
    """

    images: Annotated[int, Field(ge=1)]
    measures: dict[Key, Quantiles]


class Manifest(BaseModel):
    """What manifest.json holds; all of it, and nothing else."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    name: Key
    version: Annotated[str, Field(pattern=r"^[0-9A-Za-z][0-9A-Za-z.+-]{0,63}$")]
    created: AwareDatetime
    intended_use: str
    preprocessing: str
    architecture: Architecture
    findings: tuple[FindingOutput, ...]
    threshold_target: str
    min_age_years: Annotated[int, Field(ge=0, le=120)] | None = None
    training: TrainingData
    recipe: dict[Key, bool | int | float | str | None] = {}
    recalibration: Recalibration | None = None
    retraining: Retraining | None = None
    metrics: Metrics
    frontal: Frontal | None = None
    replay: Replay | None = None
    reference: Reference | None = None
    graphs: dict[Precision, Graph] = {}
    parity: dict[Precision, Parity] = {}
    files: dict[FileName, Hash]

    @property
    def graph_files(self) -> set[str]:
        """Names of the files of all graphs."""
        return {name for graph in self.graphs.values() for name in (graph.xml, graph.bin)}

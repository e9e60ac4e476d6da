"""Model bundles as the ledger knows them: what is registered, what serves, what was changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NewType

ModelId = NewType("ModelId", int)
PromotionId = NewType("PromotionId", int)


class ModelState(StrEnum):
    """Whether a registered bundle may serve."""

    REGISTERED = "registered"  # its every file had the hash that its manifest states
    REFUSED = "refused"  # a worker could not serve it; it stays so until it is added again


class Deed(StrEnum):
    """Why a bundle began to serve.

    ::

        configured --promoted--> ... --promoted--> ...
             ^                    |
             '----rolled_back, refused: to what served before
    """

    CONFIGURED = "configured"  # the settings name it, and nothing was promoted
    PROMOTED = "promoted"  # by an administrator, or by rule
    ROLLED_BACK = "rolled_back"  # to what served before, in one act
    REFUSED = "refused"  # a worker could not serve what came after it


@dataclass(frozen=True, slots=True)
class BundleFacts:
    """What is registered of a verified bundle.

    `version` is its name and version as results and reports state them, `digest` the SHA-256 of its
    manifest, `folder` its folder's name under ``<storage.root>/models``, `card` its manifest as
    JSON. `thresholds` are the bundle's own, by finding, in the order of the network's outputs.
    """

    version: str
    digest: str
    folder: str
    card: str
    thresholds: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Model:
    """A registered bundle."""

    id: ModelId
    version: str
    digest: str
    folder: str
    card: str
    thresholds: Mapping[str, float]
    registered_at: float
    state: ModelState
    reason: str | None  # why it was refused


@dataclass(frozen=True, slots=True)
class Promotion:
    """A line of the history: who had which bundle serve from when on, and why."""

    id: PromotionId
    version: str
    digest: str
    deed: Deed
    actor: str
    reason: str
    at: float
    back_to: PromotionId | None  # what a roll-back restores; None: nothing served before


@dataclass(frozen=True, slots=True)
class ThresholdChange:
    """A line of a bundle's thresholds: `value` None puts the bundle's own back."""

    digest: str
    finding: str
    value: float | None
    actor: str
    reason: str
    at: float


@dataclass(frozen=True, slots=True)
class Revision:
    """Changes whenever the ledger does in what a worker has to follow."""

    promotion: int = 0
    threshold: int = 0
    doubt: int = 0


@dataclass(frozen=True, slots=True)
class ServingModel:
    """What serves, since when, and at which thresholds: of every finding, the one in force."""

    model: Model
    promotion: Promotion
    thresholds: Mapping[str, float]
    revision: Revision
    doubted: frozenset[str] = frozenset()  # findings whose probabilities do not hold


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a worker has loaded: which bundle, in which engine, and why in that one."""

    owner: str
    version: str
    engine: str
    reason: str
    loaded_at: float

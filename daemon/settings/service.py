"""Storage, classifier, reports and learning."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Literal

from pydantic import Field

from daemon.settings.section import Section


class StorageSettings(Section):
    """Where objects and the database are kept."""

    root: Path = Field(Path("/var/lib/hilum"), description="Folder of everything durable.")
    database_url: str | None = Field(
        None, description="SQLAlchemy URL; without one, hilum.sqlite under root."
    )
    host_name: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9._-]{1,64}$",
        description="Our name among the hosts that share the database and root; the machine's"
        " without one. Each has its own.",
    )
    reserve_bytes: int = Field(
        1 << 30, ge=0, description="Free space below which no image is taken (A700H), in bytes."
    )
    retention_days: int = Field(
        30,
        ge=0,
        le=36500,
        description="Age after which the images and heat maps of an answered and delivered study"
        " are deleted, in days; 0 keeps them for ever.",
    )
    backups_kept: int = Field(
        14, ge=1, le=10000, description="Backups of the database that are kept, the newest."
    )

    @property
    def url(self) -> str:
        """The database's SQLAlchemy URL."""
        return self.database_url or f"sqlite:///{self.root / 'hilum.sqlite'}"

    @property
    def host(self) -> str:
        """What tells the claims of this host from those of others: "" where it is alone."""
        if self.url.startswith("sqlite"):
            return ""
        return "@" + (self.host_name or socket.gethostname())[:64]


class ClassifierSettings(Section):
    """The model that serves."""

    bundle: str = Field(
        "default",
        description='Folder of a model bundle, or "default"; serves until another is promoted.',
    )
    engine: Literal["auto", "int8", "bf16", "f32", "tensorflow"] = Field(
        "auto", description="Inference engine; auto takes the fastest that works here."
    )
    also_classify: tuple[Literal["secondary_capture", "for_processing"], ...] = Field(
        (), description="Kinds of image to classify beside CR and DX For Presentation."
    )
    workers: int = Field(1, ge=1, le=64, description="Worker processes.")


class ReportSettings(Section):
    """The Structured Report."""

    study_quiet_s: float = Field(
        20.0, ge=0, le=3600, description="A study is reported when no image came for so long."
    )
    heat_map: Literal["sc", "gsps", "none"] = Field(
        "sc",
        description="Heat maps of positive findings beside the report: Secondary Captures,"
        " contours in a Grayscale Softcopy Presentation State, or none.",
    )
    send_negative: bool = Field(True, description="Whether studies with no finding are sent.")


class WatchSettings(Section):
    """What is watched, and what an alarm does."""

    broken_calibration: Literal["stop", "mark"] = Field(
        "stop",
        description="What becomes of a finding whose probabilities do not hold, by reviews: the"
        " report says so and it flags no more, or the report says so alone.",
    )


class TrainingSettings(Section):
    """Learning from reviews; what is to run when is on the page Schedules."""

    keep_labelled_days: int = Field(
        1095,
        ge=0,
        le=36500,
        description="Age up to which labelled images are kept although retention_days have passed,"
        " in days; 0 keeps them for ever.",
    )
    gate_mean_margin: float = Field(
        0.02, gt=0, le=0.2, description="How much lower a candidate's mean AUC may be, at most."
    )
    gate_finding_margin: float = Field(
        0.05, gt=0, le=0.2, description="How much lower the AUC of one finding may be, at most."
    )
    gate_min_cases: int = Field(
        10,
        ge=5,
        le=10000,
        description="Held-out images with a finding, and without, that the gate needs.",
    )
    promote: Literal["by_hand", "after_shadow"] = Field(
        "by_hand",
        description="Whether what the gate has passed waits for an administrator, or goes into a"
        " trial beside what serves by itself and serves after it, where the rule holds.",
    )
    shadow_days: float = Field(
        14, gt=0, le=365, description="A candidate's trial ends after so many days at the latest."
    )
    shadow_images: int = Field(
        200,
        ge=1,
        le=10000,
        description="Images that complete a candidate's trial; the rule needs them all.",
    )
    shadow_flagged_margin: float = Field(
        0.1,
        gt=0,
        le=1,
        description="How much the share of flagged images may change in the trial, by rule.",
    )

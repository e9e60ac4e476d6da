"""What every table of the configuration file is."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A table that refuses keys it does not know, and does not change."""

    model_config = ConfigDict(frozen=True, extra="forbid")

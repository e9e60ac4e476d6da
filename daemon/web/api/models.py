"""Bundles, what serves, and thresholds, as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query
from pydantic import BaseModel, ConfigDict, Field

from daemon.web import cards
from daemon.web.access import AdminReader, AdminWriter
from daemon.web.acts import Acts
from daemon.web.context import Here
from storage.errors import Refused

router = APIRouter(prefix="/api/v1/models", tags=["models"])


class Why(BaseModel):
    """The reason of an act; the audit trail keeps it."""

    model_config = ConfigDict(extra="forbid")
    reason: str = Field(min_length=1, max_length=1000)


class Promoted(Why):
    """`override` the gate, where it has not passed the bundle against what serves."""

    override: bool = False


class NewThreshold(Why):
    """A threshold; none puts the bundle's own back."""

    value: float | None = Field(gt=0, le=1)


@router.get("")
def list_(here: Here, _: AdminReader) -> dict[str, Any]:
    """Every bundle, what serves and served, and what each worker has loaded."""
    return cards.overview(here.database)


@router.get("/{named}")
def show(named: str, here: Here, _: AdminReader) -> dict[str, Any]:
    """One bundle with its model card; named by its version or its digest."""
    return cards.whole(here.database, named)


@router.post("/rollback")
def rollback(why: Why, here: Here, person: AdminWriter) -> dict[str, Any]:
    """Let the bundle that served before serve again."""
    try:
        return asdict(Acts(here, person).rollback(why.reason))
    except Refused as error:
        raise HTTPException(409, str(error)) from error


@router.post("/{named}/promote")
def promote(named: str, why: Promoted, here: Here, person: AdminWriter) -> dict[str, Any]:
    """Let a bundle serve; a worker that finds it damaged refuses it, and the old one goes on."""
    try:
        return asdict(Acts(here, person).promote(named, why.reason, override=why.override))
    except Refused as error:
        raise HTTPException(409, str(error)) from error


@router.get("/{named}/findings/{finding}/what-if")
def what_if(
    named: str,
    finding: str,
    threshold: Annotated[float, Query(gt=0, le=1)],
    here: Here,
    _: AdminReader,
) -> dict[str, Any]:
    """What a threshold would have done to the studies of the last 30 days."""
    return asdict(cards.compare(here.database, named, finding, threshold, here.clock()))


@router.put("/{named}/findings/{finding}/threshold")
def set_threshold(
    named: str, finding: str, new: NewThreshold, here: Here, person: AdminWriter
) -> dict[str, Any]:
    """Change the threshold of a finding, for what is classified from now on."""
    digest = str(cards.whole(here.database, named)["digest"])
    try:
        return asdict(Acts(here, person).set_threshold(digest, finding, new.value, new.reason))
    except Refused as error:
        raise HTTPException(409, str(error)) from error

"""UIDs that Hilum makes, and how it knows its own objects when they come back."""

from __future__ import annotations

import json
from uuid import UUID, uuid5

from pydicom.dataset import Dataset

from daemon.contexts import SECONDARY_CAPTURE

MODEL_NAME = "Hilum"
IMPLEMENTATION_CLASS_UID = "2.25.133581919517780913910217031843949001273"
IMPLEMENTATION_VERSION_NAME = "HILUM_0_1"

_NAMESPACE = UUID("c19bad6e-3f06-4de5-8179-5d10ddf2bbe9")


def derive_uid(*parts: str) -> str:
    """Return the UID under 2.25 that always comes of these parts, in this order.

    A UUIDv5 as a decimal number (PS3.5 annex B.2), at most 44 characters: an object
    built twice is the same object, and a PACS keeps one of it.
    """
    return f"2.25.{uuid5(_NAMESPACE, json.dumps(parts)).int}"


def is_own(dataset: Dataset) -> bool:
    """Tell whether Hilum made this object, so that auto-routing cannot make a loop.

    Our SR and our derived Secondary Capture carry our model name as their equipment;
    an object derived from one of ours keeps us in its ContributingEquipmentSequence.
    """
    made_here = dataset.get("ManufacturerModelName") == MODEL_NAME
    if made_here and dataset.get("Modality") == "SR":
        return True
    derived = "DERIVED" in (dataset.get("ImageType") or ())
    if made_here and derived and dataset.get("SOPClassUID") == SECONDARY_CAPTURE:
        return True
    equipment = dataset.get("ContributingEquipmentSequence") or ()
    return any(item.get("ManufacturerModelName") == MODEL_NAME for item in equipment)

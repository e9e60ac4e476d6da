"""Groups of images by view, sex, age and station, from the columns of labels.csv that say so."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from training.dataset import LabelledImages

COLUMNS = ("view", "sex", "age", "station")
NOT_STATED = "not stated"
AGES = ((18, "under 18"), (40, "18 to 39"), (60, "40 to 59"), (121, "60 and over"))
"""Upper bound in years, exclusive, and the name of each group."""

Groups = Mapping[str, Mapping[str, NDArray[np.int64]]]


def subgroups(data: LabelledImages) -> Groups:
    """Rows of each group, by column and value; a column that labels.csv lacks is left out."""
    found: dict[str, dict[str, NDArray[np.int64]]] = {}
    for column in COLUMNS:
        if not any(column in case.columns for case in data.cases):
            continue
        values = np.array([group_of(column, case.columns.get(column, "")) for case in data.cases])
        found[column] = {str(v): np.flatnonzero(values == v) for v in _ordered(column, values)}
    return found


def group_of(column: str, text: str) -> str:
    """The group that a value of the column belongs to.

    View and sex as DICOM writes them (PS3.3 C.8.11.5 View Position, C.7.1.1 Patient's Sex), and
    the age in years or as an AS value (PS3.5 section 6.2: 047Y, 006M).
    """
    text = text.strip().upper()
    if not text:
        return NOT_STATED
    if column == "view":
        return text if text in ("AP", "PA") else "other"
    if column == "station":
        return text
    if column == "sex":
        return text[0] if text in ("F", "M", "FEMALE", "MALE") else "other"
    written = re.fullmatch(r"(\d{1,4})(?:\.\d*)?([DWMY]?)", text)
    if written is None:
        return NOT_STATED
    years = int(written[1]) if written[2] in ("", "Y") else 0
    return next((name for bound, name in AGES if years < bound), NOT_STATED)


def _ordered(column: str, values: NDArray[np.str_]) -> list[str]:
    first = [name for _, name in AGES] if column == "age" else sorted({"AP", "PA", "F", "M"})
    present = [str(value) for value in np.unique(values)]
    return sorted(present, key=lambda v: first.index(v) if v in first else len(first))

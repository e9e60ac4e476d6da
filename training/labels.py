"""Published label names and the findings that they count as.

Codes: the table of results in the conformance statement (SNOMED CT; PS3.16 for DCM).
"""

from __future__ import annotations

import hashlib
import re

from classifier.bundle import Code, FindingLabel

NO_FINDING = "No Finding"

FINDINGS: tuple[FindingLabel, ...] = (
    FindingLabel("pneumonia", Code("233604007", "SCT", "Pneumonia"), ("Pneumonia",)),
    FindingLabel("infiltration", Code("112121", "DCM", "Infiltrate"), ("Infiltration",)),
    FindingLabel("atelectasis", Code("46621007", "SCT", "Atelectasis"), ("Atelectasis",)),
    FindingLabel("pleural_effusion", Code("60046008", "SCT", "Pleural effusion"), ("Effusion",)),
    FindingLabel("nodule_or_mass", Code("309529002", "SCT", "Lung mass"), ("Nodule", "Mass")),
)
"""The default findings, in the order of their outputs."""

AUXILIARY: tuple[tuple[str, ...], ...] = (
    ("Cardiomegaly",),
    ("Consolidation",),
    ("Edema",),
    ("Emphysema",),
    ("Fibrosis",),
    ("Hernia",),
    ("Pleural_Thickening",),
    ("Pneumothorax",),
    (NO_FINDING,),
)
"""Further labels of ChestX-ray14, learnt beside the findings and left out of the bundle."""

LOCAL_SCHEME = "99HILUM"
"""Private coding scheme (PS3.16 section 8.2) of classes that have no entry above."""


def class_label(text: str) -> FindingLabel:
    """A class of a single-label data set, as a finding of a bundle."""
    key = "c_" + re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")
    digest = hashlib.sha256(text.encode()).hexdigest()[:12].upper()
    name = key.removeprefix("c_") if key[2:3].isalpha() else key
    return FindingLabel(name[:64], Code(digest, LOCAL_SCHEME, text[:64]), (text,))

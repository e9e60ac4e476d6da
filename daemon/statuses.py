"""What we answer a C-STORE with."""

from __future__ import annotations

# PS3.4 annex B.2.3 and PS3.7 annex C: the statuses that we answer a C-STORE with.
SUCCESS = 0x0000
INVALID_SOP_INSTANCE = 0x0117
SOP_CLASS_NOT_SUPPORTED = 0x0122
OUT_OF_RESOURCES = 0xA700
SOP_CLASS_MISMATCH = 0xA900
CANNOT_UNDERSTAND = 0xC000
PROCESSING_FAILURE = 0x0110

STATUS_CODES = {
    SUCCESS: "Success: the object is durable, or is of a kind that is taken and ignored",
    INVALID_SOP_INSTANCE: "Refused: the SOP Instance UID is not a UID",
    OUT_OF_RESOURCES: "Refused: out of space, too many images wait, or the database is busy;"
    " try again later",
    SOP_CLASS_MISMATCH: "Error: the SOP class is not that of the presentation context",
    CANNOT_UNDERSTAND: "Error: there is no data set",
    PROCESSING_FAILURE: "Error: an unforeseen fault; the object was not taken",
}

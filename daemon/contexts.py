"""Which SOP classes and transfer syntaxes we take and send (PS3.4 annex B, PS3.5 section 10)."""

from __future__ import annotations

from pynetdicom.presentation import PresentationContext, build_context

COMPUTED_RADIOGRAPHY = "1.2.840.10008.5.1.4.1.1.1"
DIGITAL_XRAY_FOR_PRESENTATION = "1.2.840.10008.5.1.4.1.1.1.1"
DIGITAL_XRAY_FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.1.1"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
COMPREHENSIVE_SR = "1.2.840.10008.5.1.4.1.1.88.33"
BASIC_TEXT_SR = "1.2.840.10008.5.1.4.1.1.88.11"
PRESENTATION_STATE = "1.2.840.10008.5.1.4.1.1.11.1"
VERIFICATION = "1.2.840.10008.1.1"
STORAGE_COMMITMENT = "1.2.840.10008.1.20.1"  # Push Model; its one instance has .1 after it
STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"

IMAGES = {
    COMPUTED_RADIOGRAPHY: "Computed Radiography Image Storage",
    DIGITAL_XRAY_FOR_PRESENTATION: "Digital X-Ray Image Storage - For Presentation",
    DIGITAL_XRAY_FOR_PROCESSING: "Digital X-Ray Image Storage - For Processing",
    SECONDARY_CAPTURE: "Secondary Capture Image Storage",
}

# Auto-routing sends these along with a study: they are acknowledged and never classified.
IGNORED = {
    BASIC_TEXT_SR: "Basic Text SR Storage",
    "1.2.840.10008.5.1.4.1.1.88.22": "Enhanced SR Storage",
    COMPREHENSIVE_SR: "Comprehensive SR Storage",
    "1.2.840.10008.5.1.4.1.1.88.34": "Comprehensive 3D SR Storage",
    "1.2.840.10008.5.1.4.1.1.88.59": "Key Object Selection Document Storage",
    "1.2.840.10008.5.1.4.1.1.88.65": "Chest CAD SR Storage",
    "1.2.840.10008.5.1.4.1.1.88.67": "X-Ray Radiation Dose SR Storage",
    PRESENTATION_STATE: "Grayscale Softcopy Presentation State Storage",
    "1.2.840.10008.5.1.4.1.1.11.2": "Color Softcopy Presentation State Storage",
    "1.2.840.10008.5.1.4.1.1.66.4": "Segmentation Storage",
}

# What a report is sent as: the first of these that the PACS takes.
REPORT_FORMS = {
    COMPREHENSIVE_SR: "Comprehensive SR Storage",
    BASIC_TEXT_SR: "Basic Text SR Storage",
    SECONDARY_CAPTURE: "Secondary Capture Image Storage",
}
# What heat maps are, by the setting report.heat_map.
HEAT_MAPS = {"sc": SECONDARY_CAPTURE, "gsps": PRESENTATION_STATE}
NAMES = {**IMAGES, **IGNORED}

# Deflated explicit VR little endian (.1.99) is left out with intent: a small
# object may unpack to hundreds of megabytes.
UNCOMPRESSED = {
    "1.2.840.10008.1.2": "Implicit VR Little Endian",
    "1.2.840.10008.1.2.1": "Explicit VR Little Endian",
    "1.2.840.10008.1.2.2": "Explicit VR Big Endian",
}
TRANSFER_SYNTAXES = {
    **UNCOMPRESSED,
    "1.2.840.10008.1.2.5": "RLE Lossless",
    "1.2.840.10008.1.2.4.50": "JPEG Baseline (Process 1)",
    "1.2.840.10008.1.2.4.51": "JPEG Extended (Process 2 and 4)",
    "1.2.840.10008.1.2.4.57": "JPEG Lossless, Non-Hierarchical (Process 14)",
    "1.2.840.10008.1.2.4.70": "JPEG Lossless, First-Order Prediction",
    "1.2.840.10008.1.2.4.80": "JPEG-LS Lossless",
    "1.2.840.10008.1.2.4.81": "JPEG-LS Near-Lossless",
    "1.2.840.10008.1.2.4.90": "JPEG 2000 Lossless",
    "1.2.840.10008.1.2.4.91": "JPEG 2000",
    "1.2.840.10008.1.2.4.201": "High-Throughput JPEG 2000 Lossless",
    "1.2.840.10008.1.2.4.202": "High-Throughput JPEG 2000 with RPCL Options Lossless",
    "1.2.840.10008.1.2.4.203": "High-Throughput JPEG 2000",
}


# What we send in, the preferred first; pixels are sent as they were made, never compressed.
SENT_IN = {uid: UNCOMPRESSED[uid] for uid in ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2")}


def accepted() -> list[PresentationContext]:
    """Return the contexts that the listener supports as SCP."""
    return [
        build_context(VERIFICATION, list(UNCOMPRESSED)),
        *(build_context(sop_class, list(TRANSFER_SYNTAXES)) for sop_class in IMAGES),
        *(build_context(sop_class, list(UNCOMPRESSED)) for sop_class in IGNORED),
    ]

"""Contours as a presentation state: GSPS, one per image (PS3.3 A.33.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydicom.dataset import Dataset

from daemon.contexts import PRESENTATION_STATE
from daemon.report.errors import ReportError
from daemon.report.header import identify, items, numbers, text
from daemon.report.heat_map import Shown, heat_map_uid
from daemon.report.items import decimal
from daemon.report.objects import NOT_FOR_DIAGNOSIS, equip, instance, moment_of
from daemon.report.regions import Activation, Outline
from daemon.report.subject import Device
from daemon.uids import derive_uid

SERIES_NUMBER = 9101
SERIES_DESCRIPTION = f"Hilum contours, {NOT_FOR_DIAGNOSIS}"
_LAYER = "HILUM"
_CYAN = (58000, 21000, 26000)  # CIELab as PS3.3 C.10.7.1.1 scales it


def series_uid(study_uid: str) -> str:
    """Return the Series Instance UID of a study's contours."""
    return derive_uid(study_uid, "contours")


def build_contours(
    shown: Sequence[Shown], active: Mapping[str, Activation], device: Device
) -> Dataset:
    """Build the state of one image: its positive findings' outlines, by name of the finding.

    Raises ReportError for an image in colour, which a grayscale state cannot be laid on.
    """
    image, header = shown[0].image, shown[0].header
    if not text(header, "PhotometricInterpretation").startswith("MONOCHROME"):
        raise ReportError("Contours are drawn on grey images alone.")
    study_uid = shown[0].study_uid
    moment = moment_of(image.answered.answered_at, text(header, "TimezoneOffsetFromUTC"))
    made = Dataset()
    identify(made, header)
    equip(made, header, device, moment)
    made.SOPClassUID = PRESENTATION_STATE
    made.SOPInstanceUID = heat_map_uid("contours", image, device, *(one.finding for one in shown))
    made.StudyInstanceUID, made.SeriesInstanceUID = study_uid, series_uid(study_uid)
    made.SeriesNumber, made.InstanceNumber = SERIES_NUMBER, shown[0].number
    made.SeriesDescription = SERIES_DESCRIPTION
    made.Modality = "PR"
    made.BodyPartExamined = "CHEST"
    made.ContentLabel, made.ContentDescription = "HILUM", NOT_FOR_DIAGNOSIS
    made.ContentCreatorName = "Hilum^^^^"
    made.PresentationCreationDate = moment.strftime("%Y%m%d")
    made.PresentationCreationTime = moment.strftime("%H%M%S.%f")
    series = Dataset()
    series.SeriesInstanceUID = image.series_instance_uid
    series.ReferencedImageSequence = [instance(image.sop_class_uid, image.sop_instance_uid)]
    made.ReferencedSeriesSequence = [series]
    _display(made, header)
    _annotate(made, shown, active)
    return made


def _display(made: Dataset, header: Dataset) -> None:
    """Show the image as it asks to be shown: its own grey scale, its whole area."""
    area = Dataset()
    area.DisplayedAreaTopLeftHandCorner = [1, 1]
    area.DisplayedAreaBottomRightHandCorner = [int(header.Columns), int(header.Rows)]
    area.PresentationSizeMode = "SCALE TO FIT"
    area.PresentationPixelAspectRatio = [1, 1]
    made.DisplayedAreaSelectionSequence = [area]
    slope, intercept = numbers(header, "RescaleSlope"), numbers(header, "RescaleIntercept")
    if len(slope) == len(intercept) == 1:
        made.RescaleSlope, made.RescaleIntercept = decimal(slope[0]), decimal(intercept[0])
        made.RescaleType = "US"  # unspecified units
    elif lut := items(header, "ModalityLUTSequence"):
        made.ModalityLUTSequence = lut
    center, width = numbers(header, "WindowCenter"), numbers(header, "WindowWidth")
    voi = Dataset()
    if lut := items(header, "VOILUTSequence"):
        voi.VOILUTSequence = lut[:1]
        made.SoftcopyVOILUTSequence = [voi]
    elif center and width and width[0] >= 1:
        voi.WindowCenter, voi.WindowWidth = decimal(center[0]), decimal(width[0])
        if (function := text(header, "VOILUTFunction")) in {"LINEAR_EXACT", "SIGMOID"}:
            voi.VOILUTFunction = function
        made.SoftcopyVOILUTSequence = [voi]
    inverse = "MONOCHROME1" in text(header, "PhotometricInterpretation")
    inverse |= text(header, "PresentationLUTShape") == "INVERSE"
    made.PresentationLUTShape = "INVERSE" if inverse else "IDENTITY"


def _annotate(made: Dataset, shown: Sequence[Shown], active: Mapping[str, Activation]) -> None:
    image = shown[0].image
    layer = Dataset()
    layer.GraphicLayer, layer.GraphicLayerOrder = _LAYER, 1
    layer.GraphicLayerDescription = NOT_FOR_DIAGNOSIS
    layer.GraphicLayerRecommendedDisplayCIELabValue = list(_CYAN)
    made.GraphicLayerSequence = [layer]
    drawn = Dataset()
    drawn.ReferencedImageSequence = [instance(image.sop_class_uid, image.sop_instance_uid)]
    drawn.GraphicLayer = _LAYER
    drawn.GraphicObjectSequence, drawn.TextObjectSequence = [], [_warning()]
    for one in shown:
        outlines = active[one.finding.name].outlines
        drawn.GraphicObjectSequence += [_polyline(outline) for outline in outlines]
        words = f"{one.name} {one.finding.probability:.2f} (threshold {one.finding.threshold:.2f})"
        drawn.TextObjectSequence += [_label(words, outline) for outline in outlines[:1]]
    if not drawn.GraphicObjectSequence:
        del drawn.GraphicObjectSequence
    made.GraphicAnnotationSequence = [drawn]


def _polyline(outline: Outline) -> Dataset:
    item = Dataset()
    item.GraphicAnnotationUnits, item.GraphicDimensions = "PIXEL", 2
    item.NumberOfGraphicPoints = len(outline)
    item.GraphicData = [value for point in outline for value in point]
    item.GraphicType, item.GraphicFilled = "POLYLINE", "N"
    return item


def _label(words: str, outline: Outline) -> Dataset:
    item = Dataset()
    item.AnchorPointAnnotationUnits = "PIXEL"
    item.UnformattedTextValue = words
    item.AnchorPoint = [*min(outline, key=lambda point: point[1])]
    item.AnchorPointVisibility = "Y"
    return item


def _warning() -> Dataset:
    item = Dataset()
    item.BoundingBoxAnnotationUnits = "DISPLAY"
    item.UnformattedTextValue = f"Hilum: {NOT_FOR_DIAGNOSIS}"
    item.BoundingBoxTopLeftHandCorner = [0.02, 0.94]
    item.BoundingBoxBottomRightHandCorner = [0.98, 0.99]
    item.BoundingBoxTextHorizontalJustification = "CENTER"
    return item

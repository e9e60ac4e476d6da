"""The heat map as object and as picture: what a viewer and a radiologist see."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from pydicom.dataset import Dataset

from daemon.report.attention import unpack
from daemon.report.picture import LONG_SIDE, Legend, draw
from daemon.report.regions import Activation, activation
from daemon.uids import is_own
from tests.reporting import DEVICE, PLACED, attended, decoded, radiograph, sent

LEGEND = Legend("Title", "Detail", "NOT FOR DIAGNOSTIC USE", "Meaning")


@pytest.fixture(scope="module")
def heat_map() -> Dataset:
    image = radiograph(PatientName="Secret^Name", PatientOrientation=["L", "F"])
    return decoded(sent((image, attended(PLACED))).companions[0])


def active(at: tuple[int, int] = (4, 9)) -> Activation:
    result = attended(PLACED, at=at)
    assert result.attention is not None
    found = activation(unpack(result)[0], result.attention)
    assert found is not None
    return found


def test_the_object_says_what_it_is(heat_map: Dataset) -> None:
    assert heat_map.ImageType == ["DERIVED", "SECONDARY", "OTHER", "GRADCAM"]
    assert (heat_map.Modality, heat_map.ConversionType) == ("OT", "WSD")
    assert (heat_map.SeriesNumber, heat_map.BurnedInAnnotation) == (9101, "YES")
    assert "NOT FOR DIAGNOSTIC USE" in heat_map.SeriesDescription
    assert "NOT FOR DIAGNOSTIC USE" in heat_map.ImageComments
    assert "Pneumonia: probability 0.87" in heat_map.ImageComments
    assert heat_map.PatientOrientation == ["L", "F"]
    assert "Laterality" not in heat_map
    assert heat_map.DerivationCodeSequence[0].CodeValue == "113047"
    (source,) = heat_map.SourceImageSequence
    assert source.PurposeOfReferenceCodeSequence[0].CodeValue == "121322"
    own = heat_map.ContributingEquipmentSequence[-1]
    assert own.DeviceUID == DEVICE.device_uid
    assert is_own(heat_map)


def test_the_picture_is_rgb_of_a_size_that_a_screen_shows(heat_map: Dataset) -> None:
    pixels = heat_map.pixel_array
    assert pixels.shape[2] == 3
    assert pixels.shape[1] == round(LONG_SIDE * 256 / 320)
    assert LONG_SIDE < pixels.shape[0] < LONG_SIDE + 250


def test_it_carries_the_time_of_the_result(heat_map: Dataset) -> None:
    assert heat_map.ContentDate == heat_map.DateOfSecondaryCapture == "20250301"
    assert heat_map.InstanceCreationTime == heat_map.ContentTime


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("orientation", [["L", "Ü"], ["left", "feet"], None])
def test_an_odd_orientation_is_left_out(orientation: list[str] | None) -> None:
    image = radiograph()
    image.add_new("PatientOrientation", "CS", orientation)
    image["PatientOrientation"].validation_mode = 0
    made = decoded(sent((image, attended(PLACED))).companions[0])
    assert made["PatientOrientation"].is_empty


def test_the_image_is_neither_flipped_nor_turned() -> None:
    """A lead marker on the left of the film stays there."""
    grey = np.full((320, 256), 60, dtype=np.uint8)
    grey[30:60, 20:50] = 250
    picture = draw(grey, active((12, 11)), LEGEND)
    zoom = LONG_SIDE / 320
    band = (picture.shape[0] - LONG_SIDE) // 2
    film = picture[band : band + LONG_SIDE].mean(axis=2)
    box = film[round(32 * zoom) : round(58 * zoom), round(22 * zoom) : round(48 * zoom)]
    mirrored = film[:, ::-1][
        round(32 * zoom) : round(58 * zoom), round(22 * zoom) : round(48 * zoom)
    ]
    assert box.mean() > 240
    assert mirrored.mean() < 80


def test_colour_is_where_the_network_looked_and_the_film_shows_through() -> None:
    grey = np.tile(np.arange(256, dtype=np.uint8), (320, 1))
    picture = draw(grey, active(), LEGEND).astype(int)
    band = (picture.shape[0] - LONG_SIDE) // 2
    film = picture[band : band + LONG_SIDE]
    zoom = LONG_SIDE / 320
    x, y = (round(zoom * (start + PLACED.scale * 16 * (cell + 0.5)))
            for start, cell in ((PLACED.left, 9), (PLACED.top, 4)))  # fmt: skip
    saturation = film.max(axis=2) - film.min(axis=2)
    assert saturation[y, x] > 30
    assert saturation[round(300 * zoom), round(20 * zoom)] == 0
    step = round(zoom * 6)  # the film's own slope is still there beneath the colour
    assert film[y, x + step].sum() > film[y, x - step].sum()


def test_the_contour_follows_half_of_the_maximum() -> None:
    found = active()
    (outline,) = found.outlines
    n = found.field.shape[0]
    step = PLACED.scale * PLACED.side / n
    for x, y in outline:
        row, column = int((y - PLACED.top) / step), int((x - PLACED.left) / step)
        near = found.field[max(0, row - 4) : row + 5, max(0, column - 4) : column + 5]
        assert near.min() <= 0.5 <= near.max()


def test_a_small_or_flat_image_is_drawn_all_the_same() -> None:
    placed = dataclasses.replace(PLACED, rows=320, columns=40, left=-140.0)
    result = attended(placed, at=(5, 7))
    assert result.attention is not None
    found = activation(unpack(result)[0], result.attention)
    assert found is not None
    picture = draw(np.zeros((320, 40), dtype=np.uint8), found, LEGEND)
    assert picture.shape[1] == 128


def test_the_words_are_in_the_pixels_and_the_patient_is_not(heat_map: Dataset) -> None:
    """The bands differ with the words, and not with the patient."""
    other = radiograph(PatientName="Other^Patient", PatientOrientation=["L", "F"])
    again = decoded(sent((other, attended(PLACED))).companions[0])
    assert np.array_equal(heat_map.pixel_array, again.pixel_array)
    plain = draw(np.zeros((320, 256), dtype=np.uint8), active(), LEGEND)
    renamed = draw(
        np.zeros((320, 256), dtype=np.uint8), active(), dataclasses.replace(LEGEND, warning="")
    )
    assert not np.array_equal(plain, renamed)

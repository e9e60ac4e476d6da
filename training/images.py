"""One file of a data set, image or DICOM, to a displayed radiograph that a model may learn from."""

from __future__ import annotations

from pathlib import Path

from classifier.decode import read_object
from classifier.eligibility import check_contrast, check_header, doubt
from classifier.errors import NotEligible
from classifier.pixels import Grey, Radiograph, from_dicom, from_image_file
from classifier.preprocessing import network_input

MIN_SIDE = 128
"""Pixels of the shorter side of an image file: published ones are often small, and still teach."""


def is_dicom(path: Path) -> bool:
    """By the name, or by the prefix of a Part 10 file (PS3.10 section 7.1).

    Raises: OSError.
    """
    if path.suffix.lower() == ".dcm":
        return True
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def read_radiograph(path: Path) -> Radiograph:
    """A radiograph as the service would see it.

    Raises:
        Undecodable: it cannot be read.
        NotEligible: it is too small, blank, or by its header no frontal chest radiograph.
        OSError: there is no such file.
    """
    if is_dicom(path):
        dataset = read_object(path)
        check_header(dataset, ("secondary_capture", "for_processing"))
        if (doubted := doubt(dataset)) is not None:
            raise doubted  # no pixels overrule a header that one is to learn from
        radiograph = from_dicom(dataset)
    else:
        radiograph = from_image_file(path)
    if min(radiograph.rows, radiograph.columns) < MIN_SIDE:
        raise NotEligible(
            "too_small",
            f"The image has {radiograph.rows} x {radiograph.columns} pixels; the shorter side "
            f"must have {MIN_SIDE}.",
        )
    check_contrast(radiograph.grey)
    return radiograph


def input_of(path: Path, preprocessing: str, side: int) -> Grey:
    """The network's input (side, side) of a file. Raises: as `read_radiograph`."""
    return network_input(read_radiograph(path), preprocessing, side)[0]

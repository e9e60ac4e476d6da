"""Simulated objects: the pixel pipeline gets the image back, whatever the form."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom.uid import (
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLossless,
    JPEGLSNearLossless,
)

from classifier.decode import read_object
from classifier.errors import Undecodable
from classifier.pixels import from_dicom
from daemon.simulate import (
    CannotSimulate,
    Damage,
    Form,
    Kind,
    Modality,
    Patient,
    Uids,
    Voi,
    make_object,
    to_bytes,
    transfer_syntaxes,
)
from tests.reporting import dciodvfy

LOSSY = {JPEG2000, JPEGBaseline8Bit, JPEGLSNearLossless}


def picture() -> NDArray[np.uint8]:
    """An image without a dark border, with many grey levels, and nothing symmetric."""
    rows, columns = np.mgrid[0:67, 0:90]
    ramp = (rows + 1.37 * columns) / (66 + 1.37 * 89)
    return np.asarray(255 * ramp**0.8, dtype=np.uint8) | 16


def displayed(form: Form) -> NDArray[np.uint8]:
    return from_dicom(read_object(to_bytes(make_object(picture(), form)))).grey


def error(form: Form) -> int:
    """The largest difference in what is displayed, beside a border that is cropped."""
    shown = from_dicom(read_object(to_bytes(make_object(picture(), form))))
    rows, columns = shown.grey.shape
    assert min(rows, columns) >= min(picture().shape) - 2
    kept = picture()[shown.top : shown.top + rows, shown.left : shown.left + columns]
    return int(np.abs(shown.grey.astype(int) - kept).max())


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("voi", [Voi.LINEAR, Voi.LINEAR_EXACT, Voi.SIGMOID, Voi.LUT])
@pytest.mark.parametrize("modality", Modality)
@pytest.mark.parametrize("bits", [12, 16])
def test_each_display_step_gives_the_image_back(
    modality: Modality, voi: Voi, bits: int, inverted: bool
) -> None:
    form = Form(Kind.CR, bits, inverted, modality, voi)
    # a square root of 12 bits has few levels where it is steep
    assert error(form) <= (4 if bits == 12 and modality is Modality.LUT else 1)


@pytest.mark.parametrize("bits", range(8, 17))
@pytest.mark.parametrize("kind", Kind)
def test_each_depth_gives_the_image_back(kind: Kind, bits: int) -> None:
    assert error(Form(kind, bits)) == 0


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("syntax", transfer_syntaxes(), ids=lambda uid: uid.keyword)
def test_each_transfer_syntax_gives_the_image_back(syntax: UID, bits: int) -> None:
    form = Form(bits=bits, transfer_syntax=syntax)
    if syntax == JPEGBaseline8Bit and bits > 8:
        with pytest.raises(CannotSimulate, match="JPEG Baseline holds 8 bits"):
            make_object(picture(), form)
        return
    assert error(form) <= (16 if syntax in LOSSY else 0)
    lossy = make_object(picture(), form).LossyImageCompression
    assert lossy == ("01" if syntax in LOSSY else "00")


@pytest.mark.parametrize("syntax", transfer_syntaxes(), ids=lambda uid: uid.keyword)
def test_a_lookup_table_has_the_byte_order_of_its_object(syntax: UID) -> None:
    bits = 8 if syntax == JPEGBaseline8Bit else 12
    form = Form(Kind.CR, bits, voi=Voi.LUT, transfer_syntax=syntax)
    assert error(form) <= (40 if syntax in LOSSY else 12 if bits == 8 else 1)


def test_without_a_window_the_values_are_in_order() -> None:
    shown = displayed(Form(Kind.CR, 12, voi=Voi.NONE)).astype(int).ravel()
    # the percentile window takes the darkest line for border, and it is cropped
    kept = picture().ravel()[-len(shown) :]
    assert (np.diff(shown[np.argsort(kept, kind="stable")]) >= 0).all()


@pytest.mark.parametrize("damage", [Damage.GARBLED, Damage.TRUNCATED])
@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGBaseline8Bit])
def test_garbled_pixels_do_not_decode(damage: Damage, syntax: UID) -> None:
    form = Form(bits=8, transfer_syntax=syntax, damage=damage)
    dataset = make_object(picture(), form)
    whole = make_object(picture(), dataclasses.replace(form, damage=Damage.NONE))
    assert dataset.SOPInstanceUID != whole.SOPInstanceUID
    if damage is Damage.GARBLED:
        with pytest.raises(Undecodable):
            from_dicom(read_object(to_bytes(dataset)))
    else:
        assert len(dataset.PixelData) < len(whole.PixelData) * 0.6


def test_truncated_native_pixels_do_not_decode() -> None:
    with pytest.raises(Undecodable):
        displayed(Form(damage=Damage.TRUNCATED))


def test_the_same_image_is_the_same_object() -> None:
    first, second = (make_object(picture(), Form()) for _ in range(2))
    assert to_bytes(first) == to_bytes(second)
    other = make_object(picture(), Form(view="AP"))
    assert other.SOPInstanceUID != first.SOPInstanceUID
    assert other.StudyInstanceUID == first.StudyInstanceUID
    stranger = make_object(picture(), Form(), Patient(id="DEMO-0002"))
    assert stranger.StudyInstanceUID != first.StudyInstanceUID


def test_uids_may_be_given() -> None:
    dataset = make_object(picture(), uids=Uids("1.2.1", "1.2.2", "1.2.3"))
    assert dataset.StudyInstanceUID == "1.2.1"
    assert dataset.SeriesInstanceUID == "1.2.2"
    assert dataset.SOPInstanceUID == dataset.file_meta.MediaStorageSOPInstanceUID == "1.2.3"


def test_an_image_file_is_read(tmp_path: Path) -> None:
    grey, wide = tmp_path / "grey.png", tmp_path / "wide.png"
    Image.fromarray(picture()).save(grey)
    assert to_bytes(make_object(grey, Form())) == to_bytes(make_object(picture(), Form()))
    deep = picture().astype(np.uint16) * 257
    Image.fromarray(deep).save(wide)
    shown = from_dicom(read_object(to_bytes(make_object(wide, Form(bits=16)))))
    assert (shown.grey == picture()[shown.top :, shown.left :]).all()


def test_bad_input_is_named(tmp_path: Path) -> None:
    text = tmp_path / "notes.png"
    text.write_text("no image")
    with pytest.raises(CannotSimulate, match=r"notes\.png is no readable PNG or JPEG"):
        make_object(text)
    with pytest.raises(CannotSimulate, match="uint8 or uint16"):
        make_object(np.zeros((4, 4, 3), dtype=np.uint8))
    with pytest.raises(CannotSimulate, match=r"8 to 16\. Received: 17"):
        Form(bits=17)
    with pytest.raises(CannotSimulate, match="even number of pixels"):
        make_object(picture()[:, :45], Form(bits=8, transfer_syntax=JPEGLossless))
    with pytest.raises(CannotSimulate, match="use kind CR or SC"):
        Form(Kind.DX, modality=Modality.LUT)


@pytest.mark.parametrize("syntax", [HTJ2KLossless, DeflatedExplicitVRLittleEndian])
def test_a_syntax_without_encoder_is_refused_with_what_is_possible(syntax: UID) -> None:
    with pytest.raises(CannotSimulate, match=rf"no encoder for {syntax}.*Possible: .*JPEG-LS"):
        make_object(picture(), Form(transfer_syntax=syntax))


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("kind", Kind)
def test_plain_forms_have_no_error(kind: Kind, inverted: bool, tmp_path: Path) -> None:
    file = tmp_path / "image.dcm"
    for number, syntax in enumerate(transfer_syntaxes()):
        bits = 8 if syntax == JPEGBaseline8Bit else 12
        form = Form(kind, bits, inverted, transfer_syntax=syntax)
        file.write_bytes(to_bytes(make_object(picture() | np.uint8(number), form)))
        assert dciodvfy(file) == [], str(form)


@pytest.mark.parametrize("voi", [Voi.LINEAR_EXACT, Voi.SIGMOID, Voi.LUT])
@pytest.mark.parametrize("modality", Modality)
def test_forms_with_tables_have_no_error(modality: Modality, voi: Voi, tmp_path: Path) -> None:
    file = tmp_path / "image.dcm"
    file.write_bytes(to_bytes(make_object(picture(), Form(Kind.CR, 12, False, modality, voi))))
    assert dciodvfy(file) == []

"""Which labelled images count, on which side, and what becomes of the rest."""

from __future__ import annotations

from pathlib import Path

from classifier.bundle import load_bundle
from storage.labelled import LabelledImage
from storage.records import InstanceId, Sha256
from training.local import LocalCases, local_cases

NAMES = [finding.label.name for finding in load_bundle().manifest.findings]
NONE = dict.fromkeys(NAMES, (False,))


def image(number: int, patient: str = "p", kept: bool = True, **said: object) -> LabelledImage:
    values = {"readers": NONE, "report": {}, **said}
    return LabelledImage(
        InstanceId(number), f"1.{number}", Sha256(f"{number:064}"), kept, patient,
        "PA", "F", "050Y", "CR1", **values,  # type: ignore[arg-type]
    )  # fmt: skip


def sorted_out(*images: LabelledImage, held_out: bool = False) -> LocalCases:
    patients = {one.patient: held_out for one in images} | {"apart": True}
    return local_cases(load_bundle(), images, patients, Path, Path("run"))


def test_readers_who_agree_make_a_label() -> None:
    found = sorted_out(image(1, readers={**NONE, NAMES[0]: (True, True)}))
    (case,) = found.learning.cases
    assert case.labels == {NAMES[0]}
    assert dict(case.columns) == {"view": "PA", "sex": "F", "age": "050Y", "station": "CR1"}
    labels = load_bundle().manifest.findings
    assert found.learning.targets([(f.label.name, *f.label.labels) for f in labels]).tolist() == [
        [1, 0, 0, 0, 0]
    ]


def test_readers_who_differ_make_none_and_are_counted() -> None:
    found = sorted_out(image(1, readers={**NONE, NAMES[2]: (True, False)}), image(2))
    assert (found.counts.conflicts, found.counts.used) == (1, 1)
    assert "1 on which readers differ" in str(found.counts)


def test_a_report_speaks_where_no_reader_does() -> None:
    report = dict.fromkeys(NAMES, True)
    read = {NAMES[0]: (False,)}
    (case,) = sorted_out(image(1, readers=read, report=report)).learning.cases
    assert case.labels == set(NAMES[1:])


def test_what_nobody_judged_is_not_taken_for_absent() -> None:
    found = sorted_out(image(1, readers={NAMES[0]: (True,)}))
    assert (found.counts.incomplete, found.counts.used) == (1, 0)


def test_the_held_out_stand_apart_and_a_removed_file_is_counted() -> None:
    found = sorted_out(image(1), image(2, patient="apart"), image(3, kept=False))
    assert [case.path for case in found.learning.cases] == [Path(f"{1:064}")]
    assert [case.patient for case in found.held_out.cases] == ["apart"]
    assert found.counts.as_json() == {
        "labelled": 3, "used": 1, "held_out": 1, "conflicts": 0, "incomplete": 0, "removed": 1,
    }  # fmt: skip

"""Later versions of a stored report: confirmed or corrected by a radiologist, or withdrawn.

Each is a new instance in the same series that names its predecessor (PS3.3 C.17.2.1).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime

from pydicom.charset import convert_encodings, decode_bytes, encode_string
from pydicom.dataset import Dataset

from daemon.contexts import COMPREHENSIVE_SR
from daemon.report import codes, items
from daemon.report.codes import Code
from daemon.report.content import GROUP, tracking_identifier
from daemon.report.document import put_content
from daemon.report.errors import ReportError
from daemon.report.items import Reference, Relation
from daemon.report.objects import coded, moment_of, reference
from daemon.report.reading import Group, children, groups, is_named, measurement_groups
from daemon.report.subject import plain
from daemon.uids import derive_uid


@dataclass(frozen=True, slots=True)
class Reviewer:
    """The radiologist who answers for a verified report."""

    name: str  # as VR PN: family^given^middle^prefix^suffix
    organization: str


@dataclass(frozen=True, slots=True)
class Correction:
    """What a radiologist says of one finding in one image, against the computer."""

    sop_instance_uid: str
    finding: str  # its key, for instance "pleural_effusion"
    present: bool


def verify_report(
    dataset: Dataset,
    reviewer: Reviewer,
    version: int,
    verified_at: float,
    corrections: Sequence[Correction] = (),
) -> Dataset:
    """Return the report as a radiologist has confirmed or corrected it: VERIFIED and FINAL.

    Raises ReportError where a correction names no finding of the report, or where the
    radiologist's name cannot be written in the report's character set.
    """
    _check_writable(dataset, reviewer.name, reviewer.organization)
    made, moment = _next_version(dataset, version, verified_at, repr((reviewer, corrections)))
    made.VerificationFlag, made.PreliminaryFlag = "VERIFIED", "FINAL"
    observer = Dataset()
    observer.VerifyingOrganization = reviewer.organization
    observer.VerificationDateTime = moment.strftime("%Y%m%d%H%M%S.%f")
    observer.VerifyingObserverName = reviewer.name
    observer.VerifyingObserverIdentificationCodeSequence = []
    made.VerifyingObserverSequence = [observer]
    said = [_correct(made, correction, reviewer) for correction in corrections]
    outcome = f"Corrected by a radiologist: {'; '.join(said)}." if said else (
        "Confirmed by a radiologist without correction."
    )  # fmt: skip
    summary = children(made, codes.SUMMARY)
    if summary:
        summary[0].TextValue = f"{outcome} The computer had reported: {summary[0].TextValue}"
    for comment in children(made, codes.COMMENT):
        comment.TextValue = "Decision support by computer, verified by a radiologist."
    return made


def withdraw_report(dataset: Dataset, reason: str, version: int, withdrawn_at: float) -> Dataset:
    """Return a version without results that says why those of the version before do not hold.

    Raises ReportError where no reason is given.
    """
    if not reason.strip():
        raise ReportError("A report is withdrawn for a reason, and none is given.")
    why = plain(reason.strip())
    before = groups(dataset)
    made, _ = _next_version(dataset, version, withdrawn_at, repr(("withdrawn", why)))
    sources = {group.source for group in before if group.source is not None}
    ordered = sorted(sources, key=lambda one: one.sop_instance_uid)
    kept = [
        item
        for item in made.ContentSequence
        if not any(is_named(item, n) for n in (codes.SUMMARY, codes.COMMENT, codes.MEASUREMENTS))
    ]
    said = f"WITHDRAWN: the results of version {dataset.InstanceNumber} do not hold. {why}"
    replaced = _decoded(
        [
            items.text(codes.SUMMARY, plain(said)),
            items.text(codes.COMMENT, "Read the images without regard to the withdrawn results."),
            items.container(codes.MEASUREMENTS, [_withdrawn(source, why) for source in ordered]),
        ]
    )
    if not ordered:
        replaced.pop()
    place = sum(not is_named(item, codes.IMAGE_LIBRARY) for item in kept)
    head, library = kept[:place], kept[place:]
    made.ContentSequence = [*head, *replaced[:2], *library, *replaced[2:]]
    return made


def _withdrawn(source: Reference, why: str) -> bytes:
    uid = derive_uid("tracking", source.sop_instance_uid, "withdrawn")
    return items.container(
        codes.GROUP,
        [
            items.text(
                codes.TRACKING_IDENTIFIER, tracking_identifier("withdrawn"), Relation.OBSERVATION
            ),
            items.uid(codes.TRACKING_UID, uid, Relation.OBSERVATION),
            items.code(codes.NOT_ANALYSED_REASON, codes.reason("withdrawn")),
            items.image(codes.SOURCE_OF_MEASUREMENT, source),
            items.text(codes.COMMENT, plain(f"The results were withdrawn: {why}")),
        ],
        GROUP,
    )


def _next_version(
    dataset: Dataset, version: int, made_at: float, what: str
) -> tuple[Dataset, datetime]:
    if dataset.get("SOPClassUID") != COMPREHENSIVE_SR:
        raise ReportError("Only a Comprehensive SR of ours has later versions.")
    if version <= int(dataset.InstanceNumber):
        raise ReportError(
            f"Version {version} is not later than the report's own, {dataset.InstanceNumber}."
        )
    made = deepcopy(dataset)
    moment = moment_of(made_at, str(dataset.get("TimezoneOffsetFromUTC") or ""))
    made.SOPInstanceUID = derive_uid(dataset.SOPInstanceUID, str(version), what)
    made.InstanceNumber = version
    made.ContentDate = made.InstanceCreationDate = moment.strftime("%Y%m%d")
    made.ContentTime = made.InstanceCreationTime = moment.strftime("%H%M%S.%f")
    made.VerificationFlag, made.PreliminaryFlag = "UNVERIFIED", "PRELIMINARY"
    made.pop("VerifyingObserverSequence", None)
    series = {str(dataset.SeriesInstanceUID): [(COMPREHENSIVE_SR, str(dataset.SOPInstanceUID))]}
    made.PredecessorDocumentsSequence = [reference(str(dataset.StudyInstanceUID), series)]
    return made, moment


def _correct(made: Dataset, correction: Correction, reviewer: Reviewer) -> str:
    """Put a radiologist's word in place of the computer's; return it as a sentence's part."""
    item, before = _find(made, correction)
    presence = codes.PRESENT if correction.present else codes.ABSENT
    answer = _decoded([items.code(codes.PRESENCE, presence)])[0]
    answer.ContentSequence = [*_person(reviewer)]
    content = list(item.ContentSequence)
    place = next(i for i, child in enumerate(content) if is_named(child, codes.PRESENCE))
    content[place] = answer
    if not correction.present and before.source is not None:
        # What shows the computer's finding is no sign of anything now
        gone = (codes.REGION, codes.EXPLANATION, codes.SOURCE_OF_MEASUREMENT)
        content = [child for child in content if not any(is_named(child, n) for n in gone)]
        content += _decoded([items.image(codes.SOURCE_OF_MEASUREMENT, before.source)])
        item.ContentTemplateSequence[0].TemplateIdentifier = GROUP
    was = f"{before.finding} {presence.meaning.lower()} (reported {before.presence.lower()})"
    content += _decoded([items.text(codes.COMMENT, plain(f"Corrected by a radiologist: {was}."))])
    item.ContentSequence = content
    return was


def _find(made: Dataset, correction: Correction) -> tuple[Dataset, Group]:
    for item, group in zip(measurement_groups(made), groups(made), strict=True):
        source = group.source.sop_instance_uid if group.source else ""
        if (source, group.name) == (correction.sop_instance_uid, correction.finding):
            return item, group
    raise ReportError(
        f"The report has no finding {correction.finding} of image {correction.sop_instance_uid}."
    )


def _person(reviewer: Reviewer) -> Iterable[Dataset]:
    """TID 1003."""
    yield _decoded([items.code(codes.OBSERVER_TYPE, codes.PERSON, Relation.OBSERVATION)])[0]
    yield _text_item("PNAME", codes.PERSON_NAME, "PersonName", reviewer.name)
    yield _text_item("TEXT", codes.PERSON_ORGANIZATION, "TextValue", reviewer.organization)


def _text_item(value_type: str, name: Code, keyword: str, value: str) -> Dataset:
    """One item in the report's own character set, which encoded items do not know."""
    item = Dataset()
    item.RelationshipType, item.ValueType = Relation.OBSERVATION.value, value_type
    item.ConceptNameCodeSequence = [coded(name)]
    setattr(item, keyword, value)
    return item


def _decoded(encoded: list[bytes]) -> list[Dataset]:
    holder = Dataset()
    put_content(holder, items.content(encoded))
    return list(holder.ContentSequence)


def _check_writable(dataset: Dataset, *values: str) -> None:
    declared = dataset.get("SpecificCharacterSet")
    encodings = convert_encodings(declared)
    for value in values:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            again = decode_bytes(encode_string(value, encodings), encodings, {0x5C, 0x5E, 0x3D})
        if not value or again != value:
            raise ReportError(
                "The radiologist's name and organization must be given, in characters of the "
                f"report's character set ({declared or 'ISO_IR 6'})."
            )

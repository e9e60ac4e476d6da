"""Later versions of a stored report: what each has, and one that is withdrawn.

Each is a new instance in the same series that names its predecessor (PS3.3 C.17.2.1).
"""

from __future__ import annotations

from copy import deepcopy
from datetime import datetime

from pydicom.dataset import Dataset

from daemon.contexts import COMPREHENSIVE_SR
from daemon.report import codes, items
from daemon.report.content import GROUP, tracking_identifier
from daemon.report.document import put_content
from daemon.report.errors import ReportError
from daemon.report.items import Reference, Relation
from daemon.report.objects import moment_of, reference
from daemon.report.reading import groups, is_named
from daemon.report.subject import plain
from daemon.uids import derive_uid


def withdraw_report(dataset: Dataset, reason: str, version: int, withdrawn_at: float) -> Dataset:
    """Return a version without results that says why those of the version before do not hold.

    Raises ReportError where no reason is given.
    """
    if not reason.strip():
        raise ReportError("A report is withdrawn for a reason, and none is given.")
    why = plain(reason.strip())
    before = groups(dataset)
    made, _ = next_version(dataset, version, withdrawn_at, repr(("withdrawn", why)))
    sources = {group.source for group in before if group.source is not None}
    ordered = sorted(sources, key=lambda one: one.sop_instance_uid)
    kept = [
        item
        for item in made.ContentSequence
        if not any(is_named(item, n) for n in (codes.SUMMARY, codes.COMMENT, codes.MEASUREMENTS))
    ]
    said = f"WITHDRAWN: the results of version {dataset.InstanceNumber} do not hold. {why}"
    replaced = decoded(
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


def next_version(
    dataset: Dataset, version: int, made_at: float, what: str, predecessor_uid: str | None = None
) -> tuple[Dataset, datetime]:
    """Return the same content as a later version, not verified, and its moment.

    The predecessor is the dataset itself where no other is named. `what` tells apart the versions
    that could be made of it. Raises ReportError.
    """
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
    before = predecessor_uid or str(dataset.SOPInstanceUID)
    series = {str(dataset.SeriesInstanceUID): [(COMPREHENSIVE_SR, before)]}
    made.PredecessorDocumentsSequence = [reference(str(dataset.StudyInstanceUID), series)]
    return made, moment


def decoded(encoded: list[bytes]) -> list[Dataset]:
    """Return encoded content items as pydicom has them."""
    holder = Dataset()
    put_content(holder, items.content(encoded))
    return list(holder.ContentSequence)

"""A stored report as radiologists have confirmed or corrected it.

Every review is a version of its own that names the one before (PS3.3 C.17.2.1). It is VERIFIED
where its reader has seen every result that it shows.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydicom.dataset import Dataset

from daemon.report import codes, items
from daemon.report.content import DISCLAIMER, GROUP, tracking_identifier
from daemon.report.items import Reference, Relation
from daemon.report.objects import coded, moment_of
from daemon.report.reading import Group, children, groups, is_named, measurement_groups
from daemon.report.repertoire import settle
from daemon.report.revisions import decoded, next_version
from daemon.report.said import Reviewer, Said, Word
from daemon.report.subject import plain
from daemon.uids import derive_uid

VERIFIED = "Decision support by computer, verified by a radiologist."
IN_PART = (
    "This is decision support by computer, not a diagnosis. "
    "A radiologist has read a part of it: this version also has what no radiologist has verified."
)
NOT_STATED = "Not stated"  # an organization that nobody has named; the standard wants one
_COMPUTER = "The computer had reported: "


def say_reviews(
    dataset: Dataset,
    reviews: Sequence[Said],
    version: int,
    predecessor_uid: str,
    made_at: float,
    *,
    verifies: bool,
) -> Dataset:
    """Return the version that says the reviews, in their order, of a stored report.

    `dataset` shows the results; `predecessor_uid` names the version before, which may say all of
    the reviews but the last. `verifies`: the last reader has seen all that the version shows; else
    it is UNVERIFIED and says that it was read in part. Raises ReportError.
    """
    settled, worded = settle(dataset, reviews)
    made, _ = next_version(settled, version, made_at, repr((*worded, verifies)), predecessor_uid)
    _say(made, worded, verifies=verifies)
    if verifies:
        _verify(made, worded[-1])
    return made


def repeat_reviews(dataset: Dataset, reviews: Sequence[Said]) -> Dataset:
    """Return a new report of results that also says what was confirmed or corrected before.

    It is UNVERIFIED: nobody has read its new results. Without reviews it is the same report.
    """
    if not reviews:
        return dataset
    made, worded = settle(dataset, reviews)
    made.SOPInstanceUID = derive_uid(str(made.SOPInstanceUID), repr(worded))
    _say(made, worded, verifies=False)
    return made


def _verify(made: Dataset, review: Said) -> None:
    """PS3.3 C.17.2: VERIFIED and FINAL, and by whom."""
    made.VerificationFlag, made.PreliminaryFlag = "VERIFIED", "FINAL"
    moment = moment_of(review.at, str(made.get("TimezoneOffsetFromUTC") or ""))
    observer = Dataset()
    observer.VerifyingOrganization = review.reviewer.organization or NOT_STATED
    observer.VerificationDateTime = moment.strftime("%Y%m%d%H%M%S.%f")
    observer.VerifyingObserverName = review.reviewer.name
    observer.VerifyingObserverIdentificationCodeSequence = []
    made.VerifyingObserverSequence = [observer]


def _say(made: Dataset, reviews: Sequence[Said], *, verifies: bool) -> None:
    outcomes = []
    for review in reviews:
        outcomes.append(_outcome(made, review))
        if review.note:
            _put_note(made, review)
    last, *before = reversed(outcomes)
    told = [last, *(f"Before that: {outcome}" for outcome in before)]
    if not verifies:
        told.insert(0, "READ IN PART: there are results here that no radiologist has verified.")
    summary = children(made, codes.SUMMARY)
    if summary:
        computer = str(summary[0].TextValue).rpartition(_COMPUTER)[2]
        summary[0].TextValue = f"{' '.join(told)} {_COMPUTER}{computer}"
    for comment in children(made, codes.COMMENT):
        if str(comment.TextValue) in {DISCLAIMER, VERIFIED, IN_PART}:
            comment.TextValue = VERIFIED if verifies else IN_PART


def _outcome(made: Dataset, review: Said) -> str:
    """Put a review's words into the report; return what comes of it, in a sentence or two."""
    corrected: list[str] = []
    unsure: list[str] = []
    for word in review.words:
        said = _put(made, word, review)
        if said:
            (unsure if word.present is None else corrected).append(said)
    told = (
        f"Corrected by a radiologist: {'; '.join(corrected)}."
        if corrected
        else ("Confirmed by a radiologist without correction.")
    )
    return f"{told} Unsure of: {'; '.join(unsure)}." if unsure else told


def _put(made: Dataset, word: Word, review: Said) -> str:
    """Put a radiologist's word into the report; return it as a sentence's part, "" if no change."""
    found = _find(made, word)
    if found is None:
        return _add(made, word, review)
    item, before = found
    if word.present is None:
        item.ContentSequence = [*item.ContentSequence, _comment("A radiologist is unsure of this.")]
        return before.finding
    presence = codes.PRESENT if word.present else codes.ABSENT
    if before.presence == presence.meaning:
        return ""
    return _correct(item, before, presence, review.reviewer)


def _correct(item: Dataset, before: Group, presence: codes.Code, reviewer: Reviewer) -> str:
    """Put a radiologist's presence in place of what stood there."""
    content = list(item.ContentSequence)
    stood = [i for i, child in enumerate(content) if is_named(child, codes.PRESENCE)]
    place = stood[0] if stood else len(content)
    by_reader = bool(stood) and bool(content[place].get("ContentSequence"))
    content[place : place + 1] = [_presence(presence, reviewer)]
    if presence is codes.ABSENT and before.source is not None:
        # What shows the computer's finding is no sign of anything now
        gone = (codes.REGION, codes.EXPLANATION, codes.SOURCE_OF_MEASUREMENT)
        content = [child for child in content if not any(is_named(child, n) for n in gone)]
        content += decoded([items.image(codes.SOURCE_OF_MEASUREMENT, before.source)])
        item.ContentTemplateSequence[0].TemplateIdentifier = GROUP
    was = f"{before.finding} {presence.meaning.lower()}"
    if stood:
        whose = "a radiologist had said" if by_reader else "reported"
        was += f" ({whose} {before.presence.lower()})"
    item.ContentSequence = [*content, _comment(f"Corrected by a radiologist: {was}.")]
    return was


def _find(made: Dataset, word: Word) -> tuple[Dataset, Group] | None:
    name, uid = word.finding, word.sop_instance_uid
    tracked = derive_uid("tracking", uid, name)
    for item, group in zip(measurement_groups(made), groups(made), strict=True):
        if group.tracking_uid == tracked:
            return item, group
    return None


def _add(made: Dataset, word: Word, review: Said) -> str:
    """TID 1501 with a finding that the computer has not named in this image."""
    uid, source = word.sop_instance_uid, _evidence(made, word.sop_instance_uid)
    identifier = tracking_identifier(word.finding)
    group = decoded(
        [
            items.container(
                codes.GROUP,
                [
                    items.text(codes.TRACKING_IDENTIFIER, identifier, Relation.OBSERVATION),
                    items.uid(
                        codes.TRACKING_UID,
                        derive_uid("tracking", uid, word.finding),
                        Relation.OBSERVATION,
                    ),
                    items.code(codes.CATEGORY, codes.FINDING_CATEGORY),
                    items.code(codes.FINDING, word.code),
                    items.code(codes.SITE, codes.site_of(word.code.value), Relation.MODIFIER),
                ],
                GROUP,
            )
        ]
    )[0]
    content = list(group.ContentSequence)
    if word.present is not None:
        presence = codes.PRESENT if word.present else codes.ABSENT
        content.append(_presence(presence, review.reviewer))
    if source is not None:
        content += decoded([items.image(codes.SOURCE_OF_MEASUREMENT, source)])
    how = {True: "added", False: "absent", None: "not sure"}[word.present]
    content.append(_comment(f"By a radiologist: {word.code.meaning} {how}, in image {uid}."))
    group.ContentSequence = content
    measurements = children(made, codes.MEASUREMENTS)[0]
    measurements.ContentSequence = [*measurements.get("ContentSequence", ()), group]
    return word.code.meaning if word.present is None else f"{word.code.meaning} {how}"


def _evidence(made: Dataset, sop_instance_uid: str) -> Reference | None:
    """The image as the evidence names it, None where it does not."""
    for study in made.get("CurrentRequestedProcedureEvidenceSequence", ()):
        for series in study.ReferencedSeriesSequence:
            for one in series.ReferencedSOPSequence:
                if one.ReferencedSOPInstanceUID == sop_instance_uid:
                    return Reference(str(one.ReferencedSOPClassUID), sop_instance_uid)
    return None


def _presence(presence: codes.Code, reviewer: Reviewer) -> Dataset:
    item = decoded([items.code(codes.PRESENCE, presence)])[0]
    item.ContentSequence = _person(reviewer)
    return item


def _put_note(made: Dataset, review: Said) -> None:
    """A radiologist's own words, behind the comment that every report has."""
    note = _text_item("TEXT", codes.COMMENT, "TextValue", f"By a radiologist: {review.note}")
    note.RelationshipType = Relation.CONTAINS.value
    note.ContentSequence = _person(review.reviewer)
    content = list(made.ContentSequence)
    place = max(i for i, item in enumerate(content) if is_named(item, codes.COMMENT)) + 1
    made.ContentSequence = [*content[:place], note, *content[place:]]


def _person(reviewer: Reviewer) -> list[Dataset]:
    """TID 1003."""
    observer = [
        *decoded([items.code(codes.OBSERVER_TYPE, codes.PERSON, Relation.OBSERVATION)]),
        _text_item("PNAME", codes.PERSON_NAME, "PersonName", reviewer.name),
    ]
    if reviewer.organization:
        name = codes.PERSON_ORGANIZATION
        observer.append(_text_item("TEXT", name, "TextValue", reviewer.organization))
    return observer


def _text_item(value_type: str, name: codes.Code, keyword: str, value: str) -> Dataset:
    """One item in the report's own character set, which encoded items do not know."""
    item = Dataset()
    item.RelationshipType, item.ValueType = Relation.OBSERVATION.value, value_type
    item.ConceptNameCodeSequence = [coded(name)]
    setattr(item, keyword, value)
    return item


def _comment(value: str) -> Dataset:
    return decoded([items.text(codes.COMMENT, plain(value))])[0]

"""What a page shows of a study, in words; and what it keeps back from a blinded reader."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date

from storage.headers import HeaderState, StudyHeader
from storage.worklist import WorklistRow


@dataclass(frozen=True, slots=True)
class Shown:
    """A row of the worklist as a person reads it. What is withheld is not in it."""

    study: str  # Study Instance UID
    mark: str  # flagged, clear, none or withheld: which sign stands first
    name: str
    other_name: str  # the same in another script
    patient_id: str
    age_sex: str
    studied: str  # date and time
    waiting: str
    station: str
    description: str
    finding: str
    probability: str
    images: int
    not_analysed: int
    reported: bool
    reviewed: bool
    reviewed_by: str
    reviewed_at: float | None


def shown(row: WorklistRow, now: float, *, withheld: bool) -> Shown:
    """Return a row in words; `withheld`: without anything that the computer found."""
    header, probability = row.header, row.top_probability
    name, other = names(header.patient_name)
    known = row.header_state is HeaderState.READ
    return Shown(
        study=row.study_instance_uid,
        mark="withheld" if withheld else mark(row),
        name=name or ("(no name)" if known else "(header not read yet)"),
        other_name=other,
        patient_id=header.patient_id,
        age_sex=age_sex(header),
        studied=studied(header),
        waiting="" if row.reviewed_at is not None else duration(now - row.first_received_at),
        station=header.station,
        description=header.description,
        finding="" if withheld or probability is None else row.top_meaning or "",
        probability="" if withheld or probability is None else percent(probability),
        images=row.images,
        not_analysed=0 if withheld else row.not_analysed,
        reported=row.report_version > 0,
        reviewed=row.reviewed_at is not None,
        reviewed_by=row.reviewed_by or "",
        reviewed_at=row.reviewed_at,
    )


def mark(row: WorklistRow) -> str:
    """Return the sign of a row: what the computer found in the study."""
    if row.flagged:
        return "flagged"
    return "none" if row.top_probability is None else "clear"


def names(value: str) -> tuple[str, str]:
    """Return a name of VR PN to be read, and the same name in another script or ""."""
    groups = [shown for group in value.split("=") if (shown := _name(group))]
    return (groups[0] if groups else "", groups[1] if len(groups) > 1 else "")


def _name(group: str) -> str:
    family, *rest = (part.strip() for part in group.split("^"))
    given = " ".join(part for part in rest[:2] if part)
    if family and given:
        return f"{family}, {given}" if family.isascii() or not _is_han(family) else family + given
    return family or given


def _is_han(text: str) -> bool:
    """Tell whether names are written without a space between: Chinese and Japanese."""
    return all("\u3400" <= sign <= "\u9fff" or "\u3040" <= sign <= "\u30ff" for sign in text)


def age_sex(header: StudyHeader) -> str:
    """Return the age at the study and the sex, for instance "54 y M"."""
    return " ".join(part for part in (_age(header), header.patient_sex) if part)


def _age(header: StudyHeader) -> str:
    stated = header.patient_age
    if len(stated) == 4 and stated[:3].isdigit() and stated[3] in "DWMY":
        return f"{int(stated[:3])} {stated[3].lower()}"
    born, at = _date(header.birth_date), _date(header.study_date)
    if born is None or at is None or at < born:
        return ""
    months = 12 * (at.year - born.year) + at.month - born.month - (at.day < born.day)
    if months >= 24:
        return f"{months // 12} y"
    return f"{months} m" if months >= 3 else f"{(at - born).days} d"


def studied(header: StudyHeader) -> str:
    """Return when the study was made, as far as it says."""
    day, time = _date(header.study_date), header.study_time
    if day is None:
        return ""
    return f"{day.isoformat()} {time[:2]}:{time[2:4]}" if len(time) >= 4 else day.isoformat()


def _date(value: str) -> date | None:
    try:
        return date(int(value[:4]), int(value[4:6]), int(value[6:8]))
    except ValueError:
        return None


def duration(seconds: float) -> str:
    """Return a time span as people say it, rounded down."""
    minutes = max(0, math.floor(seconds / 60))
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours < 24 else f"{hours // 24} d {hours % 24} h"


def percent(probability: float) -> str:
    """Return a probability in percent; never 0 or 100, which it is not."""
    if probability < 0.01:
        return "< 1 %"
    return "> 99 %" if probability > 0.99 else f"{round(100 * probability)} %"

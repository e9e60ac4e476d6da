"""Labelled images, as a training takes them: each with what was said of it, and by whom."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy import Connection, func, select

from storage.audit import Audit
from storage.database import Database, insert_or
from storage.errors import Refused
from storage.headers import HeaderState
from storage.holdout import draw_study, patient_key
from storage.people import Action
from storage.records import InstanceId, ResultStatus, Sha256
from storage.results import AnyRow
from storage.schema import (
    image_header,
    instance,
    label,
    report_label,
    result,
    study,
    study_header,
)

SHOWN = 20  # accession numbers that a message names


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """An image that was classified and then judged.

    patient: its key in the hold-out. readers: finding to what each reader last said. report:
    finding to what the radiologist's report says, as imported. `kept`: its file is there.
    """

    id: InstanceId
    sop_instance_uid: str
    sha256: Sha256
    kept: bool
    patient: str
    view: str
    sex: str
    age: str
    station: str
    readers: Mapping[str, tuple[bool, ...]] = field(default_factory=dict)
    report: Mapping[str, bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ReportLabel:
    """A line of an import: whether a report has a finding in a study."""

    accession_number: str
    finding: str
    present: bool


class UnknownAccessions(Refused):
    """Accession numbers name no study, or more than one; nothing was imported."""

    def __init__(self, unknown: tuple[str, ...], ambiguous: tuple[str, ...], of: int) -> None:
        told = []
        if unknown:
            told.append(
                f"no study has the accession number {_listed(unknown)} ({len(unknown)} of {of})"
            )
        if ambiguous:
            told.append(
                f"more than one study has the accession number {_listed(ambiguous)} "
                f"({len(ambiguous)} of {of})"
            )
        super().__init__(f"Nothing was imported: {'; '.join(told)}.")
        self.unknown, self.ambiguous = unknown, ambiguous


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import has done. changed: labels that an earlier import had said otherwise.

    left_out: accession numbers that name no study, or more than one.
    """

    studies: int
    labels: int
    changed: int
    left_out: tuple[str, ...]


class Labelled:
    """The labelled images of a service. Safe to use from several threads."""

    def __init__(self, database: Database) -> None:
        """Work on a migrated database."""
        self._database = database
        self._audit = Audit(database)

    def images(self) -> list[LabelledImage]:
        """Return every classified image with a label, of a study whose header is known."""
        with self._database.read() as connection:
            reports = _reports(connection)
            readers = _readers(connection)
            labelled = select(label.c.instance_id)
            in_reports = select(report_label.c.study_id)
            query = (
                select(
                    instance.c.id, instance.c.sop_instance_uid, instance.c.sha256,
                    instance.c.removal, instance.c.study_id, study.c.study_instance_uid,
                    study_header.c.patient_id, study_header.c.issuer, study_header.c.station,
                    study_header.c.patient_sex, study_header.c.patient_age,
                    func.coalesce(image_header.c.view_position, "").label("view"),
                )
                .join(study, instance.c.study_id == study.c.id)
                .join(study_header, study_header.c.study_id == study.c.id)
                .join(result, result.c.instance_id == instance.c.id)
                .outerjoin(image_header, image_header.c.instance_id == instance.c.id)
                .where(result.c.status == ResultStatus.ANALYSED)
                .where(study_header.c.header == HeaderState.READ)
                .where(instance.c.id.in_(labelled) | instance.c.study_id.in_(in_reports))
                .order_by(instance.c.id)
            )  # fmt: skip
            return [
                _image(row, readers.get(row.id, {}), reports.get(row.study_id, {}))
                for row in connection.execute(query)
            ]

    def import_reports(
        self, lines: list[ReportLabel], actor: str, at: float, *, known_only: bool = False
    ) -> Imported:
        """Store what reports say, all of it or nothing; `known_only`: that of the known studies.

        Raises UnknownAccessions.
        """
        wanted = sorted({line.accession_number for line in lines})
        with self._database.write() as connection:
            studies = _by_accession(connection, wanted)
            unknown = tuple(one for one in wanted if not studies[one])
            ambiguous = tuple(one for one in wanted if len(studies[one]) > 1)
            left_out = (*unknown, *ambiguous)
            if left_out and (not known_only or len(left_out) == len(wanted)):
                raise UnknownAccessions(unknown, ambiguous, len(wanted))
            kept = [line for line in lines if len(studies[line.accession_number]) == 1]
            found = {studies[line.accession_number][0] for line in kept}
            for study_id in sorted(found):
                draw_study(connection, study_id, at)
            before = _reports(connection)
            changed = 0
            for line in kept:
                study_id = studies[line.accession_number][0]
                said = before.get(study_id, {}).get(line.finding)
                changed += said is not None and said != line.present
                word = {"present": line.present, "actor": actor, "imported_at": at}
                new = insert_or(connection, report_label).values(
                    study_id=study_id, finding=line.finding, **word
                )
                connection.execute(
                    new.on_conflict_do_update(index_elements=["study_id", "finding"], set_=word)
                )
            done = Imported(len(found), len(kept), changed, left_out)
            counts = {"studies": done.studies, "labels": done.labels, "changed": changed}
            self._audit.append(actor, Action.LABELS_IMPORTED, "labels", counts, at=at)
        return done


def _image(
    row: AnyRow, readers: dict[str, list[bool]], report: Mapping[str, bool]
) -> LabelledImage:
    return LabelledImage(
        id=InstanceId(row.id),
        sop_instance_uid=row.sop_instance_uid,
        sha256=Sha256(row.sha256),
        kept=row.removal is None,
        patient=patient_key(row.patient_id, row.issuer, row.study_instance_uid),
        view=row.view,
        sex=row.patient_sex,
        age=row.patient_age,
        station=row.station,
        readers={name: tuple(said) for name, said in readers.items()},
        report=report,
    )


def _readers(connection: Connection) -> dict[int, dict[str, list[bool]]]:
    found: dict[int, dict[str, list[bool]]] = {}
    query = select(label.c.instance_id, label.c.finding, label.c.present).order_by(label.c.id)
    for row in connection.execute(query):
        found.setdefault(row.instance_id, {}).setdefault(row.finding, []).append(row.present)
    return found


def _reports(connection: Connection) -> dict[int, dict[str, bool]]:
    found: dict[int, dict[str, bool]] = {}
    for row in connection.execute(select(report_label)):
        found.setdefault(row.study_id, {})[row.finding] = row.present
    return found


def _by_accession(connection: Connection, wanted: list[str]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {one: [] for one in wanted}
    for start in range(0, len(wanted), 500):
        query = select(study_header.c.study_id, study_header.c.accession_number).where(
            study_header.c.accession_number.in_(wanted[start : start + 500])
        )
        for row in connection.execute(query):
            found[row.accession_number].append(row.study_id)
    return found


def _listed(numbers: tuple[str, ...]) -> str:
    more = f" and {len(numbers) - SHOWN} more" if len(numbers) > SHOWN else ""
    return ", ".join(numbers[:SHOWN]) + more

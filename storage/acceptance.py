"""Acceptance tests: a sample that is read blind, and the report that comes of it.

The reads are ordinary first reads. While a test is open, its sample is withheld from its readers
until each has read it, and nobody learns from its patients.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from sqlalchemy import insert, select, update

from storage.acceptance_records import (
    AcceptanceId,
    AcceptanceState,
    AcceptanceTest,
    Decision,
    FirstRead,
    ListedCase,
    NewCase,
    Plan,
    SampleReader,
    StoredReport,
)
from storage.acceptance_rows import (
    IS_READ,
    PLAN,
    case_row,
    last_words,
    named,
    reads_of,
    sampled_studies,
    to_test,
    withheld_cases,
)
from storage.audit import Audit
from storage.database import Database
from storage.errors import NotFound, Refused
from storage.labels import put_labels
from storage.people import Action
from storage.records import StudyId
from storage.results import cut
from storage.review_records import ReviewId
from storage.schema import (
    acceptance_case,
    acceptance_decision,
    acceptance_reader,
    acceptance_report,
    acceptance_test,
    review,
    review_answer,
    study,
    study_header,
)


class Acceptances:
    """The acceptance tests of a service. Safe to use from several threads."""

    def __init__(self, database: Database) -> None:
        """Work on a migrated database."""
        self._database = database
        self._audit = Audit(database)

    def draw(
        self,
        plan: Plan,
        readers: Sequence[SampleReader],
        cases: Sequence[NewCase],
        actor: str,
        at: float,
    ) -> AcceptanceTest:
        """Store a test with its sample, in the order in which it is to be read.

        Raises Refused where the name is taken, or a study was drawn for another test meanwhile.
        """
        with self._database.write() as connection:
            if named(connection, plan.name) is not None:
                raise Refused(f"There is an acceptance test {plan.name} already.")
            taken = set(connection.execute(sampled_studies()).scalars())
            if taken & {case.study_id for case in cases}:
                raise Refused("Another test was drawn meanwhile. Nothing was drawn: try again.")
            values = {name: getattr(plan, name) for name in PLAN}
            made = AcceptanceId(
                connection.execute(
                    insert(acceptance_test)
                    .values(
                        **values, state=AcceptanceState.OPEN, actor=actor, drawn_at=at,
                        thresholds=json.dumps(dict(plan.thresholds)),
                        counts=json.dumps(dict(plan.counts)),
                    )
                    .returning(acceptance_test.c.id)
                ).scalar_one()
            )  # fmt: skip
            of = {"test_id": made}
            connection.execute(insert(acceptance_reader), [of | asdict(one) for one in readers])
            connection.execute(
                insert(acceptance_case),
                [of | case_row(case, number) for number, case in enumerate(cases, 1)],
            )
            connection.execute(
                insert(acceptance_decision),
                [
                    of | {"study_id": case.study_id, "finding": name, **asdict(found)}
                    for case in cases
                    for name, found in case.decisions.items()
                ],
            )
            detail: dict[str, str | int] = {
                "cases": len(cases),
                "readers": " ".join(one.login for one in readers),
            }
            self._audit.append(actor, Action.ACCEPTANCE_DRAWN, plan.name, detail, at=at)
        return self.show(made)

    def all(self) -> list[AcceptanceTest]:
        """Return every test, the newest first."""
        with self._database.read() as connection:
            rows = connection.execute(select(acceptance_test).order_by(-acceptance_test.c.id))
            return [to_test(connection, row) for row in rows.all()]

    def show(self, test: AcceptanceId) -> AcceptanceTest:
        """Return a test. Raises NotFound."""
        query = select(acceptance_test).where(acceptance_test.c.id == test)
        with self._database.read() as connection:
            row = connection.execute(query).first()
            if row is None:
                raise NotFound(f"There is no acceptance test {test}.")
            return to_test(connection, row)

    def find(self, name: str) -> AcceptanceTest:
        """Return the test of that name. Raises NotFound, which names those that there are."""
        for one in (every := self.all()):
            if one.plan.name == name:
                return one
        known = ", ".join(one.plan.name for one in every) or "none"
        raise NotFound(f"There is no acceptance test {name}. There are: {known}.")

    def of_reader(self, account: int) -> list[AcceptanceTest]:
        """Return the tests that an account reads in, the newest first."""
        return [t for t in self.all() if any(one.account == account for one in t.readers)]

    def reading_list(self, test: AcceptanceId, account: int) -> list[ListedCase]:
        """Return the sample in the order in which it is read. Raises NotFound for no reader."""
        with self._database.read() as connection:
            reads = select(review.c.study_id, review.c.effective_at).where(
                IS_READ, review.c.account == account
            )
            read_at = {row.study_id: row.effective_at for row in connection.execute(reads)}
            query = (
                select(acceptance_case.c.position, study.c.id, study.c.study_instance_uid,
                       study_header.c.study_date)
                .join(study, acceptance_case.c.study_id == study.c.id)
                .join(study_header, study_header.c.study_id == study.c.id)
                .join(acceptance_reader, acceptance_reader.c.test_id == acceptance_case.c.test_id)
                .where(acceptance_case.c.test_id == test, acceptance_reader.c.account == account)
                .order_by(acceptance_case.c.position)
            )  # fmt: skip
            found = [
                ListedCase(row.position, row.study_instance_uid, row.study_date,
                           read_at.get(row.id))
                for row in connection.execute(query)
            ]  # fmt: skip
        if not found:
            raise NotFound("You read in no such acceptance test.")
        return found

    def unread(self, account: int) -> frozenset[str]:
        """Return the UIDs of the studies that are withheld from a reader of an open test."""
        with self._database.read() as connection:
            query = withheld_cases(account).with_only_columns(study.c.study_instance_uid)
            return frozenset(connection.execute(query).scalars())

    def withheld(self, account: int, study_instance_uid: str) -> bool:
        """Whether a study is in an open test that the account reads in, and is to be read yet."""
        query = withheld_cases(account).where(study.c.study_instance_uid == study_instance_uid)
        with self._database.read() as connection:
            return connection.execute(query.limit(1)).first() is not None

    def next_case(self, account: int, study_instance_uid: str) -> tuple[AcceptanceId, str] | None:
        """Return the open test that a study is in, and the next study to read there or "".

        None where the study is in no such test of the account.
        """
        of = select(acceptance_case.c.test_id).join(
            study, acceptance_case.c.study_id == study.c.id
        ).where(study.c.study_instance_uid == study_instance_uid)  # fmt: skip
        with self._database.read() as connection:
            test = connection.execute(
                select(acceptance_test.c.id)
                .join(acceptance_reader, acceptance_reader.c.test_id == acceptance_test.c.id)
                .where(acceptance_test.c.state == AcceptanceState.OPEN)
                .where(acceptance_reader.c.account == account, acceptance_test.c.id.in_(of))
                .limit(1)
            ).scalar_one_or_none()
        if test is None:
            return None
        cases = self.reading_list(AcceptanceId(test), account)
        here = next(i for i, c in enumerate(cases) if c.study_instance_uid == study_instance_uid)
        for one in (*cases[here + 1 :], *cases[:here]):
            if one.read_at is None:
                return AcceptanceId(test), one.study_instance_uid
        return AcceptanceId(test), ""

    def cases(self, test: AcceptanceId) -> list[NewCase]:
        """Return the sample in its order, with what the bundle had decided."""
        of, order = acceptance_case.c.test_id == test, acceptance_case.c.position
        with self._database.read() as connection:
            found: dict[int, dict[str, Decision]] = {}
            query = select(acceptance_decision).where(acceptance_decision.c.test_id == test)
            for row in connection.execute(query.order_by(acceptance_decision.c.finding)):
                decision = Decision(row.probability, row.present)
                found.setdefault(row.study_id, {})[row.finding] = decision
            rows = connection.execute(select(acceptance_case).where(of).order_by(order)).all()
        return [
            NewCase(StudyId(row.study_id), row.patient, row.weight, row.images,
                    found.get(row.study_id, {}), json.loads(row.groups))
            for row in rows
        ]  # fmt: skip

    def reads(self, test: AcceptanceId) -> list[FirstRead]:
        """Return the first reads of the sample by its readers, made while the test was open."""
        with self._database.read() as connection:
            reads = connection.execute(
                select(review.c.id, review.c.study_id, review.c.account, review.c.effective_at)
                .where(reads_of(test))
                .order_by(review.c.id)
            ).all()
            answers: dict[int, dict[str, dict[int, bool | None]]] = {}
            of_reads = select(review.c.id).where(reads_of(test))
            query = select(review_answer).where(review_answer.c.review_id.in_(of_reads))
            for row in connection.execute(query):
                said = answers.setdefault(row.review_id, {}).setdefault(row.finding, {})
                said[row.instance_id] = row.present
        return [
            FirstRead(StudyId(row.study_id), row.account, row.effective_at, answers.get(row.id, {}))
            for row in reads
        ]

    def close(
        self, test: AcceptanceId, actor: str, reason: str, at: float, *, incomplete: bool = False
    ) -> AcceptanceTest:
        """End the reading; its first reads become labels. A second time changes nothing.

        Raises NotFound, and Refused where cases are left to be read and `incomplete` is not said
        with a reason, or where nobody has read anything.
        """
        with self._database.write() as connection:
            found = self.show(test)
            if found.state is AcceptanceState.CLOSED:
                return found
            left = sum(found.cases - found.read.get(one.account, 0) for one in found.readers)
            if not any(found.read.values()):
                raise Refused("Nobody has read a case yet, so that there is nothing to report.")
            if left and not (incomplete and reason.strip()):
                raise Refused(
                    f"{left} reads are left. An incomplete test is closed with a reason only."
                )
            words = connection.execute(last_words(test)).scalars().all()
            connection.execute(
                update(acceptance_test)
                .where(acceptance_test.c.id == test)
                .values(state=AcceptanceState.CLOSED, closed_by=actor, closed_at=at,
                        close_reason=cut(reason.strip()))
            )  # fmt: skip
            for read in words:
                put_labels(connection, ReviewId(read))
            said: dict[str, str | int] = {"left": left, "reason": cut(reason.strip())}
            self._audit.append(actor, Action.ACCEPTANCE_CLOSED, found.plan.name, said, at=at)
        return self.show(test)

    def keep_report(self, test: AcceptanceId, made: StoredReport, actor: str) -> StoredReport:
        """Keep a closed test's report; the first stays. Raises NotFound, and Refused while open."""
        with self._database.write() as connection:
            found = self.show(test)
            if found.state is AcceptanceState.OPEN:
                raise Refused(f"{found.plan.name} is open: its report is made when it is closed.")
            kept = self.report(test)
            if kept is not None:
                return kept
            connection.execute(insert(acceptance_report).values(test_id=test, **asdict(made)))
            self._audit.append(actor, Action.ACCEPTANCE_REPORTED, found.plan.name, at=made.made_at)
        return made

    def report(self, test: AcceptanceId) -> StoredReport | None:
        """Return a test's report, None before it was made."""
        query = select(acceptance_report).where(acceptance_report.c.test_id == test)
        with self._database.read() as connection:
            row = connection.execute(query).first()
        return None if row is None else StoredReport(
            row.figures, row.pictures, row.page, row.made_at
        )  # fmt: skip

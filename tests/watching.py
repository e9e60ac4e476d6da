"""Results and reviews as the watch finds them, for its tests: no pixels, no network."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from sqlalchemy import Connection, String, insert

from daemon.watching import Watch
from storage.alarm_records import Alarm
from storage.alarms import Alarms
from storage.bundles import BundleFacts
from storage.ledger import Ledger
from storage.review_records import ReviewKind, ReviewState
from storage.schema import finding, instance, label, result, review, study, study_header
from tests.storing import CR, EXPLICIT_LE, Storage, open_storage, sha256

Answer = tuple[Mapping[str, float], Mapping[str, float]] | None
"""Measures and probabilities of an image; None: refused by its pixels."""

FINDINGS = ("pneumonia", "effusion")
THRESHOLDS = dict.fromkeys(FINDINGS, 0.5)
CARD = '{"reference": null}'


@dataclass
class Ward:
    """Stations that send images to a storage with a watch; `now` is its clock."""

    storage: Storage
    now: float = 1_800_000_000.0
    version: str = "chest 1"
    random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    sent: int = 0
    stations: dict[str, int] = field(default_factory=dict)
    reviewing: bool = False

    def __post_init__(self) -> None:
        """Let a first bundle serve, and begin to watch."""
        self.ledger = Ledger(self.storage.database)
        self.alarms = Alarms(self.storage.database)
        self.serve("1", CARD)
        self.watch = Watch(self.storage.database, lambda: self.now)

    def serve(self, number: str, card: str = CARD) -> None:
        """Let a bundle of that number serve."""
        self.version = f"chest {number}"
        facts = BundleFacts(self.version, sha256(self.version), f"chest-{number}", card, THRESHOLDS)
        self.ledger.register(facts, self.now)
        if number == "1":
            self.ledger.configure(facts.digest, self.now)
        else:
            self.ledger.promote(facts.version, "ada", "better", self.now)

    @property
    def digest(self) -> str:
        """Digest of what serves."""
        return sha256(self.version)

    def send(
        self, count: int, shift: float = 0.0, station: str = "CR1", odds: float = 0.0
    ) -> list[int]:
        """Have so many images answered, shifted by so many deviations; then watch."""
        made: list[Answer] = []
        for _ in range(count):
            measures = {"brightness": 100 + 20 * (self.random.normal() + shift), "size": 14.0}
            p = 1 / (1 + np.exp(-self.random.normal(odds - 1, 1, len(FINDINGS))))
            made.append((measures, dict(zip(FINDINGS, p.tolist(), strict=True))))
        ids = self.answer(made, station)
        self.now += 1
        self.watch.step()
        return ids

    def answer(self, answers: Sequence[Answer], station: str = "CR1") -> list[int]:
        """Have images answered; return the numbers of their instances."""
        first = self.sent + 1
        self.sent += len(answers)
        ids = list(range(first, first + len(answers)))
        with self.storage.database.write() as connection:
            place = self._study(connection, station)
            connection.execute(insert(instance), [self._instance(one, place) for one in ids])
            connection.execute(
                insert(result),
                [
                    {
                        "id": one, "instance_id": one, "created_at": self.now,
                        "status": "not_analysed" if answer is None else "analysed",
                        "bundle": None if answer is None else self.version,
                        "reason_code": "not_frontal_chest" if answer is None else None,
                        "measures": None if answer is None else json.dumps(answer[0]),
                    }
                    for one, answer in zip(ids, answers, strict=True)
                ],
            )  # fmt: skip
            rows = [
                {
                    "result_id": one, "position": position, "name": name, "code_value": "1",
                    "code_scheme": "SCT", "code_meaning": name, "probability": p,
                    "threshold": 0.5, "present": p >= 0.5,
                }
                for one, answer in zip(ids, answers, strict=True) if answer is not None
                for position, (name, p) in enumerate(answer[1].items())
            ]  # fmt: skip
            if rows:
                connection.execute(insert(finding), rows)
        return ids

    def _instance(self, number: int, study_id: int) -> dict[str, object]:
        return {
            "id": number, "sop_instance_uid": f"1.2.{number}", "sop_class_uid": CR,
            "transfer_syntax_uid": EXPLICIT_LE, "sha256": sha256(str(number)), "size_bytes": 1000,
            "calling_ae": "MOD", "called_ae": "HILUM", "peer_address": "10.0.0.5",
            "received_at": self.now, "contested": False, "repeats": 0, "study_id": study_id,
        }  # fmt: skip

    def _study(self, connection: Connection, station: str) -> int:
        """One study of each station holds all of its images."""
        if station not in self.stations:
            number = self.stations[station] = len(self.stations) + 1
            connection.execute(
                insert(study).values(
                    id=number, study_instance_uid=f"9.{number}", state="due", last_received_at=0,
                    due_at=0, revision=1, attempts=0, token=0, report_version=0,
                )
            )  # fmt: skip
            empty: dict[str, object] = {
                column.name: "" if isinstance(column.type, String) else 0
                for column in study_header.columns if not column.nullable
            }  # fmt: skip
            listed = {"study_id": number, "station": station, "header": "read"}
            booleans = {"reviewed": False, "flagged": False}
            connection.execute(insert(study_header).values(**{**empty, **booleans, **listed}))
        return self.stations[station]

    def review(self, said: Mapping[int, bool], finding: str = "pneumonia") -> None:
        """Have a reader say of images whether they show a finding."""
        with self.storage.database.write() as connection:
            if not self.reviewing:
                self.reviewing = True
                connection.execute(
                    insert(review).values(
                        id=1, study_id=1, kind=ReviewKind.REVIEW, state=ReviewState.EFFECTIVE,
                        account=1, login="rita", person_name="", organization="", seen_version=1,
                        seen_revision=1, note="", created_at=0, effective_at=0,
                    )
                )  # fmt: skip
            common = {
                "finding": finding, "account": 1, "login": "rita", "review_id": 1,
                "source": "review", "labelled_at": self.now,
            }  # fmt: skip
            rows = [{"instance_id": one, "present": word, **common} for one, word in said.items()]
            connection.execute(insert(label), rows)

    def look(self) -> None:
        """Watch again, after the time between two looks at the reviews."""
        self.now += 10
        self.watch.step()

    def open(self) -> dict[str, Alarm]:
        """Return the open alarms by kind and subject."""
        return {f"{one.kind} {one.subject}": one for one in self.alarms.open()}


def open_ward(folder: Path) -> Ward:
    """Open a ward in a folder."""
    return Ward(open_storage(folder))

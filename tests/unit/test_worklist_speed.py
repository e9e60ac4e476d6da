"""A worklist of 100,000 studies: each first page within 200 ms, and by an index.

The promise is for the server as a whole; here the database's part has half of it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import insert

from storage.headers import HeaderState, StudyHeader, searched, urgency
from storage.people import Role
from storage.records import StudyState
from storage.schema import study, study_finding, study_header
from storage.worklist import PAGE, ListState, Query, Worklist
from tests.pages import open_pages
from tests.storing import Storage, open_storage
from tests.unit.test_storage_plans import plans

pytestmark = pytest.mark.slow

STUDIES = 100_000
SECONDS = 0.1
FINDINGS = ("pneumonia", "infiltration", "atelectasis", "pleural_effusion", "nodule_or_mass")
FAMILIES = ("Müller", "Nguyễn", "O'Brien", "ΠΑΠΑΣ", "Иванов", "山田", "Smith", "García", "Al-Sayed")

QUERIES = {
    "default": Query(),
    "blinded": Query(blinded=True),
    "to review": Query(state=ListState.TO_REVIEW),
    "flagged": Query(state=ListState.FLAGGED),
    "reviewed": Query(state=ListState.REVIEWED),
    "not analysed": Query(state=ListState.NOT_ANALYSED),
    "finding": Query(finding="pneumonia"),
    "finding to review": Query(finding="nodule_or_mass", state=ListState.TO_REVIEW),
    "finding of a station": Query(finding="pneumonia", station="CR-17"),
    "station": Query(station="CR-3"),
    "no such station": Query(station="CR-404"),
    "a day": Query(first_date="20250310", last_date="20250310"),
    "a year": Query(first_date="20250101", last_date="20251231"),
    "since": Query(first_date="20250102"),
    "reviewed by": Query(reviewed_by="reader3"),
    "name": Query(text="müller"),
    "two words": Query(text="МИХАИЛ иванов"),
    "id": Query(text="p0099999"),
    "part of an id": Query(text="9998"),
    "nobody": Query(text="nobody at all"),
    "blinded, nobody": Query(text="nobody at all", blinded=True),
    "blinded station": Query(station="CR-3", blinded=True),
    "all together": Query(
        "smith", ListState.TO_REVIEW, "pneumonia", "CR-5", "20250101", "20251231"
    ),
}


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Storage:
    """Studies of a year, of 40 stations and 6 readers; a fifth are not reviewed yet."""
    storage = open_storage(tmp_path_factory.mktemp("many"))
    rows = [_row(number, random.Random(number)) for number in range(1, STUDIES + 1)]
    claim = {"attempts": 0, "token": 0, "revision": 1, "report_version": 1}
    with storage.database.write() as connection:
        connection.execute(
            insert(study).values(state=StudyState.REPORTED, due_at=0, last_received_at=0, **claim),
            [{"id": n, "study_instance_uid": f"2.25.{n}"} for n in range(1, STUDIES + 1)],
        )
        connection.execute(insert(study_header), rows)
        order = ("study_id", "urgency", "first_received_at")
        connection.execute(
            insert(study_finding),
            [{n: row[n] for n in order} | {"name": row["top_finding"]}
             for row in rows if row["flagged"]],
        )  # fmt: skip
    return storage


def _row(number: int, chance: random.Random) -> dict[str, object]:
    reviewed, flagged, probability = chance.random() < 0.8, chance.random() < 0.2, chance.random()
    family = FAMILIES[number % len(FAMILIES)]
    header = StudyHeader(
        patient_id=f"P{number:07}",
        patient_name=f"{family}^Михаил Ada={family}^小東",
        accession_number=f"A{2 * number}",
        study_date=f"2025{chance.randint(1, 12):02}{chance.randint(1, 28):02}",
        station=f"CR-{number % 40}",
        description="Chest PA and lateral",
    )
    return {
        **{name: getattr(header, name) for name in StudyHeader.__slots__},
        "search": searched(header),
        "study_id": number,
        "first_received_at": float(number),
        "reviewed": reviewed,
        "reviewed_at": 5.0 if reviewed else None,
        "reviewed_by": f"reader{number % 6}" if reviewed else None,
        "changed": number,
        "header": HeaderState.READ,
        "images": 2,
        "not_analysed": int(chance.random() < 0.01),
        "flagged": flagged,
        "top_probability": probability,
        "top_finding": FINDINGS[number % 5],
        "top_meaning": "Finding",
        "urgency": urgency(reviewed=reviewed, flagged=flagged, probability=probability),
    }


def best(act: Callable[[], object], tries: int = 3) -> float:
    """Seconds of processor time of the quickest of some tries: what the work takes.

    What else runs on the machine shall not decide it; nothing here waits for a disk.
    """
    took = []
    for _ in range(tries):
        started = time.process_time()
        act()
        took.append(time.process_time() - started)
    return min(took)


@pytest.mark.parametrize("name", QUERIES)
def test_a_first_page_is_quick(storage: Storage, name: str) -> None:
    worklist = Worklist(storage.database)
    assert best(lambda: worklist.page(QUERIES[name])) < SECONDS


def test_a_page_far_down_is_quick(storage: Storage) -> None:
    worklist = Worklist(storage.database)
    page = worklist.page(Query(), None, 50_000)
    assert page.next is not None
    assert best(lambda: worklist.page(Query(), page.next)) < SECONDS


def test_what_the_page_asks_besides_is_quick(storage: Storage) -> None:
    worklist = Worklist(storage.database)
    assert best(worklist.marker) < 0.02
    assert best(worklist.choices) < SECONDS
    assert best(lambda: worklist.study("2.25.77777")) < 0.02
    assert best(lambda: worklist.priors("2.25.77777")) < 0.02
    assert best(lambda: worklist.next_after("2.25.77777", Query())) < SECONDS


def quickest(act: Callable[[], object], tries: int = 7) -> float:
    """Seconds on the wall of the quickest of several tries: as on a machine with nothing else."""
    took = []
    for _ in range(tries):
        started = time.perf_counter()
        act()
        took.append(time.perf_counter() - started)
    return min(took)


FORMS = {
    "as it opens": {},
    "name": {"text": "müller"},
    "nobody": {"text": "nobody at all"},
    "finding": {"finding": "pneumonia"},
    "station": {"station": "CR-3"},
    "a year": {"first_date": "2025-01-01", "last_date": "2025-12-31"},
    "reviewed by": {"reviewed_by": "reader3"},
}


@pytest.fixture(scope="module")
def browser(storage: Storage) -> Iterator[TestClient]:
    with open_pages(storage.root) as pages:
        yield pages.signed_in(Role.RADIOLOGIST)


@pytest.mark.parametrize("name", FORMS)
def test_the_server_answers_a_first_page_within_200_ms(browser: TestClient, name: str) -> None:
    def ask() -> None:
        answer = browser.post("/worklist", data=FORMS[name], headers={"HX-Request": "true"})
        assert answer.status_code == 200
        assert ("data-study" in answer.text) == (name != "nobody")

    assert quickest(ask) < 0.2


def test_the_whole_page_opens_within_200_ms(browser: TestClient) -> None:
    """With its form, its choices and the filters in force, as a browser asks for it."""
    browser.post("/worklist/clear")

    def ask() -> None:
        assert browser.get("/worklist").text.count("data-study") == PAGE

    assert quickest(ask) < 0.2


@pytest.mark.parametrize(
    "query",
    ["", "PatientID=P0077777", "AccessionNumber=A4", "StudyDate=20250310", "PatientName=m*ller*",
     "StudyInstanceUID=2.25.77777"],
)  # fmt: skip
def test_a_search_by_dicomweb_is_quick(browser: TestClient, query: str) -> None:
    def ask() -> None:
        assert browser.get(f"/dicomweb/studies?limit=50&{query}").json()

    assert best(ask) < 0.2


def test_asking_for_changes_costs_next_to_nothing(browser: TestClient, storage: Storage) -> None:
    marker = "-".join(str(number) for number in Worklist(storage.database).marker())

    def ask() -> None:
        assert browser.post("/worklist/changes", data={"marker": marker}).status_code == 204

    assert best(ask) < 0.05


@pytest.mark.parametrize("name", QUERIES)
def test_no_list_reads_the_table_itself(storage: Storage, name: str) -> None:
    """What is passed over is passed over within an index; the 50 rows are looked up by key."""
    query = QUERIES[name]
    keys, rows = plans(storage, lambda: Worklist(storage.database).page(query))
    assert "SCAN study_header" not in {step.strip() for step in (*keys, *rows)}
    narrowed = query.station or query.reviewed_by  # by an index of its own, or the list's
    if query.finding is None and not narrowed:
        assert "USING COVERING INDEX ix_study_header_" in keys[0]
    assert any("INDEX ix_study_" in step for step in keys)
    # What is left of a station or of some days is sorted; the list itself never is
    sorts = any("TEMP B-TREE" in step for step in keys)
    assert not sorts or query.first_date or narrowed, keys

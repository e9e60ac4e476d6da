"""The worklist: its order, its filters, and that it says what the results say."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from storage.errors import StorageError
from storage.headers import Headers, HeaderState, ImageHeader, StudyHeader, fold, urgency
from storage.records import Finding, InstanceId, JobId, Result, ResultStatus, StudyState
from storage.schema import study_finding
from storage.worklist import ListState, Query, Worklist, WorklistRow
from tests.storing import Storage, analysed, arrival, make_report, open_storage

LATERAL = Result(ResultStatus.NOT_ANALYSED, reason_code="not_frontal", reason="A lateral.")
EFFUSION = Result(
    ResultStatus.ANALYSED,
    bundle="chest 1",
    findings=(
        Finding("pneumonia", "233604007", "SCT", "Pneumonia", 0.3, 0.5),
        Finding("pleural_effusion", "60046008", "SCT", "Pleural effusion", 0.6, 0.5),
    ),
)
NOBODY = StudyHeader()


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(tmp_path)


@pytest.fixture
def worklist(storage: Storage) -> Worklist:
    return Worklist(storage.database)


def take(
    storage: Storage,
    study_uid: str,
    result: Result,
    received_at: float = 1.0,
    *,
    image: str = "1",
    header: ImageHeader | None = None,
    **patient: str,
) -> InstanceId:
    """Take one image of a study through the queue."""
    storage.queue.accept(arrival(f"{study_uid}.{image}", received_at=received_at))
    job = storage.queue.claim("w1", 60, 1e9)
    assert job is not None
    headers = Headers(dataclasses.replace(NOBODY, **patient), header or ImageHeader())
    storage.queue.finish(job, result, study_uid, 0, 1e9, headers)
    return job.instance.id


def uids(worklist: Worklist, query: Query | None = None) -> list[str]:
    return [row.study_instance_uid for row in worklist.page(query or Query()).rows]


def one(worklist: Worklist, study_uid: str) -> WorklistRow:
    row = worklist.study(study_uid)
    assert row is not None
    return row


def test_the_urgent_come_first_then_the_probable_then_who_waits_longest(
    storage: Storage, worklist: Worklist
) -> None:
    take(storage, "9.1", analysed(0.2), 1)
    take(storage, "9.2", analysed(0.7), 2)
    take(storage, "9.3", analysed(0.9), 3)
    take(storage, "9.4", LATERAL, 4)
    take(storage, "9.5", analysed(0.9), 0)
    assert uids(worklist) == ["9.5", "9.3", "9.2", "9.1", "9.4"]
    assert uids(worklist, Query(blinded=True)) == ["9.5", "9.1", "9.2", "9.3", "9.4"]
    worklist.mark_review(one(worklist, "9.5").study_id, "ada", 50.0)
    assert uids(worklist) == ["9.3", "9.2", "9.1", "9.4", "9.5"]
    assert uids(worklist, Query(blinded=True)) == ["9.1", "9.2", "9.3", "9.4", "9.5"]


def test_a_row_says_what_its_results_say(storage: Storage, worklist: Worklist) -> None:
    take(storage, "9.1", LATERAL, 5, image="1")
    row = one(worklist, "9.1")
    assert (row.images, row.not_analysed, row.flagged, row.top_probability) == (1, 1, False, None)
    take(storage, "9.1", EFFUSION, 3, image="2")
    row = one(worklist, "9.1")
    assert (row.images, row.not_analysed, row.flagged) == (2, 1, True)
    assert (row.top_finding, row.top_meaning) == ("pleural_effusion", "Pleural effusion")
    assert (row.top_probability, row.first_received_at) == (0.6, 3)
    assert row.state is StudyState.DUE


def test_a_present_finding_is_named_before_a_more_probable_absent_one(
    storage: Storage, worklist: Worklist
) -> None:
    absent = Finding("pneumonia", "233604007", "SCT", "Pneumonia", 0.8, 0.95)
    take(storage, "9.1", dataclasses.replace(EFFUSION, findings=(absent, EFFUSION.findings[1])))
    assert one(worklist, "9.1").top_finding == "pleural_effusion"


def test_a_new_image_makes_a_study_to_be_reviewed_again(
    storage: Storage, worklist: Worklist
) -> None:
    take(storage, "9.1", analysed(), 1, image="1")
    worklist.mark_review(one(worklist, "9.1").study_id, "ada", 50.0)
    row = one(worklist, "9.1")
    assert (row.reviewed_by, row.reviewed_at) == ("ada", 50.0)
    take(storage, "9.1", LATERAL, 2, image="2")
    row = one(worklist, "9.1")
    assert (row.reviewed_by, row.reviewed_at) == (None, None)
    assert uids(worklist, Query(state=ListState.FLAGGED)) == ["9.1"]


def test_a_review_undone_leaves_the_study_where_it_was(
    storage: Storage, worklist: Worklist
) -> None:
    take(storage, "9.1", analysed(0.7), 1)
    take(storage, "9.2", analysed(0.6), 1)
    before = worklist.page(Query(finding="pneumonia")).rows
    study_id = one(worklist, "9.1").study_id
    worklist.mark_review(study_id, "ada", 50.0)
    assert uids(worklist, Query(finding="pneumonia")) == ["9.2", "9.1"]
    worklist.mark_review(study_id, None)
    assert worklist.page(Query(finding="pneumonia")).rows == before


def test_a_result_that_is_withdrawn_leaves_the_list(storage: Storage, worklist: Worklist) -> None:
    storage.queue.accept(arrival("1.1", received_at=1))
    job = storage.queue.claim("w1", 60, 2)
    assert job is not None
    headers = Headers(StudyHeader(patient_name="Doe^Jane"), ImageHeader())
    storage.queue.quarantine(job, "crashed", "It crashed.", 2, "9.1", 0, headers)
    assert one(worklist, "9.1").not_analysed == 1
    storage.queue.retry_by_hand(JobId(job.id), 3)
    row = one(worklist, "9.1")
    assert (row.images, row.not_analysed, row.header.patient_name) == (0, 0, "Doe^Jane")


def test_each_filter_narrows_the_list(storage: Storage, worklist: Worklist) -> None:
    day = {"study_date": "20250301", "station": "CR-1"}
    take(storage, "9.1", analysed(0.9), 1, **day, patient_name="Müller^Änne", patient_id="P-1")
    take(storage, "9.2", EFFUSION, 2, station="CR-2", study_date="20250303", accession_number="A7")
    take(storage, "9.3", LATERAL, 3, station="CR-2", patient_name="ΠΑΠΑΣ^ΝΙΚΟΣ=王^小東")
    worklist.mark_review(one(worklist, "9.2").study_id, "ada", 50.0)
    for query, expected in (
        (Query(station="CR-2"), ["9.3", "9.2"]),
        (Query(finding="pneumonia"), ["9.1"]),
        (Query(finding="pleural_effusion"), ["9.2"]),
        (Query(finding="pleural_effusion", state=ListState.TO_REVIEW), []),
        (Query(finding="pleural_effusion", station="CR-2"), ["9.2"]),
        (Query(state=ListState.TO_REVIEW), ["9.1", "9.3"]),
        (Query(state=ListState.FLAGGED), ["9.1"]),
        (Query(state=ListState.NOT_ANALYSED), ["9.3"]),
        (Query(state=ListState.REVIEWED), ["9.2"]),
        (Query(state=ListState.REVIEWED, blinded=True), ["9.2"]),
        (Query(reviewed_by="ada"), ["9.2"]),
        (Query(first_date="20250302"), ["9.2"]),
        (Query(last_date="20250302"), ["9.1"]),  # a study without a date is on no day
        (Query(first_date="20250301", last_date="20250303"), ["9.1", "9.2"]),
        (Query(text="MÜLLER"), ["9.1"]),
        (Query(text="änne müller"), ["9.1"]),
        (Query(text="p-1"), ["9.1"]),
        (Query(text="a7"), ["9.2"]),
        (Query(text="νικοσ"), ["9.3"]),  # a final sigma folds to a sigma
        (Query(text="小東"), ["9.3"]),
        (Query(text="%"), []),
        (Query(text="_"), []),
    ):
        assert uids(worklist, query) == expected, query


@pytest.mark.parametrize(
    "narrowed",
    [
        {"state": ListState.FLAGGED},
        {"state": ListState.NOT_ANALYSED},
        {"finding": "pneumonia"},
    ],
)
def test_a_blinded_list_cannot_be_narrowed_by_the_result(narrowed: dict[str, str]) -> None:
    with pytest.raises(StorageError, match="blinded"):
        Query(blinded=True, **narrowed)  # type: ignore[arg-type]


@pytest.mark.parametrize("blinded", [False, True])
def test_pages_have_every_row_once(storage: Storage, worklist: Worklist, blinded: bool) -> None:
    for number in range(23):
        take(storage, f"9.{number}", analysed(number % 5 / 5), number // 3)
    query, seen, after = Query(blinded=blinded), list[str](), None
    for _ in range(9):
        page = worklist.page(query, after, 3)
        seen += [row.study_instance_uid for row in page.rows]
        after = page.next
        if after is None:
            break
    assert seen == uids(worklist, query)
    assert len(set(seen)) == 23


@pytest.mark.parametrize("key", ["", "x", "!!!!", "AAAA", "é", "A" * 500])
def test_a_key_that_is_none_is_refused(worklist: Worklist, key: str) -> None:
    with pytest.raises(StorageError, match="key"):
        worklist.page(Query(), key)


def test_a_key_of_another_order_is_refused(storage: Storage, worklist: Worklist) -> None:
    for number in range(3):
        take(storage, f"9.{number}", analysed())
    key = worklist.page(Query(), None, 1).next
    with pytest.raises(StorageError, match="another order"):
        worklist.page(Query(blinded=True), key)


def test_the_next_study_is_the_one_below_then_the_first(
    storage: Storage, worklist: Worklist
) -> None:
    for number, probability in enumerate((0.9, 0.8, 0.7), 1):
        take(storage, f"9.{number}", analysed(probability))

    def after(uid: str) -> str | None:
        row = worklist.next_after(uid, Query())
        return row and row.study_instance_uid

    assert (after("9.1"), after("9.2"), after("9.3")) == ("9.2", "9.3", "9.1")
    worklist.mark_review(one(worklist, "9.2").study_id, "ada", 50.0)
    assert (after("9.1"), after("9.2")) == ("9.3", "9.3")  # from its place of before
    assert after("9.404") == "9.1"
    worklist.mark_review(one(worklist, "9.3").study_id, "ada", 50.0)
    assert (after("9.1"), after("9.3")) == (None, "9.1")


def test_priors_are_the_same_patient_of_the_same_issuer(
    storage: Storage, worklist: Worklist
) -> None:
    same = {"patient_id": "P1", "issuer": "HOSP"}
    take(storage, "9.1", analysed(), study_date="20250301", birth_date="19500101", **same)
    take(storage, "9.2", analysed(), study_date="20240301", **same)
    take(storage, "9.3", analysed(), study_date="20240501", birth_date="19500101", **same)
    take(storage, "9.4", analysed(), study_date="20240501", birth_date="19990101", **same)
    take(storage, "9.5", analysed(), study_date="20240501", patient_id="P1", issuer="OTHER")
    take(storage, "9.6", analysed())
    take(storage, "9.7", analysed())
    assert [row.study_instance_uid for row in worklist.priors("9.1")] == ["9.3", "9.2"]
    assert worklist.priors("9.6") == ()  # no id: nobody's


def test_the_first_image_names_the_patient_and_a_later_one_adds(
    storage: Storage, worklist: Worklist
) -> None:
    take(storage, "9.1", analysed(), image="1", patient_name="Doe^Jane")
    take(storage, "9.1", LATERAL, image="2", patient_name="Roe^Rita", accession_number="A7")
    row = one(worklist, "9.1")
    assert (row.header.patient_name, row.header.accession_number) == ("Doe^Jane", "A7")
    assert uids(worklist, Query(text="doe a7")) == ["9.1"]


def test_a_study_without_headers_is_listed_and_filled_later(
    storage: Storage, worklist: Worklist
) -> None:
    make_report(storage, "7.1", "9.1", 5)
    row = one(worklist, "9.1")
    assert (row.header_state, row.header) == (HeaderState.MISSING, NOBODY)
    worklist.mark_review(row.study_id, "ada", 50.0)
    (image,) = worklist.unread_images(None, 10)
    worklist.fill(image, Headers(StudyHeader(patient_name="Doe^Jane"), ImageHeader(rows=9)))
    row = one(worklist, "9.1")
    assert (row.header_state, row.header.patient_name) == (HeaderState.READ, "Doe^Jane")
    assert row.reviewed_by == "ada"
    assert worklist.unread_images(None, 10) == []
    (stored,) = worklist.images("9.1")
    assert stored.header is not None
    assert stored.header.rows == 9


def test_images_come_by_series_and_number(storage: Storage, worklist: Worklist) -> None:
    for image, series, number in (("a", 2, 1), ("b", 1, 2), ("c", 1, 1), ("d", None, None)):
        header = ImageHeader(
            series_number=series,
            instance_number=number,
            pixels=(((10, 20), (30, 5)),),
            metadata=b"x",
        )
        take(storage, "9.1", analysed(), image=image, header=header)
    images = worklist.images("9.1")
    assert [one.sop_instance_uid[-1] for one in images] == ["c", "b", "a", "d"]
    assert images[0].header is not None
    assert images[0].header.pixels == (((10, 20), (30, 5)),)
    assert images[0].header.metadata is None  # left out of lists


def test_the_marker_moves_with_every_change(storage: Storage, worklist: Worklist) -> None:
    seen = [worklist.marker()]
    take(storage, "9.1", analysed())
    seen.append(worklist.marker())
    take(storage, "9.1", LATERAL, image="2")
    seen.append(worklist.marker())
    worklist.mark_review(one(worklist, "9.1").study_id, "ada", 5.0)
    seen.append(worklist.marker())
    make_report(storage, "7.1", "9.2", 5)
    seen.append(worklist.marker())
    assert seen == sorted(set(seen))


def test_the_choices_are_what_there_is(storage: Storage, worklist: Worklist) -> None:
    take(storage, "9.1", analysed(), station="CR-1")
    take(storage, "9.2", LATERAL)
    worklist.mark_review(one(worklist, "9.1").study_id, "ada", 5.0)
    assert worklist.choices() == {
        "station": ["CR-1"],
        "finding": ["pneumonia"],
        "reviewed_by": ["ada"],
    }


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from("ABC"), st.floats(0, 1), st.booleans()), min_size=1, max_size=6
    )
)
def test_what_is_kept_for_the_list_follows_from_the_results(
    steps: list[tuple[str, float, bool]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    storage = open_storage(tmp_path_factory.mktemp("listed"))
    worklist = Worklist(storage.database)
    for number, (name, probability, review) in enumerate(steps):
        uid = f"9.{ord(name)}"
        take(storage, uid, analysed(probability), number, image=str(number))
        if review:
            worklist.mark_review(one(worklist, uid).study_id, "ada", 5.0)
    for row in worklist.page(Query()).rows:
        shown = storage.studies.show(row.study_instance_uid)
        findings = [f for a in shown.instances for f in a.result.findings]
        best = max(findings, key=lambda f: (f.present, f.probability))
        assert row.images == len(shown.instances)
        assert (row.flagged, row.top_probability) == (best.present, best.probability)
        present = {f.name for f in findings if f.present}
        place = urgency(
            reviewed=row.reviewed_at is not None,
            flagged=row.flagged,
            probability=row.top_probability,
        )
        with storage.database.read() as connection:
            kept = connection.execute(
                select(study_finding).where(study_finding.c.study_id == row.study_id)
            ).all()
        assert {(found.name, found.urgency) for found in kept} == {(n, place) for n in present}
    storage.database.close()


@given(st.text(max_size=40))
def test_folding_twice_is_folding_once(text: str) -> None:
    assert fold(fold(text)) == fold(text)

"""Maps of a result: kept with it, byte for byte, and gone with it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import func, select

from storage.records import Attention, Result
from storage.schema import attention
from tests.storing import Storage, analysed, arrival, open_storage

MAPS = bytes(range(256)) * 3
LOOKED = Attention(MAPS, 14, 3000, 2500, -12.5, 7.25, 13.4375, 224)


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(tmp_path)


def classify(storage: Storage, uid: str, result: Result) -> None:
    storage.queue.accept(arrival(uid, received_at=100))
    job = storage.queue.claim("w1", 60, 100)
    assert job is not None
    storage.queue.finish(job, result, "9.9", 0, 123.5)


def test_maps_come_back_with_the_study(storage: Storage) -> None:
    classify(storage, "1.1", replace(analysed(), attention=LOOKED))
    classify(storage, "1.2", analysed())
    study = storage.studies.claim_due("w1", 60, 1e6)
    assert study is not None
    with_maps, without = study.instances
    assert with_maps.result.attention == LOOKED
    assert without.result.attention is None
    assert (with_maps.answered_at, without.answered_at) == (123.5, 123.5)
    assert storage.studies.show("9.9").instances == study.instances


def test_maps_are_not_shown_as_text() -> None:
    assert "maps" not in repr(LOOKED)


def test_a_withdrawn_result_takes_its_maps_along(storage: Storage) -> None:
    classify(storage, "1.1", replace(analysed(), attention=LOOKED))
    with storage.database.write() as connection:
        connection.exec_driver_sql("DELETE FROM result")
        assert connection.execute(select(func.count()).select_from(attention)).scalar_one() == 0

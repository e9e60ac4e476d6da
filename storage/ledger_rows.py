"""The statements of the ledger, within the transaction of whoever calls."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Connection, Select, func, select

from storage.bundles import Model, ModelId, Promotion, PromotionId, Revision
from storage.results import AnyRow
from storage.schema import doubt, model, promotion, threshold


def promotions() -> Select[Any]:
    """Select the history, the newest first."""
    return (
        select(promotion, model.c.version, model.c.digest, model.c.state)
        .join(model, promotion.c.model_id == model.c.id)
        .order_by(promotion.c.id.desc())
    )


def last_line(connection: Connection) -> AnyRow | None:
    """Return the line that says what serves."""
    return connection.execute(promotions().limit(1)).first()


def newest_line(connection: Connection) -> Promotion:
    """Return the line that was just added."""
    return to_promotion(connection.execute(promotions().limit(1)).one())


def line_id(line: AnyRow | None) -> int | None:
    """Return a line's id."""
    return None if line is None else line.id


def revision_of(connection: Connection) -> Revision:
    """Return the ids of the newest lines."""
    newest = (select(func.max(table.c.id)).scalar_subquery()
              for table in (promotion, threshold, doubt))  # fmt: skip
    return Revision(*(number or 0 for number in connection.execute(select(*newest)).one()))


def overrides(connection: Connection, digest: str) -> dict[str, float]:
    """Return the thresholds in force that are not the bundle's own."""
    newest = (
        select(func.max(threshold.c.id))
        .where(threshold.c.digest == digest)
        .group_by(threshold.c.finding)
    )
    rows = connection.execute(
        select(threshold.c.finding, threshold.c.value).where(threshold.c.id.in_(newest))
    )
    return {row.finding: row.value for row in rows if row.value is not None}


def to_model(row: AnyRow) -> Model:
    """Read a row of `model`."""
    return Model(
        ModelId(row.id), row.version, row.digest, row.folder, row.card,
        json.loads(row.thresholds), row.registered_at, row.state, row.reason,
    )  # fmt: skip


def to_promotion(row: AnyRow) -> Promotion:
    """Read `promotions`."""
    back_to = None if row.back_to is None else PromotionId(row.back_to)
    return Promotion(
        PromotionId(row.id), row.version, row.digest, row.deed, row.actor, row.reason, row.at,
        back_to,
    )  # fmt: skip

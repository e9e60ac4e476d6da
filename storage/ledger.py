"""The ledger: which bundles there are, which one serves, and at which thresholds.

What serves is the last line of a history that is only ever added to. `storage.bundles.Deed` draws
how one line follows another.
"""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Connection, Select, func, insert, select, update

from storage.bundles import (
    BundleFacts,
    Deed,
    Model,
    ModelId,
    ModelState,
    Promotion,
    PromotionId,
    Revision,
    ServingModel,
    ThresholdChange,
)
from storage.database import Database, insert_or
from storage.errors import NotFound, StorageError
from storage.results import AnyRow, cut
from storage.schema import model, promotion, threshold

SERVICE = "service"  # the actor of what the service does by itself


class LedgerRefuses(StorageError):
    """The ledger cannot do this."""


class Ledger:
    """The bundles of a service. Safe to use from several threads."""

    def __init__(self, database: Database) -> None:
        """Work on a migrated database."""
        self._database = database

    # -- bundles -----------------------------------------------------------------------------

    def register(self, facts: BundleFacts, at: float) -> Model:
        """Take a verified bundle in; one that was refused may serve again.

        Raises LedgerRefuses where its version is taken by other contents.
        """
        values = {
            "version": facts.version, "digest": facts.digest, "folder": facts.folder,
            "card": facts.card, "thresholds": json.dumps(dict(facts.thresholds)),
            "registered_at": at, "state": ModelState.REGISTERED,
        }  # fmt: skip
        with self._database.write() as connection:
            new = insert_or(connection, model).values(**values)
            connection.execute(new.on_conflict_do_nothing())
            known = connection.execute(
                select(model).where(model.c.version == facts.version)
            ).one_or_none()
            if known is None or known.digest != facts.digest:
                raise LedgerRefuses(
                    f"There is another bundle of the version {facts.version}: "
                    "a bundle is never edited; give the new one another version."
                )
            again = {"state": ModelState.REGISTERED, "reason": None, "folder": facts.folder}
            connection.execute(update(model).where(model.c.id == known.id).values(**again))
            return self._model(connection, known.id)

    def models(self) -> tuple[Model, ...]:
        """Return every bundle, the newest first."""
        with self._database.read() as connection:
            return tuple(map(_to_model, connection.execute(select(model).order_by(-model.c.id))))

    def find(self, named: str) -> Model:
        """Return the bundle of that version ("name version", "name-version" or the version alone),
        or whose digest begins so. Raises NotFound, also where several do.
        """
        found = [one for one in self.models() if named in _names(one)] or [
            one for one in self.models() if len(named) >= 8 and one.digest.startswith(named)
        ]
        if len(found) != 1:
            known = ", ".join(one.version for one in self.models()) or "none"
            many = "is not one bundle alone" if found else "is no registered bundle"
            raise NotFound(f'"{named}" {many}. Registered: {known}.')
        return found[0]

    # -- what serves -------------------------------------------------------------------------

    def revision(self) -> Revision:
        """Return what changes with every change: one statement, two index look-ups."""
        with self._database.read() as connection:
            return _revision(connection)

    def serving(self) -> ServingModel | None:
        """Return what serves; None before the first bundle was registered by a worker."""
        with self._database.read() as connection:
            last = _last(connection)
            if last is None:
                return None
            found = self._model(connection, last.model_id)
            own = {**found.thresholds, **_overrides(connection, found.digest)}
            return ServingModel(found, _to_promotion(last), own, _revision(connection))

    def history(self, limit: int = 200) -> tuple[Promotion, ...]:
        """Return what served when, the newest first."""
        with self._database.read() as connection:
            rows = connection.execute(_promotions().limit(limit))
            return tuple(map(_to_promotion, rows))

    def configure(self, digest: str, at: float) -> bool:
        """Let the bundle of the settings serve, unless one was ever promoted or it does already.

        Return whether the history has a new line.
        """
        with self._database.write() as connection:
            last = _last(connection)
            if last is not None and (last.deed != Deed.CONFIGURED or last.digest == digest):
                return False
            found = self._registered(connection, digest)
            reason = "named by the settings"
            _append(connection, found.id, Deed.CONFIGURED, SERVICE, reason, at, _id(last))
            return True

    def promote(self, version: str, actor: str, reason: str, at: float) -> Promotion:
        """Let a registered bundle serve. `version` as `find` takes it.

        Raises NotFound; and LedgerRefuses where it serves already, was refused, or no reason is
        given.
        """
        found = self.find(version)
        with self._database.write() as connection:
            found = self._registered(connection, found.digest)
            last = _last(connection)
            if last is not None and last.model_id == found.id:
                raise LedgerRefuses(f"{found.version} serves already.")
            why = _required(reason)
            _append(connection, found.id, Deed.PROMOTED, actor, why, at, _id(last))
            return _newest(connection)

    def rollback(self, actor: str, reason: str, at: float) -> Promotion:
        """Let what served before the last promotion serve again.

        Raises LedgerRefuses where nothing did, or no reason is given.
        """
        why = _required(reason)
        with self._database.write() as connection:
            if not self._step_back(connection, Deed.ROLLED_BACK, actor, why, at):
                raise LedgerRefuses("No bundle served before this one.")
            return _newest(connection)

    def refuse(self, digest: str, actor: str, reason: str, at: float) -> bool:
        """Note that a bundle cannot serve; where it was to serve, what served before does again.

        Return whether something does.
        """
        with self._database.write() as connection:
            connection.execute(
                update(model)
                .where(model.c.digest == digest)
                .values(state=ModelState.REFUSED, reason=cut(reason))
            )
            last = _last(connection)
            if last is None or last.digest != digest:
                return last is not None
            return self._step_back(connection, Deed.REFUSED, actor, reason, at)

    def _step_back(
        self, connection: Connection, deed: Deed, actor: str, reason: str, at: float
    ) -> bool:
        """Follow `back_to` to the first bundle that may serve."""
        line = _last(connection)
        while line is not None and line.back_to is not None:
            line = connection.execute(_promotions().where(promotion.c.id == line.back_to)).one()
            if line.state == ModelState.REGISTERED:
                _append(connection, line.model_id, deed, actor, reason, at, line.back_to)
                return True
        return False

    # -- thresholds --------------------------------------------------------------------------

    def thresholds(self, digest: str) -> dict[str, float]:
        """Return the thresholds in force for a bundle, of every finding. Raises NotFound."""
        with self._database.read() as connection:
            row = connection.execute(select(model).where(model.c.digest == digest)).first()
            if row is None:
                raise NotFound(f"There is no bundle {digest[:12]}.")
            return {**_to_model(row).thresholds, **_overrides(connection, digest)}

    def set_threshold(
        self, digest: str, finding: str, value: float | None, actor: str, reason: str, at: float
    ) -> ThresholdChange:
        """Change a finding's threshold from now on; None puts the bundle's own back.

        Raises NotFound; and LedgerRefuses where the value is no probability above 0, or no reason
        is given.
        """
        own = self.thresholds(digest)
        if finding not in own:
            known = ", ".join(own)
            raise NotFound(f'The bundle has no finding "{finding}". It has: {known}.')
        if value is not None and not 0 < value <= 1:
            raise LedgerRefuses(
                f"A threshold is a probability above 0 and at most 1. Received: {value}."
            )
        change = ThresholdChange(digest, finding, value, actor, _required(reason), at)
        with self._database.write() as connection:
            connection.execute(
                insert(threshold).values(
                    digest=digest, finding=finding, value=value, actor=actor,
                    reason=change.reason, at=at,
                )
            )  # fmt: skip
        return change

    def threshold_history(self, digest: str, limit: int = 200) -> tuple[ThresholdChange, ...]:
        """Return a bundle's changes, the newest first."""
        query = (
            select(threshold)
            .where(threshold.c.digest == digest)
            .order_by(threshold.c.id.desc())
            .limit(limit)
        )
        with self._database.read() as connection:
            return tuple(
                ThresholdChange(r.digest, r.finding, r.value, r.actor, r.reason, r.at)
                for r in connection.execute(query)
            )

    # ----------------------------------------------------------------------------------------

    def _model(self, connection: Connection, model_id: int) -> Model:
        return _to_model(connection.execute(select(model).where(model.c.id == model_id)).one())

    def _registered(self, connection: Connection, digest: str) -> Model:
        row = connection.execute(select(model).where(model.c.digest == digest)).first()
        if row is None:
            raise NotFound(f"There is no bundle {digest[:12]}.")
        found = _to_model(row)
        if found.state is ModelState.REFUSED:
            raise LedgerRefuses(f"{found.version} was refused: {found.reason} Add it again.")
        return found


def _names(one: Model) -> set[str]:
    return {one.version, one.version.replace(" ", "-"), one.version.split(" ")[-1], one.digest}


def _required(reason: str) -> str:
    if not reason.strip():
        raise LedgerRefuses("A reason is needed: the history keeps it.")
    return cut(reason.strip())


def _promotions() -> Select[Any]:
    """Select the history, the newest first."""
    return (
        select(promotion, model.c.version, model.c.digest, model.c.state)
        .join(model, promotion.c.model_id == model.c.id)
        .order_by(promotion.c.id.desc())
    )


def _last(connection: Connection) -> AnyRow | None:
    return connection.execute(_promotions().limit(1)).first()


def _newest(connection: Connection) -> Promotion:
    return _to_promotion(connection.execute(_promotions().limit(1)).one())


def _id(line: AnyRow | None) -> int | None:
    return None if line is None else line.id


def _append(
    connection: Connection,
    model_id: ModelId,
    deed: Deed,
    actor: str,
    reason: str,
    at: float,
    back_to: int | None,
) -> None:
    values = {"model_id": model_id, "deed": deed, "actor": actor, "reason": cut(reason), "at": at}
    connection.execute(insert(promotion).values(**values, back_to=back_to))


def _revision(connection: Connection) -> Revision:
    newest = (select(func.max(table.c.id)).scalar_subquery() for table in (promotion, threshold))
    promoted, changed = connection.execute(select(*newest)).one()
    return Revision(promoted or 0, changed or 0)


def _overrides(connection: Connection, digest: str) -> dict[str, float]:
    newest = (
        select(func.max(threshold.c.id))
        .where(threshold.c.digest == digest)
        .group_by(threshold.c.finding)
    )
    rows = connection.execute(
        select(threshold.c.finding, threshold.c.value).where(threshold.c.id.in_(newest))
    )
    return {row.finding: row.value for row in rows if row.value is not None}


def _to_model(row: AnyRow) -> Model:
    return Model(
        ModelId(row.id), row.version, row.digest, row.folder, row.card,
        json.loads(row.thresholds), row.registered_at, row.state, row.reason,
    )  # fmt: skip


def _to_promotion(row: AnyRow) -> Promotion:
    back_to = None if row.back_to is None else PromotionId(row.back_to)
    return Promotion(
        PromotionId(row.id), row.version, row.digest, row.deed, row.actor, row.reason, row.at,
        back_to,
    )  # fmt: skip

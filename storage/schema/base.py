"""What every table is made of."""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import (
    CheckConstraint,
    Column,
    Double,
    Enum,
    Integer,
    MetaData,
    String,
    column,
    or_,
)

FREE_TEXT = 1000  # characters kept of a reason or an error

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)


def uid(name: str) -> Column[str]:
    return Column(name, String(64), nullable=False)


def time(name: str, *, nullable: bool = False) -> Column[float]:
    return Column(name, Double, nullable=nullable)


def state(name: str, states: type[StrEnum], *, nullable: bool = False) -> Column[str]:
    kind = Enum(
        states,
        name=name,
        native_enum=False,
        create_constraint=True,
        length=16,
        values_callable=lambda members: [member.value for member in members],
    )
    return Column(name, kind, nullable=nullable)


def claim(running: str) -> list[Column[object] | CheckConstraint]:
    """What a claim writes. A row is in its claimed state exactly while it has a lease."""
    held, free = column("lease_until").is_not(None), column("lease_until").is_(None)
    now = column("state", String)
    return [
        Column("attempts", Integer, nullable=False),
        Column("token", Integer, nullable=False),
        Column("owner", String(128)),
        Column("lease_until", Double),
        CheckConstraint(or_((now == running) & held, (now != running) & free), name="lease"),
    ]


def reason() -> list[Column[str]]:
    return [Column("reason_code", String(64)), Column("reason", String(FREE_TEXT))]

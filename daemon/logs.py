"""Structured logging: JSON in a service, readable on a terminal, no patient data in either."""

from __future__ import annotations

import logging
import sys
import traceback
import warnings
from collections.abc import MutableMapping
from types import TracebackType

import structlog


def configure(role: str) -> None:
    """Set logging up for one process; every record is bound to its role.

    The libraries' own loggers and warnings are silenced: what pydicom and pynetdicom say of a
    faulty element quotes its value, which may be a patient's name.
    """
    terminal = sys.stderr.isatty()
    structlog.configure(
        processors=[
            _bind_role(role),
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.dev.ConsoleRenderer()
            if terminal
            else structlog.processors.JSONRenderer(sort_keys=True),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    for name in ("pydicom", "pynetdicom", "alembic", "sqlalchemy"):
        library = logging.getLogger(name)
        library.handlers = [logging.NullHandler()]
        library.propagate = False
    warnings.simplefilter("ignore")


def _bind_role(role: str) -> structlog.typing.Processor:
    """Name the process in every record, whichever of its threads writes it."""

    def bind(_: object, __: str, event: MutableMapping[str, object]) -> MutableMapping[str, object]:
        event["role"] = role
        return event

    return bind


def get() -> structlog.typing.FilteringBoundLogger:
    """Return the process's logger."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger()
    return logger


def whereabouts(error: BaseException) -> dict[str, str]:
    """Describe an unforeseen exception by type and place, without its message.

    A message may quote the dataset; the type and the innermost frames are enough to find it.
    """
    frames = traceback.extract_tb(_innermost(error))[-3:]
    return {
        "error": type(error).__name__,
        "at": " < ".join(f"{_short(f.filename)}:{f.lineno}" for f in reversed(frames)),
    }


def _innermost(error: BaseException) -> TracebackType | None:
    return error.__traceback__


def _short(filename: str) -> str:
    return "/".join(filename.split("/")[-2:])

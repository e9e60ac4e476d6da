"""The SQLite that is used: Python's own, or a newer one where the package pysqlite3 brings it.

One for all of a process: two libraries on one file would drop each other's locks (they are POSIX
advisory locks, which belong to the process; https://sqlite.org/howtocorrupt.html section 2.2).
"""

from __future__ import annotations

import sqlite3
from importlib import import_module
from types import ModuleType


def _newest() -> ModuleType:
    try:
        brought = import_module("pysqlite3.dbapi2")
    except ImportError:
        return sqlite3
    return max(sqlite3, brought, key=lambda library: library.sqlite_version_info)


sqlite = _newest()
"""A DB-API module, as `sqlite3` is."""

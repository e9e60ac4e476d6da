"""What can go wrong in storage. Each docstring is the default message."""

from __future__ import annotations


class StorageError(Exception):
    """The storage failed."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())


class OutOfSpace(StorageError):
    """There is not enough free space to take another object."""


class SyncFailed(StorageError):
    """The operating system could not make written bytes durable; the process must end."""


class ObjectMissing(StorageError):
    """An object that the database names is not in the object store."""


class ObjectDamaged(StorageError):
    """An object's bytes no longer have the hash under which they were stored."""


class LostClaim(StorageError):
    """The lease ran out and another worker has taken the claim over."""


class DatabaseBusy(StorageError):
    """The database stayed locked by another process for longer than the time allowed."""


class DatabaseDamaged(StorageError):
    """The database file is damaged."""


class SchemaTooNew(StorageError):
    """The database was made by a later release of Hilum."""


class AlreadyServing(StorageError):
    """Another Hilum service holds this storage root."""


class NotFound(StorageError):
    """There is no such row."""


class LoginTaken(StorageError):
    """There is an account of that login already."""

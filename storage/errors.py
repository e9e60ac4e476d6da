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


class DatabaseGone(StorageError):
    """The database server cannot be reached, or ended the connection."""


class DatabaseDamaged(StorageError):
    """The database file is damaged."""


class SchemaTooNew(StorageError):
    """The database was made by a later release of Hilum."""


class AlreadyServing(StorageError):
    """Another Hilum service holds this storage root."""


class Refused(StorageError):
    """The state of what is stored does not allow this."""


class NotFound(StorageError):
    """There is no such row."""


class StaleVersion(StorageError):
    """The report has changed since the reader saw it."""

    def __init__(self, seen: int, current: int, since: tuple[tuple[int, str | None], ...]) -> None:
        super().__init__()
        self.seen, self.current = seen, current
        self.since = since  # each later version with its reader's login; none: images came


class ReviewRefused(StorageError):
    """The review cannot be stored as it is."""


class TooLate(StorageError):
    """The review has taken effect and can no longer be undone; a new one can correct it."""


class LoginTaken(StorageError):
    """There is an account of that login already."""


class UnknownPlace(StorageError):
    """A key of a page of the worklist is none, or of a list in another order."""

"""What can go wrong in classification. Each docstring is the default message."""

from __future__ import annotations


class ClassifierError(Exception):
    """The classifier failed."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())


class Undecodable(ClassifierError):
    """The pixels of the object could not be decoded."""

    code = "undecodable"


class NotEligible(ClassifierError):
    """The image is not one that the model may judge.

    `code` is a stable key, `text` a sentence for the radiologist.
    """

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


class BundleRefused(ClassifierError):
    """The model bundle is damaged, incomplete or of an unknown form."""


class EngineUnavailable(ClassifierError):
    """The inference engine cannot run here."""

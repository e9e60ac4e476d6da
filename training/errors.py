"""What can go wrong in training. Each docstring is the default message."""

from __future__ import annotations


class TrainingError(Exception):
    """The training failed."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())


class DatasetError(TrainingError):
    """The data set cannot be used."""


class LabelsMissing(DatasetError):
    """The folder has no labels.csv, or that lacks a column or a value."""


class UnknownLabel(DatasetError):
    """labels.csv holds a label that is not known."""


class TooFewCases(DatasetError):
    """A finding has too few positive or negative cases to be learnt or measured."""


class PatientOnBothSides(DatasetError):
    """A patient would stand on both sides of a split."""


class WeightsRefused(TrainingError):
    """The base weights are damaged or of another network."""


class Diverged(TrainingError):
    """The loss became infinite or no number; no bundle was written."""


class CacheFailed(TrainingError):
    """The features could not be kept on the disk."""


class UnknownFinding(TrainingError):
    """A finding is named that the bundle does not have."""


class TargetUnreachable(TrainingError):
    """No threshold reaches the stated target on these images."""


class BundleNotWritten(TrainingError):
    """The bundle could not be written."""


class ResultsNotWritten(TrainingError):
    """The evaluation's files could not be written."""


class HoldOutsDiffer(TrainingError):
    """Two bundles can be compared on the same images, labels and findings alone."""


class ReplayMissing(TrainingError):
    """The bundle holds no features of its training images to learn from again."""


class ReadoutMissing(TrainingError):
    """The bundle's network has no readout of the averages that could be retrained."""

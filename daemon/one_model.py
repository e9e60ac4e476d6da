"""A report is of one bundle at one set of thresholds, whatever was promoted meanwhile."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from classifier.classify import Classifier
from storage.records import AnsweredInstance, Result, ResultStatus, StudyJob


def others(study: StudyJob, serving: Classifier) -> list[AnsweredInstance]:
    """Return the images whose results may not stand in this study's report.

    The first report of a study is of what serves when it is made. A later one is not made anew as
    long as all that was analysed is of one bundle and its thresholds.
    """
    analysed = [one for one in study.instances if one.result.bundle is not None]
    used = {_model_of(one) for one in analysed}
    if len(used) <= 1 and study.version > 1:
        return []
    return [one for one in analysed if _model_of(one) != _model(serving)]


def without(study: StudyJob, mixed: Collection[AnsweredInstance]) -> StudyJob:
    """Return the study with these images not analysed: retention has deleted their files."""
    kept = tuple(_earlier(one) if one in mixed else one for one in study.instances)
    return replace(study, instances=kept) if mixed else study


def _earlier(one: AnsweredInstance) -> AnsweredInstance:
    reason = (
        f"An earlier report has the result of {one.result.bundle}. It no longer serves as it did, "
        "and the file of the image has been deleted."
    )
    result = Result(ResultStatus.NOT_ANALYSED, reason_code="earlier_model", reason=reason)
    return replace(one, result=result)


def _model_of(one: AnsweredInstance) -> tuple[object, ...]:
    return one.result.bundle, *((found.name, found.threshold) for found in one.result.findings)


def _model(serving: Classifier) -> tuple[object, ...]:
    return serving.version, *serving.thresholds.items()

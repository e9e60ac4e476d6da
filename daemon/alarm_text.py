"""What an alarm says, and what to do about it: for the page, the API and the command line."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from storage.alarm_records import Alarm, AlarmKind

TITLES: Mapping[str, str] = {
    AlarmKind.INPUT_DRIFT: "Images have changed",
    AlarmKind.SCORE_DRIFT: "Probabilities have shifted",
    AlarmKind.LABEL_DRIFT: "Readers see it more or less often",
    AlarmKind.CALIBRATION: "Calibration in doubt",
    AlarmKind.SILENCE: "Nothing comes",
    AlarmKind.CANARY: "The canary did not come through",
    AlarmKind.CANDIDATE: "A bundle cannot be used",
    AlarmKind.CERTIFICATE: "TLS files cannot be used",
    AlarmKind.STORAGE: "What is stored is damaged or lost",
    AlarmKind.CONFLICT: "Two images under one UID",
}

ADVICE: Mapping[str, str] = {
    AlarmKind.INPUT_DRIFT: (
        "Look at the newest images of the station beside older ones: inverted greys, another"
        " window or processing, another detector, another view. Where it is a fault, have it"
        " mended at the station; the alarm closes after 200 images within the limits. Where the"
        " images are as they should be, take them as the station's reference."
    ),
    AlarmKind.SCORE_DRIFT: (
        "Where the images of the station have changed too, begin there. Else its patients may be"
        " others than before: have some of its studies reviewed, then see whether the calibration"
        " holds, and recalibrate where it does not."
    ),
    AlarmKind.LABEL_DRIFT: (
        "Ask whether the station has other patients now, or other readers. Probabilities may no"
        " longer hold: look at the calibration of the finding, and recalibrate on new reviews."
    ),
    AlarmKind.CALIBRATION: (
        "The report marks the finding and, unless the settings say otherwise, it flags no more."
        " Run a recalibration on the reviewed cases; what it makes begins without doubt when it is"
        " promoted. Where the reviews are known to be odd, lift the doubt with a reason."
    ),
    AlarmKind.SILENCE: (
        "Ask at the station: is it in use, and does it send here? Look at its network and at its"
        " destination. The alarm closes with the next image; a station that was taken out of use is"
        " let go after four weeks, and on a holiday it may be closed."
    ),
    AlarmKind.CANARY: (
        "A known image did not go through the whole way, or scored otherwise than it is known to."
        " Until that is understood, do not rely on what the service says. The operating guide tells"
        " what each reason asks for; `hilum schedule run canary` sends another."
    ),
    AlarmKind.CANDIDATE: (
        "It was to serve, or to be tried, and was refused; what served before goes on. Where its"
        " files are damaged, look at the disk, and take it in again: `hilum model add FOLDER`. Then"
        " close the alarm."
    ),
    AlarmKind.CERTIFICATE: (
        "The files before serve on until they end. Put a sound certificate, key and authority in"
        " their place; they are read again without a restart."
    ),
    AlarmKind.STORAGE: (
        "Look at the disk. Images that are damaged or lost: have the PACS send them again, which"
        " heals them, or restore their files. A damaged database: stop the service, and restore a"
        " backup by `hilum db restore`. The alarm closes when `hilum schedule run check` finds all"
        " sound."
    ),
    AlarmKind.CONFLICT: (
        "Other pixels came under a SOP Instance UID that was known. Both files are kept; the first"
        " is reported, the later one is in quarantine. Ask the station why it gave one UID twice:"
        " one of the two may be of another patient. Close the alarm when that is known."
    ),
}

OTHER = "Look at the log and at the system page."

MEASURES: Mapping[str, str] = {
    "brightness": "brightness",
    "contrast": "contrast",
    "tone": "balance of dark and bright",
    "middle": "middle against edges",
    "floor": "darkest greys",
    "ceiling": "brightest greys",
    "gamma": "gamma",
    "size": "size in pixels",
    "ap": "share of AP views",
    "distance": "distance from frontal chests",
    "refused": "share refused by their pixels",
}


def shown(one: Alarm) -> dict[str, Any]:
    """Return an alarm as JSON, with a title, what was found, and what to do."""
    told = {"title": title(one.kind), "says": says(one), "advice": ADVICE.get(one.kind, OTHER)}
    return {**asdict(one), **told}


def title(kind: str) -> str:
    """Return the title of a kind of alarm."""
    return TITLES.get(kind, kind.replace("_", " ").capitalize())


def says(one: Alarm) -> str:
    """Say in a line what was found last."""
    said = _SAYS.get(one.kind)
    try:
        return said(one.detail) if said is not None else _plain(one.detail)
    except (KeyError, TypeError):  # as another release wrote it
        return _plain(one.detail)


def _input(detail: Mapping[str, Any]) -> str:
    moved = "; ".join(
        f"{MEASURES.get(name, name)} {_shift(one)}"
        for name, one in sorted(detail["measures"].items(), key=lambda item: -item[1]["shift"])
    )
    return f"{moved[:1].upper()}{moved[1:]}, against {detail['against']}."


def _score(detail: Mapping[str, Any]) -> str:
    return f"Log odds {_shift(detail)}, against {detail['against']}."


def _shift(one: Mapping[str, Any]) -> str:
    return f"{one['direction']} by {one['shift']:.1f} deviations over {one['since']} images"


def _labels(detail: Mapping[str, Any]) -> str:
    return f"Seen in {_share(detail['now'])}, before in {_share(detail['before'])}."


def _calibration(detail: Mapping[str, Any]) -> str:
    return (
        f"Of {detail['reviews']} reviews {_share(detail['observed'])} show it, where "
        f"{detail['expected']:.0%} were expected; p {detail['p']:.1g}."
    )


def _silence(detail: Mapping[str, Any]) -> str:
    since = time.strftime("%Y-%m-%d %H:%M", time.localtime(detail["last_at"]))
    return f"The last image came at {since}; about {detail['expected']:.0f} should have come since."


def _canary(detail: Mapping[str, Any]) -> str:
    return f"Run {detail['run']}: {detail['reason']}"


def _share(one: Mapping[str, float]) -> str:
    return f"{one['value']:.0%} ({one['low']:.0%} to {one['high']:.0%})"


def _plain(detail: Mapping[str, Any]) -> str:
    return "; ".join(f"{name.replace('_', ' ')}: {value}" for name, value in detail.items())


_SAYS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    AlarmKind.INPUT_DRIFT: _input,
    AlarmKind.SCORE_DRIFT: _score,
    AlarmKind.LABEL_DRIFT: _labels,
    AlarmKind.CALIBRATION: _calibration,
    AlarmKind.SILENCE: _silence,
    AlarmKind.CANARY: _canary,
}

"""Whether this machine's clock can be believed: reports and retention depend on it."""

from __future__ import annotations

import shutil
import subprocess
import time

RELEASED = 2025  # no clock can be right that shows an earlier year
LATEST = 2100
ALLOWED_S = 60.0


def look(newest: float | None, now: float | None = None) -> tuple[bool, str, str]:
    """Return whether it is good, what was found and what to do.

    `newest` is the time of the last image received: a clock that shows less has gone back. There
    is no other clock here to compare with; C-ECHO carries no time.
    """
    now = time.time() if now is None else now
    shown = time.strftime("%Y-%m-%d %H:%M:%S %Z (UTC%z)", time.localtime(now))
    remedy = "set the clock, and have it kept by NTP"
    if not RELEASED <= time.gmtime(now).tm_year < LATEST:
        return False, f"{shown}: the year cannot be right", remedy
    if newest is not None and newest > now + ALLOWED_S:
        behind_s = newest - now
        return False, f"{shown}: {behind_s:.0f} s behind the last image received", remedy
    kept = _kept_by_ntp()
    if kept is None:
        said = "year and last image fit; whether NTP keeps it could not be asked (no timedatectl)"
        return True, f"{shown}; {said}", ""
    if not kept:
        return True, f"{shown}; year and last image fit; not kept by NTP", "have NTP keep it"
    return True, f"{shown}; year and last image fit; kept by NTP", ""


def _kept_by_ntp() -> bool | None:
    program = shutil.which("timedatectl")
    if program is None:
        return None
    try:
        asked = subprocess.run(
            [program, "show", "--property=NTPSynchronized", "--value"],
            capture_output=True, text=True, check=True, timeout=5,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return asked.stdout.strip() == "yes"

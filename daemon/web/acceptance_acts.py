"""What an administrator does about acceptance tests. What needs machine learning's libraries is a
process of its own: the command line does the same."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from daemon.errors import DaemonError
from daemon.web.access import Person
from daemon.web.context import Site

LONGEST_S = 300


class CommandFailed(DaemonError):
    """The command could not be done."""


def command(here: Site, person: Person, act: str, name: str, *options: str) -> dict[str, Any]:
    """Do `hilum acceptance ACT NAME` for a person, and return what it says as JSON.

    Raises CommandFailed with what a person at the command line would have read.
    """
    if here.settings.file is None:
        raise CommandFailed("The service runs without a configuration file.")
    whole = [
        sys.executable, "-m", "daemon", "acceptance", act, *options,
        f"--by={person.login}", f"--config={here.settings.file}", "--json", "--", name,
    ]  # fmt: skip
    try:
        done = subprocess.run(
            whole, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
            timeout=LONGEST_S,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CommandFailed("It did not end in time: try again.") from error
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or ["It failed."]
        raise CommandFailed(said[-1].removeprefix("hilum: "))
    found: dict[str, Any] = json.loads(done.stdout)
    return found

"""Has a process's clock run ahead of the machine's by what a file says, from its first import on.

libfaketime 0.9.10 is no way to do that: with it Python 3.11's `time.sleep`, which waits on the
monotonic clock, fails with EINVAL or never ends. This moves the wall clock alone, as a jump does.
"""

import os
import time
from pathlib import Path

_FILE = Path(os.environ["HILUM_TEST_CLOCK"])
_real = time.time


def _ahead() -> float:
    return _real() + float(_FILE.read_text())


time.time = _ahead

"""`make flame`: a picture of where the worker's time goes while images come as fast as they go.

py-spy samples the worker's stacks, Python's and those of the libraries below it.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from tests.bench.watched import folder_in_build, radiographs, storescu, watched_service

PICTURE = Path("docs") / "pictures" / "worker-flame.svg"
STUDIES = 40  # of two images each
SECONDS = 12
RATE = 50  # samples a second


def main() -> int:
    """Record and write the picture."""
    program = shutil.which("py-spy", path=str(Path(sys.executable).parent)) or "py-spy"
    with folder_in_build() as folder:
        files = [file for study in radiographs(folder / "images", STUDIES, 2) for file in study]
        with watched_service(folder / "rush", quiet_s=2.0) as watched:
            sender = storescu(watched.service.port, "HILUM", files)
            watched.service.saw("instance.analysed", 60)
            worker = next(p for name, p in watched.processes.items() if name.startswith("worker"))
            done = subprocess.run(
                [program, "record", "--pid", str(worker.pid), "--duration", str(SECONDS),
                 "--rate", str(RATE), "--native", "--format", "flamegraph",
                 "--output", str(PICTURE)], check=False, timeout=120,
            )  # fmt: skip
            sender.kill()
            sender.wait()
    if done.returncode != 0:
        return done.returncode
    drawn = PICTURE.read_text()
    PICTURE.write_text(drawn.replace(f"{Path.cwd()}/", "").replace(str(Path.home()), "~"))
    print(f"drawn in {PICTURE}, {PICTURE.stat().st_size // 1024} KiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""A service on a small disk that has a recalibration to do; run as a program by a fault test.

``loop_disk_victim ROOT BUNDLE``: ROOT is the small disk, BUNDLE a small bundle on another one. It
says what became of a run on a full disk, of an image meanwhile, and of a run when there is space.
"""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path

from storage.database import Database
from storage.ledger import Ledger
from storage.runs import Runs
from storage.schedules import Schedules
from tests.harness import Service, running
from tests.learning import open_hospital
from tests.loop import Loop, images

LEFT_BYTES = 3_000_000  # less than a bundle, more than an image and its rows


def main(root: Path, bundle: Path) -> None:
    """Fill the disk, run, send, free the disk, run again; print a line of each."""
    sections = {
        "report": {"heat_map": "none"},
        "classifier": {"bundle": str(bundle), "engine": "f32"},
    }
    hospital = open_hospital(root, 7, bundle, **sections)
    hospital.import_all()
    database = hospital.database
    with database.write() as connection:  # no report is to be made of what was there before
        connection.exec_driver_sql("UPDATE study SET state = 'reported'")
    service = Service(root.parent, hospital.config)
    with running(service):
        ballast = root / "ballast"
        with ballast.open("wb") as file:
            file.truncate(0)
            size = shutil.disk_usage(root).free - LEFT_BYTES
            file.write(b"x" * size)
        print(_run(service, database, 1), flush=True)
        (one,) = images(0, 1)
        loop = Loop(service, None)  # type: ignore[arg-type]
        print(loop.give([one]), "acknowledged", flush=True)
        service.saw("report.built", 60)
        print("reported while the disk is full", flush=True)
        print(len(Ledger(database).models()), "bundle", *_left(root), flush=True)
        ballast.unlink()
        print(_run(service, database, 2), flush=True)
        print(len(Ledger(database).models()), "bundles", flush=True)
        died = service.events("process.died")
        print("died:", [one["process"] for one in died], flush=True)
        assert service.stop() == 0


def _run(service: Service, database: Database, count: int) -> str:
    number = Schedules(database).run_now("recalibrate", "ada", time.time())
    service.saw("run.ended", 400, count)
    run = Runs(database).show(number)
    return f"{run.state}: {run.reason or 'a candidate'}"


def _left(root: Path) -> list[str]:
    """Drafts that a run left behind."""
    return [str(one) for one in (root / "root").rglob("*.safetensors") if "models" not in str(one)]


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

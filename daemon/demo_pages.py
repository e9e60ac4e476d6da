"""The end of `hilum demo`: the same service once more, with its pages, until Ctrl-C."""

from __future__ import annotations

import secrets
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType

from rich.console import Console

from daemon import user_commands
from daemon.demo import write_config
from daemon.demo_peers import Service, pacs
from storage.people import Role

LOGINS = {
    Role.RADIOLOGIST: ("Dr. Demo Reader", "Reader^Demo^^Dr."),
    Role.ADMINISTRATOR: ("Demo Administrator", "Administrator^Demo"),
}


def hint(console: Console) -> None:
    """Say how to look at the pages, where nobody is there to look."""
    console.print(
        "To look at the pages, run `hilum demo --stay`: it stays up and says how to sign in."
    )


def stay(folder: Path, console: Console) -> None:
    """Serve what the demo left in the folder until Ctrl-C, and say where to look and as whom."""
    with ExitStack() as stack:
        told = stack.enter_context(_ctrl_c())
        archive = stack.enter_context(pacs(folder))
        config = write_config(folder, archive.dicom_port)
        password = secrets.token_urlsafe(12)
        _add_accounts(config, password)
        service = Service(config, folder / "service.log")
        stack.enter_context(service.running())
        console.print(f"\nThe pages:  {service.pages}\nSign in as  ", end="")
        console.print(" or ".join(LOGINS), f" password {password}", style="bold", highlight=False)
        console.print(
            "The password is for this run alone. Ctrl-C ends the demo;"
            f" modalities can send to port {service.port} until then."
        )
        told.wait()


def _add_accounts(config: Path, password: str) -> None:
    from daemon.web.people import new_account

    with user_commands.opened(config) as (accounts, audit):
        for role, (name, person_name) in LOGINS.items():
            new = new_account(
                str(role), name, person_name, "Demo hospital", role, blinded=False,
                password=password,
            )  # fmt: skip
            user_commands.add_account(accounts, audit, new)


@contextmanager
def _ctrl_c() -> Iterator[threading.Event]:
    """An event that Ctrl-C or SIGTERM sets, so that what was started is ended in order."""
    told = threading.Event()

    def tell(_: int, __: FrameType | None) -> None:
        told.set()

    before = {number: signal.signal(number, tell) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

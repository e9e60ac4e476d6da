"""Images that came by the real listener and went through the real worker, for the pages' tests."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import uvicorn
from fastapi import FastAPI
from pydicom.dataset import Dataset

from classifier.bundle import load_bundle
from classifier.classify import Classifier
from daemon.listener import Listener
from daemon.settings import Settings
from daemon.simulate import send
from daemon.worker import Worker
from tests.harness import free_port, until
from tests.storing import Storage


@cache
def default_classifier() -> Classifier:
    """The bundle that ships, opened once."""
    return Classifier(load_bundle("default"))


def receive(storage: Storage, images: Sequence[Dataset], **report: Any) -> None:
    """Send the images, classify them and report their studies."""
    settings = Settings(dicom={"bind": "127.0.0.1", "port": 0}, report=report)
    listener = Listener(settings, storage.objects, lambda: storage.queue)
    port = listener.start()
    for image in images:
        outcome = send([image], "127.0.0.1", port, "DX1", "HILUM")[0]
        assert outcome.status == 0x0000, outcome
    listener.stop(2.0)
    work(storage, settings)


def work(storage: Storage, settings: Settings | None = None) -> None:
    """Do all that waits; every study has been quiet for long enough."""
    worker = Worker(
        settings or Settings(),
        storage.objects,
        storage.database,
        default_classifier(),
        "worker-0",
        clock=lambda: time.time() + 3600,
    )
    for _ in range(200):
        if not worker.step():
            return
    raise AssertionError("there is always more to do")


@contextmanager
def on_a_port(app: FastAPI) -> Iterator[str]:
    """Serve the application on the loopback, and give its address."""
    port = free_port()
    config = uvicorn.Config(app, "127.0.0.1", port, log_level="critical", lifespan="on")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until(lambda: server.started)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(10)

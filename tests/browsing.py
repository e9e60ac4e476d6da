"""Debian's Chromium in a dark room, for the tests that look at pages as a person does."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.pages import PASSWORD

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
SIZES = ((1280, 800), (1920, 1200))
PICTURES = os.environ.get("HILUM_PICTURES")  # a folder: pictures of each page go there
LARGEST = 200_000  # bytes of a picture in the guide


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run the browser."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


def room(browser: Browser, address: str | None = None, theme: Any = "dark") -> BrowserContext:
    """Open a window of the smaller size, with cookies of its own."""
    width, height = SIZES[0]
    return browser.new_context(
        base_url=address, viewport={"width": width, "height": height}, color_scheme=theme,
        reduced_motion="reduce",
    )  # fmt: skip


def sign_in(context: BrowserContext, login: str, address: str = "") -> Page:
    """Return a page of somebody who has signed in; whatever it finds wrong fails the test."""
    page = context.new_page()
    watch(page)
    page.goto(f"{address}/sign-in")
    fill_in(page, login)
    return page


def fill_in(page: Page, login: str) -> None:
    """Sign in as a person does."""
    page.fill("[name=login]", login)
    page.fill("[name=password]", PASSWORD)
    page.press("[name=password]", "Enter")
    page.wait_for_url(lambda url: "/sign-in" not in url)


def watch(page: Page) -> None:
    """Fail on an error of a script, a refusal by the content security policy, a foreign host."""

    def refuse(what: str) -> None:
        raise AssertionError(what)

    def look(kind: str, text: str) -> None:
        # A status that a test asks for is told here too
        if kind in ("error", "warning") and "Failed to load resource" not in text:
            refuse(text)

    page.on("console", lambda message: look(message.type, message.text))
    page.on("pageerror", lambda error: refuse(str(error)))
    page.on("dialog", lambda dialog: refuse(dialog.message))
    page.on("request", lambda request: "127.0.0.1" in request.url or refuse(request.url))


def serious(page: Page) -> list[tuple[str, str]]:
    """Return the faults of accessibility that keep somebody from using the page."""
    found = Axe().run(page).response["violations"]
    return [
        (one["id"], node["html"][:200])
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]


def look(page: Page, name: str, folder: str | Path | None = PICTURES) -> None:
    """Nothing serious, nothing wider than the window, at both sizes; a picture where asked."""
    for width, height in SIZES:
        page.set_viewport_size({"width": width, "height": height})
        page.wait_for_timeout(200)
        over = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert over <= 0, (name, width, over)
        if folder is not None:
            take(page, Path(folder) / f"{name}-{width}.png")
    page.set_viewport_size({"width": SIZES[0][0], "height": SIZES[0][1]})
    assert serious(page) == [], name


def take(page: Page, file: Path) -> None:
    """Take a picture in 256 colours, small enough for the guide."""
    page.screenshot(path=file)
    drawn = Image.open(file).convert("RGB")
    for colours in (256, 128, 64):
        drawn.quantize(colours, dither=Image.Dither.FLOYDSTEINBERG).save(file, optimize=True)
        if file.stat().st_size < LARGEST:
            return

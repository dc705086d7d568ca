"""Debian's Chromium, driven by Playwright, and a tab that notes whatever goes wrong in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

PATH = "/usr/bin/chromium"
ARGUMENTS = ["--no-sandbox", "--disable-dev-shm-usage"]  # as root it has no sandbox of its own
PATIENCE = 180_000  # milliseconds, on a machine that is busy


@contextmanager
def browser() -> Iterator[Any]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=PATH, args=ARGUMENTS, timeout=PATIENCE)
        yield started
        started.close()


class Tab:
    """A page, and in `trouble` its errors, its warnings, its dialogs and what it asked for beside itself."""

    def __init__(self, chromium: Any, width: int = 1280, **options: Any) -> None:
        self.context = chromium.new_context(viewport={"width": width, "height": 900}, **options)
        self.page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE)
        self.trouble: list[str] = []
        self.page.on("console", lambda said: self.trouble.append(f"{said.type}: {said.text}"))
        self.page.on("pageerror", lambda error: self.trouble.append(f"error: {error}"))
        self.page.on("request", self._asked)
        self.page.on("dialog", self._dialog)
        self.address = ""

    def open(self, file: Path) -> None:
        """A file of this machine; returns once all charts are there."""
        self.address = file.as_uri()
        self.page.goto(self.address)
        self.drawn()

    def drawn(self) -> None:
        self.page.wait_for_selector("body[data-charts=drawn]")

    def until(self, condition: str) -> None:
        """Waits until a JavaScript expression holds."""
        self.page.wait_for_function(f"() => {condition}")

    def texts(self, selector: str) -> list[str]:
        return [text.strip() for text in self.page.locator(selector).all_text_contents()]

    def column(self, title: str) -> list[str]:
        """The cells below a head of the table of runs."""
        place = [head.rstrip("▲▼") for head in self.texts("#runs thead th")].index(title) + 1
        return self.texts(f"#runs tbody tr > :nth-child({place})")

    def close(self) -> None:
        self.context.close()

    def _asked(self, request: Any) -> None:
        if request.url.partition("#")[0] != self.address and not request.url.startswith("data:"):
            self.trouble.append(f"asked for {request.url[:200]}")

    def _dialog(self, dialog: Any) -> None:
        self.trouble.append(f"dialog: {dialog.message}")
        dialog.dismiss()

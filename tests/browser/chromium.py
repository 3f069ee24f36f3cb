"""A real Chromium, driven by Playwright: the one of the system, or the one that CHROMIUM names. What the page says to the
console and what its policy refuses is collected: a test may ask that there was none of it.
"""

import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Browser as Driven
from playwright.sync_api import BrowserContext, ConsoleMessage, Error, Page, Playwright, sync_playwright

NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# The browser of a test opens places of this machine; whatever it looks for elsewhere does not exist.
FLAGS: Final = (
    "--no-proxy-server",
    "--disable-dev-shm-usage",  # small in containers
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
)
DEADLINE_S: Final = 30.0
WIDTH, HEIGHT = 1000, 700
# Every refusal of the policy, also of things that say nothing to the console.
_WATCH: Final = (
    "document.addEventListener('securitypolicyviolation', "
    "e => console.error('policy: ' + e.violatedDirective + ' ' + e.blockedURI))"
)


def installed() -> str | None:
    """The Chromium of this machine, CHROMIUM first; None where there is none."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


class BrowserGone(AssertionError):
    """The browser does not start."""


class Browser:
    """One browser and one page in it. ``complaints``: errors and warnings of the console, and what the page's policy
    refused."""

    def __init__(self, program: str, folder: Path) -> None:
        """``folder`` is the browser's home. Raises BrowserGone."""
        folder.mkdir(parents=True, exist_ok=True)
        env = {k: v for k, v in os.environ.items() if "proxy" not in k.lower()} | {"HOME": str(folder)}
        self.complaints: list[str] = []
        self._playwright: Playwright = sync_playwright().start()
        try:
            root = ["--no-sandbox"] if os.geteuid() == 0 else []  # root has none; only pages of our own are opened
            self._driven: Driven = self._playwright.chromium.launch(
                executable_path=program, args=[*FLAGS, *root], env=dict(env), timeout=DEADLINE_S * 1000
            )
        except Error as error:
            self._playwright.stop()
            raise BrowserGone(f"it said: {error.message[-1500:]}") from None
        self._look = {"width": WIDTH, "height": HEIGHT, "dark": False, "scripts": True}
        self._context, self.page = self._window()

    def end(self) -> None:
        """Close it and wait until it is gone."""
        with suppress(Error):
            self._driven.close()
        self._playwright.stop()

    # --- what a person does and sees --------------------------------------------------------------------------------

    def fresh(self, *, width: int = WIDTH, height: int = HEIGHT, dark: bool = False, scripts: bool = True) -> Page:
        """A window without any cookie, with these eyes; ``scripts`` False: JavaScript is off."""
        self._look = {"width": width, "height": height, "dark": dark, "scripts": scripts}
        self._context.close()
        self._context, self.page = self._window()
        return self.page

    def open(self, url: str) -> None:
        """Type an address. Returns when the page stands there."""
        self.page.goto(url, wait_until="load", timeout=DEADLINE_S * 1000)

    @property
    def url(self) -> str:
        return self.page.url

    @property
    def text(self) -> str:
        """What can be read on the page."""
        return self.page.inner_text("body")

    def buttons(self) -> list[str]:
        return self.page.locator("button").all_inner_texts()

    def click(self, words: str) -> None:
        """Click the button or link with these words; one that is hidden or covered cannot be clicked."""
        button = self.page.get_by_role("button", name=words, exact=True)
        self.page.get_by_role("link", name=words, exact=True).or_(button).first.click(timeout=DEADLINE_S * 1000)

    def press(self, key: str) -> None:
        """One key of the keyboard."""
        self.page.keyboard.press(key)

    def until(self, condition: str, what: str, seconds: float = DEADLINE_S) -> None:
        """Wait until a JavaScript condition holds; ``what`` is said when it never does."""
        try:
            self.page.wait_for_function(f"() => Boolean({condition})", timeout=seconds * 1000, polling=20)
        except Error:
            raise AssertionError(f"not within {seconds:g} s: {what}; the page is {self.url}: {self.text[:800]}") from None

    def look(self, *, width: int = WIDTH, height: int = HEIGHT, dark: bool = False) -> None:
        """The size of the window in CSS pixels, and the scheme that the person prefers; nothing moves on the way there."""
        self.page.set_viewport_size({"width": width, "height": height})
        self.page.emulate_media(color_scheme="dark" if dark else "light", reduced_motion="reduce")

    def picture(self, file: Path, *, whole: bool = False) -> None:
        """A PNG of the window as it is, or of the whole page."""
        self.page.screenshot(path=file, full_page=whole)

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression in the page."""
        return self.page.evaluate(script)

    def _window(self) -> tuple[BrowserContext, Page]:
        look = self._look
        context = self._driven.new_context(
            viewport={"width": int(look["width"]), "height": int(look["height"])},
            color_scheme="dark" if look["dark"] else "light",
            java_script_enabled=bool(look["scripts"]),
            has_touch=look["width"] < 600,
        )
        context.set_default_timeout(DEADLINE_S * 1000)
        context.add_init_script(_WATCH)
        page = context.new_page()
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        return context, page

    def _heard(self, said: ConsoleMessage) -> None:
        if said.type in ("error", "warning"):
            self.complaints.append(f"{said.type}: {said.text} ({self.page.url})")

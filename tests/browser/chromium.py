"""A real Chromium, driven over its DevTools protocol through two pipes: JSON with a zero byte behind each message.

No driver program, no websocket and no library: ``--remote-debugging-pipe`` reads file descriptor 3 and writes 4. Clicks are
those of a mouse at a place on the screen, so what is hidden or covered cannot be clicked.
"""

import base64
import json
import os
import select
import shutil
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless=new",
    "--remote-debugging-pipe",
    "--no-first-run",
    "--no-default-browser-check",
    "--no-proxy-server",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",  # small in containers
    "--disable-extensions",
    "--disable-gpu",
    "--disable-sync",
    "--mute-audio",
    "--password-store=basic",
    "--use-mock-keychain",
)
# The browser of a test opens two places of this machine; whatever it looks for elsewhere does not exist.
HERE_ONLY = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
DEADLINE_S = 30.0


def installed() -> str | None:
    """The Chromium of this machine, CHROMIUM first; None where there is none."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


class BrowserGone(AssertionError):
    """The browser ended or does not answer."""


class Browser:
    """One browser with a profile of its own, and one page in it."""

    def __init__(self, program: str, folder: Path) -> None:
        """``folder`` takes the profile and what the browser has to say. Raises BrowserGone."""
        folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / "browser.log"
        root = ("--no-sandbox",) if os.geteuid() == 0 else ()  # root has none; only pages of our own are opened
        command = [program, *FLAGS, HERE_ONLY, *root, f"--user-data-dir={folder / 'profile'}", "about:blank"]
        # a shell, because the descriptors have to be 3 and 4
        shell = ["/bin/sh", "-c", 'exec "$@" 3<&0 4>&1 </dev/null >&2', "sh", *command]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                shell, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=_env(folder), start_new_session=True
            )
        self._number, self._read, self._answers = 0, b"", dict[int, dict[str, Any]]()
        self._session = ""
        try:
            target = self.send("Target.createTarget", url="about:blank")["targetId"]
            self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            self.send("Page.enable")
        except BaseException:
            self.end()
            raise

    def end(self) -> None:
        """Close it and wait until it is gone."""
        with suppress(BrowserGone, OSError):
            self._session = ""
            self.send("Browser.close", deadline_s=5)
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, 9)  # a process group of its own, begun above
            self.process.wait(timeout=10)
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with suppress(OSError):
                pipe.close()

    # --- what a person does and sees --------------------------------------------------------------------------------

    def open(self, url: str) -> None:
        """Type an address. Returns when the page stands there."""
        failed = self.send("Page.navigate", url=url).get("errorText")
        assert not failed, f"{url}: {failed}"
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'", f"{url} is there")

    @property
    def url(self) -> str:
        return str(self.run("location.href"))

    @property
    def text(self) -> str:
        """What can be read on the page."""
        return str(self.run("document.body.innerText"))

    def buttons(self) -> list[str]:
        return [str(name) for name in self.run("[...document.querySelectorAll('button')].map(b => b.innerText)")]

    def click(self, words: str) -> None:
        """Click the button or link with these words, in its middle, with the mouse."""
        # what is covered by something else is not found: the top element of the place has to be the one that is meant
        where = self.run(
            "(() => { for (const e of document.querySelectorAll('button, a')) {"
            f" if (e.innerText.trim() !== {json.dumps(words)}) continue;"
            " e.scrollIntoView({block: 'center'}); const r = e.getBoundingClientRect();"
            " const x = r.x + r.width / 2, y = r.y + r.height / 2;"
            " if (e.contains(document.elementFromPoint(x, y))) return [x, y]; } return null; })()"
        )
        assert where is not None, f"nothing to click says {words!r} at {self.url}: {self.text[:500]}"
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=where[0], y=where[1], button="left", clickCount=1)

    def until(self, condition: str, what: str, seconds: float = DEADLINE_S) -> None:
        """Wait until a JavaScript condition holds; ``what`` is said when it never does."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with suppress(LookupError):  # the page is being left
                if self.run(condition):
                    return
            time.sleep(0.02)  # between two looks at the condition
        raise AssertionError(f"not within {seconds:g} s: {what}; the page is {self.url}")

    def look(self, *, width: int = 1000, height: int = 700, dark: bool = False) -> None:
        """The size of the window in CSS pixels, and the scheme that the person prefers."""
        phone = width < 600
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])

    def picture(self, file: Path) -> None:
        """A PNG of the window as it is."""
        file.write_bytes(base64.b64decode(self.send("Page.captureScreenshot", format="png")["data"]))

    # --- the protocol -----------------------------------------------------------------------------------------------

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression in the page. Raises LookupError while the page is changing."""
        try:
            done = self.send("Runtime.evaluate", expression=script, returnByValue=True)
        except ValueError as error:
            raise LookupError(str(error)) from None
        if "exceptionDetails" in done:
            raise LookupError(done["exceptionDetails"].get("text", "") + str(done["result"].get("description", "")))
        return done["result"].get("value")

    def send(self, method: str, *, deadline_s: float = DEADLINE_S, **params: Any) -> dict[str, Any]:
        """One command and its result. Raises ValueError when it is refused, BrowserGone when nobody answers."""
        self._number += 1
        number = self._number
        to = {"sessionId": self._session} if self._session and not method.startswith(("Target.", "Browser.")) else {}
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps({"id": number, "method": method, "params": params, **to}).encode() + b"\0")
            self.process.stdin.flush()
        except OSError:
            raise self._gone(method) from None
        deadline = time.monotonic() + deadline_s
        while number not in self._answers:
            self._receive(deadline, method)
        answer = self._answers.pop(number)
        if "error" in answer:
            raise ValueError(f"{method}: {answer['error'].get('message')}")
        result: dict[str, Any] = answer["result"]
        return result

    def _receive(self, deadline: float, method: str) -> None:
        """Read once. Events are of no interest: conditions are asked for."""
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], max(0.0, deadline - time.monotonic()))
        chunk = os.read(self.process.stdout.fileno(), 1 << 16) if ready else b""
        if not chunk:
            raise self._gone(method)
        *whole, self._read = (self._read + chunk).split(b"\0")
        for message in map(json.loads, whole):
            if "id" in message:
                self._answers[message["id"]] = message

    def _gone(self, method: str) -> BrowserGone:
        return BrowserGone(f"no answer to {method}; the browser said:\n{self.log.read_text(errors='replace')[-2000:]}")


def _env(folder: Path) -> dict[str, str]:
    """Nothing of the person's own browser is read or written, and no proxy is asked."""
    own = {"HOME": str(folder), "XDG_CONFIG_HOME": str(folder / "config"), "XDG_CACHE_HOME": str(folder / "cache")}
    return {k: v for k, v in os.environ.items() if "proxy" not in k.lower()} | own

# ruff: noqa: INP001, S603  a script beside the package, which starts payonce
"""The pictures of the README, made from the running product: `make screenshots`. It starts ``payonce demo`` in a temporary
folder, signs in with the address that the demo prints, waits until a provider has degraded and its breaker has opened, and
photographs the dashboard as it is then, in light and dark: nothing is drawn, staged or touched up. About three minutes.

Written are docs/images/{overview,payment,providers}-{light,dark}.png, 1280 CSS pixels wide, and payments-phone-light.png. The
payment is one whose outcome was unknown until payonce asked the provider again. Pictures have a palette of 256 colours: the
255 most frequent ones, and each other one as the nearest of them."""

import argparse
import os
import re
import signal
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx2
from tests.blackbox.running import free_port
from tests.browser.chromium import Browser, BrowserGone, installed

HERE: Final = Path(__file__).resolve().parent.parent
PORT: Final = 8321  # it is seen in commands on the pages, so it is always the same where it is free
START_S: Final = 30.0
ILL_S: Final = 240.0  # the demo's own payments, a minute of health, and the time of a breaker to open
STILL_S: Final = 20.0
LOOK_EVERY_S: Final = 0.5
WIDTH: Final = 1280
PHONE: Final = 390
KILOBYTES_MAX: Final = 250
COLOURS: Final = 256
# What a payment's story must have to be the picture of one: few enough lines to be read, and an unknown outcome among them.
LINES_MAX: Final = 14
UNKNOWN: Final = "Unknown"
OK, FAILURE = 0, 1

# The pixels of a PNG as the browser sees them, as base64 of RGBA.
PIXELS: Final = """async png => {
  const picture = await createImageBitmap(await (await fetch("data:image/png;base64," + png)).blob());
  const canvas = new OffscreenCanvas(picture.width, picture.height), pen = canvas.getContext("2d");
  pen.drawImage(picture, 0, 0);
  const raw = pen.getImageData(0, 0, picture.width, picture.height).data;
  let text = "";
  for (let i = 0; i < raw.length; i += 32768) text += String.fromCharCode(...raw.subarray(i, i + 32768));
  return [picture.width, picture.height, btoa(text)];
}"""


class Trouble(Exception):
    """Why there are no pictures."""


class Demo:
    """The demo as a process, and what it has printed so far."""

    def __init__(self, folder: Path, port: int) -> None:
        self.log, self.url = folder / "demo.log", f"http://127.0.0.1:{port}"
        env = {k: v for k, v in os.environ.items() if not k.startswith(("PAYONCE_", "OTEL_"))}
        with self.log.open("wb") as log:
            command = [sys.executable, "-m", "payonce", "demo", "--port", str(port)]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=env, cwd=folder)

    def said(self, pattern: str, what: str, seconds: float) -> str:
        """Wait until it has printed something; the first group of it."""

        def there() -> re.Match[str] | None:
            return re.search(pattern, self.log.read_text(encoding="utf-8", errors="replace"))

        found: re.Match[str] = self.until(there, what, seconds)
        return found[1]

    def until(self, condition: Callable[[], Any], what: str, seconds: float) -> Any:
        """Wait until a condition holds; what it found. Raises Trouble when it never does, or when the demo ends."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if found := condition():
                return found
            if self.process.poll() is not None:
                raise Trouble(f"the demo ended: {self.log.read_text(encoding='utf-8', errors='replace')[-2000:]}")
            time.sleep(LOOK_EVERY_S)
        raise Trouble(f"not within {seconds:g} s: {what}")

    def end(self) -> None:
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()


@contextmanager
def demo(folder: Path) -> Iterator[Demo]:
    port = PORT if httpx_free(PORT) else free_port()
    running = Demo(folder, port)
    try:
        yield running
    finally:
        running.end()

# ruff: noqa: INP001, S603  a script beside the package, which starts payonce
"""The pictures of the README, made from the running product: `make screenshots`. It starts ``payonce demo`` in a temporary
folder, signs in with the address that the demo prints, waits until a provider has degraded and its breaker has opened, and
photographs the dashboard as it is then, in light and dark: nothing is drawn, staged or touched up. About three minutes.

Written are docs/images/{overview,payment,providers}-{light,dark}.png, 1280 CSS pixels wide, and phone-light.png. The payment is
one whose outcome was unknown until payonce asked the provider again. A picture has a palette of 256 colours: the most frequent
ones that differ, and each other one as the nearest of them."""

import argparse
import math
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
from tests.browser.chromium import Browser, BrowserGone, installed

HERE: Final = Path(__file__).resolve().parent.parent
PORT: Final = 8321  # the pages show it in their commands; the demo takes a free one where it is taken
START_S: Final = 60.0
SETTLED_S: Final = 180.0  # until the demo's first payments are all settled
ILL_S: Final = 120.0  # until a provider degrades
OPEN_S: Final = 75.0  # until its breaker is seen open
END_S: Final = 30.0
LOOK_EVERY_S: Final = 0.3
WIDTH: Final = 1280
PHONE: Final = (390, 844)
SCHEMES: Final = ("light", "dark")
# where the picture of a page ends: a little below this element
ENDS: Final = {"overview": "main .charts", "payment": "main .fall", "providers": "main .accounts", "phone": ""}
BELOW: Final = 14
HEIGHT: Final = 900  # of the window; a picture may be higher
HEIGHT_MAX: Final = 1600
KILOBYTES_MAX: Final = 250
COLOURS: Final = 256
ALIKE: Final = 48  # as ``far`` says it: 4 of 255 in each of red, green and blue, which nobody sees
# What makes a payment's story a good one to show: few enough lines to be read, and an unknown outcome among them.
LINES_MAX: Final = 14
UNKNOWN: Final = "Unknown"
OPEN: Final = "[...document.querySelectorAll('main .badge')].some(each => each.innerText.includes('Breaker open'))"
OK, FAILURE = 0, 1

# The pixels of a PNG as the browser sees them: width, height, and RGBA as base64.
PIXELS: Final = """async png => {
  const raw = Uint8Array.from(atob(png), each => each.charCodeAt(0));
  const picture = await createImageBitmap(new Blob([raw], {type: "image/png"}));
  const pen = new OffscreenCanvas(picture.width, picture.height).getContext("2d");
  pen.drawImage(picture, 0, 0);
  const pixels = pen.getImageData(0, 0, picture.width, picture.height).data, pieces = [];
  for (let i = 0; i < pixels.length; i += 30000) pieces.push(String.fromCharCode(...pixels.subarray(i, i + 30000)));
  return [picture.width, picture.height, btoa(pieces.join(""))];
}"""


class NoPicturesError(Exception):
    """Why there are no pictures; its text is for whoever asked for them."""


class Demo:
    """The demo as a process, and what it has printed so far."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / "demo.log"
        env = {k: v for k, v in os.environ.items() if not k.startswith(("PAYONCE_", "OTEL_"))}
        command = [sys.executable, "-u", "-m", "payonce", "demo", "--port", str(PORT)]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=env, cwd=folder)

    def said(self, pattern: str, what: str, seconds: float) -> str:
        """Wait until it has printed something; the first group of it."""
        found: re.Match[str] = self.until(lambda: re.search(pattern, self._text()), what, seconds)
        return found[1]

    def until(self, condition: Callable[[], Any], what: str, seconds: float) -> Any:
        """Wait until a condition holds; what it found. Raises NoPicturesError when it never does, or when the demo ends."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if found := condition():
                return found
            if self._process.poll() is not None:
                raise NoPicturesError(f"the demo ended: {self._text()[-2000:]}")
            time.sleep(LOOK_EVERY_S)
        raise NoPicturesError(f"not within {seconds:g} s: {what}")

    def end(self) -> None:
        """As Ctrl-C does it; its folder may be removed then."""
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(timeout=END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _text(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")


@contextmanager
def demo(folder: Path) -> Iterator[Demo]:
    running = Demo(folder)
    try:
        yield running
    finally:
        running.end()


def unknown_and_settled(api: httpx2.Client) -> str:
    """The id of the youngest payment that succeeded after nobody had known for a while. Raises NoPicturesError."""
    for payment in api.get("/payments", params={"status": "SUCCESS", "limit": 100}).raise_for_status().json()["data"]:
        story = api.get(f"/payments/{payment['transactionId']}/story").raise_for_status().json()
        outcomes = [line["call"]["outcome"] for line in story["lines"] if line["call"]]
        if UNKNOWN in outcomes and len(story["lines"]) <= LINES_MAX:
            return str(payment["transactionId"])
    raise NoPicturesError("no payment of the demo was unknown for a while and succeeded then")


# --- pictures ---------------------------------------------------------------------------------------------------------


def smaller(browser: Browser, png: bytes) -> bytes:
    """The same picture with a palette. Where it has more colours than that, rare ones become the nearest frequent one."""
    page = browser.page.context.new_page()
    try:
        width, height, text = page.evaluate(PIXELS, b64encode(png).decode())
    finally:
        page.close()
    pixels = memoryview(b64decode(text)).cast("I").tolist()  # each is one pixel: red in the lowest byte
    known = [colour for colour, _ in Counter(pixels).most_common()]
    palette = known if len(known) <= COLOURS else apart(known)
    index = {colour: n for n, colour in enumerate(palette)}
    index |= {colour: nearest(colour, palette) for colour in known if colour not in index}
    points = bytes(map(index.__getitem__, pixels))
    rows = b"".join(b"\0" + points[at : at + width] for at in range(0, width * height, width))
    head = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)  # PNG, third edition, 11.2.1: 8 bits, a palette
    parts = (
        (b"IHDR", head),
        (b"PLTE", b"".join(colour.to_bytes(4, sys.byteorder)[:3] for colour in palette)),
        (b"IDAT", zlib.compress(rows, 9)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, data) for kind, data in parts)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def apart(known: list[int]) -> list[int]:
    """The first colours that differ from each other: the many shades at the edges of letters leave room for a rare red."""
    found: list[int] = []
    for colour in known:
        if all(far(colour, other) > ALIKE for other in found):
            found.append(colour)
        if len(found) == COLOURS:
            break
    return found


def nearest(colour: int, palette: list[int]) -> int:
    """Which one of the palette is least far away."""
    return min(range(len(palette)), key=lambda n: far(colour, palette[n]))


def far(one: int, other: int) -> int:
    """The sum of the squares, over red, green and blue."""
    return sum(((one >> shift & 255) - (other >> shift & 255)) ** 2 for shift in (0, 8, 16))


class Camera:
    """Who takes the pictures, signed in."""

    def __init__(self, browser: Browser, at: str, folder: Path) -> None:
        self._browser, self._at, self._folder = browser, at, folder

    def take(self, name: str, path: str, scheme: str, *, size: tuple[int, int] = (WIDTH, HEIGHT), until: str = "true") -> None:
        """A page from its top, once a condition holds there. Raises NoPicturesError."""
        width, height = size
        self._browser.look(width=width, height=height, dark=scheme == "dark")
        self._browser.open(self._at + path)
        try:
            self._browser.until(until, f"{path} shows an open breaker", OPEN_S)
        except AssertionError as error:
            raise NoPicturesError(str(error)) from None
        if end := ENDS[name]:
            bottom = self._browser.run(f"document.querySelector({end!r}).getBoundingClientRect().bottom")
            height = min(HEIGHT_MAX, math.ceil(bottom) + BELOW)
            self._browser.look(width=width, height=height, dark=scheme == "dark")
        taken = self._browser.page.screenshot(animations="disabled")
        file = self._folder / f"{name}-{scheme}.png"
        small = smaller(self._browser, taken)
        if len(small) > KILOBYTES_MAX * 1000:
            raise NoPicturesError(f"{file.name} has {len(small) / 1000:.0f} kB: more than {KILOBYTES_MAX}")
        file.write_bytes(small)
        print(f"{file.name:22} {width} x {height}, {len(small) / 1000:.0f} kB", flush=True)


def pictures(running: Demo, browser: Browser, folder: Path) -> None:
    """Wait until there is something to see, and take all of them. Raises NoPicturesError."""
    ticket = running.said(r"see it +(http\S+ticket=\S+)", "the demo prints the address of its dashboard", START_S)
    key = running.said(r"PAYONCE_API_KEY=(sk_test_\S+)", "the demo prints a key", START_S)
    url = ticket.partition("/dashboard")[0]
    browser.fresh(width=WIDTH, height=HEIGHT)
    browser.open(ticket)
    print(f"payonce demo runs at {url}; signed in with the address that it printed", flush=True)
    running.said(r"(The server stays up)", "the demo's first payments are settled", SETTLED_S)
    patient = running.said(r"(\w+) degrades: it fails most calls", "a provider degrades", ILL_S)
    print(f"{patient} degrades; waiting for its breaker to open", flush=True)
    camera = Camera(browser, f"{url}/dashboard", folder)
    with httpx2.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=30, trust_env=False) as api:

        def opened() -> bool:
            said = api.get(f"/providers/{patient}").raise_for_status().json()["breaker"]
            return said is not None and said["state"] == "open"

        running.until(opened, f"the breaker of {patient} opens", OPEN_S)
        for name, path in (("overview", "/"), ("providers", "/providers")):
            for scheme in SCHEMES:
                camera.take(name, path, scheme, until=OPEN)
        camera.take("phone", "/", "light", size=PHONE, until=OPEN)
        payment = unknown_and_settled(api)
        for scheme in SCHEMES:
            camera.take("payment", f"/payments/{payment}", scheme)
    if browser.complaints:
        raise NoPicturesError(f"the browser complained: {browser.complaints[:3]}")


def main(arguments: list[str] | None = None) -> int:
    """Make the pictures and say so; 1 when it does not work, with the reason on standard error."""
    parser = argparse.ArgumentParser(prog="python -m tools.screenshots", description="Photograph the dashboard of the demo.")
    parser.add_argument("--into", type=Path, default=HERE / "docs" / "images", help="the folder (default: docs/images)")
    folder = parser.parse_args(arguments).into
    program = installed()
    if program is None:
        print("screenshots: no Chromium on this machine (set CHROMIUM to one). Nothing was written.", file=sys.stderr)
        return FAILURE
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(FAILURE))  # so that the demo ends too
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        try:
            browser = Browser(program, Path(name, "browser"))
            try:
                with demo(Path(name)) as running:
                    pictures(running, browser, folder)
            finally:
                browser.end()
        except (NoPicturesError, BrowserGone, httpx2.HTTPError) as error:
            print(f"screenshots: {error}", file=sys.stderr)
            return FAILURE
    return OK


if __name__ == "__main__":
    sys.exit(main())

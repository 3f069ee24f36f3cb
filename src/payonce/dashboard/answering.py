"""What goes back to a browser, and its headers."""

import hashlib
from typing import Final

from msgspec import Struct
from starlette.types import Send

from .incoming import Came

HTML: Final = b"text/html; charset=utf-8"
CSP: Final = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; "
    b"frame-ancestors 'none'; base-uri 'none'"
)
# same-origin and not no-referrer: with the latter a browser sends `Origin: null` with our own forms (Fetch standard, "append a
# request Origin header", read 2026-11), and then a foreign form looks like ours. No other site learns anything by either.
ALWAYS: Final = (
    (b"content-security-policy", CSP),
    (b"referrer-policy", b"same-origin"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-opener-policy", b"same-origin"),
)
NO_STORE: Final = (b"cache-control", b"no-store")
# a copy may be kept by this browser, and is asked about each time: polling is cheap then
ASKED_AGAIN: Final = ((b"cache-control", b"private, no-cache"), (b"vary", b"Cookie, HX-Request, HX-Target"))
FOR_EVER: Final = (b"cache-control", b"public, max-age=31536000, immutable")


class Sent(Struct, frozen=True):
    """A whole answer."""

    status: int
    body: bytes = b""
    media_type: bytes = HTML
    headers: tuple[tuple[bytes, bytes], ...] = (NO_STORE,)

    def plus(self, *headers: tuple[bytes, bytes]) -> "Sent":
        return Sent(self.status, self.body, self.media_type, (*self.headers, *headers))


async def give(sent: Sent, send: Send) -> None:
    headers = [*ALWAYS, *sent.headers]
    if sent.status not in (204, 304):
        headers += [(b"content-type", sent.media_type), (b"content-length", b"%d" % len(sent.body))]
    await send({"type": "http.response.start", "status": sent.status, "headers": headers})
    await send({"type": "http.response.body", "body": sent.body})


def see_other(base: str, path: str, *headers: tuple[bytes, bytes]) -> Sent:
    """Go on at a page of ours."""
    return Sent(303, headers=(NO_STORE, (b"location", (base + path).encode("ascii", "replace")), *headers))


def tagged(body: bytes, came: Came) -> Sent:
    """A page under its ETag, or the word that the browser has it."""
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = ((b"etag", etag.encode()), *ASKED_AGAIN)
    given = [each.strip().removeprefix("W/") for each in came.header(b"if-none-match").split(",")]
    return Sent(304, headers=headers) if etag in given else Sent(200, body, headers=headers)

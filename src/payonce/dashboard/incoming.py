"""One request of a browser: its cookies, its form, and whether it comes from a page of ours."""

import asyncio
import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from msgspec import Struct
from starlette.requests import ClientDisconnect
from starlette.types import Receive
from starlette.types import Scope as AsgiScope

from payonce.config import is_loopback
from payonce.core.actors import actor
from payonce.core.errors import Refused
from payonce.merchants.forwarded import FORWARDED

from .asking import Turned

MOUNT: Final = "/dashboard"
FORM_BYTES_MAX: Final = 262_144  # a routing file of 64 KiB, percent-encoded
FORM_S: Final = 10.0  # for a whole form
FIELDS_MAX: Final = 200
FORM_MEDIA: Final = "application/x-www-form-urlencoded"
FOREIGN: Final = {
    "code": "form_foreign",
    "title": "Not sent from a page of this dashboard",
    "detail": "The form carries no valid token of your session, or another site sent it.",
    "money": "Nothing was done; no money moved because of it.",
    "next": "Open the page again and send the form from there. If you did not send one, another page in your browser did.",
}
OWN_PATH: Final = re.compile(r"/[A-Za-z0-9._~!$&'()*+,;=:@%/?-]{0,500}")


class Came(Struct, frozen=True):
    """A request, and where the dashboard's own pages are. ``public_url``: where payonce is reached from outside, "" if not
    configured."""

    scope: AsgiScope
    receive: Receive
    public_url: str

    @property
    def method(self) -> str:
        return "GET" if self.scope["method"] == "HEAD" else str(self.scope["method"])

    @property
    def root(self) -> str:
        """Where payonce is mounted; empty at the top."""
        return str(self.scope.get("root_path", ""))

    @property
    def base(self) -> str:
        return self.root + MOUNT

    @property
    def path(self) -> str:
        """Below the dashboard; ``/`` is its first page."""
        return str(self.scope["path"]).removeprefix(self.base) or "/"

    @property
    def url(self) -> str:
        """Path and query below the dashboard, as they were sent."""
        query = self.scope.get("query_string", b"").decode("latin-1")
        raw = (self.scope.get("raw_path") or str(self.scope["path"]).encode()).decode("latin-1")
        return (raw.removeprefix(self.base) or "/") + (f"?{query}" if query else "")

    @property
    def request_id(self) -> str:
        return str(self.scope["payonce.request_id"])

    @property
    def address(self) -> str:
        client = self.scope.get("client")
        return str(client[0] or "") if client else ""

    def actor(self, who: str) -> str:
        return actor(who, self.address)

    def header(self, name: bytes) -> str:
        """The value under a lower-case name; "" where there is none, or more than one."""
        found = [value for key, value in self.scope["headers"] if key == name]
        return found[0].decode("latin-1").strip() if len(found) == 1 else ""

    def several(self, name: bytes) -> bool:
        return len([key for key, _ in self.scope["headers"] if key == name]) > 1

    @property
    def partial(self) -> bool:
        return self.header(b"hx-request") == "true"

    @property
    def region(self) -> str:
        """htmx names the target of an answer ``tag#id``."""
        return self.header(b"hx-target").partition("#")[2]

    @property
    def host(self) -> str:
        return self.header(b"host").lower()

    @property
    def secure(self) -> bool:
        """The browser speaks TLS: to us, or to what stands in front under the public address."""
        outside = urlsplit(self.public_url)
        through = outside.scheme == "https" and self.host == outside.netloc.lower()
        return through or str(self.scope.get("scheme")) == "https"

    @property
    def local(self) -> bool:
        """It comes from this machine, under a name of this machine, and not through a proxy on it (the door of the API looks at
        the same)."""
        if any(name in FORWARDED for name, _ in self.scope["headers"]):
            return False
        name = _name(self.host)
        return is_loopback(self.address or "localhost") and (is_loopback(name) or name.endswith(".localhost"))

    @property
    def api_url(self) -> str:
        """Where programs reach the API."""
        if self.public_url:
            return self.public_url.rstrip("/")
        host = self.host if re.fullmatch(r"[a-z0-9.:\[\]-]{1,255}", self.host) else "127.0.0.1:8080"
        return f"{self.scope.get('scheme', 'http')}://{host}{self.root}"

    def cookie(self, name: str) -> str:
        """Its value, "" where it is missing or stands there twice (somebody else's may be among them)."""
        pairs = [
            pair.partition("=")
            for key, raw in self.scope["headers"]
            if key == b"cookie"
            for pair in raw.decode("latin-1").split(";")  # by hand: one that is malformed, of another program here, spoils none
        ]
        values = [value.strip().strip('"') for each, _, value in pairs if each.strip() == name]
        return values[0] if len(values) == 1 else ""

    def query(self) -> dict[str, tuple[str, ...]]:
        """Every value of each name. Raises Refused ``validation_failed``."""
        return _fields(self.scope.get("query_string", b""), "query")

    async def form(self) -> dict[str, tuple[str, ...]]:
        """Every value of each field. Raises Refused for anything but a plain form of bearable size, and ClientDisconnect."""
        if self.header(b"content-type").partition(";")[0].strip().lower() != FORM_MEDIA:
            raise Refused("media_type_unsupported", f"A form comes as {FORM_MEDIA}.")
        raw = bytearray()
        try:
            async with asyncio.timeout(FORM_S):
                more = True
                while more:
                    message = await self.receive()
                    if message["type"] == "http.disconnect":
                        raise ClientDisconnect
                    raw += message.get("body", b"")
                    more = message.get("more_body", False)
                    if len(raw) > FORM_BYTES_MAX:
                        raise Refused("body_too_large", f"The form has more than {FORM_BYTES_MAX} bytes.")
        except TimeoutError:
            raise Refused("body_timeout", f"The form was not complete after {FORM_S:g} seconds.") from None
        return _fields(bytes(raw), "form")

    def require_own(self) -> None:
        """A page of ours sent it, as far as the browser tells. Raises Turned ``form_foreign``."""
        site, origin = self.header(b"sec-fetch-site"), self.header(b"origin")
        if self.several(b"sec-fetch-site") or self.several(b"origin") or site not in ("", "same-origin", "none"):
            raise Turned(403, FOREIGN)
        if origin and origin.lower() not in self._origins():
            raise Turned(403, FOREIGN)

    def _origins(self) -> tuple[str, ...]:
        mine = [f"{scheme}://{self.host}" for scheme in ("http", "https")] if self.host else []
        if self.public_url:
            parts = urlsplit(self.public_url)
            mine.append(f"{parts.scheme}://{parts.netloc}".lower())
        return tuple(mine)


def first(fields: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    return {name: values[0] for name, values in fields.items()}


def own_path(text: str) -> str:
    """A path below the dashboard to go on at; ``/`` for anything else, another site's address above all. Browsers take ``%2e``
    for a dot, also where it leads out of a folder (URL standard, "double-dot path segment", read 2026-11)."""
    if OWN_PATH.fullmatch(text) is None:
        return "/"
    path = unquote(text.partition("?")[0]).replace("\\", "/")
    climbs = any(part in (".", "..") for part in path.split("/"))
    return "/" if climbs or path.startswith(("//", "/sign-", "/theme", "/static/")) else text


def _fields(raw: bytes, what: str) -> dict[str, tuple[str, ...]]:
    try:
        pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=FIELDS_MAX)
    except ValueError:  # UnicodeDecodeError is one
        raise Refused(
            "validation_failed", f"The {what} must be percent-encoded UTF-8 with at most {FIELDS_MAX} fields."
        ) from None
    found: dict[str, tuple[str, ...]] = {}
    for name, value in pairs:
        found[name] = (*found.get(name, ()), value.replace("\r\n", "\n"))
    return found


def _name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""

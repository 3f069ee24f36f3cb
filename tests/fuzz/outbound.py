"""Webhooks that go out: the address that a merchant names, what a receiver answers, and the signature that a receiver checks
with our client. And cursors of the feed in DynamoDB."""

import contextlib
import ipaddress
import json

from payonce.client.webhooks import WebhookInvalid, verify_webhook
from payonce.core.errors import ConfigError, Refused, WebhookRefused
from payonce.outbound.guard import any_forbidden, public, read_allowed, target
from payonce.outbound.sending import retry_after_s
from payonce.outbound.signing import derived, headers, verify
from payonce.ports import Scope
from payonce.stores.dynamodb.feed import cursor_of, position

from .target import Target, require

NOW_US = 1_795_000_000_000_000
SECRET = derived(b"k" * 32, "whe_1", 1)
BODY = json.dumps({"id": "evt_1", "type": "payment.succeeded", "timestamp": "2026-11-26T00:00:00Z", "data": {}}).encode()
NOBODY = read_allowed("")
TEST = Scope("mer_default", "test")


def message(body: bytes = BODY) -> bytes:
    head = headers("evt_1", NOW_US, body, [SECRET])
    return "".join(f"{name}: {value}\n" for name, value in head.items()).encode() + b"\n" + body


def signed(data: bytes) -> None:
    """Only what was signed is taken, by us and by the client alike; anything else is refused, with the error that says so."""
    head, _, body = data.partition(b"\n\n")
    given = dict(line.partition(": ")[::2] for line in head.decode("latin-1").split("\n"))
    ours = theirs = True
    try:
        verify(given, body, [SECRET], NOW_US)
    except WebhookRefused:
        ours = False
    try:
        verify_webhook(given, body, SECRET, NOW_US / 1_000_000)
    except WebhookInvalid as error:
        theirs = "no event" in str(error)
    require(not ours or body == BODY, f"a changed body passed: {body[:200]!r}")
    require(not theirs or body == BODY, f"the client takes a changed body: {body[:200]!r}")


def address(data: bytes) -> None:
    """A URL that may be called, or refused. What may be called is https, without a user, and its host is no private address."""
    text = data.decode("utf-8", "replace")
    try:
        found = target(text, NOBODY)
    except Refused:
        return
    with contextlib.suppress(ValueError):
        require(public(ipaddress.ip_address(found.host.strip("[]"))), f"{text!r} leads to {found.host}")
    require(text.lower().startswith("https://"), f"{text!r} is not https")
    require("@" not in text.partition("://")[2].partition("/")[0], f"{text!r} has a user")
    for inner in ("127.0.0.1", "169.254.169.254", "::1", "10.0.0.1", "::ffff:10.0.0.1", "fe80::1"):
        require(any_forbidden(found.host, ["93.184.216.34", inner], NOBODY), f"{inner} is allowed for {found.host}")


def allowed(data: bytes) -> None:
    """An allow-list, or a ConfigError."""
    with contextlib.suppress(ConfigError):
        read_allowed(data.decode("utf-8", "replace"))


def pause(data: bytes) -> None:
    """Seconds, or nothing."""
    seconds = retry_after_s(data.decode("latin-1"), NOW_US)
    require(seconds is None or 0 <= seconds <= 10**7, f"{data!r} is {seconds} s")


def cursor(data: bytes) -> None:
    """A place in the feed, or refused with a ValueError."""
    with contextlib.suppress(ValueError):
        position(TEST, data.decode("latin-1"))


URLS = [b"https://shop.example/hook", b"https://127.0.0.1/", b"https://[::ffff:169.254.169.254]/x?y=1", b"https://0x7f.1/", b"http://a.example",
        "https://m\u00fcnchen.example:8443/\u00e4".encode(), b"https://user:pw@a.example/", b"https://2130706433/"]  # fmt: skip
PAUSES = [b"120", b"Thu, 26 Nov 2026 07:17:14 GMT", b"-1", b"1.5", b"99999999999999999999"]
CURSORS = [cursor_of(TEST, "", []).encode(), cursor_of(TEST, f"{NOW_US:018d}", []).encode(), b"e30"]

TARGETS = (
    Target("standard-webhooks", lambda: [message(), b"webhook-id: x\n\n{}"], signed, 60),
    Target("endpoint-url", lambda: list(URLS), address, 120),
    Target("allow-list", lambda: [b"127.0.0.1,localhost,10.1.0.0/16", b"", b"[::1]", b"*.example"], allowed, 40),
    Target("retry-after", lambda: list(PAUSES), pause, 60),
    Target("feed-cursor", lambda: list(CURSORS), cursor, 40),
)

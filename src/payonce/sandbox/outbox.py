"""Webhooks that the vendors have to send: announced in the same transaction in which something happened, sent later by the
courier, and never lost but on demand.

Who gets them is a setting of the ledger: what was put (``PUT /sandbox/webhooks``), else what the server beside the sandbox
registered for itself at its start. What is announced while a vendor has no endpoint is sent to nobody, as real vendors do.
"""

from collections.abc import Collection, Mapping
from ipaddress import ip_address
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from . import faults
from .deliveries import Delivery, Event
from .ledger import Ledger, rfc3339

PUT: Final = "webhooks"  # the endpoints that somebody put
OWN: Final = "webhooks own"  # those of the server beside the sandbox
DOUBLE_US: Final = 500_000  # the second copy of a webhook comes this much later
HELD_US: Final = 3_000_000  # one that is held back comes this much later, so that others overtake it

Url = Annotated[str, Meta(max_length=2000)]
Endpoints = dict[str, Annotated[list[Url], Meta(max_length=10)]]


def announce(ledger: Ledger, vendor: str, event_id: str, body: bytes, now_us: int) -> None:
    """Something happened at the vendor that it tells by webhook. ``body`` is sent as it is, each time. The fault profile
    decides now what will go wrong with it."""
    event = ledger.deliveries.announce(vendor, event_id, body, now_us)
    urls = endpoints(ledger).get(vendor, ())
    if not urls:
        return
    profile = faults.in_force(ledger, vendor)
    for url in urls:
        if faults.drawn(ledger, "webhook_lose", profile.webhook_lose_rate):
            ledger.deliveries.owe(event, url, now_us, state="lost", said="lost on demand")
            continue
        due_us = now_us + profile.webhook_delay_ms * 1000
        if faults.drawn(ledger, "webhook_reorder", profile.webhook_reorder_rate):
            due_us += HELD_US
        ledger.deliveries.owe(event, url, due_us)
        if faults.drawn(ledger, "webhook_double", profile.webhook_double_rate):
            ledger.deliveries.owe(event, url, due_us + DOUBLE_US)


def endpoints(ledger: Ledger) -> Endpoints:
    """Vendor -> where its webhooks go."""
    doc = ledger.setting(PUT) or ledger.setting(OWN)
    return msgspec.json.decode(doc, type=Endpoints) if doc else {}


def put_endpoints(ledger: Ledger, doc: bytes, vendors: Collection[str]) -> Endpoints:
    """Put the endpoints of every vendor as a whole, of any host. Raises ValueError for what is not a table of vendors with
    http(s) addresses, and changes nothing then."""
    try:
        wanted = msgspec.json.decode(doc, type=Endpoints)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f'{error}; wanted is {{"VENDOR": ["ADDRESS"]}}') from error
    for vendor, urls in wanted.items():
        if vendor not in vendors:
            raise ValueError(f"there is no vendor {vendor[:40]}; there are {', '.join(sorted(vendors))}")
        for url in urls:
            if not _http(url):
                raise ValueError(f"{vendor}: an endpoint must be an absolute http or https address without user and fragment")
    ledger.set_setting(PUT, msgspec.json.encode(wanted))
    return wanted


def forget_endpoints(ledger: Ledger) -> Endpoints:
    """Take back what was put: those of the server beside the sandbox count again."""
    ledger.forget_setting(PUT)
    return endpoints(ledger)


def register_own(ledger: Ledger, url: str, accounts: Mapping[str, str]) -> None:
    """The server at ``url`` beside the sandbox takes webhooks at /webhooks/ACCOUNT; ``accounts`` is account -> vendor.
    Counts where nobody put anything. Only on this machine: a server at another address has to be put. What is still owed to
    these accounts under the address of an earlier start goes to the new one. A transaction of its own."""
    own: Endpoints = {}
    if base := on_this_machine(url):
        for account, vendor in accounts.items():
            own.setdefault(vendor, []).append(f"{base}/webhooks/{account}")
    with ledger.transaction():
        doc = ledger.setting(OWN)
        before = [each for urls in (msgspec.json.decode(doc, type=Endpoints) if doc else {}).values() for each in urls]
        now = {urlsplit(each).path: each for urls in own.values() for each in urls}
        ledger.deliveries.move({old: now[path] for old in before if (path := urlsplit(old).path) in now})
        ledger.set_setting(OWN, msgspec.json.encode(own))


def on_this_machine(url: str) -> str:
    """The address by which this machine reaches a server of its own that said ``url``; empty when the host is another's."""
    at, host = urlsplit(url), urlsplit(url).hostname or ""
    if at.scheme not in ("http", "https"):
        return ""
    port = f":{at.port}" if at.port else ""
    if host == "localhost":
        return f"{at.scheme}://{host}{port}"
    try:
        address = ip_address(host)
    except ValueError:
        return ""
    if address.is_unspecified:  # bound to all addresses, this machine's own among them
        return f"{at.scheme}://{'127.0.0.1' if address.version == 4 else '[::1]'}{port}"
    shown = host if address.version == 4 else f"[{host}]"
    return f"{at.scheme}://{shown}{port}" if address.is_loopback else ""


def page(ledger: Ledger, after: int, limit: int) -> dict[str, Any]:
    """What was announced with a seq above ``after``, oldest first, and what became of each send."""
    found = ledger.deliveries.events(after, limit)
    shown = [_event(event, ledger.deliveries.of(event.seq)) for event in found]
    return {"events": shown, "next": found[-1].seq if found else after}


def _event(event: Event, deliveries: list[Delivery]) -> dict[str, Any]:
    return {
        "seq": event.seq,
        "vendor": event.vendor,
        "eventId": event.event_id,
        "at": rfc3339(event.at_us),
        "body": event.body.decode("utf-8", "replace"),
        "deliveries": [_delivery(each) for each in deliveries],
    }


def _delivery(delivery: Delivery) -> dict[str, Any]:
    shown: dict[str, Any] = {"endpoint": delivery.endpoint, "state": delivery.state, "sends": delivery.sends}
    if delivery.state == "due":
        shown["dueAt"] = rfc3339(delivery.due_us)
    if delivery.ended_us:
        shown["lastAt"] = rfc3339(delivery.ended_us)
    return shown | ({"said": delivery.said} if delivery.said else {})


def _http(url: str) -> bool:
    try:
        at = urlsplit(url)
        plain = url.isascii() and url.isprintable() and " " not in url and not at.fragment and "@" not in at.netloc
        return at.scheme in ("http", "https") and bool(at.hostname) and at.port != 0 and plain
    except ValueError:
        return False

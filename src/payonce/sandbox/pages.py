"""The page on which a customer approves or declines, as a bank's or a wallet's would be: plain HTML, two buttons, no script.

GET  /sandbox/pay/{vendor}/{number}   the payment, while it is open with two buttons; else what became of it
POST /sandbox/pay/{vendor}/{number}   decision=approve|decline; 303 to the merchant's return address, else to the page
GET  /sandbox/pay/style.css

``number`` is the id of the vendor's object in the ledger. Links are relative: the page works wherever it is mounted.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from functools import cache
from html import escape
from importlib.resources import files
from typing import Final
from urllib.parse import parse_qs, urlsplit

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from payonce.core.money import EXPONENTS, display
from payonce.ports import Clock

from .ledger import Ledger
from .outbox import on_this_machine
from .simulator import Acting, Simulator, Standing

PUBLIC_URL = "public_url"  # setting of the ledger: where people reach the sandbox, put by whoever serves it
NOWHERE = "http://localhost:8080"
FORM_BYTES_MAX: Final = 1024
# A browser applies form-action to the redirects after a form too, and those go to the merchant and on from there.
CSP: Final = "default-src 'none'; style-src 'self'; form-action 'self' http: https:; base-uri 'none'; frame-ancestors 'none'"
_HEADERS: Final = {
    "content-security-policy": CSP,
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


def page_url(ledger: Ledger, vendor: str, number: int) -> str:
    """Where the customer acts for one payment of a vendor. ``number`` is the id of its object in the ledger."""
    public = ledger.setting(PUBLIC_URL)
    return f"{public.decode() if public else NOWHERE}/sandbox/pay/{vendor}/{number}"


def serve_pages_at(ledger: Ledger, url: str) -> None:
    """From now on the addresses of pages begin with ``url``, where the caller serves the sandbox. A server that is bound to
    every address of the machine is reached at the loopback address. A transaction of its own."""
    with ledger.transaction():
        ledger.set_setting(PUBLIC_URL, (on_this_machine(url) or url.rstrip("/")).encode())


class PayPages:
    """The routes. ``books`` is one transaction of the ledger in which everything that was due has happened."""

    def __init__(
        self, ledger: Ledger, clock: Clock, vendors: Mapping[str, Simulator], books: Callable[[], AbstractContextManager[None]]
    ) -> None:
        self._ledger, self._clock, self._vendors, self._books = ledger, clock, vendors, books
        self.routes = [
            Route("/sandbox/pay/style.css", _style),
            Route("/sandbox/pay/{vendor}/{number}", self._pay, methods=["GET", "POST"]),
        ]

    async def _pay(self, request: Request) -> Response:
        vendor, digits = str(request.path_params["vendor"]), str(request.path_params["number"])
        known = digits.isascii() and digits.isdigit() and len(digits) <= 18
        number, acting = int(digits) if known else 0, _acting(self._vendors.get(vendor))
        decision = await _decision(request) if request.method == "POST" else ""
        if decision is None:
            return _html("No decision", "<p>The form must say approve or decline. Nothing was decided.</p>", 400)
        with self._books():
            standing = acting.standing(self._ledger, number) if acting else None
            if acting and standing and decision:
                acting.act(self._ledger, number, self._clock.now_us(), approve=decision == "approve")
        if standing is None:
            return _html("Unknown payment", "<p>There is no such payment here. Nothing was decided.</p>", 404)
        if not decision:
            title = "Approve a payment" if standing.open else "This payment is closed"
            return _html(title, "".join(_payment(vendor, standing)))
        back = standing.return_url if _web(standing.return_url) else digits
        return Response(status_code=303, headers={**_HEADERS, "location": back})


def _acting(vendor: Simulator | None) -> Acting | None:
    return vendor if vendor is not None and hasattr(vendor, "standing") and hasattr(vendor, "act") else None  # type: ignore[return-value]


async def _decision(request: Request) -> str | None:
    """``approve`` or ``decline``; None for a form that says anything else."""
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > FORM_BYTES_MAX:
                return None
    except ClientDisconnect:
        return None
    said = parse_qs(body.decode("latin-1")).get("decision", [])
    return said[0] if said in (["approve"], ["decline"]) else None


def _payment(vendor: str, standing: Standing) -> Iterator[str]:
    known = standing.currency in EXPONENTS
    amount = display(standing.amount_minor, standing.currency) if known else f"{standing.amount_minor} {standing.currency}"
    yield f"<dl><dt>Amount</dt><dd class='amount'>{escape(amount)}</dd>"
    yield f"<dt>Vendor</dt><dd>{escape(vendor)} (sandbox)</dd>"
    yield f"<dt>Reference</dt><dd><code>{escape(standing.reference)}</code></dd></dl>"
    if standing.open:
        yield "<form method='post'>"
        yield "<button name='decision' value='approve'>Approve</button>"
        yield "<button name='decision' value='decline' class='second'>Decline</button></form>"
        yield "<p class='soft'>No money moves: this is a simulated provider.</p>"
        return
    yield f"<p role='status'>Nothing is left to decide here. The payment is <strong>{escape(standing.says)}</strong>.</p>"
    if _web(standing.return_url):
        yield f"<p><a href='{escape(standing.return_url)}'>Back to the shop</a></p>"


def _web(url: str) -> bool:
    """An absolute http(s) address that fits into a header."""
    try:
        at = urlsplit(url)
        return at.scheme in ("http", "https") and bool(at.hostname) and url.isascii() and url.isprintable() and " " not in url
    except ValueError:
        return False


def _html(title: str, body: str, status: int = 200) -> Response:
    page = (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        f"<title>{escape(title)} - payonce sandbox</title>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        "<link rel='stylesheet' href='../style.css'></head>"
        f"<body><main><h1>{escape(title)}</h1>{body}</main></body></html>\n"
    )
    return Response(page, status, headers=_HEADERS, media_type="text/html")


async def _style(_: Request) -> Response:
    headers = {**_HEADERS, "cache-control": "no-cache"}
    return Response(_stylesheet(), headers=headers, media_type="text/css")


@cache
def _stylesheet() -> bytes:
    return files("payonce.sandbox").joinpath("style.css").read_bytes()

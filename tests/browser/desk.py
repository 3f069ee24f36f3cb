"""A desk to work at: `payonce serve` with a few payments of every kind, and a person who signs in at its dashboard."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

from tests.blackbox.running import Payonce, free_port, until

from .chromium import Browser

# What was posted, by its key: token, currency and what else there is to say.
POSTED: dict[str, dict[str, Any]] = {
    "plain": {"currency": "INR", "metadata": {"orderId": "A-1001", "note": "<b>bold</b>"}},
    "declined": {"currency": "USD", "method": "tok_decline_insufficient_funds"},
    "over": {"currency": "INR", "method": "tok_technical_then_ok", "metadata": {"cart": "C-7"}},
    "lost": {"currency": "INR", "method": "tok_lost_response", "metadata": {"cart": "C-7"}},
    "doubt": {"currency": "EUR", "method": "tok_wrong_amount"},
    "held": {"currency": "USD", "captureMethod": "manual", "provider": "stripe_mock"},
    "acting": {"currency": "INR", "method": "tok_action", "provider": "mock"},
    "yen": {"currency": "JPY", "amount": 1999, "clientId": '"><script>alert(1)</script>'},
}
ENDS = {
    "plain": "SUCCESS",
    "declined": "FAILED",
    "over": "SUCCESS",
    "lost": "SUCCESS",
    "doubt": "IN_DOUBT",
    "held": "AUTHORIZED",
}
ENDS |= {"acting": "REQUIRES_ACTION", "yen": "SUCCESS"}


class Desk:
    """The server and the ids of its payments, by key."""

    def __init__(self, server: Payonce) -> None:
        self.server, self.ids = server, dict[str, str]()
        self._sessions: dict[tuple[str, ...], Any] = {}
        self.at = f"{server.url}/dashboard"

    def fill(self) -> None:
        """Post everything, with a merchant's endpoint that nobody answers at, and wait until each is where it will be."""
        with httpx2.Client(base_url=self.server.url, timeout=10) as api:
            made = api.post("/webhook-endpoints", json={"url": f"http://127.0.0.1:{free_port()}/hooks"})
            assert made.status_code == 201, made.text
            api.post(f"/webhook-endpoints/{made.json()['id']}/test").raise_for_status()  # others count from five seconds on
        self.ids = {key: self.server.post(key, **wish) for key, wish in POSTED.items()}
        for key, status in ENDS.items():
            self.server.ends_as(self.ids[key], status, 60)
        self.ids["hook"] = self._first("/inbox")
        self.ids["delivery"] = self._first("/webhook-deliveries")

    def _first(self, path: str) -> str:
        """The id of the newest one of a list, once there is one."""
        found = until(lambda: httpx2.get(f"{self.server.url}{path}", timeout=10).json()["data"], f"{path} has one")
        return str(found[0]["id"])

    def ticket(self, *scopes: str) -> str:
        """A fresh address that signs in."""
        asked = [word for scope in scopes for word in ("--scope", scope)]
        done = self.server.cli("dashboard", "--at", self.server.url, *asked)
        assert done.returncode == 0, done.stderr
        return done.stdout.split()[0]

    def sign_in(self, browser: Browser, *scopes: str) -> None:
        """Open the address as a person does, in the window as it is."""
        browser.open(self.ticket(*scopes))
        assert browser.url.startswith(f"{self.at}"), browser.url
        assert "sign-in" not in browser.url, browser.text

    def enter(self, browser: Browser, *scopes: str, **eyes: Any) -> None:
        """A fresh window, in which somebody with these scopes (none: an admin) is signed in already. ``eyes``: as ``fresh``
        takes them, else a desk's."""
        page = browser.fresh(**{"width": 1280, "height": 900, **eyes})
        if scopes in self._sessions:
            page.context.add_cookies(self._sessions[scopes])
        else:
            self.sign_in(browser, *scopes)
            self._sessions[scopes] = page.context.cookies()

    def paid(self, key: str, status: str = "SUCCESS", **wish: Any) -> str:
        """One more payment, which has come to this status; its id."""
        self.ids[key] = self.server.post(key, **wish)
        self.server.ends_as(self.ids[key], status)
        return self.ids[key]

    def reference(self, key: str) -> str:
        """The provider's id of a payment's charge."""
        return str(self.server.get(self.ids[key])["providerRef"])

    def history(self, key: str) -> str:
        return str(self.server.history(self.ids[key]))

    def provider_of(self, key: str) -> str:
        return str(self.server.get(self.ids[key])["provider"])


@contextmanager
def open_desk(folder: Path) -> Iterator[Desk]:
    """On a free port, until the block ends."""
    server = Payonce(folder / "data", toml='version = 1\n[webhooks]\nallow_hosts = "127.0.0.1"\n')
    try:
        server.start()
        desk = Desk(server)
        desk.fill()
        yield desk
    finally:
        server.end()


def keep(browser: Browser, name: str) -> None:
    """A picture of the whole page for a person to look at, where one is wanted (PICTURES=DIR)."""
    if folder := os.environ.get("PICTURES"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        browser.picture(Path(folder) / f"{re.sub(r'[^A-Za-z0-9-]+', '_', name)}.png", whole=True)


def money_of(url: str, payment_id: str) -> tuple[str, int, int]:
    """Status, captured and refunded of a payment, as the API says."""
    p = httpx2.get(f"{url}/payments/{payment_id}", timeout=10).json()
    return p["status"], p["captured"], p["refunded"]


def comes_to(desk: Desk, key: str, wanted: tuple[str, int, int], seconds: float = 30) -> None:
    """Wait until the API says so of a payment."""
    until(lambda: money_of(desk.server.url, desk.ids[key]) == wanted, f"{key} is {wanted}", seconds)

"""A customer in a real browser: `payonce serve` as a process, the sandbox's page, two buttons, and the way back to the shop.

Needs a Chromium (or CHROMIUM=/path/to/it); without one the tests are skipped and say so. PICTURES=DIR keeps screenshots.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.blackbox.running import Payonce, until

from .chromium import Browser, installed
from .shop import ORDER, Shop, open_shop

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(installed() is None, reason="no Chromium on this machine (set CHROMIUM to one)"),
]

ACCOUNTS = ("mock", "stripe_mock", "razorpay_mock", "cashfree_mock", "payu_mock")
EXPIRES_S = 60  # the shortest that payonce takes
Left = dict[str, tuple[str, str]]  # account -> a payment and its page


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    with open_shop() as shop:
        yield shop


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Payonce]:
    """`payonce serve` with the shipped defaults: an account for each vendor of the sandbox."""
    server = Payonce(tmp_path_factory.mktemp("serve") / "data")
    try:
        server.start()
        yield server
    finally:
        server.end()


@pytest.fixture(scope="module", autouse=True)
def left_alone(server: Payonce, shop: Shop) -> Left:
    """Payments whose customers do not come in time; asked for first, so that the other tests use the minute."""
    waiting = {a: asked(server, shop, a, f"left-{a}", actionExpiresIn=EXPIRES_S) for a in ACCOUNTS}
    return {a: (p["transactionId"], p["nextAction"]["url"]) for a, p in waiting.items()}


@pytest.fixture(autouse=True)
def plain_window(browser: Browser) -> None:
    browser.look()


def asked(server: Payonce, shop: Shop, account: str, key: str, **more: Any) -> dict[str, Any]:
    """A payment that waits for its customer, with where he goes."""
    id = server.post(key, currency="INR", method="tok_action", provider=account, returnUrl=shop.back, **more)
    return server.ends_as(id, "REQUIRES_ACTION")


def taken(server: Payonce, payment_id: str) -> int:
    """Minor units that the provider's own books say were taken for it and not given back."""
    signs = {"charge": 1, "capture": 1, "refund": -1}
    return sum(signs.get(m["kind"], 0) * m["amount"] for m in movements(server, payment_id))


def movements(server: Payonce, payment_id: str) -> list[dict[str, Any]]:
    """What the provider's own books say of a payment: the outside witness."""
    return [m for m in server.ledger() if m["reference"].startswith(payment_id.removeprefix("pay_"))]


def keep(browser: Browser, name: str) -> None:
    """A picture for a person to look at, where one is wanted."""
    if folder := os.environ.get("PICTURES"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        browser.picture(Path(folder) / f"{name}.png")


@pytest.mark.parametrize("account", ACCOUNTS)
def test_a_customer_approves(account: str, server: Payonce, shop: Shop, browser: Browser) -> None:
    """The page shows amount and two buttons; Approve leads to the shop with the payment's id, which becomes SUCCESS."""
    waiting = asked(server, shop, account, f"approve-{account}")
    assert (waiting["nextAction"]["type"], taken(server, waiting["transactionId"])) == ("redirect", 0)
    browser.open(waiting["nextAction"]["url"])
    assert "10.50 INR" in browser.text
    assert browser.buttons() == ["Approve", "Decline"]
    keep(browser, f"{account}-asks")
    browser.click("Approve")
    arrives(browser, shop, waiting["transactionId"])
    paid = server.ends_as(waiting["transactionId"], "SUCCESS")
    assert (paid["captured"], paid["nextAction"], taken(server, paid["transactionId"])) == (1050, None, 1050)


@pytest.mark.parametrize("account", ACCOUNTS)
def test_a_customer_declines(account: str, server: Payonce, shop: Shop, browser: Browser) -> None:
    """Decline leads to the shop as well, and the payment becomes FAILED; nothing was taken."""
    waiting = asked(server, shop, account, f"decline-{account}")
    browser.open(waiting["nextAction"]["url"])
    browser.click("Decline")
    arrives(browser, shop, waiting["transactionId"])
    failed = server.ends_as(waiting["transactionId"], "FAILED", 60)
    assert (failed["captured"], failed["lastError"]["code"]) == (0, "authentication_failed")
    assert taken(server, failed["transactionId"]) == 0


def arrives(browser: Browser, shop: Shop, payment_id: str) -> None:
    """The browser stands at the shop, with the shop's own query and the payment's id."""
    browser.until(f"location.href.startsWith('{shop.url}/')", "the customer is back at the shop")
    browser.until("document.readyState === 'complete'", "the shop answered")
    assert "Thank you" in browser.text
    assert shop.arrived[-1] == {"order": [ORDER], "transactionId": [payment_id]}


def test_a_second_look_at_the_page_decides_nothing(server: Payonce, shop: Shop, browser: Browser) -> None:
    """Who goes back to the page after Approve finds no buttons, and a way to the shop; one charge was made."""
    waiting = asked(server, shop, "mock", "twice")
    page = waiting["nextAction"]["url"]
    browser.open(page)
    browser.click("Approve")
    arrives(browser, shop, waiting["transactionId"])
    browser.open(page)
    assert browser.buttons() == []
    assert "Nothing is left to decide here" in browser.text
    keep(browser, "decided")
    browser.click("Back to the shop")
    arrives(browser, shop, waiting["transactionId"])
    server.ends_as(waiting["transactionId"], "SUCCESS")
    assert taken(server, waiting["transactionId"]) == 1050


def test_two_windows_with_one_payment(server: Payonce, shop: Shop, browser: Browser) -> None:
    """A window that was left open offers a decision that another one has made: the first stands, nothing is taken."""
    waiting = asked(server, shop, "stripe_mock", "two-windows")
    browser.open(waiting["nextAction"]["url"])
    other = httpx2.post(waiting["nextAction"]["url"], data={"decision": "decline"}, timeout=10)
    assert other.status_code == 303
    browser.click("Approve")
    arrives(browser, shop, waiting["transactionId"])
    assert server.ends_as(waiting["transactionId"], "FAILED", 60)["captured"] == 0
    assert taken(server, waiting["transactionId"]) == 0


@pytest.mark.parametrize("window", ["light", "dark", "phone"])
def test_the_page_fits(window: str, server: Payonce, shop: Shop, browser: Browser) -> None:
    """Light, dark and on a phone: all of it is in the window, buttons are large enough to hit, and the scheme is followed."""
    waiting = asked(server, shop, "razorpay_mock", f"fits-{window}", description="A shop's description")
    dark = window == "dark"
    browser.look(width=360 if window == "phone" else 1000, height=640, dark=dark)
    browser.open(waiting["nextAction"]["url"])
    keep(browser, window)
    assert browser.run("document.documentElement.scrollWidth <= innerWidth")
    assert browser.run("[...document.querySelectorAll('button')].every(b => b.getBoundingClientRect().bottom <= innerHeight)")
    assert browser.run("[...document.querySelectorAll('button')].every(b => b.offsetHeight >= 44 && b.offsetWidth >= 100)")
    light = browser.run("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).every(part => part > 127)")
    assert light is not dark
    browser.click("Approve")
    arrives(browser, shop, waiting["transactionId"])


def test_the_keyboard_is_enough(server: Payonce, shop: Shop, browser: Browser) -> None:
    """Tab reaches Approve first, with a visible ring, and Enter approves."""
    waiting = asked(server, shop, "mock", "keyboard")
    browser.open(waiting["nextAction"]["url"])
    browser.press("Tab")
    assert browser.run("document.activeElement.innerText") == "Approve"
    assert browser.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    keep(browser, "keyboard")
    browser.press("Enter")
    arrives(browser, shop, waiting["transactionId"])
    server.ends_as(waiting["transactionId"], "SUCCESS")


@pytest.mark.parametrize("account", ["mock", "stripe_mock", "cashfree_mock"])
def test_a_customer_comes_too_late(account: str, left_alone: Left, server: Payonce, browser: Browser) -> None:
    """After the end of the action the payment is CANCELED, the page has no buttons, and nothing was taken."""
    id, page = left_alone[account]
    gone = server.ends_as(id, "CANCELED", EXPIRES_S + 30)
    assert (gone["captured"], gone["nextAction"]) == (0, None)
    browser.open(page)
    assert browser.buttons() == []
    assert "Nothing is left to decide here" in browser.text
    keep(browser, f"{account}-late")
    assert taken(server, id) == 0


def test_a_late_hold_is_not_taken(left_alone: Left, server: Payonce, shop: Shop, browser: Browser) -> None:
    """Razorpay cannot close a payment, but takes nothing without our capture: who approves too late is shown as held there,
    the payment stays CANCELED, and the hold is never captured."""
    id, page = left_alone["razorpay_mock"]
    server.ends_as(id, "CANCELED", EXPIRES_S + 30)
    browser.open(page)
    browser.click("Approve")
    arrives(browser, shop, id)
    assert [m["kind"] for m in movements(server, id)] == ["authorize"]
    until(lambda: "Authorized" in str(server.history(id)), "payonce has seen the late hold")
    assert (server.get(id)["status"], taken(server, id)) == ("CANCELED", 0)


def test_a_vendor_that_takes_late_customers(left_alone: Left, server: Payonce, shop: Shop, browser: Browser) -> None:
    """PayU neither closes a payment nor says that it ran out: after its time it is never called canceled, and a customer who
    approves late has paid, once."""
    id, page = left_alone["payu_mock"]
    until(lambda: server.get(id)["nextAction"] is None, "the time of the action is over", EXPIRES_S + 30)
    assert server.get(id)["status"] in ("REQUIRES_ACTION", "IN_DOUBT")
    browser.open(page)
    browser.click("Approve")
    arrives(browser, shop, id)
    assert (server.ends_as(id, "SUCCESS")["captured"], taken(server, id)) == (1050, 1050)

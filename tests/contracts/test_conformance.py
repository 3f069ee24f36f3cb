"""The live conformance suite against the sandbox: every adapter passes, and a vendor that lies is told of."""

import asyncio
import itertools
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from msgspec.structs import replace

from payonce.accounts import SANDBOX_TERMS, SANDBOX_URL
from payonce.adapter import NextAction
from payonce.dispatch import Account
from payonce.ports import Lost, Response
from payonce.providers import load_adapters
from payonce.sandbox import faults
from payonce.sandbox.server import Sandbox, sandbox_app
from payonce.testing.conformance import Finding, Vendor, Wanted, Webhook, conform, told
from payonce.testing.conformance_steps import Suite
from payonce.testing.provider_live import FakeClock
from payonce.transport import HttpTransport

GOOD, BAD = "tok_ok", "tok_decline_do_not_honor"
PAYS = "a good payment method takes the money once"
AGAIN = "the same charge again takes nothing more"
REFUNDS = "a part is given back"


class Lying:
    """A transport at whose end somebody changes what is answered: ``lie(method, path, document)`` gives another document."""

    def __init__(self, inner: HttpTransport, lie: Callable[[str, str, Any], Any]) -> None:
        self.inner, self.lie = inner, lie

    async def send(self, request: Any, *args: Any, **more: Any) -> Response | Lost:
        reply = await self.inner.send(request, *args, **more)
        if isinstance(reply, Lost):
            return reply
        changed = self.lie(request.method, request.path, json.loads(reply.body))
        return replace(reply, body=json.dumps(changed).encode())

    async def close(self) -> None:
        await self.inner.close()


def account(name: str, url: str = SANDBOX_URL) -> Account:
    adapter = load_adapters()[name]
    return Account(
        name=name,
        adapter=adapter,
        mode="test",
        base_url=f"{url}/{name}",
        credential_id="",
        credentials=adapter.credentials_of(adapter.SANDBOX_CREDENTIALS),
        terms=replace(adapter.CAPABILITIES.terms, **SANDBOX_TERMS),
    )


@contextmanager
def sandbox(clock: FakeClock, profile: dict[str, Any] | None = None) -> Iterator[Sandbox]:
    made = sandbox_app(":memory:", clock)
    with made.ledger.transaction():
        faults.set_profile(made.ledger, json.dumps(profile or {}).encode())
    yield made
    made.close()


def check(
    name: str, *, profile: dict[str, Any] | None = None, lie: Callable[[str, str, Any], Any] | None = None,
    act: Callable[[Sandbox, NextAction], None] | None = None, url: str = SANDBOX_URL, **wanted: Any,
) -> dict[str, Finding]:  # fmt: skip
    """Run the suite; the findings by the name of their step."""

    async def run() -> list[Finding]:
        clock, numbers = FakeClock(), itertools.count(1)
        with sandbox(clock, profile) as books:
            plain = HttpTransport(clock, {SANDBOX_URL: books})
            values: dict[str, Any] = {"amount_minor": 1000, "currency": "INR", "token": GOOD, "decline_token": BAD}
            asked = Wanted(**(values | wanted))
            vendor = Vendor(
                account(name, url),
                Lying(plain, lie) if lie else plain,
                clock,
                asked,
                bits=lambda: next(numbers) * 4_999,
                send_customer=lambda action: act(books, action) if act else None,
            )
            try:
                return await conform(vendor, Suite(vendor).plan, lambda _: None)
            finally:
                await plain.close()

    found = asyncio.run(run())
    return {f.step: f for f in found}


def failed(found: dict[str, Finding]) -> dict[str, str]:
    return {name: f.concluded for name, f in found.items() if f.state == "fail"}


@pytest.mark.parametrize("name", sorted(load_adapters()))
@pytest.mark.parametrize("currency", ["INR", "JPY", "KWD"])
def test_every_adapter_agrees_with_its_vendor(name: str, currency: str) -> None:
    """Nothing fails at the sandbox, in currencies with two, no and three places; what is able to pay and refund did."""
    taken = load_adapters()[name].CAPABILITIES.currencies
    if taken is not None and currency not in taken:
        pytest.skip(f"{name} does not take {currency}")
    found = check(name, currency=currency)
    assert failed(found) == {}
    assert {found[step].state for step in (PAYS, REFUNDS, "a bad payment method is declined in known words")} == {"pass"}
    assert all(f.asked for f in found.values() if f.state == "pass")


@pytest.mark.parametrize("name", sorted(load_adapters()))
def test_late_lookups_are_waited_for(name: str) -> None:
    """A vendor whose lookups lag behind, and whose refunds are pending first, is no failure."""
    found = check(name, profile={"lookupLagMs": 3000, "refunds": "pending"})
    assert failed(found) == {}
    assert found[PAYS].state == "pass"


def test_without_tokens_nothing_is_paid() -> None:
    """What cannot be tried is skipped, and says what is missing."""
    found = check("cashfree", token="", decline_token="")
    assert failed(found) == {}
    assert "--token" in found[PAYS].concluded
    assert "--decline-token" in found["a bad payment method is declined in known words"].concluded
    assert found[REFUNDS].concluded == "nothing was paid before"
    assert found["a container is made under our reference"].state == "pass"


def test_a_forgotten_key_is_seen() -> None:
    """A vendor that charges again under the same key fails the step that says so, with both charges."""
    problems = failed(check("mock", profile={"keyWindowS": 1, "latencyMs": 2000}))
    assert "taken twice, as ch_000000000001 and as ch_000000000002" in problems[AGAIN]
    assert "by hand" in problems[AGAIN]


def test_another_amount_is_seen() -> None:
    """More money than was asked for: what was taken and what was asked stand side by side."""
    problems = failed(check("mock", token="tok_wrong_amount"))
    assert "amount_minor is 1100, not 1000" in problems[PAYS]


def test_a_decline_that_is_none_is_seen() -> None:
    """A token that should be declined and is charged fails."""
    problems = failed(check("razorpay", decline_token=GOOD))
    assert "should have been declined, and is Captured" in problems["a bad payment method is declined in known words"]


def test_a_void_that_releases_nothing_is_seen() -> None:
    """The answer to the void is believed only when a read shows the hold gone."""

    def still_held(method: str, path: str, doc: Any) -> Any:
        if method == "GET" and isinstance(doc.get("data"), list):
            return doc | {"data": [c | ({"status": "authorized"} if c["status"] == "voided" else {}) for c in doc["data"]]}
        return doc

    problems = failed(check("mock", lie=still_held, wait_s=5))
    assert "a read still shows Authorized" in problems["a hold is voided"]


def test_a_refund_of_another_amount_is_seen() -> None:
    """The vendor says that it gave back another amount."""

    def doubled(method: str, path: str, doc: Any) -> Any:
        return doc | {"amount": doc["amount"] * 2} if path.endswith("/refunds") and "amount" in doc else doc

    problems = failed(check("mock", lie=doubled))
    assert "5.00 INR under" in problems[REFUNDS]
    assert "amount_minor 1000" in problems[REFUNDS]


def test_a_charge_that_is_not_listed_is_seen() -> None:
    """Reconciliation would not find it."""

    def empty(method: str, path: str, doc: Any) -> Any:
        return doc | {"items": []} if path.startswith("/payments?") else doc

    problems = failed(check("razorpay", lie=empty, wait_s=5))
    assert "0 charges on 1 pages are listed without it" in problems["a listing of these minutes has the charge"]


def test_a_container_that_is_not_found_is_seen() -> None:
    """A lost create could not be looked up."""

    def nothing(method: str, path: str, doc: Any) -> Any:
        return doc | {"items": [], "count": 0} if path.startswith("/orders?") else doc

    problems = failed(check("razorpay", lie=nothing, wait_s=5))
    assert "its reference shows Absent" in problems["our reference finds the container"]


def test_a_vendor_that_answers_nothing_but_errors_fails() -> None:
    """Every step that asks says what came; nothing is believed."""
    found = check("mock", profile={"errorRate": 1.0}, wait_s=1)
    assert {f.state for f in found.values()} == {"fail", "skipped"}
    assert "credentials" in found["an unused reference shows nothing"].concluded
    assert "HTTP 500" in found["an unused reference shows nothing"].asked[0]


def test_an_unreachable_vendor_is_no_finding() -> None:
    """Nothing could be sent: that is said instead of a list of failures."""
    with pytest.raises(ConnectionError, match="cannot be reached"):
        check("mock", url="http://127.0.0.1:9")


def test_a_customer_is_sent_to_act() -> None:
    """An action is told to whoever runs the check, once; when he approves, the charge is there."""
    sent: list[NextAction] = []

    def approve(books: Sandbox, action: NextAction) -> None:
        sent.append(action)
        vendor: Any = books.vendors["mock"]
        with books.ledger.transaction():
            vendor.act(books.ledger, int(action.url.rpartition("/")[2]), books.clock.now_us(), approve=True)

    found = check("mock", token="tok_action", act=approve)
    assert found[PAYS].state == "pass"
    assert len(sent) == len({each.url for each in sent})
    assert all(each.url not in f.concluded for each in sent for f in found.values())


def test_a_customer_who_does_not_act_fails_the_step() -> None:
    """The check waits as long as it was told, and says what to do."""
    assert "give a longer --wait, and act" in failed(check("mock", token="tok_action", wait_s=10))[PAYS]


def test_a_webhook_of_a_file_is_verified() -> None:
    """A genuine one passes and is named; one that was changed, or is too old, fails."""
    simulator: Any = load_adapters() and sandbox_app(":memory:", FakeClock()).vendors["mock"]
    at_us = FakeClock().now_us()
    body = json.dumps({"id": "evt_1", "type": "charge.succeeded", "data": {"id": "ch_1", "reference": "r" * 24}}).encode()
    headers = simulator.sign_webhook(body, at_us)
    step = "a webhook is verified, and a changed one refused"
    adapter: Any = load_adapters()["mock"]
    adapter.parse_webhook(headers, body)
    for came, state in (
        (Webhook(headers=headers, body=body, at_us=at_us), "pass"),
        (Webhook(headers=headers, body=body + b" ", at_us=at_us), "fail"),
        (Webhook(headers=headers, body=body, at_us=at_us + 3_600_000_000), "fail"),
    ):
        finding = check("mock", token="", decline_token="", webhook=came)[step]
        assert finding.state == state, finding
        assert state == "fail" or "evt_1" in finding.concluded
    assert told(load_adapters()["mock"].DECLINES["stolen_card"]).startswith("Declined (code stolen_card")

"""The payments whose cost is counted: each case plays out on the ground and says what it took."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final
from urllib.parse import urlsplit

from msgspec import Struct

from payonce.aws.sweeper import Sent, sweep
from payonce.ports import Change
from payonce.testing.amazon.values import item_size

from .ground import MINUTE_US, Ground, Usage, ground, require

INDEX_ENTRY: Final = 100  # bytes that AWS adds to each item and index entry for storage


class Case(Struct, frozen=True, kw_only=True):
    """One row of the table. ``changes``: what it wrote to payments. ``stored``: bytes that stay, as AWS charges them."""

    name: str
    used: Usage
    changes: tuple[Change, ...] = ()
    stored: int = 0


Play = Callable[[Ground], Awaitable[str]]


async def plain(provider: str, token: str = "tok_ok") -> Case:  # noqa: S107
    """One payment on an empty deployment, until it rests."""
    async with ground() as g:
        payment_id = await g.pay("order-1001", token, provider)
        used = g.used()
        found = (await g.get(f"/payments/{payment_id}")).body
        require(found["status"] == "SUCCESS", str(found))
        return Case(name="", used=used, changes=tuple(g.changes), stored=stored(g))


async def duplicate() -> Usage:
    """The same request again, when the payment has settled."""
    async with ground() as g:
        await g.pay("order-1001", provider="mock")
        before = g.used()
        await g.pay("order-1001", provider="mock")
        return g.used().since(before)


async def looked_at() -> Usage:
    """GET of one payment."""
    async with ground() as g:
        payment_id = await g.pay("order-1001", provider="mock")
        before = g.used()
        await g.get(f"/payments/{payment_id}")
        return g.used().since(before)


async def listed() -> Usage:
    """A page of 20 payments, of twice as many."""
    async with ground() as g:
        for n in range(40):
            await g.pay(f"order-{n}", provider="mock")
        before = g.used()
        page = (await g.get("/payments?limit=20")).body
        require(len(page["data"]) == 20, str(page))
        return g.used().since(before)


async def failover() -> tuple[Usage, Usage]:
    """The first account has a fault: until the second one has succeeded, and the days for which the first is watched."""
    async with ground() as g:
        payment_id = await g.pay("order-1001", "tok_technical_then_ok", within_s=2)
        p = g.changes[-1].payment
        require((p.status, [a.account for a in p.attempts]) == ("SUCCESS", ["razorpay_mock", "mock"]), p.status)
        used = g.used()
        await g.rest(payment_id)
        return used, g.used().since(used)


async def refund() -> tuple[Usage, Usage]:
    """A refund of a payment that has settled: until it is done, and the looks of the days after it."""
    async with ground() as g:
        payment_id = await g.pay("order-1001", provider="mock")
        before = g.used()
        await g.post(f"/payments/{payment_id}/refunds", {"amount": 250}, {"idempotency-key": "refund-7"})
        await g.settle()
        p = g.changes[-1].payment
        require(p.operations[-1].state == "SUCCEEDED", str(p.operations))
        done = g.used()
        await g.rest(payment_id)
        return done.since(before), g.used().since(done)


async def webhook() -> Usage:
    """What a provider tells of a payment that is known to have succeeded: it is kept, and looked up once."""
    async with ground(webhooks=True) as g:
        await g.pay("order-1001", provider="mock")
        before = g.used()
        require(await g.webhooks("mock") == 1, "one webhook was expected")
        return g.used().since(before)


async def told() -> Usage:
    """A merchant with one endpoint is told of a success, and takes it at the first try."""
    async with ground(told=True) as g:
        await g.pay("order-1001", provider="mock")
        require((g.shop.got, await g.deliver.store.outbox.counts()) == (1, {"delivered": 1}), "one delivery was expected")
        return g.used()


async def asked_for_events() -> Usage:
    """GET of a page of 20 events, of twice as many."""
    async with ground() as g:
        for n in range(40):
            await g.pay(f"order-{n}", provider="mock")
        g.clock.at_us += MINUTE_US
        before = g.used()
        page = (await g.get("/events?limit=20")).body
        require(len(page["data"]) == 20, str(page))
        return g.used().since(before)


async def action() -> Usage:
    """A customer who has to approve: the merchant asks where, the customer does it and comes back."""
    async with ground() as g:
        payment_id = await g.pay("order-1001", "tok_action", "stripe_mock", within_s=0)
        waiting = (await g.get(f"/payments/{payment_id}")).body
        require(waiting["status"] == "REQUIRES_ACTION", str(waiting))
        vendor, number = urlsplit(waiting["nextAction"]["url"]).path.split("/")[-2:]
        await g.approve(vendor, number)
        reference = g.changes[-1].payment.attempts[0].reference
        await g.come_back(reference)
        await g.settle()
        used = g.used()
        found = (await g.get(f"/payments/{payment_id}")).body
        require(found["status"] == "SUCCESS", str(found))
        return used


async def idle() -> Usage:
    """One sweep when nothing is due, of those that do not look for old webhooks."""
    async with ground() as g:
        await g.pay("order-1001", provider="mock")
        await sweep(g.worker, Sent(), 50_000)
        before = g.used()
        g.clock.at_us += 60_000_000
        await sweep(g.worker, Sent(), 50_000)
        return g.used().since(before)


PLAIN: Final[Mapping[str, str]] = {
    "mock": "plain success: mock",
    "payu_mock": "plain success: payu",
    "stripe_mock": "plain success: stripe",
    "cashfree_mock": "plain success: cashfree",
    "razorpay_mock": "plain success: razorpay, captured by us",
}


async def counted() -> list[Case]:
    """Every case, in the order of the table."""
    cases = [_named(await plain(provider), name) for provider, name in PLAIN.items()]
    cases.append(_named(await plain("mock", "tok_rate_limited"), "two retries: mock"))
    first, watch = await failover()
    given, looks = await refund()
    rows = {
        "failover: razorpay, then mock": first,
        "customer action: stripe": await action(),
        "one endpoint told: mock": await told(),
        "more: the same post again": await duplicate(),
        "more: GET of a payment": await looked_at(),
        "more: GET of a list of 20": await listed(),
        "more: GET of 20 events": await asked_for_events(),
        "more: a refund, until it is done": given,
        "more: four days of looks after a refund": looks,
        "more: a webhook with no news": await webhook(),
        "more: five days' watch after a failover": watch,
    }
    return cases + [Case(name=name, used=used) for name, used in rows.items()]


def _named(case: Case, name: str) -> Case:
    return Case(name=name, used=case.used, changes=case.changes, stored=case.stored)


def stored(g: Ground) -> int:
    """What lies in the tables and indexes, as storage is charged."""
    total = 0
    for table in g.model.dynamodb.tables.values():
        for _, item in table.all():
            total += item_size(item) + INDEX_ENTRY
            entries = [index.entry(item) for index in table.indexes.values()]
            total += sum(item_size(entry) + INDEX_ENTRY for entry in entries if entry is not None)
    return total

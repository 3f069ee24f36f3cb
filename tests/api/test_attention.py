"""GET /attention: what needs somebody, of one's own only, counted up to a limit."""

from collections.abc import Awaitable
from typing import Any

import pytest

from payonce.core.errors import ConfigError, PayonceError, StoreUnavailable
from payonce.mail import Delivery, Webhook
from payonce.merchants.keys import KeyScope
from payonce.ports import Scope
from payonce.shown.house_bodies import COUNTED_MAX, DeadLetterBody, DeadLetterList
from payonce.stores.memory import MemoryInbox, MemoryStore

from .service import OTHER, START_US, TEST, Service, engine_over, house_over, new_key, open_door, ring, serving

NOTHING = {"count": 0, "more": False, "data": []}
LOST = {"provider": "tiny", "paymentMethod": "tok_lost"}


async def doubted(s: Service, key: str) -> str:
    """A payment of which nobody knows what became of it."""
    id = await s.settled(key, **LOST)
    for _ in range(9):
        await s.engine.clock.sleep(86_400)
        await s.engine.advance(id)
    return id


def webhook(n: int, state: Any) -> Webhook:
    due_us = START_US + 5 if state == "parked" else None
    id = f"wh_{n:020d}"
    return Webhook(
        id=id, account="tiny", event=id, kind="charge.done", received_us=START_US + n, last_us=0, state=state, due_us=due_us
    )


def delivery(n: int, state: Any, tries: int, scope: Scope = TEST) -> Delivery:
    return Delivery(
        id=f"dlv_{n:020d}",
        endpoint_id="whe_00000000000000000000",
        merchant_id=scope.merchant_id,
        mode=scope.mode,
        event_id="evt_1",
        type="payment.succeeded",
        state=state,
        tries=tries,
        created_us=START_US + n,
        due_us=START_US + 10**12 if state == "pending" else None,
    )


def test_nothing_needs_anybody() -> None:
    """At a fresh start every part is empty; there is no dead-letter queue."""

    async def check(s: Service) -> None:
        told = (await s.get("/attention")).json()
        assert told == {
            "held": False,
            "trouble": None,
            "inDoubt": NOTHING,
            "overdue": NOTHING,
            "webhooks": NOTHING,
            "deliveries": NOTHING,
            "deadLetters": {"known": False, "count": 0, "data": []},
        }

    serving(check)


def test_a_payment_in_doubt_is_shown() -> None:
    """With all that its own page shows of it; one that is being worked on is not there."""

    async def check(s: Service) -> None:
        id = await doubted(s, "k1")
        await s.settled("k2")
        told = (await s.get("/attention")).json()["inDoubt"]
        assert (told["count"], told["more"], [p["transactionId"] for p in told["data"]]) == (1, False, [id])
        assert told["data"][0] == (await s.get(f"/payments/{id}")).json()

    serving(check)


def test_what_is_late_is_shown_longest_first() -> None:
    """Due for 60 seconds or more, with how late it is; what was due a moment ago is not."""

    async def check(s: Service) -> None:
        first = (await s.accepted("k1"))["transactionId"]
        second = (await s.accepted("k2", amount=77))["transactionId"]
        assert (await s.get("/attention")).json()["overdue"] == NOTHING
        await s.engine.clock.sleep(75)
        await s.accepted("k3")
        told = (await s.get("/attention")).json()["overdue"]
        assert (told["count"], told["more"]) == (2, False)
        assert [(row["transactionId"], row["amount"], row["status"], row["lateS"]) for row in told["data"]] == [
            (first, 1050, "PENDING", 75),
            (second, 77, "PENDING", 75),
        ]

    serving(check)


def test_there_are_more_than_are_counted() -> None:
    """Of very many late payments COUNTED_MAX are counted and twenty shown."""

    async def check(s: Service) -> None:
        for n in range(COUNTED_MAX + 1):
            await s.accepted(f"k{n}")
        await s.engine.clock.sleep(75)
        told = (await s.get("/attention")).json()["overdue"]
        assert (told["count"], told["more"], len(told["data"])) == (COUNTED_MAX, True, 20)

    serving(check)


def test_webhooks_that_led_nowhere_are_shown() -> None:
    """Parked and unmatched ones, newest first; what found its payment is not there."""
    inbox = MemoryInbox()

    async def check(s: Service) -> None:
        for n, state in enumerate(("parked", "matched", "unmatched", "new", "parked")):
            await inbox.put(webhook(n, state))
        told = (await s.get("/attention")).json()["webhooks"]
        assert told["count"] == 3
        assert [(w["id"][-1], w["state"], w["dueAt"] is None) for w in told["data"]] == [
            ("4", "parked", False),
            ("2", "unmatched", True),
            ("0", "parked", False),
        ]

    store = MemoryStore()
    serving(check, store=store, house=house_over(engine_over(store), inbox=inbox))


def test_deliveries_that_did_not_arrive_are_shown() -> None:
    """Failed ones, and pending ones that were tried again and again; of one's own only."""

    async def check(s: Service) -> None:
        rows = (("failed", 10), ("pending", 2), ("pending", 3), ("delivered", 9), ("canceled", 1))
        for n, (state, tries) in enumerate(rows):
            await store.outbox.add(delivery(n, state, tries))
        await store.outbox.add(delivery(9, "failed", 9, OTHER))
        told = (await s.get("/attention")).json()["deliveries"]
        assert told["count"] == 2
        assert [(d["id"][-1], d["state"], d["tries"]) for d in told["data"]] == [("2", "pending", 3), ("0", "failed", 10)]

    store = MemoryStore()
    serving(check, store=store)


@pytest.mark.parametrize(
    ("scope", "scopes", "shown"),
    [
        (TEST, (), {"webhooks", "deliveries", "deadLetters"}),
        (TEST, ("payments:read",), {"webhooks", "deadLetters"}),
        (OTHER, (), {"deliveries"}),
        (OTHER, ("payments:read",), set()),
    ],
    ids=["the house", "the house reads", "another", "another reads"],
)
def test_parts_that_are_not_ones_own_are_null(scope: Scope, scopes: tuple[KeyScope, ...], shown: set[str]) -> None:
    """Webhooks and dead letters are the house's, deliveries an admin's; payments are everybody's own."""

    async def check(s: Service) -> None:
        await doubted(s, "k1")
        headers = await new_key(keys, scope, *scopes)
        told = (await s.client.get("/attention", headers=headers)).json()
        assert {name for name in ("webhooks", "deliveries", "deadLetters") if told[name] is not None} == shown
        assert told["inDoubt"]["count"] == (1 if scope == TEST else 0)

    keys = ring()
    serving(check, door=lambda engine: open_door(engine, keys=keys))


LETTER = DeadLetterBody(message_id="m1", id="pay_1", about="payment", first_seen_at="2026-11-26T10:00:00.000000Z", received=4)


def test_dead_letters_are_shown_where_there_is_a_queue() -> None:
    """What it holds, as it is told."""

    async def look() -> DeadLetterList:
        return DeadLetterList(known=True, count=3, data=[LETTER])

    async def check(s: Service) -> None:
        told = (await s.get("/attention")).json()["deadLetters"]
        assert (told["known"], told["count"], [d["messageId"] for d in told["data"]]) == (True, 3, ["m1"])

    store = MemoryStore()
    serving(check, store=store, house=house_over(engine_over(store), dead_letters=look))


@pytest.mark.parametrize("error", [ConfigError("not allowed"), StoreUnavailable("no answer")])
def test_a_queue_that_cannot_be_read_hides_nothing_else(error: PayonceError) -> None:
    """It is not known then, and the rest is told as ever."""

    def look() -> Awaitable[DeadLetterList]:
        raise error

    async def check(s: Service) -> None:
        answer = await s.get("/attention")
        assert (answer.status_code, answer.json()["deadLetters"]["known"]) == (200, False)
        assert answer.json()["inDoubt"] == NOTHING

    store = MemoryStore()
    serving(check, store=store, house=house_over(engine_over(store), dead_letters=look))

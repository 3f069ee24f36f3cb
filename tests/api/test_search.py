"""GET /search: any name of a payment leads to it, and to nobody else's."""

from collections.abc import Mapping
from typing import Any

import httpx2
import pytest

from payonce.adapter import Found, Succeeded
from payonce.core import ids
from payonce.ports import Scope
from payonce.stores.memory import MemoryStore

from .service import CARD, OTHER, TEST, Service, problem_of, serving


async def found(s: Service, text: str) -> list[tuple[str, str]]:
    answer = await s.get("/search", q=text)
    assert answer.status_code == 200, answer.text
    return [(each["matched"], each["payment"]["transactionId"]) for each in answer.json()["data"]]


async def named(s: Service) -> tuple[str, Mapping[str, str]]:
    """A payment with a refund, and every name it has, by what that is."""
    id = await s.settled("order-7", metadata={"orderId": "A 77", "n": 12, "express": True, "none": None})
    refund = (await s.ask(id, "refunds", "refund-7", {"amount": 250})).json()
    await s.engine.advance(id)
    p = (await s.get(f"/payments/{id}")).json()
    return id, {
        id: "payment_id",
        f"{id[4:]}0100": "reference",
        refund["reference"]: "reference",
        "order-7": "idempotency_key",
        "refund-7": "idempotency_key",
        "ch_1": "provider_ref",
        "re_1": "provider_ref",
        p["operations"][0]["operationId"]: "operation_id",
        refund["operationId"]: "operation_id",
        ids.event_id(id, 1): "event_id",
        ids.event_id(id, 3): "event_id",
        "A 77": "metadata",
        "12": "metadata",
        "true": "metadata",
    }


def test_every_name_leads_to_its_payment() -> None:
    """Each says what it is; spaces around it do not matter."""

    async def check(s: Service) -> None:
        id, names = await named(s)
        for name, what in names.items():
            assert await found(s, name) == [(what, id)], name
            assert await found(s, f"  {name}\t") == [(what, id)], name

    serving(check)


def test_every_name_is_one_merchants_own() -> None:
    """The other merchant, and the same one in live mode, find nothing under any of them: an answer like for what never was."""
    store = MemoryStore()
    names: dict[str, str] = {}

    async def fill(s: Service) -> None:
        names.update((await named(s))[1])

    async def check(s: Service) -> None:
        nothing = await s.get("/search", q="never-was")
        for name in names:
            answer = await s.get("/search", q=name)
            assert answer.json() == {"q": name, "data": []}
            assert {**answer.headers, "request-id": "", "content-length": ""} == {
                **nothing.headers, "request-id": "", "content-length": ""
            }  # fmt: skip

    serving(fill, store=store)
    serving(check, store=store, scope=OTHER)
    serving(check, store=store, scope=Scope("mer_default", "live"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "x" * 301,
        "or",
        "ORDER-7",
        "order-",
        "%",
        "*",
        "evt_",
        "op_x",
        "pay_",
        "a\x00b",
        "'; --",
        "日本",
        "null",
        "A",
        CARD,
    ],
)
def test_what_is_no_name_finds_nothing(text: str) -> None:
    """No part, no other case, no wildcard; nothing is refused, and a card number is not repeated."""

    async def check(s: Service) -> None:
        await named(s)
        answer = await s.get("/search", q=text)
        assert (answer.status_code, answer.json()["data"]) == (200, [])
        assert CARD not in answer.text

    serving(check)


def test_events_that_are_not_there_are_not_found() -> None:
    """An id beyond the end of the history, and a second public event where there is one only."""

    async def check(s: Service) -> None:
        id, _ = await named(s)
        assert await found(s, ids.event_id(id, 99)) == []
        assert await found(s, ids.event_id(id, 3) + "_1") == []
        assert await found(s, f"{id[4:]}9900") == []

    serving(check)


def test_an_id_of_many_finds_the_newest_of_them() -> None:
    """At most twenty, newest first, each once."""

    async def check(s: Service) -> None:
        made = [await s.settled(f"key-{n}", metadata={"batch": "b-1", "again": "b-1"}) for n in range(23)]
        assert await found(s, "b-1") == [("metadata", id) for id in made[::-1][:20]]
        assert await found(s, "ch_1") == [("provider_ref", id) for id in made[::-1][:20]]

    serving(check)


def test_a_reversal_is_found_too() -> None:
    """What payonce does by itself has an id as well: a charge that turns up after it was recorded as not charged."""

    async def check(s: Service) -> None:
        id = await s.settled(paymentMethod="tok_lost")
        for _ in range(9):
            await s.engine.clock.sleep(86_400)
            await s.engine.advance(id)
        await s.ask(id, "resolve", None, {"decision": "not-charged", "reason": "r"})
        late = Succeeded(ref="ch_1", reference=f"{id[4:]}0100", amount_minor=1050, currency="INR", mode="test")
        s.engine.accounts["tiny"].adapter.parse_read = lambda *_: Found(tries=(late,))  # type: ignore[method-assign]
        assert (await s.ask(id, "check", None)).status_code == 202
        await s.engine.advance(id)
        (reversal,) = [o for o in (await s.engine.find(TEST, id)).operations if o.kind == "reversal"]
        assert await found(s, reversal.id) == [("operation_id", id)]

    serving(check)


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"x": "1"}, "validation_failed"),
        ({"q": ["a", "b"]}, "validation_failed"),
        ({"q": "a", CARD: "1"}, "card_number_refused"),
    ],
)
def test_another_parameter_is_refused(query: Any, code: str) -> None:
    """Unknown ones, and q twice."""

    async def check(s: Service) -> None:
        answer: httpx2.Response = await s.client.get("/search", params=query)
        assert problem_of(answer)["code"] == code
        assert CARD not in answer.text

    serving(check)

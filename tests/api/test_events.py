"""GET /events and /events/{id}: the news of a merchant's payments in order, none missed, none of anybody else."""

import asyncio
import json
import re
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import jsonschema_rs
import pytest

from payonce.api.feed import ROUNDS_MAX
from payonce.api.openapi import document
from payonce.core import news
from payonce.core.errors import InvariantViolated, NewerSchema, PayonceError, StoreUnavailable
from payonce.core.events import Entry
from payonce.core.idempotency import normalise
from payonce.mail import Delivery
from payonce.outbound import signing, telling
from payonce.ports import FeedPage, Scope
from payonce.shown.news import ID
from payonce.stores.memory import MemoryStore

from .service import CARD, GOOD, OTHER, TEST, JsonObject, Service, new_key, open_door, problem_of, ring, serving

Check = Callable[[Service], Awaitable[None]]


class CountingStore(MemoryStore):
    """Counts what is read, and cannot read the history of some payments."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: Counter[str] = Counter()
        self.feeds: list[int] = []
        self.unreadable: dict[str, PayonceError] = {}

    async def history(self, payment_id: str, after_seq: int = 0, limit: int = 1000) -> tuple[Entry, ...]:
        self.reads[payment_id] += 1
        if payment_id in self.unreadable:
            raise self.unreadable[payment_id]
        return await super().history(payment_id, after_seq, limit)

    async def feed(self, scope: Scope, limit: int, cursor: str | None = None, since_us: int = 0) -> FeedPage:
        self.feeds.append(limit)
        return await super().feed(scope, limit, cursor, since_us)


async def page(s: Service, **query: str) -> JsonObject:
    answer = await s.get("/events", **query)
    assert answer.status_code == 200, answer.text
    body: JsonObject = answer.json()
    assert set(body) == {"data", "nextCursor", "more"}
    return body


async def refunded(s: Service) -> str:
    """A payment that was charged, with a refund that was done: three events."""
    id = await s.settled()
    assert (await s.ask(id, "refunds", "r1", {"amount": 250})).status_code == 202
    await s.engine.advance(id)
    return id


def types(body: JsonObject) -> list[str]:
    return [told["type"] for told in body["data"]]


def test_what_happened_is_told_in_order() -> None:
    """Each event with its payment as it was then, and the operation that it is about."""

    async def check(s: Service) -> None:
        id = await refunded(s)
        body = await page(s)
        assert types(body) == ["payment.succeeded", "refund.created", "refund.succeeded"]
        paid, asked, done = body["data"]
        assert [told["data"]["payment"]["refunded"] for told in (paid, asked, done)] == [0, 0, 250]
        assert paid["data"]["operation"] is None
        assert (asked["data"]["operation"]["status"], done["data"]["operation"]["status"]) == ("PENDING", "SUCCEEDED")
        assert {told["data"]["payment"]["transactionId"] for told in body["data"]} == {id}
        assert (body["more"], bool(body["nextCursor"])) == (False, True)
        assert json.dumps(body).count(GOOD["paymentMethod"]) == 3  # the details lie beside the history

    serving(check)


def test_a_client_that_goes_on_from_next_misses_nothing_and_gets_nothing_twice() -> None:
    """Page by page, also from the end of all there was, and from the very beginning before there was anything."""

    async def check(s: Service) -> None:
        empty = await page(s)
        assert (empty["data"], empty["more"]) == ([], False)
        got, cursor = list[str](), empty["nextCursor"]
        for n in range(5):
            await s.settled(f"key-{n}")
            while True:
                body = await page(s, cursor=cursor, limit="2")
                got += [told["id"] for told in body["data"]]
                cursor = body["nextCursor"]
                if not body["more"]:
                    break
        assert got == [told["id"] for told in (await page(s, limit="100"))["data"]]
        assert len(set(got)) == 5

    serving(check)


def test_pages_end_where_they_should() -> None:
    """``limit`` events, and ``more`` as long as there is one behind them."""

    async def check(s: Service) -> None:
        for n in range(3):
            await s.settled(f"key-{n}")
        first = await page(s, limit="2")
        assert (len(first["data"]), first["more"]) == (2, True)
        last = await page(s, limit="2", cursor=first["nextCursor"])
        assert (len(last["data"]), last["more"]) == (1, False)

    serving(check)


def test_since_begins_at_a_time() -> None:
    """From the first event at or after it; one in the future waits for what comes."""

    async def check(s: Service) -> None:
        for n in range(3):
            await s.settled(f"key-{n}")
        told = (await page(s))["data"]
        assert [e["id"] for e in (await page(s, since=told[1]["timestamp"]))["data"]] == [e["id"] for e in told[1:]]
        assert (await page(s, since="2999-01-01T00:00:00Z"))["data"] == []
        assert len((await page(s, since="1969-01-01T00:00:00Z"))["data"]) == 3

    serving(check)


def test_a_type_is_looked_for_within_bounds() -> None:
    """Only that type; a page may be empty although there is more, and whoever goes on finds all of them."""
    store = CountingStore()

    async def check(s: Service) -> None:
        for n in range(3 * ROUNDS_MAX):
            await s.settled(f"key-{n}")
        await s.settled("last", paymentMethod="tok_stolen")
        store.feeds.clear()
        body = await page(s, type="payment.failed", limit="2")
        assert (body["data"], body["more"]) == ([], True)
        assert store.feeds == [2] * ROUNDS_MAX
        body = await page(s, type="payment.failed", limit="2", cursor=body["nextCursor"])
        assert types(body) == ["payment.failed"]
        assert types(await page(s, type="payment.failed", limit="100")) == ["payment.failed"]

    serving(check, store=store)


def test_a_history_is_read_once_for_a_page() -> None:
    """However many events of a payment stand in it."""
    store = CountingStore()

    async def check(s: Service) -> None:
        id = await refunded(s)
        store.reads.clear()
        assert len((await page(s))["data"]) == 3
        assert store.reads == {id: 1}

    serving(check, store=store)


@pytest.mark.parametrize(("error", "status"), [(NewerSchema("newer"), 503), (InvariantViolated("broken"), 500)])
def test_what_cannot_be_read_ends_the_page_before_it(error: PayonceError, status: int) -> None:
    """The events before it, then a clear refusal each time; all of the rest when it can be read again: never passed over."""
    store = CountingStore()

    async def check(s: Service) -> None:
        ids = [await s.settled(f"key-{n}") for n in range(4)]
        store.unreadable[ids[2]] = error
        for more in ({}, {"type": "payment.succeeded", "limit": "2"}):
            before = await page(s, **more)
            assert [told["data"]["payment"]["transactionId"] for told in before["data"]] == ids[:2]
            assert before["more"] is True
            for _ in range(2):
                refused = await s.get("/events", cursor=before["nextCursor"], **more)
                assert refused.status_code == status
                assert problem_of(refused)["code"] == {503: "not_ready", 500: "internal_error"}[status]
        del store.unreadable[ids[2]]
        rest = await page(s, cursor=before["nextCursor"])
        assert [told["data"]["payment"]["transactionId"] for told in rest["data"]] == ids[2:]

    serving(check, store=store)


def test_a_store_that_does_not_answer_is_said() -> None:
    """No part of a page."""
    store = CountingStore()

    async def check(s: Service) -> None:
        ids = [await s.settled(f"key-{n}") for n in range(2)]
        store.unreadable[ids[1]] = StoreUnavailable("the store is busy")
        assert problem_of(await s.get("/events"))["code"] == "not_ready"

    serving(check, store=store)


def test_one_event_has_the_bytes_of_its_webhook() -> None:
    """By its id: what the page shows, and exactly what a delivery's body is."""

    async def check(s: Service) -> None:
        id = await refunded(s)
        for told in (await page(s))["data"]:
            one = await s.get(f"/events/{told['id']}")
            assert one.json() == told
            seq = int(told["id"].partition(id[4:])[2][:6])
            d = Delivery(
                id="dlv_1",
                endpoint_id="whe_1",
                merchant_id=TEST.merchant_id,
                mode=TEST.mode,
                event_id=told["id"],
                type=told["type"],
                payment_id=id,
                seq=seq,
                created_us=1,
            )
            assert await telling.body(s.store, d) == one.content

    serving(check)


def test_two_events_of_one_write_stay_together() -> None:
    """A page is never cut between them, and each is found under its own id."""
    store = MemoryStore()
    between = news.between

    async def check(s: Service) -> None:
        await s.settled()
        told = (await page(s, limit="1"))["data"]
        assert [e["id"].partition("_")[2][20:] for e in told] == [told[0]["id"][24:], f"{told[0]['id'][24:]}_1"]
        for e in told:
            assert (await s.get(f"/events/{e['id']}")).json() == e

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(news, "between", lambda before, after: tuple(n for each in between(before, after) for n in (each, each)))
        serving(check, store=store)


@pytest.mark.parametrize("id", ["evt_", "evt_x", "pay_06gywnk043sq5zmmz0n0", "%00", "evt_06gywnk043sq5zmmz0n0000001_0", "../x"])
def test_what_is_no_event_is_not_there(id: str) -> None:
    """Malformed ids, ids of nothing, and seqs that hold no news: one answer."""

    async def check(s: Service) -> None:
        payment = await s.settled()
        unknown = problem_of(await s.get("/events/evt_06gywnk043sq5zmmz0n0000001"))
        for event in (id, f"evt_{payment[4:]}000001", f"evt_{payment[4:]}000099", f"evt_{payment[4:]}000003_7"):
            answer = await s.get(f"/events/{event}")
            assert answer.status_code == 404
            if "not_found" in answer.text and event != "../x":
                assert problem_of(answer)["detail"] == unknown["detail"] == "There is no such event for you."

    serving(check)


def test_the_others_events_are_not_there() -> None:
    """With keys of two merchants: lists, ids and cursors of one are of no use to the other."""

    keys = ring()

    async def check(s: Service) -> None:
        mine, theirs = await new_key(keys), await new_key(keys, OTHER, "payments:read")
        receipt = await s.engine.submit(OTHER, normalise(GOOD), "k", actor="test")
        await s.engine.advance(receipt.payment.id)
        there = (await s.client.get("/events", headers=theirs)).json()
        assert len(there["data"]) == 1
        id = there["data"][0]["id"]
        assert (await s.client.get("/events", headers=mine)).json()["data"] == []
        foreign = await s.client.get(f"/events/{id}", headers=mine)
        unknown = await s.client.get("/events/evt_06gywnk043sq5zmmz0n0000003", headers=mine)
        assert foreign.status_code == unknown.status_code == 404
        assert foreign.json()["detail"] == unknown.json()["detail"]
        cursor = await s.client.get("/events", headers=mine, params={"cursor": there["nextCursor"]})
        nonsense = await s.client.get("/events", headers=mine, params={"cursor": "x"})
        assert problem_of(cursor)["detail"] == problem_of(nonsense)["detail"]

    serving(check, door=lambda engine: open_door(engine, keys=keys))


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"type": "payment.lost"}, "type"),
        ({"type": "payment.*"}, "type"),
        ({"limit": "0"}, "limit"),
        ({"limit": "101"}, "limit"),
        ({"since": "yesterday"}, "since"),
        ({"cursor": "x"}, "cursor"),
        ({"after": "1"}, "after"),
        ({"cursor": "x", "since": "2026-11-24T00:00:00Z"}, "since"),
    ],
)
def test_bad_parameters_are_named(query: dict[str, str], field: str) -> None:
    """422 with the field; nothing of what was sent is repeated."""

    async def check(s: Service) -> None:
        body = problem_of(await s.get("/events", **query))
        assert (body["status"], body["code"]) == (422, "validation_failed")
        assert [e["field"] for e in body["errors"]] == [field]

    serving(check)


def test_a_card_number_in_the_query_is_refused() -> None:
    """As everywhere."""

    async def check(s: Service) -> None:
        assert problem_of(await s.get("/events", type=CARD))["code"] == "card_number_refused"

    serving(check)


def test_readers_beside_a_writer_miss_nothing() -> None:
    """Some that tail while payments are made see each event once, in the same order."""

    async def check(s: Service) -> None:
        done = False

        async def tail() -> list[str]:
            got, cursor = list[str](), (await page(s))["nextCursor"]
            while True:
                last = done
                body: Any = await page(s, cursor=cursor, limit="3")
                got += [told["id"] for told in body["data"]]
                cursor = body["nextCursor"]
                if last and not body["more"]:
                    return got
                await asyncio.sleep(0)

        readers = [asyncio.create_task(tail()) for _ in range(3)]
        await asyncio.sleep(0)
        for n in range(10):
            await s.settled(f"key-{n}", paymentMethod="tok_ok" if n % 2 else "tok_stolen")
        done = True
        seen = await asyncio.gather(*readers)
        assert seen[0] == seen[1] == seen[2]
        assert len(seen[0]) == len(set(seen[0])) == 10

    serving(check)


def test_ids_have_the_form_that_is_documented() -> None:
    """Of all that a payment can tell."""
    assert re.fullmatch(ID, news.public_id("pay_06gywnk043sq5zmmz0n0", 3, 0))
    assert re.fullmatch(ID, news.public_id("pay_06gywnk043sq5zmmz0n0", 999_999, 12))


def test_the_document_tells_what_endpoints_get() -> None:
    """With the very headers that are sent, and a body that is an event."""
    post = document()["webhooks"]["event"]["post"]
    assert {p["name"] for p in post["parameters"]} == set(signing.headers("evt_1", 1, b"{}", ("whsec_" + "aGko" * 8,)))
    content = post["requestBody"]["content"]["application/json"]
    schema = {**content["schema"], "components": document()["components"]}
    jsonschema_rs.Draft202012Validator(schema).validate(content["example"])


def test_answers_hold_exactly_what_is_documented() -> None:
    """Events and pages have the fields of their schemas, no more and no fewer, and fit them."""

    async def check(s: Service) -> None:
        await refunded(s)
        body = await page(s)
        for name, value in (("EventPage", body), *(("EventBody", told) for told in body["data"])):
            schema = document()["components"]["schemas"][name]
            assert set(value) == set(schema["properties"]) == set(schema["required"])
            whole = {"$ref": f"#/components/schemas/{name}", "components": document()["components"]}
            jsonschema_rs.Draft202012Validator(whole).validate(value)

    serving(check)

"""What the writes of a payment cost, in write units counted from the sizes of items: a change that makes them dearer fails."""

import asyncio
from collections.abc import Iterator

import pytest
from tests.stores.dynamodb.ground import Ground, ground
from tests.stores.dynamodb.units import Metered, size

from payonce.awsapi import Aws
from payonce.bootstrap import SystemClock
from payonce.core.events import Observed, Planned, digest
from payonce.core.outcome import Found, Processing
from payonce.core.payment import Step
from payonce.ports import Ref
from payonce.stores.dynamodb import Tables, open_store
from payonce.testing.store_changes import START_US, accept, fire_event, grow, newsworthy, note_event, put, success_event


@pytest.fixture(scope="module")
def land(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with ground(tmp_path_factory.mktemp("aws")) as made:
        yield made


def test_a_plain_success_costs_twelve_units(land: Ground) -> None:
    """Accepted: the row and the key in one transaction, 2 units each, and one in each of two indexes. Planned: 1, as the lease
    leaves the due index alone. Paid: 1, the provider's id 1, its place in the feed 1, the index entries of due time and status
    1 each."""

    async def test(aws: Aws, tables: Tables) -> None:
        meter = Metered(aws, tables)
        store = open_store(meter, SystemClock(), tables)
        details, body = (
            b'{"payment_method":"tok_ok","description":"Order 1"}',
            b'{"amount":1000,"currency":"EUR","source":"tok_ok"}',
        )
        p = await put(store, accept(1, key="order-1", client_id="web", bodies={digest(details): details}))
        assert dict(meter.units) == {
            "write transactions": 2,
            "write idempotency": 2,
            "write index list": 1,
            "write index due": 1,
            "write index eyes": 0,
            "write index notices": 0,
        }
        fire = grow(p, fire_event(p), due_us=START_US + 15_000_000, bodies={digest(body): body})
        p = await put(store, fire)
        assert sum(meter.units.values()) == 7
        p = await put(store, grow(p, success_event(p), refs=(Ref("mock_a", "provider_ref", "ch_1"),)))
        assert sum(meter.units.values()) == 12
        assert meter.units["read"] == 0
        assert meter.calls == {"TransactWriteItems": 1, "UpdateItem": 2, "PutItem": 2}
        assert max(meter.sizes) < 800

    asyncio.run(land.run(test))


def test_news_cost_one_unit_and_a_listener_one_more(land: Ground) -> None:
    """A change with news: its place in the feed, one unit in no index. That somebody is to be told: one entry of an index, by
    the same write; taking it off again: the row and the entry."""

    async def test(aws: Aws, tables: Tables) -> None:
        meter = Metered(aws, tables)
        store = open_store(meter, SystemClock(), tables)
        p = await put(store, accept(1))
        p = await put(store, grow(p, fire_event(p), due_us=START_US + 15_000_000))
        meter.units.clear()
        plain = grow(p, success_event(p))
        p = await put(store, newsworthy(plain, notify=False))
        assert +meter.units == {"write transactions": 2, "write index due": 1, "write index list": 1}
        meter.units.clear()
        p = await put(store, newsworthy(grow(p, note_event())))
        assert +meter.units == {"write transactions": 2, "write index notices": 1, "write index eyes": 1}
        meter.units.clear()
        assert await store.outbox.hand_over(p.id, p.version, [])
        assert +meter.units == {"write transactions": 1, "write index notices": 1}

    asyncio.run(land.run(test))


def test_what_is_heard_again_costs_nothing_more(land: Ground) -> None:
    """The same provider id in a later answer is not put again."""

    async def test(aws: Aws, tables: Tables) -> None:
        meter = Metered(aws, tables)
        store = open_store(meter, SystemClock(), tables)
        p = await put(store, accept(1))
        p = await put(store, grow(p, fire_event(p)))
        ref = Ref("mock_a", "provider_ref", "ch_1")
        for n in range(3):
            read = Step(seq=p.version + 1, kind="read", owner="w", at_us=n, send_by_us=n, lease_until_us=n)
            p = await put(store, grow(p, Planned(step=read)))
            heard = Processing(ref="ch_1", reference=p.attempts[0].reference)
            p = await put(store, grow(p, Observed(about=read.seq, outcome=Found(tries=(heard,))), refs=(ref,)))
            assert meter.calls["PutItem"] == 1
        assert await open_store(aws, SystemClock(), tables).find_ref("ch_1", "mock_a") == (p.id,)

    asyncio.run(land.run(test))


def test_sizes_are_counted_as_published() -> None:
    """Names and texts by their UTF-8 bytes, binaries by theirs, numbers by two digits a byte and one more."""
    assert size({"a": {"S": "\N{GREEK SMALL LETTER ALPHA}"}, "bb": {"B": b"123"}, "n": {"N": "1795665779091903"}}) == 3 + 5 + 10

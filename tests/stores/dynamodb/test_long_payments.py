"""Payments that are large in every way they can be: no item comes near the 400 KB that one may have, and all reads back."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from hashlib import sha256
from typing import Any

import pytest
from tests.stores.dynamodb.ground import Ground, ground
from tests.stores.dynamodb.units import Metered, size

from payonce.awsapi import Aws, Done
from payonce.bootstrap import SystemClock
from payonce.core import ids
from payonce.core.apply import fold
from payonce.core.events import Asked, Event, Observed, Planned, digest
from payonce.core.outcome import Refunded
from payonce.core.payment import OPERATIONS_MAX, Payment, Step, StoredRequest
from payonce.ports import Ref
from payonce.stores.dynamodb import DynamoStore, Tables, open_store
from payonce.testing.store_changes import START_US, accept, fire_event, grow, key_row, note_event, put, success_event

ITEM_BYTES_MAX = 409_600
ROW_BYTES_MAX = 4_096  # far below: a row costs with every write


@pytest.fixture(scope="module")
def land(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with ground(tmp_path_factory.mktemp("aws")) as made:
        yield made


Test = Callable[[DynamoStore, Metered], Awaitable[None]]


def use(land: Ground, test: Test) -> None:
    async def run(aws: Aws, tables: Tables) -> None:
        meter = Metered(aws, tables)
        await test(open_store(meter, SystemClock(), tables), meter)

    asyncio.run(land.run(run))


async def every_item(meter: Metered) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    asked: dict[str, Any] = {"TableName": meter.tables.transactions}
    while True:
        answer = await meter.aws.call("dynamodb", "Scan", asked)
        assert isinstance(answer, Done)
        found += answer.body["Items"]
        if not answer.body.get("LastEvaluatedKey"):
            return found
        asked["ExclusiveStartKey"] = answer.body["LastEvaluatedKey"]


async def check_sizes(meter: Metered) -> None:
    items = await every_item(meter)
    assert max(map(size, items)) < ITEM_BYTES_MAX / 4
    assert max(meter.sizes) <= ROW_BYTES_MAX


async def read_again(meter: Metered, p: Payment, events: int) -> DynamoStore:
    """With a store that knows nothing: the payment, its history and its fold."""
    fresh = open_store(meter.aws, SystemClock(), meter.tables)
    history = await fresh.history(p.id, limit=10_000)
    assert len(history) == events
    assert fold(history) == await fresh.get(p.id) == p
    assert await fresh.history(p.id, events - 3, 2) == history[-3:-1]
    return fresh


def test_ninety_eight_refunds(land: Ground) -> None:
    """As many operations as a payment may have, each with its key, its request's body and the provider's id."""

    async def test(store: DynamoStore, meter: Metered) -> None:
        p = await put(store, accept(1, key="first", amount_minor=100_000))
        p = await put(store, grow(p, fire_event(p)))
        p = await put(store, grow(p, success_event(p)))
        bodies: dict[str, bytes] = {}
        for n in range(2, OPERATIONS_MAX + 1):
            p = await _refund(store, p, n, bodies)
        assert p.refunded_minor == (OPERATIONS_MAX - 1) * 100
        await check_sizes(meter)
        fresh = await read_again(meter, p, 3 + 3 * (OPERATIONS_MAX - 1))
        keys = [(p.id, name) for name in bodies]
        assert await fresh.bodies(keys) == dict(zip(keys, bodies.values(), strict=True))
        for n in (2, 50, OPERATIONS_MAX):
            assert await fresh.find_ref(f"re_{n}") == await fresh.find_ref(f"re_{n}", "refund") == (p.id,)
        writes = sum(units for name, units in meter.units.items() if name.startswith("write"))
        assert writes / (OPERATIONS_MAX - 1) < 17  # of a refund: transaction with a key, two more writes, the id, older parts

    use(land, test)


async def _refund(store: DynamoStore, p: Payment, n: int, bodies: dict[str, bytes]) -> Payment:
    reference = ids.reference(p.id, n, 0)
    asked = Asked(
        kind="refund", number=n, operation_id=ids.operation_id(p.id, n, START_US), amount_minor=100, reference=reference,
        idempotency_key=f"refund-{n}",
    )  # fmt: skip
    p = await put(store, grow(p, asked, key=key_row(p.id, f"refund-{n}"), due_us=START_US))
    body = b'{"charge":"ch_1","amount":100,"reference":"%s"}' % reference.encode()
    bodies[digest(body)] = body
    step = Step(
        seq=p.version + 1, kind="refund", owner=sha256(reference.encode()).hexdigest()[:16], at_us=START_US + n,
        send_by_us=START_US + n + 5, lease_until_us=START_US + n + 9, key=ids.step_key(p.id, n, 0, "refund"),
        request=StoredRequest(
            account="mock_a", mode="test", credential_id="none", base_url="http://sandbox.invalid", api_version="1",
            method="POST", path="/refunds", body_sha256=digest(body),
        ),
    )  # fmt: skip
    p = await put(store, grow(p, Planned(step=step, operation=n), bodies={digest(body): body}, due_us=START_US))
    done = Refunded(ref=f"re_{n}", reference=reference, amount_minor=100, currency="EUR")
    return await put(store, grow(p, Observed(about=step.seq, outcome=done), refs=(Ref("refund", "provider_ref", f"re_{n}"),)))


def test_three_thousand_events(land: Ground) -> None:
    """A payment that is read for years: its older events move out of the row, part by part, and the row stays small."""

    async def test(store: DynamoStore, meter: Metered) -> None:
        p = await put(store, accept(1))
        for n in range(100):
            events: list[Event] = [note_event(f"{n} {k} {digest(b'%d %d' % (n, k))[:20]}") for k in range(30)]
            p = await put(store, grow(p, *events[: 29 if n == 0 else 30]))
        await check_sizes(meter)
        fresh = await read_again(meter, p, 3_000)
        parts = [i for i in await every_item(meter) if i["item"]["S"].startswith("event#")]
        assert len(parts) > 10
        assert await fresh.history(p.id, 1_234, 1_000) == (await store.history(p.id, 0, 5_000))[1_234:2_234]

    use(land, test)


def test_many_references(land: Ground) -> None:
    """Five hundred names under which the payment can be found, none of which its events show."""

    async def test(store: DynamoStore, meter: Metered) -> None:
        p = await put(store, accept(1))
        names = [f"ch_{digest(b'%d' % n)}" for n in range(500)]
        for n in range(0, 500, 25):
            refs = tuple(Ref("mock_a", "charge", name) for name in names[n : n + 25])
            p = await put(store, grow(p, note_event(f"{n}"), refs=refs))
        await check_sizes(meter)
        fresh = open_store(meter.aws, SystemClock(), meter.tables)
        for n in (0, 250, 499):
            assert await fresh.find_ref(names[n]) == await fresh.find_ref(names[n], "mock_a") == (p.id,)
            assert await fresh.find_ref(names[n], "mock_b") == ()

    use(land, test)


def test_large_bodies(land: Ground) -> None:
    """Customer data at its limits, sixteen bodies of 25 kB and one of 300 kB that cannot be packed: apart from the row."""

    async def test(store: DynamoStore, meter: Metered) -> None:
        details = b"{" + b",".join(b'"%s":"%s"' % (_noise(n, 40), _noise(n, 500)) for n in range(50)) + b"}"
        bodies = {digest(b): b for b in [details, *(_noise(n, 25_000) for n in range(16)), _noise(99, 300_000)]}
        p = await put(store, accept(1, key="k" * 255, bodies=bodies))
        p = await put(store, grow(p, note_event(), bodies=bodies))
        assert max(meter.sizes) <= ROW_BYTES_MAX
        assert max(map(size, await every_item(meter))) < ITEM_BYTES_MAX
        keys = [(p.id, name) for name in bodies]
        fresh = open_store(meter.aws, SystemClock(), meter.tables)
        assert await fresh.bodies(keys) == dict(zip(keys, bodies.values(), strict=True))
        assert await fresh.get(p.id) == p

    use(land, test)


def test_bodies_can_be_taken_away(land: Ground) -> None:
    """Without touching the log: an item of a body is deleted, or the part beside the log is written without it. The writer that
    knew the old part does not bring it back."""

    async def test(store: DynamoStore, meter: Metered) -> None:
        small, big = b'{"name":"Ann"}', _noise(1, 3_000)
        p = await put(store, accept(1, bodies={digest(small): small, digest(big): big}))
        table, row = meter.tables.transactions, {"transactionId": {"S": p.id}, "item": {"S": "payment"}}
        await meter.aws.call(
            "dynamodb", "DeleteItem", {"TableName": table, "Key": row | {"item": {"S": f"body#{digest(big)}"}}}
        )
        gone = {"TableName": table, "Key": row, "UpdateExpression": "REMOVE beside"}
        await meter.aws.call("dynamodb", "UpdateItem", gone)
        fresh = open_store(meter.aws, SystemClock(), meter.tables)  # what ``store`` knows stays old
        assert await fresh.bodies([(p.id, digest(small)), (p.id, digest(big))]) == {}
        assert await fresh.get(p.id) == p
        other = b'{"amount":1}'
        p = await put(store, grow(p, note_event(), bodies={digest(other): other}))
        found = await store.bodies([(p.id, digest(b)) for b in (small, big, other)])
        assert found == {(p.id, digest(other)): other}

    use(land, test)


def _noise(seed: int, count: int) -> bytes:
    """Text that hardly packs."""
    text = b"".join(sha256(b"%d %d" % (seed, n)).hexdigest().encode() for n in range(count // 64 + 1))
    return text[:count]

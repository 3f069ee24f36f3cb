"""Many writers of the same payments while requests are lost, late, doubled and refused by chance: what each was told is what
the history shows in the end."""

import asyncio
import random
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from msgspec import Struct
from tests.stores.dynamodb.ground import Instant

from payonce.awsapi import Answer, Aws, Busy, Lost, Service
from payonce.bootstrap import SystemClock
from payonce.core.apply import fold
from payonce.core.errors import StoreUnavailable
from payonce.core.events import digest
from payonce.ports import Change, Committed, Conflict, Ref, Scope, Unclear
from payonce.stores.dynamodb import DynamoStore, Tables, create_tables, open_store
from payonce.testing.amazon import ModelAws
from payonce.testing.store_changes import accept, grow, key_row, note_event, payment_id

TABLES = Tables(transactions="T", idempotency="I", registry="R", shards=2)
WRITERS, ROUNDS, PAYMENTS = 5, 8, 2
DEFAULT = Scope("mer_default", "test")


class Storm:
    """AWS through bad weather: a request may be lost, its answer may be, it may arrive later or twice, or AWS is busy."""

    def __init__(self, aws: Aws, chance: random.Random, badness: float) -> None:
        self.aws, self.chance, self.badness = aws, chance, badness
        self.late: list[tuple[str, Mapping[str, Any]]] = []

    async def call(self, service: Service, operation: str, params: Mapping[str, Any]) -> Answer:
        await asyncio.sleep(0)  # others come in between
        if self.late and self.chance.random() < 0.3:
            await self._arrives(self.late.pop(self.chance.randrange(len(self.late))))
        if self.chance.random() > self.badness:
            return await self.aws.call(service, operation, params)
        fate = self.chance.choice(("busy", "before", "after", "late", "twice"))
        if fate == "busy":
            return Busy("ThrottlingException")
        if fate in ("after", "twice"):
            await self.aws.call(service, operation, params)
        if fate in ("late", "twice") and operation in ("UpdateItem", "TransactWriteItems", "PutItem"):
            self.late.append((operation, params))
        return Lost(fate)

    async def _arrives(self, request: tuple[str, Mapping[str, Any]]) -> None:
        await self.aws.call("dynamodb", *request)

    async def calm_down(self) -> None:
        """All that was held up arrives."""
        self.badness = 0.0
        while self.late:
            await self._arrives(self.late.pop())

    async def close(self) -> None:
        return


class Told(Struct):
    change: Change
    result: object


async def writer(name: str, store: DynamoStore, chance: random.Random, told: list[Told]) -> None:
    for n in range(ROUNDS):
        id = payment_id(chance.randrange(PAYMENTS))
        try:
            p = await store.get(id)
        except StoreUnavailable:
            continue
        text = digest(f"{name} {n}".encode())[: chance.choice((4, 40))]
        key = f"k{chance.randrange(12)}" if chance.random() < 0.4 else ""
        if p is None:
            change = accept(int(id[-1]), key=key, client_id=f"{name} {n}")
        else:
            events = [note_event(f"{name} {n} {k} {text}") for k in range(chance.choice((1, 1, 2, 9)))]
            body = text.encode() * chance.choice((1, 60))
            change = grow(
                p, *events, key=key_row(id, key, f"{name} {n}".encode()) if key else None, due_us=chance.choice((None, n)),
                bodies={digest(body): body}, refs=(Ref("a", "charge", text),),
            )  # fmt: skip
        try:
            told.append(Told(change, await store.commit(change, p.version if p else 0)))
        except StoreUnavailable as error:
            told.append(Told(change, error))
        if chance.random() < 0.1 and p is not None:
            try:
                await store.defer(id, p.version, chance.choice((None, 100 + n)))
            except StoreUnavailable:
                continue


async def check(store: DynamoStore, told: Sequence[Told]) -> None:
    heads: set[tuple[str, str]] = set()
    for n in range(PAYMENTS):
        history = await store.history(payment_id(n))
        if history:
            assert fold(history) == await store.get(payment_id(n))
            heads |= {(payment_id(n), entry.hash) for entry in history}
    for each in told:
        change = each.change
        there = (change.payment.id, change.payment.head) in heads
        match each.result:
            case Committed():
                assert there
            case Conflict() | StoreUnavailable():
                assert not there, each.result
            case other:
                assert isinstance(other, Unclear)
        if there:
            keys = [(change.payment.id, name) for name in change.bodies]
            assert await store.bodies(keys) == dict(zip(keys, change.bodies.values(), strict=True))
            for ref in change.refs:
                assert change.payment.id in await store.find_ref(ref.value, ref.account)
        if change.key is not None:
            stored = await store.find_key(DEFAULT, change.key.key)
            assert (stored == change.key) == there or (stored == change.key and change.key.request == b"{}")


@pytest.mark.parametrize("badness", [0.1, 0.35, 0.6])
@pytest.mark.parametrize("seed", range(12))
def test_what_was_told_is_what_stands(seed: int, badness: float) -> None:
    """Committed is in the history, Conflict and StoreUnavailable are not and never will be, Unclear may be; bodies, references
    and keys are there exactly with their change; of two told Committed none replaced the other."""

    async def main() -> None:
        chance = random.Random(seed * 1_000 + int(badness * 100))
        clock = Instant(SystemClock())
        aws = ModelAws(clock)
        await create_tables(aws, clock, TABLES)
        storm = Storm(aws, chance, badness)
        told: list[Told] = []
        stores = [open_store(storm, clock, TABLES) for _ in range(3)]
        tasks = [writer(f"w{n}", stores[n % 3], random.Random(f"{seed} {n}"), told) for n in range(WRITERS)]
        await asyncio.gather(*tasks)
        await storm.calm_down()
        await check(open_store(aws, clock, TABLES), told)
        assert len({each.change.payment.head for each in told if isinstance(each.result, Committed)}) > 1

    asyncio.run(main())

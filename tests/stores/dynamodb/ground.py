"""Stores on DynamoDB for tests: one emulator for a test module, fresh tables for each store."""

import itertools
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.aws.emulator import emulator, environment

from payonce.awsapi import Answer, Aws, Service
from payonce.awsclient.client import AwsClient
from payonce.bootstrap import SystemClock
from payonce.ports import Clock
from payonce.stores.dynamodb import DynamoStore, Tables, create_tables

SHARDS = 3


class OwnStore(DynamoStore):
    """A store that closes its client, as nobody else has it."""

    async def close(self) -> None:
        await super().close()
        await self._aws.close()


class Ground:
    """The emulator at ``url``; every store has tables that no other one has."""

    def __init__(self, url: str) -> None:
        self.url, self._numbers = url, itertools.count()

    def client(self) -> AwsClient:
        return AwsClient(SystemClock(), environ=environment(self.url))

    async def tables(self, aws: Aws) -> Tables:
        n = next(self._numbers)
        tables = Tables(transactions=f"Transactions{n}", idempotency=f"Idempotency{n}", registry=f"Registry{n}", shards=SHARDS)
        await create_tables(aws, SystemClock(), tables)
        return tables

    async def store(self) -> OwnStore:
        aws = self.client()
        return OwnStore(aws, SystemClock(), await self.tables(aws))

    async def run(self, test: Callable[[Aws, Tables], Awaitable[None]]) -> None:
        """A test with a client and fresh tables."""
        aws = self.client()
        try:
            await test(aws, await self.tables(aws))
        finally:
            await aws.close()


@contextmanager
def ground(folder: Path) -> Iterator[Ground]:
    with emulator(folder) as url:
        yield Ground(url)


class Instant:
    """A clock whose waits are over at once; it counts them."""

    def __init__(self, real: Clock) -> None:
        self._real, self.slept_s = real, 0.0

    def now_us(self) -> int:
        return self._real.now_us()

    def monotonic_us(self) -> int:
        return self._real.monotonic_us()

    async def sleep(self, seconds: float) -> None:
        self.slept_s += seconds


class Scripted:
    """The way to AWS with accidents: each ``accident`` is asked before a call and may answer in its place, or returns None."""

    def __init__(self, aws: Aws) -> None:
        self.aws = aws
        self.calls: list[tuple[str, Mapping[str, Any]]] = []
        self.accidents: list[Callable[[str, Mapping[str, Any]], Awaitable[Answer | None]]] = []
        self.answered: Callable[[str, Answer], Answer] | None = None

    async def call(self, service: Service, operation: str, params: Mapping[str, Any]) -> Answer:
        self.calls.append((operation, params))
        for accident in self.accidents:
            answer = await accident(operation, params)
            if answer is not None:
                return answer
        answer = await self.aws.call(service, operation, params)
        return self.answered(operation, answer) if self.answered else answer

    def count(self, operation: str) -> int:
        return sum(name == operation for name, _ in self.calls)

    async def close(self) -> None:
        await self.aws.close()

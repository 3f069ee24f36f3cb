"""Two processes on the same DynamoDB tables, whose clock a test moves: for the contracts of feed and outbox."""

from contextlib import AsyncExitStack
from itertools import count
from pathlib import Path

import pytest
from tests.aws.emulator import environment
from tests.aws.spoiling import Hasty

from payonce.awsapi import Aws
from payonce.awsclient.client import AwsClient
from payonce.ports import Clock
from payonce.stores.dynamodb import DynamoStore, Tables, create_tables, open_store
from payonce.stores.dynamodb.feed import HOLD_US
from payonce.testing.amazon import ModelAws
from payonce.testing.store_changes import OpensTold, Told

numbers = count()


class Shifted(Hasty):
    """The machine's clock, and ahead of it as far as a test says."""

    def __init__(self) -> None:
        super().__init__()
        self.ahead_us = 0

    def now_us(self) -> int:
        return super().now_us() + self.ahead_us

    def monotonic_us(self) -> int:
        return super().monotonic_us() + self.ahead_us


class OnDynamo(OpensTold):
    """Time passes by the clock that all of them share."""

    @pytest.fixture(autouse=True)
    def _clock(self) -> None:
        self.clock, self.tables = Shifted(), dict[Path, Tables]()

    async def settle_index(self) -> None:
        self.clock.ahead_us += HOLD_US

    def client(self) -> Aws:
        raise NotImplementedError

    async def open(self, folder: Path, stack: AsyncExitStack) -> Told:
        aws = self.client()
        stack.push_async_callback(aws.close)
        if folder not in self.tables:
            self.tables[folder] = await fresh(aws, self.clock)
        store: DynamoStore = open_store(aws, self.clock, self.tables[folder])
        stack.push_async_callback(store.close)
        return store


class OnModel(OnDynamo):
    """By the model of AWS in this process."""

    @pytest.fixture(autouse=True)
    def _model(self, _clock: None) -> None:
        self.model = ModelAws(self.clock)

    def client(self) -> Aws:
        return self.model


class OnEmulator(OnDynamo):
    """By the emulator of the test's module, which the fixture ``emulated`` starts."""

    @pytest.fixture(autouse=True)
    def _url(self, emulated: str) -> None:
        self.url = emulated

    def client(self) -> Aws:
        return AwsClient(self.clock, environ=environment(self.url))


async def fresh(aws: Aws, clock: Clock) -> Tables:
    """Tables of one test's own."""
    n = next(numbers)
    tables = Tables(transactions=f"t-{n}", idempotency=f"i-{n}", registry=f"r-{n}", shards=4)
    await create_tables(aws, clock, tables)
    return tables

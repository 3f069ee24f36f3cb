"""The three tables of a test at the local AWS emulator, and the settings that lead there."""

import asyncio
import itertools
from collections.abc import Mapping
from typing import Any

from payonce.awsapi import Done, Service
from payonce.awsclient.client import AwsClient
from payonce.bootstrap import SystemClock
from payonce.stores.dynamodb import Tables, create_tables

from .aws.emulator import environment

_numbers = itertools.count(1)


def tables_at(url: str) -> dict[str, str]:
    """Make three empty tables of new names; the environment of a payonce that keeps its payments in them."""
    n = next(_numbers)
    tables = Tables(transactions=f"Transactions-{n}", idempotency=f"Idempotency-{n}", registry=f"Registry-{n}")

    async def make() -> None:
        clock = SystemClock()
        aws = AwsClient(clock, environ=environment(url))
        await create_tables(aws, clock, tables)
        await aws.close()

    asyncio.run(make())
    return {
        **environment(url),
        "PAYONCE_TRANSACTIONS_TABLE": tables.transactions,
        "PAYONCE_IDEMPOTENCY_TABLE": tables.idempotency,
        "PAYONCE_REGISTRY_TABLE": tables.registry,
    }


def asked(env: Mapping[str, str], service: Service, operation: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """One call, and its answer."""

    async def ask() -> Any:
        aws = AwsClient(SystemClock(), environ=env)
        answer = await aws.call(service, operation, params)
        await aws.close()
        return answer

    answer = asyncio.run(ask())
    assert isinstance(answer, Done), answer
    return answer.body

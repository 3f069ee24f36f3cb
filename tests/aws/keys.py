"""The API key of tests, tools and local runs on AWS: the functions take no request without one. Made in the registry, as
`payonce key create` makes it."""

import asyncio
from collections.abc import Mapping

from payonce.awsapi import Aws
from payonce.awsclient.client import AwsClient
from payonce.bootstrap import SystemClock, SystemEntropy
from payonce.core.payment import Mode
from payonce.merchants import DEFAULT_MERCHANT, Merchants
from payonce.merchants.issuing import Issuing, Wanted
from payonce.merchants.journal import Journal
from payonce.merchants.keys import SCOPES, Keyring
from payonce.ports import Clock, Entropy, Registry
from payonce.stores.dynamodb import Tables, open_store


async def issued(registry: Registry, clock: Clock, entropy: Entropy, *, mode: Mode = "test", rate_per_s: int = 0) -> str:
    """A key of the default merchant that may do everything, put on record; its text."""
    merchants, keys = Merchants(registry, clock, entropy), Keyring(registry, clock, entropy)
    issuing = Issuing(merchants, keys, Journal(registry, clock), clock, "operator:tests")
    wanted = Wanted(merchant_id=DEFAULT_MERCHANT, mode=mode, scopes=SCOPES, name="tests", rate_per_s=rate_per_s)
    return (await issuing.key(wanted)).token


def issued_at(env: Mapping[str, str], *, mode: Mode = "test") -> str:
    """The same in the tables that an environment names."""

    async def make() -> str:
        clock = SystemClock()
        aws: Aws = AwsClient(clock, environ=env)
        tables = Tables(
            transactions=env["PAYONCE_TRANSACTIONS_TABLE"],
            idempotency=env["PAYONCE_IDEMPOTENCY_TABLE"],
            registry=env["PAYONCE_REGISTRY_TABLE"],
        )
        try:
            return await issued(open_store(aws, clock, tables).registry, clock, SystemEntropy(), mode=mode)
        finally:
            await aws.close()

    return asyncio.run(make())


def bearer(token: str) -> dict[str, str]:
    """The header that a key is sent in."""
    return {"authorization": f"Bearer {token}"}

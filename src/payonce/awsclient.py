"""AWS through botocore, in threads. Retries of its own are off: what may be asked again is decided by who asks."""

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from .awsapi import Answer, Busy, Denied, Done, Lost, Service

THREADS: Final = 32
BUSY: Final = frozenset(
    {
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "ThrottlingException",
        "Throttling",
        "TransactionConflictException",
        "RequestThrottled",
    }
)


class BotoAws:
    """See ``payonce.awsapi.Aws``. Region, endpoint and credentials come from where AWS tools look for them."""

    def __init__(self, *, endpoint_url: str | None = None) -> None:
        self._session = botocore.session.get_session()
        self._endpoint = endpoint_url
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="aws")
        self._clients: dict[str, Any] = {}

    def _client(self, service: Service) -> Any:
        if service not in self._clients:
            config = Config(
                connect_timeout=2,
                read_timeout=5,
                retries={"total_max_attempts": 1},
                max_pool_connections=THREADS,
                parameter_validation=False,
            )
            self._clients[service] = self._session.create_client(service, endpoint_url=self._endpoint, config=config)
        return self._clients[service]

    async def call(self, service: Service, operation: str, params: Mapping[str, Any]) -> Answer:
        client = self._client(service)
        return await asyncio.get_running_loop().run_in_executor(self._pool, _call, client, operation, dict(params))

    async def close(self) -> None:
        await asyncio.to_thread(self._pool.shutdown)


def _call(client: Any, operation: str, params: dict[str, Any]) -> Answer:
    try:
        return Done(client._make_api_call(operation, params))  # noqa: SLF001  the one method behind all of them
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if code in BUSY:
            return Busy(code)
        if status >= 500 or code == "TransactionInProgressException":
            return Lost(code)
        return Denied(code, str(error), dict(error.response))
    except BotoCoreError as error:
        return Lost(type(error).__name__)

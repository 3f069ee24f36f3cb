"""What the functions load: each only what it uses, because every cold start pays for it."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from payonce.awsclient.client import AwsClient
from payonce.bootstrap import SystemClock
from payonce.stores.dynamodb import Tables, create_tables

from .emulator import emulator, environment
from .keys import bearer, issued_at
from .test_api_handler import ASK, event

# structlog takes rich where it is installed, as here; the package has none, so that is how it is looked at.
CHILD = """
import importlib.abc, json, sys

class NotPacked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {unpacked!r}:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, NotPacked())
import {module} as function

class Context:
    def get_remaining_time_in_millis(self):
        return 20_000

given = json.load(sys.stdin)
answer = None if given is None else function.handler(given, Context())
print(json.dumps([answer, sorted(sys.modules)]), file=sys.stderr)
"""
UNPACKED = {"rich", "pygments", "attr", "attrs"}
NOBODY = (
    *("rich", "pygments", "cyclopts", "click", "docutils"),
    *("apsw", "sqlite3", "uvicorn", "uvloop", "multiprocessing.pool"),
    *("botocore", "boto3", "urllib3", "requests", "aiohttp", "mangum"),
    *("stripe", "razorpay", "cashfree_pg"),
    *("pytest", "hypothesis", "ministack", "samtranslator"),
    *("prometheus_client", "opentelemetry"),
    *(
        "payonce.cli",
        "payonce.demo",
        "payonce.testing",
        "payonce.sandbox",
        "payonce.process",
        "payonce.embedded",
        "payonce.restore",
    ),
    *("payonce.stores.sqlite", "payonce.stores.memory"),
)
SENDING = ("httpx2", "httpcore2", "h11", "payonce.transport")
SERVING = ("starlette", "anyio", "payonce.api", "payonce.serving")
TABLES = Tables(transactions="Transactions", idempotency="Idempotency", registry="Registry")

# function -> what it has no use for, and an event after which that still holds
FUNCTIONS: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "api": (SENDING, event("POST", "/payments", json.dumps(ASK))),
    "worker": (SERVING, {"Records": []}),
    "deliver": ((*SERVING, *SENDING), {"Records": []}),
    "sweeper": ((*SERVING, *SENDING), {}),
}


@pytest.fixture(scope="module")
def around(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a function, with the emulator behind it and tables in it."""
    with emulator(tmp_path_factory.mktemp("aws")) as url:
        settings = environment(url)

        async def make() -> str:
            aws = AwsClient(SystemClock(), environ=settings)
            await create_tables(aws, SystemClock(), TABLES)
            queue = await aws.call("sqs", "CreateQueue", {"QueueName": "due"})
            await aws.close()
            return str(queue.body["QueueUrl"])  # type: ignore[union-attr]

        named = {
            **settings,
            "PAYONCE_QUEUE_URL": asyncio.run(make()),
            "PAYONCE_TRANSACTIONS_TABLE": TABLES.transactions,
            "PAYONCE_IDEMPOTENCY_TABLE": TABLES.idempotency,
            "PAYONCE_REGISTRY_TABLE": TABLES.registry,
            "PAYONCE_SANDBOX_URL": "http://127.0.0.1:9",  # nobody pays here
        }
        yield {**named, "KEY": issued_at(named)}


def loaded(module: str, env: dict[str, str], given: dict[str, Any] | None, folder: Path) -> tuple[Any, list[str]]:
    """The answer to an event, and every module that a fresh interpreter has then."""
    program = CHILD.format(module=module, unpacked=UNPACKED)
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=json.dumps(given),
        env=env,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer, modules = json.loads(done.stderr.splitlines()[-1])
    return answer, modules


def among(modules: list[str], unwanted: tuple[str, ...]) -> list[str]:
    return [name for name in modules if any(name == each or name.startswith(f"{each}.") for each in unwanted)]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_loads_what_it_uses(name: str, tmp_path: Path) -> None:
    """Importing a handler loads nothing that belongs to the command line, another store, another function or an SDK."""
    useless, _ = FUNCTIONS[name]
    _, modules = loaded(f"payonce.aws.{name}", {}, None, tmp_path)
    assert f"payonce.aws.{name}" in modules
    assert among(modules, (*NOBODY, *useless)) == []


@pytest.mark.parametrize("name", FUNCTIONS)
def test_and_so_it_is_after_an_event(name: str, around: dict[str, str], tmp_path: Path) -> None:
    """The app is open, and an event handled: a payment accepted, a batch or a sweep done."""
    useless, given = FUNCTIONS[name]
    env = {n: value for n, value in around.items() if n != "KEY"}
    if name in ("api", "deliver"):
        env |= {"PAYONCE_WEBHOOK_SIGNING_KEY": "env:SIGNING", "SIGNING": "0" * 64}
    if name == "api":
        given = {**given, "headers": {**given["headers"], **bearer(around["KEY"])}}
    answer, modules = loaded(f"payonce.aws.{name}", env, given, tmp_path)
    assert "payonce.stores.dynamodb" in modules
    assert among(modules, (*NOBODY, *useless)) == []
    if name == "api":
        assert answer["statusCode"] == 202
        assert "payonce.wake.sqs" in modules


def test_an_unwanted_module_is_seen() -> None:
    """Of a package its parts count, and no other that begins alike."""
    assert among(["httpx2", "httpx2.extra", "httpx", "payonce.cli.app", "payonce.client"], ("httpx2", "payonce.cli")) == [
        "httpx2",
        "httpx2.extra",
        "payonce.cli.app",
    ]

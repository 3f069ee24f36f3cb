# ruff: noqa: ISC004, PLC0206, SLF001  a script that starts interpreters and looks into libraries
"""Which AWS client: import time, CPU and wall of one call, size in a Lambda zip; all candidates in one run.

    python -m venv /tmp/aws-clients
    /tmp/aws-clients/bin/pip install aiobotocore "aiodynamo[aiohttp]" boto3 httpx2 msgspec
    .venv/bin/python benchmarks/aws_client.py --python /tmp/aws-clients/bin/python

The first Python runs the emulator, the second the candidates. Every measured number comes from a fresh interpreter; the
candidates take turns, so that a busy minute of the machine meets all of them. Read ratios, not absolutes.
"""

import argparse
import asyncio
import itertools
import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TABLE = "Bench"
CALLS = 600  # of one kind, in one measurement
WARM = 40
KEY = {"transactionId": {"S": "pay_bench"}, "item": {"S": "payment"}}
MAKE = """
import botocore.session
names = "transactionId", "item"
botocore.session.get_session().create_client("dynamodb").create_table(
    TableName="Bench",
    BillingMode="PAY_PER_REQUEST",
    AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in names],
    KeySchema=[{"AttributeName": name, "KeyType": kind} for name, kind in zip(names, ("HASH", "RANGE"))],
)
"""
LOG = os.urandom(400)  # about what a settled payment packs to

Call = Callable[[str, dict[str, Any]], Awaitable[Any]]

# --- what is imported -----------------------------------------------------------------------------------------------------
TWO_BOTO = "s = botocore.session.get_session(); [s.create_client(n, region_name='us-east-1') for n in ('dynamodb', 'sqs')]"
CHAIN = "import botocore.auth, botocore.awsrequest, botocore.session; botocore.session.get_session().get_credentials()"
# with the ports and msgspec, which payonce needs anyway
OURS = "import payonce.awsclient.client as a; a.AwsClient(None); ssl.create_default_context()"
IMPORTS = {
    "empty": "pass",
    "asyncio": "import asyncio",
    "boto3": "import boto3",
    "boto3, 2 clients": "import asyncio, boto3; [boto3.client(n, region_name='us-east-1') for n in ('dynamodb', 'sqs')]",
    "botocore, 2 clients": f"import asyncio, botocore.session; {TWO_BOTO}",
    "aiobotocore, 2 clients": """
import asyncio, contextlib
from aiobotocore.session import get_session
async def main():
    async with contextlib.AsyncExitStack() as stack:
        for name in ('dynamodb', 'sqs'):
            await stack.enter_async_context(get_session().create_client(name, region_name='us-east-1'))
asyncio.run(main())""",
    "aiodynamo (no SQS)": """
import asyncio, aiohttp
from aiodynamo.client import Client
from aiodynamo.credentials import Credentials
from aiodynamo.http.aiohttp import AIOHTTP""",
    "signer + httpx2": f"import asyncio, httpx2; {CHAIN}; httpx2.AsyncHTTPTransport()",
    "signer + httpcore2": f"import asyncio, ssl, httpcore2; {CHAIN}; ssl.create_default_context()",
    "signer + urllib3": f"import asyncio, urllib3; {CHAIN}; urllib3.PoolManager()",
    "payonce.awsclient": f"import asyncio, ssl, sys; sys.path.insert(0, {str(ROOT / 'src')!r}); {OURS}",
}


def params(operation: str, number: int) -> dict[str, Any]:
    """A read, a change of a payment, and accepting one, as the store makes them."""
    if operation == "GetItem":
        return {"TableName": TABLE, "Key": KEY, "ConsistentRead": True}
    if operation == "UpdateItem":
        return {
            "TableName": TABLE,
            "Key": KEY,
            "UpdateExpression": "SET #l = :l, version = :v, head = :h",
            "ExpressionAttributeNames": {"#l": "log"},
            "ExpressionAttributeValues": {":l": {"B": LOG}, ":v": {"N": str(number)}, ":h": {"B": LOG[:32]}},
        }
    name = f"{os.getpid()}-{number}"
    row = {"transactionId": {"S": name}, "item": {"S": "payment"}, "log": {"B": LOG}, "version": {"N": "1"}}
    key = {"transactionId": {"S": f"key#{name}"}, "item": {"S": "key"}}
    held = "attribute_not_exists(transactionId)"
    puts = [{"Put": {"TableName": TABLE, "Item": item, "ConditionExpression": held}} for item in (row, key)]
    return {"TransactItems": puts, "ClientRequestToken": name}


# --- candidates -----------------------------------------------------------------------------------------------------------
async def botocore_threads(_url: str) -> Call:
    from concurrent.futures import ThreadPoolExecutor

    import botocore.session
    from botocore.config import Config

    config = Config(retries={"total_max_attempts": 1}, max_pool_connections=32, parameter_validation=False)
    client = botocore.session.get_session().create_client("dynamodb", config=config)
    pool, loop = ThreadPoolExecutor(32), asyncio.get_running_loop()
    return lambda operation, given: loop.run_in_executor(pool, client._make_api_call, operation, given)


async def aiobotocore_client(_url: str) -> Call:
    from aiobotocore.config import AioConfig
    from aiobotocore.session import get_session

    config = AioConfig(retries={"total_max_attempts": 1}, max_pool_connections=32, parameter_validation=False)
    client = await get_session().create_client("dynamodb", config=config).__aenter__()
    call: Call = client._make_api_call
    return call


async def aiodynamo_client(url: str) -> Call:
    import aiohttp
    from aiodynamo.client import Client
    from aiodynamo.credentials import Credentials
    from aiodynamo.expressions import F
    from aiodynamo.http.aiohttp import AIOHTTP
    from aiodynamo.models import StaticDelayRetry
    from aiodynamo.operations import Put
    from yarl import URL

    retry = StaticDelayRetry(time_limit_secs=1)
    client = Client(AIOHTTP(aiohttp.ClientSession()), Credentials.auto(), "us-east-1", URL(url), throttle_config=retry)
    key = {"transactionId": "pay_bench", "item": "payment"}

    async def call(operation: str, given: dict[str, Any]) -> None:
        if operation == "GetItem":
            await client.get_item(TABLE, key, consistent_read=True)
        elif operation == "UpdateItem":
            number = int(given["ExpressionAttributeValues"][":v"]["N"])
            await client.update_item(TABLE, key, F("log").set(LOG) & F("version").set(number) & F("head").set(LOG[:32]))
        else:
            rows = [{k: _plain(v) for k, v in put["Put"]["Item"].items()} for put in given["TransactItems"]]
            puts = [Put(TABLE, row, condition=F("transactionId").does_not_exist()) for row in rows]
            await client.transact_write_items(puts, request_token=given["ClientRequestToken"])

    return call


def _plain(value: dict[str, Any]) -> Any:
    return int(value["N"]) if "N" in value else value.get("S", value.get("B"))


def _signer() -> Callable[[str, str, bytes], dict[str, str]]:
    """botocore's credential chain and its own SigV4."""
    import botocore.session
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest

    credentials = botocore.session.get_session().get_credentials()

    def sign(operation: str, url: str, body: bytes) -> dict[str, str]:
        headers = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": f"DynamoDB_20120810.{operation}"}
        request = AWSRequest("POST", url, headers, body)
        SigV4Auth(credentials.get_frozen_credentials(), "dynamodb", "us-east-1").add_auth(request)
        return dict(request.headers.items())

    return sign


async def signer_httpx2(url: str) -> Call:
    import httpx2
    import msgspec

    sign, url = _signer(), url + "/"
    http = httpx2.AsyncHTTPTransport(trust_env=False, limits=httpx2.Limits(max_connections=32))

    async def call(operation: str, given: dict[str, Any]) -> Any:
        body = msgspec.json.encode(given)
        reply = await http.handle_async_request(httpx2.Request("POST", url, headers=sign(operation, url, body), content=body))
        content = await reply.aread()
        assert reply.status_code == 200, content
        return msgspec.json.decode(content)

    return call


async def signer_httpcore2(url: str) -> Call:
    import httpcore2
    import msgspec

    sign, url = _signer(), url + "/"
    http = httpcore2.AsyncConnectionPool(max_connections=32)

    async def call(operation: str, given: dict[str, Any]) -> Any:
        body = msgspec.json.encode(given)
        headers = [*sign(operation, url, body).items(), ("Host", url.split("/")[2]), ("Content-Length", str(len(body)))]
        reply = await http.request("POST", url, headers=headers, content=body)
        assert reply.status == 200, reply.content
        return msgspec.json.decode(reply.content)

    return call


async def payonce_client(_url: str) -> Call:
    sys.path.insert(0, str(ROOT / "src"))
    from payonce.awsapi import Done
    from payonce.awsclient.client import AwsClient

    client = AwsClient(Machine())

    async def call(operation: str, given: dict[str, Any]) -> None:
        answer = await client.call("dynamodb", operation, given)
        assert isinstance(answer, Done), answer

    return call


class Machine:
    """This machine's time."""

    def now_us(self) -> int:
        return time.time_ns() // 1000

    def monotonic_us(self) -> int:
        return time.monotonic_ns() // 1000

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


CANDIDATES: dict[str, Callable[[str], Awaitable[Call]]] = {
    "botocore in threads": botocore_threads,
    "aiobotocore": aiobotocore_client,
    "aiodynamo": aiodynamo_client,
    "signer + httpx2": signer_httpx2,
    "signer + httpcore2": signer_httpcore2,
    "payonce.awsclient": payonce_client,
}
OPERATIONS = ("GetItem", "UpdateItem", "TransactWriteItems")


async def drive(name: str, url: str) -> dict[str, list[float]]:
    """CPU and wall of one call in microseconds, per operation and number of tasks. All threads of the process count."""
    call = await CANDIDATES[name](url)
    numbers = itertools.count()
    found: dict[str, list[float]] = {}
    for operation, tasks in itertools.product(OPERATIONS, (1, 16)):

        async def some(calls: int, operation: str = operation) -> None:
            for _ in range(calls):
                await call(operation, params(operation, next(numbers)))

        await asyncio.gather(*(some(WARM // tasks + 1) for _ in range(tasks)))
        cpu, wall = time.process_time(), time.perf_counter()
        await asyncio.gather(*(some(CALLS // tasks) for _ in range(tasks)))
        done = CALLS // tasks * tasks
        used = (time.process_time() - cpu, time.perf_counter() - wall)
        found[f"{operation} {tasks}"] = [round(each / done * 1e6) for each in used]
    return found


# --- the run --------------------------------------------------------------------------------------------------------------
def import_ms(python: str, code: str) -> tuple[float, float] | None:
    """(wall, CPU) of a fresh interpreter that runs it, start and end of the interpreter included; None: it cannot."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}  # without .pyc all would be compiled anew
    done = subprocess.run([python, "-c", code], capture_output=True, check=False, env=env)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return (wall * 1000, cpu * 1000) if done.returncode == 0 else None


def report_imports(python: str, rounds: int) -> None:
    seen: dict[str, list[tuple[float, float]]] = {name: [] for name in IMPORTS}
    for number in range(rounds + 1):
        for name, code in IMPORTS.items():
            one = import_ms(python, code)
            if one and number:  # the first round only writes the .pyc files
                seen[name].append(one)
    wall = {n: statistics.median(w for w, _ in each) for n, each in seen.items() if each}
    cpu = {n: statistics.median(c for _, c in each) for n, each in seen.items() if each}
    print(f"{'import':24} {'wall ms':>8} {'cpu ms':>8} {'x empty':>8} {'x boto3':>8}   (median of {rounds}; ratios of CPU)")
    for name in wall:
        print(f"{name:24} {wall[name]:8.0f} {cpu[name]:8.0f} {cpu[name] / cpu['empty']:8.1f} {cpu[name] / cpu['boto3']:8.2f}")


def report_calls(python: str, url: str, rounds: int) -> None:
    seen: dict[str, list[dict[str, list[float]]]] = {name: [] for name in CANDIDATES}
    for _ in range(rounds):
        for name, runs in seen.items():
            run = subprocess.run([python, __file__, "--drive", name, url], capture_output=True, text=True, check=False)
            if run.returncode:
                print(f"{name}: {run.stderr.strip().splitlines()[-1]}")
            else:
                runs.append(json.loads(run.stdout))
    columns = [f"{operation} {tasks}" for operation in OPERATIONS for tasks in (1, 16)]
    print(f"\n{'CPU/wall us per call':24}" + "".join(f"{c.replace('WriteItems', ''):>16}" for c in columns))
    for name, runs in seen.items():
        if runs:
            cells = [[statistics.median(run[c][i] for run in runs) for i in (0, 1)] for c in columns]
            print(f"{name:24}" + "".join(f"{f'{cpu:.0f}/{wall:.0f}':>16}" for cpu, wall in cells))


SIZES = {
    "botocore, 4 services": ("botocore jmespath dateutil six.py urllib3", True),
    "botocore, whole": ("botocore jmespath dateutil six.py urllib3", False),
    "boto3, whole": ("boto3 s3transfer botocore jmespath dateutil six.py urllib3", False),
    "aiobotocore, 4 services": (
        "aiobotocore aiohttp aiohappyeyeballs aiosignal attr attrs frozenlist multidict propcache yarl idna aioitertools wrapt "
        "typing_extensions.py botocore jmespath dateutil six.py urllib3",
        True,
    ),
    "aiodynamo, no SQS": (
        "aiodynamo aiohttp aiohappyeyeballs aiosignal attr attrs frozenlist multidict propcache yarl idna",
        True,
    ),
    "payonce.awsclient": ("", None),  # nothing that payonce has not
    "signer + httpx2": ("botocore jmespath dateutil six.py urllib3 httpx2 httpcore2 h11 anyio idna truststore", None),
}
SERVICES = ("dynamodb", "sqs", "secretsmanager", "ssm")


def report_sizes(python: str) -> None:
    """Unpacked and zipped kB of what a function would have to carry, without byte code."""
    code = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
    site = Path(subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip())
    print(f"\n{'packed into a zip':24} {'kB':>8} {'zip kB':>8}")
    for name, (packages, trimmed) in SIZES.items():
        files = [f for p in packages.split() if (site / p).exists() for f in sorted((site / p).rglob("*")) or [site / p]]
        kept = [f for f in files if f.is_file() and f.suffix != ".pyc" and not _dropped(f.relative_to(site), trimmed)]
        print(f"{name:24} {sum(f.stat().st_size for f in kept) / 1000:8.0f} {_zipped(kept, site) / 1000:8.0f}")


def _dropped(path: Path, trimmed: bool | None) -> bool:
    """Models of services that nobody asks. None: all of them, for a client that needs no model."""
    if trimmed is False or path.parts[:2] != ("botocore", "data") or len(path.parts) == 3:
        return False
    return trimmed is None or path.parts[2] not in SERVICES


def _zipped(files: list[Path], site: Path) -> int:
    import zipfile

    with tempfile.TemporaryFile() as out:
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in files:
                archive.write(file, file.relative_to(site))
        return out.tell()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable, help="the interpreter that has the candidates")
    parser.add_argument("--rounds", type=int, default=9, help="of the imports; the calls get a third")
    parser.add_argument("--drive", nargs=2, metavar=("NAME", "URL"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.drive:
        print(json.dumps(asyncio.run(drive(*args.drive))))
        return
    sys.path.insert(0, str(ROOT))
    from tests.aws.emulator import emulator, environment

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the emulator ends too
    report_imports(args.python, args.rounds)
    with tempfile.TemporaryDirectory() as folder, emulator(Path(folder)) as url:
        os.environ.update(environment(url))
        subprocess.run([sys.executable, "-c", MAKE], check=True)
        report_calls(args.python, url, max(1, args.rounds // 3))
    report_sizes(args.python)


if __name__ == "__main__":
    main()

# ruff: noqa: INP001, S603  a script beside the package, which starts interpreters
"""What a cold start of each function costs: `python -m tools.coldstart`.

The package is built as `make aws-package` does it and unpacked, and each handler is imported from there in fresh interpreters
that see nothing else; so is an empty handler, and an empty one with boto3, as the measure. They take turns, so that a busy
minute of the machine meets all of them. CPU counts, start and end of the interpreter included: wall time of a shared machine
says little. Read ratios, not milliseconds; on Lambda the start has about one whole processor.

"opened" is the import and the app opened on its settings (accounts, store, client), as ``runtime.warm`` does it: that asks
DynamoDB, here the emulator, one thing. "no .pyc" is the import from a package without byte code, as it is when it was built
with another Python.
"""

import argparse
import asyncio
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Final

from tests.aws.emulator import emulator, environment
from tools.aws_package import build

from payonce.awsclient.client import AwsClient
from payonce.bootstrap import SystemClock
from payonce.stores.dynamodb import Tables, create_tables

HANDLERS: Final = ("payonce.aws.api", "payonce.aws.worker", "payonce.aws.deliver", "payonce.aws.sweeper")
CLIENTS: Final = "[boto3.client(name, region_name='eu-west-1') for name in ('dynamodb', 'sqs')]"
EMPTY: Final = "def handler(event, context): return {}"
TABLES: Final = Tables(transactions="Transactions", idempotency="Idempotency", registry="Registry")
# what a function has around it, beside credentials
SETTINGS: Final = {
    "PAYONCE_TRANSACTIONS_TABLE": TABLES.transactions,
    "PAYONCE_IDEMPOTENCY_TABLE": TABLES.idempotency,
    "PAYONCE_REGISTRY_TABLE": TABLES.registry,
    "PAYONCE_QUEUE_URL": "http://127.0.0.1:9/000000000000/due",  # nobody asks them
    "PAYONCE_DELIVERIES_URL": "http://127.0.0.1:9/000000000000/deliveries",
    "PAYONCE_SANDBOX_URL": "http://127.0.0.1:9",
}


def starts(folder: Path, bare: Path) -> dict[str, tuple[list[str], str]]:
    """Name -> (interpreter's options, program). ``folder``: the package; ``bare``: the same without byte code."""
    found: dict[str, tuple[list[str], str]] = {
        "empty handler": (["-I", "-S"], EMPTY),
        "empty, import boto3": (["-I"], f"import boto3\n{EMPTY}"),
        "empty, boto3 with 2 clients": (["-I"], f"import boto3\n{CLIENTS}\n{EMPTY}"),
    }
    for module in HANDLERS:
        found[module] = ["-I", "-S"], _seeing(folder, f"import {module}")
        found[f"{module}, opened"] = (
            ["-I", "-S"],
            _seeing(folder, f"import {module}; from payonce.aws import runtime; runtime.app()"),
        )
        found[f"{module}, no .pyc"] = ["-I", "-S", "-B"], _seeing(bare, f"import {module}")
    return found


def _seeing(folder: Path, program: str) -> str:
    return f"import sys; sys.path.insert(0, {str(folder)!r}); {program}"


def cpu_ms(options: list[str], program: str, env: dict[str, str]) -> float:
    """CPU of one fresh interpreter. Raises subprocess.CalledProcessError."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *options, "-c", program], env=env, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime) * 1000


def measure(rounds: int, package: Path, env: dict[str, str]) -> dict[str, float]:
    """Name -> median CPU in milliseconds."""
    with tempfile.TemporaryDirectory() as name:
        folder, bare = Path(name, "package"), Path(name, "bare")
        with zipfile.ZipFile(package) as archive:
            archive.extractall(folder)
        shutil.copytree(folder, bare, ignore=shutil.ignore_patterns("*.pyc"))
        programs = starts(folder, bare)
        for options, program in programs.values():  # files get into the cache, and boto3 its byte code
            cpu_ms(options, program, env)
        seen: dict[str, list[float]] = {each: [] for each in programs}
        for _ in range(rounds):
            for each, (options, program) in programs.items():
                seen[each].append(cpu_ms(options, program, env))
    return {each: statistics.median(times) for each, times in seen.items()}


async def make_tables(around: dict[str, str]) -> None:
    """In the emulator."""
    aws = AwsClient(SystemClock(), environ=around)
    await create_tables(aws, SystemClock(), TABLES)
    await aws.close()


def table(found: dict[str, float]) -> str:
    """Aligned rows, with ratios to the empty handlers."""
    empty, imported, clients = found["empty handler"], found["empty, import boto3"], found["empty, boto3 with 2 clients"]
    rows = [f"{'cold start':32}{'CPU ms':>8}{'x empty':>9}{'x boto3':>9}{'x with clients':>16}"]
    for name, ms in found.items():
        rows.append(f"{name:32}{ms:8.0f}{ms / empty:9.1f}{ms / imported:9.2f}{ms / clients:16.2f}")
    return "\n".join(rows)


def main(arguments: list[str] | None = None) -> int:
    """Measure, and print the table and the size of the package."""
    parser = argparse.ArgumentParser(prog="python -m tools.coldstart", description="Measure the cold start of each function.")
    parser.add_argument("--rounds", type=int, default=9)
    wish = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the emulator ends too
    with tempfile.TemporaryDirectory() as name:
        package = build(Path(name, "payonce.zip"), local=True, python=f"{sys.version_info[0]}.{sys.version_info[1]}")
        with zipfile.ZipFile(package) as archive:
            files = archive.infolist()
        with emulator(Path(name)) as url:
            around = environment(url)
            asyncio.run(make_tables(around))
            print(table(measure(wish.rounds, package, around | SETTINGS)))
        packed, unpacked = (sum(size) / 1000 for size in zip(*((f.compress_size, f.file_size) for f in files), strict=True))
        code = sum(f.file_size for f in files if f.filename.endswith(".pyc")) / 1000
    print(f"\none package for all four: {packed:.0f} kB packed, {unpacked:.0f} kB unpacked, {code:.0f} kB of it byte code")
    return 0


if __name__ == "__main__":
    sys.exit(main())

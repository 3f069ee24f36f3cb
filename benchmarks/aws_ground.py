"""The ground of the AWS benchmark: the local emulator on loopback, with the tables and queues of payonce and of the starter."""

import asyncio
import math
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tests.aws.keys import issued_at

from payonce.awsapi import Done, Service
from payonce.awsclient.client import AwsClient
from payonce.bootstrap import SystemClock
from payonce.stores.dynamodb import Tables, create_tables
from payonce.testing.amazon.values import item_size

from .procs import ROOT, Broken, Proc, free_port, wait_http

REGION: Final = "us-east-1"
TABLES: Final = Tables(transactions="Transactions", idempotency="Idempotency", registry="Registry")
STARTER_TABLES: Final = {"StarterTransactions": "transactionId", "StarterIdempotency": "idempotencyKey"}
QUEUES: Final = ("payonce-due", "payonce-dead", "payonce-deliveries", "starter-queue")
HIDDEN_S: Final = "540"
POLLS_MAX: Final = 50
UNIT_BYTES: Final = 1024  # of a write unit; a read unit is 4 of them, and half of one when it need not be consistent


class Ground:
    """``env`` is what payonce's functions have around them, ``starter_env`` the starter's, ``key`` an API key of payonce."""

    def __init__(self, url: str, aws: AwsClient, runner: asyncio.Runner) -> None:
        self._aws, self._runner = aws, runner
        clock = SystemClock()
        runner.run(create_tables(aws, clock, TABLES))
        for name, key in STARTER_TABLES.items():
            self.call("dynamodb", "CreateTable", _table(name, key))
        urls = [
            str(self.call("sqs", "CreateQueue", {"QueueName": name, "Attributes": {"VisibilityTimeout": HIDDEN_S}})["QueueUrl"])
            for name in QUEUES
        ]
        around = environment(url)
        self.env = {
            **around,
            "PAYONCE_TRANSACTIONS_TABLE": TABLES.transactions,
            "PAYONCE_IDEMPOTENCY_TABLE": TABLES.idempotency,
            "PAYONCE_REGISTRY_TABLE": TABLES.registry,
            "PAYONCE_QUEUE_URL": urls[0],
            "PAYONCE_DEAD_LETTER_URL": urls[1],
            "PAYONCE_DELIVERIES_URL": urls[2],
        }
        transactions, keys = STARTER_TABLES
        self.starter_env = {**around, "TRAN_TABLE": transactions, "IDEM_TABLE": keys, "SQS_QUEUE_URL": urls[3]}
        self.key = issued_at(self.env)

    def call(self, service: Service, operation: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """What AWS answers. Raises Broken when it does not do it."""
        answer = self._runner.run(self._aws.call(service, operation, params))
        if not isinstance(answer, Done):
            raise Broken(f"the emulator refused {operation}: {answer}")
        return answer.body

    def received(self, queue: str, most: int) -> list[dict[str, Any]]:
        """1 to ``most`` messages, as a mapping puts them into an event. Raises Broken when none comes."""
        asked = {"QueueUrl": queue, "MaxNumberOfMessages": most, "WaitTimeSeconds": 1}
        for _ in range(POLLS_MAX):
            if found := self.call("sqs", "ReceiveMessage", asked).get("Messages"):
                return [_record(message) for message in found]
        raise Broken(f"no message came to {queue}")

    def delete(self, queue: str, records: Sequence[Mapping[str, Any]]) -> None:
        """As the mapping does after the function."""
        entries = [{"Id": str(n), "ReceiptHandle": record["receiptHandle"]} for n, record in enumerate(records)]
        self.call("sqs", "DeleteMessageBatch", {"QueueUrl": queue, "Entries": entries})

    def visible(self, queue: str) -> int:
        """Messages that are visible still."""
        asked = {"QueueUrl": queue, "AttributeNames": ["ApproximateNumberOfMessages"]}
        return int(self.call("sqs", "GetQueueAttributes", asked)["Attributes"]["ApproximateNumberOfMessages"])


def environment(url: str) -> dict[str, str]:
    """What makes clients of AWS go there."""
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


@contextmanager
def ground(folder: Path) -> Iterator[Ground]:
    """Until the block ends. Raises Broken when there is no emulator, or it does not start."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    own = {  # without BIND_HOST it listens to everybody
        "GATEWAY_PORT": str(port),
        "BIND_HOST": "127.0.0.1",
        "MINISTACK_HOST": "127.0.0.1",
        "STATE_DIR": str(folder / "state"),
        "TMPDIR": str(folder),
    }
    with (
        Proc.start([emulator()], log=folder / "emulator.log", env=own, cwd=folder, name="emulator") as proc,
        asyncio.Runner() as runner,
    ):
        wait_http(f"{url}/_ministack/health", proc)
        aws = AwsClient(SystemClock(), environ=environment(url))
        try:
            yield Ground(url, aws, runner)
        finally:
            runner.run(aws.close())


def emulator() -> str:
    """The command; empty when it is not installed. It is in the development environment."""
    for folder in (Path(sys.executable).parent, ROOT / ".venv" / "bin"):
        if (folder / "ministack").exists():
            return str(folder / "ministack")
    return shutil.which("ministack") or ""


def _table(name: str, key: str) -> dict[str, Any]:
    return {
        "TableName": name,
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{"AttributeName": key, "AttributeType": "S"}],
        "KeySchema": [{"AttributeName": key, "KeyType": "HASH"}],
    }


def _record(message: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": {"ApproximateReceiveCount": "1"},
        "eventSource": "aws:sqs",
    }


def units_of_starter(g: Ground) -> tuple[float, float]:
    """Write and read units of one payment of the starter, by the sizes of what it wrote: two puts and an update, a look for the
    key that need not be consistent."""
    transactions, keys = (g.call("dynamodb", "Scan", {"TableName": name, "Limit": 1})["Items"][0] for name in STARTER_TABLES)
    return 2 * _units(transactions) + _units(keys), 0.5


def _units(item: Mapping[str, Any]) -> int:
    return math.ceil(item_size(dict(item)) / UNIT_BYTES)

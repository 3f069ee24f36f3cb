"""The three tables as data: what ``CreateTable`` takes, and how rows are spread over the partitions of an index.

- **Transactions**: all rows of a payment lie under its id (``items.py`` names them); webhooks, deliveries, provider ids and
  the places of the feed have partitions of their own. Four indexes, all of which only nominate: what they show is read again
  from the table. ``due`` holds only what is due some time, ``eyes`` only what needs eyes, ``notices`` only payments with news
  that somebody is still to be told: a row without the index's key attributes is not in it (a sparse index; the emulator does
  it so, the page of the guide on it was not read again).
- **Idempotency**: one row per key of a merchant and mode.
- **Registry**: drain switches and breakers, merchants, API keys, endpoints, the journal.

Why shards: a partition takes 1,000 write units a second at most, also in an index (docs.aws.amazon.com, DynamoDB developer
guide, "Understanding DynamoDB warm throughput in different scenarios", read 2026-11), an index that cannot follow throttles
its table ("GSI write throttling and back pressure", the same), and all due times would share one key without them. A plain
success writes two entries of the due index and two of the list index: 16 shards carry 8,000 of them a second.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal

from msgspec import Struct

from payonce.awsapi import Aws, Busy, Denied, Done, Lost
from payonce.core.errors import StoreUnavailable
from payonce.ports import Clock

SHARDS: Final = 16
SHARDS_MAX: Final = 100  # two digits
ACTIVE_TRIES_MAX: Final = 100
ACTIVE_PAUSE_S: Final = 0.2

DUE_INDEX: Final = "due"
LIST_INDEX: Final = "list"
EYES_INDEX: Final = "eyes"
NOTICES_INDEX: Final = "notices"
# Over how many partitions a merchant's feed and deliveries are spread, each of 1,000 write units a second. A reader must know
# all of them, so these never change.
FEED_LANES: Final = 8
DELIVERY_LANES: Final = 4

Role = Literal["transactions", "idempotency", "registry"]


class Tables(Struct, frozen=True, kw_only=True):
    """Names of the tables. ``shards`` (1 to 100) is over how many partitions each index key is spread: it may be raised at
    any time, and must never be lowered, because rows keep the shard they were written with."""

    transactions: str
    idempotency: str
    registry: str
    shards: int = SHARDS

    def __post_init__(self) -> None:
        if not 1 <= self.shards <= SHARDS_MAX:
            raise ValueError(f"shards is 1 to {SHARDS_MAX}")

    def named(self, role: Role) -> str:
        """The name of the table with this role."""
        return {"transactions": self.transactions, "idempotency": self.idempotency, "registry": self.registry}[role]


def _keys(hash_key: str, range_key: str | None = None) -> list[dict[str, str]]:
    keys = [{"AttributeName": hash_key, "KeyType": "HASH"}]
    return keys if range_key is None else [*keys, {"AttributeName": range_key, "KeyType": "RANGE"}]


def _attributes(**types: str) -> list[dict[str, str]]:
    return [{"AttributeName": name, "AttributeType": kind} for name, kind in types.items()]


def _index(name: str, hash_key: str, range_key: str, *columns: str) -> dict[str, Any]:
    projection: dict[str, Any] = {"ProjectionType": "KEYS_ONLY"}
    if columns:
        projection = {"ProjectionType": "INCLUDE", "NonKeyAttributes": list(columns)}
    return {"IndexName": name, "KeySchema": _keys(hash_key, range_key), "Projection": projection}


CREATE: Final[Mapping[Role, Mapping[str, Any]]] = {
    "transactions": {
        "BillingMode": "PAY_PER_REQUEST",
        "KeySchema": _keys("transactionId", "item"),
        "AttributeDefinitions": _attributes(
            transactionId="S",
            item="S",
            dueShard="S",
            dueAt="N",
            listKey="S",
            listed="B",
            eyes="S",
            noticeShard="S",
            noticeAt="N",
        ),
        "GlobalSecondaryIndexes": [
            _index(DUE_INDEX, "dueShard", "dueAt"),
            _index(LIST_INDEX, "listKey", "listed", "status", "provider", "currency", "client"),
            _index(EYES_INDEX, "eyes", "listed"),
            _index(NOTICES_INDEX, "noticeShard", "noticeAt"),
        ],
    },
    "idempotency": {
        "BillingMode": "PAY_PER_REQUEST",
        "KeySchema": _keys("scopedKey"),
        "AttributeDefinitions": _attributes(scopedKey="S"),
    },
    "registry": {
        "BillingMode": "PAY_PER_REQUEST",
        "KeySchema": _keys("kind", "name"),
        "AttributeDefinitions": _attributes(kind="S", name="S"),
    },
}


async def create_tables(aws: Aws, clock: Clock, tables: Tables) -> None:
    """Make the tables that are not there yet and wait until all can be used; for tests and local runs, where no template
    does it. What is there already is left as it is. Raises StoreUnavailable."""
    for role, definition in CREATE.items():
        params = {"TableName": tables.named(role), **definition}
        answer = await aws.call("dynamodb", "CreateTable", params)
        if isinstance(answer, Denied) and answer.code != "ResourceInUseException":
            raise StoreUnavailable(f"The table {tables.named(role)} was not made: {answer.message} No payment was touched.")
    for role in CREATE:
        await _until_active(aws, clock, tables.named(role))


async def _until_active(aws: Aws, clock: Clock, name: str) -> None:
    for _ in range(ACTIVE_TRIES_MAX):
        match await aws.call("dynamodb", "DescribeTable", {"TableName": name}):
            case Done(body=body) if body["Table"]["TableStatus"] == "ACTIVE":
                return
            case Done() | Denied() | Busy() | Lost():
                await clock.sleep(ACTIVE_PAUSE_S)
    raise StoreUnavailable(f"The table {name} is not usable yet. No payment was touched; try again.")


def shard(kind: str, id: str, shards: int) -> str:
    """The partition of ``id`` in the due index, e.g. "payment#07": from the last characters of the id, which are random in
    ours, and derived from digests in others."""
    return f"{kind}#{spread(id, shards):02d}"


def shard_names(kind: str, shards: int) -> tuple[str, ...]:
    """All partitions of a kind, those that ``shard`` may name."""
    return tuple(f"{kind}#{n:02d}" for n in range(shards))


def spread(id: str, shards: int) -> int:
    """A number below ``shards`` that depends on the id alone, in every process and version."""
    number = 0
    for byte in id[-8:].encode():
        number = number * 31 + byte
    return number % shards

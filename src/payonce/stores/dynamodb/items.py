"""What lies in the tables, item by item, and how a payment's row is written and read back.

Transactions, partition = payment id:
    payment             the row: the newest events as one packed ``log``, what lies ``beside`` them, columns for the indexes
    event#000001        an older part of the log, named by its first event; written once, only longer ones replace it
    body#<sha256>       one body that is too big for the row
    beside#<digest>     an older part of what lies beside: bodies and references, each part names the one before
Transactions, partition ``ref#<value>``: ref#<account>#<kind>#<payment id>: that payment may be known under this value
Transactions, partition ``label#<mode>#<merchant>#<digest>#<shard>``: <created><payment id>: it has this metadata value
Transactions, other partitions: webhooks (``inbox``), deliveries (``outbox``), places of the feed (``feed``)
Idempotency, key ``<mode>#<merchant>#<key>``: what the key stands for
"""

from typing import Any, Final
from urllib.parse import quote

from msgspec import Struct

from payonce.core.errors import InvariantViolated, NewerSchema
from payonce.core.events import digest
from payonce.core.payment import SCHEMA, Payment
from payonce.ports import KeyRow, Ref, Scope

from . import packing
from .asking import Item, binary, number, text
from .tables import Tables, shard, spread

ROW: Final = "payment"
EVENT: Final = "event#"
KEY_BYTES_MAX: Final = 1000  # of a part of a key: one that is longer stands as its digest (a sort key has at most 1,024 bytes)
KEY_PART_MAX: Final = 200  # bytes of account and kind of a reference, likewise


class Row(Struct, frozen=True, kw_only=True):
    """The row of a payment as stored; the payment itself is the fold of its log."""

    id: str
    version: int
    head: str  # hash of the last event, hex
    log: bytes  # packed, events from ``log_from`` to ``version``
    log_from: int = 1
    beside: bytes = b""  # packed, see ``beside``
    due_us: int | None = None
    due_at_us: int | None = None  # where the due index has it: never later than due_us
    status: str = ""
    provider: str = ""  # as the list index has it; "" = it does not say


def row_key(payment_id: str) -> Item:
    return {"transactionId": text(payment_id), "item": text(ROW)}


def row_of(item: Item) -> Row:
    """A stored row. Raises NewerSchema, InvariantViolated for one that is damaged."""
    id = item["transactionId"]["S"]
    try:
        schema = int(item["schema"]["N"])
        if schema > SCHEMA:
            raise newer(id, schema)
        return Row(
            id=id,
            version=int(item["version"]["N"]),
            head=item["head"]["B"].hex(),
            log=item["log"]["B"],
            log_from=int(item["logFrom"]["N"]) if "logFrom" in item else 1,
            beside=item["beside"]["B"] if "beside" in item else b"",
            due_us=due_of(item),
            due_at_us=int(item["dueAt"]["N"]) if "dueAt" in item else None,
            status=item["status"]["S"],
            provider=item["provider"]["S"] if "provider" in item else "",
        )
    except (KeyError, ValueError, AttributeError, TypeError) as e:
        raise InvariantViolated(f"the row of {id} is unreadable: {e!r}. Nothing was touched; run `payonce verify`.") from e


def newer(id: str, schema: int) -> NewerSchema:
    return NewerSchema(
        f"{id} has schema {schema}, this payonce knows up to {SCHEMA}: a newer version wrote it. "
        "Nothing was touched; run the newer payonce."
    )


def due_of(item: Item) -> int | None:
    """When a row is due, of any schema."""
    return int(item["due"]["N"]) if "due" in item else None


def due_columns(row: Row, shards: int) -> dict[str, Any]:
    """The attributes of a row's due time; without one it is not in the due index."""
    if row.due_us is None or row.due_at_us is None:
        return {"due": None, "dueAt": None, "dueShard": None}
    return {"due": number(row.due_us), "dueAt": number(row.due_at_us), "dueShard": text(shard("payment", row.id, shards))}


def notice_columns(payment_id: str, at_us: int, shards: int) -> dict[str, Any]:
    """The attributes of a row whose news somebody is to be told, to be looked at from ``at_us`` on; without them it is not in
    the index. ``noticeFrom``, which stays beside them, is the first seq that is still to be told."""
    return {"noticeShard": text(shard("notice", payment_id, shards)), "noticeAt": number(at_us)}


def segment_key(payment_id: str, first_seq: int) -> Item:
    return {"transactionId": text(payment_id), "item": text(f"{EVENT}{first_seq:06d}")}


def segment_put(table: str, payment_id: str, first_seq: int, last_seq: int, log: bytes) -> dict[str, Any]:
    """An older part of the log, moved out of the row. A write that comes late never replaces a longer one."""
    return {
        "TableName": table,
        "Item": segment_key(payment_id, first_seq) | {"log": binary(log), "to": number(last_seq)},
        "ConditionExpression": "attribute_not_exists(#id) OR #to < :to",
        "ExpressionAttributeNames": {"#id": "transactionId", "#to": "to"},
        "ExpressionAttributeValues": {":to": number(last_seq)},
    }


def body_key(payment_id: str, sha256: str) -> Item:
    return {"transactionId": text(payment_id), "item": text(f"body#{sha256}")}


def beside_key(payment_id: str, name: str) -> Item:
    return {"transactionId": text(payment_id), "item": text(f"beside#{name}")}


def packed_put(table: str, key: Item, packed: bytes) -> dict[str, Any]:
    """A ``body#`` or ``beside#`` item: named by what is in it, so that writing it twice changes nothing."""
    return {"TableName": table, "Item": key | {"packed": binary(packed)}}


def ref_partition(value: str) -> str:
    return "ref#" + _bounded(value, KEY_BYTES_MAX)


def ref_prefix(account: str) -> str:
    """How the sort keys of an account's references begin."""
    return f"ref#{_escaped(account)}#"


def ref_put(table: str, ref: Ref, payment_id: str) -> dict[str, Any]:
    sort = f"{ref_prefix(ref.account)}{_escaped(ref.kind)}#{payment_id}"
    return {"TableName": table, "Item": {"transactionId": text(ref_partition(ref.value)), "item": text(sort)}}


def named_by(item: Item) -> str:
    """The payment that a reference's item leads to."""
    return str(item["item"]["S"].rpartition("#")[2])


def label_partition(scope: Scope, value: str, shard_name: str) -> str:
    """Of the payments with a metadata value, of which only a digest is kept here."""
    return f"label#{list_scope(scope)}#{digest(value.encode())[:32]}#{shard_name}"


def label_sort(listed: bytes) -> str:
    """Text in the order of listings, from a place in one."""
    return listed[:8].hex() + listed[8:].decode("latin-1")


def label_put(tables: Tables, p: Payment, value: str) -> dict[str, Any]:
    """That a payment has this metadata value. Harmless without the payment: what it leads to is read."""
    partition = label_partition(Scope(p.merchant_id, p.mode), value, f"{spread(p.id, tables.shards):02d}")
    place = label_sort(listed_at(p.created_us, p.id))
    return {"TableName": tables.transactions, "Item": {"transactionId": text(partition), "item": text(place)}}


def labelled(item: Item) -> Item:
    """The same as an entry of the list index."""
    created, id = item["item"]["S"][:16], item["item"]["S"][16:]
    return {"transactionId": text(id), "listed": binary(listed_at(int(created, 16), id))}


def list_scope(scope: Scope) -> str:
    """The part of ``listKey`` before the shard; ``eyes`` is this alone."""
    return f"{scope.mode}#{_bounded(scope.merchant_id, KEY_BYTES_MAX)}"


def listed_at(created_us: int, payment_id: str) -> bytes:
    """Bytes in the order of listings: creation, then id."""
    return created_us.to_bytes(8, "big") + payment_id.encode()


def listed_id(item: Item) -> str:
    return str(item["transactionId"]["S"])


def key_key(scope: Scope, key: str) -> Item:
    merchant = _escaped(scope.merchant_id)
    return {"scopedKey": text(f"{scope.mode}#{merchant}#{_bounded(key, KEY_BYTES_MAX)}")}


def key_put(table: str, scope: Scope, row: KeyRow) -> dict[str, Any]:
    """The row of an idempotency key, which must be free."""
    return {
        "TableName": table,
        "Item": key_key(scope, row.key)
        | {
            "operation": text(row.operation),
            "paymentId": text(row.payment_id),
            "requestV": number(row.request_v),
            "request": binary(packing.pack(row.request)),
        },
        "ConditionExpression": "attribute_not_exists(#key)",
        "ExpressionAttributeNames": {"#key": "scopedKey"},
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }


def key_of(key: str, item: Item) -> KeyRow:
    """Raises NewerSchema, InvariantViolated for a damaged one."""
    try:
        return KeyRow(
            key=key,
            operation=item["operation"]["S"],
            payment_id=item["paymentId"]["S"],
            request_v=int(item["requestV"]["N"]),
            request=packing.unpack(item["request"]["B"]),
        )
    except (KeyError, ValueError, TypeError) as e:
        raise InvariantViolated(f"the row of an idempotency key is unreadable: {e!r}. Run `payonce verify`.") from e


def _bounded(value: str, bytes_max: int) -> str:
    """The text itself where it fits, else its digest, with a mark that no shorter text has before it."""
    raw = value.encode()
    return f"sha256:{digest(raw)}" if len(raw) > bytes_max or value.startswith("sha256:") else value


def _escaped(value: str) -> str:
    """Without "#", so that parts joined by it come apart in one way only."""
    return _bounded(quote(value, safe=" :/@+=.,!~*'()"), KEY_PART_MAX)

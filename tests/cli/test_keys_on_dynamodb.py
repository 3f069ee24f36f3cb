"""Merchants, keys, the journal and the audit on DynamoDB's tables: the same words and exit codes as on a file."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from payonce.awsclient.client import AwsClient
from payonce.bootstrap import SystemClock, SystemEntropy
from payonce.merchants.keys import Keyring
from payonce.stores.dynamodb.items import row_key

from .conftest import Payonce
from .test_on_dynamodb import at_aws, at_the_tables, tables

__all__ = ["at_aws", "tables"]  # fixtures

Paid = Callable[..., dict[str, Any]]
ALWAYS = ("audit", "export", "--from", "2020-01-01", "--to", "2100-01-01")
ENTRY = "=000000002"


def test_a_merchant_and_its_keys(payonce: Payonce, data: Path, tables: Mapping[str, str]) -> None:
    """Made, listed, rotated and revoked; the key opens until it is revoked, and there is no payments file."""
    made = payonce("merchant", "create", "Shop", "--json").json
    rotated = payonce("key", "rotate", made["key"]["id"], "--overlap", "0s", "--json").json
    ended = payonce("key", "revoke", rotated["key"]["id"])
    assert ended.code == 0, ended.err
    last = payonce("key", "create", "--merchant", made["merchant"]["id"], "--json").json

    async def at_the_door(_: AwsClient, store: Any) -> list[bool]:
        ring = Keyring(store.registry, SystemClock(), SystemEntropy())
        return [await ring.check(token) is not None for token in (made["secret"], rotated["secret"], last["secret"])]

    assert at_the_tables(tables, at_the_door) == [False, False, True]
    states = [k["state"] for k in payonce("key", "list", "--json").json["keys"]]
    assert sorted(states) == ["live", "revoked", "revoked"]
    assert [m["liveKeys"] for m in payonce("merchant", "list", "--json").json["merchants"]] == [0, 1]
    assert payonce("key", "create", "--merchant", "mer_nobody").code == 3
    assert not (data / "payments.db").exists()


def test_the_journal_is_verified_and_exported(
    payonce: Payonce,
    paid: Paid,
    tables: Mapping[str, str],
) -> None:
    """Whole: counted and exported with the payments, in order. Changed or cut off: found by both, and the rest is exported."""
    payment = paid("tok_ok")["transactionId"]
    for _ in range(3):
        payonce("key", "create")
    whole = payonce("verify", "--json")
    assert (whole.code, whole.json["journal"]["entries"]) == (0, 3)
    ran = payonce(*ALWAYS)
    assert (ran.code, {line["chain"] for line in ran.lines}) == (0, {payment, "journal"}), ran.err
    assert [line["at"] for line in ran.lines] == sorted(line["at"] for line in ran.lines)
    table = {"TableName": tables["PAYONCE_REGISTRY_TABLE"]}
    key = {"kind": {"S": "journal"}, "name": {"S": ENTRY}}

    async def spoil(aws: AwsClient, _: Any) -> None:
        change = {"UpdateExpression": "SET #v = :x", "ExpressionAttributeNames": {"#v": "value"}}
        await aws.call(
            "dynamodb", "UpdateItem", {**table, "Key": key, **change, "ExpressionAttributeValues": {":x": {"B": "e30="}}}
        )

    async def cut(aws: AwsClient, _: Any) -> None:
        await aws.call("dynamodb", "DeleteItem", {**table, "Key": {**key, "name": {"S": "=000000003"}}})

    for damage, left, said in ((spoil, 2, f"entry {ENTRY[1:]} is unreadable"), (cut, 1, "the end was removed")):
        at_the_tables(tables, damage)
        verified, exported = payonce("verify", "--json"), payonce(*ALWAYS)
        assert (verified.code, exported.code) == (1, 1)
        assert [p for p in verified.json["problems"] if p["payment"] == "journal" and said in p["problem"]] != []
        assert said in exported.err
        assert len([line for line in exported.lines if line["chain"] == "journal"]) == left
        assert len([line for line in exported.lines if line["chain"] == payment]) == len(ran.lines) - 3


def test_a_broken_payment_does_not_stop_the_export(
    payonce: Payonce,
    paid: Paid,
    tables: Mapping[str, str],
) -> None:
    """A row whose log was cut is named; the other payment is exported whole."""
    broken, whole = paid("tok_ok")["transactionId"], paid("tok_ok")["transactionId"]
    before = [line for line in payonce(*ALWAYS).lines if line["chain"] == whole]

    async def cut(aws: AwsClient, _: Any) -> None:
        change = {"UpdateExpression": "SET #v = :x", "ExpressionAttributeValues": {":x": {"N": "2"}}}
        named = {"TableName": tables["PAYONCE_TRANSACTIONS_TABLE"], "Key": row_key(broken)}
        await aws.call("dynamodb", "UpdateItem", {**named, **change, "ExpressionAttributeNames": {"#v": "version"}})

    at_the_tables(tables, cut)
    ran = payonce(*ALWAYS)
    assert (ran.code, f"{broken}: " in ran.err) == (1, True)
    assert [line for line in ran.lines if line["chain"] == whole] == before


@pytest.mark.usefixtures("tables")
def test_drains_are_on_record(payonce: Payonce) -> None:
    """A drain and its end, with who did it."""
    assert payonce("providers", "drain", "mock", "--reason", "maintenance").code == 0
    assert payonce("providers", "resume", "mock").code == 0
    assert [line["what"] for line in payonce(*ALWAYS).lines] == ["account.drained", "account.resumed"]

"""Every command on DynamoDB's tables: the same words and exit codes as on a file, and no file of payments."""

import asyncio
import importlib.util
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from payonce.awsclient.client import AwsClient
from payonce.bootstrap import SystemClock
from payonce.core.payment import Payment
from payonce.stores.dynamodb import Tables, open_store
from payonce.stores.dynamodb.items import row_key
from payonce.testing.inbox_contract import webhook
from tests.aws.emulator import emulator
from tests.tables_of_their_own import asked, tables_at

from .conftest import Payonce

Paid = Callable[..., dict[str, Any]]
OUTSIDE = ("AWS_PROFILE", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_SESSION_TOKEN", "TRAN_TABLE", "IDEM_TABLE")


@pytest.fixture(scope="module")
def at_aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with emulator(tmp_path_factory.mktemp("aws")) as url:
        yield url


@pytest.fixture
def tables(at_aws: str, payonce: Payonce, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, str]:
    """The command line keeps its payments in three tables of this test."""
    for name in (*OUTSIDE, "SQS_QUEUE_URL"):
        monkeypatch.delenv(name, raising=False)
    made = tables_at(at_aws)
    for name, value in made.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HOME", "/nonexistent")  # no ~/.aws of the machine
    return made


def at_the_tables(made: Mapping[str, str], use: Callable[[AwsClient, Any], Any]) -> Any:
    """Something with the store that the commands use."""

    async def main() -> Any:
        clock = SystemClock()
        aws = AwsClient(clock, environ=made)
        names = [made[f"PAYONCE_{role}_TABLE"] for role in ("TRANSACTIONS", "IDEMPOTENCY", "REGISTRY")]
        store = open_store(aws, clock, Tables(transactions=names[0], idempotency=names[1], registry=names[2]))
        found = await use(aws, store)
        await store.close()
        await aws.close()
        return found

    return asyncio.run(main())


@pytest.mark.usefixtures("tables")
def test_a_payment_is_accepted_settled_listed_and_shown(payonce: Payonce, paid: Paid, data: Path) -> None:
    """pay, list, show: by id, by key and by the provider's reference; no payments file is made."""
    payment = paid("tok_lost_response")
    assert payment["status"] == "SUCCESS"
    listed = payonce("list", "--status", "SUCCESS", "--json").json["data"]
    assert [each["transactionId"] for each in listed] == [payment["transactionId"]]
    for name in (payment["transactionId"], payment["idempotencyKey"], payment["providerRef"]):
        shown = payonce("show", name)
        assert (shown.code, payment["transactionId"] in shown.out, "nobody knows yet" in shown.out) == (0, True, True)
    assert payonce("show", "pay_00000000000000000000").code == 3
    assert not (data / "payments.db").exists()


@pytest.mark.usefixtures("tables")
def test_operations_and_decisions(payonce: Payonce, paid: Paid) -> None:
    """capture, void, refund, refunds and resolve end as on a file."""
    held = paid("tok_ok", "--capture-method", "manual")["transactionId"]
    assert payonce("capture", held, "--wait", "20").code == 0
    given = payonce("refund", held, "--amount", "100", "--key", "r-1", "--wait", "20")
    assert (given.code, "--data-dir" in given.err) == (0, False)
    assert payonce("refund", held, "--amount", "100", "--key", "r-1").code == 0, "the same key is the same refund"
    assert len(payonce("refunds", held, "--json").json["data"]) == 1
    free = paid("tok_ok", "--capture-method", "manual", "--provider", "mock")["transactionId"]
    assert payonce("void", free, "--wait", "20").code == 0
    doubt = paid("tok_wrong_amount", "--provider", "mock")["transactionId"]
    assert [p["transactionId"] for p in payonce("list", "--attention", "--json").json["data"]] == [doubt]
    assert payonce("resolve", doubt, "--as", "reversed", "--reason", "T-1", "--yes", "--json").json["status"] == "FAILED"
    assert payonce("verify").code == 0


@pytest.mark.usefixtures("tables")
def test_accounts_are_drained_and_resumed(payonce: Payonce) -> None:
    """providers drain|list|resume go through the registry's table; an unknown account is named."""
    assert payonce("providers", "drain", "mock", "--reason", "maintenance").code == 0
    rows = {row["name"]: row for row in payonce("providers", "list", "--json").json["providers"]}
    assert [name for name, row in rows.items() if row["drained"]] == ["mock"]
    asked = ("pay", "--amount", "5", "--currency", "USD", "--provider", "mock", "--method", "tok_ok", "--wait", "0.5")
    assert payonce(*asked).code == 6, "nothing new starts there"
    assert payonce("providers", "resume", "mock").code == 0
    assert payonce("reconcile", "--json").code == 0
    assert payonce("providers", "drain", "mok", "--reason", "x").code == 2


def test_webhooks_are_listed_and_replayed(payonce: Payonce, tables: Mapping[str, str]) -> None:
    """webhooks list|show|replay work on what was heard."""
    kept = [webhook(1, state="parked", tries=3), webhook(2, state="unmatched", due_us=None)]

    async def put(_: AwsClient, store: Any) -> None:
        for each in kept:
            await store.inbox.put(each)
            await store.inbox.settle(each)

    at_the_tables(tables, put)
    assert {row["id"] for row in payonce("webhooks", "list", "--json").json["webhooks"]} == {w.id for w in kept}
    assert payonce("webhooks", "show", kept[0].id).code == 0
    assert len(payonce("webhooks", "replay", "--parked", "--json").json["replayed"]) == 2
    unknown = payonce("webhooks", "show", "wh_unknown")
    assert (unknown.code, f"the DynamoDB table {tables['PAYONCE_TRANSACTIONS_TABLE']}" in unknown.err) == (3, True)


def test_a_replay_is_told_to_the_queue(payonce: Payonce, tables: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """With a queue the id is in it at once. Without, or when it takes nothing, the sweeper is named; the replay stands."""
    kept = webhook(1, state="unmatched", due_us=None)

    async def put(_: AwsClient, store: Any) -> None:
        await store.inbox.put(kept)
        await store.inbox.settle(kept)

    at_the_tables(tables, put)
    unheard = payonce("webhooks", "replay", kept.id)
    assert (unheard.code, "within a minute" in unheard.err, "within a second;" in unheard.err) == (0, True, False)
    queue = asked(tables, "sqs", "CreateQueue", {"QueueName": "replays"})["QueueUrl"]
    monkeypatch.setenv("PAYONCE_QUEUE_URL", queue)
    heard = payonce("webhooks", "replay", kept.id)
    assert (heard.code, "The queue is told" in heard.err) == (0, True)
    received = asked(tables, "sqs", "ReceiveMessage", {"QueueUrl": queue, "MaxNumberOfMessages": 10})["Messages"]
    assert [message["Body"] for message in received] == [kept.id]
    monkeypatch.setenv("PAYONCE_QUEUE_URL", queue + "-of-nobody")
    refused = payonce("webhooks", "replay", kept.id)
    assert (refused.code, "within a minute" in refused.err) == (0, True)
    assert payonce("webhooks", "list", "--json").json["webhooks"][0]["state"] == "new"


def test_verify_sees_damage(payonce: Payonce, tables: Mapping[str, str], paid: Paid) -> None:
    """A clean table is clean; a column that lies, a key that is gone, one that is too many and a lost reference are named."""
    payment = paid("tok_ok")
    clean = payonce("verify", "--json")
    assert (clean.code, clean.json["payments"], clean.json["problems"]) == (0, 1, [])
    id, table, keys = payment["transactionId"], tables["PAYONCE_TRANSACTIONS_TABLE"], tables["PAYONCE_IDEMPOTENCY_TABLE"]

    async def spoil(aws: AwsClient, _: Any) -> None:
        change = {"TableName": table, "Key": row_key(id), "UpdateExpression": "SET #s = :x"}
        names = {"ExpressionAttributeNames": {"#s": "status"}, "ExpressionAttributeValues": {":x": {"S": "FAILED"}}}
        await aws.call("dynamodb", "UpdateItem", {**change, **names})
        ref = {"transactionId": {"S": f"ref#{payment['providerRef']}"}}
        found: Any = await aws.call(
            "dynamodb",
            "Query",
            {
                "TableName": table,
                "KeyConditionExpression": "transactionId = :r",
                "ExpressionAttributeValues": {":r": ref["transactionId"]},
            },
        )
        for item in found.body["Items"]:
            key = {"transactionId": item["transactionId"], "item": item["item"]}
            await aws.call("dynamodb", "DeleteItem", {"TableName": table, "Key": key})
        rows: Any = await aws.call("dynamodb", "Scan", {"TableName": keys})
        (row,) = rows.body["Items"]
        nobody = {"scopedKey": {"S": "test#mer_default#stray"}, "paymentId": {"S": "pay_00000000000000000000"}}
        for item in (row | nobody, row | {"scopedKey": {"S": "test#mer_default#second"}}):
            await aws.call("dynamodb", "PutItem", {"TableName": keys, "Item": item})
        await aws.call("dynamodb", "DeleteItem", {"TableName": keys, "Key": {"scopedKey": row["scopedKey"]}})

    at_the_tables(tables, spoil)
    spoiled = payonce("verify", "--json")
    said = [each["problem"] for each in spoiled.json["problems"]]
    assert spoiled.code == 1
    assert [each for each in said if "columns differ" in each and "status" in each]
    assert [each for each in said if "its idempotency key is missing" in each]
    assert [each for each in said if "an idempotency key of no payment" in each and "stray" in each]
    assert [each for each in said if "a second idempotency key of a charge" in each]
    assert [each for each in said if payment["providerRef"] in each and "does not lead to it" in each]
    assert payonce("verify", id).code == 1


def test_verify_sees_a_broken_chain(payonce: Payonce, tables: Mapping[str, str], paid: Paid) -> None:
    """A row whose log was cut cannot be read, and the others are still checked."""
    broken, whole = paid("tok_ok")["transactionId"], paid("tok_ok")["transactionId"]

    async def cut(aws: AwsClient, store: Any) -> Payment | None:
        change = {"UpdateExpression": "SET #v = :x", "ExpressionAttributeValues": {":x": {"N": "2"}}}
        named = {"TableName": tables["PAYONCE_TRANSACTIONS_TABLE"], "Key": row_key(broken)}
        await aws.call("dynamodb", "UpdateItem", {**named, **change, "ExpressionAttributeNames": {"#v": "version"}})
        found: Payment | None = await store.get(whole)
        return found

    assert at_the_tables(tables, cut)
    ran = payonce("verify", "--json")
    assert (ran.code, {each["payment"] for each in ran.json["problems"]}) == (1, {broken})


def test_doctor_looks_at_tables_queues_and_clocks(
    payonce: Payonce, tables: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is off (deletion protection, backups) is a warning, a queue that is not there fails, the clock is compared."""

    async def make(aws: AwsClient, _: Any) -> str:
        done: Any = await aws.call("sqs", "CreateQueue", {"QueueName": "due"})
        return str(done.body["QueueUrl"])

    monkeypatch.setenv("PAYONCE_QUEUE_URL", at_the_tables(tables, make))
    monkeypatch.setenv("PAYONCE_DEAD_LETTER_URL", tables["AWS_ENDPOINT_URL"] + "/000000000000/not-there")
    ran = payonce("doctor", "--json")
    checks = [(c["name"], c["state"], c["says"]) for c in ran.json["checks"]]
    assert [says for name, state, says in checks if name == "table" and state == "fail"] == []
    assert len([says for name, state, says in checks if name == "backup"]) == 3
    assert [state for name, state, _ in checks if name == "expiry"] == ["ok"] * 3
    assert ("clock and AWS", "ok") in [(name, state) for name, state, _ in checks]
    assert [(name, state) for name, state, _ in checks if name in ("queue", "dead letters")] == [
        ("queue", "ok"),
        ("dead letters", "fail"),
    ]
    assert "payments file" not in [name for name, _, _ in checks]
    assert all(c["fix"] for c in ran.json["checks"] if c["state"] != "ok")


@pytest.mark.usefixtures("tables")
def test_doctor_sees_a_wrong_clock(payonce: Payonce, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is minutes off from AWS fails its check, with the seconds."""
    monkeypatch.setattr("payonce.cli.doctor_tables.time", SimpleNamespace(time=lambda: SystemClock().now_us() / 1e6 + 200))
    (check,) = [c for c in payonce("doctor", "--json").json["checks"] if c["name"] == "clock and AWS"]
    assert (check["state"], "off by 200 s" in check["says"] or "off by 201 s" in check["says"]) == ("fail", True)


def test_config_show_names_the_tables(payonce: Payonce, tables: Mapping[str, str]) -> None:
    """Where payments are is shown; the starter's names of the variables count too."""
    shown = payonce("config", "show", "--json").json
    assert shown["paymentsFile"] is None
    assert shown["paymentsTables"][0] == tables["PAYONCE_TRANSACTIONS_TABLE"]
    assert f"payments tables: {tables['PAYONCE_TRANSACTIONS_TABLE']}" in payonce("config", "show").out


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"PAYONCE_TRANSACTIONS_TABLE": "Elsewhere"}, "store.transactions_table: the DynamoDB table Elsewhere is not there"),
        ({"PAYONCE_REGISTRY_TABLE": ""}, "store.registry_table (PAYONCE_REGISTRY_TABLE) is not"),
        ({"PAYONCE_IDEMPOTENCY_TABLE": "", "PAYONCE_REGISTRY_TABLE": ""}, "store.idempotency_table"),
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "there are no AWS credentials"),
        ({"AWS_REGION": "", "AWS_DEFAULT_REGION": ""}, "no AWS region is named"),
        ({"AWS_REGION": "here"}, "AWS_REGION is no name of a region"),
        ({"PAYONCE_MODE": "live", "PAYONCE_SANDBOX_URL": "http://127.0.0.1:8090"}, "refused in live mode"),
        ({"PAYONCE_QUEUE_URL": "due"}, "wake.queue_url"),
    ],
)
@pytest.mark.usefixtures("tables")
def test_what_is_set_up_wrongly_is_said(
    payonce: Payonce, monkeypatch: pytest.MonkeyPatch, change: dict[str, str], said: str
) -> None:
    """Wrong and half-configured tables, no credentials, no region: one message with what to do, and nothing is started."""
    for name, value in change.items():
        monkeypatch.setenv(name, value)
    for command in (("list",), ("serve", "--port", "0")):
        ran = payonce(*command)
        assert (ran.code, ran.out) == (2, ""), ran
        assert said in ran.err
        assert "Nothing was started" in ran.err


def test_swapped_tables_are_seen(payonce: Payonce, tables: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A table that has another one's keys is not used."""
    monkeypatch.setenv("PAYONCE_REGISTRY_TABLE", tables["PAYONCE_IDEMPOTENCY_TABLE"])
    ran = payonce("list")
    assert (ran.code, "has other keys than payonce's registry table" in ran.err) == (2, True)


@pytest.mark.usefixtures("tables")
def test_a_missing_library_is_named(payonce: Payonce, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra what the environment says is enough; where a profile or role is needed the extra is named."""
    real = importlib.util.find_spec
    monkeypatch.setattr("payonce.awsclient.opening.find_spec", lambda name: None if name == "botocore" else real(name))
    monkeypatch.setitem(__import__("sys").modules, "botocore", None)  # importing it fails
    monkeypatch.setitem(__import__("sys").modules, "botocore.session", None)
    assert payonce("list").code == 0
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    ran = payonce("list")
    assert (ran.code, "pip install 'payonce[aws]'" in ran.err) == (2, True)


def test_no_answer_is_no_store(payonce: Payonce, tables: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """An endpoint that nobody listens at: not available, exit code 6, and nothing is promised."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    ran = payonce("pay", "--amount", "5", "--currency", "INR", "--method", "tok_ok")
    assert (ran.code, ran.out, "DynamoDB does not answer" in ran.err) == (6, "", True)


@pytest.mark.usefixtures("tables")
def test_the_hold_is_a_record(payonce: Payonce, paid: Paid, tables: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A hold binds every process of its mode on the tables until reconcile has run in that mode; one of an earlier version,
    that says no mode, binds both."""

    async def hold(_: AwsClient, store: Any) -> bool:
        return bool(await store.registry.put("hold", "store", b"{}", 0))

    async def kept(_: AwsClient, store: Any) -> list[bytes]:
        return [record.value for record in await store.registry.all("hold")]

    assert at_the_tables(tables, hold)
    waiting = payonce("pay", "--amount", "9", "--currency", "INR", "--method", "tok_ok", "--wait", "0.3", "--json")
    assert (waiting.code, waiting.json["status"]) == (6, "PENDING")
    assert "`payonce reconcile`" in payonce("providers", "list").err
    ran = payonce("reconcile", "--timeout", "20")
    assert (ran.code, "The hold is lifted." in ran.err, "The hold of live mode stays: run" in ran.err) == (0, True, True)
    assert at_the_tables(tables, kept) == [b'{"modes":["live"]}']
    assert json.loads(payonce("show", waiting.json["transactionId"], "--json").out)["payment"]["status"] == "PENDING"
    assert paid("tok_ok")["status"] == "SUCCESS", "nothing holds test mode any more"
    monkeypatch.setenv("PAYONCE_MODE", "live")
    assert payonce("reconcile").code == 0
    assert at_the_tables(tables, kept) == []


@pytest.mark.usefixtures("tables")
def test_fewer_shards_are_refused(payonce: Payonce, paid: Paid, monkeypatch: pytest.MonkeyPatch) -> None:
    """With fewer shards than the rows were written with some would not be seen: every command says so and does nothing."""
    monkeypatch.setenv("PAYONCE_INDEX_SHARDS", "20")
    paid("tok_ok")
    monkeypatch.setenv("PAYONCE_INDEX_SHARDS", "16")
    said = "store.index_shards is 16 and was 20; set PAYONCE_INDEX_SHARDS=20 or more"
    for command in (("list",), ("reconcile",), ("worker",)):
        ran = payonce(*command)
        assert (ran.code, ran.out, said in ran.err) == (2, "", True), ran
    verified = payonce("verify")
    assert (verified.code, said in verified.out) == (1, True), "no good news about payments"
    (check,) = [c for c in payonce("doctor", "--json").json["checks"] if c["name"] == "store"]
    assert (check["state"], "PAYONCE_INDEX_SHARDS=20" in check["says"]) == ("fail", True)
    monkeypatch.setenv("PAYONCE_INDEX_SHARDS", "20")
    assert len(payonce("list", "--json").json["data"]) == 1


@pytest.mark.usefixtures("tables", "one_account")
def test_an_account_that_leads_elsewhere_now_is_refused(payonce: Payonce, paid: Paid, tmp_path: Path) -> None:
    """An open payment was sent to another address: nothing is started until the account is restored."""
    payment = paid("tok_never_resolves", wait="0.3")["transactionId"]
    (tmp_path / "payonce.toml").write_text('version = 1\n[providers.mock]\nbase_url = "https://x.invalid"\nsecret = "file:k"\n')
    (tmp_path / "k").write_text("any")
    ran = payonce("worker")
    assert (ran.code, payment in ran.err, "has another base_url" in ran.err) == (2, True, True)
    (tmp_path / "payonce.toml").write_text("version = 1\n[providers.mock]\n")
    assert payonce("reconcile", "--once").code in (0, 6)

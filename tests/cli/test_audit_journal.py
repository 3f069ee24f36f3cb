"""`payonce verify` covers the journal: its chain, its end, and files that have none."""

import asyncio
import base64
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from payonce.awsclient.client import AwsClient
from payonce.bootstrap import SystemClock, SystemEntropy
from payonce.cli.verify_journal import SAID_MAX, compared
from payonce.core.payment import Mode
from payonce.merchants import Merchants
from payonce.merchants.issuing import Issuing, Wanted
from payonce.merchants.journal import HEAD_KIND, KIND, Journal
from payonce.merchants.keys import Keyring
from payonce.outbound.endpoints import Endpoints
from payonce.ports import Registry, Scope
from payonce.stores.memory import MemoryRegistry
from payonce.stores.sqlite import open_store
from tests.two_processes import Clock

from .conftest import Payonce
from .test_on_dynamodb import at_aws, at_the_tables, tables
from .test_verify import edit

__all__ = ["at_aws", "tables"]  # fixtures

pytestmark = pytest.mark.usefixtures("one_account")
Paid = Callable[..., dict[str, Any]]


@pytest.fixture
def acts(payonce: Payonce) -> list[str]:
    """Four entries: a merchant, its key, a drain and a resumption."""
    payonce("merchant", "create", "Shop")
    payonce("providers", "drain", "mock", "--reason", "maintenance")
    payonce("providers", "resume", "mock")
    return ["merchant.created", "key.created", "account.drained", "account.resumed"]


def test_a_whole_journal_is_counted(payonce: Payonce, acts: list[str], data: Path, paid: Paid) -> None:
    """Entries and head digest stand beside those of the payments, and change with each act; the payments' digest does not."""
    payment = paid("tok_ok")["transactionId"]
    ran = payonce("verify", "--json")
    assert (ran.code, ran.json["problems"], ran.json["journal"]["entries"]) == (0, [], len(acts))
    told = payonce("verify").out
    assert ran.json["journal"]["headDigest"] in told
    assert "(4 entries)" in told
    payonce("key", "create")
    after = payonce("verify", "--json").json
    assert after["headDigest"] == ran.json["headDigest"]
    assert after["journal"]["headDigest"] != ran.json["journal"]["headDigest"]
    alone = payonce("verify", payment, "--json").json
    assert (alone["payments"], alone["journal"]["entries"]) == (1, 0), "one payment alone is not the store around it"
    assert data.is_dir()


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        (
            "UPDATE registry SET value = CAST(replace(value, 'Shop', 'Shed') AS BLOB) WHERE name = '000000001'",
            "does not continue",
        ),
        (
            "UPDATE registry SET value = CAST(replace(value, 'test', 'live') AS BLOB) WHERE name = '000000003'",
            "does not continue",
        ),
        ("UPDATE registry SET value = x'7b' WHERE kind = 'journal' AND name = '000000002'", "is unreadable"),
        ("DELETE FROM registry WHERE kind = 'journal' AND name = '000000001'", "does not continue the one before"),
        ("DELETE FROM registry WHERE kind = 'journal' AND name = '000000002'", "does not continue the one before"),
        ("DELETE FROM registry WHERE kind = 'journal' AND name = '000000004'", "the end was removed"),
        ("UPDATE registry SET value = NULL WHERE kind = 'journal' AND name = '000000004'", "the end was removed"),
        ("DELETE FROM registry WHERE kind = 'journal' AND name > '000000002'", "the end was removed"),
        (
            "INSERT INTO registry SELECT kind, '0000000025', 1, value FROM registry WHERE kind = 'journal' AND name LIKE '%2'",
            "says that it is number 2",
        ),
        ("UPDATE registry SET value = CAST(replace(value, 'mock', 'mick') AS BLOB) WHERE name = '000000004'", "names another"),
        ("DELETE FROM registry WHERE kind = 'journal-head'", "head is missing"),
    ],
)
@pytest.mark.usefixtures("acts")
def test_what_was_done_to_the_journal_is_found(payonce: Payonce, data: Path, sql: str, said: str) -> None:
    """Changed, removed, put between, cut off: exit code 1, and it is said of the journal."""
    edit(data, sql)
    ran = payonce("verify", "--json")
    assert ran.code == 1
    assert [p for p in ran.json["problems"] if p["payment"] == "journal" and said in p["problem"]], ran.out
    told = payonce("verify")
    assert (told.code, "the journal: " in told.out) == (1, True)


@pytest.mark.usefixtures("acts")
def test_a_read_only_backup_is_checked(payonce: Payonce, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that nobody may write to, in a folder that nobody may write to."""
    copy = data.parent / "backup"
    copy.mkdir()
    whole = payonce("verify", "--json").json
    (copy / "payments.db").write_bytes((data / "payments.db").read_bytes())
    (copy / "payments.db").chmod(0o400)
    copy.chmod(0o500)
    monkeypatch.setenv("PAYONCE_DATA_DIR", str(copy))
    ran = payonce("verify", "--json")
    copy.chmod(0o700)
    assert (ran.code, ran.json["journal"]) == (0, whole["journal"])


def test_a_store_without_a_journal_is_whole(payonce: Payonce, paid: Paid, data: Path) -> None:
    """Nothing was ever done: no entries, no digest, no problem; nor in a file from before the registry."""
    paid("tok_ok")
    ran = payonce("verify", "--json")
    assert (ran.code, ran.json["journal"]) == (0, {"entries": 0, "headDigest": ""})
    assert "journal" not in payonce("verify").out

    async def kept() -> int:
        store = await open_store(data / "payments.db")
        found = await store.registry.all(KIND)
        await store.close()
        return len(found)

    assert asyncio.run(kept()) == 0


# --- the records beside the journal ---------------------------------------------------------------------------------

WORDS = "UPDATE registry SET value = CAST(replace(value, ?, ?) AS BLOB) WHERE kind = ?"
COPY = """
INSERT INTO registry SELECT kind, substr(name, 1, 4) || 'zz' || substr(name, 7), version,
CAST(replace(value, name, substr(name, 1, 4) || 'zz' || substr(name, 7)) AS BLOB) FROM registry
WHERE kind = ?1 AND name = (SELECT max(name) FROM registry WHERE kind = ?1 AND value IS NOT NULL)
"""


async def furnished(registry: Registry, clock: Any) -> Issuing:
    """Two merchants; keys that go on, are rotated (twice), are revoked, and one that is both; endpoints, one of them rotated
    and disabled, one removed."""
    journal = Journal(registry, clock)
    keys = Keyring(registry, clock, SystemEntropy())
    issue = Issuing(Merchants(registry, clock, SystemEntropy()), keys, journal, clock, "operator:tests")
    endpoints = Endpoints(registry, clock, SystemEntropy(), journal, lambda: b"k" * 32)
    for name in ("Shop", "Café"):
        merchant = (await issue.merchant(name)).id
        modes: tuple[Mode, ...] = ("test", "live")
        for mode in modes:
            first = await issue.key(Wanted(merchant_id=merchant, mode=mode, name="till", rate_per_s=7))
            second = await issue.rotate(first.key.id, 3_600_000_000, clock.now_us() + 86_400_000_000)
            await issue.rotate(second.new.key.id, 0)
            await issue.revoke(first.key.id)
            await issue.revoke((await issue.key(Wanted(merchant_id=merchant, mode=mode, scopes=("admin",)))).key.id)
            scope = Scope(merchant, mode)
            kept = await endpoints.create(scope, "https://shop.example.com/in?token=1", actor="tests")
            await endpoints.rotate(scope, kept.id, actor="tests")
            await endpoints.disable(scope, kept.id, reason="no longer", actor="tests")
            gone = await endpoints.create(scope, "https://shop.example.com/out", ("payment.*",), actor="tests")
            await endpoints.remove(scope, gone.id, actor="tests")
    await issue.key(Wanted(merchant_id="mer_default", mode="test"))
    return issue


@pytest.fixture
def records(payonce: Payonce, data: Path) -> None:
    """``furnished`` on a file."""
    payonce("key", "create")

    async def main() -> None:
        store = await open_store(data / "payments.db")
        await furnished(store.registry, SystemClock())
        await store.close()

    asyncio.run(main())


def problems(payonce: Payonce, code: int) -> list[str]:
    """What verify says of the journal; nothing that is on no record for people stands in it."""
    ran = payonce("verify", "--json")
    assert ran.code == code, ran.out
    assert not [word for word in ("salt", '"hash"') if word in ran.out]
    return [p["problem"] for p in ran.json["problems"] if p["payment"] == "journal"]


@pytest.mark.usefixtures("records")
def test_records_that_the_journal_tells_of_are_whole(payonce: Payonce) -> None:
    """Merchants, keys in every state and endpoints, as payonce writes them: no problem."""
    assert problems(payonce, 0) == []


@pytest.mark.parametrize(
    ("kind", "words", "said"),
    [
        ("key", ('"refunds:write"]', '"refunds:write","admin"]'), "scopes 'payments:read,payments:write,refunds:write,admin'"),
        ("key", ('"merchant_id":"mer_0', '"merchant_id":"mer_1'), "merchant 'mer_1"),
        ("key", ('"mode":"test"', '"mode":"live"'), "mode 'live' on record, 'test' when it was created"),
        ("key", ('"rate_per_s":7', '"rate_per_s":70'), "rate '70' on record, '7' when it was created"),
        ("key", ('"expires_us":0', '"expires_us":4102444800000000'), "expiry '2100-01-01T00:00:00Z' on record, 'never'"),
        ("key", ('"expires_us":0', '"expires_us":9000000000000000000'), "expiry '9000000000000000000' on record"),
        ("key", ('"ends_us":0', '"ends_us":4102444800000000'), "no entry that it was revoked or rotated so"),
        ("key", ('"ends_us":1', '"ends_us":4'), "no entry that it was revoked or rotated so"),
        ("key", ('"successor":"key_', '"successor":"key_z'), "no entry of that rotation"),
        ("key", ('"v":1', '"v":2'), "damaged or of a newer payonce"),
        ("merchant", ("{", "["), "damaged or of a newer payonce"),
        ("endpoint", ('"merchant_id":"mer_0', '"merchant_id":"mer_1'), "merchant 'mer_1"),
        ("endpoint", ('"mode":"test"', '"mode":"live"'), "mode 'live' on record, 'test' when it was created"),
        ("endpoint", ('"v":1', '"v":2'), "damaged or of a newer payonce"),
    ],
)
@pytest.mark.usefixtures("records")
def test_a_record_that_was_changed_is_found(payonce: Payonce, data: Path, kind: str, words: tuple[str, str], said: str) -> None:
    """More rights, another merchant's rows, a longer life: the record is named, with what differs."""
    edit(data, WORDS, *words, kind)
    found = problems(payonce, 1)
    assert [p for p in found if p.startswith(f"{kind} ") and said in p], found


@pytest.mark.parametrize("kind", ["key", "merchant", "endpoint"])
@pytest.mark.usefixtures("records")
def test_a_record_that_was_put_in_is_found(payonce: Payonce, data: Path, kind: str) -> None:
    """A copy under an id of its own has no entry: it alone is named."""
    edit(data, COPY, kind)
    found = [p for p in problems(payonce, 1) if "no entry that it was created" in p]
    assert (len(found), "zz" in found[0]) == (1, True), found


@pytest.mark.parametrize("head", ["", "the head too"])
@pytest.mark.usefixtures("records")
def test_a_journal_that_is_gone_is_missed(payonce: Payonce, data: Path, head: str) -> None:
    """All entries deleted, and the head with them: the keys that they told of are still there."""
    edit(data, "DELETE FROM registry WHERE kind = 'journal'")
    if head:
        edit(data, "DELETE FROM registry WHERE kind = 'journal-head'")
    found = problems(payonce, 1)
    assert [p for p in found if p.startswith("it is empty, and ")], found
    assert len([p for p in found if p.startswith("key ") and "no entry that it was created" in p]) == 18


@pytest.mark.usefixtures("records")
def test_a_journal_that_was_cut_is_found(payonce: Payonce, data: Path) -> None:
    """All but the first entry and the head deleted, so that the chain holds: what the rest told of is on record."""
    edit(data, "DELETE FROM registry WHERE kind = 'journal' AND name > '000000001'")
    edit(data, "DELETE FROM registry WHERE kind = 'journal-head'")
    found = problems(payonce, 1)
    assert not [p for p in found if p.startswith("it ")], "the chain alone shows nothing"
    assert {p.partition(" ")[0] for p in found if "no entry that it was created" in p} == {"key", "merchant", "endpoint"}
    assert len([p for p in found if p.startswith("key ") and "no entry that it was created" in p]) == 17


@pytest.mark.parametrize("act", ["revoked", "rotated"])
def test_a_key_that_was_revived_is_found(act: str) -> None:
    """Its end is taken away: a minute later the journal's word is missed. Before, its end may be on its way."""

    async def main() -> tuple[int, tuple[str, ...]]:
        registry, clock = MemoryRegistry(), Clock()
        issue = await furnished(registry, clock)
        key = (await issue.key(Wanted(merchant_id="mer_default", mode="test"))).key.id
        before = {r.name: r.value for r in await registry.all("key")}[key]
        await (issue.revoke(key) if act == "revoked" else issue.rotate(key, 0))
        ended = next(r for r in await registry.all("key") if r.name == key)
        assert await registry.put("key", key, before, ended.version)
        soon = await compared(registry, clock)
        clock.wall_us += 61_000_000
        return len(soon.problems), (await compared(registry, clock)).problems

    soon, later = asyncio.run(main())
    assert (soon, len(later)) == (0, 1)
    assert f"says key.{act}, and on record it has no end" in later[0]


def test_a_revocation_is_not_put_off() -> None:
    """A revoked key whose end was moved into the future is found, also when a rotation would allow that end."""

    async def main() -> tuple[str, ...]:
        registry, clock = MemoryRegistry(), Clock()
        issue = await furnished(registry, clock)
        key = (await issue.key(Wanted(merchant_id="mer_default", mode="test"))).key.id
        await issue.rotate(key, 86_400_000_000)
        before = {r.name: r.value for r in await registry.all("key")}[key]
        await issue.revoke(key)
        ended = next(r for r in await registry.all("key") if r.name == key)
        assert await registry.put("key", key, before, ended.version)
        clock.wall_us += 61_000_000
        return (await compared(registry, clock)).problems

    (said,) = asyncio.run(main())
    assert "it was revoked, and on record it ends at" in said


def test_what_differs_is_counted_when_it_is_much() -> None:
    """A journal without entries and many keys: the first are named."""

    async def main() -> tuple[str, ...]:
        registry, clock = MemoryRegistry(), Clock()
        keys = Keyring(registry, clock, SystemEntropy())
        for _ in range(SAID_MAX + 7):
            await keys.add(keys.new("mer_default", "test", ("admin",))[0])
        return (await compared(registry, clock)).problems

    found = asyncio.run(main())
    assert found[0] == f"it is empty, and {SAID_MAX + 7} records that it should tell of are there: it was removed"
    assert (len(found), found[-1]) == (SAID_MAX + 2, "7 more differ")


def test_records_on_dynamodb_are_compared_too(payonce: Payonce, tables: Mapping[str, str]) -> None:
    """Whole as they are written; then a key with more rights, and a journal without entries."""
    table = {"TableName": tables["PAYONCE_REGISTRY_TABLE"]}

    async def furnish(_: AwsClient, store: Any) -> None:
        await furnished(store.registry, SystemClock())

    async def grant(aws: AwsClient, store: Any) -> str:
        record = next(r for r in await store.registry.all("key") if b'"refunds:write"]' in r.value)
        more = base64.b64encode(record.value.replace(b'"refunds:write"]', b'"refunds:write","admin"]')).decode()
        change = {"UpdateExpression": "SET #v = :x", "ExpressionAttributeNames": {"#v": "value"}}
        key = {"kind": {"S": "key"}, "name": {"S": f"={record.name}"}}
        values = {"ExpressionAttributeValues": {":x": {"B": more}}}
        await aws.call("dynamodb", "UpdateItem", {**table, "Key": key, **change, **values})
        return str(record.name)

    async def forget(aws: AwsClient, store: Any) -> None:
        for kind in (KIND, HEAD_KIND):
            for record in await store.registry.all(kind):
                key = {"kind": {"S": kind}, "name": {"S": f"={record.name}"}}
                await aws.call("dynamodb", "DeleteItem", {**table, "Key": key})

    at_the_tables(tables, furnish)
    assert problems(payonce, 0) == []
    granted = at_the_tables(tables, grant)
    (said,) = problems(payonce, 1)
    assert said.startswith(f"key {granted}: scopes 'payments:read,payments:write,refunds:write,admin' on record")
    at_the_tables(tables, forget)
    assert problems(payonce, 1)[0].startswith("it is empty, and ")

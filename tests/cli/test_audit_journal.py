"""`payonce verify` covers the journal: its chain, its end, and files that have none."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from payonce.merchants.journal import KIND
from payonce.stores.sqlite import open_store

from .conftest import Payonce
from .test_verify import edit

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

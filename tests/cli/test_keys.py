"""`payonce key` and `payonce merchant` on a file: the first thing that somebody does, and every refusal."""

import asyncio
import getpass
import os
import platform
import pwd
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from payonce.bootstrap import SystemClock, SystemEntropy
from payonce.core.actors import operator
from payonce.merchants.journal import Journal, Written
from payonce.merchants.keys import ApiKey, Keyring
from payonce.stores.sqlite import open_store

from .conftest import Payonce

Paid = Callable[..., dict[str, Any]]
ME = operator(pwd.getpwuid(os.getuid()).pw_name, platform.node())


def at_the_door(data: Path, token: str) -> ApiKey | None:
    """The key as a server finds it."""

    async def main() -> ApiKey | None:
        store = await open_store(data / "payments.db")
        found = await Keyring(store.registry, SystemClock(), SystemEntropy()).check(token)
        await store.close()
        return found

    return asyncio.run(main())


def journal(data: Path) -> list[Written]:
    async def main() -> list[Written]:
        store = await open_store(data / "payments.db")
        found = await Journal(store.registry, SystemClock()).read()
        await store.close()
        return list(found)

    return asyncio.run(main())


def test_the_first_key_is_made_where_nothing_is_yet(payonce: Payonce, data: Path) -> None:
    """On a folder that is not there: the store is made, the key alone is on standard output, and it opens."""
    assert not data.exists()
    ran = payonce("key", "create")
    assert (ran.code, len(ran.out.split())) == (0, 1)
    assert "only time" in ran.err
    key = at_the_door(data, ran.out.strip())
    assert key is not None
    assert (key.merchant_id, key.mode, key.scopes) == (
        "mer_default",
        "test",
        ("payments:read", "payments:write", "refunds:write"),
    )
    assert (key.expires_us, key.rate_per_s) == (0, 0)


def test_a_key_is_what_was_asked_for(payonce: Payonce, data: Path) -> None:
    """Merchant, mode, scopes, name, life and rate; JSON has the same and the secret once."""
    shop = payonce("merchant", "create", "Shop", "--no-key", "--json").json["merchant"]["id"]
    asked = ("--merchant", shop, "--mode", "live", "--scope", "admin", "--scope", "payments:read", "--name", "till 4")
    ran = payonce("key", "create", *asked, "--expires-in", "90d", "--rate", "12", "--json")
    key = at_the_door(data, ran.json["secret"])
    assert key is not None
    assert (key.merchant_id, key.mode, key.scopes, key.name, key.rate_per_s) == (
        shop,
        "live",
        ("payments:read", "admin"),
        "till 4",
        12,
    )
    assert round((key.expires_us - key.created_us) / 86_400_000_000, 3) == 90
    shown = ran.json["key"]
    assert (shown["id"], shown["state"], shown["merchant"], shown["ratePerS"]) == (key.id, "live", shop, 12)
    warned = payonce("key", "create", "--mode", "live")
    assert "a server with them does not take this key" in warned.err


def test_the_list_never_shows_a_secret(payonce: Payonce) -> None:
    """Neither the text nor salt and hash, in any form; states and filter are right."""
    shop = payonce("merchant", "create", "Shop", "--json").json
    token = payonce("key", "create", "--name", "till").out.strip()
    first = payonce("key", "list", "--json").json["keys"]
    assert [(k["merchant"], k["name"], k["state"]) for k in first] == [
        (shop["merchant"]["id"], "", "live"),
        ("mer_default", "till", "live"),
    ]
    mine = next(k["id"] for k in first if k["merchant"] == "mer_default")
    assert token.startswith(f"sk_test_{mine[4:]}"), "a key can be told from its first characters"
    payonce("key", "rotate", mine, "--overlap", "30m")
    payonce("key", "revoke", shop["key"]["id"])
    only = payonce("key", "list", "--merchant", "mer_default")
    lines = [line.split("\t") for line in only.out.splitlines()]
    assert lines[0] == ["ID", "MERCHANT", "MODE", "SCOPES", "NAME", "STATE", "ENDS", "RATE", "CREATED"]
    assert [(row[4], row[5]) for row in lines[1:]] == [("till", "ending"), ("till", "live")]
    assert {k["state"] for k in payonce("key", "list", "--json").json["keys"]} == {"live", "ending", "revoked"}
    outputs = only.out + payonce("key", "list", "--json").out + payonce("merchant", "show", "mer_default").out
    assert [secret for secret in (token[-32:], shop["secret"][-32:], "salt", "hash") if secret in outputs] == []
    assert payonce("key", "list", "--merchant", "mer_nobody").code == 3


def test_a_revoked_key_opens_nothing(payonce: Payonce, data: Path) -> None:
    """From now on, for good; once more changes nothing; an unknown one is not found."""
    made = payonce("key", "create", "--json").json
    ran = payonce("key", "revoke", made["key"]["id"], "--json")
    assert (ran.code, ran.json["state"]) == (0, "revoked")
    assert at_the_door(data, made["secret"]) is None
    again = payonce("key", "revoke", made["key"]["id"], "--json")
    assert again.json["endsAt"] == ran.json["endsAt"]
    unknown = payonce("key", "revoke", "key_nothing")
    assert (unknown.code, "Nothing was changed" in unknown.err) == (3, True)


def test_a_rotation_overlaps(payonce: Payonce, data: Path) -> None:
    """Both open, the old one has its end and names its successor; the expiry is kept, which is said, or set anew."""
    first = payonce("key", "create", "--expires-in", "30d", "--json").json
    ran = payonce("key", "rotate", first["key"]["id"])
    assert "expires when the old one would have" in ran.err
    second = ran.out.strip()
    old, new = at_the_door(data, first["secret"]), at_the_door(data, second)
    assert old is not None
    assert new is not None
    assert (old.expires_us, old.successor) == (new.expires_us, new.id)
    assert 86_300 < (old.ends_us - new.created_us) / 1_000_000 <= 86_400
    refused = payonce("key", "rotate", old.id)
    assert (refused.code, new.id in refused.err) == (5, True)
    third = payonce("key", "rotate", new.id, "--overlap", "0s", "--expires-in", "never", "--json").json
    assert (third["key"]["expiresAt"], third["replaced"]["state"]) == (None, "revoked")
    assert at_the_door(data, second) is None
    assert payonce("key", "rotate", new.id).code == 5


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("create", "--merchant", "mer_nobody"), 3, "There is no merchant 'mer_nobody'"),
        (("create", "--scope", "everything"), 2, "Invalid value"),
        (("create", "--mode", "both"), 2, "Invalid value"),
        (("create", "--expires-in", "soon"), 2, "such as 90d"),
        (("create", "--expires-in", "5"), 2, "such as 90d"),
        (("create", "--expires-in", "-1d"), 2, ""),
        (("create", "--expires-in", "1.5h"), 2, "such as 90d"),
        (("create", "--expires-in", "٣d"), 2, "such as 90d"),
        (("create", "--expires-in", "59s"), 2, "1m to 3660d"),
        (("create", "--expires-in", "999999999d"), 2, "1m to 3660d"),
        (("create", "--rate", "100001"), 2, "1 to 100000"),
        (("create", "--rate", "1_0"), 2, "plain digits"),
        (("create", "--name", "x" * 101), 2, "at most 100"),
        (("create", "--name", "a\x1b[2J"), 2, "printable"),
        (("rotate", "key_x", "--overlap", "31d"), 2, "0s to 30d"),
        (("rotate", "key_x"), 3, "There is no key"),
    ],
)
def test_what_makes_no_sense_is_refused(payonce: Payonce, data: Path, args: tuple[str, ...], code: int, said: str) -> None:
    """With a message that names the bounds; no key is made and nothing is put on record."""
    payonce("merchant", "create", "Shop", "--no-key")
    ran = payonce("key", *args)
    assert (ran.code, ran.out, said in ran.err) == (code, "", True), ran
    assert payonce("key", "list", "--json").json["keys"] == []
    assert [e.act.what for e in journal(data)] == ["merchant.created"]


def test_looking_and_ending_make_no_store(payonce: Payonce, data: Path) -> None:
    """A mistyped folder does not look like an empty store."""
    for args in (("key", "list"), ("key", "revoke", "key_x"), ("key", "rotate", "key_x"), ("merchant", "list")):
        ran = payonce(*args)
        assert (ran.code, "there is no store" in ran.err) == (2, True), ran
    assert not data.exists()


def test_who_did_it_is_the_systems_user(payonce: Payonce, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user of the operating system and the machine, not what the environment says."""
    for name in ("USER", "LOGNAME", "USERNAME", "SUDO_USER"):
        monkeypatch.setenv(name, "mallory")
    assert getpass.getuser() == "mallory"
    payonce("key", "create")
    assert [e.act.actor for e in journal(data)] == [ME]


def test_merchants_are_made_listed_and_shown(payonce: Payonce, tmp_path: Path) -> None:
    """The id, then the key, on standard output; mer_default is always there; show names accounts and keys."""
    (tmp_path / "payonce.toml").write_text('version = 1\n[providers.mock]\n[providers.mock_two]\nadapter = "mock"\n')
    ran = payonce("merchant", "create", "Acme & Söhne")
    merchant, token = ran.out.split()
    assert (ran.code, merchant[:4], token[:8]) == (0, "mer_", "sk_test_")
    listed = payonce("merchant", "list", "--json").json["merchants"]
    assert [(m["id"], m["name"], m["liveKeys"], m["default"]) for m in listed] == [
        ("mer_default", "default", 0, True),
        (merchant, "Acme & Söhne", 1, False),
    ]
    assert payonce("merchant", "list").out.splitlines()[0].split("\t") == ["ID", "NAME", "KEYS", "CREATED"]
    shown = payonce("merchant", "show", merchant)
    assert (shown.code, token[-32:] in shown.out) == (0, False)
    assert "Acme & Söhne" in shown.out
    assert payonce("merchant", "show", merchant, "--json").json["accounts"] == ["mock", "mock_two"]
    assert payonce("merchant", "show", "mer_nobody").code == 3
    for name in ("", "   ", "x" * 101, "a\nb"):
        refused = payonce("merchant", "create", name)
        assert (refused.code, refused.out) == (2, ""), refused


def test_commands_leave_their_names_in_histories(payonce: Payonce, paid: Paid, data: Path) -> None:
    """pay is the program of this machine, resolve, reconcile and drains are the person who typed them."""
    payment = paid("tok_wrong_amount", "--provider", "mock")["transactionId"]
    assert payonce("reconcile", "--once").code in (0, 6)
    payonce("resolve", payment, "--as", "reversed", "--reason", "T-1", "--yes")
    actors = [e["actor"] for e in payonce("show", payment, "--json").json["timeline"]]
    assert actors[0] == f"cli@{platform.node()}"
    assert actors[-1] == ME
    assert set(actors) <= {f"cli@{platform.node()}", ME, "worker"}
    payonce("providers", "drain", "mock", "--reason", "maintenance sk_test_0123456789")
    payonce("providers", "resume", "mock")
    payonce("providers", "resume", "mock")
    assert [(e.act.what, e.act.subject, e.act.actor, e.act.mode) for e in journal(data)] == [
        ("account.drained", "mock", ME, "test"),
        ("account.resumed", "mock", ME, "test"),
    ], "a resumption that does nothing is no act"
    assert journal(data)[0].act.data["reason"] == "maintenance sk_test_[redacted]"

"""doctor on merchants: keys, accounts that do not fit them, and endpoints that are not reached."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from payonce.bootstrap import SystemClock, SystemEntropy
from payonce.core import ids
from payonce.merchants import Merchants
from payonce.merchants.keys import SCOPES, Keyring
from payonce.outbound.endpoints import Endpoint
from payonce.stores.sqlite import SqliteStore, open_store

from .conftest import Payonce

DAY_US = 86_400 * 1_000_000


@pytest.fixture
def store(data: Path) -> Path:
    """An empty one."""

    async def make() -> None:
        await (await open_store(data / "payments.db")).close()

    data.mkdir()
    asyncio.run(make())
    return data / "payments.db"


def checks(payonce: Payonce) -> dict[str, tuple[str, str]]:
    ran = payonce("doctor", "--json")
    assert all(c["fix"] for c in ran.json["checks"] if c["state"] != "ok")
    return {c["name"]: (c["state"], c["says"]) for c in ran.json["checks"] if not c["says"].startswith("the sandbox")}


async def a_key(opened: SqliteStore, *, days: int = 0, merchant: str = "mer_default") -> str:
    clock, entropy = SystemClock(), SystemEntropy()
    ring = Keyring(opened.registry, clock, entropy)
    expires_us = clock.now_us() + days * DAY_US if days else 0
    key, _ = ring.new(merchant, "test", SCOPES, expires_us=expires_us)
    await ring.add(key)
    return key.id


def test_a_new_store_has_nothing_to_warn_of(payonce: Payonce, store: Path) -> None:
    """One merchant, no keys, loopback: whoever is here is the default merchant."""
    found = checks(payonce)
    assert found["merchants"] == ("ok", "1 on record, with 0 live API keys of test mode")
    assert found["keys"] == ("ok", "there is none: whoever is on this machine is mer_default")
    assert (found["endpoints"][0], found["deliveries"]) == ("ok", ("ok", "there were none"))
    assert "keys that expire" not in found


def test_a_door_without_keys(payonce: Payonce, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reachable for others without a key: serve would refuse. Required and none: nobody gets in."""
    monkeypatch.setenv("PAYONCE_KEYS", "required")
    assert checks(payonce)["keys"] == ("warn", "a key is needed and there is no live one: nobody gets in")
    monkeypatch.setenv("PAYONCE_HOST", "0.0.0.0")  # noqa: S104  only looked at
    state, says = checks(payonce)["keys"]
    assert (state, "`payonce serve` refuses to start" in says) == ("fail", True)


def test_keys_that_expire_soon_are_named(payonce: Payonce, store: Path) -> None:
    """Within 14 days, unless a successor is there; later ones are not."""

    async def make() -> tuple[str, str, str]:
        opened = await open_store(store)
        soon, later, replaced = await a_key(opened, days=3), await a_key(opened, days=30), await a_key(opened, days=2)
        ring = Keyring(opened.registry, SystemClock(), SystemEntropy())
        await ring.end(replaced, SystemClock().now_us() + DAY_US, successor=later)
        await opened.close()
        return soon, later, replaced

    soon, later, replaced = asyncio.run(make())
    found = checks(payonce)
    state, says = found["keys that expire"]
    assert (state, soon in says, later in says, replaced in says) == ("warn", True, False, False)
    assert found["keys"] == ("ok", "every request of a merchant needs an API key")


def test_accounts_and_merchants_that_do_not_meet_are_named(payonce: Payonce, store: Path, tmp_path: Path) -> None:
    """An account of a merchant that is not on record, one of nobody, and a merchant without an account."""

    async def make() -> str:
        opened = await open_store(store)
        merchants = Merchants(opened.registry, SystemClock(), SystemEntropy())
        made = merchants.new("Second")
        await merchants.add(made)
        await opened.close()
        return made.id

    other = asyncio.run(make())
    table = '[providers.{}]\nadapter = "mock"\nmerchants = {}\n'
    names = {"own": '"mer_default"', "stray": '"mer_nobody_here"', "retired": "[]"}
    (tmp_path / "payonce.toml").write_text("version = 1\n" + "".join(table.format(*item) for item in names.items()))
    found = checks(payonce)
    assert "account own" not in found
    assert found["account stray"] == ("warn", "it takes payments of mer_nobody_here only: no merchant on record can use it")
    assert found["account retired"] == ("warn", "it serves nobody")
    says = f"{other} can use no account of test mode: their payments are refused (no_route)"
    assert found["merchants' accounts"] == ("warn", says)


def test_endpoints_and_deliveries_that_failed_are_named(payonce: Payonce, store: Path) -> None:
    """A disabled endpoint with its reason, and how many deliveries were in vain."""

    async def make() -> str:
        opened, now = await open_store(store), SystemClock().now_us()
        fresh = ids.new_id("whe_", now, SystemEntropy().bits(ids.RANDOM_BITS))
        off = Endpoint(
            id=fresh,
            merchant_id="mer_default",
            mode="test",
            url="https://x.invalid/",
            state="disabled",
            reason="nothing got through for 5 days",
            created_us=now,
            active_us=now,
        )
        await opened.registry.put("endpoint", fresh, msgspec.json.encode(off), 0)
        await opened.close()
        return fresh

    fresh = asyncio.run(make())
    assert checks(payonce)["endpoints"] == ("warn", f"disabled: {fresh} (nothing got through for 5 days)")

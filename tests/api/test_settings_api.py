"""Keys of one's own, the configuration that holds, and the journal: complete, in pages, and without a secret."""

from pathlib import Path

import pytest

from payonce.config import SETTINGS
from payonce.merchants.journal import KIND
from payonce.ports import Scope

from .housed import ACCOUNTS, Housed, housed
from .service import OTHER, TEST, new_key, problem_of

LIVE = Scope("mer_default", "live")


def test_keys_are_ones_own_and_without_secrets(tmp_path: Path) -> None:
    """Of the caller's merchant and mode, newest first in pages; neither salt, hash nor key text is in them."""

    async def check(h: Housed) -> None:
        keys = h.house.keys
        mine = await new_key(keys)
        await new_key(keys, TEST, "payments:read")
        for scope in (OTHER, LIVE):
            await new_key(keys, scope)
        answer = await h.client.get("/keys", headers=mine)
        body = answer.json()
        assert [(k["scopes"], k["state"], k["mode"], k["current"]) for k in body["data"]] == [
            (["payments:read"], "live", "test", False),
            (["payments:read", "payments:write", "refunds:write", "admin"], "live", "test", True),
        ]
        for key in await keys.all():
            assert key.salt not in answer.text
            assert key.hash not in answer.text
        assert mine["Authorization"][-32:] not in answer.text
        first = (await h.client.get("/keys", headers=mine, params={"limit": "1"})).json()
        rest = (await h.client.get("/keys", headers=mine, params={"limit": "1", "cursor": first["nextCursor"]})).json()
        assert [first["data"][0]["id"], rest["data"][0]["id"]] == [k["id"] for k in body["data"]]
        assert rest["nextCursor"] is None
        viewer = await new_key(keys, TEST, "payments:write", "refunds:write")
        assert problem_of(await h.client.get("/keys", headers=viewer))["code"] == "scope_missing"

    housed(tmp_path, check)


def test_the_configuration_says_values_and_origins_and_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every setting; accounts with references to their secrets, and whether these are set."""
    monkeypatch.setenv("A_SECRET", "hush-hush-secret")

    async def check(h: Housed) -> None:
        answer = await h.client.get("/configuration")
        body = answer.json()
        assert [s["key"] for s in body["settings"]] == [s.key for s in SETTINGS]
        port = next(s for s in body["settings"] if s["key"] == "server.port")
        assert (port["value"], port["origin"]) == (81, str(tmp_path / "payonce.toml"))
        assert [(p["name"], p["credentials"]) for p in body["providers"]] == [
            ("a", {"secret": "env:A_SECRET (set)"}),
            ("b", {}),
        ]
        assert "hush-hush" not in answer.text

    housed(tmp_path, check, ACCOUNTS + "[server]\nport = 81\n")


def test_the_journal_is_told_newest_first(tmp_path: Path) -> None:
    """In pages by number, down to the first entry; one that cannot be read keeps its place and is said to be so."""

    async def check(h: Housed) -> None:
        for n in range(1, 6):
            await h.house.journal.write("key.revoked", f"key_{n}", actor="operator:ann@here", data={"reason": f"no. {n}"})
        (record,) = [r for r in await h.house.registry.all(KIND) if r.name.endswith("3")]
        await h.house.registry.put(KIND, record.name, b"{", record.version)
        seen, cursor = list[tuple[int, str, str | None]](), None
        while True:
            query = {"limit": "2", **({"cursor": cursor} if cursor else {})}
            page = (await h.client.get("/journal", params=query)).json()
            seen += [(e["seq"], e["subject"], e["data"].get("reason")) for e in page["data"]]
            if (cursor := page["nextCursor"]) is None:
                break
        assert seen == [(n, f"key_{n}", f"no. {n}") if n != 3 else (3, "", None) for n in range(5, 0, -1)]
        odd = (await h.client.get("/journal", params={"cursor": "4", "limit": "1"})).json()["data"][0]
        assert (odd["seq"], odd["readable"], odd["at"]) == (3, False, None)
        for cursor in ("0", "x", "9" * 300, "-1", "1.5"):
            assert problem_of(await h.client.get("/journal", params={"cursor": cursor}))["code"] == "validation_failed"

    housed(tmp_path, check)


def test_an_empty_journal_is_an_empty_page(tmp_path: Path) -> None:
    """No entry, no cursor."""

    async def check(h: Housed) -> None:
        assert (await h.client.get("/journal")).json() == {"data": [], "nextCursor": None}

    housed(tmp_path, check)


def test_configuration_and_journal_are_the_houses_admins(tmp_path: Path) -> None:
    """Another merchant's admin finds nothing there; nor may who only reads and pays look."""

    async def check(h: Housed) -> None:
        writer, other = await new_key(h.house.keys, TEST, "payments:write", "refunds:write"), await new_key(h.house.keys, OTHER)
        for path in ("/configuration", "/journal"):
            assert problem_of(await h.client.get(path, headers=writer))["code"] == "scope_missing"
            theirs = await h.client.get(path, headers=other)
            assert (theirs.status_code, problem_of(theirs)["detail"]) == (404, "There is nothing under this path.")
        assert len((await h.client.get("/keys", headers=other)).json()["data"]) == 1

    housed(tmp_path, check)

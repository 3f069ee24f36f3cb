"""A whole server: who needs a key where it listens, and what of the sandbox and of its state strangers and merchants see."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

import payonce
from payonce.bootstrap import App, open_app
from payonce.config import Settings, load
from payonce.core.errors import ConfigError
from payonce.core.payment import Mode, StoredRequest
from payonce.merchants.keys import SCOPES, KeyScope
from payonce.openfiles import KEPT
from payonce.ports import Response
from payonce.serving import api_of, door_of, ready, require_key, serving

from .api.service import GOOD

OTHERS = "0.0.0.0"  # noqa: S104  only looked at, or refused before it is bound for long
LIVE = "[providers.p]\nadapter = 'mock'\nbase_url = 'https://mock.invalid'\nmerchants = ['mer_b']\nsecret = 'env:KEY'\n"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No configuration of the machine counts."""
    monkeypatch.chdir(tmp_path)


def settings_of(flags: Mapping[str, str | int] | None = None) -> Settings:
    return load({"store.data_dir": "data", "server.port": 0, **(flags or {})}, env={})


async def key_of(app: App, *scopes: KeyScope, merchant: str = "mer_default", mode: Mode | None = None) -> dict[str, str]:
    key, text = app.keys.new(merchant, mode or app.settings.mode, scopes or SCOPES)
    await app.keys.add(key)
    return {"Authorization": f"Bearer {text}"}


def run(check: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await check()

    asyncio.run(bounded())


@asynccontextmanager
async def mounted(app: App, **how: Any) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the API as a server of these settings has it."""
    asgi = api_of(app, door_of(app, **how))
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=asgi), base_url="http://127.0.0.1:8080") as client:
        yield client


def test_an_address_that_others_reach_needs_a_key_to_start() -> None:
    """ConfigError that says how to make one; a key of the other mode, or one that has ended, does not count."""
    settings = settings_of({"server.host": OTHERS})

    async def refuses() -> None:
        with pytest.raises(ConfigError, match=r"Nothing was started.*`payonce key create --mode test`"):
            async with serving(settings, worker=False):
                pass

    async def check() -> None:
        await refuses()
        async with open_app(settings, env={}) as app:
            await key_of(app, mode="live")
        await refuses()
        async with open_app(settings, env={}) as app:
            await key_of(app)
            (ended,) = [key for key in await app.keys.all() if key.mode == "test"]
            await app.keys.end(ended.id, app.clock.now_us())
        await refuses()
        async with open_app(settings, env={}) as app:
            await key_of(app)
            await require_key(app)

    run(check)


def test_a_server_on_loopback_is_open_until_a_key_is_made() -> None:
    """Payments without a key; with the first one, made while it runs, everybody needs it within seconds."""

    async def check() -> None:
        async with serving(settings_of(), worker=False) as served, httpx2.AsyncClient(base_url=served.url) as client:
            assert (await client.post("/payments", json=GOOD, headers={"idempotency-key": "k"})).status_code == 202
            assert (await client.get("/payments", headers={"host": "rebound.example"})).status_code == 401
            mine = await key_of(served.app)
            assert (await client.get("/payments")).status_code == 401
            assert (await client.get("/payments", headers=mine)).status_code == 200

    run(check)


def test_an_address_that_others_reach_is_closed_to_this_machine_too() -> None:
    """Bound to every address nobody is let in without a key, wherever they come from, and whatever keys there are."""

    async def check() -> None:
        async with open_app(settings_of({"server.host": OTHERS}), env={}) as app, mounted(app, served=True) as client:
            assert (await client.get("/payments")).status_code == 401

    run(check)


@pytest.mark.parametrize(("keys", "status"), [("auto", 200), ("required", 401)])
def test_an_app_that_is_mounted_does_what_the_settings_say(keys: str, status: int) -> None:
    """payonce.asgi_app cannot see who reaches it: auto is open until there is a key, required is not."""
    app = payonce.asgi_app(settings_of({"server.keys": keys}), worker=False)

    async def check() -> None:
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://shop.example") as client:
            assert (await client.get("/payments")).status_code == status
            assert (await client.get("/livez")).status_code == 200
        await app.close()

    run(check)


def test_the_sandbox_is_behind_the_door_but_for_customers() -> None:
    """Ledger, faults and outbox need admin where keys are needed; a page on which a customer pays needs nothing."""

    async def check() -> None:
        async with open_app(settings_of(), env={}) as app, mounted(app, served=True) as client:
            behind = ("/sandbox/ledger", "/sandbox/faults", "/sandbox/webhooks", "/sandbox/outbox", "/sandbox/")
            assert {(await client.get(path)).status_code for path in behind} == {200}
            admin = await key_of(app)
            little = await key_of(app, "payments:read", "payments:write", "refunds:write", merchant="mer_b")
            for path in (*behind, "/sandbox/pay", "/sandbox/pay/../ledger", "/sandbox//pay/x", "/sandbox/PAY/x"):
                assert (await client.get(path)).status_code in (401, 404), path
            for path in behind:
                assert (await client.get(path)).status_code == 401, path
                refused = await client.get(path, headers=little)
                assert (refused.status_code, refused.json()["code"]) == (403, "scope_missing")
                assert (await client.get(path, headers=admin)).status_code == 200
            assert (await client.put("/sandbox/faults", json={"outage": True})).status_code == 401
            assert (await client.get("/sandbox/faults", headers=admin)).json().get("outage", False) is False
            assert (await client.get("/sandbox/pay/style.css")).status_code == 200
            unknown = await client.get("/sandbox/pay/mock/1")
            assert (unknown.status_code, "Unknown payment" in unknown.text) == (404, True)

    run(check)


def test_readiness_names_no_account_of_another_merchant(monkeypatch: pytest.MonkeyPatch) -> None:
    """A drained account is told to the merchant it serves; another one hears ok, a stranger words alone."""
    monkeypatch.setenv("KEY", "x")
    Path("payonce.toml").write_text(f"version = 1\n{LIVE}", encoding="utf-8")

    async def check() -> None:
        async with open_app(settings_of(), env={"KEY": "x"}) as app, mounted(app, served=True) as client:
            await app.health.drain("p", "too many declines", "test")
            theirs, mine = await key_of(app, "payments:read", merchant="mer_b"), await key_of(app, "payments:read")
            shown = [(await client.get("/readyz", headers=headers)).json()["checks"] for headers in (theirs, mine, {})]
            assert "nothing new is sent to p" in shown[0]["accounts"]
            assert shown[1]["accounts"] == "ok"
            assert set(shown[2].values()) == {"ok"}
            assert (await ready(app)(None))["accounts"] == "ok"

    run(check)


@pytest.mark.parametrize(("url", "said"), [("https://pay.example.com", True), ("http://pay.example.com", False), ("", False)])
def test_browsers_are_told_to_come_over_tls_where_that_is_so(url: str, said: bool) -> None:
    """Strict-Transport-Security on every answer where server.public_url is https, else on none."""
    settings = settings_of({"server.public_url": url} if url else {})

    async def check() -> None:
        async with open_app(settings, env={}) as app, mounted(app) as client:
            for path in ("/docs", "/livez", "/payments", "/nowhere", "/sandbox/ledger"):
                answer = await client.get(path)
                assert ("strict-transport-security" in answer.headers) == said, path

    run(check)


def test_connections_to_providers_leave_files_for_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many payments are to be worked on at once: the store and its readers find a file."""
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 1024))

    async def check() -> None:
        for wanted, most in ((10, 100), (300, 300), (2000, 1024 - KEPT)):
            async with open_app(settings_of({"worker.concurrency": wanted}), env={}) as app:
                assert app.transport.made()._pool._most == most  # type: ignore[attr-defined]

    run(check)


def test_each_payment_that_is_worked_on_has_a_connection() -> None:
    """A worker that works on 150 payments at once asks 150 times at once: none of its calls waits for another one's answer, and
    none is lost because it did."""

    async def check() -> None:
        together = asyncio.Barrier(150)

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n{}")
            await together.wait()
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
            await writer.drain()
            writer.close()
            await writer.wait_closed()

        server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=150)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        request = StoredRequest(
            account="a", mode="test", credential_id="c", base_url=url, api_version="1", method="POST", path="/", headers=()
        )  # fmt: skip
        async with open_app(settings_of({"worker.concurrency": 150}), env={}) as app:
            by_us = app.clock.now_us() + 20_000_000
            calls = [app.transport.send(request, b"{}", {}, send_by_us=by_us, timeout_ms=20_000) for _ in range(150)]
            answers = await asyncio.gather(*calls)
        server.close()
        assert [each for each in answers if not isinstance(each, Response)] == []

    run(check)

"""The whole of it: a payment through a real store, the worker and a real socket, to a receiver that verifies."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from payonce.bootstrap import App, SystemClock, open_app
from payonce.config import load
from payonce.core.errors import ConfigError, StoreUnavailable
from payonce.embedded import Payments
from payonce.outbound.endpoints import ACTIVE_AFTER_US
from payonce.outbound.signing_key import FILE_NAME
from payonce.process import running_worker

from . import hostile
from .hostile import serving

standardwebhooks = pytest.importorskip("standardwebhooks", reason="the oracle is a dependency of development")
OK = b"HTTP/1.1 204 No Content\r\n\r\n"
KEY = "an env variable with some 40 characters!"


class AheadClock(SystemClock):
    """This machine's time, and a little more when a test need not wait."""

    ahead_us = 0

    def now_us(self) -> int:
        return super().now_us() + self.ahead_us


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not holds():
            await asyncio.sleep(0.01)


def flags(folder: Path, **more: str) -> dict[str, str | int | None]:
    return {"store.data_dir": str(folder), "webhooks.allow_hosts": "127.0.0.1", **more}


class Shop:
    """A merchant's receiver: keeps what verifies, and answers 204; a test says when it is down."""

    def __init__(self) -> None:
        self.secret, self.events, self.refused, self.down = "", list[dict[str, Any]](), 0, False

    async def __call__(self, reader: hostile.Reader, writer: hostile.Writer) -> None:
        head, _, body = (await hostile.request(reader)).partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
        if self.down:
            self.refused += 1
            writer.write(b"HTTP/1.1 503 Down\r\ncontent-length: 0\r\n\r\n")
            return
        self.events.append(standardwebhooks.Webhook(self.secret).verify(body, headers))
        writer.write(OK)


async def subscribed(app: App, shop: Shop, port: int, clock: AheadClock) -> str:
    assert app.endpoints is not None
    made = await app.endpoints.create(app.scope, f"http://127.0.0.1:{port}/hook", actor="test")
    shop.secret = app.endpoints.secrets(made)[0]
    await app.endpoints.refresh()
    clock.ahead_us += ACTIVE_AFTER_US
    return made.id


def test_a_merchant_hears_of_its_payments(tmp_path: Path) -> None:
    """Paid and refunded: each event arrives, verified by the specification's own package; a try in vain is made up for."""

    async def check() -> None:
        shop, clock = Shop(), AheadClock()
        async with serving(shop) as at, open_app(load(flags(tmp_path)), clock=clock, worker=True) as app:
            await subscribed(app, shop, at.port, clock)
            async with running_worker(app):
                pay = Payments(app)
                paid = await pay.pay(amount=1050, currency="INR", payment_method="tok_ok", idempotency_key="k1")
                await until(lambda: any(e["type"] == "payment.succeeded" for e in shop.events))
                shop.down = True
                await pay.refund(paid.transaction_id, 250, idempotency_key="k2")
                await until(lambda: shop.refused > 0)
                shop.down = False
                clock.ahead_us += 10_000_000
                await until(lambda: {"refund.created", "refund.succeeded"} <= {e["type"] for e in shop.events})
        for event in shop.events:
            assert event["data"]["payment"]["transactionId"] == paid.transaction_id
        assert (tmp_path / FILE_NAME).stat().st_mode & 0o777 == 0o600

    asyncio.run(check())


def test_a_second_process_delivers_what_the_first_accepted(tmp_path: Path) -> None:
    """The one that accepts has no worker; what it wrote is delivered by one that has, with the same key."""

    async def check() -> None:
        shop, clock = Shop(), AheadClock()
        async with serving(shop) as at:
            async with open_app(load(flags(tmp_path)), clock=clock) as app:
                endpoint_id = await subscribed(app, shop, at.port, clock)
                await Payments(app).pay(amount=1050, currency="INR", payment_method="tok_ok", idempotency_key="k1")
                assert app.courier is not None
                await app.courier.test(app.scope, endpoint_id, actor="test")
            async with open_app(load(flags(tmp_path)), clock=clock, worker=True) as app, running_worker(app):
                await until(lambda: {"payment.succeeded", "webhook.test"} <= {e["type"] for e in shop.events})

    asyncio.run(check())


def test_without_an_endpoint_nothing_is_noted_down(tmp_path: Path) -> None:
    """A worker knows that nobody listens, so payments cost what they did before; no key is made."""

    async def check() -> None:
        async with open_app(load(flags(tmp_path)), worker=True) as app, running_worker(app):
            assert app.endpoints is not None
            assert app.courier is not None
            await until(lambda: not app.endpoints.any("mer_default", "test"))
            paid = await Payments(app).pay(amount=1050, currency="INR", payment_method="tok_ok", idempotency_key="k1")
            await Payments(app).wait(paid.transaction_id)
            assert await app.courier.due(2**60, 10) == ()
        assert not (tmp_path / FILE_NAME).exists()

    asyncio.run(check())


def test_a_key_of_ones_own_is_used(tmp_path: Path) -> None:
    """From the environment; no file is made. One that can be guessed, or is not there, stops the start."""

    async def check() -> None:
        settings = load(flags(tmp_path, **{"webhooks.signing_key": "env:HOOKS"}))
        async with open_app(settings, env={"HOOKS": KEY}) as app:
            assert app.endpoints is not None
            made = await app.endpoints.create(app.scope, "http://127.0.0.1:9/", actor="test")
            first = app.endpoints.secrets(made)
        async with open_app(settings, env={"HOOKS": KEY}) as app:
            assert app.endpoints is not None
            assert app.endpoints.secrets(made) == first
        assert not (tmp_path / FILE_NAME).exists()
        for env in ({"HOOKS": "short"}, {}):
            with pytest.raises(ConfigError, match=r"webhooks\.signing_key"):
                async with open_app(settings, env=env):
                    pass

    asyncio.run(check())


def test_an_allow_list_that_cannot_be_read_stops_the_start(tmp_path: Path) -> None:
    """Nothing is guessed about who may be reached."""

    async def check() -> None:
        with pytest.raises(ConfigError, match=r"webhooks\.allow_hosts"):
            async with open_app(load(flags(tmp_path, **{"webhooks.allow_hosts": "10.0.0.0/99"}))):
                pass

    asyncio.run(check())


def test_events_of_a_payment_are_told_in_the_form_of_the_docs(tmp_path: Path) -> None:
    """What is sent has the four names of an event and nothing that the API does not show."""

    async def check() -> None:
        shop, clock = Shop(), AheadClock()
        async with serving(shop) as at, open_app(load(flags(tmp_path)), clock=clock, worker=True) as app:
            await subscribed(app, shop, at.port, clock)
            async with running_worker(app):
                payments = Payments(app)
                paid = await payments.pay(
                    amount=1050, currency="INR", payment_method="tok_ok", idempotency_key="k1", metadata={"order": "7"}
                )
                await until(lambda: bool(shop.events))
        (event,) = shop.events
        assert list(event) == ["id", "type", "timestamp", "data"]
        assert event["data"]["payment"]["metadata"] == {"order": "7"}
        assert event["data"]["payment"]["idempotencyKey"] == "k1"
        assert len(json.dumps(event)) < 20_000
        assert paid.transaction_id in event["data"]["payment"]["transactionId"]

    asyncio.run(check())


def test_a_store_that_is_closed_ends_no_courier(tmp_path: Path) -> None:
    """What was asked too late is said by the store's own error, and what is resolved too late by a line in the log."""

    async def check() -> None:
        async with open_app(load(flags(tmp_path))) as app:
            courier, endpoints = app.courier, app.endpoints
        assert courier is not None
        assert endpoints is not None
        await courier.resolve("dlv_00000000000000000000")
        with pytest.raises(StoreUnavailable):
            await courier.due(2**60, 1)

    asyncio.run(check())

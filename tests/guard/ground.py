"""The ground on which hot paths are counted: the server's own app over a real file, with everything in one thread and nothing
left to chance. The clock moves when an operation is over, ids come from a counter, the provider answers from a can.

An operation is prepared before it is counted, for a given number of times, and then done so often within one coroutine:
nothing of the event loop is counted but what the operation asks of it."""

import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping, Sequence
from contextlib import ExitStack, asynccontextmanager, redirect_stderr
from functools import partial
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import msgspec

import payonce.bootstrap
import payonce.stores.sqlite
from payonce.bootstrap import App, open_app
from payonce.config import load
from payonce.core.apply import apply, extend
from payonce.core.payment import StoredRequest
from payonce.ports import Response
from payonce.serving import api_of, door_of
from payonce.shown.views import payment_body
from payonce.telemetry import configure

Times = Sequence[Callable[[], Awaitable[object]]]  # an operation, once for each time that it is done
Prepare = Callable[["Ground", int], Awaitable[Times]]

START_US: Final = 1_795_000_000_000_000  # 2026-11-18
STEP_US: Final = 1_000  # from one operation to the next, as at 1,000 a second
ORDER: Final = b'{"amount":1050,"currency":"INR","paymentMethod":"tok_ok","provider":"mock","clientId":"shop-7"}'
HEADERS: Final = (  # as curl sends them
    (b"host", b"127.0.0.1:8080"),
    (b"user-agent", b"curl/8.9.1"),
    (b"accept", b"*/*"),
    (b"content-type", b"application/json"),
)


class Steps:
    """A clock that stands within an operation."""

    def __init__(self) -> None:
        self.at_us = START_US

    def now_us(self) -> int:
        return self.at_us

    def monotonic_us(self) -> int:
        return self.at_us

    async def sleep(self, seconds: float) -> None:
        raise AssertionError(f"a hot path waits for {seconds} s")


class Numbers:
    """Chance that is the same in each run."""

    def __init__(self) -> None:
        self._drawn = 0

    def bits(self, count: int) -> int:
        self._drawn = self._drawn + 0x9E3779B97F4A7C15 & (1 << 128) - 1
        return self._drawn & (1 << count) - 1


class Canned:
    """Instead of the transport: a mock provider that takes every charge at once."""

    def __init__(self, *_: object) -> None: ...

    def made(self) -> "Canned":
        return self

    async def send(
        self, request: StoredRequest, body: bytes, secret_headers: Mapping[str, str], *, send_by_us: int, timeout_ms: int
    ) -> Response:
        del request, secret_headers, send_by_us, timeout_ms
        asked = msgspec.json.decode(body)
        said = {name: asked[name] for name in ("amount", "currency", "reference")}
        charge = {"id": f"ch_{said['reference']}", "status": "succeeded", "mode": "test", "refunded": 0, "refunds": []}
        return Response(status=200, headers={}, body=msgspec.json.encode(said | charge))

    async def close(self) -> None: ...


class Ground:
    """See the module docstring."""

    def __init__(self, app: App, clock: Steps) -> None:
        self.app, self._clock = app, clock
        self._asgi = api_of(app, door_of(app, served=True), worker=True)
        self._posted = 0

    async def request(self, method: str, path: str, headers: Sequence[tuple[bytes, bytes]] = (), body: bytes = b"") -> bytes:
        """Through the whole ASGI app, as uvicorn calls it; the body of the answer."""
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [*HEADERS, *headers],
            "client": ("127.0.0.1", 40000),
            "server": ("127.0.0.1", 8080),
            "state": {},
        }
        exchange = Exchange(body)
        await self._asgi(scope, exchange.receive, exchange.send)
        if exchange.status >= 300:
            raise RuntimeError(f"{method} {path}: {exchange.status} {exchange.content!r}")
        return exchange.content

    async def accept(self) -> bytes:
        """POST of a payment that is new; the answer."""
        self._posted += 1
        key = (b"idempotency-key", b"order-%08d" % self._posted)
        length = (b"content-length", str(len(ORDER)).encode())
        return await self.request("POST", "/payments", (key, length), ORDER)

    async def accepted(self, times: int) -> list[str]:
        """Ids of so many new payments."""
        return [str(msgspec.json.decode(await self.accept())["transactionId"]) for _ in range(times)]

    async def settled(self) -> str:
        """The id of a payment that has succeeded."""
        (id,) = await self.accepted(1)
        await self.app.engine.advance(id)
        found = await self.app.store.get(id)
        if found is None or found.status != "SUCCESS":
            raise RuntimeError(f"the payment did not succeed: {found}")
        return id

    async def do(self, times: Times) -> None:
        """An operation, so often."""
        for once in times:
            await once()
            self._clock.at_us += STEP_US


class Exchange:
    """uvicorn's side of one request."""

    def __init__(self, body: bytes) -> None:
        self._body, self.status, self.content = body, 0, b""

    async def receive(self) -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": self._body, "more_body": False}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        else:
            self.content += message.get("body", b"")


@asynccontextmanager
async def ground(folder: Path) -> AsyncIterator[Ground]:
    """A fresh file in ``folder``. What a server logs is written, to nowhere. Raises RuntimeError when something of it would run
    in another thread."""
    inline = partial(payonce.stores.sqlite.open_store, executor="inline")
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "payonce.toml"  # whatever lies in the current folder does not count
    config.write_text("version = 1\n", encoding="utf-8")
    env = {"PAYONCE_DATA_DIR": str(folder), "PAYONCE_SANDBOX_URL": "http://127.0.0.1:9", "PAYONCE_CONFIG": str(config)}
    settings = load(env=env)
    clock, threads = Steps(), threading.active_count()
    with ExitStack() as changed:
        changed.enter_context(patch.object(payonce.stores.sqlite, "open_store", inline))
        changed.enter_context(patch.object(payonce.bootstrap, "LazyTransport", Canned))
        with redirect_stderr(changed.enter_context(Path(os.devnull).open("w"))):
            configure(json=True)
        async with open_app(settings, clock=clock, entropy=Numbers(), env={}, worker=True) as app:
            if threading.active_count() > threads:
                raise RuntimeError("part of the app runs in a thread of its own, where nothing is counted")
            yield Ground(app, clock)


# --- the operations -------------------------------------------------------------------------------------------------------


async def _accept(g: Ground, times: int) -> Times:
    """POST /payments, a new payment."""
    return [g.accept] * times


async def _repeat(g: Ground, times: int) -> Times:
    """POST /payments with a key that is known."""
    await g.accept()
    known = g._posted

    async def again() -> None:
        g._posted = known - 1
        await g.accept()

    return [again] * times


async def _get(g: Ground, times: int) -> Times:
    """GET /payments/{id} of one that has succeeded."""
    return [partial(g.request, "GET", f"/payments/{await g.settled()}")] * times


async def _advance(g: Ground, times: int) -> Times:
    """From accepted to SUCCESS: the claim, the call, its answer."""
    return [partial(g.app.engine.advance, id) for id in await g.accepted(times)]


async def _append(g: Ground, times: int) -> Times:
    """Seal and fold what a charge adds to a history: its claim and its answer."""
    first, *rest = await g.app.store.history(await g.settled())
    born, added = apply(None, first), [entry.envelope.data for entry in rest]

    async def once() -> None:
        extend(born, added, at_us=START_US, actor="worker")

    return [once] * times


async def _encode(g: Ground, times: int) -> Times:
    """The body that shows a payment."""
    p = await g.app.store.get(await g.settled())
    assert p is not None
    details, encode = await g.app.engine.details(p), msgspec.json.Encoder().encode

    async def once() -> None:
        encode(payment_body(p, details))

    return [once] * times


OPERATIONS: Final[Mapping[str, Prepare]] = {
    "accept": _accept,
    "repeat": _repeat,
    "get": _get,
    "advance": _advance,
    "append": _append,
    "encode": _encode,
}

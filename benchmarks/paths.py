"""What one request costs above the server and the store: the application is called as an ASGI server would call it, in this
process, over a store that takes every write at once. ``python -m benchmarks.paths [N]`` prints, for each path, CPU microseconds
(best of five rounds of N requests) and how many Python and C functions one request calls, which no other load on the machine
changes."""

import asyncio
import gc
import itertools
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from payonce import telemetry
from payonce.api.app import create_app
from payonce.api.door import Backlog, Door
from payonce.bootstrap import LocalWake, SystemClock, SystemEntropy, accounts_of, policy_of
from payonce.config import load
from payonce.engine import Engine, Ports
from payonce.merchants.keys import SCOPES, Keyring
from payonce.ports import Change, Committed, Due, KeyRow, Scope
from payonce.stores.memory import MemoryRegistry
from payonce.telemetry.opening import watched
from payonce.telemetry.watching import Watcher

ROUNDS: Final = 5
COUNTED: Final = 50  # requests whose calls are counted
SCOPE: Final = Scope("mer_default", "test")
BODY: Final = (
    b'{"amount": 1050, "currency": "INR", "clientId": "shop-17", "paymentMethod": "tok_ok", "metadata": {"order": "A-%d"}}'
)
PATHS: Final = ("accept", "accept, with a key", "read", "read, with a key", "nothing there", "livez")


class Cost(Struct, frozen=True):
    """Of one request."""

    cpu_us: float
    python_calls: float
    c_calls: float


class AtOnce:
    """A store that takes every write and finds it again, and checks nothing."""

    def __init__(self) -> None:
        self._rows: dict[str, Change] = {}

    async def commit(self, change: Change, _expected_version: int) -> Committed:
        self._rows[change.payment.id] = change
        return Committed()

    async def get(self, id: str) -> Any:
        return self._rows[id].payment if id in self._rows else None

    async def find_key(self, _scope: Scope, _key: str) -> KeyRow | None:
        return None

    async def bodies(self, keys: Sequence[tuple[str, str]]) -> Mapping[tuple[str, str], bytes]:
        return {(id, sha256): self._rows[id].bodies[sha256] for id, sha256 in keys}

    async def due(self, _before_us: int, _limit: int) -> Sequence[Due]:
        return ()

    def newest(self) -> str:
        return next(reversed(self._rows))


class Ground:
    """The application with the accounts, rules and limits of a fresh start; its log goes nowhere, but is written."""

    def __init__(self) -> None:
        settings, clock, entropy, self.store = load({}, {}), SystemClock(), SystemEntropy(), AtOnce()
        watcher = Watcher(clock)
        ports = Ports(store=self.store, transport=None, clock=clock, entropy=entropy, wake=LocalWake())  # type: ignore[arg-type]
        engine = Engine(watched(watcher, ports), accounts_of(settings, {}), policy_of(settings), rules=settings.rules)
        self._keys, self._numbers = Keyring(MemoryRegistry(), clock, entropy), itertools.count()
        limits = {"requests_max": settings.number("limits.requests_max"), "rate_per_s": 0}
        backlog = Backlog(self.store.due, clock, settings.number("limits.backlog_max"))
        door = Door(self._keys, "test", clock, open_to=SCOPE, local_only=True, backlog=backlog, **limits)
        self.app = create_app(engine, door=door, ready=_ready, watcher=watcher)
        self.bearer: tuple[tuple[bytes, bytes], ...] = ()

    async def make_key(self) -> None:
        """From now on a key is needed."""
        key, text = self._keys.new(SCOPE.merchant_id, "test", SCOPES)
        await self._keys.add(key)
        self.bearer = ((b"authorization", f"Bearer {text}".encode()),)

    def request(self, path: str) -> tuple[dict[str, Any], bytes]:
        """The ASGI scope and the body of the next request of a path in PATHS."""
        if not path.startswith("accept"):
            where = {"nothing there": "/nothing", "livez": "/livez"}.get(path, "")
            return self._scope("GET", where or f"/payments/{self.store.newest()}"), b""
        number = next(self._numbers)
        body = BODY % number
        headers = ((b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)))
        return self._scope("POST", "/payments", *headers, (b"idempotency-key", b"order-1764000000123-%d" % number)), body

    def _scope(self, method: str, path: str, *headers: tuple[bytes, bytes]) -> dict[str, Any]:
        return {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "client": ("127.0.0.1", 50_000),
            "server": ("127.0.0.1", 8080),
            "headers": [(b"host", b"127.0.0.1:8080"), *headers, *self.bearer],
        }

    async def ask(self, requests: Sequence[tuple[dict[str, Any], bytes]], want: int) -> None:
        """Each of them, one after the other. Raises AssertionError for an answer with another status."""
        for scope, body in requests:
            told: list[Any] = []

            async def receive(body: bytes = body) -> Any:
                return {"type": "http.request", "body": body, "more_body": False}

            async def send(message: Any, told: list[Any] = told) -> None:
                told.append(message)

            await self.app(scope, receive, send)
            if told[0]["status"] != want:
                raise AssertionError(told)


async def _ready(_scope: Scope | None) -> Mapping[str, str]:
    return {"store": "ok"}


async def cost(ground: Ground, path: str, times: int) -> Cost:
    """What one request of this path costs."""
    want = 202 if path.startswith("accept") else 404 if path == "nothing there" else 200
    best = float("inf")
    for _ in range(ROUNDS + 1):  # the first one warms up
        requests = [ground.request(path) for _ in range(times)]
        gc.collect()
        began = time.thread_time_ns()
        await ground.ask(requests, want)
        best = min(best, (time.thread_time_ns() - began) / times / 1000)
    counted = {"call": 0, "c_call": 0}
    requests = [ground.request(path) for _ in range(COUNTED)]
    sys.setprofile(_counting(counted))
    try:
        await ground.ask(requests, want)
    finally:
        sys.setprofile(None)
    return Cost(best, counted["call"] / COUNTED, counted["c_call"] / COUNTED)


def _counting(counted: dict[str, int]) -> Callable[[Any, str, Any], None]:
    def count(_frame: Any, event: str, _about: Any) -> None:
        if event in counted:
            counted[event] += 1

    return count


def costs(times: int = 2000) -> dict[str, Cost]:
    """Of every path. What this process logs goes nowhere from now on."""
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        telemetry.configure(json=True)
        for handler in logging.getLogger("payonce").handlers:
            if isinstance(handler, logging.StreamHandler):
                handler.setStream(nowhere)
        return asyncio.run(_costs(times))


async def _costs(times: int) -> dict[str, Cost]:
    ground, found = Ground(), dict[str, Cost]()
    for path in sorted(PATHS, key=lambda path: "with a key" in path):
        if "with a key" in path and not ground.bearer:
            await ground.make_key()
        found[path] = await cost(ground, path, times)
    return {path: found[path] for path in PATHS}


if __name__ == "__main__":
    print(f"{'path':20} {'CPU us':>8} {'Python calls':>13} {'C calls':>8}")
    for name, each in costs(int(sys.argv[1]) if sys.argv[1:] else 2000).items():
        print(f"{name:20} {each.cpu_us:8.1f} {each.python_calls:13.0f} {each.c_calls:8.0f}")

"""The tests of tests/api against a server that is really there. They are written for a service in their own process, on an
empty store; here the same assertions meet a running one, which many tests share:

- ``Namespace`` gives each test keys of its own, and lists that begin where the test began. Who asks shows an API key where one
  is needed; the record calls them "api" then as it does without.
- The account that they call tiny is the mock.
- ``count`` is what was created since then. One test runs at a time.
- ``engine.advance`` is one look of a worker at one payment, and nobody else looks.
"""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread
from typing import Final

import httpx2
from msgspec import Struct

from payonce.bootstrap import SystemEntropy
from payonce.config import load
from payonce.core import ids
from payonce.serving import Served, serving
from tests.api.service import Service
from tests.aws.stack import Stack, until

from .routes import TOML

Advance = Callable[[str], Awaitable[None]]
Check = Callable[[Service], Awaitable[None]]
CALL_S: Final = 60.0
AT_ONCE: Final = 4  # requests: each one more is a process of the emulator
PLAIN: Final = re.compile(r'"?[A-Za-z0-9-]{1,20}"?')
KEY_IN_BODY: Final = re.compile(rb'"idempotencyKey": ?"(?=[A-Za-z0-9-]{1,20}")')


class Target(Struct, frozen=True):
    """A server, and a worker that looks when it is told to. ``headers``: what each request there needs; ``who``: how the record
    calls whoever sends it."""

    url: str
    advance: Advance
    headers: dict[str, str] = {}
    who: str = "api"


class Namespace(httpx2.AsyncBaseTransport):
    """Keys that are plain get a prefix on their way out and lose it on their way back."""

    def __init__(self, target: Target) -> None:
        self._target, self._http, self._room = target, httpx2.AsyncHTTPTransport(verify=False), asyncio.Semaphore(AT_ONCE)
        self.prefix = f"{SystemEntropy().bits(48):012x}--"
        self.since = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        await request.aread()
        query = self._narrowed(request)
        headers = [(name, self._owned(name, value)) for name, value in request.headers.raw if name.lower() != b"host"]
        headers += [(n.encode(), v.encode()) for n, v in self._target.headers.items() if n not in request.headers]
        path = request.url.raw_path.partition(b"?")[0].decode()
        content = self._body(request)
        if len(content) != len(request.content):
            headers = [(n, str(len(content)).encode() if n.lower() == b"content-length" else v) for n, v in headers]
        there = httpx2.Request(
            request.method,
            self._target.url + path + (f"?{query}" if query else ""),
            headers=headers,
            content=content or None,
        )
        async with self._room:
            answer = await self._http.handle_async_request(there)
            body = await answer.aread()
        shown = body.replace(self.prefix.encode(), b"")
        shown = re.sub(rb'"' + self._target.who.encode() + rb'@[^"]*"', b'"api"', shown)  # as who has no key is shown
        given = [
            (n, str(int(v) - len(body) + len(shown)).encode() if n.lower() == b"content-length" else v)
            for n, v in answer.headers.raw
        ]
        made = httpx2.Response(answer.status_code, headers=given, content=shown, request=request)
        await answer.aclose()
        return made

    async def aclose(self) -> None:
        await self._http.aclose()

    def _owned(self, name: bytes, value: bytes) -> bytes:
        if name.lower() != b"idempotency-key" or not PLAIN.fullmatch(value.decode("latin-1")):
            return value
        return b'"' * value.startswith(b'"') + self.prefix.encode() + value.lstrip(b'"')

    def _body(self, request: httpx2.Request) -> bytes:
        return KEY_IN_BODY.sub(lambda found: found[0] + self.prefix.encode(), request.content)

    def _narrowed(self, request: httpx2.Request) -> str:
        """A list begins with this test, and is asked for its keys."""
        query = request.url.query.decode()
        if request.method not in ("GET", "HEAD") or request.url.path != "/payments":
            return query
        key = re.compile(r"(?<=idempotencyKey=)(%22)?(?=[A-Za-z0-9-]{1,20}(%22)?(&|$))")
        query = key.sub(lambda found: (found[1] or "") + self.prefix, query).replace("provider=tiny", "provider=mock")
        parts = [query] if query else []
        return "&".join(parts if "createdFrom=" in query else [*parts, f"createdFrom={self.since}"])


class _Engine:
    def __init__(self, advance: Advance) -> None:
        self.advance = advance


class Remote(Service):
    """The service of tests/api, whose server is elsewhere. What a test does with its store or clock is not there: such
    tests are not run here."""

    def __init__(self, target: Target, client: httpx2.AsyncClient) -> None:
        super().__init__(None, _Engine(target.advance), None, client)  # type: ignore[arg-type]

    async def count(self) -> int:
        found, cursor = 0, ""
        while True:
            page = (await self.get("/payments", limit="100", **({"cursor": cursor} if cursor else {}))).json()
            found += len(page["data"])
            if not (cursor := page["nextCursor"]):
                return found


def serving_over(target: Target) -> Callable[..., None]:
    """What takes the place of ``tests.api.service.serving``."""

    def serve(check: Check, **own: object) -> None:
        assert not own, f"this test brings its own {', '.join(own)}: it cannot be run over HTTP"

        async def run() -> None:
            transport = Namespace(target)
            async with httpx2.AsyncClient(transport=transport, base_url="http://payonce.test", timeout=CALL_S) as client:
                await check(Remote(target, client))

        asyncio.run(run())

    return serve


# --- the two servers ------------------------------------------------------------------------------------------------------


@contextmanager
def on_aws(stack: Stack) -> Iterator[Target]:
    """The deployed stack, while its queue drives nothing: the worker function is run when it is told to."""

    functions = stack.client("lambda")  # one for all: making it takes longer than a call

    def look(payment_id: str) -> None:
        event = {"Records": [{"messageId": "one", "body": payment_id}]}
        answer = functions.invoke(FunctionName=stack.outputs["WorkerFunction"], Payload=json.dumps(event).encode())
        assert json.loads(answer["Payload"].read()) == {"batchItemFailures": []}

    async def advance(payment_id: str) -> None:
        await asyncio.to_thread(look, payment_id)

    with at_rest(stack):
        yield Target(url=stack.api, advance=advance, headers=stack.bearer, who=f"key_{stack.key.split('_')[2][: ids.ID_CHARS]}")


@contextmanager
def at_rest(stack: Stack) -> Iterator[None]:
    """The queue drives nothing while this lasts, and what was put into it meanwhile is thrown away at the end."""
    functions = stack.client("lambda")
    mapping = stack.mapping("WorkerFunction")

    def switch(*, on: bool) -> None:
        functions.update_event_source_mapping(UUID=mapping, Enabled=on)
        wanted = "Enabled" if on else "Disabled"
        state = functions.get_event_source_mapping
        until(lambda: state(UUID=mapping)["State"] == wanted or None, 30)

    switch(on=False)
    try:
        yield
    finally:
        stack.client("sqs").purge_queue(QueueUrl=stack.outputs["QueueUrl"])
        switch(on=True)


@contextmanager
def on_sqlite(folder: Path) -> Iterator[Target]:
    """`payonce serve --no-worker` in a thread of this process, on a free port."""
    file = folder / "payonce.toml"
    file.write_text(TOML, encoding="utf-8")
    settings = load(env={"PAYONCE_CONFIG": str(file), "PAYONCE_DATA_DIR": str(folder / "data"), "PAYONCE_PORT": "0"})
    loop = asyncio.new_event_loop()
    up: asyncio.Future[Served] = loop.create_future()
    down = asyncio.Event()

    async def serve() -> None:
        try:
            async with serving(settings, worker=False) as served:
                up.set_result(served)
                await down.wait()
        except Exception as error:
            if up.done():
                raise
            up.set_exception(error)

    async def advance(payment_id: str) -> None:
        looked = asyncio.run_coroutine_threadsafe(served.app.engine.advance(payment_id), loop)
        await asyncio.wrap_future(looked)

    thread = Thread(target=loop.run_until_complete, args=(serve(),), name="sqlite")
    thread.start()
    try:
        until(lambda: up.done() or None, 30)
        served = up.result()
        yield Target(url=served.url, advance=advance)
    finally:
        loop.call_soon_threadsafe(down.set)
        thread.join(30)
        loop.close()

"""An ASGI app that is asked as if it were a server on another machine: the sandbox, in process, without a socket."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from payonce.ports import Lost, Response

from .losses import Deadline, late, named
from .pool import BODY_BYTES_MAX

CALLS_MAX: Final = 4096  # at once, those that go on after their caller gave up counted

Message = MutableMapping[str, Any]
ASGIApp = Callable[[Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]


class Mounted:
    """Calls to apps of this process. Like a server on another machine, one goes on with what it does when its caller gives up
    or is cancelled."""

    def __init__(self) -> None:
        self._calls: set[asyncio.Task[None]] = set()

    async def call(self, call: "Call", timeout_ms: int) -> Response | Lost:
        """Its answer, within that time."""
        if len(self._calls) >= CALLS_MAX:
            return Lost(sent=False, reason="too many calls in process", ours=True)
        task = asyncio.create_task(call.run(), name=f"in process {call.scope['method']} {call.scope['path']}")
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)
        try:
            async with asyncio.timeout(timeout_ms / 1000):
                await asyncio.shield(task)
        except TimeoutError:
            return Lost(sent=True, reason=f"timeout after {timeout_ms} ms while waiting for the answer")
        finally:
            call.gone.set()
        return call.answer()

    async def close(self) -> None:
        """Cut the calls that outlived their callers."""
        for task in self._calls:
            task.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)


class Call:
    """One in-process ASGI exchange. An app that raises, or returns without a whole response, dropped the connection."""

    def __init__(self, app: ASGIApp, scope: Message, body: bytes, deadline: Deadline) -> None:
        self.app, self.scope, self.body, self.deadline = app, scope, body, deadline
        self.gone = asyncio.Event()  # the caller waits no longer
        self.status, self.content = 0, bytearray()
        self.headers: dict[str, str] = {}
        self.started, self.asked, self.complete, self.error = False, False, False, ""

    async def run(self) -> None:
        try:
            if self.deadline.over():
                return
            self.started = True
            await self.app(self.scope, self.receive, self.send)
        except asyncio.CancelledError:  # only close() cancels this task; whoever waits for it gets an answer
            self.error = "the transport was closed"
        except Exception as error:  # noqa: BLE001 - what the app raises is a dropped connection to its caller
            self.error = named(error)

    async def receive(self) -> Message:
        if self.asked:
            await self.gone.wait()
            return {"type": "http.disconnect"}
        self.asked = True
        return {"type": "http.request", "body": self.body, "more_body": False}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in message.get("headers", [])}
        elif message["type"] == "http.response.body":
            self.content += message.get("body", b"")
            self.complete = not message.get("more_body", False)
            if self.complete:
                self.gone.set()

    def answer(self) -> Response | Lost:
        if not self.started:
            return late()
        if not self.complete:
            return Lost(sent=True, reason=self.error or "the connection was dropped without a whole answer")
        if len(self.content) > BODY_BYTES_MAX:
            return Lost(sent=True, reason=f"the answer is larger than {BODY_BYTES_MAX} bytes")
        if self.headers.get("content-length", str(len(self.content))) != str(len(self.content)):
            return Lost(sent=True, reason="the answer ended early")
        return Response(status=self.status, headers=self.headers, body=bytes(self.content))


def scope_of(method: str, mount: str, path: str, headers: list[tuple[str, str]], length: int) -> Message:
    bare, _, query = path.partition("?")
    host, scheme = urlsplit(mount).netloc, urlsplit(mount).scheme
    raw = [("host", host), ("content-length", str(length)), *headers]
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": scheme,
        "path": unquote(bare),
        "raw_path": bare.encode("ascii", "replace"),
        "query_string": query.encode("ascii", "replace"),
        "root_path": "",
        "headers": [(k.lower().encode("latin-1"), v.encode("latin-1")) for k, v in raw],
        "client": ("127.0.0.1", 0),
        "server": (host, 80),
    }

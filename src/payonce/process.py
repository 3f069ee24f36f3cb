"""What runs: the worker (claims what is due), and ``serve`` (HTTP beside it) with signals and drain."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import ClassVar, Final

import h11  # comes with uvicorn, whose connections speak it
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from .bootstrap import App, LocalWake
from .core.errors import ConfigError, PayonceError
from .inbox import PREFIX
from .telemetry import get_logger

RERUN_AFTER_US = 100_000  # the same payment is not swept again sooner, unless it was woken
LOOK_MIN_S = 0.02  # between two looks for work
PAUSE_S: Final = 1.0  # after a look that failed
TIDY_US, TIDY_ON_US = 600_000_000, 1_000_000  # between two removals of old webhooks; the second while there are more
HINTS_PART: Final = 4  # webhooks get at most this part of the concurrency: ten thousand that are due must not hold payments up
RERUN_MAX_US = 60_000_000  # a row that stays due although we looked (a newer version's) is looked at this rarely

HEAD_S: Final = 10.0  # for a whole request head: it is one packet or two, and a stalled sender holds a socket
HEAD_BYTES_MAX: Final = 16_384  # of a head that comes in parts; the API has the same limit for whole ones
REST_S: Final = 0.5  # at the drain: for the rest of a body that is just arriving

log = get_logger("process")


class Worker:
    """Advances what is due, payments and webhooks, in this process's own concurrency. Any number of workers may share a
    store: claims are conditional writes, so a second one costs time only."""

    def __init__(self, app: App, *, concurrency: int, poll_ms: int) -> None:
        if not isinstance(app.wake, LocalWake):
            raise TypeError("open_app(settings, worker=True): a worker in this process listens to this process")
        self.app, self.wake, self.concurrency, self.poll_s = app, app.wake, concurrency, poll_ms / 1000
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._hints = 0  # how many of them are webhooks
        self._rested: dict[str, tuple[int, int]] = {}  # id -> (not before, length of the last rest)
        self._stopping = asyncio.Event()
        self._tidy_at_us = 0

    async def run(self) -> None:
        """Until ``stop``. Survives what stores and networks can do."""
        while not self._stopping.is_set():
            wait_s, hints = self.poll_s, self.wake.take()  # taken first: one that waits would end every wait at once
            try:
                await self.app.heed_hold()
                for payment_id in hints:
                    self._rested.pop(payment_id, None)
                    if len(self._tasks) < self.concurrency:  # the rest is due in the store
                        self._start(payment_id)
                if len(self._tasks) < self.concurrency:
                    wait_s = await self._sweep()
            except PayonceError as error:
                log.warning("cannot read what is due; trying again", error=str(error))
                await self._pause()
            except Exception:  # a worker that ended would leave every payment where it is
                log.exception("bug: cannot look for what is due; trying again")
                await self._pause()
            else:
                await self.wake.wait(wait_s)

    async def _pause(self) -> None:
        """After a failed look, which hints do not cut short: what they name is still due, and each would be one more question
        to what does not answer."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PAUSE_S):
                await self._stopping.wait()

    async def stop(self, drain_s: float) -> bool:
        """Claim nothing more and wait for calls in flight. After ``drain_s`` they are cut: their steps are on record
        and will be resolved by reading. True when all of them finished."""
        self._stopping.set()
        self.wake.send("")
        running = list(self._tasks.values())
        if not running:
            return True
        _, late = await asyncio.wait(running, timeout=drain_s)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        return not late

    async def _sweep(self) -> float:
        """Start what is due; the seconds until the next look. What rests, because this process cannot do anything about it
        now, is passed over, and is no reason to look again and again."""
        now = self.app.clock.now_us()
        self._rested = {k: rest for k, rest in self._rested.items() if rest[0] + RERUN_MAX_US > now}
        soon = now + int(self.poll_s * 1_000_000)
        limit = self.concurrency + len(self._tasks) + len(self._rested) + 1
        for due_us, id in await self._due(soon, limit):
            if id in self._tasks:
                continue  # its end wakes us
            at = max(due_us, self._rested.get(id, (0, 0))[0])
            if at > now:
                soon = min(soon, at)
            elif len(self._tasks) < self.concurrency:
                self._start(id)
            else:
                break
        await self._tidy(now)
        return max(LOOK_MIN_S, (soon - now) / 1_000_000)

    async def _due(self, before_us: int, limit: int) -> list[tuple[int, str]]:
        """Due times and ids of payments and webhooks, earliest first."""
        rows = [(row.due_us, row.payment_id) for row in await self.app.store.due(before_us, limit)]
        if self.app.webhooks:
            rows += [(row.due_us, row.id) for row in await self.app.webhooks.due(before_us, limit)]
        return sorted(rows)

    async def _tidy(self, now: int) -> None:
        """Some old webhooks at a time. That the store does not take it is no reason to settle nothing."""
        if self.app.webhooks is None or now < self._tidy_at_us:
            return
        self._tidy_at_us = now + TIDY_US
        with contextlib.suppress(PayonceError):
            if await self.app.webhooks.tidy():
                self._tidy_at_us = now + TIDY_ON_US

    def _start(self, id: str) -> None:
        if id in self._tasks or not id or self._stopping.is_set():
            return
        if id.startswith(PREFIX):
            if self._hints >= max(1, self.concurrency // HINTS_PART):
                return  # it stays due
            self._hints += 1
        task = asyncio.create_task(self._advance(id), name=f"advance {id}")
        self._tasks[id] = task
        task.add_done_callback(lambda _: self._done(id))

    async def _advance(self, id: str) -> None:
        """One step of whatever has this id. What fails is still due."""
        try:
            if not id.startswith(PREFIX):
                await self.app.engine.advance(id)
            elif self.app.webhooks:
                await self.app.webhooks.resolve(id)
        except Exception:
            log.exception("bug: a payment or webhook could not be advanced; it stays due", id=id)

    def _done(self, id: str) -> None:
        self._tasks.pop(id, None)
        self._hints -= id.startswith(PREFIX)
        now = self.app.clock.now_us()
        until, length = self._rested.get(id, (0, 0))
        again_soon = length and now < until + 2 * length
        rest = min(RERUN_MAX_US, length * 2) if again_soon else RERUN_AFTER_US
        self._rested[id] = (now + rest, rest)
        self.wake.send("")  # there is room again; no payment has this id


@asynccontextmanager
async def running_worker(app: App, *, drain_s: float | None = None) -> AsyncIterator[Worker]:
    """A worker beside the caller's own work; drained at the end."""
    s = app.settings
    worker = Worker(app, concurrency=s.number("worker.concurrency"), poll_ms=s.number("worker.poll_ms"))
    loop = asyncio.create_task(worker.run(), name="worker")
    try:
        yield worker
    finally:
        clean = await worker.stop(s.number("server.drain_s") if drain_s is None else drain_s)
        await loop
        if not clean:
            log.warning("calls in flight were cut; their payments will be resolved by reading")


class _Server(uvicorn.Server):
    """uvicorn without its own signal handling: ``until_signal`` decides when to stop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Connection(H11Protocol):
    """uvicorn's connection, which of itself waits for ever for the rest of a request (0.54 has a deadline only for
    connections that rest between two). Bodies that a handler reads have their deadline there; here it is for the bytes that
    nobody else waits for: a request head, and the rest of a body after the answer."""

    head_s: ClassVar[float] = HEAD_S
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """An answer that already began cannot become a 400."""
        if self.cycle is not None:
            self.cycle.disconnected = True  # whoever handles the request has nobody to answer any more
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        else:
            self.transport.close()

    def shutdown(self) -> None:
        """The drain begins: rests are closed, answers are finished, and a body that does not come is not waited for."""
        super().shutdown()
        if self._handled():
            self.loop.call_later(REST_S, self._cut)

    def _cut(self) -> None:
        if self._handled() and self.cycle.more_body:
            self.transport.abort()  # whoever reads the body is told that the client is gone: nothing was accepted

    def _handled(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _watch(self) -> None:
        if not self._owed():
            self._disarm()
        elif self._deadline is None:  # single bytes do not put it off
            self._deadline = self.loop.call_later(self.head_s, self._close_overdue)

    def _owed(self) -> bool:
        return self.conn.their_state in (h11.IDLE, h11.SEND_BODY) and not self._handled()

    def _close_overdue(self) -> None:
        self._deadline = None
        if self._owed():
            self.transport.close()

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def _ends_quietly(asgi: ASGIApp) -> ASGIApp:
    """uvicorn cancels what outlasts the drain, and would log that as a failure with a traceback."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await asgi(scope, receive, send)
        except asyncio.CancelledError:
            log.warning("a request was cut at the end of the drain; its sender comes back with the same key")

    return app


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises ConfigError naming the fix."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # named, or asyncio leaves Nagle on
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(2048)  # now, so that of two servers on one port the second one fails here
    except OSError as error:
        raise ConfigError(
            f"Cannot listen on {host}:{port}: {error.strerror}. Stop what uses it or choose another --port."
        ) from error
    return sock


def address_of(sock: socket.socket) -> str:
    """The URL at which a browser on this machine finds what listens there."""
    host, port = sock.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  that is no address to go to
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@asynccontextmanager
async def http_server(asgi: ASGIApp, sock: socket.socket, *, drain_s: int, head_s: float = HEAD_S) -> AsyncIterator[str]:
    """Serve ``asgi`` on a bound socket; the value is its URL. At the end requests in flight are finished first. A request
    head must have come whole after ``head_s`` seconds."""
    config = uvicorn.Config(
        _ends_quietly(asgi),
        http=type("Connection", (_Connection,), {"head_s": head_s}),
        h11_max_incomplete_event_size=HEAD_BYTES_MAX,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=drain_s,
        backlog=2048,
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[sock]), name="http")
    try:
        while not server.started and not serving.done():  # noqa: ASYNC110  uvicorn offers no event for it
            await asyncio.sleep(0.005)
        if serving.done():
            serving.result()  # why it did not start
            raise ConfigError("The HTTP server ended before it had started. Nothing is served.")
        host, port = sock.getsockname()[:2]
        yield f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    finally:
        server.should_exit = True
        await serving


async def until_signal(started: Callable[[], Awaitable[None]] | None = None) -> None:
    """Wait for SIGTERM or SIGINT."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError):  # not on Windows: Ctrl-C raises KeyboardInterrupt there
            loop.add_signal_handler(number, stop.set)
    if started is not None:
        await started()
    await stop.wait()

"""The sandbox as an ASGI app, mounted in process by the transport or run by a server of its own.

/{vendor}/...            the vendors' own APIs
GET /sandbox             what is in the books
GET /sandbox/ledger      every movement of money, ``?after=N&limit=N``: the outside witness
GET, PUT /sandbox/faults the fault profile of every vendor; /sandbox/faults/{vendor} that of one: the worse one counts
GET, PUT, DELETE /sandbox/webhooks   {vendor: [address, ...]}: where webhooks go; DELETE: to the server beside the sandbox
GET /sandbox/outbox      every webhook that was announced and what became of each send, ``?after=N&limit=N``
/sandbox/pay/...         where a customer approves or declines, see ``pages``

The vendors are sans-I/O; this shell waits, drops connections, and wraps each request in one transaction.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl

import apsw
import msgspec
from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from payonce.ports import Clock

from . import faults, outbox
from .ledger import PAGE_MAX, Ledger
from .pages import PayPages
from .simulator import Reply, Request, Simulator, reply_json

GROUP: Final = "payonce.simulators"
BODY_BYTES_MAX: Final = 262_144


class Dropped(Exception):
    """The connection is to be dropped without an answer; raised where no connection is at hand (in process)."""


class _ClientGone(Exception):
    """The client went away before its request was whole."""


@cache
def installed() -> Mapping[str, Simulator]:
    """Every installed vendor by name. Raises ValueError when two packages bring the same name."""
    found: dict[str, Simulator] = {}
    for point in sorted(set(entry_points(group=GROUP)), key=lambda p: (p.name, p.value)):
        if point.name in found or point.name == "sandbox":
            raise ValueError(f"the simulator name {point.name} is taken")
        found[point.name] = point.load()
    return found


class Sandbox:
    """See the module docstring. Belongs to one event loop; any number of them may share a ledger file."""

    def __init__(self, ledger: Ledger, clock: Clock, vendors: Mapping[str, Simulator]) -> None:
        self.ledger, self.clock, self.vendors = ledger, clock, dict(vendors)
        self.told: Callable[[], None] | None = None  # called when the ledger was changed here
        self._pages = Starlette(
            routes=[
                Route("/sandbox", self._summary),
                Route("/sandbox/", self._summary),
                Route("/sandbox/ledger", self._movements),
                Route("/sandbox/faults", self._faults, methods=["GET", "PUT"]),
                Route("/sandbox/faults/{vendor}", self._faults, methods=["GET", "PUT"]),
                Route("/sandbox/webhooks", self._webhooks, methods=["GET", "PUT", "DELETE"]),
                Route("/sandbox/outbox", self._outbox),
                *PayPages(ledger, clock, self.vendors, self.books).routes,
            ],
            exception_handlers={apsw.Error: lambda _, error: _page(_unusable(error), 503)},
        )

    def close(self) -> None:
        self.ledger.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        name, _, rest = scope["path"].removeprefix("/").partition("/")
        try:
            if name == "sandbox":
                await self._pages(scope, receive, send)
            elif name not in self.vendors:
                await _answer(reply_json(404, {"error": f"no vendor {name[:40]}", "vendors": sorted(self.vendors)}), send)
            else:
                reply = await self._vendor(name, await _request(scope, receive, "/" + rest), receive)
                await (_drop(receive, send) if reply.drop else _answer(reply, send))
        except _ClientGone:
            return
        except apsw.Error as error:  # rolled back: nothing of the request is kept
            await _answer(reply_json(503, _unusable(error)), send)

    # --- vendors ----------------------------------------------------------------------------------------------------

    async def _vendor(self, name: str, request: Request, receive: Receive) -> Reply:
        if delay_ms := faults.in_force(self.ledger, name).latency_ms:
            await self.clock.sleep(delay_ms / 1000)
        reply = self._simulate(name, request)
        if reply.hold_s and reply.resume:
            await self.clock.sleep(reply.hold_s)  # it goes on working when the client is gone
            return self._simulate(name, msgspec.structs.replace(request, resumed=True))
        if reply.hold_s:
            await self._hold(reply.hold_s, receive)
        return reply

    def _simulate(self, name: str, request: Request) -> Reply:
        with self.books():
            profile = faults.in_force(self.ledger, name)
            # A request that is being worked on already is past the vendor's front door.
            if profile.outage and not request.resumed:
                return Reply(drop=True)
            if not request.resumed and faults.errs(self.ledger, profile.error_rate):
                return reply_json(500, {"error": {"type": "api_error", "code": "internal_error"}})
            return self.vendors[name].simulate(request, self.ledger, profile, self.clock.now_us())

    async def _hold(self, seconds: float, receive: Receive) -> None:
        """Until the time is over or the client gives up."""
        waits = [asyncio.ensure_future(self.clock.sleep(seconds)), asyncio.ensure_future(_disconnected(receive))]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waits:
                each.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    @contextlib.contextmanager
    def books(self) -> Iterator[None]:
        """One transaction, in which everything that was due before has happened."""
        changes = self.ledger.changes()
        with self.ledger.transaction():
            for vendor in self.vendors.values():
                vendor.settle(self.ledger, self.clock.now_us())
            yield
        if self.told is not None and self.ledger.changes() != changes:
            self.told()

    # --- pages ------------------------------------------------------------------------------------------------------

    async def _summary(self, _: HttpRequest) -> Response:
        with self.books():
            every = {name: faults.in_force(self.ledger, name) for name in sorted(self.vendors)}
            profile, counts = faults.profile(self.ledger), self.ledger.counts()
        return _page({"vendors": list(every), "counts": counts, "faults": profile, "inForce": every})

    async def _movements(self, request: HttpRequest) -> Response:
        if (place := _place(request)) is None:
            return _page({"error": "after and limit must be whole numbers"}, 400)
        with self.books():
            found = self.ledger.movements(*place)
        return _page({"movements": found, "next": found[-1].seq if found else place[0]})

    async def _outbox(self, request: HttpRequest) -> Response:
        if (place := _place(request)) is None:
            return _page({"error": "after and limit must be whole numbers"}, 400)
        with self.books():
            return _page(outbox.page(self.ledger, *place))

    async def _webhooks(self, request: HttpRequest) -> Response:
        body = await request.body()
        try:
            with self.books():
                if request.method == "PUT":
                    return _page(outbox.put_endpoints(self.ledger, body, self.vendors))
                if request.method == "DELETE":
                    return _page(outbox.forget_endpoints(self.ledger))
                return _page(outbox.endpoints(self.ledger))
        except ValueError as error:
            return _page({"error": f"not a table of endpoints: {error}. Nothing was changed."}, 400)

    async def _faults(self, request: HttpRequest) -> Response:
        vendor = str(request.path_params.get("vendor", ""))
        if vendor and vendor not in self.vendors:
            return _page({"error": f"no vendor {vendor[:40]}", "vendors": sorted(self.vendors)}, 404)
        try:
            body = await request.body() if request.method == "PUT" else b""
            with self.books():
                put = request.method == "PUT"
                profile = faults.set_profile(self.ledger, body, vendor) if put else faults.profile(self.ledger, vendor)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            return _page({"error": f"not a fault profile: {error}"}, 400)
        return _page(profile)


def sandbox_app(ledger_path: str | Path, clock: Clock, vendors: Mapping[str, Simulator] | None = None) -> Sandbox:
    """The ASGI app over a ledger file (``:memory:`` for tests). ``vendors`` None = every installed one. Raises
    apsw.Error when the file cannot be used, ValueError when a newer version wrote it."""
    return Sandbox(Ledger(ledger_path), clock, installed() if vendors is None else vendors)


def _unusable(error: Exception) -> dict[str, str]:
    return {"error": f"the ledger cannot be used now: {type(error).__name__}. Nothing of this request was kept."}


def _place(request: HttpRequest) -> tuple[int, int] | None:
    """``after`` and ``limit`` of a page; None when they are no numbers."""
    query = request.query_params
    numbers = query.get("after", "0"), query.get("limit", str(PAGE_MAX))
    if not all(n.isascii() and n.isdigit() and len(n) <= 18 for n in numbers):
        return None
    return int(numbers[0]), max(1, min(int(numbers[1]), PAGE_MAX))


def _page(doc: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(doc), status, media_type="application/json")


async def _request(scope: Scope, receive: Receive, path: str) -> Request:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _ClientGone
        body += message.get("body", b"")
        if not message.get("more_body", False) or len(body) > BODY_BYTES_MAX:
            break
    return Request(
        method=scope["method"],
        path=path,
        query=dict(parse_qsl(scope["query_string"].decode("latin-1"))),
        headers={k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]},
        body=bytes(body[:BODY_BYTES_MAX]),
    )


async def _answer(reply: Reply, send: Send) -> None:
    named = {**reply.headers, "content-length": str(len(reply.body))}
    start: Message = {
        "type": "http.response.start",
        "status": reply.status,
        "headers": [(k.encode("latin-1"), v.encode("latin-1")) for k, v in named.items()],
    }
    await send(start)
    await send({"type": "http.response.body", "body": reply.body})


async def _drop(receive: Receive, send: Send) -> None:
    """Close the connection without an answer. ASGI has no word for it: uvicorn's ``send`` is a method of an object that
    holds the connection; where there is none (in process), the caller understands ``Dropped``."""
    connection = getattr(getattr(send, "__self__", None), "transport", None)
    if connection is None:
        raise Dropped
    connection.close()
    await _disconnected(receive)  # returning sooner would look like a forgotten answer


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        stage = (await receive())["type"]
        await send({"type": f"{stage}.complete"})
        if stage == "lifespan.shutdown":
            return

"""The provider that all contenders charge: as quick as one in Python can be, idempotent as vendors are, and with a ledger.

    python -m benchmarks.provider --port 9000 --latency-ms 200

It speaks what payonce's ``mock`` adapter asks (see payonce/sandbox/mock), and peers ask the same:

POST /charges   header Idempotency-Key; {amount, currency, reference, source?}  -> 200 and the charge. The same key again
                answers the same bytes and charges nothing; while the first request with it is worked on, the second waits.
                Another body under the key is refused: 400 idempotency_error.
GET  /charges?reference=R   {"data": [charge, ...]}
POST /refunds   header Idempotency-Key; {charge, amount, reference}
GET  /count     how many charges there are, as a bare number
GET  /ledger    sums, and the references that were charged more than once
GET  /ledger/charges   a line of JSON for each charge, with the time that the provider took for it
PUT  /latency?ms=N     from now on; ``ms=down`` answers 503 to everything but the ledger, before anything is charged

What ``source`` says: ``tok_drop`` charges and drops the connection, ``tok_late`` charges and answers after LATE_S,
``tok_error`` charges and answers 500, ``tok_refused`` answers 500 without charging, ``tok_decline`` a decline (402). Each
but the last does so for the first request with a key only; ``tok_ok`` and all else is charged.

Nothing is kept on disk: it outlives the kills of contenders, not its own.
"""

import argparse
import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final
from urllib.parse import parse_qs

import msgspec
import uvicorn
from msgspec import Struct

LATE_S: Final = 15.0  # longer than contenders wait for an answer
LISTED_MAX: Final = 100
JSON: Final = (b"content-type", b"application/json")

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]


class Wanted(Struct):
    """A charge as it is asked for."""

    amount: int
    currency: str
    reference: str
    source: str = "tok_ok"


class Back(Struct):
    """A refund as it is asked for."""

    charge: str
    amount: int
    reference: str


class Refund(Struct):
    """As shown."""

    id: str
    charge: str
    amount: int
    currency: str
    reference: str
    status: str = "succeeded"


class Charge(Struct):
    """As shown, whole."""

    id: str
    amount: int
    captured: int
    currency: str
    reference: str
    created: int  # microseconds since 1970
    status: str = "succeeded"
    mode: str = "test"
    decline_code: str | None = None
    refunded: int = 0
    refunds: list[Refund] = []


class Booked(Struct):
    """A line of the ledger. ``at_us`` is when the request had been read, ``took_us`` how long until its answer was ready."""

    id: str
    reference: str
    key: str
    amount: int
    at_us: int
    took_us: int


class Ledger(Struct, kw_only=True):
    """The sums. ``requests`` counts charges asked for, replays among them; ``twice`` has the references that were charged
    more than once, and how often."""

    charges: int
    references: int
    requests: int
    replays: int
    reads: int
    refunds: int
    twice: dict[str, int]


class Answer(Struct, frozen=True):
    status: int
    body: bytes


class Books:
    """Everything that was asked and charged."""

    def __init__(self) -> None:
        self.booked: list[Booked] = []
        self.charges: dict[str, Charge] = {}
        self.of: dict[str, list[Charge]] = {}  # by reference
        self.answers: dict[str, tuple[bytes, asyncio.Future[Answer]]] = {}  # by key: the body that came with it, the answer
        self.refused = set[str]()  # keys of tok_refused that had their failure
        self.requests = self.replays = self.reads = self.refunds = 0

    def take(self, wanted: Wanted, key: str, began_us: int, *, declined: bool = False) -> Charge:
        """Move the money, or say no."""
        id = f"ch_{len(self.charges) + 1}"
        charge = Charge(id, wanted.amount, 0 if declined else wanted.amount, wanted.currency, wanted.reference, began_us)
        self.charges[id] = charge
        self.of.setdefault(wanted.reference, []).append(charge)
        if declined:
            charge.status, charge.decline_code = "failed", "insufficient_funds"
        else:
            self.booked.append(Booked(id, wanted.reference, key, wanted.amount, began_us, now_us() - began_us))
        return charge

    def give_back(self, wanted: Back) -> Refund | None:
        charge = self.charges.get(wanted.charge)
        if charge is None or charge.refunded + wanted.amount > charge.captured:
            return None
        self.refunds += 1
        refund = Refund(f"re_{self.refunds}", charge.id, wanted.amount, charge.currency, wanted.reference)
        charge.refunded += wanted.amount
        charge.refunds = [*charge.refunds, refund]
        return refund

    def sums(self) -> Ledger:
        times = Counter(each.reference for each in self.booked)
        return Ledger(
            charges=len(self.booked), references=len(times), requests=self.requests, replays=self.replays, reads=self.reads,
            refunds=self.refunds, twice={reference: n for reference, n in times.items() if n > 1},
        )  # fmt: skip


class Provider:
    """The ASGI app."""

    def __init__(self, latency_s: float = 0.0) -> None:
        self.latency_s, self.down, self.books = latency_s, False, Books()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        began_us = now_us()
        body = await body_of(receive) if scope["method"] != "GET" else b""
        match scope["method"], scope["path"].split("/")[1:]:
            case "GET", ["count"]:
                await reply(send, 200, b"%d" % len(self.books.booked))
            case "GET", ["ledger"]:
                await reply(send, 200, msgspec.json.encode(self.books.sums()))
            case "GET", ["ledger", "charges"]:
                await reply(send, 200, b"\n".join(map(msgspec.json.encode, self.books.booked)))
            case "PUT", ["latency"]:
                self.set(parse_qs(scope["query_string"].decode()).get("ms", ["0"])[0])
                await reply(send, 200, b"{}")
            case _ if self.down:
                await reply(send, 503, b'{"error":{"type":"api_error","code":"down"}}')
            case "POST", ["charges"]:
                await self.charge(header(scope, b"idempotency-key"), body, began_us, send)
            case "GET", ["charges"]:
                await self.look(parse_qs(scope["query_string"].decode()), send)
            case "POST", ["refunds"]:
                await self.refund(header(scope, b"idempotency-key"), body, send)
            case _:
                await reply(send, 404, error("invalid_request_error", "no_such_path"))

    def set(self, latency: str) -> None:
        self.down = latency == "down"
        if not self.down:
            self.latency_s = float(latency) / 1000

    async def charge(self, key: str, body: bytes, began_us: int, send: Send) -> None:
        books = self.books
        books.requests += 1
        if not key:
            await reply(send, 400, error("invalid_request_error", "idempotency_key_missing"))
            return
        if key in books.answers:
            await self.replay(key, body, send)
            return
        try:
            wanted = msgspec.json.decode(body, type=Wanted)
        except msgspec.MsgspecError:
            await reply(send, 400, error("invalid_request_error", "invalid_body"))
            return
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        books.answers[key] = body, answered
        if self.latency_s:
            await asyncio.sleep(self.latency_s)
        if wanted.source == "tok_refused" and key not in books.refused:
            books.refused.add(key)
            del books.answers[key]  # a failure before it was worked on is not saved
            answered.set_result(Answer(500, error("api_error", "internal_error")))
            await reply(send, 500, error("api_error", "internal_error"))
            return
        answered.set_result(self.done(wanted, key, began_us))
        await tell(wanted.source, answered.result(), send)

    def done(self, wanted: Wanted, key: str, began_us: int) -> Answer:
        """Charge, or decline."""
        declined = wanted.source == "tok_decline"
        charge = self.books.take(wanted, key, began_us, declined=declined)
        if not declined:
            return Answer(200, msgspec.json.encode(charge))
        told = {"decline_code": "insufficient_funds", "charge": charge.id, "reference": charge.reference}
        return Answer(402, error("card_error", "card_declined", **told))

    async def replay(self, key: str, body: bytes, send: Send) -> None:
        first, answered = self.books.answers[key]
        if first != body:
            await reply(send, 400, error("idempotency_error", "key_used_for_another_request"))
            return
        self.books.replays += 1
        answer = await answered
        await reply(send, answer.status, answer.body)

    async def look(self, query: dict[str, list[str]], send: Send) -> None:
        """The charges of a reference."""
        self.books.reads += 1
        found = self.books.of.get(query.get("reference", [""])[0], [])
        await reply(send, 200, msgspec.json.encode({"data": found[:LISTED_MAX]}))

    async def refund(self, key: str, body: bytes, send: Send) -> None:
        """At once."""
        if not key:
            await reply(send, 400, error("invalid_request_error", "idempotency_key_missing"))
            return
        if key in self.books.answers:
            await self.replay(key, body, send)
            return
        try:
            refund = self.books.give_back(msgspec.json.decode(body, type=Back))
        except msgspec.MsgspecError:
            refund = None
        if refund is None:
            await reply(send, 400, error("invalid_request_error", "refund_refused"))
            return
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        answered.set_result(Answer(200, msgspec.json.encode(refund)))
        self.books.answers[key] = body, answered
        await reply(send, 200, answered.result().body)


async def tell(source: str, answer: Answer, send: Send) -> None:
    """The first answer to a key, as the token says."""
    if source == "tok_drop":
        # A head that promises a body, and then nothing: the server closes the connection.
        headers = [JSON, (b"content-length", b"%d" % len(answer.body))]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        return
    if source == "tok_late":
        await asyncio.sleep(LATE_S)
    elif source == "tok_error":
        answer = Answer(500, error("api_error", "internal_error"))
    await reply(send, answer.status, answer.body)


async def reply(send: Send, status: int, body: bytes) -> None:
    headers = [JSON, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def body_of(receive: Receive) -> bytes:
    message = await receive()
    body: bytes = message.get("body", b"")
    while message.get("more_body"):
        message = await receive()
        body += message.get("body", b"")
    return body


def header(scope: Message, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), "")


def error(kind: str, code: str, **more: str) -> bytes:
    return msgspec.json.encode({"error": {"type": kind, "code": code, **more}})


def now_us() -> int:
    return time.time_ns() // 1000


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.provider", description="The provider that contenders charge.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--latency-ms", type=float, default=0.0, help="how long a charge takes")
    args = parser.parse_args()
    uvicorn.run(
        Provider(args.latency_ms / 1000),
        port=args.port, http="httptools", loop="auto", lifespan="off", access_log=False, log_level="critical", backlog=4096,
        timeout_keep_alive=75,
    )  # fmt: skip


if __name__ == "__main__":
    main()

"""The two thin drivers of calls.py: HTTP, time and pauses, with and without ``await``."""

import asyncio
import random
import time
import uuid
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Final, Required, Self, TypedDict, TypeVar, Unpack
from urllib.parse import urlsplit

import httpx2

from . import calls
from .answers import EventPage, Operation, OperationList, Payment, PaymentPage
from .calls import Answer, Flow, NoAnswer, Patience, Pause, Send, Woken
from .keys import SavedKeys

TIMEOUT_S: Final = 15.0  # of one try
PATIENCE_S: Final = 60.0  # for all tries of one call
BODY_BYTES_MAX: Final = 16 * 1024 * 1024  # of an answer

T = TypeVar("T")
Scalar = str | int | float | bool | None


class Keyed(TypedDict, total=False):
    """The same ``idempotency_key`` never does it twice. A ``purpose`` ("order 1001") has its key saved before it is sent for
    the first time. With neither there is one key for this call and its own tries, and the next call is a new wish."""

    idempotency_key: str
    purpose: str


class Asked(Keyed, total=False):
    """``note``: why, for the record, at most 200 characters; it is no part of what the key stands for."""

    note: str


class NewPayment(Keyed, total=False):
    """What to pay: ``amount`` in minor units; see /docs of the server for the rest."""

    amount: Required[int]
    currency: Required[str]
    payment_method: str | Mapping[str, str]
    provider: str
    client_id: str
    description: str
    metadata: Mapping[str, Scalar]
    capture_method: str
    return_url: str
    action_expires_in: int


class PaymentQuery(TypedDict, total=False):
    """Which payments; times are RFC 3339, ``limit`` is 1 to 100."""

    status: str
    provider: str
    currency: str
    client_id: str
    idempotency_key: str
    created_from: str
    created_before: str
    attention: bool
    limit: int
    cursor: str


class EventQuery(TypedDict, total=False):
    """Which events; ``since`` is RFC 3339, ``cursor`` the ``next_cursor`` of the page before."""

    type: str
    since: str
    cursor: str
    limit: int


class Requests:
    """What both drivers share: where to, who asks, for how long, and what is sent."""

    def __init__(
        self,
        base_url: str,
        api_key: str = "",
        *,
        timeout_s: float = TIMEOUT_S,
        patience_s: float = PATIENCE_S,
        keys: SavedKeys | None = None,
    ) -> None:
        """``api_key`` is ``sk_test_…`` or ``sk_live_…``; without one only a payonce on this machine that has no keys answers.
        ``timeout_s`` is for one try, ``patience_s`` for all tries of a call. ``keys``: where the keys of purposes are saved.
        Raises ValueError for an address that is none, and for a key that would go over plain HTTP to another machine."""
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
            raise ValueError("base_url is an http or https address without user, such as https://pay.example.com")
        if api_key and parts.scheme == "http" and parts.hostname not in ("127.0.0.1", "::1", "localhost"):
            raise ValueError("an API key goes over https only, unless payonce runs on this machine")
        self._base_url, self._keys = base_url.rstrip("/"), keys
        self._patience = Patience(patience_s, random.random)
        self._options: dict[str, Any] = {"timeout": timeout_s, "follow_redirects": False, "trust_env": False}
        self._headers = [("accept", "application/json")]
        if api_key:
            self._headers.append(("authorization", f"Bearer {api_key}"))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._base_url!r})"

    def _request(self, http: httpx2.Client | httpx2.AsyncClient, send: Send) -> httpx2.Request:
        headers = [*self._headers, *send.headers]
        return http.build_request(send.method, self._base_url + send.path, content=send.body or None, headers=headers)

    def _key(self, named: Mapping[str, Any]) -> str:
        given, purpose = named.get("idempotency_key"), named.get("purpose")
        if given is not None and purpose is not None:
            raise ValueError("name an idempotency_key or a purpose, not both")
        fresh = uuid.uuid4().hex
        if purpose is None:
            return fresh if given is None else str(given)
        if self._keys is None:
            raise ValueError("a purpose needs keys=SavedKeys(path)")
        return self._keys.key_of(purpose, fresh)

    def _pay(self, wanted: NewPayment) -> Flow[Payment]:
        fields = {_CAMEL.get(n, n): value for n, value in wanted.items() if n not in ("idempotency_key", "purpose")}
        return calls.post("/payments", fields, self._key(wanted), Payment, self._patience)

    def _ask(self, kind: str, payment_id: str, amount: int | None, asked: Asked) -> Flow[Operation]:
        fields = {"amount": amount, "note": asked.get("note")}
        return calls.ask(kind, payment_id, fields, self._key(asked), self._patience)

    def _get(self, payment_id: str) -> Flow[Payment]:
        return calls.payment(payment_id, self._patience)

    def _list(self, query: PaymentQuery) -> Flow[PaymentPage]:
        return calls.payments(_query(query), self._patience)

    def _refunds(self, payment_id: str) -> Flow[OperationList]:
        return calls.refunds(payment_id, self._patience)

    def _events(self, query: EventQuery) -> Flow[EventPage]:
        return calls.events(_query(query), self._patience)

    def _wait(self, payment_id: str, timeout_s: float, until: Callable[[Payment], bool] | None) -> Flow[Payment]:
        return calls.wait(payment_id, timeout_s, until or _rested, self._patience)


_CAMEL: Final = {
    "payment_method": "paymentMethod",
    "client_id": "clientId",
    "capture_method": "captureMethod",
    "return_url": "returnUrl",
    "action_expires_in": "actionExpiresIn",
    "idempotency_key": "idempotencyKey",
    "created_from": "createdFrom",
    "created_before": "createdBefore",
}


def _query(query: Mapping[str, Any]) -> dict[str, Any]:
    return {_CAMEL.get(n, n): str(value).lower() if isinstance(value, bool) else value for n, value in query.items()}


def _rested(payment: Payment) -> bool:
    return payment.at_rest


def _answered(reply: httpx2.Response, body: bytes) -> Answer:
    return Answer(reply.status_code, {name.lower(): value for name, value in reply.headers.items()}, body, time.monotonic())


def _unanswered(error: Exception) -> NoAnswer:
    return NoAnswer(type(error).__name__, time.monotonic())


class _TooLarge(httpx2.HTTPError):
    """The answer has more than BODY_BYTES_MAX bytes."""


class Client(Requests):
    """payonce over HTTP, blocking; may be used from several threads. Made as ``Requests`` says. Every method raises
    ClientError, and ValueError for what cannot be sent."""

    def __init__(self, base_url: str, api_key: str = "", **options: Any) -> None:
        super().__init__(base_url, api_key, **options)
        self._http = httpx2.Client(**self._options)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def pay(self, **wanted: Unpack[NewPayment]) -> Payment:
        """Accept a payment. It is PENDING at first, see ``wait``."""
        return self._run(self._pay(wanted))

    def capture(self, payment_id: str, amount: int | None = None, **asked: Unpack[Asked]) -> Operation:
        """Take what is held, or ``amount`` minor units of it."""
        return self._run(self._ask("capture", payment_id, amount, asked))

    def void(self, payment_id: str, **asked: Unpack[Asked]) -> Operation:
        """Give the hold back, or cancel what has not ended."""
        return self._run(self._ask("void", payment_id, None, asked))

    def refund(self, payment_id: str, amount: int | None = None, **asked: Unpack[Asked]) -> Operation:
        """Give back what is left, or ``amount`` minor units of it."""
        return self._run(self._ask("refunds", payment_id, amount, asked))

    def get(self, payment_id: str) -> Payment:
        """The payment as it is now."""
        return self._run(self._get(payment_id))

    def list(self, **query: Unpack[PaymentQuery]) -> PaymentPage:
        """A page of payments, newest first."""
        return self._run(self._list(query))

    def refunds(self, payment_id: str) -> OperationList:
        """Its refunds, the newest last."""
        return self._run(self._refunds(payment_id))

    def events(self, **query: Unpack[EventQuery]) -> EventPage:
        """A page of events, oldest first."""
        return self._run(self._events(query))

    def wait(self, payment_id: str, timeout_s: float = 30.0, *, until: Callable[[Payment], bool] | None = None) -> Payment:
        """Until nothing of it is under way (``Payment.at_rest``), or ``until`` holds. Raises StillPending after ``timeout_s``
        seconds: it is being worked on further."""
        return self._run(self._wait(payment_id, timeout_s, until))

    def _run(self, flow: Flow[T]) -> T:
        try:
            step = next(flow)
            while True:
                step = flow.send(self._rest(step) if isinstance(step, Pause) else self._send(step))
        except StopIteration as done:
            result: T = done.value
            return result

    def _rest(self, pause: Pause) -> Woken:
        if pause.seconds:
            time.sleep(pause.seconds)
        return Woken(time.monotonic())

    def _send(self, send: Send) -> Answer | NoAnswer:
        try:
            reply = self._http.send(self._request(self._http, send), stream=True)
            try:
                body = bytearray()
                for chunk in reply.iter_bytes():
                    body += chunk
                    if len(body) > BODY_BYTES_MAX:
                        raise _TooLarge("too large")
                return _answered(reply, bytes(body))
            finally:
                reply.close()
        except httpx2.HTTPError as error:
            return _unanswered(error)


class AsyncClient(Requests):
    """``Client`` with ``await``, for one event loop. Saved keys are written in a thread."""

    def __init__(self, base_url: str, api_key: str = "", **options: Any) -> None:
        super().__init__(base_url, api_key, **options)
        self._http = httpx2.AsyncClient(**self._options)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """See ``Client``, as for all that follows."""
        await self._http.aclose()

    async def pay(self, **wanted: Unpack[NewPayment]) -> Payment:
        return await self._run(await asyncio.to_thread(self._pay, wanted))

    async def capture(self, payment_id: str, amount: int | None = None, **asked: Unpack[Asked]) -> Operation:
        return await self._run(await asyncio.to_thread(self._ask, "capture", payment_id, amount, asked))

    async def void(self, payment_id: str, **asked: Unpack[Asked]) -> Operation:
        return await self._run(await asyncio.to_thread(self._ask, "void", payment_id, None, asked))

    async def refund(self, payment_id: str, amount: int | None = None, **asked: Unpack[Asked]) -> Operation:
        return await self._run(await asyncio.to_thread(self._ask, "refunds", payment_id, amount, asked))

    async def get(self, payment_id: str) -> Payment:
        return await self._run(self._get(payment_id))

    async def list(self, **query: Unpack[PaymentQuery]) -> PaymentPage:
        return await self._run(self._list(query))

    async def refunds(self, payment_id: str) -> OperationList:
        return await self._run(self._refunds(payment_id))

    async def events(self, **query: Unpack[EventQuery]) -> EventPage:
        return await self._run(self._events(query))

    async def wait(
        self, payment_id: str, timeout_s: float = 30.0, *, until: Callable[[Payment], bool] | None = None
    ) -> Payment:
        return await self._run(self._wait(payment_id, timeout_s, until))

    async def _run(self, flow: Flow[T]) -> T:
        try:
            step = next(flow)
            while True:
                step = flow.send(await self._rest(step) if isinstance(step, Pause) else await self._send(step))
        except StopIteration as done:
            result: T = done.value
            return result

    async def _rest(self, pause: Pause) -> Woken:
        if pause.seconds:
            await asyncio.sleep(pause.seconds)
        return Woken(time.monotonic())

    async def _send(self, send: Send) -> Answer | NoAnswer:
        try:
            reply = await self._http.send(self._request(self._http, send), stream=True)
            try:
                body = bytearray()
                async for chunk in reply.aiter_bytes():
                    body += chunk
                    if len(body) > BODY_BYTES_MAX:
                        raise _TooLarge("too large")
                return _answered(reply, bytes(body))
            finally:
                await reply.aclose()
        except httpx2.HTTPError as error:
            return _unanswered(error)

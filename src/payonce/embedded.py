"""payonce inside another program: no server, the same engine, the same file. ``payonce.open`` and ``payonce.asgi_app``
come from here; ``import payonce`` itself stays small."""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final, Literal

from msgspec.structs import replace
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .api.operations import action_of, wanted_of
from .api.problems import NoSuchOperation
from .bootstrap import App, open_app
from .config import TABLES, Settings, Value, load
from .core.idempotency import normalise, parse_key
from .core.payment import FINAL, Payment, PaymentStatus
from .ports import Filters
from .process import running_worker
from .serving import api_of
from .shown.bodies import HistoryEntry, OperationBody, OperationEntry, PaymentBody, PaymentList
from .shown.views import history_entry, operation_body, operation_entry, payment_body

POLL_S: Final = 0.05
PAGE_MAX: Final = 100
HISTORY_MAX: Final = 1000

ACTOR: Final = "python"

Scalar = str | int | float | bool | None


class Payments:
    """An open payonce. Every method may be called from any number of tasks. Answers are the API's own objects."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def pay(
        self,
        *,
        amount: int,
        currency: str,
        idempotency_key: str | None = None,
        payment_method: str | Mapping[str, str] | None = None,
        provider: str | None = None,
        client_id: str | None = None,
        description: str | None = None,
        metadata: Mapping[str, Scalar] | None = None,
        capture_method: Literal["automatic", "manual"] | None = None,
        return_url: str | None = None,
        action_expires_in: int | None = None,
    ) -> PaymentBody:
        """Accept a payment: durable when this returns, PENDING at first; ``wait`` tells how it ends.

        ``amount`` is in minor units. The same ``idempotency_key`` never pays twice: a repeat answers with the first
        payment; without one a fresh key is made, and a repeat would be a second payment. With ``capture_method`` manual
        the money is held only, until ``capture`` or ``void``. Where the customer has to act, ``return_url`` is where the
        browser goes afterwards, and ``action_expires_in`` the seconds there are for it, 60 to 86400. Raises Refused
        (nothing happened, or ``retry_same_key``: ask again with the same key) and StoreUnavailable (nothing was
        written)."""
        given: dict[str, Any] = {
            "amount": amount,
            "currency": currency,
            "paymentMethod": dict(payment_method) if isinstance(payment_method, Mapping) else payment_method,
            "provider": provider,
            "clientId": client_id,
            "description": description,
            "metadata": None if metadata is None else dict(metadata),
            "captureMethod": capture_method,
            "returnUrl": return_url,
            "actionExpiresIn": action_expires_in,
        }
        request = normalise({name: value for name, value in given.items() if value is not None})
        receipt = await self._app.engine.submit(self._app.scope, request, _key(idempotency_key), actor=ACTOR)
        return payment_body(receipt.payment, receipt.details, await action_of(self._app.engine, receipt.payment))

    async def capture(
        self, payment_id: str, amount: int | None = None, *, idempotency_key: str | None = None, note: str | None = None
    ) -> OperationBody:
        """Take the money that is held: durable when this returns, PENDING at first; ``wait`` tells how it ends.

        Without ``amount`` (minor units) all of it; less where the account takes parts, and the rest is given free. One
        capture per payment. The same ``idempotency_key`` is one capture, however often it is asked; without one a fresh
        key is made. ``note``: why, for the record; it is no part of what the key stands for. Raises Refused
        (``operation_not_possible``, ``operation_in_progress``, ``amount_exceeds_available``,
        ``partial_capture_unsupported``, ``not_found`` and what ``pay`` raises) and StoreUnavailable."""
        return await self._ask("capture", payment_id, amount, idempotency_key, note)

    async def void(self, payment_id: str, *, idempotency_key: str | None = None, note: str | None = None) -> OperationBody:
        """Give the hold back, or cancel a payment that has not ended: CANCELED in the end, unless the money was taken before.
        Otherwise as ``capture``, with which it excludes itself."""
        return await self._ask("void", payment_id, None, idempotency_key, note)

    async def refund(
        self, payment_id: str, amount: int | None = None, *, idempotency_key: str | None = None, note: str | None = None
    ) -> OperationBody:
        """Give money back: without ``amount`` all that is left. All refunds together never exceed what was captured, however
        many are asked at the same time. A refund may stay PENDING for days. Otherwise as ``capture``."""
        return await self._ask("refund", payment_id, amount, idempotency_key, note)

    async def refunds(self, payment_id: str) -> tuple[OperationEntry, ...]:
        """Its refunds, the newest last. Raises Refused ``not_found``."""
        p = await self._app.engine.find(self._app.scope, payment_id)
        return tuple(operation_entry(p, o) for o in p.operations if o.kind == "refund")

    async def operation(self, payment_id: str, operation_id: str) -> OperationBody:
        """One operation of a payment as it is now. Raises Refused ``not_found``."""
        p = await self._app.engine.find(self._app.scope, payment_id)
        o = next((o for o in p.operations if o.id == operation_id), None)
        if o is None:
            raise NoSuchOperation
        return operation_body(p, o, await self._app.engine.details(p), await self._app.engine.action(p))

    async def _ask(
        self, kind: Literal["capture", "void", "refund"], payment_id: str, amount: int | None, key: str | None, note: str | None
    ) -> OperationBody:
        given = {name: value for name, value in (("amount", amount), ("note", note)) if value is not None}
        request, said = wanted_of(kind, payment_id, given)
        receipt = await self._app.engine.submit(self._app.scope, request, _key(key), actor=ACTOR, note=said)
        p = receipt.payment
        return operation_body(p, receipt.operation, receipt.details, await action_of(self._app.engine, p))

    async def get(self, payment_id: str) -> PaymentBody:
        """The payment as it is now, with what the customer has to do. Raises Refused ``not_found``."""
        return await self._shown(await self._app.engine.find(self._app.scope, payment_id))

    async def _shown(self, p: Payment) -> PaymentBody:
        return payment_body(p, await self._app.engine.details(p), await self._app.engine.action(p))

    async def list(
        self,
        *,
        status: PaymentStatus | None = None,
        provider: str | None = None,
        currency: str | None = None,
        client_id: str | None = None,
        limit: int = 20,
        cursor: str | None = None,
    ) -> PaymentList:
        """One page, newest first; ``limit`` is 1 to 100. Raises ValueError for a cursor that is not ours."""
        if not 1 <= limit <= PAGE_MAX:
            raise ValueError(f"limit is 1 to {PAGE_MAX}")
        filters = Filters(status=status, provider=provider, currency=currency, client_id=client_id)
        page = await self._app.store.list(self._app.scope, filters, limit, cursor)
        data = [payment_body(p, await self._app.engine.details(p)) for p in page.payments]
        return PaymentList(data, page.next)

    async def history(self, payment_id: str) -> tuple[HistoryEntry, ...]:
        """Everything that happened to it, oldest first. Raises Refused ``not_found``."""
        p = await self._app.engine.find(self._app.scope, payment_id)
        entries: list[HistoryEntry] = []
        while True:
            page = await self._app.store.history(p.id, after_seq=entries[-1].seq if entries else 0, limit=HISTORY_MAX)
            entries += [history_entry(p.id, entry) for entry in page]
            if len(page) < HISTORY_MAX:
                return tuple(entries)

    async def wait(
        self, payment_id: str, timeout_s: float = 30.0, *, until: Callable[[PaymentBody], bool] | None = None
    ) -> PaymentBody:
        """Until nothing is under way: it is SUCCESS, FAILED, CANCELED, IN_DOUBT, or AUTHORIZED (it waits for you then), and
        no capture, void or refund of it is PENDING. A customer who has to act is waited for; to hear of that, or of anything
        else, say ``until``, such as ``until=lambda p: p.next_action is not None``. Raises TimeoutError: it is still being
        worked on then, here or by whatever worker runs on the file. Raises Refused ``not_found``."""
        async with asyncio.timeout(timeout_s):
            while not (until or at_rest)(view := await self.get(payment_id)):
                await self._app.clock.sleep(POLL_S)
        return view


def at_rest(view: PaymentBody) -> bool:
    """Nothing of it is under way, as ``wait`` means it."""
    asked = any(o.status == "PENDING" and o.kind in ("capture", "void", "refund") for o in view.operations)
    return not asked and (view.status in FINAL or view.status in ("IN_DOUBT", "AUTHORIZED"))


def _key(given: str | None) -> str:
    return parse_key(None, f"py-{secrets.token_hex(12)}" if given is None else given)


@asynccontextmanager
async def open(path: str | Path, *, worker: bool = True, settings: Settings | None = None) -> AsyncIterator[Payments]:
    """Open (or create) the payments file at ``path``, and work on what is due until the block ends.

    ``worker=False`` only accepts and reads: something else must work on the file. ``settings`` default to environment
    and payonce.toml; the sandbox's ledger, where it is used, lies beside the file. No API key is needed here, whatever
    ``server.keys`` says: this is the program itself, as ``mer_default``. Raises ConfigError, NewerSchema and
    StoreUnavailable: nothing was started then."""
    settings = at(settings or load(env=os.environ), Path(path))
    async with AsyncExitStack() as stack:
        app = await stack.enter_async_context(open_app(settings, worker=worker))
        if worker:
            await stack.enter_async_context(running_worker(app))
        yield Payments(app)


def at(settings: Settings, path: Path) -> Settings:
    """The same settings with the store at ``path``, and its folder as the data folder: a file, whatever tables are
    configured."""
    here = {"store.path": Value(str(path), "payonce.open"), "store.data_dir": Value(str(path.parent), "payonce.open")}
    away = (*TABLES, "wake.queue_url", "wake.deliveries_url")
    here |= {key: Value("", "payonce.open") for key in away}
    return replace(settings, values={**settings.values, **here})


class Mounted:
    """The API as an ASGI application. With lifespan it opens at start-up; mounted in an app that passes no lifespan on,
    it opens at the first request. What was not closed then ends with the process: that is as safe as kill -9."""

    def __init__(self, settings: Settings | None, *, worker: bool) -> None:
        self._settings, self._worker = settings, worker
        self._stack = AsyncExitStack()
        self._inner: ASGIApp | None = None
        self._opening: asyncio.Lock | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        else:
            inner = self._inner or await self._open()
            await inner(scope, receive, send)

    async def _open(self) -> ASGIApp:
        if self._opening is None:
            self._opening = asyncio.Lock()
        async with self._opening:
            if self._inner is None:
                settings = self._settings or load(env=os.environ)
                app = await self._stack.enter_async_context(open_app(settings, worker=self._worker))
                if self._worker:
                    await self._stack.enter_async_context(running_worker(app))
                self._inner = api_of(app, worker=self._worker)
            return self._inner

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        message: Message = await receive()
        try:
            await self._open()
        except Exception as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            raise
        await send({"type": "lifespan.startup.complete"})
        while message["type"] != "lifespan.shutdown":
            message = await receive()
        await self.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def close(self) -> None:
        """Drain the worker and close the store. A no-op when nothing is open; a later request opens it again."""
        self._inner = None
        await self._stack.aclose()


def asgi_app(settings: Settings | None = None, *, worker: bool = True) -> Mounted:
    """The whole API (payments, /docs, health) as an ASGI application, to serve by itself or to mount under a prefix in
    a FastAPI, Starlette or Django app. ``settings`` default to environment and payonce.toml, read when it opens.

    Who needs an API key is for ``server.keys`` to say: with ``auto``, nobody until the first key of the mode was made
    (``payonce key create``), as on a machine of one's own; with ``required``, everybody. It cannot see who reaches the app
    around it: **in a server that others reach, set required** (PAYONCE_KEYS=required)."""
    return Mounted(settings, worker=worker)

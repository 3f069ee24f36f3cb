"""payonce inside another program: no server, the same engine, the same file. ``payonce.open`` and ``payonce.asgi_app``
come from here; ``import payonce`` itself stays small."""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

from msgspec.structs import replace
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .api.bodies import HistoryEntry, PaymentBody, PaymentList
from .api.payments import history_entry, payment_body
from .bootstrap import App, open_app
from .config import Settings, Value, load
from .core.idempotency import normalise, parse_key
from .core.payment import FINAL, PaymentStatus
from .ports import Filters
from .process import running_worker
from .serving import api_of

POLL_S: Final = 0.05
PAGE_MAX: Final = 100
HISTORY_MAX: Final = 1000

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
    ) -> PaymentBody:
        """Accept a payment: durable when this returns, PENDING at first; ``wait`` tells how it ends.

        ``amount`` is in minor units. The same ``idempotency_key`` never pays twice: a repeat answers with the first
        payment; without one a fresh key is made, and a repeat would be a second payment. Raises Refused (nothing
        happened, or ``retry_same_key``: ask again with the same key) and StoreUnavailable (nothing was written)."""
        given: dict[str, Any] = {
            "amount": amount,
            "currency": currency,
            "paymentMethod": dict(payment_method) if isinstance(payment_method, Mapping) else payment_method,
            "provider": provider,
            "clientId": client_id,
            "description": description,
            "metadata": None if metadata is None else dict(metadata),
        }
        request = normalise({name: value for name, value in given.items() if value is not None})
        key = parse_key(None, f"py-{secrets.token_hex(12)}" if idempotency_key is None else idempotency_key)
        receipt = await self._app.engine.submit(self._app.scope, request, key, actor="python")
        return payment_body(receipt.payment, receipt.details)

    async def get(self, payment_id: str) -> PaymentBody:
        """The payment as it is now. Raises Refused ``not_found``."""
        p = await self._app.engine.find(self._app.scope, payment_id)
        return payment_body(p, await self._app.engine.details(p))

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

    async def wait(self, payment_id: str, timeout_s: float = 30.0) -> PaymentBody:
        """Until it is SUCCESS, FAILED, CANCELED or IN_DOUBT. Raises TimeoutError: it is still being worked on then,
        here or by whatever worker runs on the file. Raises Refused ``not_found``."""
        async with asyncio.timeout(timeout_s):
            while (view := await self.get(payment_id)).status not in FINAL and view.status != "IN_DOUBT":
                await self._app.clock.sleep(POLL_S)
        return view


@asynccontextmanager
async def open(path: str | Path, *, worker: bool = True, settings: Settings | None = None) -> AsyncIterator[Payments]:
    """Open (or create) the payments file at ``path``, and work on what is due until the block ends.

    ``worker=False`` only accepts and reads: something else must work on the file. ``settings`` default to environment
    and payonce.toml; the sandbox's ledger, where it is used, lies beside the file. Raises ConfigError, NewerSchema and
    StoreUnavailable: nothing was started then."""
    settings = at(settings or load(env=os.environ), Path(path))
    async with AsyncExitStack() as stack:
        app = await stack.enter_async_context(open_app(settings))
        if worker:
            await stack.enter_async_context(running_worker(app))
        yield Payments(app)


def at(settings: Settings, path: Path) -> Settings:
    """The same settings with the store at ``path``, and its folder as the data folder."""
    here = {"store.path": Value(str(path), "payonce.open"), "store.data_dir": Value(str(path.parent), "payonce.open")}
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
                app = await self._stack.enter_async_context(open_app(self._settings or load(env=os.environ)))
                if self._worker:
                    await self._stack.enter_async_context(running_worker(app))
                self._inner = api_of(app)
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
    a FastAPI, Starlette or Django app. ``settings`` default to environment and payonce.toml, read when it opens."""
    return Mounted(settings, worker=worker)

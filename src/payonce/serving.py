"""One process that serves: the engine, the worker beside it, and HTTP in front; put together for the command line,
the demo and whoever wants the whole server in a test. ``process`` and ``api`` do not know each other.

``api_of`` is all that a function on AWS needs of it: the server, its sockets and the sandbox are loaded by ``serving`` only."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Final

from msgspec import Struct
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from .api.app import create_app
from .bootstrap import App, LocalWake, open_app
from .config import SANDBOX_URL, Settings
from .dispatch import Account
from .inbox import deaf
from .ports import Filters

if TYPE_CHECKING:
    from .process import Worker

COUNTED_MAX: Final = 100  # payments in doubt that /readyz counts


class Served(Struct, frozen=True):
    """A server that is up."""

    app: App
    url: str
    worker: "Worker | None"


@asynccontextmanager
async def serving(settings: Settings, *, worker: bool = True, hold: bool = False) -> AsyncIterator[Served]:
    """Serve until the block ends. Then nothing more is claimed, and requests and calls in flight get ``drain_s``
    together: what is cut is on record and will be resolved by reading. With ``hold`` no process on this store
    fires anything until ``payonce reconcile`` has run. Raises ConfigError, NewerSchema, StoreUnavailable: nothing was
    started then."""
    from .process import address_of, bind, http_server, running_worker

    drain_s = settings.number("server.drain_s")
    async with AsyncExitStack() as stack:
        sock = bind(settings.text("server.host"), settings.number("server.port"))
        stack.callback(sock.close)
        app = await stack.enter_async_context(open_app(settings, hold=hold, worker=worker))
        if hold:
            await app.hold.begin()
        if not app.engine.return_to and settings.mode == "test":  # a real customer's browser would not find this machine
            app.engine.return_to = f"{address_of(sock)}/return/"
        if app.sandbox:
            from .sandbox.courier import beside

            beside(app.sandbox.ledger, address_of(sock), sandbox_accounts(settings))
        works = await stack.enter_async_context(running_worker(app, drain_s=drain_s)) if worker else None
        url = await stack.enter_async_context(http_server(api_of(app), sock, drain_s=drain_s))
        if app.sandbox:
            from .sandbox.courier import delivering

            await stack.enter_async_context(delivering(app.sandbox, app.clock))
        try:
            yield Served(app, url, works)
        finally:
            # claim no more while the requests in flight are still being answered: both drain at the same time
            draining = asyncio.create_task(works.stop(drain_s)) if works else None  # noqa: F841  keeps it alive


def api_of(app: App) -> ASGIApp:
    """The whole API over an open app, with the sandbox's pages when it runs in this process."""
    routes = sandbox_routes(app)
    api = create_app(app.engine, scope=app.scope, ready=ready(app), webhooks=app.webhooks, extra_routes=routes)
    return api if isinstance(app.wake, LocalWake) else _telling(api, app)


def _telling(api: ASGIApp, app: App) -> ASGIApp:
    """After each request the workers elsewhere are told what it made due; its sender has the answer already."""

    async def told(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await api(scope, receive, send)
        finally:
            await app.wake.flush()

    return told


def unheard(accounts: Iterable[Account]) -> list[str]:
    """A sentence or two for each account at a real provider whose webhooks are refused for want of a secret."""
    return [
        f"The account {a.name} takes no webhooks: no webhook_secret is configured for it. Its payments are settled by reading "
        f"alone, minutes or hours later where a provider is slow. Set webhook_secret of [providers.{a.name}]."
        for a in accounts
        if not a.base_url.startswith(SANDBOX_URL) and deaf(a)
    ]


def sandbox_accounts(settings: Settings) -> Mapping[str, str]:
    """Account -> vendor, of the accounts that pay at the sandbox, wherever it runs."""
    there = [p for p in settings.providers if p.base_url.startswith(SANDBOX_URL + "/")]
    return {p.name: p.base_url.removeprefix(SANDBOX_URL + "/").partition("/")[0] for p in there}


def sandbox_routes(app: App) -> tuple[BaseRoute, ...]:
    """The sandbox's own pages (ledger, faults) on the API server, when it runs in this process: the outside witness
    within reach of curl."""
    return (Route("/sandbox/{page:path}", app.sandbox, include_in_schema=False),) if app.sandbox else ()


def ready(app: App) -> Callable[[], Awaitable[Mapping[str, str]]]:
    """The check behind /readyz: the store answers. Accepting needs only the store: what else is said there (providers that
    are not used now, payments that wait for a person) is for who reads it, and never makes it fail."""

    async def check() -> Mapping[str, str]:
        wanted = Filters(status="IN_DOUBT", attention=True)  # both: what needs eyes has an index of its own
        doubts = await app.store.list(app.scope, wanted, COUNTED_MAX)  # raises StoreUnavailable
        trouble = await app.store.retry_trouble()
        doubt = f"{COUNTED_MAX} or more" if doubts.next else str(len(doubts.payments))
        held = await app.hold.on()
        await app.health.refresh()
        blocked = app.health.blocked(app.clock.now_us())
        shut = "; ".join(f"{name}: {block.why}" for name, block in sorted(blocked.items()) if name in app.engine.accounts)
        return {
            "store": trouble or "ok",
            "worker": "ok: holding until `payonce reconcile` ran" if held else "ok",
            "accounts": f"ok: nothing new is sent to {shut}" if shut else "ok",
            "payments": f"ok: {doubt} IN_DOUBT, see `payonce list --status IN_DOUBT`" if doubts.payments else "ok",
        }

    return check

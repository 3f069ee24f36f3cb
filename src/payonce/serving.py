"""One process that serves: the engine, the worker beside it, and HTTP in front; put together for the command line,
the demo and whoever wants the whole server in a test. ``process`` and ``api`` do not know each other."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from msgspec import Struct
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from .api.app import create_app
from .bootstrap import App, Hold, open_app
from .config import SANDBOX_URL, Settings
from .dispatch import Account
from .inbox import deaf
from .process import Worker, address_of, bind, http_server, running_worker
from .sandbox.courier import beside, delivering


class Served(Struct, frozen=True):
    """A server that is up."""

    app: App
    url: str
    worker: Worker | None


@asynccontextmanager
async def serving(settings: Settings, *, worker: bool = True, hold: bool = False) -> AsyncIterator[Served]:
    """Serve until the block ends. Then nothing more is claimed, and requests and calls in flight get ``drain_s``
    together: what is cut is on record and will be resolved by reading. With ``hold`` no process on this store
    fires anything until ``payonce reconcile`` has run. Raises ConfigError, NewerSchema, StoreUnavailable: nothing was
    started then."""
    drain_s = settings.number("server.drain_s")
    async with AsyncExitStack() as stack:
        sock = bind(settings.text("server.host"), settings.number("server.port"))
        stack.callback(sock.close)
        if hold:
            settings.store_path.parent.mkdir(parents=True, exist_ok=True)
            Hold(settings.store_path).begin()
        app = await stack.enter_async_context(open_app(settings))
        if not app.engine.return_to and settings.mode == "test":  # a real customer's browser would not find this machine
            app.engine.return_to = f"{address_of(sock)}/return/"
        if app.sandbox:
            beside(app.sandbox.ledger, address_of(sock), sandbox_accounts(settings))
        works = await stack.enter_async_context(running_worker(app, drain_s=drain_s)) if worker else None
        url = await stack.enter_async_context(http_server(api_of(app), sock, drain_s=drain_s))
        if app.sandbox:
            await stack.enter_async_context(delivering(app.sandbox, app.clock))
        try:
            yield Served(app, url, works)
        finally:
            # claim no more while the requests in flight are still being answered: both drain at the same time
            draining = asyncio.create_task(works.stop(drain_s)) if works else None  # noqa: F841  keeps it alive


def api_of(app: App) -> ASGIApp:
    """The whole API over an open app, with the sandbox's pages when it runs in this process."""
    routes = sandbox_routes(app)
    return create_app(app.engine, scope=app.scope, ready=ready(app), webhooks=app.webhooks, extra_routes=routes)


def unheard(accounts: Iterable[Account]) -> list[str]:
    """A sentence or two for each account at a real provider whose webhooks are refused for want of a secret."""
    return [
        f"The account {a.name} takes no webhooks: no webhook_secret is configured for it. Its payments are settled by reading "
        f"alone, minutes or hours later where a provider is slow. Set webhook_secret of [providers.{a.name}]."
        for a in accounts
        if not a.base_url.startswith(SANDBOX_URL) and deaf(a)
    ]


def sandbox_accounts(settings: Settings) -> Mapping[str, str]:
    """Account -> vendor, of the accounts that pay at the sandbox in this process."""
    there = [p for p in settings.providers if p.base_url.startswith(SANDBOX_URL + "/")]
    return {p.name: p.base_url.removeprefix(SANDBOX_URL + "/").partition("/")[0] for p in there}


def sandbox_in_process(settings: Settings) -> bool:
    return any(p.base_url.startswith(SANDBOX_URL) for p in settings.providers)


def sandbox_routes(app: App) -> tuple[BaseRoute, ...]:
    """The sandbox's own pages (ledger, faults) on the API server, when it runs in this process: the outside witness
    within reach of curl."""
    return (Route("/sandbox/{page:path}", app.sandbox, include_in_schema=False),) if app.sandbox else ()


def ready(app: App) -> Callable[[], Awaitable[Mapping[str, str]]]:
    """The check behind /readyz: the store answers. Accepting needs only the store: what else is said there (providers that
    are not used now, payments that wait for a person) is for who reads it, and never makes it fail."""

    async def check() -> Mapping[str, str]:
        await app.store.next_due()  # raises StoreUnavailable
        trouble = await app.store.retry_trouble()
        doubt = (await app.store.counts()).get("IN_DOUBT", 0)
        await app.health.refresh()
        blocked = app.health.blocked(app.clock.now_us())
        shut = "; ".join(f"{name}: {block.why}" for name, block in sorted(blocked.items()) if name in app.engine.accounts)
        return {
            "store": trouble or "ok",
            "worker": "ok: holding until `payonce reconcile` ran" if app.hold.on() else "ok",
            "accounts": f"ok: nothing new is sent to {shut}" if shut else "ok",
            "payments": f"ok: {doubt} IN_DOUBT, see `payonce list --status IN_DOUBT`" if doubt else "ok",
        }

    return check

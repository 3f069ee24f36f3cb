"""One process that serves: the engine, the worker beside it, and HTTP in front; put together for the command line,
the demo and whoever wants the whole server in a test. ``process`` and ``api`` do not know each other.

``api_of`` is all that a function on AWS needs of it: the server, its sockets and the sandbox are loaded by ``serving`` only."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Final

from msgspec import Struct
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as AsgiScope

from .api.app import create_app
from .api.door import Backlog, Door, Guarded
from .api.house import House
from .bootstrap import App, LocalWake, open_app
from .config import SANDBOX_URL, Settings, is_loopback
from .core.actors import actor
from .core.errors import ConfigError, PayonceError
from .dispatch import Account
from .inbox import deaf
from .merchants.sessions import Sessions, sign_in_url
from .ports import Filters, Scope
from .shown.house_bodies import DeadLetterList

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
    fires anything until ``payonce reconcile`` has run. Raises ConfigError (also for an address that others reach, while there
    is no API key), NewerSchema, StoreUnavailable: nothing was started then."""
    from .httpd import Limits, address_of, bind, http_server
    from .process import running_worker

    drain_s = settings.number("server.drain_s")
    async with AsyncExitStack() as stack:
        sock = bind(settings.text("server.host"), settings.number("server.port"))
        stack.callback(sock.close)
        app = await stack.enter_async_context(open_app(settings, hold=hold, worker=worker))
        await require_key(app)
        if hold:
            await app.journal.write("hold.begun", "store", actor=actor("operator:serve"), mode=settings.mode)
            await app.hold.begin()
        if not app.engine.return_to and settings.mode == "test":  # a real customer's browser would not find this machine
            app.engine.return_to = f"{address_of(sock)}/return/"
        if app.sandbox:
            from .sandbox.courier import beside

            beside(app.sandbox.ledger, address_of(sock), sandbox_accounts(settings))
        works = await stack.enter_async_context(running_worker(app, drain_s=drain_s)) if worker else None
        api = api_of(app, door_of(app, served=True), worker=worker)
        calls = settings.number("worker.concurrency") if worker else 0
        limits = Limits(connections_max=settings.number("limits.connections_max"), outbound=calls)
        url = await stack.enter_async_context(http_server(api, sock, drain_s=drain_s, limits=limits))
        if app.sandbox:
            from .sandbox.courier import delivering

            await stack.enter_async_context(delivering(app.sandbox, app.clock))
        try:
            yield Served(app, url, works)
        finally:
            # claim no more while the requests in flight are still being answered: both drain at the same time
            draining = asyncio.create_task(works.stop(drain_s)) if works else None  # noqa: F841  keeps it alive


def api_of(app: App, door: Door | None = None, *, worker: bool = False) -> ASGIApp:
    """The whole API over an open app, with the sandbox's pages when it runs in this process. ``door``: as ``door_of`` has it,
    unless given. ``worker``: one runs beside it."""
    door = door or door_of(app)
    api = create_app(
        app.engine,
        door=door,
        ready=ready(app),
        webhooks=app.webhooks,
        endpoints=app.endpoints,
        courier=app.courier,
        house=house_of(app, worker=worker),
        extra_routes=(*sandbox_routes(app, door), *dashboard_routes(app, door)),
        https=app.settings.text("server.public_url").startswith("https://"),
        watcher=app.watcher,
    )
    return api if isinstance(app.wake, LocalWake) else _telling(api, app)


def house_of(app: App, *, worker: bool = False) -> House:
    """What the API shows to whoever looks after this payonce, of an open app; it counts as serving from now on. ``worker``: one
    runs beside it."""
    engine, store = app.engine, app.store
    return House(
        store=store,
        registry=store.registry,
        inbox=store.inbox,
        outbox=store.outbox,
        figures=store.figures,
        accounts=engine.accounts,
        health=app.health,
        lanes=engine.lanes,
        hold=app.hold,
        merchants=app.merchants,
        keys=app.keys,
        journal=app.journal,
        settings=app.settings,
        clock=app.clock,
        started_us=app.clock.now_us(),
        worker=worker,
        receiver=app.webhooks,
        wake=app.wake,
        trouble=store.retry_trouble,
        dead_letters=dead_letters_of(app),
    )


def dead_letters_of(app: App) -> Callable[[], Awaitable[DeadLetterList]] | None:
    """What looks into the dead-letter queue; None where there is none."""
    url = app.settings.text("wake.dead_letter_url")
    if app.aws is None or not url:
        return None
    from .wake.dead_letters import Looking

    return Looking(app.aws, url, app.clock).look


def door_of(app: App, *, served: bool = False) -> Door:
    """The door as the settings have it: keys (``server.keys``; in live mode always) and limits. ``served``: it is a server's
    own, bound to ``server.host``: whoever is not on this machine needs a key in any case. Else the program around it says who
    reaches it.

    In DynamoDB the backlog is not looked at: each look would read, and be paid for, as many items as it allows, in each
    process; and workers there are as many as the queue needs, so that what waits waits for a provider."""
    settings = app.settings
    closed = (
        settings.text("server.keys") == "required"
        or settings.mode == "live"
        or (served and not is_loopback(settings.text("server.host")))
    )
    most = settings.number("limits.backlog_max")
    return Door(
        app.keys,
        settings.mode,
        app.clock,
        open_to=None if closed else app.scope,
        local_only=served,
        rate_per_s=settings.number("limits.key_rate_per_s"),
        requests_max=settings.number("limits.requests_max"),
        backlog=Backlog(app.store.due, app.clock, most, app.engine.lanes.waiting)
        if most and not settings.on_dynamodb
        else None,
    )


async def require_key(app: App) -> None:
    """Raises ConfigError when others can reach the address that is to be served, and there is no live key of its mode."""
    host, mode = app.settings.text("server.host"), app.settings.mode
    if not is_loopback(host) and not await app.keys.any(mode):
        raise ConfigError(
            f"server.host is {host}, which others can reach, and there is no API key of {mode} mode. Nothing was started. Make "
            f"one, `payonce key create --mode {mode}` (with the same --data-dir and --config), or bind 127.0.0.1."
        )


def _telling(api: ASGIApp, app: App) -> ASGIApp:
    """After each request the workers elsewhere are told what it made due; its sender has the answer already."""

    async def told(scope: AsgiScope, receive: Receive, send: Send) -> None:
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


def sandbox_routes(app: App, door: Door) -> tuple[BaseRoute, ...]:
    """The sandbox's own pages (ledger, faults) on the API server, when it runs in this process: the outside witness
    within reach of curl. They show every merchant's payments, so where keys are needed they are for who runs the house: a key
    of the default merchant that may do everything. What is under /sandbox/pay/ is for customers, who have none."""
    if not app.sandbox:
        return ()
    pages = Guarded(app.sandbox, door, "admin", owner=app.scope.merchant_id, open_under="/sandbox/pay/")
    return (Route("/sandbox/{page:path}", pages, include_in_schema=False),)


def sessions_of(app: App) -> Sessions:
    """Who is signed in at the dashboard of this store and mode."""
    registry, mode = app.store.registry, app.settings.mode
    return Sessions(registry, app.clock, app.engine.entropy, keys=app.keys, journal=app.journal, mode=mode)


def dashboard_routes(app: App, door: Door) -> tuple[BaseRoute, ...]:
    """The pages for people, under /dashboard. Nothing of them is loaded before the first of them is asked for: a function on
    AWS that takes payments does not pay for templates."""
    if app.settings.text("server.dashboard") == "off":
        return ()
    pages = LazyDashboard(app, door)
    return tuple(Route(path, pages, include_in_schema=False) for path in ("/dashboard", "/dashboard/{page:path}"))


async def dashboard_line(app: App, at: str, by: str) -> str:
    """What a server says at its start: an address that signs the operator in, once. A store that takes no write now is no
    reason not to serve. ``by``: the actor that starts it."""
    if app.settings.text("server.dashboard") == "off":
        return "off (server.dashboard)"
    try:
        ticket = await sessions_of(app).print_ticket(app.scope.merchant_id, ("admin",), by=by)
    except PayonceError:
        return f"{at.rstrip('/')}/dashboard  (`payonce dashboard` prints an address that signs you in)"
    return f"{sign_in_url(at, ticket)}  (once, within 10 minutes; `payonce dashboard` prints another)"


class LazyDashboard:
    """The dashboard, made at the first request of it."""

    def __init__(self, app: App, door: Door) -> None:
        self._app, self._door = app, door
        self._made: ASGIApp | None = None

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        if self._made is None:
            from .dashboard import dashboard_app

            app = self._app
            self._made = dashboard_app(
                porter=self._door,
                sessions=sessions_of(app),
                keys=app.keys,
                clock=app.clock,
                entropy=app.engine.entropy,
                mode=app.settings.mode,
                public_url=app.settings.text("server.public_url"),
            )
        await self._made(scope, receive, send)


def ready(app: App) -> Callable[[Scope | None], Awaitable[Mapping[str, str]]]:
    """The check behind /readyz: the store answers. Accepting needs only the store: what else is said there (providers that
    are not used now, payments that wait for a person) is for who reads it, and never makes it fail. What is said is what
    concerns the merchant who asks: their accounts, their payments; for a stranger (None) none of it."""

    async def check(scope: Scope | None = app.scope) -> Mapping[str, str]:
        mine = scope or app.scope
        wanted = Filters(status="IN_DOUBT", attention=True)  # both: what needs eyes has an index of its own
        doubts = await app.store.list(mine, wanted, COUNTED_MAX)  # raises StoreUnavailable
        trouble = await app.store.retry_trouble()
        if scope is None:
            return {"store": trouble or "ok", "worker": "ok", "accounts": "ok", "payments": "ok"}
        doubt = f"{COUNTED_MAX} or more" if doubts.next else str(len(doubts.payments))
        held = await app.hold.on()
        await app.health.refresh()
        blocked = app.health.blocked(app.clock.now_us())
        theirs = {name for name, a in app.engine.accounts.items() if a.serves(mine.merchant_id, mine.mode)}
        shut = "; ".join(f"{name}: {block.why}" for name, block in sorted(blocked.items()) if name in theirs)
        return {
            "store": trouble or "ok",
            "worker": "ok: holding until `payonce reconcile` ran" if held else "ok",
            "accounts": f"ok: nothing new is sent to {shut}" if shut else "ok",
            "payments": f"ok: {doubt} IN_DOUBT, see `payonce list --status IN_DOUBT`" if doubts.payments else "ok",
        }

    return check

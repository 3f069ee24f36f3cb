"""The composition root: settings in, a working engine out. Tests hand in their own clock and entropy.

Only what the settings need is loaded: on AWS no SQLite, no sandbox and, until something is sent, no HTTP client."""

import asyncio
import os
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, Protocol

from msgspec import Struct, field
from msgspec.structs import replace

from .accounts import AWS_KINDS, SANDBOX_URL, ProviderConfig, adapter_of, aws_references, require_host_of_mode, resolve_secret
from .adapter import Adapter
from .awsapi import Aws
from .awsclient.secrets import fetch
from .config import Settings
from .core.errors import ConfigError, NewerSchema
from .core.payment import Payment, PaymentStatus, StoredRequest
from .dispatch import Account
from .engine import Engine, Policy, Ports
from .health import Health
from .hold import Hold
from .inbox import Receiver
from .merchants import DEFAULT_MERCHANT, Merchants
from .merchants.journal import Journal
from .merchants.keys import Keyring
from .openfiles import may_open
from .outbound.courier import Courier
from .outbound.endpoints import Endpoints
from .outbound.opening import Opened, chosen
from .outbound.opening import opened as open_outbound
from .outbound.signing_key import FILE_NAME, KeyFile, SigningKey
from .outside import Outside
from .ports import Clock, Entropy, Filters, Lost, Response, Scope, Transport, Wake
from .providers import load_adapters
from .storage import OpenStore, aws_client, make_folder, opened
from .telemetry import get_logger
from .telemetry.opening import Watcher, connect, watched, watching

if TYPE_CHECKING:
    from .sandbox.server import Sandbox
    from .transport import HttpTransport

log = get_logger("bootstrap")

OPEN_CHECKED_MAX: Final = 10_000  # unresolved payments looked at for re-pointed accounts at start,
DUE_CHECKED_MAX: Final = 100  # and where each of them is a read over the network


class SystemClock:
    """Wall and monotonic time of this machine."""

    def now_us(self) -> int:
        return time.time_ns() // 1000

    def monotonic_us(self) -> int:
        return time.monotonic_ns() // 1000

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class SystemEntropy:
    def bits(self, count: int) -> int:
        return secrets.randbits(count)


class LocalWake:
    """Hints within one process: the worker takes the ids and waits for more. None is kept while nobody takes them."""

    def __init__(self, *, heard: bool = True) -> None:
        self.heard = heard
        self._ids: dict[str, None] = {}
        self._event = asyncio.Event()

    def send(self, payment_id: str) -> None:
        if self.heard:
            self._ids[payment_id] = None
        self._event.set()

    async def flush(self) -> None:
        """Nothing is kept back: they are heard at once."""

    def take(self) -> list[str]:
        ids = list(self._ids)
        self._ids.clear()
        self._event.clear()
        return ids

    async def wait(self, timeout_s: float) -> bool:
        """Until something is sent, or the time is over; whether something waits to be taken."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._event.wait()
        return self._event.is_set()


class Hints(Wake, Protocol):
    """The port with its end: ``LocalWake`` within one process, ``wake.sqs.SqsWake`` where workers run elsewhere."""

    async def flush(self) -> object:
        """Let go of what was collected. Never raises for what a network can do."""


class App(Struct, frozen=True):
    """What one process works with."""

    settings: Settings
    engine: Engine
    store: OpenStore
    transport: Transport
    wake: Hints
    clock: Clock
    scope: Scope  # of who comes without a key: the default merchant
    hold: Hold
    sandbox: "Sandbox | None"  # when it runs in this process
    health: Health
    merchants: Merchants
    keys: Keyring
    journal: Journal
    webhooks: Receiver | None = None  # None: none are taken or looked up here
    endpoints: Endpoints | None = None  # None: merchants are told of nothing here
    courier: Courier | None = None  # as endpoints
    aws: Aws | None = None  # the client, where one is needed
    watcher: Watcher = field(default_factory=lambda: Watcher(SystemClock()))  # sees the engine's writes and calls, and counts

    async def heed_hold(self) -> None:
        """Let the engine know whether a hold is on. Raises StoreUnavailable: then it goes on as it last knew."""
        self.engine.hold = await self.hold.on()


class LazyTransport:
    """``transport.HttpTransport``, loaded and made at the first send: a function that only accepts never pays for it.
    ``mounts`` as there. Each call that may be under way has a connection of its own."""

    def __init__(self, clock: Clock, mounts: "Mapping[str, Any]", settings: Settings) -> None:
        self._clock, self._mounts, self._settings = clock, mounts, settings
        self._made: HttpTransport | None = None

    def made(self) -> "HttpTransport":
        if self._made is None:
            from .transport import CONNECTIONS_MAX, HttpTransport

            most = may_open(max(CONNECTIONS_MAX, self._settings.number("worker.concurrency")))
            self._made = HttpTransport(self._clock, self._mounts, moved_of(self._settings), connections_max=most)
        return self._made

    async def send(
        self, request: StoredRequest, body: bytes, secret_headers: Mapping[str, str], *, send_by_us: int, timeout_ms: int
    ) -> Response | Lost:
        return await self.made().send(request, body, secret_headers, send_by_us=send_by_us, timeout_ms=timeout_ms)

    async def drop_idle(self) -> None:
        if self._made is not None:
            await self._made.drop_idle()

    async def close(self) -> None:
        if self._made is not None:
            await self._made.close()


@asynccontextmanager
async def open_app(
    settings: Settings,
    *,
    clock: Clock | None = None,
    entropy: Entropy | None = None,
    env: Mapping[str, str] | None = None,
    hold: bool = False,
    worker: bool = False,
    checked: bool = True,
) -> AsyncIterator[App]:
    """Open the store, the transport and the engine; close them at the end. ``hold``: this process fires nothing,
    whatever it finds. ``worker``: one runs in this process, so it is told what is due; else the queue is, if there is one.
    ``checked`` False: neither tables, open payments nor the hold are looked at first, for who must start in milliseconds; the
    hold is heeded before anything is advanced. Raises ConfigError, NewerSchema, StoreUnavailable: nothing was started then."""
    clock, env, entropy = clock or SystemClock(), os.environ if env is None else env, entropy or SystemEntropy()
    async with AsyncExitStack() as stack:
        aws, fetched = await _fetched(settings, clock, stack)
        accounts = accounts_of(settings, env, fetched)
        signing_key = _signing_key(settings, env, fetched, entropy)
        sandbox = _sandbox(settings, clock, stack)
        kept = await stack.enter_async_context(opened(settings, clock, aws, checked=checked))
        transport = LazyTransport(clock, {SANDBOX_URL: sandbox} if sandbox else {}, settings)
        stack.push_async_callback(transport.close)
        if worker:
            transport.made()
        wake = LocalWake() if worker else _hints(settings, clock, aws)
        stack.push_async_callback(wake.flush)
        watcher = await stack.enter_async_context(watching(clock, env, on_dynamodb=settings.on_dynamodb, keep=not checked))
        ports = watched(watcher, Ports(store=kept.store, transport=transport, clock=clock, entropy=entropy, wake=wake))
        health = Health(kept.store.registry, clock)
        journal = Journal(kept.store.registry, clock)
        out = open_outbound(settings, kept.store, ports, journal, signing_key)
        stack.push_async_callback(out.close)
        engine = _engine(settings, ports, accounts, health, out, hold=hold or (checked and await kept.hold.on()))
        scope = Scope(DEFAULT_MERCHANT, settings.mode)
        webhooks = Receiver(kept.store.inbox, kept.store, accounts, engine.ingest, clock=clock, wake=wake)
        if checked:
            await (refuse_repointed_due if settings.on_dynamodb else refuse_repointed)(engine, scope)
        connect(watcher, webhooks, out.courier)
        yield App(
            settings=settings,
            engine=engine,
            store=kept.store,
            transport=transport,
            wake=wake,
            clock=clock,
            scope=scope,
            hold=kept.hold,
            sandbox=sandbox,
            health=health,
            merchants=Merchants(kept.store.registry, clock, entropy),
            keys=Keyring(kept.store.registry, clock, entropy),
            journal=journal,
            watcher=watcher,
            webhooks=webhooks,
            endpoints=out.endpoints,
            courier=out.courier,
            aws=aws,
        )


async def _fetched(settings: Settings, clock: Clock, stack: AsyncExitStack) -> tuple[Aws | None, dict[str, str]]:
    """The client, where one is needed, and the secrets that lie at AWS."""
    signing = settings.text("webhooks.signing_key")
    wants = aws_references(settings.providers)
    wants |= {signing: "webhooks.signing_key"} if signing.partition(":")[0] in AWS_KINDS else {}
    if not settings.on_dynamodb and not wants:
        return None, {}
    aws = await stack.enter_async_context(aws_client(clock))
    return aws, await fetch(aws, clock, wants)


def _engine(
    settings: Settings, ports: Ports, accounts: Mapping[str, Account], health: Health, out: Opened, *, hold: bool
) -> Engine:
    return Engine(
        ports,
        accounts,
        policy_of(settings),
        rules=settings.rules,
        health=health,
        hold=hold,
        return_to=settings.return_to,
        listeners=out.listeners,
    )


def _signing_key(settings: Settings, env: Mapping[str, str], fetched: Mapping[str, str], entropy: Entropy) -> SigningKey | None:
    """None: there is no place for one, so merchants are told of nothing. Raises ConfigError."""
    reference = settings.text("webhooks.signing_key")
    if not reference:
        return None if settings.on_dynamodb else KeyFile(settings.data_dir / FILE_NAME, entropy)
    return chosen(resolve_secret(reference, env, "webhooks.signing_key", fetched), reference)


def policy_of(settings: Settings) -> Policy:
    """What is decided about payments in general."""
    return Policy(
        attempts_max=settings.number("payments.attempts_max"),
        late_success="accept" if settings.text("payments.late_success") == "accept" else "refund",
        action_s=settings.number("payments.action_expires_s"),
    )


def moved_of(settings: Settings) -> Mapping[str, str]:
    """Where requests for the sandbox go that does not run in this process."""
    url = settings.text("sandbox.url").rstrip("/")
    return {SANDBOX_URL: url} if url else {}


def _hints(settings: Settings, clock: Clock, aws: Aws | None) -> Hints:
    """Whom a process without a worker tells."""
    queue_url = settings.text("wake.queue_url")
    if aws is None or not settings.on_dynamodb or not queue_url:
        return LocalWake(heard=False)
    from .wake.sqs import SqsWake

    return SqsWake(aws, queue_url, clock, deliveries_url=settings.text("wake.deliveries_url"))


def _sandbox(settings: Settings, clock: Clock, stack: AsyncExitStack) -> "Sandbox | None":
    if not settings.sandbox_here:
        return None
    make_folder(settings)
    sandbox = open_sandbox(settings, clock)
    stack.callback(sandbox.close)
    return sandbox


def open_sandbox(settings: Settings, clock: Clock) -> "Sandbox":
    """The sandbox of this process. Raises ConfigError when its ledger cannot be used."""
    import apsw

    from .sandbox.server import sandbox_app

    try:
        return sandbox_app(settings.ledger_path, clock)
    except (apsw.Error, ValueError) as error:
        raise ConfigError(
            f"The sandbox's ledger {settings.ledger_path} cannot be used: {error}. Nothing was started. Free space on the disk "
            "and make the data folder writable, or name another one."
        ) from error


async def fetched_secrets(settings: Settings, clock: Clock) -> dict[str, str]:
    """What the accounts' references to AWS lead to, for who opens no app; nothing is asked when there are none. Raises
    ConfigError, StoreUnavailable."""
    wants = aws_references(settings.providers)
    if not wants:
        return {}
    async with aws_client(clock) as aws:
        return await fetch(aws, clock, wants)


def accounts_of(settings: Settings, env: Mapping[str, str], fetched: Mapping[str, str] = {}) -> dict[str, Account]:
    """The provider accounts, credentials resolved; ``fetched`` are those that lie at AWS. Raises ConfigError for an unknown
    adapter or a missing secret."""
    adapters = load_adapters()
    return {p.name: _account(p, adapter_of(p, adapters), env, fetched) for p in settings.providers}


def outside_of(settings: Settings) -> Outside:
    """What planning knows of the accounts and rules, for who only looks: no secret is resolved, and an account whose
    adapter is not installed is not there."""
    adapters = load_adapters()
    known = [p for p in settings.providers if p.adapter in adapters]
    return Outside(accounts={p.name: _account(p, adapters[p.adapter], None) for p in known}, rules=settings.rules)


def _account(p: ProviderConfig, adapter: Adapter, env: Mapping[str, str] | None, fetched: Mapping[str, str] = {}) -> Account:
    credentials = None
    if env is not None:
        values = {k: resolve_secret(v, env, f"providers.{p.name}.{k}", fetched) for k, v in p.credentials.items()}
        sandboxed = p.base_url.startswith(SANDBOX_URL)
        credentials = adapter.credentials_of(values or (adapter.SANDBOX_CREDENTIALS if sandboxed else {}))
        if getattr(credentials, "mode", p.mode) != p.mode:
            raise ConfigError(f"{p.origin}: providers.{p.name}: its key is not one of {p.mode} mode. Nothing was started.")
        require_host_of_mode(p, adapter)
    return Account(
        name=p.name,
        adapter=adapter,
        mode=p.mode,
        base_url=p.base_url,
        credential_id=p.credential_id,
        credentials=credentials,
        terms=replace(adapter.CAPABILITIES.terms, **p.terms),
        merchants=None if p.merchants is None else frozenset(p.merchants),
        calls_max=p.calls_max,
    )


async def refuse_repointed(engine: Engine, scope: Scope) -> None:
    """Refuse to start when an account with open attempts points elsewhere now: nothing could resolve them. Beside a newer
    version, whose rows cannot be read here, nothing is checked: such a process may run, and refuses attempt by attempt."""
    try:
        await _refuse_repointed(engine, scope)
    except NewerSchema:
        log.warning("rows of a newer version are in the store; re-pointed accounts are looked for attempt by attempt")


async def _refuse_repointed(engine: Engine, scope: Scope) -> None:
    left = OPEN_CHECKED_MAX
    waiting: tuple[PaymentStatus, ...] = ("PENDING", "REQUIRES_ACTION", "AUTHORIZED", "IN_DOUBT")
    for filters in [Filters(status=status) for status in waiting]:
        cursor: str | None = None
        while left > 0:
            page = await engine.store.list(scope, filters, 100, cursor)
            left -= len(page.payments)
            for p in page.payments:
                _require_there(engine, p)
            if (cursor := page.next) is None:
                break


async def refuse_repointed_due(engine: Engine, scope: Scope) -> None:
    """The same where lists cannot be filtered cheaply: what is open is on the due index, which holds nothing else. Only the
    next ones are looked at; the engine looks at each again before it touches it."""
    try:
        for row in await engine.store.due(2**62, DUE_CHECKED_MAX):
            p = await engine.store.get(row.payment_id)
            if p is not None and (p.merchant_id, p.mode) == (scope.merchant_id, scope.mode):
                _require_there(engine, p)
    except NewerSchema:
        log.warning("rows of a newer version are in the store; re-pointed accounts are looked for attempt by attempt")


def _require_there(engine: Engine, p: Payment) -> None:
    if names := engine.outside.repointed(p):
        raise ConfigError(
            f"The account {names[0]} has another base_url, adapter or credential than the open payment {p.id} was "
            "sent with. Nothing was started or sent. Restore the account, or give the new one another name."
        )

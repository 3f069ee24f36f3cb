"""The composition root: settings in, a working engine out. Tests hand in their own clock and entropy."""

import asyncio
import os
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import apsw
from msgspec import Struct
from msgspec.structs import replace

from .accounts import SANDBOX_URL, ProviderConfig, adapter_of, require_host_of_mode, resolve_secret
from .adapter import Adapter
from .config import Settings
from .core.errors import ConfigError, NewerSchema
from .core.payment import PaymentStatus
from .dispatch import Account
from .engine import Engine, Policy, Ports
from .health import Health
from .inbox import Receiver
from .outside import Outside
from .ports import Clock, Entropy, Filters, Scope, Transport
from .providers import load_adapters
from .sandbox.server import Sandbox, sandbox_app
from .stores.sqlite import SqliteStore, open_store
from .telemetry import get_logger
from .transport import HttpTransport

DEFAULT_MERCHANT = "mer_default"
log = get_logger("bootstrap")

OPEN_CHECKED_MAX = 10_000  # unresolved payments looked at for re-pointed accounts at start


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
    """Hints within one process: the worker takes the ids and waits for more."""

    def __init__(self) -> None:
        self._ids: dict[str, None] = {}
        self._event = asyncio.Event()

    def send(self, payment_id: str) -> None:
        self._ids[payment_id] = None
        self._event.set()

    def take(self) -> list[str]:
        ids = list(self._ids)
        self._ids.clear()
        self._event.clear()
        return ids

    async def wait(self, timeout_s: float) -> None:
        """Until something is sent, or the time is over."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._event.wait()
        except TimeoutError:
            return


class Hold:
    """After a restore: a mark beside the store's file, which every process on it respects, until ``payonce reconcile``
    has compared what is open with the providers. Reads and closes go on, nothing is fired."""

    def __init__(self, store_path: Path) -> None:
        self.path = store_path.with_name(store_path.name + ".hold")

    def on(self) -> bool:
        return self.path.exists()

    def begin(self) -> None:
        """Raises ConfigError when the mark cannot be made: nothing may be started then."""
        try:
            self.path.touch(mode=0o600)
        except OSError as error:
            raise ConfigError(f"--hold: cannot write {self.path}: {error.strerror}. Nothing was started.") from error

    def lift(self) -> None:
        self.path.unlink(missing_ok=True)


class App(Struct, frozen=True):
    """What one process works with."""

    settings: Settings
    engine: Engine
    store: SqliteStore
    transport: Transport
    wake: LocalWake
    clock: Clock
    scope: Scope
    hold: Hold
    sandbox: Sandbox | None  # when it runs in this process
    health: Health
    webhooks: Receiver | None = None  # None: none are taken or looked up here


@asynccontextmanager
async def open_app(
    settings: Settings,
    *,
    clock: Clock | None = None,
    entropy: Entropy | None = None,
    env: Mapping[str, str] | None = None,
    hold: bool = False,
) -> AsyncIterator[App]:
    """Open the store, the transport and the engine; close them at the end. ``hold``: this process fires nothing,
    whatever it finds. Raises ConfigError, NewerSchema, StoreUnavailable: nothing was started then."""
    clock = clock or SystemClock()
    accounts = accounts_of(settings, os.environ if env is None else env)
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        settings.store_path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"store.data_dir: cannot make {settings.data_dir}: {error.strerror}. Name another folder.") from error
    sandbox = _sandbox(settings, clock) if any(a.base_url.startswith(SANDBOX_URL) for a in accounts.values()) else None
    transport = HttpTransport(clock, {SANDBOX_URL: sandbox} if sandbox else {})
    store = await open_store(settings.store_path, busy_timeout_ms=settings.number("store.busy_timeout_ms"))
    wake = LocalWake()
    policy = Policy(
        attempts_max=settings.number("payments.attempts_max"),
        late_success="accept" if settings.text("payments.late_success") == "accept" else "refund",
        action_s=settings.number("payments.action_expires_s"),
    )
    ports = Ports(store=store, transport=transport, clock=clock, entropy=entropy or SystemEntropy(), wake=wake)
    mark = Hold(settings.store_path)
    health = Health(store.registry, clock)
    holding = hold or mark.on()
    engine = Engine(ports, accounts, policy, rules=settings.rules, health=health, hold=holding, return_to=settings.return_to)
    scope = Scope(DEFAULT_MERCHANT, settings.mode)
    webhooks = Receiver(store.inbox, store, accounts, engine.ingest, clock=clock, wake=wake)
    try:
        await refuse_repointed(engine, scope)
        yield App(settings, engine, store, transport, wake, clock, scope, mark, sandbox, health, webhooks)
    finally:
        await transport.close()
        await store.close()
        if sandbox:
            sandbox.close()


def _sandbox(settings: Settings, clock: Clock) -> Sandbox:
    try:
        return sandbox_app(settings.ledger_path, clock)
    except (apsw.Error, ValueError) as error:
        raise ConfigError(
            f"The sandbox's ledger {settings.ledger_path} cannot be used: {error}. Nothing was started. Free space on the disk "
            "and make the data folder writable, or name another one."
        ) from error


def accounts_of(settings: Settings, env: Mapping[str, str]) -> dict[str, Account]:
    """The provider accounts, credentials resolved. Raises ConfigError for an unknown adapter or a missing secret."""
    adapters = load_adapters()
    return {p.name: _account(p, adapter_of(p, adapters), env) for p in settings.providers}


def outside_of(settings: Settings) -> Outside:
    """What planning knows of the accounts and rules, for who only looks: no secret is resolved, and an account whose
    adapter is not installed is not there."""
    adapters = load_adapters()
    known = [p for p in settings.providers if p.adapter in adapters]
    return Outside(accounts={p.name: _account(p, adapters[p.adapter], None) for p in known}, rules=settings.rules)


def _account(p: ProviderConfig, adapter: Adapter, env: Mapping[str, str] | None) -> Account:
    credentials = None
    if env is not None:
        values = {k: resolve_secret(v, env, f"providers.{p.name}.{k}") for k, v in p.credentials.items()}
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
                if names := engine.outside.repointed(p):
                    raise ConfigError(
                        f"The account {names[0]} has another base_url, adapter or credential than the open payment {p.id} was "
                        "sent with. Nothing was started or sent. Restore the account, or give the new one another name."
                    )
            if (cursor := page.next) is None:
                break

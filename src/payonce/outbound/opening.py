"""Endpoints and courier over what a process has opened."""

from typing import Protocol

from msgspec import Struct

from payonce.core.errors import ConfigError, Refused
from payonce.core.payment import Mode
from payonce.mail import Outbox
from payonce.merchants.journal import Journal
from payonce.ports import Clock, Entropy, Registry, Store, Wake
from payonce.telemetry import get_logger

from .courier import Courier
from .endpoints import Endpoints
from .guard import read_allowed
from .sending import HttpSender
from .signing_key import CHARS_MIN, SigningKey

log = get_logger("outbound")


class Rooms(Store, Protocol):
    """A store with what lies beside its payments."""

    @property
    def registry(self) -> Registry: ...
    @property
    def outbox(self) -> Outbox: ...


class Has(Protocol):
    """What the process works with: ``engine.Ports``."""

    @property
    def clock(self) -> Clock: ...
    @property
    def entropy(self) -> Entropy: ...
    @property
    def wake(self) -> Wake: ...


class Configured(Protocol):
    """``config.Settings``, of which webhooks.allow_hosts and webhooks.timeout_ms are asked."""

    def text(self, key: str) -> str: ...
    def number(self, key: str) -> int: ...
    @property
    def mode(self) -> Mode: ...


class Opened(Struct, frozen=True):
    """All of it; where there is no signing key only who listens: what is written must leave its notices all the same, for
    processes that have the key."""

    listeners: Endpoints
    endpoints: Endpoints | None = None
    courier: Courier | None = None
    sender: HttpSender | None = None

    async def close(self) -> None:
        if self.sender:
            await self.sender.close()


def opened(settings: Configured, store: Rooms, has: Has, journal: Journal, key: SigningKey | None) -> Opened:
    """Raises ConfigError for an allow-list that cannot be read."""
    allowed, clock, entropy = read_allowed(settings.text("webhooks.allow_hosts")), has.clock, has.entropy
    if key is None:
        return Opened(Endpoints(store.registry, clock, entropy, journal, _no_key))
    if settings.mode == "live" and (allowed.names or allowed.networks):
        log.warning("webhooks.allow_hosts lets merchants' endpoints reach private hosts, in live mode too")
    timeout_ms = settings.number("webhooks.timeout_ms")
    sender = HttpSender(clock, allowed, timeout_ms=timeout_ms)
    endpoints = Endpoints(store.registry, clock, entropy, journal, key, allowed=allowed, look=sender.addresses)
    courier = Courier(
        store.outbox,
        store,
        endpoints,
        sender,
        journal,
        clock=clock,
        entropy=entropy,
        wake=has.wake,
        timeout_ms=timeout_ms,
        at_once=settings.number("webhooks.concurrency"),
    )
    return Opened(endpoints, endpoints, courier, sender)


def _no_key() -> bytes:
    raise Refused("webhooks_unavailable", "This process holds no signing key.")


def chosen(value: str, reference: str) -> SigningKey:
    """The key that the setting webhooks.signing_key leads to. Raises ConfigError for one that can be guessed."""
    if len(value) < CHARS_MIN:
        raise ConfigError(
            f"webhooks.signing_key: {reference} has fewer than {CHARS_MIN} characters, which can be guessed. Put a random one "
            "there, such as 32 random bytes in base64. Nothing was started."
        )
    key = value.encode()
    return lambda: key

"""A watcher for as long as a process is open, put around what its engine works with."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Protocol, TypeVar

from msgspec.structs import replace

from payonce.ports import Clock, Store, Transport

from .meter import Meter
from .tracing import open_tracing
from .watching import Watcher

__all__ = ["Watcher", "connect", "watched", "watching"]


class Ports(Protocol):
    """``engine.Ports``, of which two are watched."""

    @property
    def store(self) -> Store: ...
    @property
    def transport(self) -> Transport: ...


Around = TypeVar("Around", bound=Ports)


class Hearing(Protocol):
    """``inbox.Receiver``: account and what became of a webhook."""

    told: Callable[[str, str], None]


class Telling(Protocol):
    """``outbound.courier.Courier``: what a try meant."""

    told: Callable[[str], None]


@asynccontextmanager
async def watching(
    clock: Clock, env: Mapping[str, str], *, on_dynamodb: bool = False, keep: bool = False
) -> AsyncIterator[Watcher]:
    """Traces go where the environment says, if it says so; what is left of them is sent at the end. ``keep``: the process tells
    each invocation apart (``emf``)."""
    watcher = Watcher(clock, Meter(keep=keep), open_tracing(env), system="aws.dynamodb" if on_dynamodb else "sqlite")
    try:
        yield watcher
    finally:
        if watcher.tracing.on:
            await asyncio.to_thread(watcher.tracing.close)


def watched(watcher: Watcher, ports: Around) -> Around:
    """The same ports, with the watcher around store and transport."""
    anything: Any = ports
    around: Around = replace(anything, store=watcher.store(ports.store), transport=watcher.transport(ports.transport))
    return around


def connect(watcher: Watcher, receiver: Hearing, courier: Telling | None) -> None:
    """They tell the watcher from now on."""
    receiver.told = watcher.heard
    if courier is not None:
        courier.told = watcher.delivered

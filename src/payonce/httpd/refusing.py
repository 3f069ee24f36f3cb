"""Connections too many: each is told so before it has asked, and closed; of a flood most are closed without a word."""

import asyncio
from typing import Final

from payonce.telemetry import get_logger

from .answers import TOO_MANY

REFUSALS_MAX: Final = 256  # connections too many that are told so at once; beyond, they are closed without a word
REFUSED_S: Final = 1.0  # for such a client to read why
SAID_EVERY_S: Final = 10.0

log = get_logger("httpd")


class Refusals:
    """The connections too many of one server."""

    def __init__(self) -> None:
        self.open: set[_Refused] = set()
        self.count = 0
        self._said_at = float("-inf")

    def add(self, transport: asyncio.Transport, limit: int, now: float) -> None:
        """One more."""
        self._say(limit, now)
        refused = _Refused(self)
        transport.set_protocol(refused)
        if len(self.open) >= REFUSALS_MAX:
            transport.abort()
        else:
            refused.connection_made(transport)

    def _say(self, limit: int, now: float) -> None:
        """In the log, now and then: a flood must not fill the disk as well."""
        self.count += 1
        if now >= self._said_at + SAID_EVERY_S:
            log.warning("connections were refused: there are as many as limits.connections_max", most=limit, refused=self.count)
            self._said_at, self.count = now, 0


class _Refused(asyncio.Protocol):
    """What it sends is thrown away, and it is closed when it has read why, a moment later at the latest."""

    def __init__(self, refusals: Refusals) -> None:
        self._refusals = refusals
        self._transport: asyncio.Transport | None = None
        self._end: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        self._refusals.open.add(self)
        transport.write(TOO_MANY)
        if transport.can_write_eof():
            transport.write_eof()
        self._end = asyncio.get_running_loop().call_later(REFUSED_S, self.end)

    def end(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._refusals.open.discard(self)
        if self._end is not None:
            self._end.cancel()

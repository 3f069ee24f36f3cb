"""Connections to providers over the network: as many as may be open at once, and those that rest between two calls."""

import asyncio
import math
import ssl
from collections import deque
from collections.abc import Callable
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

from msgspec import Struct

from payonce import http1
from payonce.http1 import Connection
from payonce.ports import Lost

BODY_BYTES_MAX: Final = 1_048_576
CONNECTIONS_MAX: Final = 100  # at least as many as calls at once; else calls wait, and some time out before they are sent
# Shorter than servers keep idle connections: one that dies under a request costs a read to find out what happened.
KEEPALIVE_S: Final = 2.0
LIMITS: Final = http1.Limits(body_bytes_max=BODY_BYTES_MAX)


class Origin(Struct, frozen=True):
    """Where a base URL leads. ``path``: what comes before that of a request."""

    tls: bool
    host: str
    port: int
    authority: str
    path: str
    place: tuple[str, int, bool]


@lru_cache(maxsize=256)
def origin_of(base_url: str) -> Origin:
    """Raises ValueError for what HTTP cannot reach."""
    parts = urlsplit(base_url)
    host, tls = (parts.hostname or "").encode("idna").decode(), parts.scheme == "https"
    if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment:
        raise ValueError("no base URL of HTTP")
    usual = 443 if tls else 80
    port = usual if parts.port is None else parts.port
    named = f"[{host}]" if ":" in host else host
    return Origin(tls, host, port, named if port == usual else f"{named}:{port}", parts.path, (host, port, tls))


class Pool:
    """Connections over the network: those in use, and those that rest for up to KEEPALIVE_S, the youngest is taken first."""

    def __init__(self, trust: Callable[[], ssl.SSLContext], most: int) -> None:
        self._trust, self._most = trust, most
        self._tls: ssl.SSLContext | None = None
        self._room = asyncio.Semaphore(most)
        self._resting: dict[tuple[str, int, bool], deque[tuple[float, Connection]]] = {}
        self._rest_count, self._dialling = 0, 0
        self._used: dict[Connection, bool] = {}  # with whether it may rest afterwards
        self._timer: asyncio.TimerHandle | None = None  # there is one only while something rests

    async def take(self, to: Origin, within_s: float) -> Connection | Lost:
        """An open connection, or why there is none, where nothing was sent. Raises OSError."""
        if not self._room.locked():
            await self._room.acquire()  # at once
        else:
            try:
                async with asyncio.timeout(within_s):
                    await self._room.acquire()
            except TimeoutError:  # none was tried: that says nothing about the provider
                return Lost(sent=False, reason="no connection is free", ours=True)
        found: Connection | Lost | None = None
        try:
            found = self._rested(to) or await self._dialled(to, within_s)
        finally:
            if isinstance(found, Connection):
                self._used[found] = True
            else:
                self._room.release()
        return found

    def _rested(self, to: Origin) -> Connection | None:
        rests, oldest = self._resting.get(to.place), asyncio.get_running_loop().time() - KEEPALIVE_S
        while rests:
            since, connection = rests.pop()
            self._rest_count -= 1
            if since > oldest and connection.usable():
                return connection
            connection.close()
        return None

    async def _dialled(self, to: Origin, within_s: float) -> Connection | Lost:
        if to.tls and self._tls is None:
            self._tls = self._trust()
        if len(self._used) + self._dialling + self._rest_count >= self._most:
            self._drop_oldest()
        self._dialling += 1
        try:
            async with asyncio.timeout(within_s):
                return await http1.dial(to.host, to.port, LIMITS, tls=self._tls if to.tls else None)
        except TimeoutError:
            return Lost(sent=False, reason=f"no connection within {within_s:g} s")
        finally:
            self._dialling -= 1

    def give_back(self, to: Origin, connection: Connection) -> None:
        """What was taken: it rests, if its exchange is over and it may have another one; else it is closed."""
        self._room.release()
        if not self._used.pop(connection):
            connection.close()
        if not connection.rest():
            return
        loop = asyncio.get_running_loop()
        self._resting.setdefault(to.place, deque()).append((loop.time(), connection))
        self._rest_count += 1
        if self._timer is None:
            self._timer = loop.call_later(KEEPALIVE_S, self._tidy)

    def _tidy(self) -> None:
        loop = asyncio.get_running_loop()
        oldest = self._drop(loop.time() - KEEPALIVE_S)
        self._timer = None if oldest is None else loop.call_at(oldest + KEEPALIVE_S, self._tidy)

    def _drop_oldest(self) -> None:
        """Close what rests for longest, for one that goes elsewhere."""
        if some := [rests for rests in self._resting.values() if rests]:
            min(some, key=lambda rests: rests[0][0]).popleft()[1].close()
            self._rest_count -= 1

    def _drop(self, before: float) -> float | None:
        """Close what rests since then or longer; since when the oldest of the others does."""
        for place, rests in list(self._resting.items()):
            while rests and rests[0][0] <= before:
                rests.popleft()[1].close()
                self._rest_count -= 1
            if not rests:
                del self._resting[place]
        return min((rests[0][0] for rests in self._resting.values()), default=None)

    def forget(self) -> None:
        """Close what rests; what is in use now will not rest afterwards."""
        self._drop(math.inf)
        self._used = dict.fromkeys(self._used, False)

    def close(self) -> None:
        """Cut everything."""
        if self._timer is not None:
            self._timer.cancel()
        self._drop(math.inf)
        for connection in self._used:
            connection.close()

"""Files that are sent as they are made. Each part costs what a page costs, and a hundred thousand payments are a thousand
parts: so few files are sent at once, with rests between the parts, at the rate of their key, for a bounded time, and to nobody
who has gone.

The server drops in silence what is sent to a closed connection, so somebody listens for its end. A client that does not read
is closed by the server (``httpd.UNREAD_S``); where another server is around us, ``SEND_S`` ends the wait.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Final

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Send

from payonce.core.errors import Refused
from payonce.merchants.keys import Caller
from payonce.ports import Clock

from .answering import ALWAYS, NO_STORE
from .asking import Turned
from .incoming import Came
from .signing_in import Porter
from .visit import Download

AT_ONCE: Final = 2  # of one process
REST_S: Final = 0.05  # between two parts: payments come first
SEND_S: Final = 30.0  # for one part to be taken
LAST_S: Final = 300  # for a whole file; then it is cut, and says so
RETRY_S: Final = 10
PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,100}")


class Full(Turned):
    """No room for one more download now. Raised before anything of it is sent."""

    retry_after_s: Final = RETRY_S

    def __init__(self, detail: str) -> None:
        about = {"code": "over_capacity", "title": "Another download is under way", "detail": detail}
        about |= {"money": "Nothing was changed. Payments go on as before.", "next": "Ask again when it has ended."}
        super().__init__(503, about)


class Downloads:
    """The downloads of one process. ``porter``: what a part costs is counted as a request of its caller."""

    def __init__(self, porter: Porter, clock: Clock) -> None:
        self._porter, self._clock = porter, clock
        self._callers: set[tuple[str, str]] = set()

    async def send(self, download: Download, caller: Caller, came: Came, send: Send) -> None:
        """All of it. The first part is waited for before the answer begins: what fails there is still a page. Raises Full, and
        ClientDisconnect when nobody takes it any more; in every case nothing is left open."""
        parts = aiter(download.parts)
        try:
            with self._room(caller):
                await _while_there(self._sent(download, parts, caller, came, send), came.receive)
        finally:
            if isinstance(parts, AsyncGenerator):
                await parts.aclose()

    @contextmanager
    def _room(self, caller: Caller) -> Iterator[None]:
        who = (caller.scope.merchant_id, caller.who)
        if who in self._callers:
            raise Full(f"{caller.who} downloads a file already: one at a time.")
        if len(self._callers) >= AT_ONCE:
            raise Full(f"{AT_ONCE} files are being downloaded, as many as this server sends at once.")
        self._callers.add(who)
        try:
            yield
        finally:
            self._callers.discard(who)

    async def _sent(self, download: Download, parts: AsyncIterator[bytes], caller: Caller, came: Came, send: Send) -> None:
        began = self._clock.monotonic_us()
        part = await anext(parts, None)
        await send({"type": "http.response.start", "status": 200, "headers": _headers(download)})
        if came.scope["method"] == "HEAD":  # it wanted to know whether there is a file
            part = None
        while part is not None:
            if self._clock.monotonic_us() - began > LAST_S * 1_000_000:
                await _taken(send, download.cut)
                break
            await _taken(send, part)
            await self._rest(caller)
            part = await anext(parts, None)
        await send({"type": "http.response.body", "body": b""})

    async def _rest(self, caller: Caller) -> None:
        """Until the next part may be made: others go first, and the rate of the key counts."""
        await self._clock.sleep(REST_S)
        while True:
            try:
                self._porter.pace(caller)
            except Refused as later:
                await self._clock.sleep(getattr(later, "retry_after_s", 1))
            else:
                return


async def _while_there(sending: Coroutine[Any, Any, None], receive: Receive) -> None:
    """Do it as long as the client is there. Raises what ``sending`` raises, or ClientDisconnect."""
    work, gone = asyncio.create_task(sending), asyncio.create_task(_gone(receive))
    both = (work, gone)
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise ClientDisconnect
        work.result()
    finally:
        for task in both:
            task.cancel()
        await asyncio.wait(both)  # what ends them is not waited for by anybody else: nothing of them is left behind


async def _gone(receive: Receive) -> None:
    """When the client is not there any more. What it still sends is nothing to us."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _taken(send: Send, part: bytes) -> None:
    try:
        async with asyncio.timeout(SEND_S):
            await send({"type": "http.response.body", "body": part, "more_body": True})
    except TimeoutError:
        raise ClientDisconnect from None


def _headers(download: Download) -> list[tuple[bytes, bytes]]:
    name = download.name if PLAIN_NAME.fullmatch(download.name) else "download"
    return [
        *ALWAYS,
        NO_STORE,
        (b"content-type", download.media_type.encode("ascii")),
        (b"content-disposition", f'attachment; filename="{name}"'.encode()),
    ]

"""A whole served payonce in this process, with people who look at it: one for each module of tests."""

import asyncio
import re
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx2

from payonce.config import load
from payonce.merchants.keys import ApiKey, KeyScope
from payonce.serving import Served, serving, sessions_of

DEADLINE_S = 30.0
T = TypeVar("T")


class House:
    """A server on a loop of its own, and what a test does to it."""

    def __init__(self, served: Served, loop: asyncio.AbstractEventLoop) -> None:
        self.served, self.app, self.url, self._loop = served, served.app, served.url, loop
        self._visitors: list[Visitor] = []

    def run(self, doing: Coroutine[Any, Any, T]) -> T:
        """On the server's loop."""
        return asyncio.run_coroutine_threadsafe(doing, self._loop).result(DEADLINE_S)

    def ticket(self, *scopes: KeyScope, merchant: str = "mer_default") -> str:
        made = sessions_of(self.app).print_ticket(merchant, scopes or ("admin",), by="operator:test")
        return self.run(made)

    def key(self, *scopes: KeyScope, merchant: str = "mer_default", name: str = "") -> tuple[ApiKey, str]:
        key, text = self.app.keys.new(merchant, "test", scopes, name=name)
        self.run(self.app.keys.add(key))
        return key, text

    def visitor(self) -> "Visitor":
        self._visitors.append(Visitor(self.url))
        return self._visitors[-1]

    def leave(self) -> None:
        """All go: their connections are closed."""
        while self._visitors:
            self._visitors.pop().http.close()

    def signed_in(self, *scopes: KeyScope, merchant: str = "mer_default") -> "Visitor":
        """A browser of somebody who came with a ticket."""
        visitor = self.visitor()
        answer = visitor.get(f"/sign-in?ticket={self.ticket(*scopes, merchant=merchant)}")
        assert answer.status_code == 303, answer.text
        return visitor


class Visitor:
    """A browser without scripts: cookies, pages and forms. Paths are below the dashboard."""

    def __init__(self, url: str) -> None:
        self.http = httpx2.Client(base_url=url, timeout=DEADLINE_S, trust_env=False)
        self.base = "/dashboard"

    def get(self, path: str, **headers: str) -> httpx2.Response:
        return self.http.get(self.base + path, headers=_dashed(headers))

    def csrf(self, path: str = "/nothing-here") -> str:
        """The token that the forms of this session carry."""
        found = re.search(r'name="csrf" value="([0-9a-f]{64})"', self.get(path).text)
        assert found, "no form on the page"
        return found[1]

    def post(
        self, path: str, form: dict[str, str] | None = None, *, csrf: str | None = None, **headers: str
    ) -> httpx2.Response:
        """A form of a page of ours, unless ``headers`` say otherwise."""
        fields = {"csrf": self.csrf() if csrf is None else csrf, **(form or {})}
        return self.http.post(self.base + path, data=fields, headers=_dashed(headers))


@contextmanager
def served_house(folder: Path, **flags: str | int) -> Iterator[House]:
    """The server, until the block ends. Without a worker: nothing happens that nobody asked for."""
    up: Future[House] = Future()
    ended = threading.Event()

    async def live() -> None:
        settings = load({"store.data_dir": str(folder), "server.port": 0, **flags}, env={})
        loop = asyncio.get_running_loop()
        try:
            async with serving(settings, worker=False) as served:
                up.set_result(House(served, loop))
                await loop.run_in_executor(None, ended.wait)
        except BaseException as error:
            if not up.done():
                up.set_exception(error)
            raise

    thread = threading.Thread(target=lambda: asyncio.run(live()), daemon=True)
    thread.start()
    try:
        yield up.result(DEADLINE_S)
    finally:
        ended.set()
        thread.join(DEADLINE_S)


def until(holds: Callable[[], bool]) -> bool:
    """Whether it holds before the deadline."""
    waited = threading.Event()
    for _ in range(int(DEADLINE_S * 20)):
        if holds():
            return True
        waited.wait(0.05)
    return False


def _dashed(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}

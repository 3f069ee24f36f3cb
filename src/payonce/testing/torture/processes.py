"""The processes of a torture: payonce's own commands, started, killed, frozen and started again."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import msgspec

from payonce.config import SETTINGS

from .nursery import TOLD, Ended, Signal, Start, Started

READY_S = 60.0
OTHER_NAMES = frozenset(name for setting in SETTINGS for name in setting.env)  # some do not begin with PAYONCE_
LOOK_S = 0.01
PORTS = (20_000, 32_000)  # below those that systems hand out by themselves: nobody else takes one while its process is dead


class Nursery:
    """The forking process, as its parent sees it. Leave the block, and everything that came from it is dead."""

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        self.folder, self.env = folder, dict(env)
        self.children: list[Process] = []
        self._events: dict[tuple[str, str], asyncio.Future[int]] = {}
        self._process: asyncio.subprocess.Process | None = None
        self._listening: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            "from payonce.testing.torture.nursery import main; main()",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            cwd=self.folder,
            env=self.env,
            start_new_session=True,  # Ctrl-C is for the torture, which then ends them in order
        )
        self._listening = asyncio.create_task(self._listen(), name="nursery")
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._listening is not None
        self._process.stdin.close()  # it kills its children and ends
        try:
            async with asyncio.timeout(READY_S):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        await self._listening

    def tell(self, wish: Start | Signal) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode(wish) + b"\n")

    def expect(self, what: str, name: str) -> "asyncio.Future[int]":
        """The next ``Started`` (its pid) or ``Ended`` (its code) of this name. Raises ConnectionError when the nursery is
        gone."""
        return self._events.setdefault((what, name), asyncio.get_running_loop().create_future())

    async def _listen(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            fact = TOLD.decode(line)
            value = fact.pid if isinstance(fact, Started) else fact.code
            for child in self.children:
                if child.name == fact.name:
                    child.pid = fact.pid if isinstance(fact, Started) else 0
            waits = self._events.pop(("ended" if isinstance(fact, Ended) else "started", fact.name), None)
            if waits is not None and not waits.done():
                waits.set_result(value)
        for waits in self._events.values():
            if not waits.done():
                waits.set_exception(ConnectionError("the nursery of the torture ended"))


class Process:
    """One process of payonce, again and again under one name. ``kind`` is api, worker or sandbox."""

    def __init__(self, nursery: Nursery, kind: str, name: str, args: list[str]) -> None:
        self.nursery, self.kind, self.name, self.args = nursery, kind, name, args
        self.out, self.log = nursery.folder / f"{name}.out", nursery.folder / f"{name}.log"
        self.pid = 0  # 0 = it does not run
        nursery.children.append(self)

    async def spawn(self) -> None:
        """Start it, and do not wait until it is ready."""
        self.out.unlink(missing_ok=True)
        started = self.nursery.expect("started", self.name)
        self.nursery.tell(Start(self.name, self.args, str(self.out), str(self.log)))
        await started

    async def ready(self) -> None:
        """It has said its first line: it listens, or works. Raises RuntimeError when it ended instead, or never did."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(READY_S):
                while self.pid:
                    if self.out.exists() and b"\n" in self.out.read_bytes():
                        return
                    await asyncio.sleep(LOOK_S)
        tail = self.log.read_text(encoding="utf-8", errors="replace")[-2000:] if self.log.exists() else ""
        raise RuntimeError(f"{self.name} did not start; the end of {self.log}:\n{tail}")

    async def start(self) -> None:
        await self.spawn()
        await self.ready()

    async def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        if self.pid:
            ended = self.nursery.expect("ended", self.name)
            self.nursery.tell(Signal(self.name, signal.SIGKILL))
            await ended

    async def freeze(self, seconds: float) -> None:
        """Stop it where it stands, and let it go on later."""
        self.nursery.tell(Signal(self.name, signal.SIGSTOP))
        try:
            await asyncio.sleep(seconds)
        finally:
            self.nursery.tell(Signal(self.name, signal.SIGCONT))

    async def stop(self) -> int:
        """SIGTERM; the exit code."""
        ended = self.nursery.expect("ended", self.name)
        self.nursery.tell(Signal(self.name, signal.SIGTERM))
        async with asyncio.timeout(READY_S):
            return await ended

    async def run(self) -> int:
        """Start it and wait for its end; the exit code."""
        ended = self.nursery.expect("ended", self.name)
        await self.spawn()
        return await ended


def environment(packages: Path, secrets: Mapping[str, str]) -> dict[str, str]:
    """Ours without any payonce setting, with the folder of packages, and with secrets."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PAYONCE_") and k not in OTHER_NAMES}
    paths = [str(packages), *filter(None, [kept.get("PYTHONPATH", "")])]
    return {**kept, "PYTHONPATH": os.pathsep.join(paths), **secrets}

"""What the four functions share: one event loop and one open app per execution environment.

A handler module calls ``warm()`` at its end, so that the app is opened while Lambda starts the environment (before the first
event, with a whole processor), and ``app()`` and ``run()`` for each event. Lambda gives an environment one event at a time and
freezes it between two; so nothing may run in the background, and nothing does: the loop turns only inside ``run``.

Facts of Lambda used here (docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html, read 2026-11): the start may
take 10 s; SIGTERM comes only where an extension is registered, else the environment ends without a word; so nothing depends on
the end of it. Not documented, and so not assumed: whether the monotonic clock goes on in a freeze. Both clocks are looked at.
"""

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from types import FrameType
from typing import Any, Final, Protocol, TypeVar, runtime_checkable

from payonce.awsapi import Aws
from payonce.bootstrap import App, SystemClock, open_app
from payonce.config import Settings, load
from payonce.core.errors import ConfigError, PayonceError, StoreUnavailable
from payonce.telemetry import configure, get_logger
from payonce.telemetry.emf import line

FROZEN_US: Final = 20_000_000  # after a rest of this length no connection is trusted any more
OPEN_S: Final = 8.0  # for opening, secrets included: a start may take 10 s, and a caller of the API wants an answer
CLOSE_S: Final = 1.0  # for closing at SIGTERM: Lambda gives 0.5 to 2 s

Result = TypeVar("Result")
log = get_logger("aws")


@runtime_checkable
class Pooled(Protocol):
    """What keeps connections open between calls."""

    async def drop_idle(self) -> None:
        """Close the connections that no call uses, so that the next one is made over a fresh one."""


class Environment:
    """One execution environment. Used from one thread; ``app`` and ``run`` do not nest."""

    def __init__(self) -> None:
        self._clock = SystemClock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stack = AsyncExitStack()
        self._app: App | None = None
        self._rested: tuple[int, int] | None = None  # both clocks at the end of the last event
        self._running, self._ending = False, False

    def app(self) -> App:
        """The open app; opened when it is not yet. Raises ConfigError, StoreUnavailable or NewerSchema when that fails: the
        next event tries again, and until then no payment is taken and none is moved."""
        if self._app is None:
            self._app = self.run(self._open())
        return self._app

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run it to its end on the loop of this environment. What it raises passes through."""
        self._running = True
        try:
            return self._turning().run_until_complete(self._awake(work))
        finally:
            self._running = False
            self._rested = self._now()
            if self._ending:
                self._end()

    def terminate(self) -> None:
        """SIGTERM. At rest: close and end. Within an event: no call to a provider is started any more, and the environment
        ends with the event."""
        self._ending = True
        if self._app is not None:
            self._app.engine.gone_by_us = 0
        if not self._running:
            self._end()

    def _turning(self) -> asyncio.AbstractEventLoop:
        self._loop = self._loop or asyncio.new_event_loop()
        return self._loop

    def _now(self) -> tuple[int, int]:
        return self._clock.now_us(), self._clock.monotonic_us()

    async def _awake(self, work: Coroutine[Any, Any, Result]) -> Result:
        if self._app is not None and self._rested is not None:
            rest_us = max(now - then for now, then in zip(self._now(), self._rested, strict=True))
            if rest_us > FROZEN_US:
                await _drop_idle(self._app)
        return await work

    async def _open(self) -> App:
        configure(json=True)
        try:
            settings = load(env=os.environ)
            configure(level=settings.text("server.log_level"), json=True)
            _refuse_sandbox_here(settings)
            async with asyncio.timeout(OPEN_S):
                app = await self._stack.enter_async_context(open_app(settings, clock=self._clock, checked=False))
        except TimeoutError:
            log.error("cannot start: AWS does not answer; the next event tries again", seconds=OPEN_S)  # noqa: TRY400
            raise StoreUnavailable("AWS does not answer, so nothing was started. Nothing was taken or moved.") from None
        except PayonceError as error:
            log.error("cannot start: nothing is taken or moved; the next event tries again", error=str(error))  # noqa: TRY400
            raise
        log.info("started", mode=app.settings.mode, accounts=sorted(app.engine.accounts))
        return app

    def _end(self) -> None:
        loop = self._turning()
        try:
            loop.run_until_complete(asyncio.wait_for(self._stack.aclose(), CLOSE_S))
        except Exception:
            log.exception("closing failed; what is on record is safe")
        loop.close()
        sys.exit(0)


def _refuse_sandbox_here(settings: Settings) -> None:
    """The simulated providers keep their ledger in a file, and each execution environment would have one of its own."""
    if settings.sandbox_here and "AWS_LAMBDA_FUNCTION_NAME" in os.environ:
        raise ConfigError(
            "Accounts pay at the sandbox, which cannot run inside a function. Run `payonce sandbox` where the functions reach "
            "it and name it in SandboxUrl, or put a payonce.toml with your own accounts into the package. Nothing was started."
        )


async def _drop_idle(app: App) -> None:
    """After a freeze the other side has long hung up, and the first write into such a connection is a lost call."""
    parts: tuple[object, ...] = (app.transport, app.aws)
    for part in parts:
        if isinstance(part, Pooled):
            await part.drop_idle()


def aws(app: App) -> Aws:
    """The client of the open app. Raises ConfigError when there is none: then no tables are configured."""
    if app.aws is None:
        raise ConfigError(
            "The functions need the three tables (PAYONCE_TRANSACTIONS_TABLE and the others). Deploy the template."
        )
    return app.aws


_HERE: Final = Environment()


def app() -> App:
    """See ``Environment.app``."""
    return _HERE.app()


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """See ``Environment.run``."""
    return _HERE.run(work)


def tell(app: App) -> None:
    """What was counted since the last time, as a line that CloudWatch makes metrics of. Called once at the end of an event; an
    event that counted nothing has no line. Never raises."""
    watcher = app.watcher
    with watcher.unharmed():
        said = line(watcher.meter, app.clock.now_us(), os.environ.get("AWS_LAMBDA_FUNCTION_NAME", ""))
        watcher.meter.clear()
        if said:
            sys.stdout.write(said + "\n")
            sys.stdout.flush()


async def respect_hold(app: App) -> None:
    """After a restore nothing is fired until ``payonce reconcile`` has run; and not while that cannot be known."""
    try:
        app.engine.hold = await app.hold.on()
    except StoreUnavailable as error:
        app.engine.hold = True
        log.warning("whether there is a hold cannot be read: nothing is fired for now", error=str(error))


def warm() -> None:
    """Open the app already while the environment starts; only on Lambda, so that importing a handler does nothing elsewhere.
    What fails is logged, and tried again with the first event."""
    if "AWS_LAMBDA_FUNCTION_NAME" not in os.environ or threading.current_thread() is not threading.main_thread():
        return
    signal.signal(signal.SIGTERM, _on_sigterm)
    try:
        app()
    except PayonceError:
        return  # it is in the log
    except Exception:
        log.exception("bug: cannot start; the first event tries again")


def _on_sigterm(_number: int, _frame: FrameType | None) -> None:
    _HERE.terminate()

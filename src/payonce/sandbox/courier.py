"""The courier: sends what the vendors announced to the endpoints, as vendors do. Each delivery is signed when it is sent,
goes out in the order of its due time, one at a time to each endpoint, and is repeated until it is answered 2xx or a day is
over. What is owed lies in the ledger file: it survives a restart, and any number of couriers may share it. A courier that
dies in the middle of a send leaves a claim that runs out, and the webhook is sent again: receivers must bear doubles.

This is the vendors' side of the wire, so it does not go through ``payonce.transport``.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

import apsw
import httpx2

from payonce.ports import Clock

from .deliveries import Delivery, Event, State
from .ledger import Ledger
from .outbox import register_own
from .pages import serve_pages_at
from .server import Sandbox

BACKOFF_S: Final = (1, 5, 30, 120, 600, 3600)  # after each failed send; the last one repeats
GIVE_UP_US: Final = 24 * 3600 * 1_000_000  # after the announcement
KEPT_US: Final = 24 * 3600 * 1_000_000  # what was announced and done with earlier is forgotten
TIMEOUT_S: Final = 5.0  # of one send
CLAIM_US: Final = 7_000_000  # longer than a send takes
IN_FLIGHT_MAX: Final = 8
POLL_S: Final = 1.0  # other processes announce too; our own sandbox wakes us
GATHER_S: Final = 0.05  # after it did: what happens within it is looked at together
UNLOOKED_US: Final = 10_000_000  # how long there is no look while the ledger does not change and nothing is due
PRUNE_EVERY_US: Final = 600 * 1_000_000
DRAIN_S: Final = 1.0  # for sends in flight at the end


class Courier:
    """See the module docstring. Belongs to the event loop of its sandbox."""

    def __init__(self, sandbox: Sandbox, clock: Clock, *, in_flight_max: int = IN_FLIGHT_MAX) -> None:
        self._sandbox, self._clock, self._in_flight_max = sandbox, clock, in_flight_max
        self._sends: dict[str, asyncio.Task[None]] = {}  # endpoint -> the task that empties its queue
        self._woken, self._stopping = asyncio.Event(), False
        self._gathering: asyncio.TimerHandle | None = None
        self._pruned_us = 0
        self._looked, self._quiet_until_us = (-1, -1), 0
        limits = httpx2.Limits(max_connections=in_flight_max, keepalive_expiry=2.0)
        self._http = httpx2.AsyncClient(trust_env=False, follow_redirects=False, timeout=TIMEOUT_S, limits=limits)

    async def run(self) -> None:
        """Until cancelled. Survives a ledger that cannot be used for a while, and a vendor that cannot go on: its own
        requests say why."""
        self._sandbox.told = self._wake
        while True:
            self._woken.clear()
            try:
                wait_s = self.start_due()
            except Exception:  # noqa: BLE001 - a courier that ended would keep every vendor's webhooks
                wait_s = POLL_S
            await self._rest(wait_s or POLL_S)  # 0: an end wakes us

    async def send_due(self) -> None:
        """Send everything that is due now, and wait for it: for who moves the clock by hand."""
        while self.start_due() <= 0 or self._sends:
            await asyncio.wait(self._sends.values())

    def start_due(self) -> float:
        """Begin to send what is due to endpoints that are not being served already, as many as may be. The seconds until
        there may be more; 0 when there is more now than may be in flight. Raises apsw.Error."""
        ledger, seen, asked_us = self._sandbox.ledger, self._sandbox.ledger.version(), self._clock.now_us()
        if seen == self._looked and asked_us < self._quiet_until_us:
            return min(POLL_S, (self._quiet_until_us - asked_us) / 1_000_000)
        with self._sandbox.books():
            now_us = self._clock.now_us()
            if now_us >= self._pruned_us + PRUNE_EVERY_US:
                ledger.deliveries.prune(now_us - KEPT_US)
                self._pruned_us = now_us
            owed, later_us = ledger.deliveries.owed(now_us), ledger.later_us(asked_us)
        self._looked = seen  # what this look changed is looked at once more
        self._quiet_until_us = min([now_us + UNLOOKED_US, *later_us, *owed.values()])
        wait_us = min([int(POLL_S * 1_000_000), *(max(1, due_us - now_us) for due_us in later_us)])
        for endpoint, due_us in owed.items():
            if endpoint in self._sends:
                continue  # its end wakes us
            if due_us > now_us:
                wait_us = min(wait_us, due_us - now_us)
            elif len(self._sends) < self._in_flight_max:
                self._start(endpoint)
            else:
                wait_us = 0
        return wait_us / 1_000_000

    async def close(self) -> None:
        """Begin nothing more, give sends in flight a moment, and cut them then: those are owed still."""
        self._stopping, self._sandbox.told = True, None
        if self._gathering is not None:
            self._gathering.cancel()
        if running := list(self._sends.values()):
            _, late = await asyncio.wait(running, timeout=DRAIN_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        await self._http.aclose()

    # --- one endpoint -----------------------------------------------------------------------------------------------

    def _start(self, endpoint: str) -> None:
        task = asyncio.create_task(self._serve(endpoint), name=f"webhooks to {endpoint}")
        self._sends[endpoint] = task
        task.add_done_callback(lambda _: self._done(endpoint))

    def _done(self, endpoint: str) -> None:
        self._sends.pop(endpoint, None)
        self._woken.set()

    def _wake(self) -> None:
        """The sandbox changed its ledger."""
        if self._gathering is None:
            self._gathering = asyncio.get_running_loop().call_later(GATHER_S, self._look)

    def _look(self) -> None:
        self._gathering = None
        self._woken.set()

    async def _serve(self, endpoint: str) -> None:
        """Everything that is due to it, one after the other."""
        with contextlib.suppress(apsw.Error):  # what was claimed then is sent again when the claim is over
            while not self._stopping and (claimed := self._claim(endpoint)):
                await self._send(*claimed)

    def _claim(self, endpoint: str) -> tuple[Delivery, Event] | None:
        with self._sandbox.ledger.transaction(synced=False):
            now_us = self._clock.now_us()
            return self._sandbox.ledger.deliveries.claim(endpoint, now_us, now_us + CLAIM_US)

    async def _send(self, delivery: Delivery, event: Event) -> None:
        try:
            good, said = await self._post(delivery.endpoint, event)
        except asyncio.CancelledError:
            self._end(delivery, event, good=False, said="cut when the sandbox stopped", at_once=True)
            raise
        self._end(delivery, event, good=good, said=said)

    async def _post(self, endpoint: str, event: Event) -> tuple[bool, str]:
        """Whether it was taken, and what was said. The answer's body is not read: vendors do not care."""
        sign = getattr(self._sandbox.vendors.get(event.vendor), "sign_webhook", None)
        if sign is None:
            return False, "the vendor is not here, or signs no webhooks"
        try:
            headers = dict(sign(event.body, self._clock.now_us()))
            async with (
                asyncio.timeout(TIMEOUT_S),
                self._http.stream("POST", endpoint, headers=headers, content=event.body) as answer,
            ):
                return 200 <= answer.status_code <= 299, f"HTTP {answer.status_code}"
        except TimeoutError:
            return False, "no answer in time"
        except Exception as error:  # noqa: BLE001 - whatever goes wrong, it was not taken: later again
            return False, type(error).__name__

    def _end(self, delivery: Delivery, event: Event, *, good: bool, said: str, at_once: bool = False) -> None:
        now_us = self._clock.now_us()
        wait_s = 0 if at_once else BACKOFF_S[min(delivery.sends, len(BACKOFF_S)) - 1]
        due_us = now_us + wait_s * 1_000_000
        state: State = "delivered" if good else "due" if due_us <= event.at_us + GIVE_UP_US else "given_up"
        with self._sandbox.ledger.transaction(synced=False):
            self._sandbox.ledger.deliveries.end(delivery, state, due_us=due_us, now_us=now_us, said=said)

    async def _rest(self, seconds: float) -> None:
        """Until the time is over, a queue is empty, or the sandbox has news."""
        waits = [asyncio.ensure_future(self._clock.sleep(seconds)), asyncio.ensure_future(self._woken.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waits:
                each.cancel()
            await asyncio.gather(*waits, return_exceptions=True)


@asynccontextmanager
async def delivering(sandbox: Sandbox, clock: Clock) -> AsyncIterator[Courier]:
    """A courier beside the caller's own work. Enter it after the server that the webhooks go to is up, and leave it before
    that is shut."""
    courier = Courier(sandbox, clock)
    running = asyncio.create_task(courier.run(), name="courier")
    try:
        yield courier
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await courier.close()


def beside(ledger: Ledger, url: str, accounts: Mapping[str, str]) -> None:
    """A server beside the sandbox serves its pages at ``url`` and takes webhooks at ``url``/webhooks/ACCOUNT: people are
    sent there, and webhooks too unless other endpoints were put. ``accounts`` is account -> vendor. To be called before
    anything is charged. Raises apsw.Error when the ledger cannot be written."""
    serve_pages_at(ledger, url)
    register_own(ledger, url, accounts)

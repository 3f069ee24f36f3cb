"""Merchants' webhook receivers, and the way of one process to them. A receiver is up or down, in a good mood or not: it takes,
refuses, redirects, asks to come back later, resets the connection, is slow, or takes a webhook and is not heard saying so.
What each was sent, and what it answered, is the witness for deliveries."""

import random
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from payonce.outbound.sending import Sent

from .options import HOUR_S, S

if TYPE_CHECKING:
    from .processes import Process
    from .world import World

TIMEOUT_MS: Final = 10_000  # of one webhook
DOWN_S: Final = (60, HOUR_S, 12 * HOUR_S, 72 * HOUR_S)
LATER_S: Final = (1, 60, HOUR_S, 24 * HOUR_S)  # that a Retry-After asks for
REFUSES: Final = (301, 307, 400, 404, 500, 502)
BUSY: Final = (429, 503)
MOODS: Final = ("refuses", "refuses", "busy", "busy", "reset", "slow", "late", "lost", "nearly late")
GONE_SHARE: Final = 0.03  # of the bad moods in which it says that it is gone for good


class Got(Struct):
    """One webhook that reached a receiver, or was on its way to one. ``status`` is what it answered (0: nothing); ``taken``: it
    was, or will be, answered 2xx; ``heard``: the process that sent it has the answer."""

    url: str
    headers: Mapping[str, str]
    body: bytes
    at_us: int
    process: "Process"
    status: int = 0
    taken: bool = False
    heard: bool = False

    @property
    def event_id(self) -> str:
        return self.headers.get("webhook-id", "")


class Receiver:
    """At one URL."""

    def __init__(self, world: "World", url: str) -> None:
        self._world, self._dice = world, random.Random(f"receiver {world.options.seed} {url}")
        dice, o = self._dice, world.options
        self.deaf = dice.random() < o.deaf
        self._down = [self._window() for _ in range(dice.choice((0, 1, 2)))] if o.moody else []

    def _window(self) -> tuple[int, int]:
        from_us = self._dice.randrange(self._world.options.faults_for_s * S)
        return from_us, from_us + self._dice.choice(DOWN_S) * S

    def mood(self) -> str:
        """At this moment. While the world is calm every receiver takes everything, but for those that never do."""
        world, dice = self._world, self._dice
        if self.deaf:
            return dice.choice(("reset", "refuses"))
        if world.calm:
            return "takes"
        now = round(world.loop.time() * S)
        if any(begin <= now < end for begin, end in self._down):
            return "reset"
        if dice.random() >= world.options.moody:
            return "takes"
        return "gone" if dice.random() < GONE_SHARE else dice.choice(MOODS)

    async def take(self, got: Got) -> Sent:
        """Its answer, or that there was none."""
        p, dice, mood = got.process, self._dice, self.mood()
        self._world.counts[f"receiver {mood}"] += 1
        await p.pause(dice.randrange(1_000, 80_000))
        match mood:
            case "reset":
                return Sent(said="simulated: connection reset")
            case "gone":
                return self._said(got, 410)
            case "refuses":
                return self._said(got, dice.choice(REFUSES))
            case "busy":
                return self._said(got, dice.choice(BUSY), dice.choice((None, *LATER_S)))
            case "slow" | "late":  # it gives up, or it takes it when nobody waits any more
                got.taken = mood == "late"
                await p.pause(TIMEOUT_MS * 1000)
                return Sent(said=f"no answer within {TIMEOUT_MS} ms")
            case "lost":
                got.taken = True
                return Sent(said="simulated: the connection was closed without an answer")
        if mood == "nearly late":
            await p.pause(TIMEOUT_MS * 1000 - 200_000)
        got.taken = True
        return self._said(got, dice.choice((200, 200, 202, 204)))

    def _said(self, got: Got, status: int, later_s: int | None = None) -> Sent:
        got.status, got.heard = status, True
        return Sent(status=status, retry_after_s=later_s)


class SimSender:
    """See ``payonce.outbound.sending.Sender``: of one process."""

    def __init__(self, process: "Process") -> None:
        self._process = process

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Sent:
        p, world = self._process, self._process.world
        got = Got(url=url, headers=dict(headers), body=body, at_us=world.now_us(), process=p)
        word = await p.arrive("tell", note=f"{got.event_id} to {url}")
        if word == "error_before":
            return Sent(said="simulated: no connection")
        got.at_us = world.now_us()
        world.subscribers.got.append(got)
        sent = await world.subscribers.receiver(url).take(got)
        world.note(url, "", f"{got.event_id}: {sent.status or sent.said}")
        if word == "crash_after":
            got.heard = False
            await p.die()
        if word == "error_after":
            got.heard = False
            sent = Sent(said="simulated: the answer is lost")
        if got.taken and not got.heard:
            world.counts["news taken, and its answer lost"] += 1
        await p.pause()
        return sent

"""The way from one process to the providers: messages are lost, held up, doubled, answered by strangers and by proxies."""

import asyncio
import json
import random
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

from payonce.core.payment import StoredRequest
from payonce.ports import Lost, Response
from payonce.sandbox.simulator import Reply, Request

from .fate import GATEWAY, LIES
from .options import HOUR_S, S
from .storage import CLAIM

if TYPE_CHECKING:
    from .processes import Process

STALLS_S: Final = (15, 300, HOUR_S, 20 * HOUR_S, 72 * HOUR_S)
STALL_KEYED_MAX_S: Final = 20 * HOUR_S  # within the vendor's window of 24 h less the replay span of 2 h: the stated limit
DUPLICATES_S: Final = (1, 60, 2 * HOUR_S)
THAWS_S: Final = (10, 60, 3 * HOUR_S)
RETRY_AFTERS: Final = ("0", "5", "100000", "soon")
REFUSALS: Final = (400, 401, 403, 404, 409, 422)
AMOUNT: Final = re.compile(rb'("(?:amount|order_amount|payment_amount)":\s*)(\d+)')
CURRENCY: Final = re.compile(rb'("(?:currency|order_currency|payment_currency)":\s*)"[A-Z]{3}"')


class Wire:
    """See ``payonce.ports.Transport``."""

    def __init__(self, process: "Process") -> None:
        self._process = process

    async def close(self) -> None: ...

    async def send(
        self, request: StoredRequest, body: bytes, secret_headers: Mapping[str, str], *, send_by_us: int, timeout_ms: int
    ) -> Response | Lost:
        p, world = self._process, self._process.world
        budget_us = p.monotonic_us() + send_by_us - p.now_us()
        claim = None if p.looks else CLAIM.get()
        point, pid = (claim.kind, claim.payment_id) if claim else ("read", "")
        word = await p.arrive(point, pid, request.account, may=None if claim else LOOKS)
        late = p.now_us() > send_by_us or p.monotonic_us() > budget_us
        if late and world.deadline_checked:
            return Lost(sent=False, reason="the send deadline had passed", ours=True)
        if word in ("refused", "error_before"):
            return Lost(sent=False, reason="simulated: connection refused")
        if claim is not None:
            world.first_byte(p, claim, request, body)
        elif not p.looks:
            world.violate(f"I7: a request left {p.machine.name} that nobody had put on record")
        headers = {k.lower(): v for k, v in (*request.headers, *secret_headers.items())}
        path, _, query = request.path.partition("?")
        asked = Request(method=request.method, path=path, query=dict(parse_qsl(query)), headers=headers, body=body)
        call = _Call(p, request.account, asked, pid, point)
        world.watch.leaves(p, request.account)
        answer = await call.made(word, timeout_ms)
        if word == "thaw":
            p.freeze(world.dice.choice(THAWS_S))
        if word == "crash_after":
            await p.die()
        await p.pause()
        world.watch.over(p, request.account, claim)
        return answer


LOOKS: Final = ("error_before", "refused", "delay", "garbage", "502", "503", "429", "stale")


class _Call:
    """One message and its answer."""

    def __init__(self, process: "Process", account: str, asked: Request, payment_id: str, point: str) -> None:
        self.p, self.world, self.account, self.asked, self.pid, self.point = (
            process,
            process.world,
            account,
            asked,
            payment_id,
            point,
        )
        self.moves = point != "read"  # it may move money
        self.answer: asyncio.Future[Response | Lost] = self.world.loop.create_future()

    async def made(self, word: str, timeout_ms: int) -> Response | Lost:
        """What the caller hears."""
        world, dice = self.world, self.world.dice
        patience = world.after(timeout_ms * 1000, lambda: self._hear(Lost(sent=True, reason="simulated: timeout")))
        way = dice.randrange(1_000, 40_000)
        if word in GATEWAY:
            after = {"retry-after": dice.choice(RETRY_AFTERS)} if word in ("429", "503") else {}
            world.after(way, lambda: self._hear(Response(status=int(word), headers=after, body=b"{}")))
        elif word == "stall":
            terms = world.terms(self.account)
            keyed = terms.keyed or (self.point == "refund" and terms.refund_replay_span_s > 0)
            most = [s for s in STALLS_S if not keyed or s <= STALL_KEYED_MAX_S]
            world.deliver(dice.choice(most) * S, lambda: self._arrives("lost"), moves=self.moves)
        elif word == "error_after":
            world.after(way, lambda: self._arrives("lost"))
        else:
            world.after(way, lambda: self._arrives(word))
            if word == "duplicate" and world.may_double(self.account, self.point):
                world.deliver(dice.choice(DUPLICATES_S) * S, lambda: self._arrives("lost"), moves=self.moves)
        if word == "stale":  # it is asked at once, and answered in the last moment
            answer = await self.answer
            self.p.world.counts["stale answer"] += isinstance(answer, Response)
            await world.loop.until(patience.when() - 0.001)
            return answer
        answer = await self.answer
        patience.cancel()
        return answer

    def _arrives(self, word: str) -> None:
        world = self.world
        world.note(self.account, self.pid, f"<- {self.point}" + (f" ({word})" if word else ""))
        world.vendors.arrive(world.vendor_of(self.account), self.asked, lambda reply: self._leaves(reply, word))

    def _leaves(self, reply: Reply, word: str) -> None:
        if word == "lost":
            return
        world = self.world
        if reply.drop:
            world.after(1_000, lambda: self._hear(Lost(sent=True, reason="simulated: connection closed")))
            return
        said = Response(status=reply.status, headers=dict(reply.headers), body=reply.body)
        crossed = world.other_answer(self.account, self.point, self.pid, said)
        if word == "crossed" and crossed is not None:
            said = crossed
        elif word == "garbage":
            said = Response(status=said.status, headers=said.headers, body=said.body[: len(said.body) // 2])
        elif word == "odd":
            said = Response(status=said.status, headers=said.headers, body=_odd(said.body, world.dice))
            world.lied_to.add(self.pid)
        elif word == "5xx_after":
            said = Response(status=502, headers={}, body=b"<html>Bad Gateway</html>")
        elif word == "4xx_after":
            said = Response(status=world.dice.choice(REFUSALS), headers={}, body=b"<html>Request blocked</html>")
        elif word in LIES:
            said = self._lied(said, word)
        world.after(world.dice.randrange(1_000, 40_000), lambda: self._hear(said))

    def _lied(self, said: Response, word: str) -> Response:
        """A good answer with one thing wrong."""
        pattern, other = (AMOUNT, rb"\g<1>7\g<2>") if word == "wrong_amount" else (CURRENCY, rb'\g<1>"XTS"')
        body, changed = pattern.subn(other, said.body)
        if changed:
            self.world.lied_to.add(self.pid)
        return Response(status=said.status, headers=said.headers, body=body)

    def _hear(self, said: Response | Lost) -> None:
        if not self.answer.done():
            status = f"{said.status}" if isinstance(said, Response) else said.reason.removeprefix("simulated: ")
            self.world.note(self.account, self.pid, f"-> {self.point}: {status}")
            self.answer.set_result(said)


def _odd(body: bytes, dice: random.Random) -> bytes:
    """The answer with one value that is missing, or of another kind: what a vendor's next version may bring."""
    try:
        doc = json.loads(body)
    except ValueError:
        return body
    places = list(_places(doc))
    if places:
        holder, key = dice.choice(places)
        if dice.random() < 0.3 and isinstance(holder, dict):
            del holder[key]
        else:
            holder[key] = dice.choice((None, 7, "odd", [], {}, True))
    return json.dumps(doc).encode()


def _places(doc: Any) -> Iterator[tuple[Any, Any]]:
    """Every value of a document, by what holds it and its key."""
    keys = doc.keys() if isinstance(doc, dict) else range(len(doc)) if isinstance(doc, list) else ()
    for key in list(keys):
        yield doc, key
        yield from _places(doc[key])

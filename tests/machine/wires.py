"""The store and the wire as one worker sees them: they fail as the world's script or dice say."""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from payonce.core.errors import StoreUnavailable
from payonce.core.payment import Payment, StoredRequest
from payonce.ports import Change, Committed, Conflict, Lost, Response, Unclear

from .oracles import Violation, at_once, check_claim, check_commit, check_first_byte
from .pauses import Crash, Pause
from .vendors import S, Vendor

if TYPE_CHECKING:
    from .world import Worker


WORDS = {
    *("ok", "not_sent", "lost_before", "lost_after", "stall", "stale", "dup", "lag", "freeze_before", "freeze_after"),
    *("5xx_before", "5xx_after", "429", "401", "404", "409", "422", "requested", "crossed"),
    *("wrong_amount", "wrong_currency", "wrong_mode", "wrong_reference"),
}


class FlakyStore:
    """The store as one worker sees it. ``scripts[("store", kind)]`` with kind = the event's kind forces a fault."""

    def __init__(self, worker: "Worker") -> None:
        self.worker, self.inner = worker, worker.world.store

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def get(self, payment_id: str) -> Payment | None:
        await self.worker.pause()
        if self.worker.world.hit("store_down"):
            raise StoreUnavailable
        found: Payment | None = await self.inner.get(payment_id)
        return found

    async def bodies(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], bytes]:
        await self.worker.pause()  # between plan and claim
        word, _, seconds = self.worker.world.word("store", "bodies").partition(":")
        if word == "freeze":
            await Pause(self.worker.world.now + int(seconds) * S)
        found: dict[tuple[str, str], bytes] = await self.inner.bodies(keys)
        return found

    async def commit(self, change: Change, expected_version: int) -> Committed | Conflict | Unclear:
        w, world = self.worker, self.worker.world
        check_claim(world, w.engine, change)
        await w.pause()
        current = await self.inner.get(change.payment.id)
        fresh = (current.version if current else 0) == expected_version
        word = world.word("store", ("" if fresh else "late ") + change.entries[-1].envelope.kind)
        kinds = ("crash_before", "crash_after", "unclear_done", "unclear_not", "unclear_later", "conflict", "store_down")
        word = next((k for k in kinds if world.hit(k)), "ok") if word == "" else word
        word, _, seconds = word.partition(":")
        if word == "crash_before":
            world.dying = True
            raise Crash
        if word == "store_down":
            raise StoreUnavailable
        if word == "conflict":
            return Conflict(payment=await self.inner.get(change.payment.id))
        if word == "unclear_not":
            return Unclear()
        if word == "unclear_later":
            later = int(seconds) * S if seconds else world.rng.randrange(60 * S)
            world.at(world.now + later, lambda: self._now(change, expected_version))
            return Unclear()
        if word == "freeze_before":
            await Pause(world.now + int(seconds) * S)
        result = self._now(change, expected_version)
        if word == "twice":  # a driver that lost the first answer asks again, and hears of the conflict with itself
            result = await self.inner.commit(change, expected_version)
        if word == "freeze_after":
            await Pause(world.now + int(seconds) * S)
        if word == "crash_after":
            world.dying = True
            raise Crash
        await w.pause()
        return Unclear() if word == "unclear_done" else result

    def _now(self, change: Change, expected_version: int) -> Any:
        before = at_once(self.inner.get(change.payment.id))
        result = at_once(self.inner.commit(change, expected_version))
        if isinstance(result, Committed):
            check_commit(self.worker.world, self.worker.engine, before, change)
        return result


class Net:
    """The wire between one worker and the vendors. Words: see ``World.script``."""

    def __init__(self, worker: "Worker") -> None:
        self.worker = worker

    async def close(self) -> None:
        pass

    async def send(
        self, request: StoredRequest, body: bytes, secret_headers: Mapping[str, str], *, send_by_us: int, timeout_ms: int
    ) -> Response | Lost:
        w, world = self.worker, self.worker.world
        vendor, doc = world.vendors[request.account], json.loads(body)
        budget = w.monotonic_us() + send_by_us - w.now_us()
        await w.pause()
        word = world.word(vendor.name, "tries" if doc["part"] == "tries" else doc["kind"]) or world.draw(vendor, doc["kind"])
        word, _, seconds = word.partition(":")
        if word not in WORDS:
            world.broken = Violation(f"the wire does not know the word {word}")
        wait = int(seconds or 0) * S
        if word == "freeze_before":
            await Pause(world.now + wait)
        if world.deadline_checked and (w.now_us() > send_by_us or w.monotonic_us() > budget):
            return Lost(sent=False, reason="deadline", ours=True)
        if word == "not_sent" or (vendor.name in world.outages and world.rng.random() < 0.5):
            return Lost(sent=False, reason="connect")
        try:
            check_first_byte(world, request, doc)
        except Violation as broken:  # the engine outlives whatever a transport raises: keep it for the driver
            world.broken = broken
        world.sent.append((world.now, vendor.name, doc["kind"], doc["reference"]))
        gives_up = world.now + timeout_ms * 1000
        if word == "lost_before" or vendor.name in world.outages:
            await Pause(gives_up)
            return Lost(sent=True, reason="timeout")
        if word == "stall":
            world.at(world.now + wait, lambda: vendor.handle(world.now, doc))
            await Pause(gives_up)
            return Lost(sent=True, reason="timeout")
        if word in ("5xx_before", "429", "401", "404", "409", "422"):
            await w.pause()
            status = 503 if word == "5xx_before" else int(word)
            after = {"retry-after": str(world.rng.choice((0, 5, 100_000)))} if status in (429, 503) else {}
            return Response(status=status, headers=after, body=b"{}")
        await w.pause()
        if word == "requested":  # accepted, not done
            status, said = 200, {"state": "closed", "container": doc["container"], "reference": doc["reference"]}
        else:
            doc = _crossed(vendor, doc) if word == "crossed" else doc
            status, said = vendor.handle(world.now, doc, wait if word == "lag" else 0)
        said = _lie(word, said)
        if word == "dup":
            world.at(world.now + wait, lambda: vendor.handle(world.now, doc))
        if word in ("lost_after", "5xx_after"):
            await Pause(gives_up)
            return Response(status=502, headers={}, body=b"") if word == "5xx_after" else Lost(sent=True, reason="timeout")
        await Pause(gives_up - 1 if word == "stale" else world.now + wait if word == "freeze_after" else world.now + 1)
        return Response(status=status, headers={}, body=json.dumps(said).encode())


def _crossed(vendor: Vendor, doc: dict[str, Any]) -> dict[str, Any]:
    """The vendor takes us for somebody else: a read of another payment's object."""
    box = next((b for b in vendor.boxes if b.reference != doc["reference"]), None)
    return {**doc, "reference": box.reference, "container": box.id} if box else doc


def _lie(word: str, said: dict[str, Any]) -> dict[str, Any]:
    """An otherwise good answer with one thing wrong, in the object and in each of its tries."""
    name, wrong = {
        "wrong_amount": ("amount", 1),
        "wrong_currency": ("currency", "XTS"),
        "wrong_mode": ("mode", "live"),
        "wrong_reference": ("reference", "0" * 24),
    }.get(word, ("", None))
    if not name:
        return said
    tries = [{**t, name: wrong} if name in t else t for t in said.get("tries", [])]
    return {**said, **({name: wrong} if name in said else {}), **({"tries": tries} if tries else {})}

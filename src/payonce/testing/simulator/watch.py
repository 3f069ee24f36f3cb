"""What must hold at the moment when a request leaves: it is on record with exactly these bytes, to the account that it was
recorded for, in time, and no other call of the payment is under way."""

from collections import Counter
from typing import TYPE_CHECKING, cast

from msgspec import Struct

from payonce.adapter import HttpRequest, Moves, Signs
from payonce.core.events import digest
from payonce.core.operations import part_of
from payonce.core.payment import Attempt, Operation, Payment, Step, StoredRequest

from .options import S
from .storage import Claim

if TYPE_CHECKING:
    from .processes import Process
    from .world import World

LATE_US = 6 * S  # of a first byte after its claim: the send window and a little
RECORDED_US = 240 * S  # an answer is held for two minutes, and every try may be slow
NOTICED_US = 2 * S  # a drain is seen by every process within a second; what was begun before may go on
SAME_AS = {"replay": "fire"}  # whose request a step sends


class OnTheWire(Struct, frozen=True):
    """A call that is under way."""

    process: "Process"
    claim: Claim


class Watch:
    """Sees every first byte of a world."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._requests: dict[tuple[str, str, str], StoredRequest] = {}  # (payment, part, kind) -> as first sent
        self._sent: set[tuple[str, int]] = set()  # (payment, step)
        self._heard: dict[tuple[str, int], tuple[Process, int]] = {}  # whose answer was heard, by whom, when
        self._under_way: dict[str, OnTheWire] = {}
        self._flying: Counter[tuple[Process, str]] = Counter()  # calls under way of a process at an account
        self.drained: dict[str, int] = {}  # account -> since when everybody could know

    async def first_byte(self, process: "Process", claim: Claim, request: StoredRequest, body: bytes) -> None:
        world, what = self._world, f"a {claim.kind} of {process.machine.name}"
        p = await world.payment(claim.payment_id)
        found = part_of(p, claim.seq) if p else None
        if p is None or found is None or found[1].outcome is not None:
            world.violate(f"I7: {what} left that is not on record, or was answered before", claim.payment_id)
            return
        part, step = found
        if claim.kind != "read" and (p.id, claim.seq) in self._sent:
            world.violate(f"I7: {what} left a second time under one record", p.id)
        self._sent.add((p.id, claim.seq))
        stored = await self._stored(p, request, body)
        wrong = [*self._bytes(p, part, step, request, stored), *self._place(p, part, request), *self._lease(p, part, step)]
        wrong += [
            *self._time(claim),
            *self._alone(process, claim),
            *self._allowed(process, part, claim),
            *self._served(p, part),
        ]
        for rule in wrong:
            world.violate(f"{rule}: {what}", p.id)
        self._under_way[p.id] = OnTheWire(process, claim)

    def leaves(self, process: "Process", account: str) -> None:
        """A call begins: no process has more of them under way at an account than it may."""
        self._flying[process, account] += 1
        most, now = self._world.accounts[account].calls_max, self._flying[process, account]
        if 0 < most < now:
            self._world.violate(f"{now} calls of {process.machine.name} at {account} at once, of {most}")
        self._world.counts["the most calls at once"] += 0 < most == now

    def over(self, process: "Process", account: str, claim: Claim | None) -> None:
        """The call has come back to its process."""
        self._flying[process, account] -= 1
        if claim is None:
            return
        if (open_call := self._under_way.get(claim.payment_id)) and open_call.claim is claim:
            del self._under_way[claim.payment_id]
        self._heard[claim.payment_id, claim.seq] = (process, self._world.now_us())

    def restored(self) -> None:
        """A backup was put back: its numbers are given again."""
        self._sent.clear()
        self._heard.clear()
        self._requests.clear()
        self._under_way.clear()

    def unrecorded(self, p: Payment) -> list[int]:
        """Steps whose answer a process heard that lived on, awake, for as long as it has to try to record it."""
        found, o = [], self._world.options
        hindered = o.outages_of_store > 0 or o.deploys  # an older process cannot add to a newer row
        for s in p.steps():
            process, at_us = self._heard.get((p.id, s.seq), (None, 0))
            if s.outcome is None and process is not None and not hindered:
                lived = process.died_us or self._world.now_us()
                if lived > at_us + RECORDED_US and process.frozen_until_us < at_us:
                    found.append(s.seq)
        return found

    async def _stored(self, p: Payment, request: StoredRequest, body: bytes) -> bytes:
        """The body as it must be on record: what is sent, or what becomes that with the account's secret in it (Signs)."""
        account = self._world.accounts[request.account]
        if not hasattr(account.adapter, "authenticate_body") or not request.body_sha256:
            return body
        place = (p.id, request.body_sha256)
        kept: bytes = (await self._world.reader().bodies([place])).get(place, b"")
        plain = HttpRequest(method=request.method, path=request.path, headers=request.headers, body=kept)
        signed = cast("Signs", account.adapter).authenticate_body(plain, account.credentials)
        return kept if signed == body else body

    def _bytes(self, p: Payment, part: Attempt | Operation, step: Step, request: StoredRequest, body: bytes) -> list[str]:
        """I8: what leaves is what was recorded, and what was recorded is what was first sent."""
        if step.kind == "read":
            return []
        if step.request != request or (body and request.body_sha256 != digest(body)):
            return ["I8: other bytes than those on record"]
        name = f"attempt {part.n}" if isinstance(part, Attempt) else f"operation {part.n}"
        first = self._requests.setdefault((p.id, name, SAME_AS.get(step.kind, step.kind)), request)
        return [] if first == request else ["I8: sent again with other bytes"]

    def _place(self, p: Payment, part: Attempt | Operation, request: StoredRequest) -> list[str]:
        """Nothing is sent to another place, or in another name, than the attempt was made with."""
        a = part if isinstance(part, Attempt) else p.attempts[part.attempt]
        there = (request.account, request.base_url, request.credential_id, request.mode)
        adapter, host = self._world.accounts[a.account].adapter, a.base_url
        if hasattr(adapter, "base_url_of"):
            host = cast("Moves", adapter).base_url_of(host, request.path)
        return [] if there == (a.account, host, a.credential_id, p.mode) else ["R7: sent to another account"]

    def _served(self, p: Payment, part: Attempt | Operation) -> list[str]:
        """An account that is somebody else's has no part in it."""
        a = part if isinstance(part, Attempt) else p.attempts[part.attempt]
        mine = self._world.accounts[a.account].merchants
        return [] if mine is None or p.merchant_id in mine else [f"sent to {a.account}, which is not {p.merchant_id}'s"]

    def _lease(self, p: Payment, part: Attempt | Operation, step: Step) -> list[str]:
        """A lease outlasts its call, or a second worker comes while the first one is still talking."""
        a = part if isinstance(part, Attempt) else p.attempts[part.attempt]
        ends = step.send_by_us + a.terms.call_timeout_ms * 1000
        return [] if step.lease_until_us >= ends else ["I10: the lease is shorter than the call"]

    def _time(self, claim: Claim) -> list[str]:
        """A read may be late: what it shows speaks about nothing that was sent after it began."""
        after = self._world.now_us() - claim.at_us
        return [] if after <= LATE_US or claim.kind == "read" else [f"R7: left {after / S:.1f} s after its claim"]

    def _alone(self, process: "Process", claim: Claim) -> list[str]:
        """I10: one call of a payment at a time, as long as all clocks are right and nobody sleeps."""
        world, other = self._world, self._under_way.get(claim.payment_id)
        if other is None or other.claim.seq == claim.seq or not other.process.alive or any(m.offset_us for m in world.machines):
            return []
        slept = other.process.frozen_until_us > other.claim.at_us or process.frozen_until_us > claim.at_us
        return [] if slept else [f"I10: while a {other.claim.kind} of {other.process.machine.name} is under way"]

    def _allowed(self, process: "Process", part: Attempt | Operation, claim: Claim) -> list[str]:
        """Nothing new begins at a drained account, where the registry answers."""
        world = self._world
        if not isinstance(part, Attempt) or claim.kind not in ("create", "fire") or world.registry_fails():
            return []
        since = world.watch.drained.get(part.account)
        asleep = since is not None and process.frozen_until_us > since
        return [] if since is None or asleep or claim.at_us <= since + NOTICED_US else ["begun at a drained account"]

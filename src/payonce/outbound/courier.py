"""The courier: turns notices into deliveries, and tries each delivery until its endpoint took it or its tries are over: at
least once, in no promised order.

    notice (written with the payment) -> deliveries, one per event and endpoint -> claim, project, sign, POST, settle

Every step may be done twice and stopped anywhere: what is not settled is due again. A delivery is claimed by moving its due
time behind the end of the call before the call begins, so that two processes seldom send the same.
"""

from collections.abc import Callable, Sequence
from typing import Final

from msgspec.structs import replace

from payonce.core import ids, news
from payonce.core.actors import actor as by
from payonce.core.errors import InvariantViolated, NewerSchema, Refused, StoreUnavailable
from payonce.core.retry import DAY_US, SECOND_US
from payonce.mail import Delivery, Outbox, Waiting
from payonce.merchants.journal import Journal
from payonce.ports import Clock, Entropy, Fed, Scope, Store, Wake
from payonce.shown.news import TEST_TYPE
from payonce.telemetry import get_logger

from . import endpoints as places
from . import schedule, signing, telling
from .endpoints import Endpoint, Endpoints, Recovery
from .sending import Sender, Sent
from .turns import Turns

ACTOR: Final = "courier"
NOTICE: Final = ids.NOTICE
DELIVERY: Final = telling.PREFIX
WORK: Final = (NOTICE, DELIVERY, places.PREFIX)  # how the ids begin that ``resolve`` is for
LEASE_MARGIN_MS: Final = 5_000  # from the end of a call to the end of its claim
AT_ONCE: Final = 16  # deliveries of one process at a time, where nothing else is configured
MERCHANT_PART: Final = 2  # a merchant has at most one in so many of them: slow endpoints of one keep no other waiting
RACES_MAX: Final = 10
RECORD_TRIES: Final = 5  # how often an outcome is written down when the store does not take it
RECORD_PAUSE_S: Final = 0.2
NOTICE_LATER_US: Final = 300 * SECOND_US  # a notice of a payment that cannot be read
KEEP_US: Final = 30 * DAY_US  # how long a delivery is kept that is done with
FORGET_MAX: Final = 100  # removed at once
PAGE: Final = 100  # places of the feed, in a recovery
RECOVER_S: Final = 10  # of one go at a recovery; the rest is a worker's
FEED_LAG_US: Final = 15 * SECOND_US  # so late the feed may show an event
DELIVERED_LOOKED_AT: Final = 100

log = get_logger("courier")


class Courier:
    """See the module docstring. Any number of processes may share an outbox."""

    def __init__(
        self,
        outbox: Outbox,
        store: Store,
        endpoints: Endpoints,
        sender: Sender,
        journal: Journal,
        *,
        clock: Clock,
        entropy: Entropy,
        wake: Wake,
        timeout_ms: int,
        at_once: int = AT_ONCE,
    ) -> None:
        """``at_once``: how many deliveries the process makes at a time, of which a merchant gets a part at most."""
        self.told: Callable[[str], None] = _nobody  # what a try meant, for who counts
        self.outbox, self._store, self._endpoints, self._sender = outbox, store, endpoints, sender
        self._journal, self._clock, self._entropy, self._wake = journal, clock, entropy, wake
        self._lease_us = (timeout_ms + LEASE_MARGIN_MS) * 1000
        self._turns = Turns(at_once // MERCHANT_PART)

    # --- what is due --------------------------------------------------------------------------------------------------

    async def notices_due(self, before_us: int, limit: int) -> tuple[Waiting, ...]:
        """Notices due before or at a time, by the ids of their hints ("not_…"), earliest first."""
        return tuple(Waiting(ids.notice_id(w.id), w.due_us) for w in await self.outbox.notices(before_us, limit))

    async def due(self, before_us: int, limit: int) -> tuple[Waiting, ...]:
        """All that ``resolve`` is for and that is due before or at a time, earliest first: recoveries that go on ("whe_…"),
        notices ("not_…") and deliveries ("dlv_…"); at most ``limit`` of each. Raises StoreUnavailable, NewerSchema."""
        rows = [
            Waiting(e.id, e.recovery.due_us)
            for e in (await self._endpoints.known()).values()
            if e.recovery and e.state == "enabled"
        ]
        rows = sorted((w for w in rows if w.due_us <= before_us), key=lambda w: w.due_us)[:limit]
        rows += [*await self.notices_due(before_us, limit), *await self.outbox.due(before_us, limit)]
        return tuple(sorted(rows, key=lambda w: (w.due_us, w.id)))

    async def resolve(self, id: str) -> None:
        """Do what is due for one of them. Never raises for what stores and networks can do: then it stays due."""
        try:
            if id.startswith(NOTICE):
                await self._notice("pay_" + id.removeprefix(NOTICE))
            elif id.startswith(DELIVERY):
                await self._delivery(id)
            elif id.startswith(places.PREFIX):
                await self._recover(id)
        except StoreUnavailable as error:
            log.warning("store unavailable, it stays due", id=id, error=str(error))
        except (NewerSchema, InvariantViolated) as error:  # of the endpoints: no delivery can be decided
            log.error("webhooks cannot be delivered, they stay due", id=id, error=str(error))  # noqa: TRY400

    # --- notices ------------------------------------------------------------------------------------------------------

    async def _notice(self, payment_id: str) -> None:
        for _ in range(RACES_MAX):
            first = await self.outbox.noticed(payment_id)
            if first is None:
                return
            try:
                entries = await telling.history(self._store, payment_id)
                told = [n for n in news.of_history(entries) if n.seq >= first]
            except (NewerSchema, InvariantViolated) as error:
                log.error("a payment's news cannot be read now", payment_id=payment_id, error=str(error))  # noqa: TRY400
                entries = ()
            now = self._clock.now_us()
            if not entries:  # or a row that came back without its past: its notice stays
                await self.outbox.put_off(payment_id, now + NOTICE_LATER_US)
                return
            known = (await self._endpoints.known()).values()  # after the history: who counts for its last event is among them
            made = telling.deliveries(told, [e for e in known if e.state == "enabled"], now)
            if await self.outbox.hand_over(payment_id, entries[-1].envelope.seq, made):
                self._hint(made)
                return

    def _hint(self, made: Sequence[Delivery]) -> None:
        for delivery in made:
            self._wake.send(delivery.id)

    # --- deliveries ---------------------------------------------------------------------------------------------------

    async def _delivery(self, id: str) -> None:
        d, now = await self.outbox.get(id), self._clock.now_us()
        if d is None or d.state != "pending" or d.due_us is None or d.due_us > now:
            return
        endpoint = await self._endpoint_of(d)
        if endpoint is None or (endpoint.state == "disabled" and d.type != TEST_TYPE):
            why = "its endpoint was removed" if endpoint is None else "its endpoint is disabled"
            await self.outbox.settle(replace(d, state="canceled", said=why, due_us=None))
            return
        failing = endpoint.failing_since_us > 0
        whose = f"{d.mode}/{d.merchant_id}"
        if not self._turns.enter(endpoint.id, whose, failing=failing):
            await self.outbox.settle(replace(d, due_us=self._turns.turn_us(endpoint.id, whose, now, failing=failing)))
            return
        began_us = self._clock.monotonic_us()
        try:
            await self._try(d, endpoint)
        finally:
            self._turns.leave(endpoint.id, whose, self._clock.monotonic_us() - began_us, self._clock.now_us())

    async def _endpoint_of(self, d: Delivery) -> Endpoint | None:
        """As it is known; whether it is gone or disabled is not decided by what is only remembered."""
        for fresh in (False, True):
            found = (await self._endpoints.known(fresh=fresh)).get(d.endpoint_id)
            if found is not None and found.state == "enabled":
                break
        return found if found is not None and found.scope == Scope(d.merchant_id, d.mode) else None

    async def _try(self, d: Delivery, endpoint: Endpoint) -> None:
        """Claim, sign, send, settle."""
        try:
            body, secrets = await telling.body(self._store, d), self._endpoints.secrets(endpoint)
        except (NewerSchema, InvariantViolated, Refused) as error:
            await self._later(d, error.detail if isinstance(error, Refused) else "the payment cannot be read now")
            return
        if body is None:
            await self._later(d, "the event is not in the payment's history")
            return
        if not await self.outbox.settle(replace(d, due_us=self._clock.now_us() + self._lease_us)):
            return  # another process has it
        headers = signing.headers(d.event_id, self._clock.now_us(), body, secrets)
        sent = await self._sender.post(endpoint.url, {**headers, "content-type": "application/json"}, body)
        await self._settle(replace(d, version=d.version + 1), endpoint, sent)

    async def _later(self, d: Delivery, why: str) -> None:
        """It cannot be told now; no try is spent on it, and it is never given up."""
        log.error("a webhook cannot be told now, it stays due", delivery=d.id, payment_id=d.payment_id, why=why)
        due_us = schedule.unreadable_until_us(d.created_us, self._clock.now_us())
        await self.outbox.settle(replace(d, said=why[:300], due_us=due_us))

    async def _settle(self, d: Delivery, endpoint: Endpoint, sent: Sent) -> None:
        """Write the outcome down. An endpoint is given up before that: when we end in between, the delivery is tried once
        more."""
        now = self._clock.now_us()
        verdict = schedule.after(d, sent, now, self._entropy.bits(schedule.JITTER_BITS))
        log.info("webhook", delivery=d.id, endpoint=endpoint.id, type=d.type, means=verdict.means, status=sent.status)
        self.told(verdict.means)
        if verdict.means == "gone":
            await self._give_up(endpoint, "it answered 410 Gone")
        elif verdict.means == "exhausted" and d.type != TEST_TYPE and await self._dead(endpoint.id, now):
            await self._give_up(endpoint, "nothing got through for about three days")
        for left in reversed(range(RECORD_TRIES)):
            try:
                await self.outbox.settle(verdict.delivery)
            except StoreUnavailable:
                if not left:
                    raise
                await self._clock.sleep(RECORD_PAUSE_S)
            else:
                break
        if verdict.means == "delivered" and endpoint.failing_since_us:
            await self._endpoints.note(endpoint, failing_since_us=0)
        elif verdict.means == "again" and not endpoint.failing_since_us:
            await self._endpoints.note(endpoint, failing_since_us=now)

    async def _dead(self, endpoint_id: str, now_us: int) -> bool:
        """Nothing got through for as long as a delivery is tried."""
        endpoint = (await self._endpoints.known(fresh=True)).get(endpoint_id)
        if endpoint is None or endpoint.state == "disabled" or not endpoint.failing_since_us:
            return False
        if now_us - endpoint.failing_since_us < schedule.DISABLE_AFTER_US:
            return False
        page = await self.outbox.list(endpoint.scope, DELIVERED_LOOKED_AT, endpoint_id=endpoint_id, state="delivered")
        return all(d.last_us < endpoint.failing_since_us for d in page.deliveries)

    async def _give_up(self, endpoint: Endpoint, reason: str) -> None:
        """Disable it; its other deliveries are canceled when they are due."""
        try:
            await self._endpoints.disable(endpoint.scope, endpoint.id, reason=reason, actor=by(ACTOR))
        except Refused:
            return  # it is not there any more
        log.error("webhook endpoint disabled", endpoint=endpoint.id, merchant_id=endpoint.merchant_id, reason=reason)

    # --- for merchants ------------------------------------------------------------------------------------------------

    async def replay(self, scope: Scope, delivery_id: str, *, actor: str, request_id: str = "", reason: str = "") -> Delivery:
        """Deliver it again, whatever became of it, with all its tries before it. ``reason`` is for the journal.
        Raises Refused ``not_found`` and ``endpoint_refused`` (its endpoint is disabled), and StoreUnavailable."""
        for _ in range(RACES_MAX):
            d = await self.outbox.get(delivery_id)
            if d is None or Scope(d.merchant_id, d.mode) != scope:
                break
            endpoint = await self._endpoints.get(scope, d.endpoint_id)
            if endpoint is None:
                break
            if endpoint.state == "disabled":
                raise Refused("endpoint_refused", "The delivery's endpoint is disabled: enable it first.")
            await self._write("delivery.replayed", d.id, scope, actor, request_id, **({"reason": reason} if reason else {}))
            if (again := await self._reopen(d)) is not None:
                return again
        else:
            raise StoreUnavailable("The delivery is being written by others all the time. Nothing was changed; try again.")
        raise Refused("not_found", f"There is no delivery {delivery_id[:40]} in {scope.mode} mode.")

    async def test(self, scope: Scope, endpoint_id: str, *, actor: str, request_id: str = "") -> Delivery:
        """Send an event of type ``webhook.test``, once, also to an endpoint that is disabled. Raises Refused ``not_found``,
        and StoreUnavailable."""
        endpoint = await self._require(scope, endpoint_id)
        now = self._clock.now_us()
        event_id = ids.new_id("evt_", now, self._entropy.bits(ids.RANDOM_BITS)) + "000000"
        await self._write("endpoint.tested", endpoint_id, scope, actor, request_id)
        d = telling.test_delivery(endpoint, event_id, now)
        await self.outbox.add(d)
        self._hint([d])
        return d

    async def recover(self, scope: Scope, endpoint_id: str, since_us: int, *, actor: str, request_id: str = "") -> int:
        """Deliver all news since a time that was not delivered to the endpoint: what it never had, and what failed or was
        canceled. How many deliveries were made or opened again by now; a long range is gone on with by the workers. Asking
        again makes none twice. Raises Refused ``not_found``, ``endpoint_refused`` (disabled), and StoreUnavailable."""
        endpoint, now = await self._require(scope, endpoint_id), self._clock.now_us()
        recovery = Recovery(since_us=since_us, until_us=max(now, endpoint.active_us) + FEED_LAG_US, due_us=now)
        await self._endpoints.recovering(scope, endpoint_id, recovery, actor=actor, request_id=request_id)
        return await self._recover(endpoint_id)

    async def _require(self, scope: Scope, endpoint_id: str) -> Endpoint:
        endpoint = await self._endpoints.get(scope, endpoint_id)
        if endpoint is None:
            raise Refused("not_found", f"There is no webhook endpoint {endpoint_id[:40]} in {scope.mode} mode.")
        return endpoint

    async def _write(self, what: str, subject: str, scope: Scope, actor: str, request_id: str, **data: str) -> None:
        whose = {"merchant_id": scope.merchant_id, "mode": scope.mode}
        await self._journal.write(what, subject, actor=actor, request_id=request_id, data=data, **whose)

    async def _reopen(self, d: Delivery) -> Delivery | None:
        now = self._clock.now_us()
        again = replace(d, state="pending", tries=0, due_us=now)
        if not await self.outbox.settle(again):
            return None
        self._hint([again])
        return replace(again, version=d.version + 1)

    # --- recoveries ---------------------------------------------------------------------------------------------------

    async def _recover(self, endpoint_id: str) -> int:
        """Go on with a recovery, page by page, for RECOVER_S at most; how many deliveries it made. Its place is written down
        after each page, so that whoever goes on does few again, which makes nothing twice."""
        made, until = 0, self._clock.monotonic_us() + RECOVER_S * SECOND_US
        while self._clock.monotonic_us() < until:
            endpoint = (await self._endpoints.known(fresh=True)).get(endpoint_id)
            going = endpoint.recovery if endpoint else None
            now = self._clock.now_us()
            if endpoint is None or going is None or going.due_us > now or endpoint.state == "disabled":
                return made
            page = await self._store.feed(endpoint.scope, PAGE, going.cursor or None, going.since_us)
            after: Recovery | None = replace(going, cursor=page.next)
            try:
                made += await self._page(endpoint, page.entries)
            except NewerSchema:
                log.error("a recovery meets rows of a newer version, it goes on later", endpoint=endpoint_id)  # noqa: TRY400
                await self._endpoints.note(endpoint, recovery=replace(going, due_us=now + NOTICE_LATER_US))
                return made
            if not page.more:
                after = replace(going, cursor=page.next, due_us=going.until_us) if now < going.until_us else None
            if not await self._endpoints.note(endpoint, recovery=after):
                return made  # begun anew, or another process goes on with it
        return made

    async def _page(self, endpoint: Endpoint, entries: Sequence[Fed]) -> int:
        made = 0
        for payment_id in dict.fromkeys(fed.payment_id for fed in entries):
            seqs = {fed.seq for fed in entries if fed.payment_id == payment_id}
            try:
                told = [n for n in news.of_history(await telling.history(self._store, payment_id)) if n.seq in seqs]
            except InvariantViolated as error:
                log.error("a payment's history is broken, its news are not recovered", payment_id=payment_id, error=str(error))  # noqa: TRY400
                continue
            for d in telling.deliveries(told, [endpoint], self._clock.now_us(), all=True):
                made += await self._open(d)
        return made

    async def _open(self, d: Delivery) -> bool:
        """A delivery that is not there yet, or had no success."""
        if await self.outbox.add(d):
            self._hint([d])
            return True
        for _ in range(RACES_MAX):
            known = await self.outbox.get(d.id)
            if known is None or known.state in ("pending", "delivered"):
                return False
            if await self._reopen(known):
                return True
        return False

    # --- order --------------------------------------------------------------------------------------------------------

    async def tidy(self) -> bool:
        """Remove some deliveries that are long done with; True when there may be more. Raises StoreUnavailable."""
        gone = await self.outbox.forget(self._clock.now_us() - KEEP_US, FORGET_MAX)
        if gone:
            log.info("old deliveries removed", count=gone)
        return gone == FORGET_MAX


def _nobody(_means: str) -> None:
    """Nobody counts."""

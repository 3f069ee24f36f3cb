"""Webhooks: which payment each is about; and that neither order, number nor accidents matter."""

import asyncio
import itertools

import pytest
from msgspec.structs import replace

from payonce.core import ids
from payonce.core.errors import NewerSchema, StoreUnavailable
from payonce.core.events import Asked, Hinted
from payonce.core.payment import Payment
from payonce.engine import Engine, Policy, Ports
from payonce.inbox import FORGET_MAX, KEEP_US, RETRIES_S, Receiver, replay
from payonce.mail import Webhook
from payonce.ports import Ref
from payonce.stores.memory import MemoryInbox
from payonce.testing.store_changes import grow, payment_id, put

from .api.service import CountingEntropy, Echo
from .hearing import SECOND_US, Room, event, using


def reference(p: Payment) -> str:
    return p.attempts[0].reference


def test_it_is_found_by_our_reference_before_any_id_is_known() -> None:
    """The attempt was sent and nothing came back yet: its reference leads to the payment, whose read is pulled forward."""

    async def check(room: Room) -> None:
        p = await room.pay()
        assert await room.store.find_ref("order_9") == ()
        id = await room.hear(event(references=["unknown", reference(p)], refs=["order_9"]))
        await room.work()
        assert room.hints == [(p.id, id)]
        row = await room.row(id)
        assert (row.state, row.payment_ids, row.due_us, row.tries) == ("matched", (p.id,), None, 0)

    using(check)


def test_it_is_found_by_the_providers_ids() -> None:
    """Without our reference: by an id that an answer named, at this account only."""

    async def check(room: Room) -> None:
        p = await room.pay(1, refs=(Ref("hearing", "provider_ref", "ch_1"),))
        await room.pay(2, "other", refs=(Ref("other", "provider_ref", "ch_1"),))
        await room.hear(event(refs=["ch_0", "ch_1"]))
        await room.work()
        assert [hint for hint, _ in room.hints] == [p.id]

    using(check)


async def refunded(room: Room) -> Payment:
    """A paid payment of which money is given back, under a name of ours and one of the provider's."""
    p = await room.pay(done=True)
    asked = Asked(
        kind="refund",
        number=2,
        operation_id=ids.operation_id(p.id, 2, p.created_us),
        amount_minor=p.amount_minor,
        attempt=0,
        reference=ids.reference(p.id, 2, 0),
    )
    return await put(room.store, grow(p, asked, refs=(Ref("refund", "provider_ref", "rfnd_1"),)))


@pytest.mark.parametrize("by", ["reference", "id"])
@pytest.mark.parametrize(("at", "state"), [("hearing", "matched"), ("other", "parked")])
def test_a_refund_is_found_too(by: str, at: str, state: str) -> None:
    """By the reference of the refund or the provider's id of it; from another account than the charge's it is nobody's."""

    async def check(room: Room) -> None:
        p = await refunded(room)
        by_us, by_them = ([p.operations[1].reference], []) if by == "reference" else ([], ["rfnd_1"])
        id = await room.hear(event(references=by_us, refs=by_them), at)
        await room.work()
        assert (await room.row(id)).state == state
        assert [hint for hint, _ in room.hints] == [p.id] * (state == "matched")

    using(check)


@pytest.mark.parametrize("spoil", ["another account", "another attempt", "no such payment", "not ours"])
def test_what_does_not_fit_is_nobodys(spoil: str) -> None:
    """A reference counts only for an attempt that has it, at the account for which the webhook came."""

    async def check(room: Room) -> None:
        p = await room.pay(at="other" if spoil == "another account" else "hearing")
        named = {
            "another attempt": ids.reference(p.id, 1, 7),
            "no such payment": ids.reference(payment_id(99), 1, 0),
            "not ours": reference(p).upper() + "X",
        }.get(spoil, reference(p))
        id = await room.hear(event(references=[named]))
        await room.work()
        assert (room.hints, (await room.row(id)).state) == ([], "parked")

    using(check)


def test_one_about_several_payments_reaches_all() -> None:
    """A batch: each payment that it names is read; a second name of one changes nothing."""

    async def check(room: Room) -> None:
        paid = [await room.pay(n) for n in (1, 2, 3)]
        id = await room.hear(event(references=[reference(p) for p in (*paid, paid[0])]))
        await room.work()
        assert [hint for hint, _ in room.hints] == [p.id for p in paid]
        assert (await room.row(id)).payment_ids == tuple(p.id for p in paid)

    using(check)


def test_one_that_comes_before_its_payment_waits_for_it() -> None:
    """Parked for 5 s; when the payment is there by then, it is matched, once."""

    async def check(room: Room) -> None:
        id = await room.hear(event(references=[ids.reference(payment_id(1), 1, 0)]))
        await room.work()
        row = await room.row(id)
        assert (row.state, row.tries, row.due_us) == ("parked", 1, room.clock.at_us + 5 * SECOND_US)
        p = await room.pay()
        await room.work()
        await room.receiver.resolve(id)  # told before its time: it waits
        assert room.hints == []
        room.clock.at_us += 5 * SECOND_US
        await room.work()
        await room.work()
        assert ([hint for hint, _ in room.hints], (await room.row(id)).state) == ([p.id], "matched")

    using(check)


def test_one_without_its_payment_is_looked_up_for_three_days_and_then_kept() -> None:
    """After 5 s, 1 min, 10 min, 1 h, then each 6 h for 3 days; then it is unmatched until somebody replays it."""

    async def check(room: Room) -> None:
        id = await room.hear(event(refs=["ch_unknown"]))
        waits = []
        await room.work()
        while (due_us := (await room.row(id)).due_us) is not None:
            assert (await room.row(id)).state == "parked"
            waits.append((due_us - room.clock.at_us) // SECOND_US)
            room.clock.at_us = due_us
            await room.work()
        assert waits == [5, 60, 600, 3600, *[21_600] * 12] == list(RETRIES_S)
        assert sum(waits[4:]) == 3 * 86_400
        assert (await room.row(id)).state == "unmatched"
        assert await room.inbox.due(2**62, 10) == ()
        assert await replay(room.inbox, id, room.clock.at_us)
        row = await room.row(id)
        assert (row.state, row.tries, row.due_us) == ("new", 0, room.clock.at_us)
        await room.work()
        assert (await room.row(id)).due_us == room.clock.at_us + 5 * SECOND_US
        assert not await replay(room.inbox, "wh_unknown", room.clock.at_us)

    using(check)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_any_order_and_number_of_deliveries_ends_the_same(order: tuple[int, ...]) -> None:
    """Created, paid, refunded: reordered, doubled, with work done in between or only at the end."""

    async def check(room: Room) -> None:
        p = await room.pay()
        bodies = [event(f"evt_{n}", kind=kind, references=[reference(p)]) for n, kind in enumerate(("made", "paid", "back"))]
        for n in order:
            await room.hear(bodies[n])
            if n == order[0]:
                await room.work()
            await room.hear(bodies[order[0]])
        await room.work()
        rows = sorted((await room.inbox.list(10)).webhooks, key=lambda w: w.event)
        assert [(w.event, w.state, w.payment_ids) for w in rows] == [(f"evt_{n}", "matched", (p.id,)) for n in range(3)]
        assert [hint for hint, _ in room.hints] == [p.id] * 3
        assert sum(w.deliveries for w in rows) == 6

    using(check)


# --- accidents --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [StoreUnavailable("busy"), NewerSchema("schema 9")], ids=["store away", "newer row"])
def test_what_could_not_be_hinted_stays_due(error: Exception) -> None:
    """The webhook is as it was, and the next look finishes it; no try is counted."""

    async def check(room: Room) -> None:
        p = await room.pay()
        id = await room.hear(event(references=[reference(p)]))
        room.fail = [error]
        before = await room.row(id)
        await room.work()
        assert await room.row(id) == before
        await room.work()
        assert ((await room.row(id)).state, room.hints) == ("matched", [(p.id, id)])

    using(check)


class DyingInbox(MemoryInbox):
    """The process dies before it writes what became of a webhook."""

    deaths = 1

    async def settle(self, webhook: Webhook) -> bool:
        if self.deaths:
            self.deaths -= 1
            raise asyncio.CancelledError
        return await super().settle(webhook)


def test_a_death_between_hint_and_mark_hints_again() -> None:
    """Doubled work: a second read is the worst of it, and the row ends matched."""

    async def check(room: Room) -> None:
        room.inbox = DyingInbox()
        room.receiver = room.another()
        p = await room.pay()
        id = await room.hear(event(references=[reference(p)]))
        with pytest.raises(asyncio.CancelledError):
            await room.work()
        assert (await room.row(id)).state == "new"
        await room.work(room.another())
        assert room.hints == [(p.id, id)] * 2
        assert (await room.row(id)).state == "matched"

    using(check)


def test_two_workers_on_one_webhook_do_no_harm() -> None:
    """Both may hint; one of them marks it, and it is matched once."""

    async def check(room: Room) -> None:
        p = await room.pay()
        id = await room.hear(event(references=[reference(p)]))
        ingest, meet = room._ingest, asyncio.Barrier(2)

        async def together(payment_id: str, ref: str = "", *, actor: str) -> bool:
            await meet.wait()
            return await ingest(payment_id, ref, actor=actor)

        workers = [
            Receiver(room.inbox, room.store, room.accounts, together, clock=room.clock, wake=room.wake) for _ in range(2)
        ]
        await asyncio.gather(*(w.resolve(id) for w in workers))
        row = await room.row(id)
        assert (row.state, row.version, room.hints) == ("matched", 2, [(p.id, id)] * 2)

    using(check)


def test_a_worker_that_found_nothing_does_not_undo_a_match() -> None:
    """It looked before the payment was there and writes after another one matched it: its write is refused."""

    async def check(room: Room) -> None:
        id = await room.hear(event(references=[ids.reference(payment_id(1), 1, 0)]))
        seen = await room.row(id)
        p = await room.pay()
        await room.work()
        assert not await room.inbox.settle(replace(seen, state="parked", tries=1, due_us=room.clock.at_us))
        row = await room.row(id)
        assert (row.state, row.payment_ids, row.due_us) == ("matched", (p.id,), None)

    using(check)


def test_old_ones_that_are_matched_are_removed_in_small_batches() -> None:
    """After 30 days, a hundred at a time; whatever still waits for its payment stays."""

    async def check(room: Room) -> None:
        p = await room.pay()
        for n in range(FORGET_MAX + 1):
            await room.hear(event(f"evt_{n}", references=[reference(p)]))
        waiting = await room.hear(event("evt_waiting", refs=["ch_unknown"]))
        while due := await room.inbox.due(room.clock.at_us, 200):
            await asyncio.gather(*(room.receiver.resolve(each.id) for each in due))
        assert not await room.receiver.tidy()
        room.clock.at_us += KEEP_US + 1
        assert await room.receiver.tidy()
        assert await room.inbox.counts() == {"matched": 1, "parked": 1}
        assert not await room.receiver.tidy()
        assert [w.id for w in (await room.inbox.list(10)).webhooks] == [waiting]

    using(check)


def test_the_engine_takes_it_as_a_hint_only() -> None:
    """What the real engine makes of it: one Hinted event by actor webhook, its payment woken, and no other change."""

    async def check(room: Room) -> None:
        p = await room.pay()
        ports = Ports(store=room.store, transport=Echo(), clock=room.clock, entropy=CountingEntropy(), wake=room.wake)
        engine = Engine(ports, room.accounts, Policy())
        receiver = Receiver(room.inbox, room.store, room.accounts, engine.ingest, clock=room.clock, wake=room.wake)
        id = await room.hear(event(references=[reference(p)], refs=["ch_7"], status="paid", amount=p.amount_minor))
        await room.work(receiver)
        (last,) = await room.store.history(p.id, after_seq=p.version)
        assert (last.envelope.data, last.envelope.actor) == (Hinted(attempt=0, ref=id), "webhook")
        after = await room.store.get(p.id)
        assert after is not None
        assert (after.status, after.captured_minor) == (p.status, 0)
        assert room.wake.ids == [id, p.id]

    using(check)

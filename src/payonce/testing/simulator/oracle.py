"""What must hold when a world is over. The witness is the providers' ledger and what merchants were answered, never our
store; the order of things is judged by ``payonce.testing.judge``, which never asks the machine for its own verdict. The
numbers I1 to I15 are those of the invariants in docs/guarantees.md."""

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Struct

from payonce.core.apply import apply
from payonce.core.events import Entry, digest, unseal
from payonce.core.outcome import Authorized, Captured, Found, Mismatch, Succeeded
from payonce.core.payment import FINAL, Attempt, Payment
from payonce.testing.judge import UNPROVEN, may_end, net_charges, of_payment, wrong_with_history, wrong_with_holds

from .afterwards import asked_refunds, judge_action, judge_books, judge_holds, judge_operations, judge_webhooks
from .answers import judge_lists, judge_refusals, judge_row
from .cloud_oracle import judge_cloud
from .options import ACTIONS, S
from .tidings import judge_tidings

if TYPE_CHECKING:
    from .world import World

ENTRIES_MAX: Final = 5_000  # of one payment: more is a history without end
KEY_WINDOW_US: Final = 24 * 3600 * S  # of the keyed vendor
# the vendor takes back a documented, final refusal
LYING_TOKENS: Final = ("tok_late_success", "tok_late_then_ok", "tok_late_then_decline")
AT_ONCE_US: Final = 60 * S  # within which a good card is charged where nothing goes wrong
CALLS_MAX: Final = 400  # for one payment: more is a storm
EYES: Final = ("restored_elsewhere", "given_back")  # reasons that are a person's, whatever the ledger says
Movements = list[dict[str, Any]]


class Violation(Struct, frozen=True):
    rule: str
    payment: str = ""


class Verdicts(Struct, frozen=True, kw_only=True):
    """What a world came to."""

    violations: tuple[Violation, ...] = ()
    statuses: dict[str, int] = {}
    settled_us: int = 0
    edges: dict[str, int] = {}  # "PENDING Observed SUCCESS" -> how often
    seen: dict[str, int] = {}  # what histories and ledger show of interest
    sends: int = 0
    events: int = 0


async def judge(world: "World", settled_us: int) -> Verdicts:
    """Every payment that anybody was promised, against the ledger and its own history."""
    movements = [msgspec.to_builtins(m) for m in world.vendors.movements()]
    statuses, edges, seen = Counter[str](), Counter[str](), Counter[str]()
    events = 0
    for wrong in wrong_with_holds(movements):
        world.violate(f"a hold was misused: {wrong}")
    judge_books(world, movements)
    _judge_keys(world)
    await judge_webhooks(world)
    await judge_refusals(world)
    await judge_lists(world)
    await judge_tidings(world)
    if world.cloud is not None:
        await judge_cloud(world)
    ours = world.known_ids()
    for payment_id in ours:
        p = await world.payment(payment_id)
        if p is None:
            world.violate("I2: an acknowledged payment is not in the store", payment_id)
            continue
        statuses[p.status] += 1
        entries = [unseal(e.raw, e.hash) for e in await world.reader().history(p.id, 0, ENTRIES_MAX)]
        events += len(entries)
        _judge_history(world, p, entries, edges)
        await _judge_promise(world, p)
        await _judge_evidence(world, p)
        _judge_money(world, p, movements)
        _judge_ends(world, p, entries)
        await judge_row(world, p, entries, movements)
        judge_operations(world, p, movements)
        judge_holds(world, p, movements)
        judge_action(world, p)
        _look(p, of_payment(movements, payment_id), seen)
    strangers = {m["reference"][:20] for m in movements} - {i[4:] for i in ours}
    unknown = [i for i in sorted(strangers) if await world.payment(f"pay_{i}") is None]
    if unknown and not world.counts["restored"]:
        world.violate(f"money moved for payments that the store does not know: {unknown}")
    return Verdicts(
        violations=tuple(world.broken),
        statuses=dict(statuses),
        settled_us=settled_us,
        edges=dict(edges),
        seen=dict(seen),
        sends=world.sends,
        events=events,
    )


def _judge_keys(world: "World") -> None:
    """I6: a key is one payment and one request for ever."""
    for posted in world.merchants.posted:
        if len(set(posted.ids)) > 1:
            world.violate(f"I6: the key {posted.key} was answered with {len(set(posted.ids))} payments")
        if any(request != posted.accepted[0] for request in posted.accepted):
            world.violate(f"I6: two different requests were accepted under {posted.key}", posted.ids[0])
        if not posted.ids and not posted.refused:
            world.violate(f"I2: {posted.key} was never answered, although the faults stopped")


async def _judge_promise(world: "World", p: Payment) -> None:
    """What was accepted is what was asked for."""
    request = next(each.accepted[0] for each in world.merchants.posted if p.id in each.ids)
    details = msgspec.json.encode(request.details)
    asked = (request.amount_minor, request.currency, request.provider, digest(details))
    if (p.amount_minor, p.currency, p.provider, p.details_sha256) != asked:
        world.violate("I2: accepted is not what was asked for", p.id)
    kept = await world.reader().bodies([(p.id, p.details_sha256)])
    if kept.get((p.id, p.details_sha256)) != details:
        world.violate("I2: what the customer gave is not kept", p.id)
    if request.provider and any(a.account != request.provider for a in p.attempts):
        world.violate(f"sent to an account that was not asked for: {[a.account for a in p.attempts]}", p.id)


async def _judge_evidence(world: "World", p: Payment) -> None:
    """R10: what is on record as money is our money under our reference; and what was sent can be found and sent again."""
    ours, wanted = (p.amount_minor, p.currency, p.mode), set[tuple[str, str]]()
    for part in p.parts():
        for s in part.steps:
            if s.request is not None and s.request.body_sha256:
                wanted.add((p.id, s.request.body_sha256))
            for o in (s.outcome, *getattr(s.outcome, "tries", ())):
                if isinstance(o, Succeeded | Authorized | Captured) and _money(p, o) != ours:
                    world.violate(f"R10: step {s.seq} is believed with {o.amount_minor} {o.currency} {o.mode}", p.id)
                named = getattr(o, "reference", "")
                if isinstance(part, Attempt) and named and named != part.reference:
                    world.violate(f"R3: step {s.seq} rests on what is said about {named}", p.id)
    if world.counts["restored"] == 0 and (unheard := world.watch.unrecorded(p)):
        world.violate(f"answers were heard and not recorded: steps {unheard}", p.id)
    for a in p.attempts:
        for name in filter(None, (a.reference, a.container)):
            if p.id not in await world.reader().find_ref(name, a.account):
                world.violate(f"it cannot be found under {name} at {a.account}", p.id)
    if missing := wanted - (await world.reader().bodies(sorted(wanted))).keys():
        world.violate(f"I8: bodies that were sent are not kept: {len(missing)}", p.id)


def _money(p: Payment, o: Succeeded | Authorized | Captured) -> tuple[int, str, str]:
    """What it says, with the amount that a merchant captured standing for the payment's."""
    captured = {each.amount_minor for each in p.operations if each.kind == "capture"}
    partly = not isinstance(o, Authorized) and o.amount_minor in captured
    return (p.amount_minor if partly else o.amount_minor, o.currency, o.mode)


def _judge_history(world: "World", p: Payment, entries: list[Entry], edges: Counter[str]) -> None:
    """I4, I5, I10, I14: the chain folds to the row, and what is in it was allowed."""
    if len(entries) >= ENTRIES_MAX:
        world.violate("the history grows without end", p.id)
    for each in wrong_with_history(entries)[1]:
        world.violate(f"I5: {each}", p.id)
    before, folded = "", None  # type: str, Payment | None
    for entry in entries:
        folded = apply(folded, entry)
        edges[f"{before or '-'} {entry.envelope.kind} {folded.status}"] += before != folded.status
        before = folded.status
        if b"/sandbox/pay/" in entry.raw:
            world.violate(f"where the customer acts stands in the chain, in event {entry.envelope.seq}", p.id)
        if b"adapter bug" in entry.raw:
            world.violate(f"an exception in an adapter: {entry.raw.decode()[-200:]}", p.id)
    if folded != p:
        world.violate("I14: the row is not the fold of its history", p.id)


def _judge_money(world: "World", p: Payment, movements: Movements) -> None:
    """I1, I3, I15: at most one charge is kept, the status says which, and doubt is about something."""
    kept, ours = net_charges(movements, p.id, asked_refunds(p)), of_payment(movements, p.id)
    taken = [m for m in ours if m["kind"] in ("charge", "capture")]
    told = [f"{m['kind']} {m['amount']} {m['provider']}" for m in ours]
    lying = any(t in LYING_TOKENS for t in world.options.tokens)
    # a person was told, and there is a reason: a charge is not given back yet, or a backup had lost it
    surplus = [o for o in p.operations[1:] if o.kind == "reversal" and o.state in ("IN_DOUBT", "FAILED")]
    alarm = bool(p.attention) and (any(o.state == "IN_DOUBT" for o in p.operations[1:]) or p.attention in EYES)
    alarm |= p.attention == "reversal_unresolved" and bool(surplus)
    alarm |= p.attention == "amount_accepted"  # by a person who saw what was charged
    # a vendor that takes back its final word is watched for a while: for two minutes at a sandbox, which an hour of skew passes
    o = world.options
    unwatched = lying and (world.gone(p) or (o.terms == "sandbox" and (o.skew_s != 0 or o.jumps > 0)))
    if len(kept) > 1 and not alarm and not unwatched:
        world.violate(f"I1: charged {len(kept)} times: {told}", p.id)
    if len(taken) > 1 and not lying:
        world.violate(f"I1: charged {len(taken)} times, some of it given back: {told}", p.id)
    wanted = [o.amount_minor for o in p.operations if o.kind == "capture" and o.state == "SUCCEEDED"] or [p.amount_minor]
    exact = len(kept) == 1 and (kept[0]["amount"], kept[0]["currency"]) == (wanted[-1], p.currency)
    if p.status == "SUCCESS" and not exact and not alarm and not unwatched:
        world.violate(f"I3: SUCCESS, and the ledger says {told}", p.id)
    if p.status in FINAL and p.status != "SUCCESS" and kept and not alarm and not unwatched:
        world.violate(f"I3: {p.status}, and the ledger says {told}", p.id)
    if p.status == "IN_DOUBT" and exact and p.id not in world.lied_to and p.reason not in EYES and not world.gone(p):
        world.violate(f"I15: IN_DOUBT {p.reason}, though the ledger has exactly our charge, and could be read", p.id)


def _judge_ends(world: "World", p: Payment, entries: list[Entry]) -> None:
    """Where nothing but the card decides, it decides; a good one soon. Nothing storms."""
    if sum(s.kind != "read" for s in p.steps()) > CALLS_MAX or len(entries) > CALLS_MAX * 4:
        world.violate(f"I13: {len(entries)} events for one payment", p.id)
    request = next(each.accepted[0] for each in world.merchants.posted if p.id in each.ids)
    token = request.details.payment_method or "tok_ok"
    if not world.options.undisturbed or (world.options.attempts_max == 1 and token.endswith("then_ok")):
        return
    if p.status not in _ends(world, p, token):
        world.violate(f"{token} ended as {p.status} {p.reason} where nothing went wrong", p.id)
    rows = world.lived.get(p.id, [])
    took_us = next((r.updated_us for r in rows if r.status not in ("PENDING", "REQUIRES_ACTION")), 0) - p.created_us
    if token == "tok_ok" and took_us > AT_ONCE_US:  # noqa: S105
        world.violate(f"a good card took {took_us / S:.0f} s where nothing went wrong", p.id)


def _ends(world: "World", p: Payment, token: str) -> frozenset[str]:
    """What a card may come to, with what merchants and customers do."""
    ends = may_end(p, token)
    if p.capture_method == "manual" or any(o.kind == "void" for o in p.operations):
        ends |= {"CANCELED"}
    if token in UNPROVEN and any(o.kind == "void" for o in p.operations):
        ends |= {"IN_DOUBT"}  # after a void nothing is sent again that could show what became of the first send
    if token in UNPROVEN and world.options.hold_s:
        ends |= {"FAILED"}  # the hold lapsed meanwhile, and there was no further attempt
    if token in ACTIONS and world.options.acts:
        ends |= {"SUCCESS", "FAILED", "CANCELED"}
    return ends


def _look(p: Payment, ours: Movements, seen: Counter[str]) -> None:
    """What this payment went through, of what is easily missed."""
    steps = list(p.steps())
    seen["failover"] += len({a.account for a in p.attempts}) > 1
    seen["replay"] += any(s.kind == "replay" for s in steps)
    seen["fired again"] += any(sum(s.kind == "fire" for s in a.steps) > 1 for a in p.attempts)
    seen["closed"] += any(s.kind == "close" for s in steps)
    seen["left"] += any(a.left for a in p.attempts)
    seen["reversal"] += any(o.kind == "reversal" for o in p.operations)
    seen["several refunds"] += sum(o.kind == "refund" and o.state == "SUCCEEDED" for o in p.operations) > 1
    seen["captured in part"] += 0 < p.captured_minor < p.authorized_minor
    seen["hold lapsed"] += p.reason == "authorization_expired"
    seen["refund failed later"] += any(m["kind"] == "refund_failed" for m in ours)
    seen["action expired"] += p.reason == "expired"
    seen["voided before it was held"] += p.reason == "canceled"
    seen["refunded"] += any(m["kind"] == "refund" for m in ours)
    seen["late success"] += p.status == "SUCCESS" and len(p.attempts) > 1
    seen["mismatch"] += any(isinstance(s.outcome, Mismatch) for s in steps)
    seen["two charges, one given back"] += sum(m["kind"] in ("charge", "capture") for m in ours) > 1
    seen["found by a read"] += any(isinstance(s.outcome, Found) and bool(s.outcome.tries) for s in steps)
    seen["unanswered step"] += any(s.outcome is None for s in steps)
    seen["attention"] += bool(p.attention)
    seen["key outlived"] += any(_outlived(a) for a in p.attempts)


def _outlived(a: Attempt) -> bool:
    """It was still being looked at when the provider had forgotten its key."""
    fire = next((s for s in a.steps if s.kind == "fire"), None)
    return fire is not None and a.terms.keyed and fire.outcome is None and a.steps[-1].at_us > fire.at_us + KEY_WINDOW_US

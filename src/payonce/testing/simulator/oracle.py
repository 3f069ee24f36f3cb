"""What must hold, whatever happened. The witness is the providers' ledger and what merchants were answered, never our
store; the order of things is judged by ``payonce.testing.judge``, which never asks the machine for its own verdict.
The numbers I1 to I15 are those of the invariants in docs/guarantees.md."""

from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from payonce.adapter import READS_MAX
from payonce.core.apply import apply
from payonce.core.events import Asked, Hinted, Judged, Observed, Planned, digest, unseal
from payonce.core.outcome import Found, Mismatch
from payonce.core.payment import FINAL, Attempt, Payment, StoredRequest
from payonce.core.verdict import verdict
from payonce.testing.judge import net_charges, of_payment, wrong_with_history, wrong_with_holds

if TYPE_CHECKING:
    from .storage import Claim
    from .world import World

ENTRIES_MAX = 5_000  # of one payment: more is a history without end
LATE_US = 6_000_000  # of a first byte after its claim: the send window and a little
KEY_WINDOW_US = 24 * 3_600_000_000  # of the keyed vendor
LYING_TOKENS = ("tok_late_success",)  # the vendor takes back a documented, final refusal


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


async def check_first_byte(world: "World", host: str, claim: "Claim", request: StoredRequest, body: bytes) -> None:
    """R2, I7, I8: the step is on record, unanswered, with exactly these bytes, and was claimed just now."""
    now = world.now_us()
    p = await world.payment(claim.payment_id)
    step = next((s for s in p.steps() if s.seq == claim.seq), None) if p else None
    if step is None or step.outcome is not None:
        world.violate(f"I7: a {claim.kind} left {host} that is not on record, or was answered before", claim.payment_id)
        return
    if claim.kind != "read":
        if step.request != request or (body and request.body_sha256 != digest(body)):
            world.violate(f"I8: a {claim.kind} left with other bytes than those on record", claim.payment_id)
        first = world.bodies.get((claim.payment_id, request.body_sha256), body)
        if first != body:
            world.violate(f"I8: a {claim.kind} was sent again with other bytes", claim.payment_id)
    further = (READS_MAX - 1) * 60_000_000 if claim.kind == "read" else 0
    if now - claim.at_us > LATE_US + further:
        world.violate(f"R7: a {claim.kind} left {(now - claim.at_us) / 1e6:.1f} s after its claim", claim.payment_id)


async def judge(world: "World", settled_us: int) -> Verdicts:
    """Every payment that anybody was promised, against the ledger and its own history."""
    movements = [msgspec.to_builtins(m) for m in world.vendors.movements()]
    statuses, edges, seen = Counter[str](), Counter[str](), Counter[str]()
    events = 0
    for wrong in wrong_with_holds(movements):
        world.violate(f"a hold was misused: {wrong}")
    _judge_keys(world)
    ours = world.known_ids()
    for payment_id in ours:
        p = await world.payment(payment_id)
        if p is None:
            world.violate("I2: an acknowledged payment is not in the store", payment_id)
            continue
        statuses[p.status] += 1
        events += await _judge_history(world, p, edges)
        _judge_money(world, p, movements)
        _look(p, of_payment(movements, payment_id), seen)
    strangers = {m["reference"][:20] for m in movements} - {i[4:] for i in ours}
    unknown = [i for i in strangers if await world.payment(f"pay_{i}") is None]
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
    """I6: a key is one payment for ever."""
    for posted in world.merchants.posted:
        if len(set(posted.ids)) > 1:
            world.violate(f"I6: the key {posted.key} was answered with {len(set(posted.ids))} payments")
        if not posted.ids and not posted.refused:
            world.violate(f"I2: {posted.key} was never answered, although the faults stopped")


async def _judge_history(world: "World", p: Payment, edges: Counter[str]) -> int:
    """I4, I5, I10, I14: the chain folds to the row, and what is in it was allowed."""
    entries = list(await world.reader().history(p.id, 0, ENTRIES_MAX))
    if len(entries) >= ENTRIES_MAX:
        world.violate("the history grows without end", p.id)
    again = [unseal(e.raw, e.hash) for e in entries]
    _, wrong = wrong_with_history(again)
    for each in wrong:
        world.violate(f"I5: {each}", p.id)
    before, folded = "", None  # type: str, Payment | None
    for entry in again:
        folded = apply(folded, entry)
        edges[f"{before or '-'} {entry.envelope.kind} {folded.status}"] += before != folded.status
        before = folded.status
        if b"adapter bug" in entry.raw:
            world.violate(f"an exception in an adapter: {entry.raw.decode()[-200:]}", p.id)
    if folded != p:
        world.violate("I14: the row is not the fold of its history", p.id)
    return len(entries)


def _judge_money(world: "World", p: Payment, movements: list[dict[str, Any]]) -> None:
    """I1, I3: at most one charge is kept, and the status says which."""
    kept, ours = net_charges(movements, p.id), of_payment(movements, p.id)
    taken = [m for m in ours if m["kind"] in ("charge", "capture")]
    told = [f"{m['kind']} {m['amount']} {m['provider']}" for m in ours]
    lying = world.options.tokens and any(t in LYING_TOKENS for t in world.options.tokens)
    alarm = bool(p.attention)
    if len(kept) > 1 and not alarm:
        world.violate(f"I1: charged {len(kept)} times: {told}", p.id)
    if len(taken) > 1 and not lying:
        world.violate(f"I1: charged {len(taken)} times, some of it given back: {told}", p.id)
    exact = len(kept) == 1 and (kept[0]["amount"], kept[0]["currency"]) == (p.amount_minor, p.currency)
    if p.status == "SUCCESS" and not exact and not alarm:
        world.violate(f"I3: SUCCESS, and the ledger says {told}", p.id)
    if p.status in FINAL and p.status != "SUCCESS" and kept and not alarm:
        world.violate(f"I3: {p.status}, and the ledger says {told}", p.id)
    if p.status == "IN_DOUBT" and not world.lied_to and not _doubtful(p):
        world.violate(f"I15: IN_DOUBT {p.reason}, though every attempt was answered", p.id)


def _doubtful(p: Payment) -> bool:
    """Something is really open: an attempt without proof, a mismatch, or what a restore found."""
    if p.reason in ("restored_elsewhere", "given_back"):
        return True
    return any(verdict(a) in ("UNKNOWN", "OPEN", "MISMATCH") for a in p.attempts)


def _look(p: Payment, ours: list[dict[str, Any]], seen: Counter[str]) -> None:
    """What this payment went through, of what is easily missed."""
    steps = list(p.steps())
    seen["failover"] += len({a.account for a in p.attempts}) > 1
    seen["replay"] += any(s.kind == "replay" for s in steps)
    seen["fired again"] += any(sum(s.kind == "fire" for s in a.steps) > 1 for a in p.attempts)
    seen["closed"] += any(s.kind == "close" for s in steps)
    seen["left"] += any(a.left for a in p.attempts)
    seen["reversal"] += len(p.operations) > 1
    seen["refunded"] += any(m["kind"] == "refund" for m in ours)
    seen["late success"] += p.status == "SUCCESS" and len(p.attempts) > 1
    seen["mismatch"] += any(isinstance(s.outcome, Mismatch) for s in steps)
    seen["two charges, one given back"] += sum(m["kind"] in ("charge", "capture") for m in ours) > 1
    seen["found by a read"] += any(isinstance(s.outcome, Found) and s.outcome.tries for s in steps)
    seen["unanswered step"] += any(s.outcome is None for s in steps)
    seen["attention"] += bool(p.attention)
    seen["key outlived"] += any(_outlived(a) for a in p.attempts)


def _outlived(a: Attempt) -> bool:
    """It was still being looked at when the provider had forgotten its key."""
    fire = next((s for s in a.steps if s.kind == "fire"), None)
    return fire is not None and a.terms.keyed and fire.outcome is None and a.steps[-1].at_us > fire.at_us + KEY_WINDOW_US


def told(event: object, status: str) -> str:
    """An event in one line, for the timeline."""
    match event:
        case Planned():
            s = event.step
            where = f" at {event.opens.account}" if event.opens else ""
            return f"plans {s.kind} of attempt {event.attempt + 1}{where}" + (
                f", operation {event.operation}" if event.operation else ""
            )
        case Observed():
            return f"hears about #{event.about}: {_brief(event.outcome)} -> {status}"
        case Judged():
            return f"judges {event.what} {event.reason} -> {status}"
        case Hinted():
            return f"is hinted at attempt {event.attempt + 1}"
        case Asked():
            return f"asks for {event.kind}"
    return f"{type(event).__name__} -> {status}"


def _brief(outcome: Any) -> str:
    name = type(outcome).__name__
    if isinstance(outcome, Found):
        tries = ", ".join(_brief(t) for t in outcome.tries) or "nothing"
        return f"{name} {outcome.container}: {tries}"
    more = [str(getattr(outcome, n)) for n in ("code", "reason", "amount_minor") if getattr(outcome, n, "")]
    return " ".join((name, *more))

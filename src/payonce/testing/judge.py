"""Judges payments from outside: the money by the sandbox's ledger over all vendors, the order of things by each history.

The rules are written from protocol.md, sections 1 and 2, once more: a judge that asked the machine for its own verdict
would believe its mistakes.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from payonce.core.apply import apply
from payonce.core.events import Asked, Entry, Judged, Planned
from payonce.core.outcome import AnyOutcome, Captured, Declined, Found, Mismatch, NotSent, Rejected, Succeeded
from payonce.core.payment import Attempt, Payment, Step
from payonce.stores.sqlite import open_to_read

TAKES = ("charge", "capture")
CUT_CHARS = 23
UNSETTLED = ("PENDING", "IN_DOUBT")
GIVES: Mapping[str, int] = {"refund": 1, "refund_failed": -1}
FINAL = ("SUCCESS", "FAILED", "CANCELED")
MONEY = ("fire", "replay", "capture")
# What each token must end as at whichever vendor it is decided, whenever the process died. Where a token gets a card
# declined for good, or lets it through in the end, neither a kill nor an outage of some seconds may change that: what
# was lost is looked up or sent again, and what cannot be is left for the next account.
ENDS_AS: Mapping[str, frozenset[str]] = {
    "tok_ok": frozenset({"SUCCESS"}),
    "tok_decline_insufficient_funds": frozenset({"FAILED"}),
    "tok_decline_stolen_card": frozenset({"FAILED"}),
    "tok_decline_do_not_honor": frozenset({"FAILED"}),  # soft: by all three accounts, or three times by a forced one
    "tok_decline_expired_card": frozenset({"FAILED"}),
    "tok_decline_processing_error": frozenset({"FAILED"}),  # the same
    "tok_decline_then_ok": frozenset({"SUCCESS"}),  # by the second attempt, wherever that is
    "tok_decline_send_then_ok": frozenset({"SUCCESS"}),
    "tok_technical_then_ok": frozenset({"SUCCESS"}),
    "tok_not_enabled_then_ok": frozenset({"SUCCESS"}),
    "tok_timeout_then_ok": frozenset({"SUCCESS"}),
    "tok_lost_response": frozenset({"SUCCESS"}),
    "tok_500_then_ok": frozenset({"SUCCESS"}),
    "tok_500_after_charge": frozenset({"SUCCESS"}),
    "tok_garbage_response": frozenset({"SUCCESS"}),
    "tok_slow_5s": frozenset({"SUCCESS"}),
    "tok_rate_limited": frozenset({"SUCCESS"}),
    "tok_wrong_amount": frozenset({"IN_DOUBT"}),  # at razorpay it is a hold that we never take
    "tok_never_resolves": frozenset({"IN_DOUBT"}),
    "tok_late_then_ok": frozenset({"SUCCESS"}),  # by whichever attempt, and the other is given back
    "tok_late_then_decline": frozenset({"SUCCESS", "FAILED"}),  # by the policy for a late success, and by what was heard first
    # At mock the decline counts and the late charge is given back: FAILED; SUCCESS when the process died before it heard
    # of the decline. At razorpay the decline may still turn: the hold is left, and the next account is tried. At
    # cashfree the order cannot be closed while the payment may succeed: SUCCESS.
    "tok_late_success": frozenset({"SUCCESS", "FAILED"}),
    # Nobody acts: closed, left or ended by the vendor at the end of the action. Where nobody can close it (payu) and the
    # vendor says nothing by its horizon, a doubt.
    "tok_action": frozenset({"CANCELED", "IN_DOUBT"}),
    "tok_action_ok": frozenset({"SUCCESS"}),
    "tok_action_decline": frozenset({"FAILED"}),
}


# What a vendor never did at a token that was sent once. Where it may not be sent again (no key, no container) and a miss
# proves nothing (R3), nobody can know: a doubt.
UNPROVEN: Collection[str] = ("tok_timeout_then_ok", "tok_500_then_ok", "tok_rate_limited")


def may_end(p: Payment, token: str) -> frozenset[str]:
    """As what a payment with this token may end, by the accounts that it was tried at."""
    blind = any(not (a.terms.keyed or a.terms.container) for a in p.attempts)
    return ENDS_AS[token] | ({"IN_DOUBT"} if blind and token in UNPROVEN else frozenset())


# --- money --------------------------------------------------------------------------------------------------------


def of_payment(movements: list[dict[str, Any]], payment_id: str) -> list[dict[str, Any]]:
    """Its movements at every vendor: a reference begins with the id of its payment."""
    return [m for m in movements if m["reference"][:20] == payment_id[4:]]


def is_refund(movement: Mapping[str, Any], reference: str) -> bool:
    """Whether money moved under this refund reference of ours. A vendor may cut it (PayU's tokens have 23 characters)."""
    named = movement.get("refundReference", "")
    return len(named) >= CUT_CHARS and reference.startswith(named)


def net_charges(movements: list[dict[str, Any]], payment_id: str, asked: Collection[str] = ()) -> list[dict[str, Any]]:
    """The charges of a payment that were not given back in full, over all its attempts and vendors. What was given back
    under a reference covers its charges one after the other, never two with the same money. ``asked``: references of the
    refunds that a merchant asked for, which undo no charge."""
    ours, kept = of_payment(movements, payment_id), []
    for place in sorted({(m["provider"], m["reference"]) for m in ours}):
        here = [m for m in ours if (m["provider"], m["reference"]) == place]
        given = [m for m in here if not any(is_refund(m, reference) for reference in asked)]
        back = sum(m["amount"] * GIVES.get(m["kind"], 0) for m in given)
        for charge in (m for m in here if m["kind"] in TAKES):
            if back >= charge["amount"]:
                back -= charge["amount"]
            else:
                kept.append(charge)
    return kept


def wrong_with_holds(movements: list[dict[str, Any]]) -> list[str]:
    """A hold is taken once, or released, or still held: never both, and nothing is taken that was not held, nor more."""
    wrong = []
    for hold in {(m["provider"], m["providerRef"]) for m in movements}:
        here = [m for m in movements if (m["provider"], m["providerRef"]) == hold]
        kinds = [m["kind"] for m in here]
        held = max((m["amount"] for m in here if m["kind"] == "authorize"), default=0)
        if any(m["amount"] > held for m in here if m["kind"] == "capture"):
            wrong.append(f"{hold}: more captured than was held")
        if "capture" in kinds and (kinds.count("capture") > 1 or "authorize" not in kinds or "void" in kinds):
            wrong.append(f"{hold}: {kinds}")
    return wrong


def wrong_with_refunds(movements: list[dict[str, Any]]) -> list[str]:
    """At no moment more was given back of a charge than had been taken of it, and nothing twice under one reference."""
    taken, back, under = Counter[tuple[str, str]](), Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    wrong = []
    for m in movements:
        charge, sign = (m["provider"], m["reference"]), GIVES.get(m["kind"], 0)
        taken[charge] += m["amount"] if m["kind"] in TAKES else 0
        back[charge] += m["amount"] * sign
        if sign and (named := m.get("refundReference", "")):
            under[m["provider"], named] += sign
            if under[m["provider"], named] > 1:
                wrong.append(f"{named} at {m['provider']} was given back twice")
        if back[charge] > taken[charge]:
            wrong.append(f"{charge}: {back[charge]} given back of {taken[charge]}")
    return wrong


# --- history ------------------------------------------------------------------------------------------------------


async def histories(store: Path, ids: Sequence[str]) -> dict[str, list[Entry]]:
    """The events of payments, read from the payments file."""
    books = await open_to_read(store)
    try:
        return {i: list(await books.history(i, after_seq=0, limit=10_000)) for i in ids}
    finally:
        await books.close()


def wrong_with_history(entries: Sequence[Entry]) -> tuple[Payment, list[str]]:
    """The payment that a history is, and what it did that the rules forbid."""
    p: Payment | None = None
    wrong: list[str] = []
    for entry in entries:
        event, seq = entry.envelope.data, entry.envelope.seq
        if p is not None:
            wrong += [f"{p.id} #{seq}: {each}" for each in _forbidden(p, event)]
        p = apply(p, entry)
    assert p is not None
    return p, wrong


def _forbidden(p: Payment, event: object) -> Iterator[str]:
    match event:
        case Planned():
            if event.opens:
                yield from (f"goes on to {event.opens.account}, but {why}" for a in p.attempts if (why := still_alive(a)))
            if event.route and p.route:
                yield "the route changed after the first plan"
            if not event.operation and event.step.kind in MONEY and (p.winner is not None or p.status in FINAL):
                yield f"{event.step.kind} after the payment ended"
            voided = any(o.kind == "void" and o.state == "PENDING" for o in p.operations[1:])
            if not event.operation and event.step.kind in MONEY and voided:
                yield f"{event.step.kind} after a void was asked for"
            if event.step.kind == "capture" and p.attempts[event.attempt].left:
                yield "capture of a hold that was left"
            if event.operation:
                yield from _forbidden_of_operation(p, event)
        case Asked(kind="reversal"):
            others = (a for a in p.attempts if a.n not in (event.attempt, p.winner) and not a.left)
            yield from (f"gives back, but {why}" for a in others if (why := still_alive(a)) and "took money" not in why)
        case Asked(kind="refund"):
            kept = sum(o.amount_minor for o in p.operations if o.kind == "refund" and o.state != "FAILED")
            if p.status != "SUCCESS" or kept + event.amount_minor > p.captured_minor:
                yield f"refund of {event.amount_minor}, {kept} are reserved of {p.captured_minor}, and it is {p.status}"
        case Asked(kind="capture" | "void"):
            if under_way := [o for o in p.operations[1:] if o.kind in ("capture", "void") and o.state in UNSETTLED]:
                yield f"{event.kind} beside an unresolved {under_way[0].kind}"
        case Judged(what="FAILED" | "CANCELED"):
            yield from (f"ends unpaid, but {why}" for a in p.attempts if (why := still_alive(a)))


def _forbidden_of_operation(p: Payment, event: Planned) -> Iterator[str]:
    """What may not be sent for an operation: a hold is taken once, or given back; a refund is repeated inside its key's time
    only, and what else may have worked is looked at before it is sent again."""
    o = next(each for each in p.operations if each.n == event.operation)
    kind, a = event.step.kind, p.attempts[o.attempt]
    sent = [s for s in o.steps if s.kind == kind and not isinstance(s.outcome, NotSent | Rejected)]
    if kind in ("capture", "void") and o.kind != "reversal":
        rivals = [each for each in p.operations[1:] if each.n != o.n and each.kind in ("capture", "void")]
        if p.status != "AUTHORIZED" or any(each.state in UNSETTLED for each in rivals):
            yield f"{kind} of a payment that is {p.status}, beside {[(each.kind, each.state) for each in rivals]}"
        last = o.steps[-1] if o.steps else None
        shown = last is not None and isinstance(last.outcome, Found)
        if sent and (last is None or not shown or last.at_us < sent[-1].send_by_us):
            yield f"{kind} sent again without a look that began after the last send"
    if kind == "refund" and sent:
        span_us = a.terms.refund_replay_span_s * 1_000_000
        if event.step.at_us > sent[0].at_us + span_us:
            yield "refund sent again outside the time of its key"
        if event.step.request != sent[0].request:
            yield "refund sent again as another request"


def still_alive(a: Attempt) -> str:
    """Why money may still move in this attempt; empty when the provider has proven, or we have decided, that none can."""
    here = f"attempt {a.n + 1} at {a.account}"
    sends = [s for s in a.steps if s.kind in MONEY and not isinstance(s.outcome, NotSent | Rejected)]
    seen = [(s, o) for s in a.steps for o in _told(s)]
    if any(isinstance(o, Succeeded | Captured) or (isinstance(o, Mismatch) and not o.held) for _, o in seen):
        return f"{here} took money"
    reads = sorted((s for s in a.steps if isinstance(s.outcome, Found)), key=lambda s: s.seq)
    if not sends and not any(_told(s) for s in reads):
        return ""
    captures = [s for s in sends if s.kind == "capture"]
    if a.terms.own_capture and a.left and not captures:
        return ""  # only a hold is left, and we are on record never to take it
    if a.terms.closable and _closed_for_good(a, reads):
        return ""
    if sends and all(any(_is_no(a, s, o) for o in _told(s)) for s in sends):
        return ""
    if a.terms.keyed and any(_is_no(a, s, o) for s, o in seen):
        return ""
    fires = [s for s in sends if s.kind == "fire"]
    if reads and len(fires) == len(sends) == 1 and reads[-1].seq > sends[-1].seq:
        tries = _told(reads[-1])
        if len(tries) == 1 and _is_no(a, reads[-1], tries[0]):
            return ""  # the list of tries has its one entry for our one fire
    if a.terms.closable:  # a decline that may still turn is history in an order that is open, not a no
        return f"{here} was not closed and read again"
    if not sends:  # found after a restore: sent by the lost end of the history
        return f"{here} shows tries that are not on record"
    return f"{here} is not proven over ({[(s.kind, type(s.outcome).__name__) for s in a.steps]})"


def _closed_for_good(a: Attempt, reads: Sequence[Step]) -> bool:
    """The youngest read shows the container closed and every try in it refused."""
    last = reads[-1] if reads else None
    if last is None or not isinstance(last.outcome, Found) or last.outcome.container != "closed":
        return False
    return all(_is_no(a, last, each) for each in last.outcome.tries)


def _told(step: Step) -> tuple[AnyOutcome, ...]:
    if isinstance(step.outcome, Found):
        return step.outcome.tries
    return () if step.outcome is None else (step.outcome,)


def _is_no(a: Attempt, step: Step, o: AnyOutcome) -> bool:
    """A refusal that can no longer turn into a success when the call that shows it began."""
    if not isinstance(o, Declined):
        return False
    return o.flips_until_us is None or step.at_us >= o.flips_until_us + a.terms.read_lag_s * 1_000_000

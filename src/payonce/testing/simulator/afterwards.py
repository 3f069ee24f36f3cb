"""What must hold of all that happens beside the charge: captures, voids, refunds, reversals, customers who act, and webhooks.
The ledger is the witness for operations (I12), the vendors' own events for webhooks (I9)."""

from typing import TYPE_CHECKING, Any, Final

from payonce.core.outcome import RequiresAction
from payonce.core.payment import Operation, Payment
from payonce.core.verdict import evidence
from payonce.inbox import hearing
from payonce.mail import Webhook
from payonce.testing.judge import GIVES, TAKES, is_refund, of_payment, wrong_with_refunds

from .options import HOUR_S, S

if TYPE_CHECKING:
    from .world import World

Movements = list[dict[str, Any]]
LOOKED_UP_WITHIN_US: Final = 600 * S  # a webhook, in a calm world
ACTED_OUT_US: Final = 2 * HOUR_S * S  # from the end of the action and its horizon until the payment has an end


def asked_refunds(p: Payment) -> tuple[str, ...]:
    """References of what the merchant wants given back: it undoes no charge."""
    return tuple(o.reference for o in p.operations if o.kind == "refund")


def given_minor(p: Payment, movements: Movements) -> int:
    """What the ledger says was given back of what the merchant asked for."""
    asked, ours = asked_refunds(p), of_payment(movements, p.id)
    return sum(m["amount"] * GIVES.get(m["kind"], 0) for m in ours if any(is_refund(m, each) for each in asked))


def waits_for_itself(p: Payment, o: Operation) -> bool:
    """Whether the operation has an end of its own: a void of a payment that is in doubt ends with that doubt."""
    return not (o.kind == "void" and p.status == "IN_DOUBT")


def judge_books(world: "World", movements: Movements) -> None:
    """I12: at no moment was more given back than taken."""
    for wrong in wrong_with_refunds(movements):
        world.violate(f"I12: {wrong}")


def judge_operations(world: "World", p: Payment, movements: Movements) -> None:
    """Each operation ended, and as the ledger says."""
    ours = of_payment(movements, p.id)
    for o in p.operations[1:]:
        world.counts[f"{o.kind} {o.state}"] += 1
        if o.state == "PENDING" and not world.gone(p) and waits_for_itself(p, o):
            world.violate(f"the {o.kind} {o.n} never ended", p.id)
        if o.state == "IN_DOUBT" and not p.attention:
            world.violate(f"the {o.kind} {o.n} is in doubt, and nobody is told", p.id)
        if o.state == "IN_DOUBT" and world.options.undisturbed and p.status != "IN_DOUBT":
            world.violate(f"the {o.kind} {o.n} is in doubt, where nothing went wrong", p.id)
        if world.counts["restored"] or world.gone(p):
            continue
        match o.kind:
            case "refund" | "reversal":
                _judge_given(world, p, o, ours)
            case "capture":
                _judge_capture(world, p, o, ours)
            case "void":
                _judge_void(world, p, o, ours)
    unclear = p.id in world.lied_to or world.gone(p) or any(o.state == "IN_DOUBT" for o in p.operations)
    if p.status == "SUCCESS" and not unclear and p.refunded_minor != (given := given_minor(p, movements)):
        world.violate(f"I12: the row says that {p.refunded_minor} were given back, the ledger {given}", p.id)
    if sum(o.amount_minor for o in p.operations if o.kind == "refund" and o.state != "FAILED") > p.captured_minor:
        world.violate("I12: more is reserved than was taken", p.id)


def _judge_given(world: "World", p: Payment, o: Operation, ours: Movements) -> None:
    here = [m for m in ours if is_refund(m, o.reference)]
    given, amount = sum(GIVES.get(m["kind"], 0) for m in here), sum(m["amount"] * GIVES.get(m["kind"], 0) for m in here)
    lied = p.id in world.lied_to
    if o.state == "SUCCEEDED" and o.kind == "refund" and (given, amount) != (1, o.amount_minor) and not lied:
        world.violate(f"I12: refund {o.n} of {o.amount_minor} succeeded, and the ledger gave back {amount}", p.id)
    if o.state == "FAILED" and given and not lied:
        world.violate(f"I12: {o.kind} {o.n} failed, and the ledger gave back {amount}", p.id)
    if o.state == "IN_DOUBT" and given and o.kind == "refund" and not lied:
        world.violate(f"I15: refund {o.n} is in doubt, and the provider shows it done", p.id)


def _judge_capture(world: "World", p: Payment, o: Operation, ours: Movements) -> None:
    taken = [m["amount"] for m in ours if m["kind"] in TAKES and m["reference"] == p.attempts[o.attempt].reference]
    if p.id in world.lied_to:
        return
    if o.state == "SUCCEEDED" and (p.status != "SUCCESS" or taken != [o.amount_minor]):
        world.violate(f"capture {o.n} of {o.amount_minor} succeeded, the payment is {p.status}, the ledger took {taken}", p.id)
    if o.state == "FAILED" and taken == [o.amount_minor] and p.status not in ("SUCCESS", "IN_DOUBT"):
        world.violate(f"capture {o.n} failed, the payment is {p.status}, and the ledger took {taken}", p.id)


def _judge_void(world: "World", p: Payment, o: Operation, ours: Movements) -> None:
    del ours
    # A charge that a provider first declined and shows as paid after the void had ended the payment is kept, where late success
    # is accepted: the fold leaves the void as it was (to change that needs a version of the rules).
    late = p.late_success == "accept" and p.status == "SUCCESS" and o.attempt != p.winner
    if o.state == "SUCCEEDED" and p.status not in ("CANCELED", "FAILED") and not late:
        world.violate(f"void {o.n} succeeded, and the payment is {p.status}", p.id)
    if o.state == "FAILED" and p.status in ("CANCELED", "FAILED") and p.reason in ("canceled", "voided"):
        world.violate(f"void {o.n} failed, and the payment is {p.status} {p.reason}", p.id)


def judge_holds(world: "World", p: Payment, movements: Movements) -> None:
    """A hold that we voided is not held any more, and a canceled payment keeps nothing."""
    kinds = [m["kind"] for m in of_payment(movements, p.id)]
    voided = [o for o in p.operations if o.kind == "void" and o.state == "SUCCEEDED" and o.steps]
    sent = [o for o in voided if any(s.kind == "void" for s in o.steps)]
    if sent and p.reason == "voided" and "void" not in kinds and p.id not in world.lied_to and not world.counts["restored"]:
        world.violate(f"voided, and the ledger has {kinds}", p.id)


def judge_action(world: "World", p: Payment) -> None:
    """REQUIRES_ACTION ends: by its expiry, or by the horizon after it."""
    rows = world.lived.get(p.id, [])
    waiting = [r for r in rows if r.status == "REQUIRES_ACTION"]
    world.counts["action asked"] += bool(waiting)
    if not waiting or not world.options.undisturbed:
        return
    a = waiting[-1].attempts[-1]
    named = [o.expires_at_us or 0 for _, o in evidence(a) if isinstance(o, RequiresAction)]
    end_us = max(a.action_expires_us, *named) + a.terms.horizon_s * S + ACTED_OUT_US
    after = [r for r in rows if r.version > waiting[-1].version]
    if not after or after[0].updated_us > end_us:
        late = (after[0].updated_us if after else world.now_us()) - end_us
        world.violate(f"the customer's action did not end in time, but {late / S:.0f} s later", p.id)
    told = [o for o in (o for _, o in evidence(a)) if isinstance(o, RequiresAction) and not o.action_sha256]
    world.counts["action without a place"] += bool(told)


async def judge_webhooks(world: "World") -> None:
    """I9: what was heard and is genuine has found its payment, by the account that it was made with; or it says why not."""
    rows = {i: p for i in world.known_ids() if (p := await world.payment(i)) is not None}
    for id, (account, event) in world.post.heard.items():
        ear = hearing(world.accounts[account].adapter)
        row: Webhook | None = await world.inbox().get(id)
        if row is None:
            world.violate(f"a webhook of {event.vendor} was answered 2xx, and is not in the inbox")
            continue
        world.counts[f"webhook {row.state}"] += 1
        told = ear.parse_webhook({}, event.body) if ear else None
        about = {p.id for p in rows.values() if told and _uses(p, account, told.references)}
        if world.counts["restored"]:
            continue
        if row.state == "new" and row.due_us is not None and world.now_us() > row.due_us + LOOKED_UP_WITHIN_US:
            world.violate(f"a webhook of {event.vendor} was never looked up")
        if row.state == "matched" and about and set(row.payment_ids) != about:
            world.violate(f"a webhook about {sorted(about)} was matched with {row.payment_ids}")
        if row.state == "matched" and not about and (strange := _elsewhere(rows, account, row)):
            world.violate(f"a webhook of {account} was matched with a payment of another account: {strange}")
        if row.state in ("parked", "unmatched") and about:
            world.violate(f"a webhook about {sorted(about)} is {row.state}")


def _uses(p: Payment, account: str, references: tuple[str, ...]) -> bool:
    """One of these names is that of an attempt at the account, or of an operation on one."""
    at = {a.reference for a in p.attempts if a.account == account}
    at |= {o.reference for o in p.operations[1:] if o.attempt < len(p.attempts) and p.attempts[o.attempt].account == account}
    return bool((at - {""}) & set(references))


def _elsewhere(rows: dict[str, Payment], account: str, row: Webhook) -> list[str]:
    return [i for i in row.payment_ids if i in rows and all(a.account != account for a in rows[i].attempts)]

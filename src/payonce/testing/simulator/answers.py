"""What merchants and people are told: refusals, routes, the row's own figures, reasons, lists and look-ups. The ledger and
the merchants' requests are the witness; routes are derived once more, from the options of the world."""

import contextlib
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import apsw

from payonce.core.events import Asked, Entry, Judged
from payonce.core.idempotency import NewPayment, encode
from payonce.core.outcome import Declined, NotSent, Rejected, Unreadable
from payonce.core.payment import FINAL, MONEY_STEPS, Payment
from payonce.core.routing import When
from payonce.core.verdict import evidence
from payonce.ports import Filters, Scope
from payonce.stores.sqlite import audit
from payonce.testing.judge import net_charges

from .afterwards import asked_refunds, given_minor
from .options import HOUR_S, S

if TYPE_CHECKING:
    from .world import World

PAGE: Final = 3  # of a listing: small, so that there are cursors
ASKED_WITHIN_US: Final = 60 * S  # from the proof of a surplus to its reversal on record, where nothing goes wrong
UNLOOKED_US: Final = 3700 * S  # an hour, the longest pause of a schedule, and a little
SILENT_US: Final = 960 * S  # a provider that comes back finds somebody: 15 minutes may be asked for, and a little
SHIPPED_WORDS: Final = ("mock", "razorpay", "cashfree")  # whose requests carry the description
HARD: Final = ("tok_decline_stolen_card", "tok_decline_expired_card", "tok_decline_insufficient_funds")
SOFT: Final = ("tok_decline_do_not_honor", "tok_decline_processing_error")
CHARGE_IS: Final = {
    "SUCCESS": "SUCCEEDED",
    "AUTHORIZED": "SUCCEEDED",
    "FAILED": "FAILED",
    "CANCELED": "FAILED",
    "IN_DOUBT": "IN_DOUBT",
}
REASONS: Final = {
    "tok_decline_stolen_card": ("stolen_card", "card_blocked", "lost_card"),
    "tok_decline_expired_card": ("expired_card",),
    "tok_decline_insufficient_funds": ("insufficient_funds",),
}


def route_of(world: "World", request: NewPayment, merchant_id: str) -> tuple[str, ...]:
    """The accounts that a payment may use, in order; derived once more."""
    names, rules = [name for name, _ in world.options.accounts], world.rules.rules
    rule = next((r for r in rules if _matches(r.when, request)), None)
    if request.provider:
        wanted = [request.provider]
    elif not rules:
        wanted = names
    elif rule is None:
        wanted = []
    else:
        wanted = [*rule.use, *(names if rule.fallback == "any" else rule.fallback)]
    mine = [name for name in dict.fromkeys(wanted) if world.accounts[name].merchants in (None, {merchant_id})]
    return tuple(name for name in mine if _takes(world, name, request))


def _takes(world: "World", name: str, request: NewPayment) -> bool:
    """What the adapter says that its vendor takes."""
    can, method = world.accounts[name].adapter.CAPABILITIES, request.details.payment_method_type
    takes = can.currencies is None or request.currency in can.currencies
    takes &= request.amount_minor % can.multiples.get(request.currency, 1) == 0
    takes &= not method or can.methods is None or method in can.methods
    return takes and (request.capture_method == "automatic" or "capture" in can.steps)


def _matches(when: When, request: NewPayment) -> bool:
    least = when.amount_from_minor
    return (not when.currency or request.currency in when.currency) and (least is None or request.amount_minor >= least)


async def judge_refusals(world: "World") -> None:
    """A merchant is sent away only where nobody can take it, or where the key stands for something else."""
    for each in world.merchants.posted:
        if each.refused in ("no_route", "capture_method_unsupported") and not route_of(
            world, each.request, each.scope.merchant_id
        ):
            continue
        known = await world.reader().find_key(each.scope, each.key)
        other = known is not None and known.request != encode(each.request)
        if each.refused == "idempotency_key_reused" and (other or world.counts["restored"]):
            continue
        if each.refused:
            world.violate(
                f"refused as {each.refused}, though {route_of(world, each.request, each.scope.merchant_id)} can take it"
            )


async def judge_row(world: "World", p: Payment, entries: list[Entry], movements: list[dict[str, Any]]) -> None:
    """The figures of a row are those of the ledger; it went the way of its route; it can be found by its charge."""
    request = next(each.accepted[0] for each in world.merchants.posted if p.id in each.ids)
    owner = next(each.scope for each in world.merchants.posted if p.id in each.ids)
    if (p.merchant_id, p.mode, entries[0].envelope.actor) != (owner.merchant_id, owner.mode, "merchant"):
        world.violate(f"accepted for {p.merchant_id} in {p.mode} mode by {entries[0].envelope.actor}", p.id)
    route = route_of(world, request, owner.merchant_id)
    if p.route and not world.counts["restored"] and p.accounts != route:
        world.violate(f"routed over {p.accounts}, not {route}", p.id)
    tried = [
        a for a in p.attempts if any(s.kind in MONEY_STEPS and not isinstance(s.outcome, NotSent | Rejected) for s in a.steps)
    ]
    if len(tried) > world.options.attempts_max and not world.counts["restored"]:
        world.violate(f"{len(tried)} attempts of {world.options.attempts_max}", p.id)
    judge_columns(world, p)
    await _judge_words(world, p, request)
    if (p.late_success, p.attempts_max) != (world.options.late_success, world.options.attempts_max):
        world.violate(f"accepted with another policy: {p.late_success}, {p.attempts_max} attempts", p.id)
    if p.status == "FAILED" and not world.counts["restored"] and not world.options.skew_s and not world.options.jumps:
        _judge_giving_up(world, p, len(tried), entries)
    charge, kept = p.operations[0], net_charges(movements, p.id, asked_refunds(p))
    was_held = p.status == "CANCELED" and p.reason in ("voided", "authorization_expired")
    if charge.state != ("SUCCEEDED" if was_held else CHARGE_IS.get(p.status)):
        world.violate(f"{p.status}, and its charge is {charge.state}", p.id)
    if p.status == "SUCCESS" and len(kept) == 1 and not p.attention:
        won = next(a for a in p.attempts if a.n == p.winner)
        said = (p.provider_ref, p.captured_minor, p.refunded_minor, world.vendor_of(won.account), won.reference)
        given = given_minor(p, movements)
        true = (kept[0]["providerRef"], kept[0]["amount"], given, kept[0]["provider"], kept[0]["reference"])
        if said != true and p.id not in world.lied_to:
            world.violate(f"the row says {said}, the ledger {true}", p.id)
        if p.id not in await world.reader().find_ref(p.provider_ref, won.account):
            world.violate(f"it cannot be found under its charge {p.provider_ref}", p.id)
    kept_one = p.winner is not None and not was_held
    if p.status in FINAL and p.status != "SUCCESS" and (kept_one or p.captured_minor):
        world.violate(f"{p.status} with a winner, or with money", p.id)
    known_us = min((s.seen_at_us for a in p.attempts for s, o in evidence(a) if isinstance(o, Declined)), default=None)
    again = [a.account for a in p.attempts[1:] if known_us is not None and a.steps[0].at_us > known_us]
    noes = [o for a in p.attempts for _, o in evidence(a) if isinstance(o, Declined)]
    reworded = any(not (o.hard or o.scope == "customer_input" or o.code == "insufficient_funds") for o in noes)  # by odd words
    clocks = world.options.skew_s or world.options.jumps
    if request.details.payment_method in HARD and again and not clocks and not reworded:
        world.violate(f"a card that was refused for good was tried again: {again}", p.id)
    if world.options.undisturbed:
        _judge_calm(world, p, request.details.payment_method, entries)


def judge_columns(world: "World", p: Payment) -> None:
    """Over SQLite: what is searched for is what the document says."""
    if world.options.store != "sqlite":
        return
    with contextlib.closing(apsw.Connection(str(world.reader().path), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
        for held in audit.held(connection, [p.id]):
            if held.differing or held.trouble:
                world.violate(f"I14: columns differ from the document: {held.differing} {held.trouble}", p.id)


def _judge_giving_up(world: "World", p: Payment, tried: int, entries: list[Entry]) -> None:
    """A payment that nobody took was offered for as long, and as often, as was promised."""
    judged = [e.envelope.at_us for e in entries if isinstance(e.envelope.data, Judged) and e.envelope.data.what == "FAILED"]
    if not judged:  # decided by a person
        return
    ended = judged[0]
    learned = any(isinstance(s.outcome, NotSent | Rejected) and s.seen_at_us > ended for s in p.steps())  # only afterwards
    if p.reason == "attempts_exhausted" and tried < world.options.attempts_max and not learned:
        world.violate(f"{p.reason} after {tried} attempts of {world.options.attempts_max}", p.id)
    settle_s = min(world.terms(name).settle_s for name in p.accounts) if p.accounts else 0
    if not tried and not learned and ended < p.created_us + settle_s * S and not world.gone(p):
        world.violate(f"given up {(ended - p.created_us) / S:.0f} s after it came, of {settle_s}, and nothing was sent", p.id)


async def _judge_words(world: "World", p: Payment, request: NewPayment) -> None:
    """What the merchant says about it reaches the provider; who is paid for and how, too."""
    d = request.details
    for a in p.attempts:
        if not any(s.kind == "fire" for s in a.steps) or world.vendor_of(a.account) not in SHIPPED_WORDS:
            continue
        named = [(p.id, s.request.body_sha256) for s in a.steps if s.request is not None and s.request.body_sha256]
        said = b" ".join((await world.reader().bodies(named)).values())
        if any(each.encode() not in said for each in (d.description, d.payment_method) if each):
            world.violate(f"what was told about the payment was not told to {a.account}", p.id)
        if d.payment_method_type == "upi" and world.vendor_of(a.account) != "mock" and b'"upi"' not in said:
            world.violate(f"the payment method was not told to {a.account}", p.id)
        if d.metadata and world.vendor_of(a.account) == "mock" and b'"order":7' not in said:
            world.violate(f"the metadata was not told to {a.account}", p.id)


def _judge_calm(world: "World", p: Payment, token: str, entries: list[Entry]) -> None:
    """Where only the card decides."""
    if p.status == "CANCELED":
        return
    if token in HARD and p.reason not in REASONS[token]:
        world.violate(f"{token} was said to be {p.reason}", p.id)
    if token in SOFT and len({a.account for a in p.attempts}) < min(p.attempts_max, len(p.accounts)):
        world.violate(f"{token} was not offered to the others of {p.accounts}", p.id)
    for cause, entry in pairwise(entries):
        late_us = entry.envelope.at_us - cause.envelope.at_us
        asked = entry.envelope.data
        if isinstance(asked, Asked) and asked.kind == "reversal" and late_us > ASKED_WITHIN_US:
            world.violate(f"a surplus was known for {late_us / S:.0f} s before it was to be given back", p.id)


async def judge_lists(world: "World") -> None:
    """Every listing shows exactly the rows that it is about, in order, page by page."""
    rows = [p for i in world.known_ids() if (p := await world.payment(i)) is not None]
    if world.counts["restored"]:
        return
    for scope in {each.scope: None for each in world.merchants.posted}:
        await _judge_lists_of(world, scope, [p for p in rows if p.merchant_id == scope.merchant_id])


async def _judge_lists_of(world: "World", scope: Scope, rows: list[Payment]) -> None:
    wanted = [Filters(), Filters(attention=True)]
    wanted += [Filters(status=s) for s in sorted({p.status for p in rows})]
    wanted += [Filters(provider=a) for a in sorted({_at(p) for p in rows} - {""})]
    wanted += [Filters(currency=c) for c in sorted({p.currency for p in rows})]
    for f in wanted:
        shown: list[str] = []
        cursor: str | None = None
        while cursor is not None or not shown:
            page = await world.reader().list(scope, f, PAGE, cursor)
            shown += [p.id for p in page.payments]
            cursor = page.next
            if cursor is None:
                break
        due = [p for p in rows if _shows(p, f)]
        known = {p.id for p in rows}
        if [i for i in shown if i in known] != [p.id for p in sorted(due, key=lambda p: (p.created_us, p.id), reverse=True)]:
            world.violate(f"a list of {f} shows {len(shown)} payments, not {len(due)}")


def _at(p: Payment) -> str:
    won = [a.account for a in p.attempts if a.n == p.winner]
    return (won or [a.account for a in p.attempts[-1:]] or [""])[0]


def _shows(p: Payment, f: Filters) -> bool:
    eyes = p.status == "IN_DOUBT" or bool(p.attention)
    return (
        f.status in (None, p.status)
        and f.provider in (None, _at(p))
        and f.currency in (None, p.currency)
        and (eyes or not f.attention)
    )


def looked_at(world: "World", p: Payment, ahead_us: int) -> None:
    """While a payment has not ended somebody looks at it now and then; soon, where nobody answered."""
    if p.status in (*FINAL, "IN_DOUBT") or world.gone(p) or any(m.offset_us for m in world.machines):
        return
    if world.options.skew_s and any(s.outcome is None and s.lease_until_us > world.now_us() for s in p.steps()):
        return  # the lease of a clock that was ahead: it costs its time, and nothing else
    if p.status == "AUTHORIZED":  # its merchant is waited for, until the hold ends; then it is looked at daily
        most_us = max(p.authorization_expires_us - world.now_us(), 24 * HOUR_S * S) + UNLOOKED_US
        if ahead_us > most_us:
            world.violate(f"held, and nobody looks at it for {ahead_us / S:.0f} s", p.id)
        return
    reads = [s for s in p.attempts[-1].steps if s.kind in ("read", "close")] if p.attempts else []
    silent = bool(reads) and all(s.outcome is None or isinstance(s.outcome, Unreadable) for s in reads)
    if ahead_us > UNLOOKED_US or (ahead_us > SILENT_US and silent):
        world.violate(f"not ended, and nobody looks at it for {ahead_us / S:.0f} s", p.id)

"""What the torture did wrong: what clients were promised, what payonce says, what its histories show, and what the vendors'
books say, compared one with the other. Witness of money is the sandbox's ledger, never our store.

Pure: it is given everything, so that a test can falsify each and see it reported.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct

from payonce.core.errors import PayonceError
from payonce.core.events import Entry, Judged
from payonce.core.outcome import Declined, Found, NotSent, Rejected
from payonce.core.payment import Attempt, Payment
from payonce.testing.judge import wrong_with_history, wrong_with_holds

from .afterwards import ACTIONS
from .clients import Posted
from .operations import ends_of, kept, left_open, wrong_with_asked
from .options import Violation, Wrong
from .scene import ACCOUNTS

Movements = list[dict[str, Any]]
Payments = Mapping[str, Mapping[str, Any]]

ENDS = ("SUCCESS", "FAILED", "CANCELED", "IN_DOUBT", "AUTHORIZED")
VENDORS = {account: vendor for vendor, account in ACCOUNTS.items()}
# Faults may outlast the short horizon, or the time to look for an account. That is right as long as they last, and a
# little longer: a claim of a process that died runs out, a read is due, a circuit breaker lets nobody through for a minute.
GRACE_S = {"IN_DOUBT": 30, "FAILED": 90}


class Calm(Struct, frozen=True):
    """When the faults stopped, by the wall clock, and how long a payment may look for an account that takes it."""

    at_us: int
    look_s: int


def wrong_overall(posted: Sequence[Posted], payments: Payments, movements: Movements) -> Iterator[Violation]:
    """What is wrong with all payments together: promises, keys, and books."""
    yield from wrong_with_promises(posted, payments)
    yield from wrong_with_books(payments, movements)


def wrong_with_one(
    known: Posted, payment: Mapping[str, Any], moved: Movements, entries: Sequence[Entry], calm: Calm
) -> Iterator[Violation]:
    """What is wrong with one payment: its money, its end, its past. ``moved`` are its movements, ``entries`` its events."""
    yield from wrong_with_money(known, payment, moved)
    id = str(payment["transactionId"])
    if not entries:
        yield _found("lost", known, id, "its history is empty")
        return
    try:
        p, wrong = wrong_with_history(entries)
    except PayonceError as error:
        yield _found("rules", known, id, f"its history cannot be read: {error}")
        return
    for says in wrong:
        yield _found("rules", known, id, says)
    if (p.id, p.status, p.amount_minor, p.currency) != (id, payment["status"], payment["amount"], payment["currency"]):
        yield _found("rules", known, id, f"its history says {p.status} {p.amount_minor} {p.currency}")
    if payment["status"] in ENDS and not as_its_token(known, payment) and not outlasted(p, entries, calm):
        token = known.body["paymentMethod"]
        wanted = " or ".join(sorted(ends_of(token, payment, decided=token in ACTIONS)))
        says = f"{token} must end as {wanted}, and is {payment['status']} ({payment['reason'] or 'no reason'})"
        yield _found("wrong", known, id, says)


def by_payment(movements: Movements) -> dict[str, Movements]:
    """The movements of each payment, by its id: a reference begins with it."""
    found: dict[str, Movements] = {}
    for m in movements:
        found.setdefault(f"pay_{m['reference'][:20]}", []).append(m)
    return found


def wrong_with_promises(posted: Iterable[Posted], payments: Payments) -> Iterator[Violation]:
    """Each key that was answered has its one payment, and there is no payment without a key of ours."""
    by_key: dict[str, list[str]] = {}
    for id, p in payments.items():
        by_key.setdefault(str(p["idempotencyKey"]), []).append(id)
    keys = set()
    for each in posted:
        keys.add(each.key)
        for id in sorted(each.ids - set(payments)):
            yield _found("lost", each, id, "was answered 202, and there is no such payment")
        if not each.ids and not by_key.get(each.key):
            yield _found("lost", each, "", "was never accepted")
        made = sorted({*each.ids, *by_key.get(each.key, [])})
        if len(made) > 1:
            yield _found("key", each, made[0], f"one key made {len(made)} payments: {', '.join(made)}")
    for key in sorted(set(by_key) - keys):
        yield Violation(kind="key", key=key, payment=by_key[key][0], says=f"{key}: a payment that nobody posted")


def wrong_with_books(payments: Payments, movements: Movements) -> Iterator[Violation]:
    """Money moved for payments that exist, and holds were taken once."""
    for id, moved in by_payment(movements).items():
        if id not in payments:
            yield Violation(kind="lost", payment=id, says=f"money moved for a payment that does not exist: {moved}")
        for says in wrong_with_holds(moved):
            yield Violation(kind="doubled", payment=id, says=f"{id}: a hold was used more than once: {says}")


def wrong_with_money(known: Posted, payment: Mapping[str, Any], moved: Movements) -> Iterator[Violation]:
    """What the payment says is what the vendors' books say; ``moved`` are its movements."""
    id, status, body = str(payment["transactionId"]), payment["status"], known.body
    charges = kept(payment, moved)
    if len(charges) > 1:
        yield _found("doubled", known, id, f"{len(charges)} charges were kept: {charges}")
    if (payment["amount"], payment["currency"]) != (body["amount"], body["currency"]):
        yield _found("wrong", known, id, f"it is about {payment['amount']} {payment['currency']}, but was posted as {body}")
    if known.status and known.status != status:
        yield _found("lost", known, id, f"it was {known.status} when somebody looked, and is {status} now")
    for says in left_open(payment):
        yield _found("unsettled", known, id, says)
    for says in wrong_with_asked(payment, moved):
        yield _found("wrong", known, id, says)
    if status == "SUCCESS":
        want = [(VENDORS.get(str(payment["provider"])), payment["captured"], body["currency"])]
        if [(m["provider"], m["amount"], m["currency"]) for m in charges] != want:
            yield _found("wrong", known, id, f"SUCCESS at {payment['provider']}, but the books say {moved}")
    if status in ("FAILED", "CANCELED", "AUTHORIZED") and charges:
        yield _found("wrong", known, id, f"{status}, but the money was kept: {charges}")
    forced = body.get("provider")
    if forced and {m["provider"] for m in moved} - {VENDORS[forced]}:
        yield _found("wrong", known, id, f"it named {forced}, and money moved elsewhere: {moved}")


def as_its_token(known: Posted, payment: Mapping[str, Any]) -> bool:
    """It ended as its token does when nothing else goes wrong."""
    token = known.body["paymentMethod"]
    return payment["status"] in ends_of(token, payment, decided=token in ACTIONS)


def outlasted(p: Payment, entries: Sequence[Entry], calm: Calm) -> bool:
    """Faults explain that it was given up: for a reason of time or of attempts that they spoilt, and not long after they
    stopped. ``entries`` is its history."""
    ends = [e.envelope for e in entries if isinstance(e.envelope.data, Judged) and e.envelope.data.what == p.status]
    if not ends or ends[-1].at_us > calm.at_us + GRACE_S.get(p.status, 0) * 1_000_000:
        return False
    if p.status == "IN_DOUBT":
        return p.reason == "horizon"
    looked_us = ends[-1].at_us - entries[0].envelope.at_us
    return p.reason == "no_provider_available" or looked_us >= calm.look_s * 1_000_000 or any(map(_spoilt, p.attempts))


def _spoilt(a: Attempt) -> bool:
    """Something was sent that could have had an effect, and no bank ever said no: the faults cost this account."""
    sent = any(s.kind in ("fire", "replay") and not isinstance(s.outcome, NotSent | Rejected) for s in a.steps)
    outcomes = [o for s in a.steps for o in (s.outcome.tries if isinstance(s.outcome, Found) else (s.outcome,))]
    return sent and not any(isinstance(o, Declined) for o in outcomes)


def _found(kind: Wrong, known: Posted, id: str, says: str) -> Violation:
    return Violation(kind=kind, payment=id, key=known.key, says=f"{known.key} {id}: {says}".replace("  ", " "))

"""The end of the demo: every status against the sandbox's ledger, payment by payment and provider by provider. The ledger
is the providers' word; the payments' own account is what their histories prove. Figures are counted, none is assumed."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import httpx2
from msgspec import Struct

from payonce.core.apply import fold
from payonce.core.events import Entry, Planned
from payonce.core.money import display
from payonce.core.outcome import Captured, Mismatch, RequiresAction, Succeeded
from payonce.core.payment import FINAL, Attempt, Payment
from payonce.core.verdict import declines, evidence, flat, verdict
from payonce.storage import ReadStore

from .stories import history, lost
from .traffic import Traffic

Movement = dict[str, Any]
Key = tuple[str, str]  # vendor, currency
SENDS = ("fire", "replay")
GIVES = {"refund": 1, "refund_failed": -1}
REFERENCE_CHARS_MIN = 23  # of our reference of a refund that a provider keeps: PayU's token takes no more
LEDGER_PAGE = 500


class Past(Struct, frozen=True, kw_only=True):
    """What one payment's history shows of how it went."""

    payment: Payment
    sends: int  # charges sent, under the same key or a new one
    unknown: bool  # a charge or capture was sent and no usable answer came


class Side(Struct, kw_only=True):
    """One provider's line: what its ledger shows, and what the payments say. Counts; ``doubt`` are charges among ``kept``
    of payments that are IN_DOUBT."""

    charged: int = 0
    held: int = 0
    captured: int = 0
    released: int = 0
    refunded: int = 0
    came_back: int = 0  # refunds that did not arrive
    kept: int = 0  # charges and captures that were not undone; what a merchant gives back undoes none
    open_holds: int = 0  # neither captured nor released: not money
    told_kept: int = 0
    doubt: int = 0


class Balance(Struct, frozen=True, kw_only=True):
    """What was measured."""

    pasts: tuple[Past, ...]
    movements: int
    charges_max: int  # charges of one payment over all providers, net of full reversals
    sides: Mapping[str, Side]  # by vendor
    watched: int  # ended payments that are still looked at, for late surprises
    webhooks: int  # that arrived from the providers
    wrong: tuple[str, ...]  # what differs from the ledger, or must never be

    def of_status(self, *statuses: str) -> list[Past]:
        return [past for past in self.pasts if past.payment.status in statuses]


async def balance(client: httpx2.AsyncClient, store: ReadStore, traffic: Traffic) -> Balance:
    """Read everything back and compare: statuses as callers get them, over HTTP, and the whole histories."""
    movements = await _ledger(client)
    moved: dict[str, list[Movement]] = defaultdict(list)
    for m in movements:
        moved[payment_of(m)].append(m)
    wrong = [f"the key {key} made {len(ids)} payments" for key, ids in traffic.ids.items() if len(ids) > 1]
    pasts, watched, kept_max = [], 0, 0
    for payment_id, post in traffic.by_id.items():
        view = (await client.get(f"/payments/{payment_id}")).json()
        past = looked_back(await history(store, payment_id))
        pasts.append(past)
        watched += past.payment.status in FINAL and await store.due_of(payment_id) is not None
        wrong += differences(view, moved[payment_id])
        kept_max = max(kept_max, len(net_charges(moved[payment_id], by_merchant(moved[payment_id], view)).get(payment_id, ())))
        if view["status"] != past.payment.status:
            wrong.append(f"{payment_id} is {view['status']}, but its history says {past.payment.status}")
        if view["status"] not in (*FINAL, "IN_DOUBT") and not post.endless:
            wrong.append(f"{payment_id} is not settled: {view['status']}")
    for stranger in set(moved) - set(traffic.by_id):  # in a kept data folder there are those of earlier runs
        if (await client.get(f"/payments/{stranger}")).status_code != 200:
            wrong.append(f"the ledger has movements for {stranger}, which nobody posted")
    ours = [m for m in movements if payment_of(m) in traffic.by_id]
    payments = [past.payment for past in pasts]
    return Balance(
        pasts=tuple(pasts),
        movements=len(ours),
        charges_max=kept_max,
        sides=sides(ours, payments),
        watched=watched,
        webhooks=await _webhooks(client),
        wrong=(*wrong, *unbalanced(ours, payments)),
    )


async def _ledger(client: httpx2.AsyncClient) -> list[Movement]:
    movements: list[Movement] = []
    after = 0
    while True:
        page = (await client.get("/sandbox/ledger", params={"after": str(after), "limit": str(LEDGER_PAGE)})).json()
        if not page["movements"]:
            return movements
        movements += page["movements"]
        after = page["next"]


async def _webhooks(client: httpx2.AsyncClient) -> int:
    """How many webhooks the providers delivered."""
    delivered = after = 0
    while True:
        page = (await client.get("/sandbox/outbox", params={"after": str(after), "limit": str(LEDGER_PAGE)})).json()
        if not page["events"]:
            return delivered
        delivered += sum(each["state"] == "delivered" for event in page["events"] for each in event["deliveries"])
        after = page["next"]


def payment_of(m: Movement) -> str:
    """A reference begins with the 20 characters of its payment's id."""
    return f"pay_{m['reference'][:20]}"


# --- one payment ------------------------------------------------------------------------------------------------------


def net_charges(movements: Iterable[Movement], asked: Collection[str] = ()) -> dict[str, list[Movement]]:
    """Payment id -> its charges over all attempts and providers, without those that were given back in full. A hold is
    no charge. ``asked``: refund references of what merchants gave back, which undoes no charge."""
    movements = list(movements)
    back: dict[str, int] = defaultdict(int)
    for m in movements:
        if m.get("refundReference", "") not in asked:
            back[m["reference"]] += m["amount"] * GIVES.get(m["kind"], 0)
    kept: dict[str, list[Movement]] = defaultdict(list)
    for m in movements:
        if m["kind"] in ("charge", "capture"):
            given = min(back[m["reference"]], m["amount"])
            back[m["reference"]] -= given
            if given < m["amount"]:
                kept[payment_of(m)].append(m)
    return dict(kept)


FIELDS = {
    "charge": "charged",
    "authorize": "held",
    "capture": "captured",
    "void": "released",
    "refund": "refunded",
    "refund_failed": "came_back",
}


def _one_of(name: str, references: Iterable[str]) -> bool:
    return len(name) >= REFERENCE_CHARS_MIN and any(each.startswith(name) for each in references)


def by_merchant(moved: Sequence[Movement], view: Mapping[str, Any]) -> set[str]:
    """The refund references in a ledger that are refunds which the merchant asked for."""
    ours = [str(o["reference"]) for o in view["operations"] if o["kind"] == "refund"]
    named = {m.get("refundReference", "") for m in moved}
    return {name for name in named if _one_of(name, ours)}


def differences(view: Mapping[str, Any], moved: Sequence[Movement]) -> list[str]:
    """What of one payment's status and amounts the ledger does not bear out; empty when all is right. ``moved`` are its
    movements."""
    name, status, asked = view["transactionId"], view["status"], by_merchant(moved, view)
    kept = net_charges(moved, asked).get(name, [])
    shown = [(m["amount"], m["currency"]) for m in kept]
    back = sum(m["amount"] * GIVES.get(m["kind"], 0) for m in moved if m.get("refundReference", "") in asked)
    if len(kept) > 1:
        return [f"{name} was charged {len(kept)} times"]
    if status == "SUCCESS" and shown != [(view["captured"], view["currency"])]:
        charged = ", ".join(display(*each) for each in shown) or "nothing"
        return [f"{name} is SUCCESS over {display(view['captured'], view['currency'])}, but the ledger shows {charged}"]
    if back != view["refunded"]:
        said, really = (display(each, view["currency"]) for each in (view["refunded"], back))
        return [f"{name} has given back {said}, but the ledger shows {really}"]
    if status in ("FAILED", "CANCELED") and kept:
        return [f"{name} is {status}, but the ledger keeps a charge"]
    return []


def looked_back(entries: Sequence[Entry]) -> Past:
    """Fold a history, which raises InvariantViolated if any attempt was left before it was sealed, and count on the way."""
    steps = [e.envelope.data.step for e in entries if isinstance(e.envelope.data, Planned) and not e.envelope.data.operation]
    p = fold(entries)
    sends = sum(step.kind in SENDS for step in steps)
    return Past(payment=p, sends=sends, unknown=any(lost(a) for a in p.attempts))


# --- one provider -----------------------------------------------------------------------------------------------------


def sides(movements: Sequence[Movement], payments: Iterable[Payment]) -> dict[str, Side]:
    """Vendor -> its line."""
    found: dict[str, Side] = defaultdict(Side)
    holds: dict[tuple[str, str], int] = Counter()
    payments = list(payments)
    asked = [o.reference for p in payments for o in p.operations if o.kind == "refund"]
    by_merchants = {name for m in movements for name in [m.get("refundReference", "")] if name and _one_of(name, asked)}
    for m in movements:
        side, field = found[m["provider"]], FIELDS[m["kind"]]
        setattr(side, field, getattr(side, field) + 1)
        holds[m["provider"], m["reference"]] += {"authorize": 1, "capture": -1, "void": -1}.get(m["kind"], 0)
    for (vendor, _), count in holds.items():
        found[vendor].open_holds += max(0, count)
    for kept in net_charges(movements, by_merchants).values():
        for m in kept:
            found[m["provider"]].kept += 1
    for p in payments:
        for a in p.attempts:
            amount, back = taken(p, a), given_back(p, a, "reversal")
            found[a.adapter].told_kept += amount > back
            found[a.adapter].doubt += amount > back and p.status == "IN_DOUBT"
    return dict(found)


def unbalanced(movements: Sequence[Movement], payments: Iterable[Payment]) -> list[str]:
    """Where a ledger keeps other money than the payments account for. Payments that nobody claims to know are left out."""
    known = {p.id: p for p in payments if p.status in FINAL or any(verdict(a) == "MISMATCH" for a in p.attempts)}
    theirs: dict[Key, int] = Counter()
    for m in movements:
        if payment_of(m) in known:
            sign = {"charge": 1, "capture": 1}.get(m["kind"], 0) - GIVES.get(m["kind"], 0)
            theirs[m["provider"], m["currency"]] += sign * m["amount"]
    ours: dict[Key, int] = Counter()
    for p in known.values():
        for a in p.attempts:
            ours[a.adapter, p.currency] += taken(p, a) - given_back(p, a, "reversal", "refund")
    return [
        f"{vendor} keeps {display(theirs[vendor, currency], currency)} by its ledger, "
        f"{display(ours[vendor, currency], currency)} by the payments"
        for vendor, currency in sorted(theirs.keys() | ours.keys())
        if theirs[vendor, currency] != ours[vendor, currency]
    ]


def taken(p: Payment, a: Attempt) -> int:
    """What an attempt and the merchant's capture of it took, as far as the evidence says, in minor units; a hold takes
    nothing."""
    captures = [told for o in p.operations if o.kind == "capture" and o.attempt == a.n for told in flat(o.steps)]
    seen = [o for _, o in (*evidence(a), *captures) if isinstance(o, Succeeded | Captured | Mismatch)]
    return seen[-1].amount_minor if seen else 0


def given_back(p: Payment, a: Attempt, *kinds: str) -> int:
    """What refunds or reversals gave back of it."""
    done = (o for o in p.operations if o.kind in kinds and o.state == "SUCCEEDED" and o.attempt == a.n)
    return sum(o.amount_minor for o in done)


# --- how it went ------------------------------------------------------------------------------------------------------


def failed_over(p: Payment) -> bool:
    """An attempt at another account followed one."""
    return any(a.account != b.account for a, b in pairwise(p.attempts))


def passed_over(p: Payment) -> bool:
    """It began elsewhere than at the first account of its route, whose breaker was open."""
    first = next((c.account for c in p.route if c.taken), "")
    return bool(p.attempts) and p.attempts[0].account != first and f"{first} (circuit breaker open" in p.attempts[0].why


def acted(p: Payment) -> bool:
    """Its customer had to act."""
    return any(isinstance(s.outcome, RequiresAction) for a in p.attempts for s in a.steps)


def asked_of(payments: Iterable[Payment]) -> Counter[tuple[str, str]]:
    """How many captures, voids and refunds merchants asked for, by kind and state."""
    return Counter((o.kind, o.state) for p in payments for o in p.operations[1:] if o.kind != "reversal")


def decline_scopes(payments: Iterable[Payment]) -> Counter[str]:
    """How many attempts were declined, by scope."""
    return Counter(said[-1].scope for p in payments for a in p.attempts if (said := declines(a)))

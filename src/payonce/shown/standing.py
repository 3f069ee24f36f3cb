"""What state the money of a payment is in, and what to do next, in plain words. Pure."""

from collections.abc import Sequence
from typing import Final, Literal

from payonce.core.errors import REASONS
from payonce.core.events import Resolved
from payonce.core.money import display
from payonce.core.operations import excluding
from payonce.core.outcome import Mismatch
from payonce.core.payment import Mode, Operation, Payment
from payonce.core.verdict import acting_until_us, evidence, verdict

from .returning import beside, late, ways
from .story import Line
from .views import Action
from .wording import clean, dated, lapses

_UNDER_WAY = {"capture": "is being taken", "void": "is being released", "refund": "is being given back"}
# what an operator recorded of a charge whose amount had been accepted; pages look for it in the sentence
GIVEN_BACK_SAID: Final = "an operator recorded that it was given back"
NOT_TAKEN_SAID: Final = "an operator recorded afterwards that nothing was taken"
Decided = Literal["", "not-charged", "reversed"]


def money(p: Payment, action: Action | None = None, decided: Decided = "") -> tuple[str, str]:
    """One or a few plain sentences on the state of the money, and what to do next. ``action``: what the customer has to do,
    where that is known. ``decided``: as ``decided_since`` finds it in the history; the payment alone does not hold it."""
    amount = display(p.amount_minor, p.currency)
    if p.status == "IN_DOUBT":
        return _doubt(p, amount)
    if p.status in ("FAILED", "CANCELED") and (text := late(p)):
        return _came_late(p, text)
    if p.attention:
        return _needing_eyes(p)
    match p.status:
        case "SUCCESS":
            return _taken(p, decided)
        case "FAILED" | "CANCELED":
            return _nothing_kept(p)
        case "REQUIRES_ACTION":
            return _acting(p, action)
        case "AUTHORIZED":
            return _held(p)
        case _:
            void = " It is to be voided." if p.cancel_asked else ""
            return _pending(p, amount) + void, "Nothing: it is being worked on (a worker must be running)."


def decided_since(lines: Sequence[Line]) -> Decided:
    """What an operator recorded of the charge that is kept after its amount had been accepted: the payment stays SUCCESS."""
    found: Decided = ""
    for line in lines:
        event, before = line.entry.envelope.data, line.before
        of_charge = isinstance(event, Resolved) and event.verdict in ("not-charged", "reversed") and not event.operation
        if of_charge and before is not None and (before.status, before.attention) == ("SUCCESS", "amount_accepted"):
            found = "reversed" if isinstance(event, Resolved) and event.verdict == "reversed" else "not-charged"
    return found


def lifting(held: Mode, here: Mode) -> str:
    """The command that ends the hold of a mode, for who works in the mode ``here``."""
    return "`payonce reconcile`" if held == here else f"`PAYONCE_MODE={held} payonce reconcile`"


def waits_for(action: Action) -> str:
    """Where to send the customer, and until when."""
    todo, until_us = action
    url = clean(todo.url)  # the provider's text
    until = f", until {dated(until_us)}" if until_us else ""
    match todo.type:
        case "upi_collect":
            return f"The customer was asked in the UPI app: to be approved there{until}."
        case "upi_intent":
            return f"Let the customer open this in a UPI app, or scan it as a QR code{until}: {url}"
        case _:
            form = f", with a form of {clean(', '.join(todo.fields))} that is sent with POST" if todo.method == "POST" else ""
            return f"Send the customer to {url}{form}{until}."


def operation_told(p: Payment, o: Operation) -> str:
    """One operation in a line."""
    why = f" ({o.reason})" if o.reason else ""
    return f"{o.kind} {o.id}  {display(o.amount_minor, p.currency)}  {o.state}{why}"


def _came_late(p: Payment, text: str) -> tuple[str, str]:
    """It ended unpaid, and money was taken or held all the same."""
    if p.attention and p.attention != "reversal_unresolved":
        return f"{text} {REASONS.get(p.attention, p.attention)}", ways(p) or _look(p)
    if any(o.kind == "reversal" and o.state == "PENDING" for o in p.operations):
        return text, ways(p) or "Nothing: it is done by itself."
    return text, ways(p) or "Nothing."


def _look(p: Payment) -> str:
    return f"payonce reconcile, then payonce resolve {p.id} if it stays."


def _needing_eyes(p: Payment) -> tuple[str, str]:
    """``late`` payments are told elsewhere: what ended unpaid here has no reversal, and what it needs eyes for is unclear."""
    said = REASONS.get(p.attention, p.attention)
    held = f"{display(p.authorized_minor, p.currency)} is held, not taken."
    ended = "It ended without a charge on record."
    done = {"SUCCESS": _kept(p), "FAILED": ended, "CANCELED": ended, "AUTHORIZED": held}.get(p.status, "")
    done = " ".join(filter(None, (done, beside(p))))
    text = f"{done} {said}".strip()
    if p.attention == "reversal_unresolved":
        return done, ways(p) or _look(p)
    in_doubt = [o for o in p.operations[1:] if o.state == "IN_DOUBT" and o.kind != "reversal"]
    if p.attention == "operation_unresolved" and in_doubt:
        o = in_doubt[0]
        text = f"{done} {display(o.amount_minor, p.currency)} may have been {_DONE[o.kind]}: {said}".strip()
        return text, f"Look at the provider, then: payonce resolve {p.id} --operation {o.id} --as done|not-done --reason TEXT"
    if p.attention == "amount_accepted":
        by_us = f"payonce refund {p.id}" if p.captured_minor > p.refunded_minor else ""
        at_them = f"give it back at the provider, then: payonce resolve {p.id} --as reversed --reason ..."
        return text, f"Nothing; to undo it, {f'{by_us}; or ' if by_us else ''}{at_them}"
    return text, _look(p)


_DONE = {"capture": "taken", "void": "released", "refund": "given back"}
_ONE_CHARGE = ("amount_accepted", "operation_unresolved")  # beside these nothing speaks of another charge


def _kept(p: Payment) -> str:
    """Of a payment that needs eyes: what was taken for it and what is left of that."""
    taken, given, left = display(p.captured_minor, p.currency), p.refunded_minor, p.captured_minor - p.refunded_minor
    once = "once" if p.attention in _ONE_CHARGE and not beside(p) else f"({p.provider_ref})"
    if not given:
        return f"{taken} was taken {once} and is kept.{_refunding(p)}"
    kept = f"{display(left, p.currency)} is kept" if left > 0 else "nothing of it is kept"
    return f"{taken} was taken {once}; {display(given, p.currency)} of it was given back, {kept}.{_refunding(p)}"


def _refunding(p: Payment) -> str:
    under_way = sum(o.amount_minor for o in p.operations if o.kind == "refund" and o.state == "PENDING")
    return f" {display(under_way, p.currency)} is being given back." if under_way else ""


def _taken(p: Payment, decided: Decided) -> tuple[str, str]:
    taken = display(p.captured_minor, p.currency)
    if decided == "reversed" or (p.winner is not None and p.attempts[p.winner].resolved == "reversed"):
        asked = f" {display(p.refunded_minor, p.currency)} was given back as asked." if p.refunded_minor else ""
        return f"{taken} was taken ({p.provider_ref}), and {GIVEN_BACK_SAID}.{asked}{_refunding(p)}", "Nothing."
    if decided == "not-charged":
        then = f"Look at the provider; what it took for this payment is refunded with: payonce refund {p.id}"
        return f"{taken} was taken ({p.provider_ref}), as an operator had found; {NOT_TAKEN_SAID}. One of both is wrong.", then
    part = p.authorized_minor and p.captured_minor < p.authorized_minor
    of = f" of the {display(p.authorized_minor, p.currency)} that were held" if part else ""
    back, second = p.reversed_minor(), beside(p)
    surplus = f" A surplus of {display(back, p.currency)} was given back." if back else ""
    once = f"was taken ({p.provider_ref}) and is kept. {second}" if second else f"was taken, once ({p.provider_ref})."
    text = f"{taken}{of} {once}{surplus}"
    refunds = [o for o in p.operations if o.kind == "refund"]
    given = sum(o.amount_minor for o in refunds if o.state == "SUCCEEDED")
    if given:
        all_of_it = ": nothing of it is kept" if given >= p.captured_minor else ""
        text += f" {display(given, p.currency)} was given back as asked{all_of_it}."
    text += _refunding(p)
    if refunds and refunds[-1].state == "FAILED":
        text += f" The last refund failed ({refunds[-1].reason}): nothing was given back by it."
    if second:
        return text, "Nothing: it is done by itself."
    return text, "Nothing: it is done by itself, a refund may take days." if _refunding(p) else "Nothing: it is settled."


def _nothing_kept(p: Payment) -> tuple[str, str]:
    if p.reason in ("not_charged", "reversed"):
        return f"No money is kept: {REASONS[p.reason][0].lower()}{REASONS[p.reason][1:]}", "Nothing."
    why = f" ({p.reason})" if p.reason else ""
    held = ""
    if p.authorized_minor:
        voidable = p.winner is None or p.attempts[p.winner].terms.voidable
        asked = f"; it was {'released' if voidable else 'left to lapse'} as asked" if p.reason == "voided" else ""
        held = f"{display(p.authorized_minor, p.currency)} was held and not taken{asked}. "
    return f"{held}No money is kept{why}.", "Nothing; to try again, post a new payment with a new key."


def _acting(p: Payment, action: Action | None) -> tuple[str, str]:
    until_us = acting_until_us(p.attempts[-1])
    until = f" until {dated(until_us)}" if until_us else ""
    if p.cancel_asked:
        return f"It is to be voided; the customer may still act at the provider{until}.", "Nothing: it is done by itself."
    text = f"The customer has to act at the provider{until}; nothing is taken before."
    return text, waits_for(action) if action else "Wait for the customer."


def _held(p: Payment) -> tuple[str, str]:
    held, second = display(p.authorized_minor, p.currency), beside(p)
    and_beside = f" {second}" if second else ""
    ends = f"; the hold ends {dated(p.authorization_expires_us)}" if p.authorization_expires_us else ""
    if (asked := excluding(p)) is not None:
        part = display(asked.amount_minor, p.currency)
        if lapsing := lapses(p):
            until = f", on {dated(p.authorization_expires_us)} by what is known" if p.authorization_expires_us else ""
            text = f"{held} is held and is never taken by us: {lapsing}{until}."
            return text + and_beside, "Nothing: it ends by itself."
        text = f"{held} is held; {part if asked.kind == 'capture' else 'it'} {_UNDER_WAY[asked.kind]}."
        return text + and_beside, "Nothing: it is being worked on (a worker must be running)."
    return f"{held} is held, not taken{ends}.{and_beside}", f"payonce capture {p.id}, or payonce void {p.id}."


def _doubt(p: Payment, amount: str) -> tuple[str, str]:
    seen = [verdict(a) for a in p.attempts]
    if "MISMATCH" in seen:
        text = f"{_instead(p)} not {amount} as asked: compare it with the provider."
    elif p.reason == "given_back":
        text = f"{amount} was taken and given back in full, not at our request: nothing is kept, and nothing is sent again."
    else:
        text = f"{amount} may or may not have been taken; it is never sent again, and it is read daily."
    ways = "charged --provider-ref REF --amount MINOR | not-charged | reversed"
    return text, f"Look at the provider, then: payonce resolve {p.id} --as {ways} --reason TEXT"


def _instead(p: Payment) -> str:
    """What a provider shows that differs from what was asked: taken, or only held."""
    shown = [o for a in p.attempts if verdict(a) == "MISMATCH" for _, o in evidence(a) if isinstance(o, Mismatch)]
    if shown and all(o.held for o in shown):
        return f"{display(shown[-1].amount_minor, shown[-1].currency)} is held, nothing of it is taken, and it is"
    if shown:
        return f"{display(shown[-1].amount_minor, shown[-1].currency)} was taken ({clean(shown[-1].ref)}),"
    return "Something was taken, but"


def _pending(p: Payment, amount: str) -> str:
    seen = [verdict(a) for a in p.attempts]
    if "UNKNOWN" in seen:
        terms = next(a.terms for a in p.attempts if verdict(a) == "UNKNOWN")
        into = "into the same order, which can be paid once" if terms.container else "under the same key"
        again = f"It is sent again only {into}, or not at all."
        return f"{amount} may have been taken: the answer is missing, and the provider is being asked. {again}"
    if "OPEN" in seen:
        return f"The provider has it and is working on it; {amount} may be taken."
    if seen:
        return "Nothing was taken so far; it is being tried again."
    return "Nothing was sent yet."

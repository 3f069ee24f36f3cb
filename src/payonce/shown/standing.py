"""What state the money of a payment is in, and what to do next, in plain words. Pure."""

from payonce.core.errors import REASONS
from payonce.core.money import display
from payonce.core.operations import excluding
from payonce.core.payment import Mode, Operation, Payment
from payonce.core.verdict import acting_until_us, verdict

from .views import Action
from .wording import clean, stamp

_UNDER_WAY = {"capture": "is being taken", "void": "is being released", "refund": "is being given back"}


def money(p: Payment, action: Action | None = None) -> tuple[str, str]:
    """One or a few plain sentences on the state of the money, and what to do next. ``action``: what the customer has to do,
    where that is known."""
    amount = display(p.amount_minor, p.currency)
    if p.status == "IN_DOUBT":
        return _doubt(p, amount)
    if p.attention:
        return _needing_eyes(p, amount)
    match p.status:
        case "SUCCESS":
            return _taken(p)
        case "FAILED" | "CANCELED":
            return _nothing_kept(p)
        case "REQUIRES_ACTION":
            return _acting(p, action)
        case "AUTHORIZED":
            return _held(p)
        case _:
            void = " It is to be voided." if p.cancel_asked else ""
            return _pending(p, amount) + void, "Nothing: it is being worked on (a worker must be running)."


def lifting(held: Mode, here: Mode) -> str:
    """The command that ends the hold of a mode, for who works in the mode ``here``."""
    return "`payonce reconcile`" if held == here else f"`PAYONCE_MODE={held} payonce reconcile`"


def waits_for(action: Action) -> str:
    """Where to send the customer, and until when."""
    todo, until_us = action
    url = clean(todo.url)  # the provider's text
    until = f", until {stamp(until_us)}" if until_us else ""
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


def _needing_eyes(p: Payment, amount: str) -> tuple[str, str]:
    said = REASONS.get(p.attention, p.attention)
    kept = f"{display(p.captured_minor, p.currency)} was taken once and is kept."
    done = {"SUCCESS": kept, "FAILED": "No charge is kept.", "AUTHORIZED": f"{amount} is held, not taken."}.get(p.status, "")
    text = f"{done} {said}".strip()
    in_doubt = [o for o in p.operations[1:] if o.state == "IN_DOUBT" and o.kind != "reversal"]
    if p.attention == "operation_unresolved" and in_doubt:
        o = in_doubt[0]
        text = f"{done} {display(o.amount_minor, p.currency)} may have been {_DONE[o.kind]}: {said}".strip()
        return text, f"Look at the provider, then: payonce resolve {p.id} --operation {o.id} --as done|not-done --reason TEXT"
    if p.attention == "amount_accepted":
        undo = f"to undo it, give it back at the provider, then: payonce resolve {p.id} --as reversed --reason ..."
        return text, f"Nothing; {undo}"
    return text, f"payonce reconcile, then payonce resolve {p.id} if it stays."


_DONE = {"capture": "taken", "void": "released", "refund": "given back"}


def _taken(p: Payment) -> tuple[str, str]:
    kept = display(p.captured_minor, p.currency)
    if p.winner is not None and p.attempts[p.winner].resolved == "reversed":
        return f"{kept} was taken ({p.provider_ref}), and an operator recorded that it was given back.", "Nothing."
    part = p.authorized_minor and p.captured_minor < p.authorized_minor
    of = f" of the {display(p.authorized_minor, p.currency)} that were held" if part else ""
    back = p.reversed_minor()
    surplus = f" A surplus of {display(back, p.currency)} was given back." if back else ""
    text = f"{kept}{of} was taken, once ({p.provider_ref}).{surplus}"
    refunds = [o for o in p.operations if o.kind == "refund"]
    given = sum(o.amount_minor for o in refunds if o.state == "SUCCEEDED")
    under_way = sum(o.amount_minor for o in refunds if o.state == "PENDING")
    if given:
        text += f" {display(given, p.currency)} was given back as asked."
    if under_way:
        text += f" {display(under_way, p.currency)} is being given back."
    if refunds and refunds[-1].state == "FAILED":
        text += f" The last refund failed ({refunds[-1].reason}): nothing was given back by it."
    return text, "Nothing: it is done by itself, a refund may take days." if under_way else "Nothing: it is settled."


def _nothing_kept(p: Payment) -> tuple[str, str]:
    back = p.reversed_minor()
    if back:
        return f"{display(back, p.currency)} was taken late and was given back; no charge is kept.", "Nothing."
    if any(o.kind == "reversal" and o.state == "PENDING" for o in p.operations):
        return "The provider took the money late; it is being given back.", "Nothing: it is done by itself."
    if p.reason in ("not_charged", "reversed"):
        return f"No money is kept: {REASONS[p.reason][0].lower()}{REASONS[p.reason][1:]}", "Nothing."
    why = f" ({p.reason})" if p.reason else ""
    held = f"{display(p.authorized_minor, p.currency)} was held and not taken. " if p.authorized_minor else ""
    return f"{held}No money is kept{why}.", "Nothing; to try again, post a new payment with a new key."


def _acting(p: Payment, action: Action | None) -> tuple[str, str]:
    until_us = acting_until_us(p.attempts[-1])
    until = f" until {stamp(until_us)}" if until_us else ""
    if p.cancel_asked:
        return f"It is to be voided; the customer may still act at the provider{until}.", "Nothing: it is done by itself."
    text = f"The customer has to act at the provider{until}; nothing is taken before."
    return text, waits_for(action) if action else "Wait for the customer."


def _held(p: Payment) -> tuple[str, str]:
    held = display(p.authorized_minor, p.currency)
    ends = f"; the hold ends {stamp(p.authorization_expires_us)}" if p.authorization_expires_us else ""
    if (asked := excluding(p)) is not None:
        part = display(asked.amount_minor, p.currency)
        text = f"{held} is held; {part if asked.kind == 'capture' else 'it'} {_UNDER_WAY[asked.kind]}."
        return text, "Nothing: it is being worked on (a worker must be running)."
    return f"{held} is held, not taken{ends}.", f"payonce capture {p.id}, or payonce void {p.id}."


def _doubt(p: Payment, amount: str) -> tuple[str, str]:
    seen = [verdict(a) for a in p.attempts]
    if "MISMATCH" in seen:
        text = f"Something was taken, but not {amount} as asked: compare it with the provider."
    elif p.reason == "given_back":
        text = f"{amount} was taken and given back in full, not at our request: nothing is kept, and nothing is sent again."
    else:
        text = f"{amount} may or may not have been taken; it is never sent again, and it is read daily."
    ways = "charged --provider-ref REF --amount MINOR | not-charged | reversed"
    return text, f"Look at the provider, then: payonce resolve {p.id} --as {ways} --reason TEXT"


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

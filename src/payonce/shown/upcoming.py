"""What a payment waits for: why this account, what is due next and when, and why not sooner. Pure."""

from collections.abc import Callable, Collection, Mapping, Sequence

from payonce.core.due import Block, Call, Judge, Next, Reverse, held_back
from payonce.core.operations import UNSETTLED, excluding, operation
from payonce.core.payment import FINAL, Attempt, Payment, Step
from payonce.core.verdict import unresolved, verdict

from .outcomes import reason
from .wording import lapses, relative

_DUE = {
    "create": "create an order at {}",
    "fire": "send the charge to {}",
    "replay": "send the same charge to {} again, under the same key",
    "read": "ask {} what happened",
    "close": "close it at {}",
    "capture": "take the held money at {}",
    "void": "release the held money at {}",
    "refund": "give the money back at {}",
}


def missing(p: Payment, next_: Next, known: Collection[str], lost: Callable[[Attempt], bool]) -> list[str]:
    """Accounts that the payment's future depends on and that are not ``known`` here, or are others now (``lost``)."""
    if p.provider and not p.attempts:
        return [] if p.provider in known else [p.provider]
    at = {next_.do.attempt} if isinstance(next_.do, Call) and not next_.do.opens else set()
    gone = [a.account for a in p.attempts if (unresolved(a) or a.n in at) and lost(a)]
    return list(dict.fromkeys([*gone, *(name for name in p.accounts if name not in known)]))


def chosen_by(p: Payment) -> str:
    """What chose the route; empty before the first plan."""
    if not p.route:
        return ""
    named = "the name in the request" if p.provider else "no rule"
    return p.rule if p.rule.startswith("rule ") else f"rule {p.rule}" if p.rule else named


def routed(p: Payment) -> list[str]:
    """Why this account, and why not another: the route as it was frozen at the first plan."""
    taken = [f"{n}. {c.account}: {c.why}" for n, c in enumerate((c for c in p.route if c.taken), 1)]
    return [f"by {chosen_by(p)}", *taken, *(f"not {c.account}: {c.why}" for c in p.route if not c.taken)] if p.route else []


def upcoming(
    due_us: int | None,
    next_: Next,
    p: Payment,
    now_us: int,
    *,
    missing: Sequence[str],
    blocked: Mapping[str, Block],
    held: bool = False,
) -> str:
    """What is due next, when and why; empty when nothing is owed any more. ``due_us`` is the due index's word, what is
    done then is planned with the accounts that are here; ``missing`` are those that are not: then nothing is guessed.
    ``held``: after a restore nothing may be fired yet (``serve --hold``)."""
    if due_us is None:
        return ""
    when = "now" if due_us <= now_us else relative(due_us, now_us)
    if missing:
        these = f"account {missing[0]} is" if len(missing) == 1 else f"accounts {', '.join(missing)} are"
        return f"a worker looks at it, {when}; the {these} not in this configuration, so what it will do is not known here"
    match next_.do:
        case Call() as call:
            what = _DUE[call.kind].format(call.account)
        case Judge() as judge:
            what = f"conclude {judge.what}: {reason(judge.reason)}"
            if judge.operation:
                state = judge.what.removeprefix("operation_")
                what = f"conclude that the {operation(p, judge.operation).kind} is {state}: {reason(judge.reason)}"
        case Reverse():
            what = "give a surplus charge back"
        case None:
            what = "look at it again"
    if held and held_back(next_.do):
        return f"{what}, but not before `payonce reconcile` has run: since a restore payonce is held, and sends nothing"
    if isinstance(next_.do, Call) and next_.do.kind in ("create", "fire") and (block := blocked.get(next_.do.account)):
        return f"{what}, {when}; it waits because nothing new goes to {next_.do.account}: {block.why}{_gives_up(p, now_us)}"
    leased = next((s for s in p.steps() if s.outcome is None and s.lease_until_us > now_us), None)
    waiting = f", unless the answer to the {leased.kind} now under way comes first" if leased else ""
    ends = _gives_up(p, now_us) if isinstance(next_.do, Call) and next_.do.kind in ("create", "fire") else ""
    return f"{what}, {when}{waiting}{why_it_waits(p, leased)}{ends}"


def _gives_up(p: Payment, now_us: int) -> str:
    """When a payment of which nothing was taken stops looking for an account."""
    if not p.attempts or any(unresolved(a) for a in p.attempts):
        return ""
    settle_by = p.created_us + p.attempts[0].terms.settle_s * 1_000_000
    return f"; it gives up {relative(settle_by, now_us)} (no_provider_available)" if settle_by > now_us else ""


def why_it_waits(p: Payment, leased: Step | None) -> str:
    """What it waits for, with a semicolon before it; or nothing."""
    if leased is not None or not p.attempts:
        return ""
    asked = next((o for o in p.operations[1:] if o.state in UNSETTLED and o.steps), None)
    if lapsing := lapses(p):
        return f"; it waits because {lapsing}"
    if p.attempts[-1].left and p.status not in FINAL:
        return "; nothing was taken of the hold there, and never will be by us"
    match verdict(p.attempts[-1]):
        case _ if asked is not None:
            return f"; it waits because the {asked.kind} is not settled yet"
        case "UNKNOWN":
            return "; it waits because nobody knows yet whether the last send was charged"
        case _ if p.status == "AUTHORIZED" and excluding(p) is None:
            return "; it waits for a capture or a void"
        case "OPEN" if p.status == "REQUIRES_ACTION":
            return "; it waits for the customer"
        case "OPEN":
            return "; it waits because the provider is still working on it"
        case "NO" | "IDLE" if p.status == "PENDING":
            return "; nothing was taken so far"
        case _ if p.status in FINAL:
            return "; a final payment is still watched for late surprises"
        case _:
            return ""

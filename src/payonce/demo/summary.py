"""The figures of the demo for a person."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from payonce.core.payment import FINAL, Payment

from .balance import Balance, Side, acted, asked_of, decline_scopes, failed_over, passed_over
from .ground import Ground
from .traffic import Traffic

COLUMNS = ("charged", "held", "captured", "released", "given back", "came back", "kept", "payments say")
TOGETHER = "together"


def summary(result: Balance, traffic: Traffic) -> str:
    """What happened, what is not finished, and the comparison with the ledgers."""
    lines = [
        "",
        "What happened:",
        *_happened(result, traffic),
        *_unfinished(result, traffic),
        "",
        *_ledgers(result, traffic.ground),
    ]
    if result.wrong:
        line = "!" * 80
        lines += ["", line, "WRONG: the promise is broken. Please report this.", *(f"  {w}" for w in result.wrong), line]
    else:
        lines += ["  every status and amount agrees with the ledgers, and every provider keeps what the payments say"]
    return "\n".join(lines)


def _n(count: int, text: str) -> str:
    """A line, or nothing when there is nothing to count."""
    return f"  {count:4} {text}" if count else ""


def _happened(result: Balance, traffic: Traffic) -> list[str]:
    payments = [past.payment for past in result.pasts]
    settled = Counter(p.status for p in payments if p.status in FINAL)
    by_rule = Counter(_rule(p) for p in payments)
    scopes = decline_scopes(payments)
    lines = [
        _n(len(traffic.ids), f"payments accepted from {traffic.sent} posts"),
        _n(traffic.replayed, "duplicate posts answered with the first payment"),
        *(_n(count, rule) for rule, count in by_rule.most_common()),
        _n(settled.total(), f"settled: {_counts(settled)}"),
        _n(sum(past.sends > 1 for past in result.pasts), "needed more than one send"),
        _n(
            sum(past.unknown for past in result.of_status(*FINAL)),
            "were unknown for a while and were resolved by asking the provider",
        ),
        _n(scopes.total(), f"attempts declined: {', '.join(f'{n} {scope}' for scope, n in scopes.most_common())}"),
        _n(
            sum(failed_over(p) for p in payments), "failed over to another account, each after the attempt before it was sealed"
        ),
        _n(
            sum(passed_over(p) for p in payments),
            "did not go to the first account of their route, because its breaker was open",
        ),
        _n(sum(p.reversed_minor() > 0 for p in payments), "taken late, after the payment had ended unpaid, and given back"),
    ]
    lines += _afterwards(payments)
    lines.append(_n(result.webhooks, "webhooks arrived: each only makes payonce ask the provider"))
    if traffic.refused:
        lines.insert(1, _n(len(traffic.refused), "refused: no account of this configuration takes them"))
    return [line for line in (*lines, *_outage(traffic)) if line]


def _afterwards(payments: list[Payment]) -> list[str]:
    """What came after a charge or a hold, and before one where the customer had to act."""
    asked, waited = asked_of(payments), Counter(p.status for p in payments if acted(p))
    lines = [_n(waited.total(), f"had to wait for their customer: {_counts(waited)}")]
    for kind in ("capture", "void", "refund"):
        states = Counter({state: n for (its, state), n in asked.items() if its == kind})
        lines.append(_n(states.total(), f"{kind}{'' if states.total() == 1 else 's'} asked for: {_counts(states)}"))
    return lines


def _counts(counts: Mapping[Any, int]) -> str:
    return ", ".join(f"{n} {name}" for name, n in sorted(counts.items()))


def _rule(p: Payment) -> str:
    if p.provider:
        return "went to an account that the request names"
    return f"routed by rule {p.rule}" if p.rule else "routed in the order of the configuration"


def _outage(traffic: Traffic) -> list[str]:
    outage, lead = traffic.outage, traffic.ground.lead
    if not outage.seen:
        return []
    if not outage.opened:
        return [_n(1, f"outage of {traffic.ground.vendor}; the breaker of {lead} did not open")]
    healed = "it closed when the provider was back" if outage.healed else "it had not closed again when this ended"
    return [_n(1, f"outage of {traffic.ground.vendor}: the breaker of {lead} opened, and {healed}")]


def _unfinished(result: Balance, traffic: Traffic) -> list[str]:
    holds = {vendor: side.open_holds for vendor, side in result.sides.items() if side.open_holds}
    doubt = len(result.of_status("IN_DOUBT"))
    endless = {p.payment.id for p in result.of_status("PENDING")} & {id for id, post in traffic.by_id.items() if post.endless}
    lines = []
    if doubt:
        lines.append(_n(doubt, "IN_DOUBT: the provider reports something else than was asked; it waits for you"))
    if acting := len(result.of_status("REQUIRES_ACTION")):
        lines.append(_n(acting, "REQUIRES_ACTION: waits for its customer to approve or decline; be it, below"))
    if endless:
        lines.append(_n(len(endless), "PENDING: the provider does not say how it ends; it will be IN_DOUBT, never FAILED"))
    for vendor, count in holds.items():
        what = "hold is" if count == 1 else "holds are"
        title = traffic.ground.title(vendor)
        lines.append(_n(count, f"{what} left at {title}: never captured, so no money; the provider lets it lapse by itself"))
    if result.watched:
        lines.append(_n(result.watched, "ended and still watched: should a provider change its mind, it will be noticed"))
    return ["", "Not finished:", *lines] if lines else []


def _ledgers(result: Balance, ground: Ground) -> list[str]:
    names = {vendor: ground.title(vendor) for vendor in sorted(result.sides)}
    width = max(len(name) for name in (*names.values(), TOGETHER))
    lines = [
        f"The providers' ledgers ({result.movements} movements) against {len(result.pasts)} payments:",
        f"  {'':<{width}}  " + "  ".join(COLUMNS),
    ]
    total = Side()
    for vendor, name in names.items():
        side = result.sides[vendor]
        lines.append(f"  {name:<{width}}  {_row(side)}")
        for field in Side.__struct_fields__:
            setattr(total, field, getattr(total, field) + getattr(side, field))
    lines += [f"  {TOGETHER:<{width}}  {_row(total)}", ""]
    if total.doubt:
        lines.append(f"  {total.doubt} of the kept charges {'is' if total.doubt == 1 else 'are'} IN_DOUBT; a hold is not money")
    lines.append(f"  {result.charges_max} charge at most per payment over all providers, net of what was given back")
    return lines


def _row(side: Side) -> str:
    took = (side.charged, side.held, side.captured, side.released)
    values = (*took, side.refunded, side.came_back, side.kept, side.told_kept)
    return "  ".join(f"{value:>{len(title)}}" for value, title in zip(values, COLUMNS, strict=True))

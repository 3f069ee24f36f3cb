"""Times, lengths of time and free text as people read them: the same words on the command line and on pages. Pure."""

from datetime import UTC, datetime

from payonce.core.operations import excluding
from payonce.core.payment import Payment
from payonce.core.redact import mask


def stamp(at_us: int) -> str:
    """RFC 3339 in UTC with milliseconds."""
    return datetime.fromtimestamp(at_us / 1_000_000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def dated(at_us: int) -> str:
    """A time within a sentence, to the minute: ``3 Dec 2026 11:51 UTC``."""
    at = datetime.fromtimestamp(at_us / 1_000_000, UTC)
    return f"{at.day} {at:%b %Y %H:%M} UTC"


def span(us: int) -> str:
    """A length of time for people: ``12 ms``, ``3.4 s``, ``5 min``, ``2 h``, ``3 d``."""
    s = abs(us) / 1_000_000
    if s < 1:
        return f"{s * 1000:.0f} ms"
    for limit, unit, name in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h"), (float("inf"), 86_400, "d")):
        if s < limit:
            return f"{s / unit:.1f}".removesuffix(".0") + f" {name}"
    raise AssertionError("unreachable")


def relative(at_us: int, now_us: int) -> str:
    """``in 3 s`` or ``5 min ago``."""
    return f"in {span(at_us - now_us)}" if at_us > now_us else f"{span(now_us - at_us)} ago"


def clean(text: str) -> str:
    """What a provider or a customer wrote: on one line, without control characters, card numbers and secrets."""
    return "".join(c if c.isprintable() else " " for c in mask(text))


def lapses(p: Payment) -> str:
    """Why what is held ends by itself only, where a void was asked at an account that knows none; else nothing."""
    asked = excluding(p) if p.status == "AUTHORIZED" and p.winner is not None else None
    if asked is None or asked.kind != "void" or p.attempts[p.winner or 0].terms.voidable:
        return ""
    return f"{p.attempts[p.winner or 0].account} has no void, so that the hold lapses by itself"

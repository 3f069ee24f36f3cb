"""What happened in a world, in order: as a hash, to tell two runs apart, and as lines that people read."""

import hashlib
from collections.abc import Iterator
from typing import Any, Final

from msgspec import Struct

from payonce.core.events import Asked, Hinted, Judged, Observed, Planned
from payonce.core.outcome import Found

START_US: Final = 1_800_000_000_000_000  # when every world begins: 15 January 2027, 08:00 UTC


class Line(Struct, frozen=True):
    at_us: int
    who: str  # a host, a vendor, a merchant, the world
    payment: str  # its id, or ""
    what: str


class Trace:
    """``keep`` holds the lines as well; the hash is always made."""

    def __init__(self, *, keep: bool) -> None:
        self.lines: list[Line] = []
        self._keep, self._hash = keep, hashlib.blake2b(digest_size=16)

    def note(self, at_us: int, who: str, payment: str, what: str) -> None:
        self._hash.update(f"{at_us} {who} {payment} {what}\n".encode())
        if self._keep:
            self.lines.append(Line(at_us, who, payment, what))

    def digest(self) -> str:
        return self._hash.hexdigest()

    def timeline(self, payment: str = "") -> Iterator[str]:
        """Lines to read; of one payment, with what concerns everybody."""
        names = {p: f"P{n}" for n, p in enumerate(dict.fromkeys(line.payment for line in self.lines if line.payment))}
        for line in self.lines:
            if payment and line.payment not in ("", payment):
                continue
            yield f"{elapsed(line.at_us - START_US):>14}  {line.who:<10} {names.get(line.payment, ''):<4} {line.what}"
        if self.lines:
            yield "  ".join(f"{short} = {full}" for full, short in names.items() if not payment or full == payment)


def elapsed(us: int) -> str:
    """``1d 02:03:04.567`` since the world began."""
    seconds, rest = divmod(us, 1_000_000)
    minutes, s = divmod(seconds, 60)
    hours, m = divmod(minutes, 60)
    days, h = divmod(hours, 24)
    return (f"{days}d " if days else "") + f"{h:02}:{m:02}:{s:02}.{rest // 1000:03}"


def told(event: object, status: str) -> str:
    """An event in one line, for the timeline."""
    match event:
        case Planned():
            s = event.step
            where = f" at {event.opens.account}" if event.opens else ""
            return f"plans {s.kind} of attempt {event.attempt + 1}{where}" + (
                f", operation {event.operation}" if event.operation else ""
            )
        case Observed():
            return f"hears about #{event.about}: {_brief(event.outcome)} -> {status}"
        case Judged():
            return f"judges {event.what} {event.reason} -> {status}"
        case Hinted():
            return f"is hinted at attempt {event.attempt + 1}"
        case Asked():
            return f"asks for {event.kind}"
    return f"{type(event).__name__} -> {status}"


def _brief(outcome: Any) -> str:
    name = type(outcome).__name__
    if isinstance(outcome, Found):
        tries = ", ".join(_brief(t) for t in outcome.tries) or "nothing"
        return f"{name} {outcome.container}: {tries}"
    more = [str(getattr(outcome, n)) for n in ("code", "reason", "amount_minor") if getattr(outcome, n, "")]
    return " ".join((name, *more))

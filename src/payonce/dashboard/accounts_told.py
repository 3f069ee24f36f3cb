"""The state of a provider account in plain words: does it take new payments, why not, and when that ends. Pure."""

from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct

from .comparing import USUAL, WINDOWS
from .rendering import clock, percent, utc

# From when on an account that is open for payments is worth a look: few calls say nothing, and old ones nothing about now.
RECENT_MIN: Final = 3  # minutes, the running one among them
CALLS_MIN: Final = 10
ERRORS_SHARE: Final = 0.2
ATTEMPTS_MIN: Final = 20
FALL: Final = 0.15  # of the success rate, against the window before
NOW: Final = USUAL  # the window that a state is told from
_AWAY: Final = "Nothing new goes there: new payments use the other accounts, or wait."


class Told(Struct, frozen=True):
    """``tone`` as the badges have them; ``word`` on the badge; ``text`` in one or two sentences; ``trouble``: somebody should
    look."""

    tone: str
    word: str
    text: str
    trouble: bool = False


def told(provider: Mapping[str, Any]) -> Told:
    """Of one account of ``GET /providers`` in the window NOW, whatever window the page shows: a state is about now."""
    drain, breaker = provider["drain"], provider["breaker"]
    if provider["adapter"] is None:
        gone = (
            "It takes no new payments of yours any more. Payments that began there are finished there while it is configured."
        )
        return Told("neutral", "Not in use", gone)
    if drain:
        by, why = drain["by"], drain["reason"]  # null for a caller who may not switch the account
        who = f" by {by}" if by else ""
        what = f": {_sentence(why)}" if why else "."
        text = f"Drained{who} since {utc(drain['since'])}{what} Nothing new goes there; "
        also = f" Its breaker is {breaker['state']} as well: {_sentence(breaker['why'])}" if breaker else ""
        return Told("warn", "Drained", f"{text}payments that are under way there are finished.{also}", trouble=True)
    return _breaker(breaker) if breaker else _open(provider)


def _breaker(breaker: Mapping[str, Any]) -> Told:
    why, until = _sentence(breaker["why"]), clock(breaker["until"])
    if breaker["state"] == "open":
        text = f"{_AWAY} {_first(why)} One call tries it at {until} UTC; when it goes well, the account is back."
        return Told("bad", "Breaker open", text, trouble=True)
    if breaker["state"] == "probing":
        text = f"One call tries it now. {_AWAY} {_first(why)}"
        return Told("warn", "Breaker tries it", text, trouble=True)
    return Told("warn", "Breaker half open", f"The next new payment tries it with one call. {_first(why)}", trouble=True)


def _first(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else text + "."


def _open(provider: Mapping[str, Any]) -> Told:
    sums, recent = provider["sums"], provider["series"][-RECENT_MIN:]
    calls, errors = sum(each["calls"] for each in recent), sum(each["errors"] for each in recent)
    if calls >= CALLS_MIN and errors >= calls * ERRORS_SHARE:
        text = f"Takes new payments, but {percent(errors / calls)} of its calls failed in the last {RECENT_MIN} min."
        return Told("warn", "Many errors", text, trouble=True)
    rate, was = sums["successRate"], sums["previous"]["successRate"]
    if sums["attempts"] >= ATTEMPTS_MIN and rate is not None and was is not None and was - rate >= FALL:
        text = f"Takes new payments, but approves {percent(rate)} of them; {percent(was)} in {WINDOWS[NOW].before}."
        return Told("warn", "Approves less", text, trouble=True)
    return Told("ok", "Takes payments", "Takes new payments.")

"""What keeps the whole service from its work, in plain words: a hold after a restore, a store that takes no writes. Pure.

It is the first thing to know on the pages that say whether all is well, as each other sign there may be green meanwhile."""

from collections.abc import Iterator

from msgspec import Struct

HELD = "Held: nothing is sent until payonce reconcile has run"


class Finding(Struct, frozen=True):
    """Something about the whole that somebody has to know. ``command``: what to run about it."""

    tone: str
    title: str
    text: str
    command: str = ""


def findings(*, held: bool, trouble: str | None, house: bool) -> Iterator[Finding]:
    """What is wrong, the worst first; nothing when all is well. ``trouble``: as the API says it, with the reason for the house
    only. ``house``: told to whoever runs payonce, and can do something about it."""
    if trouble and house:
        text = "No payment is accepted and nothing is sent to providers until it takes writes. What was accepted is safe."
        yield Finding("bad", "The store takes no writes", f"{trouble} {text}")
    elif trouble:
        text = f"{trouble} Send what was refused again later, with the same Idempotency-Key: it is done once."
        yield Finding("bad", "No new payments are accepted", text)
    if held and house:
        text = (
            "After a restore the record may be older than what providers know. Payments are accepted and wait; nothing that "
            "may move money is sent, and what was sent before is asked about. Run this beside the server, with its --data-dir "
            "and --config: it compares the record with every provider, and ends the hold when all have answered."
        )
        yield Finding("warn", HELD, text, "payonce reconcile")
    elif held:
        text = "Payments are accepted and wait: the service is being restored. Nothing is lost, and nothing is for you to do."
        yield Finding("warn", "Payments wait", text)

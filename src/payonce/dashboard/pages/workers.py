"""Queues and workers: what waits, for how long, who is to do it, and whether the store takes writes."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from msgspec import Struct

from payonce.dashboard import service_told
from payonce.dashboard.rendering import count, seconds
from payonce.dashboard.service_told import Finding
from payonce.dashboard.visit import Screen, View, Visit

POLL_S: Final = 5
DUE_MAX: Final = 1000  # up to which the API counts what is due
LISTED_MAX: Final = 99  # the same for states of webhooks


class Queue(Struct, frozen=True):
    """What is due of one kind, and which page has it."""

    title: str
    says: str
    due: Mapping[str, Any]
    path: str


async def show(visit: Visit) -> View:
    """One question to the API."""
    w = await visit.ask.need("/workers")
    data = {
        "w": w,
        "findings": list(findings(w)),
        "queues": [
            Queue("Payments", "to be tried, asked about, or ended", w["due"], "/attention#overdue"),
            Queue("Webhooks of providers", "to be looked up", w["webhooksDue"], "/webhooks"),
            Queue("News", "payments of which merchants are to be told", w["notices"], "/deliveries"),
            Queue("Webhooks to you", "to be sent", w["deliveriesDue"], "/deliveries?state=pending"),
        ],
        "due": lambda n: capped(n, DUE_MAX),
        "listed": lambda n: capped(n, LISTED_MAX),
        "poll_s": POLL_S,
    }
    return View("workers.html", data)


def findings(w: Mapping[str, Any]) -> Iterator[Finding]:
    """What is wrong, the worst first; nothing when all is well."""
    yield from service_told.findings(held=w["held"], trouble=w["trouble"], house=True)
    due = w["due"]
    if due["overdue"]:
        late = f", the first for {seconds(due['oldestS'])}" if due["oldestS"] is not None else ""
        text = f"{_n(due['overdue'])} due for more than a minute{late}. No worker runs, or none keeps up. "
        text += "Start one: payonce worker."
        yield Finding("warn", "Payments are overdue", text)
    elif not w["worker"]:
        text = "Another process may have one, which is not seen from here. Nothing is overdue, so that one seems to run."
        yield Finding("neutral", "This process has no worker", text)
    for name, title in (("webhooksDue", "Webhooks of providers are overdue"), ("deliveriesDue", "Webhooks to you are overdue")):
        if w[name]["overdue"]:
            yield Finding(
                "warn",
                title,
                f"{_n(w[name]['overdue'], 'webhook')} due for more than a minute. Start a worker: payonce worker.",
            )


def capped(n: int, most: int) -> str:
    """A count that ends at ``most``."""
    return f"{count(most)}+" if n >= most else count(n)


def _n(n: int, word: str = "payment") -> str:
    return f"1 {word} is" if n == 1 else f"{capped(n, DUE_MAX)} {word}s are"


PAGES: Final = (Screen("/workers", show, nav="workers", house=True),)

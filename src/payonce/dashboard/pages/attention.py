"""What needs somebody: payments in doubt, work that is late, webhooks that led nowhere or did not arrive, dead letters. Each
with what it means, what state the money is in, and what to do."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from msgspec import Struct

from payonce.core.errors import explain
from payonce.dashboard.rendering import count
from payonce.dashboard.service_told import findings
from payonce.dashboard.visit import Screen, View, Visit

POLL_S: Final = 10


class Section(Struct, frozen=True):
    """One kind of trouble. ``rows`` are those of the API; ``all_path``: the list that has more of them."""

    id: str
    title: str
    count: str
    means: str
    todo: str
    rows: list[Any]
    of: int
    all_path: str = ""
    note: str = ""


class Meaning(Struct, frozen=True):
    """What a kind of trouble means, and what to do about it."""

    means: str
    todo: str


MEANS: Final[Mapping[str, Meaning]] = {
    "in-doubt": Meaning(
        means="What became of the money is not known, or does not add up. Money may have moved. payonce does not charge again "
        "for these; it goes on asking the provider where that can still help.",
        todo="Open each one and check with the provider now. When the provider's own records show what happened, resolve it: "
        "the page says what each decision does.",
    ),
    "overdue": Meaning(
        means="Something was planned for these payments and nobody took it up for more than a minute. No money is lost by it: "
        "what is planned is done as soon as a worker runs.",
        todo="See on Queues and workers whether a worker runs and the store takes writes. Then start one: payonce worker.",
    ),
    "webhooks": Meaning(
        means="A provider told of something that belongs to no payment here, or not yet. No money depends on it: a payment is "
        "settled by asking too.",
        todo="Parked ones are looked up again by themselves. For unmatched ones, see whether another system uses the same "
        "provider account, or whether the payment is in another store.",
    ),
    "deliveries": Meaning(
        means="Your systems were not told of these events: their endpoint did not answer with success. The payments themselves "
        "are not touched by it.",
        todo="Repair the endpoint, then replay them. What happened can also be read from GET /events.",
    ),
    "dead-letters": Meaning(
        means="Messages that no function could handle. A message is only a hint: what it is about is done without it, by the "
        "sweeper.",
        todo="Look at the logs of the worker function for the reason. Then payonce dlq redrive or purge.",
    ),
}


async def show(visit: Visit) -> View:
    """One question to the API. What is not the caller's business is not shown."""
    found = await visit.ask.need("/attention")
    sections = list(_sections(found))
    service = list(findings(held=found["held"], trouble=found["trouble"], house=visit.house))
    waits = [f"{each.title}: {each.count}" for each in sections if each.of]
    data = {
        "said": ". ".join([each.title for each in service] + waits) or "Nothing needs you",
        "sections": [each for each in sections if each.of],
        "service": service,
        "fine": [each.title for each in sections if not each.of],
        "explain": why,
        "poll_s": POLL_S,
    }
    return View("attention.html", data)


def _sections(found: Mapping[str, Any]) -> Iterator[Section]:
    yield _section("in-doubt", "Payments in doubt", found["inDoubt"], "/payments?attention=true")
    yield _section("overdue", "Overdue payments", found["overdue"], "/workers")
    if found["webhooks"] is not None:
        yield _section("webhooks", "Webhooks of providers without a payment", found["webhooks"], "/webhooks?state=unmatched")
    if found["deliveries"] is not None:
        yield _section("deliveries", "Webhooks to you that did not arrive", found["deliveries"], "/deliveries?state=failed")
    if found["deadLetters"] is not None and found["deadLetters"]["known"]:
        yield _section("dead-letters", "Dead letters", found["deadLetters"], "")


def _section(id: str, title: str, part: Mapping[str, Any], all_path: str) -> Section:
    about = MEANS[id]
    n, rows = part["count"], part["data"]
    more = part.get("more", False)
    note = f"The first {len(rows)} of {'more than ' if more else ''}{count(n)} are shown." if more or n > len(rows) else ""
    said = count(n) + ("+" if more else "")
    return Section(id, title, said, about.means, about.todo, rows, n, all_path if note else "", note)


def why(code: str | None) -> str:
    """A code of a payment in words; text that is no code stays as it is."""
    return (explain(code) or code) if code else ""


PAGES: Final = (Screen("/attention", show, nav="attention"),)

"""How few write units any layout could have, and what the history as items of its own would cost."""

from collections.abc import Mapping, Sequence
from typing import Final

from payonce.ports import Change
from payonce.stores.dynamodb import packing
from payonce.testing.amazon.bill import write_units

from .cases import Case

KEYS: Final = 70  # bytes of an event item beside the event: its keys and the names of its attributes
ROW: Final = 400  # bytes of a payment's row without its history: less than 1 KB in any case
BOUND: Final = ("the least", "history in the item (ours)", "history as event items")


def least_steps(changes: Sequence[Change]) -> int:
    """Writes after acceptance that R2 and R3 ask for: a claim before each call, each answer on record. An answer and what
    comes next at once may share one write."""
    writes, before = 0, 0
    for change in changes[1:]:
        event = change.entries[0].envelope
        if not (event.kind in ("Planned", "Judged") and event.at_us == before):
            writes += 1
        before = 0 if event.kind == "Planned" else event.at_us
    return writes


def parts(case: Case) -> dict[str, tuple[int, int]]:
    """(at least, ours) by what needs it."""
    u = case.used
    updates, puts = u.calls.get("dynamodb UpdateItem", 0), u.calls.get("dynamodb PutItem", 0)
    due, listed = int(u.writes["Transactions/due"]), int(u.writes["Transactions/list"])
    big = int(u.writes["Transactions"]) - 2 - updates - puts
    told = sum(len(change.news) for change in case.changes)
    return {
        "accept": (4, 2 + int(u.writes["Idempotency"])),
        "due": (2, due),
        "steps": (least_steps(case.changes), updates),
        "list": (2, listed),
        "feed": (told, told),
        "puts": (0, puts - told),
        "big": (0, big),
    }


SAYS: Final[Mapping[str, tuple[str, str]]] = {
    "accept": ("payment and key, one transaction of two items", "R1: both or neither; a transaction costs twice"),
    "due": ("entry in the due index, and out of it", "R1: without any message the sweeper finds what is due"),
    "steps": ("claims and answers", "R2: a claim before each call. R3, R12: each answer on record"),
    "list": ("entry in the list index, and its last status", "lists by status, without a scan"),
    "feed": ("a place in the feed for each public event", "the events API: in order, from any point on, without a scan"),
    "puts": ("the provider's ids as items", "a webhook or a search that knows nothing but such an id"),
    "big": ("items above 1 KB", "a long history"),
}
SHOWN: Final = ("plain success: mock", "plain success: stripe", "plain success: razorpay, captured by us")


def bound_rows(cases: Mapping[str, Case]) -> list[list[str]]:
    """The bound beside ours, for three ways to succeed."""
    found = [parts(cases[name]) for name in SHOWN]
    rows = []
    for key, (what, why) in SAYS.items():
        at_least, ours = zip(*[each[key] for each in found], strict=True)
        rows.append([what, why, " / ".join(map(str, at_least)), " / ".join(map(str, ours))])
    sums = [[sum(each[key][side] for key in SAYS) for each in found] for side in (0, 1)]
    rows.append(["**sum**", "", *(f"**{' / '.join(map(str, side))}**" for side in sums)])
    return rows


def as_event_items(case: Case) -> int:
    """Write units if each event were an item, written with the row in one transaction, so that neither can be without the
    other. Events are packed as ours are, each by itself; indexes and references as ours."""
    units = int(case.used.writes["Transactions/due"] + case.used.writes["Transactions/list"])
    units += case.used.calls.get("dynamodb PutItem", 0)
    for change in case.changes:
        sizes = [KEYS + len(packing.pack(entry.raw)) for entry in change.entries]
        units += 2 * (write_units(ROW) + sum(map(write_units, sizes)) + (1 if change.key else 0))
    return units


def layout_rows(cases: Sequence[Case]) -> list[list[str]]:
    rows = []
    for case in cases:
        if case.changes:
            events = sum(len(change.entries) for change in case.changes)
            least = sum(low for low, _ in parts(case).values())
            ours = sum(case.used.writes.values())
            rows.append([case.name, str(events), str(least), f"{ours:.0f}", str(as_event_items(case))])
    return rows

"""The end of the demo: every status against the sandbox's ledger. The ledger is the provider's word, not ours."""

from collections import Counter, defaultdict
from typing import Any

import httpx2
from msgspec import Struct

from payonce.core.money import display

from .traffic import Traffic

OPEN = ("PENDING", "REQUIRES_ACTION")
UNSETTLED = (*OPEN, "IN_DOUBT")
SENDS = ("fire", "replay", "capture")


class Balance(Struct, frozen=True, kw_only=True):
    """What was measured."""

    statuses: dict[str, int]
    retried: int  # payments for which more than one charge was sent
    unknown: int  # payments whose outcome was unknown for a while and that are settled now
    open: int
    movements: int
    reversed: int
    charges_max: int  # charges of one payment, net of full reversals
    compared: int
    wrong: list[str]  # what differs from the ledger, or was charged more than once
    example: str


async def balance(client: httpx2.AsyncClient, traffic: Traffic) -> Balance:
    """Read everything back over HTTP and compare."""
    movements = await _ledger(client)
    kept = net_charges(movements)
    wrong = [f"the key {key} made {len(ids)} payments" for key, ids in traffic.ids.items() if len(ids) > 1]
    statuses: Counter[str] = Counter()
    retried = unknown = open_ = given_back = 0
    example = ""
    for payment_id in traffic.by_id:
        view = (await client.get(f"/payments/{payment_id}")).json()
        history = (await client.get(f"/payments/{payment_id}/history", params={"limit": "1000"})).json()["data"]
        statuses[view["status"]] += 1
        given_back += view["reversed"] > 0
        sends, lost = _sends(history), _was_unknown(history)
        retried += sends > 1
        settled = view["status"] in ("SUCCESS", "FAILED", "CANCELED")
        unknown += lost and settled
        open_ += view["status"] in OPEN
        if lost and settled and not example:
            example = payment_id
        wrong += differences(view, kept.get(payment_id, []))
    for stranger in set(kept) - set(traffic.by_id):  # in a kept data folder there are those of earlier runs
        if (await client.get(f"/payments/{stranger}")).status_code != 200:
            wrong.append(f"the ledger has a charge for {stranger}, which nobody posted")
    return Balance(
        statuses=dict(statuses),
        retried=retried,
        unknown=unknown,
        open=open_,
        movements=len(movements),
        reversed=given_back,
        charges_max=max((len(charges) for charges in kept.values()), default=0),
        compared=len(traffic.by_id),
        wrong=wrong,
        example=example,
    )


async def _ledger(client: httpx2.AsyncClient) -> list[dict[str, Any]]:
    movements: list[dict[str, Any]] = []
    after = 0
    while True:
        page = (await client.get("/sandbox/ledger", params={"after": str(after), "limit": "500"})).json()
        if not page["movements"]:
            return movements
        movements += page["movements"]
        after = page["next"]


def net_charges(movements: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Payment id -> its charges over all attempts, without those that were given back in full."""
    back: dict[str, int] = defaultdict(int)
    for m in movements:
        if m["kind"] == "refund":
            back[m["reference"]] += m["amount"]
    kept: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for m in movements:
        if m["kind"] in ("charge", "capture"):
            given = min(back[m["reference"]], m["amount"])
            back[m["reference"]] -= given
            if given < m["amount"]:
                kept[f"pay_{m['reference'][:20]}"].append(m)
    return dict(kept)


def differences(view: dict[str, Any], kept: list[dict[str, Any]]) -> list[str]:
    """What of one payment's status the ledger does not bear out; empty when all is right."""
    name, status = view["transactionId"], view["status"]
    shown = [(m["amount"], m["currency"]) for m in kept]
    if len(kept) > 1:
        return [f"{name} was charged {len(kept)} times"]
    if status == "SUCCESS" and shown != [(view["amount"], view["currency"])]:
        charged = ", ".join(display(*each) for each in shown) or "nothing"
        return [f"{name} is SUCCESS over {display(view['amount'], view['currency'])}, but the ledger shows {charged}"]
    if status in ("FAILED", "CANCELED") and kept:
        return [f"{name} is {status}, but the ledger keeps a charge"]
    return []


def _sends(history: list[dict[str, Any]]) -> int:
    return sum(1 for e in history if e["kind"] == "Planned" and e["data"].get("step", {}).get("kind") in SENDS)


def _was_unknown(history: list[dict[str, Any]]) -> bool:
    """A charge was sent and its answer was lost or unreadable."""
    fired = {e["seq"] for e in history if e["kind"] == "Planned" and e["data"].get("step", {}).get("kind") in SENDS}
    answers = {e["data"]["about"]: e["data"]["outcome"]["type"] for e in history if e["kind"] == "Observed"}
    return any(answers.get(seq, "Unknown") == "Unknown" for seq in fired)


def summary(result: Balance, traffic: Traffic) -> str:
    """The figures for a person."""
    by_status = ", ".join(f"{n} {status}" for status, n in sorted(result.statuses.items()) if status not in UNSETTLED)
    doubt = result.statuses.get("IN_DOUBT", 0)
    settled = result.compared - result.open - doubt
    lines = [
        "",
        "What happened:",
        f"  {len(traffic.ids):4} payments accepted from {traffic.sent} posts",
        f"  {traffic.replayed:4} duplicate posts answered with the first payment",
        f"  {settled:4} settled: {by_status}",
        f"  {result.retried:4} needed more than one send",
        f"  {result.unknown:4} were unknown for a while and were resolved by asking the provider",
        f"  {result.reversed:4} taken late, after the payment had ended unpaid, and given back",
    ]
    if doubt:
        lines.append(f"  {doubt:4} IN_DOUBT, not settled: the provider reports something else than was asked; it waits for you")
    if result.open:
        lines.append(
            f"  {result.open:4} still being watched: the provider does not say how it ends; it will be IN_DOUBT, never FAILED"
        )
    lines += [
        "",
        f"The provider's ledger ({result.movements} movements) against {result.compared} payments:",
        f"  {result.charges_max:4} charge at most per payment, net of what was given back",
    ]
    if result.wrong:
        lines += [
            "",
            "!" * 80,
            "WRONG: the promise is broken. Please report this.",
            *(f"  {each}" for each in result.wrong),
            "!" * 80,
        ]
    else:
        lines.append("       every status agrees with the ledger")
    return "\n".join(lines)

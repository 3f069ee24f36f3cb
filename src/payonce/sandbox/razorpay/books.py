"""Razorpay's objects: orders, payments and refunds with their past, and what GETs show of them."""

import re
from collections.abc import Mapping
from typing import Any, Final

from payonce.sandbox.ledger import Ledger, Thing
from payonce.sandbox.simulator import Reply, reply_json

from .saying_no import NO_ID, invalid, refusal

NAME: Final = "razorpay"
PAGE: Final = 10
PAGE_MAX: Final = 100
PREFIX: Final = {"order": "order_", "payment": "pay_", "refund": "rfnd_"}


def name_of(thing: Thing) -> str:
    return f"{PREFIX[thing.kind]}{thing.id:014d}"


def find(ledger: Ledger, kind: str, name: str) -> Thing | None:
    match = re.fullmatch(PREFIX[kind] + r"(\d{14})", name, re.ASCII)
    return ledger.thing(NAME, kind, int(match.group(1))) if match else None


class Books:
    """What GETs show: all that had happened at ``at_us``."""

    def __init__(self, ledger: Ledger, at_us: int) -> None:
        self.ledger, self.at_us = ledger, at_us

    def answer(self, parts: list[str], query: Mapping[str, str]) -> Reply:
        match parts:
            case ["orders"]:
                return self._page(self._orders(query.get("receipt", "")), query)
            case ["orders", name] if order := self._shown("order", name):
                return reply_json(200, self._view(order, query))
            case ["orders", name, "payments"] if order := self._shown("order", name):
                return self._page(self.ledger.children(order.id), query, every=True)
            case ["payments"]:
                payments = [p for order in self._orders("") for p in self.ledger.children(order.id)]
                return self._page(sorted(payments, key=lambda p: p.id), query)
            case ["payments", name] if payment := self._shown("payment", name):
                return reply_json(200, self._view(payment, query))
            case ["payments", name, "refunds"] if payment := self._shown("payment", name):
                return self._page(self.ledger.children(payment.id), query)
            case ["refunds"]:
                payments = [p for order in self._orders("") for p in self.ledger.children(order.id)]
                refunds = [r for p in payments for r in self.ledger.children(p.id)]
                return self._page(sorted(refunds, key=lambda r: r.id), query)
            case ["refunds", name] | ["payments", _, "refunds", name] if refund := self._shown("refund", name):
                return reply_json(200, self._view(refund, query))
        known = parts[0] in ("orders", "payments", "refunds")
        return invalid(NO_ID) if known else refusal(400, "The requested URL was not found on the server.")

    def _shown(self, kind: str, name: str) -> Thing | None:
        thing = find(self.ledger, kind, name)
        return thing if thing and thing.at_us <= self.at_us else None

    def _orders(self, receipt: str) -> list[Thing]:
        return self.ledger.by_reference(NAME, "order", receipt) if receipt else self.ledger.children(shop_of(self.ledger).id)

    def _page(self, things: list[Thing], query: Mapping[str, str], *, every: bool = False) -> Reply:
        """Newest first; of an order's payments all."""
        since_s, until_s = number(query, "from", 0), number(query, "to", 10**12)
        seen = [t for t in reversed(things) if t.at_us <= self.at_us and since_s <= t.at_us // 1_000_000 <= until_s]
        first, count = number(query, "skip", 0), min(number(query, "count", PAGE), PAGE_MAX)
        items = [self._view(t, query) for t in (seen if every else seen[first : first + count])]
        return reply_json(200, {"entity": "collection", "count": len(items), "items": items})

    def _view(self, thing: Thing, query: Mapping[str, str]) -> dict[str, Any]:
        if thing.kind == "refund":
            return refund_view(thing, self.at_us)
        if thing.kind == "payment":
            return payment_view(thing, self.at_us)
        view = order_view(self.ledger, thing, self.at_us)
        if "payments" in (query.get("expand[]"), query.get("expand")):
            inside = [payment_view(p, self.at_us) for p in reversed(self.ledger.children(thing.id)) if p.at_us <= self.at_us]
            view["payments"] = {"entity": "collection", "count": len(inside), "items": inside}
        return view


# --- payments, refunds and their past ---


def state_of(thing: Thing, at_us: int | None = None) -> dict[str, Any]:
    """The payment or refund as it is now, or was then. Refunds of older ledgers were done at once."""
    state: dict[str, Any] = {}
    for changed_us, fields in thing.doc.get("changes", [[thing.at_us, {"status": "processed"}]]):
        if at_us is None or changed_us <= at_us:
            state |= fields
    return state


def change(ledger: Ledger, thing: Thing, at_us: int, **fields: Any) -> Thing:
    """It is like that from now on; what was to happen to it later does not happen any more."""
    past = thing.doc.get("changes", [[thing.at_us, {"status": "processed"}]])
    return ledger.change(thing, thing.doc | {"changes": [*past, [at_us, fields]], "then": ""})


# --- names and views ---


def shop_of(ledger: Ledger) -> Thing:
    """The account that all orders belong to."""
    found = ledger.by_reference(NAME, "account", "acc")
    return found[0] if found else ledger.add(NAME, "account", "acc", {}, at_us=0)


def number(query: Mapping[str, str], name: str, default: int) -> int:
    text = query.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 12 else default


def order_view(ledger: Ledger, order: Thing, at_us: int) -> dict[str, Any]:
    states = [state_of(p, at_us) for p in ledger.children(order.id) if p.at_us <= at_us]
    paid = sum(s["amount"] for s in states if s["captured"])
    return {
        "id": name_of(order),
        "entity": "order",
        "amount": order.doc["amount"],
        "amount_paid": paid,
        "amount_due": max(order.doc["amount"] - paid, 0),
        "currency": order.doc["currency"],
        "receipt": order.doc["receipt"],
        "offer_id": None,
        "status": "paid" if paid else "attempted" if states else "created",
        "attempts": len(states),
        "notes": order.doc["notes"] or [],
        "created_at": order.at_us // 1_000_000,
    }


def payment_view(payment: Thing, at_us: int) -> dict[str, Any]:
    state = state_of(payment, at_us)
    taken = {"fee": 0, "tax": 0} if state["captured"] else {"fee": None, "tax": None}
    return {
        "id": name_of(payment),
        "entity": "payment",
        "bank": None,
        "wallet": None,
        "vpa": None,
        **state,
        "order_id": f"order_{payment.parent:014d}",
        "invoice_id": None,
        "international": False,
        "card_id": None,
        "notes": state["notes"] or [],
        **taken,
        "acquirer_data": {},
        "created_at": payment.at_us // 1_000_000,
    }


def refund_view(refund: Thing, at_us: int) -> dict[str, Any]:
    return {
        "id": name_of(refund),
        "entity": "refund",
        "amount": refund.doc["amount"],
        "currency": refund.doc["currency"],
        "payment_id": f"pay_{refund.parent:014d}",
        "notes": refund.doc["notes"] or [],
        "receipt": refund.doc["receipt"],
        "acquirer_data": {"arn": None},
        "created_at": refund.at_us // 1_000_000,
        "batch_id": None,
        "status": state_of(refund, at_us)["status"],
        "speed_processed": "normal",
        "speed_requested": refund.doc["speed"],
    }

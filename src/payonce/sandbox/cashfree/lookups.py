"""Reads: what the vendor shows, as it was some time ago when lookups lag."""

from typing import Any

from payonce.sandbox.ledger import Ledger, Thing
from payonce.sandbox.simulator import Reply, reply_json

from .orders import Orders
from .values import NAME, Refused, number_of
from .views import order_view, payment_view, refund_view


class Lookup:
    """Reads, which do not see what is younger than ``until_us``."""

    def __init__(self, ledger: Ledger, until_us: int) -> None:
        self.ledger, self.until_us = ledger, until_us

    def answer(self, path: str) -> Reply:
        match path.strip("/").split("/"):
            case ["orders", id]:
                order, doc = self._order(id)
                return reply_json(200, order_view(order, doc))
            case ["orders", id, "payments"]:
                return reply_json(200, self._payments(id))
            case ["orders", id, "payments", number]:
                return self._one(self._payments(id), "cf_payment_id", number)
            case ["orders", id, "refunds"]:
                return reply_json(200, self._refunds(id))
            case ["orders", id, "refunds", name]:
                return self._one(self._refunds(id), "refund_id", name)
            case ["simulate", name] if made := self.ledger.thing(NAME, "simulation", number_of(name.removeprefix("sim_"), 0)):
                return reply_json(200, {"simulation_id": name, **made.doc})
        raise Refused(404, "request_failed", "bad URL, please check API documentation")

    def _order(self, id: str) -> tuple[Thing, dict[str, Any]]:
        order = Orders(self.ledger, self.until_us).named(id)
        doc = self._seen(order)
        if doc is None:
            raise Refused(404, "order_not_found", "order is not found")
        return order, doc

    def _payments(self, id: str) -> list[dict[str, Any]]:
        order, _ = self._order(id)
        found = Orders(self.ledger, self.until_us).children(order, "payment")
        return [payment_view(order, p, doc) for p in found if (doc := self._seen(p)) is not None]

    def _refunds(self, id: str) -> list[dict[str, Any]]:
        order, _ = self._order(id)
        found = Orders(self.ledger, self.until_us).children(order, "refund")
        return [refund_view(r, doc) for r in found if (doc := self._seen(r)) is not None]

    def _one(self, views: list[dict[str, Any]], name: str, value: str) -> Reply:
        for view in views:
            if view[name] == value:
                return reply_json(200, view)
        raise Refused(404, f"{name.removeprefix('cf_').removesuffix('_id')}_not_found", f"{name} is not found")

    def _seen(self, thing: Thing) -> dict[str, Any] | None:
        """The object as it was at that time."""
        if thing.at_us > self.until_us:
            return None
        was: dict[str, Any] = thing.doc.get("was") or thing.doc
        return thing.doc if thing.doc["since"] <= self.until_us else was

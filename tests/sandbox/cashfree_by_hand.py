"""The Cashfree of the sandbox with its books, driven by hand."""

import json
from pathlib import Path
from typing import Any

from payonce.sandbox.cashfree import CashfreeVendor
from payonce.sandbox.faults import Profile
from payonce.sandbox.ledger import Ledger
from payonce.sandbox.simulator import Reply, Request

S = 1_000_000
NOW = 1_800_000_000 * S
PAYMENT = "06ex4k2m9p7q8r5s3t01"
ORDER = PAYMENT + "0100"
OK = "tok_ok"


class Vendor:
    """A vendor with its books and a clock that is set by hand."""

    def __init__(self, path: str | Path = ":memory:", credentials: tuple[str, str] | None = None) -> None:
        self.ledger, self.vendor, self.now, self.faults = Ledger(path), CashfreeVendor(credentials), NOW, Profile()

    def ask(self, method: str, path: str, body: Any = None, *, key: str = "", **headers: str) -> Reply:
        named = {"x-client-id": "id", "x-client-secret": "secret", "x-api-version": "2025-01-01"}
        named |= {"x-idempotency-key": key} if key else {}
        raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        request = Request(method=method, path=path, headers={k: v for k, v in (named | given).items() if v}, body=raw)
        with self.ledger.transaction():
            self.vendor.settle(self.ledger, self.now)
            return self.vendor.simulate(request, self.ledger, self.faults, self.now)

    def create(self, order: str = ORDER, *, key: str = "", amount: Any = 10.5, currency: str = "INR", **more: Any) -> Reply:
        customer = {"customer_id": "ana", "customer_phone": "9999999999"}
        body = {"order_id": order, "order_amount": amount, "order_currency": currency, "customer_details": customer} | more
        return self.ask("POST", "/orders", body, key=key)

    def pay(self, token: str = OK, order: str = ORDER, *, key: str = "") -> Reply:
        card = {"channel": "link", **({"instrument_id": token} if token else {})}
        session = doc(self.ask("GET", f"/orders/{order}"))["payment_session_id"]
        return self.ask("POST", "/orders/sessions", {"payment_session_id": session, "payment_method": {"card": card}}, key=key)

    def order(self, token: str = OK, order: str = ORDER, **more: Any) -> Reply:
        """A new order, and its payment."""
        assert self.create(order, **more).status == 200
        return self.pay(token, order)

    def status(self, order: str = ORDER) -> str:
        return str(doc(self.ask("GET", f"/orders/{order}"))["order_status"])

    def payments(self, order: str = ORDER) -> list[tuple[str, str]]:
        """Status and reason of each."""
        found = json.loads(self.ask("GET", f"/orders/{order}/payments").body)
        return [(p["payment_status"], (p["error_details"] or {}).get("error_reason", "")) for p in found]

    def terminate(self, order: str = ORDER) -> Reply:
        return self.ask("PATCH", f"/orders/{order}", {"order_status": "TERMINATED"})

    def refund(self, amount: float, id: str, order: str = ORDER, **more: Any) -> Reply:
        return self.ask("POST", f"/orders/{order}/refunds", {"refund_amount": amount, "refund_id": id} | more)

    def taken(self) -> list[tuple[str, int]]:
        return [(m.kind, m.amount) for m in self.ledger.movements()]


def doc(reply: Reply) -> dict[str, Any]:
    return dict(json.loads(reply.body))

"""The Razorpay of the sandbox with its books, driven by hand."""

import base64
import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from payonce.sandbox.faults import Profile
from payonce.sandbox.ledger import Ledger
from payonce.sandbox.razorpay import RazorpayVendor
from payonce.sandbox.simulator import Reply, Request

S = 1_000_000
NOW = 1_800_000_000 * S
OK = "tok_ok"
PAYMENT = "06ex4k2m9p7q8r5s3t01"
RECEIPT = PAYMENT + "0100"
MANUAL = {"capture": "manual", "capture_options": {"manual_expiry_period": 60, "refund_speed": "normal"}}
KEY = "5f0d2c1e-6f0b-5a53"


class Vendor:
    """A vendor with its books and a clock that is set by hand."""

    def __init__(self, path: str | Path = ":memory:", keys: dict[str, str] | None = None) -> None:
        self.ledger, self.vendor, self.now, self.faults = Ledger(path), RazorpayVendor(keys), NOW, Profile()

    def ask(self, method: str, path: str, body: Any = None, *, resumed: bool = False, **headers: str) -> Reply:
        bare, _, query = path.partition("?")
        named = {"authorization": basic("rzp_test_1:s"), **{k.replace("_", "-"): v for k, v in headers.items()}}
        raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        request = Request(method=method, path=bare, query=dict(parse_qsl(query)), headers=named, body=raw, resumed=resumed)
        with self.ledger.transaction():
            self.vendor.settle(self.ledger, self.now)
            return self.vendor.simulate(request, self.ledger, self.faults, self.now)

    def order(self, receipt: str = RECEIPT, **more: Any) -> str:
        body = {"amount": 500, "currency": "INR", "receipt": receipt, "payment": MANUAL, **more}
        return str(doc(self.ask("POST", "/orders", body))["id"])

    def fire(self, order: str, token: str = OK, *, resumed: bool = False, how: str = "json", **more: Any) -> Reply:
        body = {"amount": 500, "currency": "INR", "order_id": order, "method": "card", "token": token, **more}
        return self.ask("POST", f"/payments/create/{how}", body, resumed=resumed)

    def held(self, token: str = OK, receipt: str = RECEIPT) -> str:
        """The id of the one payment of a new order after a fire, whatever the fire answered."""
        order = self.order(receipt)
        self.fire(order, token)
        (payment,) = self.payments(order)
        return str(payment["id"])

    def capture(self, payment: str, amount: int = 500, currency: str = "INR") -> Reply:
        return self.ask("POST", f"/payments/{payment}/capture", {"amount": amount, "currency": currency})

    def payments(self, order: str) -> list[dict[str, Any]]:
        return list(doc(self.ask("GET", f"/orders/{order}/payments"))["items"])

    def payment(self, payment: str) -> dict[str, Any]:
        return doc(self.ask("GET", f"/payments/{payment}"))

    def events(self) -> list[dict[str, Any]]:
        """What was announced, oldest first."""
        return [dict(json.loads(e.body)) for e in self.ledger.deliveries.events(0, 1000)]

    def told(self) -> list[str]:
        """The names of what was announced."""
        return [str(e["event"]) for e in self.events()]

    def captured(self, amount: int = 500, receipt: str = RECEIPT) -> str:
        """The id of a payment that was taken."""
        order = self.order(receipt, amount=amount)
        self.fire(order, amount=amount)
        (payment,) = self.payments(order)
        assert self.capture(payment["id"], amount).status == 200
        return str(payment["id"])

    def refund(self, payment: str, amount: int, **more: Any) -> Reply:
        return self.ask("POST", f"/payments/{payment}/refund", {"amount": amount, **more})

    def moves(self) -> list[tuple[str, int]]:
        return [(m.kind, m.amount) for m in self.ledger.movements()]


def basic(pair: str) -> str:
    return "Basic " + base64.b64encode(pair.encode()).decode()


def doc(reply: Reply) -> dict[str, Any]:
    return dict(json.loads(reply.body))


def reason(reply: Reply) -> str:
    """The reason of a refusal, which must be a 400."""
    assert reply.status == 400
    return str(doc(reply)["error"]["reason"])


def field(reply: Reply) -> str | None:
    assert reason(reply) == "input_validation_failed"
    named = doc(reply)["error"].get("field")
    return None if named is None else str(named)

"""The mock vendor driven by hand: its books, its fault profile, and a clock that is set."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from payonce.sandbox.faults import Profile
from payonce.sandbox.ledger import Ledger
from payonce.sandbox.mock import MockVendor
from payonce.sandbox.simulator import Reply, Request

S = 1_000_000
NOW = 1_800_000_000 * S
OK = "tok_ok"
PAYMENT = "06ex4k2m9p7q8r5s3t01"


class Vendor:
    """A vendor with its books and a clock that is set by hand."""

    def __init__(self, path: str | Path = ":memory:", secrets: frozenset[str] | None = None, **faults: Any) -> None:
        self.ledger, self.vendor, self.now, self.faults = Ledger(path), MockVendor(secrets), NOW, Profile(**faults)

    def ask(self, method: str, path: str, body: Any = None, *, key: str = "", resumed: bool = False, **headers: str) -> Reply:
        bare, _, query = path.partition("?")
        named = {"authorization": "Bearer sk", **({"idempotency-key": key} if key else {}), **headers}
        raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        request = Request(method=method, path=bare, query=dict(parse_qsl(query)), headers=named, body=raw, resumed=resumed)
        with self.ledger.transaction():
            self.vendor.settle(self.ledger, self.now)
            return self.vendor.simulate(request, self.ledger, self.faults, self.now)

    def charge(self, token: str = OK, reference: str = PAYMENT + "0100", key: str = "", **more: Any) -> Reply:
        body = {"amount": 500, "currency": "INR", "reference": reference, "source": token, **more}
        return self.ask("POST", "/charges", body, key=key or reference)

    def hold(self, **more: Any) -> str:
        """The id of a charge that only holds."""
        return str(doc(self.charge(capture=False, **more))["id"])

    def capture(self, name: str, amount: int, key: str = "c") -> Reply:
        return self.ask("POST", f"/charges/{name}/capture", {"amount": amount}, key=key)

    def void(self, name: str, key: str = "v") -> Reply:
        return self.ask("POST", f"/charges/{name}/void", {}, key=key)

    def refund(self, name: str, amount: int, reference: str = "r1") -> Reply:
        body = {"charge": name, "amount": amount, "reference": reference}
        return self.ask("POST", "/refunds", body, key=f"refund {reference}")

    def act(self, number: int, *, approve: bool) -> None:
        with self.ledger.transaction():
            self.vendor.settle(self.ledger, self.now)
            self.vendor.act(self.ledger, number, self.now, approve=approve)

    def read(self, reference: str = PAYMENT + "0100") -> list[dict[str, Any]]:
        return list(doc(self.ask("GET", f"/charges?reference={reference}"))["data"])

    def one(self) -> dict[str, Any]:
        """The only charge there is under our reference."""
        (charge,) = self.read()
        return charge

    def taken(self) -> list[tuple[str, int]]:
        return [(m.kind, m.amount) for m in self.ledger.movements()]

    def told(self) -> list[str]:
        """The kinds of webhooks that were announced."""
        with self.ledger.transaction():
            self.vendor.settle(self.ledger, self.now)
        return [json.loads(event.body)["type"] for event in self.ledger.deliveries.events(0, 100)]


def doc(reply: Reply) -> dict[str, Any]:
    return dict(json.loads(reply.body))

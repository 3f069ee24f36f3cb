"""Payments of a served house, settled as far as they go without waiting."""

import re
from typing import Any

from payonce.core.idempotency import normalise, normalise_operation
from payonce.core.payment import Payment
from payonce.merchants.keys import KeyScope
from payonce.ports import Scope

from .house import House, Visitor

TEST = Scope("mer_default", "test")
HOSTILE = {"note": "<script>alert(1)</script>", "formula": "=cmd()|calc", "orderId": "1001"}


class People:
    """Who looks, by what they may do: each signs in once for all tests of a module."""

    def __init__(self, house: House) -> None:
        self._house, self._known = house, dict[tuple[KeyScope, ...], Visitor]()

    def __call__(self, *scopes: KeyScope) -> Visitor:
        if scopes not in self._known:
            visitor = self._known[scopes] = Visitor(self._house.url)
            assert visitor.get(f"/sign-in?ticket={self._house.ticket(*scopes)}").status_code == 303
        return self._known[scopes]

    def leave(self) -> None:
        for visitor in self._known.values():
            visitor.http.close()


def pay(house: House, key: str, amount: int = 1050, currency: str = "INR", method: str = "tok_ok", **more: Any) -> Payment:
    """Accepted, and advanced until it waits for something."""
    body = {"amount": amount, "currency": currency, "paymentMethod": method, **more}
    receipt = house.run(house.app.engine.submit(TEST, normalise(body), key, actor="api"))
    return advanced(house, receipt.payment.id)


def ask(house: House, kind: Any, payment: Payment, key: str, amount: int) -> Payment:
    """An operation on it, asked and advanced."""
    wanted = normalise_operation(kind, payment.id, {"amount": amount})
    house.run(house.app.engine.submit(TEST, wanted, key, actor="api"))
    return advanced(house, payment.id)


def advanced(house: House, payment_id: str) -> Payment:
    house.run(house.app.engine.advance(payment_id))
    return now(house, payment_id)


def now(house: House, payment_id: str) -> Payment:
    found = house.run(house.app.store.get(payment_id))
    assert found is not None
    return found


def form(visitor: Visitor, path: str) -> dict[str, str]:
    """The hidden fields of the form of a page, as a browser sends them back."""
    page = visitor.get(path)
    assert page.status_code == 200, page.text
    start = page.text.index('action="/dashboard' + path)
    return dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', page.text[start:]))

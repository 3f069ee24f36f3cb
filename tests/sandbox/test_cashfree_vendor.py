"""The Cashfree of the sandbox, sans-I/O: its front door, orders, saved answers, refunds and lookups."""

import json
from pathlib import Path
from typing import Any

import pytest

from payonce.sandbox.cashfree import EXPIRES_S
from payonce.sandbox.faults import SLOW_S, Profile

from .cashfree_by_hand import ORDER, S, Vendor, doc

# --- the front door -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [("", ""), ("id", ""), ("", "secret"), ("id", "other"), ("other", "secret")])
def test_wrong_credentials_are_401(given: tuple[str, str]) -> None:
    """Without a pair that it knows the vendor does nothing."""
    v = Vendor(credentials=("id", "secret"))
    reply = v.ask("GET", "/orders/x", x_client_id=given[0], x_client_secret=given[1])
    assert (reply.status, doc(reply)["type"]) == (401, "authentication_error")
    assert v.create().status == 200


def test_paying_needs_no_credentials_but_then_takes_no_key() -> None:
    """The session is enough, as it is for a browser; wrong credentials are refused all the same."""
    v = Vendor(credentials=("id", "secret"))
    session = doc(v.create())["payment_session_id"]
    body = {
        "payment_session_id": session,
        "payment_method": {"card": {"channel": "link", "instrument_id": "tok_never_resolves"}},
    }
    ask = {"x_client_id": "", "x_client_secret": "", "key": "k"}
    first, again = (v.ask("POST", "/orders/sessions", body, **ask) for _ in range(2))
    assert (first.status, again.status) == (200, 200)
    assert doc(first)["cf_payment_id"] != doc(again)["cf_payment_id"]
    assert v.ask("POST", "/orders/sessions", body, x_client_secret="wrong").status == 401


@pytest.mark.parametrize("version", ["", "2020-01-01", "latest"])
def test_an_api_version_is_needed(version: str) -> None:
    """A missing or unknown x-api-version is 400; the known one is told back, with the caller's request id."""
    v = Vendor()
    assert doc(v.ask("GET", "/orders/x", x_api_version=version))["code"] == "version_invalid"
    reply = v.ask("GET", "/orders/x", x_request_id="trace-1")
    assert (reply.headers["x-api-version"], reply.headers["x-request-id"]) == ("2025-01-01", "trace-1")


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/"), ("DELETE", "/orders"), ("POST", "/order"), ("GET", "/orders"), ("GET", "/orders/x/y"), ("PUT", "/orders/x")],
)
def test_paths_it_does_not_have_are_404(method: str, path: str) -> None:
    """Unknown paths and methods."""
    assert doc(Vendor().ask(method, path))["message"].startswith("bad URL")


# --- orders -------------------------------------------------------------------------------------------------------


def test_an_order_is_shown_as_it_was_asked_for() -> None:
    """ACTIVE, with a session to pay it, for thirty days."""
    v = Vendor()
    made = doc(v.create(order_tags={"a": "b"}, order_note="a note"))
    assert doc(v.ask("GET", f"/orders/{ORDER}")) == made
    assert (made["order_id"], made["order_status"], made["order_amount"]) == (ORDER, "ACTIVE", 10.5)
    assert (made["order_tags"], made["order_note"]) == ({"a": "b"}, "a note")
    assert made["payment_session_id"].startswith("session_")
    assert (made["created_at"], made["order_expiry_time"]) == ("2027-01-15T13:30:00+05:30", "2027-02-14T13:30:00+05:30")
    assert v.taken() == []


def test_amounts_keep_their_digits() -> None:
    """The number on the wire is written from digits."""
    v = Vendor()
    assert b'"order_amount":9999999999.99,' in v.create("big", amount=9999999999.99).body
    assert b'"order_amount":42,' in v.create("yen", amount=42, currency="JPY").body


def test_an_id_is_taken_once() -> None:
    """409 whatever else the request says; without an id the vendor makes one."""
    v = Vendor()
    v.create()
    assert (v.create(amount=1).status, doc(v.create())["code"]) == (409, "order_already_exists")
    body = {
        "order_amount": 1,
        "order_currency": "INR",
        "customer_details": {"customer_id": "ana", "customer_phone": "9999999999"},
    }
    made = [doc(v.ask("POST", "/orders", body))["order_id"] for _ in range(2)]
    assert len({*made, ORDER}) == 3


@pytest.mark.parametrize(
    "change",
    [
        {"order_amount": amount} for amount in (0, 0.99, -1, 10.505, "ten", None, True, 10**13)
    ] + [{"order_currency": "XYZ"}, {"order_currency": None}, {"order_currency": "JPY"}, {"order_id": "a b"}]
    + [{"order_id": "ab"}, {"order_id": "x" * 46}, {"customer_details": {"customer_id": "ana"}}, {"order_tags": {"a": 1}}]
    + [{"customer_details": {"customer_id": "ana", "customer_phone": "12"}}, {"order_expiry_time": "2027-01-15T13:29:59+05:30"}]
    + [{"order_expiry_time": each} for each in ("soon", "2027-01-15T08:15:00Z", "2027-02-14T08:00:00Z")]
    + [{"order_meta": {"return_url": "https://shop.example/" + "x" * 230}}],
)  # fmt: skip
def test_an_invalid_order_is_400_and_not_saved(change: dict[str, Any]) -> None:
    """Validation comes before the key: the corrected request may use it."""
    v = Vendor()
    customer = {"customer_id": "ana", "customer_phone": "9999999999"}
    body = {"order_id": ORDER, "order_amount": 10.5, "order_currency": "INR", "customer_details": customer} | change
    reply = v.ask("POST", "/orders", body, key="k")
    assert (reply.status, doc(reply)["type"]) == (400, "invalid_request_error")
    assert v.ask("GET", f"/orders/{ORDER}").status == 404
    assert v.create(key="k").status == 200


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff"])
def test_what_is_no_json_is_400(body: bytes) -> None:
    """For every body that is read."""
    v = Vendor()
    v.create()
    paths = [("POST", "/orders"), ("POST", "/orders/sessions"), ("PATCH", f"/orders/{ORDER}"), ("POST", "/simulate")]
    assert [v.ask(m, p, body).status for m, p in [*paths, ("POST", f"/orders/{ORDER}/refunds")]] == [400] * 5


def test_an_order_expires() -> None:
    """After its time it takes no payment; one begun before may still be paid."""
    v = Vendor()
    v.create(order_expiry_time="2027-01-15T08:15:03Z")
    v.create("other", order_expiry_time="2027-01-15T13:45:03+05:30")
    v.create("third")
    v.now += 900 * S
    v.pay("tok_slow_5s")
    v.now += 3 * S
    assert [v.status(), v.status("other"), v.status("third")] == ["EXPIRED", "EXPIRED", "ACTIVE"]
    assert (v.pay(order="other").status, v.terminate().status) == (400, 400)
    v.now += 2 * S
    assert (v.status(), v.payments(), v.taken()) == ("PAID", [("SUCCESS", "")], [("charge", 1050)])
    v.now += EXPIRES_S * S
    assert [v.status(), v.status("other"), v.status("third")] == ["PAID", "EXPIRED", "EXPIRED"]


# --- saved answers ------------------------------------------------------------------------------------------------


def test_an_answer_is_saved_under_its_key() -> None:
    """A repeat gets status and body of the first request, though the order would be refused now."""
    v = Vendor()
    first, again = v.create(key="k"), v.create(key="k")
    assert (again.status, again.body) == (200, first.body)
    assert [r.headers["x-idempotency-replayed"] for r in (first, again)] == ["false", "true"]
    assert v.create(key="other").status == 409
    assert "x-idempotency-replayed" not in v.create().headers


def test_a_key_with_another_request_is_422() -> None:
    """Same key, other body or path: idempotency_error, and nothing happens."""
    v = Vendor()
    v.create(key="k")
    reply = v.create("another", key="k")
    assert (reply.status, doc(reply)["type"]) == (422, "idempotency_error")
    assert v.pay(key="k").status == 422
    assert (v.ask("GET", "/orders/another").status, v.payments()) == (404, [])


def test_a_key_is_forgotten_after_its_window() -> None:
    """Then the same request is a new one: a second payment of an order, and 409 for a second order."""
    v = Vendor()
    v.create(key="c")
    v.pay("tok_never_resolves", key="p")
    v.pay("tok_never_resolves", key="p")
    assert len(v.payments()) == 1
    v.faults = Profile(key_window_s=60)
    v.now += 61 * S
    assert (v.pay("tok_never_resolves", key="p").status, v.create(key="c").status) == (200, 409)
    assert len(v.payments()) == 2


# --- refunds, lookups, simulations --------------------------------------------------------------------------------


def test_refunds() -> None:
    """A refund cannot exceed what was taken, has an id of its own, and shows in lists and books."""
    v = Vendor()
    paid = doc(v.order())
    first = doc(v.refund(4.5, "ref1", refund_note="thanks"))
    assert (first["refund_status"], first["refund_amount"], first["cf_payment_id"]) == ("SUCCESS", 4.5, paid["cf_payment_id"])
    assert [v.refund(6.01, "ref2").status, v.refund(6, "ref1").status, v.refund(6, "ref3").status] == [400, 400, 200]
    assert doc(v.refund(4.5, "ref1")) == first
    assert [v.refund(a, "ref4").status for a in (0.01, 0, -1, 0.001)] == [400] * 4
    shown = json.loads(v.ask("GET", f"/orders/{ORDER}/refunds").body)
    assert [r["refund_id"] for r in shown] == ["ref1", "ref3"]
    assert doc(v.ask("GET", f"/orders/{ORDER}/refunds/ref1")) == first
    assert doc(v.ask("GET", f"/orders/{ORDER}/refunds/ref2"))["code"] == "refund_not_found"
    moves = [m for m in v.ledger.movements() if m.kind == "refund"]
    assert [(m.reference, m.refund_reference, m.provider_ref, m.amount) for m in moves] == [
        (ORDER, r["refund_id"], r["cf_refund_id"], round(r["refund_amount"] * 100)) for r in shown
    ]


def test_refunds_that_are_not_done() -> None:
    """The note asks for it, as in the vendor's sandbox: what is open keeps its share, what failed does not; nothing is
    booked."""
    v = Vendor()
    v.order()
    for gone in ("FAILED", "CANCELLED"):
        assert doc(v.refund(10, f"r-{gone}", refund_note=gone))["refund_status"] == gone
    for share, status in ((6, "PENDING"), (4, "ONHOLD")):
        assert doc(v.refund(share, f"r-{status}", refund_note=status))["refund_status"] == status
    assert (v.refund(1, "r-more").status, v.taken()) == (400, [("charge", 1050)])


@pytest.mark.parametrize("token", ["tok_decline_stolen_card", "tok_never_resolves"])
def test_what_was_not_taken_cannot_be_refunded(token: str) -> None:
    """No success, no refund; no order, no refund."""
    v = Vendor()
    v.order(token)
    assert (doc(v.refund(1, "r-1"))["code"], v.refund(1, "r-1", "nobody").status) == ("order_not_paid", 404)


def test_lookups_lag() -> None:
    """Orders, payments, refunds and what became of them show only after the lag; money moved all the same."""
    v = Vendor()
    session = doc(v.create())["payment_session_id"]
    v.faults = Profile(lookup_lag_ms=3000)
    assert doc(v.ask("GET", f"/orders/{ORDER}"))["code"] == "order_not_found"
    v.now += 3 * S
    assert v.status() == "ACTIVE"
    v.ask("POST", "/orders/sessions", {"payment_session_id": session, "payment_method": {"card": {"channel": "link"}}})
    v.refund(1, "r-1")
    assert (v.taken(), v.status(), v.payments()) == ([("charge", 1050), ("refund", 100)], "ACTIVE", [])
    assert json.loads(v.ask("GET", f"/orders/{ORDER}/refunds").body) == []
    v.now += 3 * S
    assert (v.status(), v.payments()) == ("PAID", [("SUCCESS", "")])
    assert len(json.loads(v.ask("GET", f"/orders/{ORDER}/refunds").body)) == 1


def test_a_lagging_payment_shows_what_it_was() -> None:
    """A payment that ended just now is still PENDING in lists."""
    v = Vendor()
    v.order("tok_slow_5s")
    v.faults = Profile(lookup_lag_ms=3000)
    v.now += int(SLOW_S * S)
    assert v.payments() == [("PENDING", "")]
    assert v.taken() == [("charge", 1050)]
    v.now += 3 * S
    assert v.payments() == [("SUCCESS", "")]


@pytest.mark.parametrize(
    ("wanted", "order", "payment", "taken"),
    [
        ("SUCCESS", "PAID", "SUCCESS", [("charge", 1050)]),
        ("FAILED", "TERMINATED", "FAILED", []),
        ("USER_DROPPED", "TERMINATED", "USER_DROPPED", []),
        ("PENDING", "TERMINATION_REQUESTED", "PENDING", []),
    ],
)
def test_a_pending_payment_can_be_decided_by_hand(wanted: str, order: str, payment: str, taken: list[Any]) -> None:
    """POST /simulate; a termination that waited for it is then done, or does not stick. Only once."""
    v = Vendor()
    id = doc(v.order("tok_never_resolves"))["cf_payment_id"]
    v.terminate()
    body = {"entity": "PAYMENTS", "entity_id": id, "entity_simulation": {"payment_status": wanted}}
    made = doc(v.ask("POST", "/simulate", body))
    assert (v.status(), [s for s, _ in v.payments()], v.taken()) == (order, [payment], taken)
    assert doc(v.ask("GET", f"/simulate/{made['simulation_id']}")) == made
    assert v.ask("POST", "/simulate", body).status == (200 if wanted == "PENDING" else 400)
    assert [v.ask("POST", "/simulate", body | {"entity_id": x}).status for x in ("1", "²", "", "x")] == [404] * 4


def test_one_payment_can_be_asked_for() -> None:
    """By the vendor's id, in its order only."""
    v = Vendor()
    id = doc(v.order())["cf_payment_id"]
    v.create("other")
    assert doc(v.ask("GET", f"/orders/{ORDER}/payments/{id}"))["payment_status"] == "SUCCESS"
    assert doc(v.ask("GET", f"/orders/other/payments/{id}"))["code"] == "payment_not_found"


def test_first_times_are_shared_by_processes(tmp_path: Path) -> None:
    """What a token did once it does not do again in another process."""
    one, two = Vendor(tmp_path / "l.db"), Vendor(tmp_path / "l.db")
    one.create()
    assert [one.pay("tok_500_then_ok").status, two.pay("tok_500_then_ok").status] == [500, 200]
    assert two.taken() == [("charge", 1050)]
    one.ledger.close()
    two.ledger.close()

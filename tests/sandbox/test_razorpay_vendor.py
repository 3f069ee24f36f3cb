"""The vendor like Razorpay, sans-I/O: what it answers, what it books, and what it takes back by itself."""

from pathlib import Path
from typing import Any

import pytest

from payonce.sandbox.faults import HELD_S, LATE_S, SLOW_S, TOKENS, Profile
from payonce.sandbox.simulator import Reply

from .razorpay_by_hand import KEY, NOW, PAYMENT, RECEIPT, S, Vendor, basic, doc, field, reason


def test_an_order_is_held_captured_and_paid() -> None:
    """created, attempted, paid: a fire holds, the capture takes; each is booked once under the receipt."""
    v = Vendor()
    order = v.order()
    assert doc(v.ask("GET", f"/orders/{order}"))["status"] == "created"
    fired = doc(v.fire(order))
    assert list(fired) == ["razorpay_payment_id"]
    (held,) = v.payments(order)
    assert (held["id"], held["status"], held["captured"]) == (fired["razorpay_payment_id"], "authorized", False)
    assert doc(v.ask("GET", f"/orders/{order}"))["status"] == "attempted"
    captured = doc(v.capture(held["id"]))
    assert (captured["status"], captured["captured"], captured["order_id"]) == ("captured", True, order)
    paid = doc(v.ask("GET", f"/orders/{order}"))
    assert (paid["status"], paid["amount_paid"], paid["amount_due"], paid["attempts"]) == ("paid", 500, 0, 1)
    booked = [(m.kind, m.reference, m.provider_ref) for m in v.ledger.movements()]
    assert booked == [("authorize", RECEIPT, held["id"]), ("capture", RECEIPT, held["id"])]


def test_a_receipt_is_used_once() -> None:
    """Refused by default; with unique_receipt the same order is answered, unless it is about other money."""
    v = Vendor()
    order = v.order()
    body = {"amount": 500, "currency": "INR", "receipt": RECEIPT}
    assert field(v.ask("POST", "/orders", body)) == "receipt"
    assert doc(v.ask("POST", "/orders", body | {"unique_receipt": True}))["id"] == order
    assert field(v.ask("POST", "/orders", body | {"unique_receipt": True, "amount": 501})) == "receipt"
    no_receipt = {"amount": 500, "currency": "INR"}
    assert [v.ask("POST", "/orders", no_receipt).status for _ in range(2)] == [200, 200]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", {}, *({"amount": a, "currency": "INR"} for a in (0, -1, 1.5, "1", 10**12))])
def test_an_invalid_order_is_400(body: Any) -> None:
    """Validation names the vendor's code for it, and nothing is made."""
    v = Vendor()
    assert reason(v.ask("POST", "/orders", body)) == "input_validation_failed"
    assert doc(v.ask("GET", "/orders"))["items"] == []


def test_what_is_wrong_is_named() -> None:
    """The field of a validation error stands in the error body."""
    v = Vendor()
    assert field(v.ask("POST", "/orders", {"amount": 0, "currency": "INR"})) == "amount"
    assert field(v.ask("POST", "/orders", {"amount": 1, "currency": "inr"})) == "currency"
    assert field(v.ask("POST", "/orders", {"amount": 1, "currency": "INR", "receipt": "r" * 41})) == "receipt"


@pytest.mark.parametrize("authorization", ["", "Basic", "Bearer s", "Basic ?", basic("rzp_test_1:"), basic(":s"), basic("a:s")])
def test_a_wrong_key_is_401(authorization: str) -> None:
    """Without a key that it knows the vendor does nothing."""
    v = Vendor(keys={"rzp_test_1": "s"})
    for method in ("GET", "POST"):
        assert v.ask(method, "/orders", {"amount": 1, "currency": "INR"}, authorization=authorization).status == 401
    assert v.ask("GET", "/orders").status == 200


def test_paths_it_does_not_have_are_400() -> None:
    """As at the vendor: an unknown path is a bad request, and so is an unknown id. All paths are there below /v1 too."""
    v = Vendor()
    order = v.order()
    for method, path in (("GET", "/"), ("DELETE", "/orders"), ("POST", "/payments"), ("GET", "/customers")):
        assert doc(v.ask(method, path, {}))["error"]["description"] == "The requested URL was not found on the server."
    for path in (
        "/orders/order_1",
        "/payments/pay_00000000000099",
        f"/payments/{order}",
        "/refunds/rfnd_x",
        "/orders/x/payments",
    ):
        assert doc(v.ask("GET", path))["error"]["description"] == "The id provided does not exist"
    assert doc(v.ask("GET", f"/v1/orders/{order}"))["id"] == order


@pytest.mark.parametrize(
    ("token", "wanted"),
    [
        ("tok_decline_insufficient_funds", "insufficient_funds"),
        ("tok_decline_stolen_card", "debit_instrument_blocked"),
        ("tok_decline_do_not_honor", "card_declined"),
        ("tok_decline_processing_error", "gateway_technical_error"),
        ("tok_decline_expired_card", "card_expired"),
        ("tok_nobody_knows", "card_number_invalid"),
    ],
)
def test_declines(token: str, wanted: str) -> None:
    """400 with the vendor's reason, naming payment and order; the payment shows the same; nothing is booked."""
    v = Vendor()
    order = v.order()
    error = doc(v.fire(order, token))["error"]
    (failed,) = v.payments(order)
    assert (error["reason"], error["metadata"]) == (wanted, {"payment_id": failed["id"], "order_id": order})
    assert (failed["status"], failed["error_reason"]) == ("failed", wanted)
    assert v.moves() == []
    assert reason(v.capture(failed["id"])) == "input_validation_failed"


def test_force_fail_wins_over_the_token() -> None:
    """notes.forceFail "true" declines by a risk check; anything else does not."""
    v = Vendor()
    assert reason(v.fire(v.order(), notes={"forceFail": "true"})) == "payment_risk_check_failed"
    assert v.fire(v.order(PAYMENT + "0101"), notes={"forceFail": True}).status == 200


def test_a_failed_try_leaves_the_order_open() -> None:
    """The same order can be tried again; its tries are all listed, newest first."""
    v = Vendor()
    order = v.order()
    v.fire(order, "tok_decline_do_not_honor")
    assert v.fire(order, "tok_ok").status == 200
    assert [p["status"] for p in v.payments(order)] == ["authorized", "failed"]
    assert doc(v.ask("GET", f"/orders/{order}"))["attempts"] == 2


@pytest.mark.parametrize(
    ("token", "why"),
    [
        ("tok_decline_then_ok", "card_declined"),
        ("tok_technical_then_ok", "gateway_technical_error"),
        ("tok_not_enabled_then_ok", "payment_method_not_enabled"),
    ],
)
def test_a_decline_at_first_counts_receipts(token: str, why: str) -> None:
    """The payment's first receipt is declined for ever, its later ones go through."""
    v = Vendor()
    order = v.order()
    assert [reason(v.fire(order, token)) for _ in range(2)] == [why] * 2
    assert v.fire(v.order(PAYMENT + "0101"), token).status == 200


@pytest.mark.parametrize(("token", "second"), [("tok_late_then_ok", 200), ("tok_late_then_decline", 400)])
def test_a_decline_that_turns_beside_a_second_order(token: str, second: int) -> None:
    """The first order is held after all, ten seconds later, whatever the second one came to."""
    v = Vendor()
    order = v.order()
    assert v.fire(order, token).status == 400
    assert v.fire(v.order(PAYMENT + "0101"), token).status == second
    v.now += int(LATE_S * S)
    assert [p["status"] for p in v.payments(order)] == ["authorized"]


def test_a_decline_of_the_first_send_counts_sends() -> None:
    """What arrives second is held, in the same order too."""
    v = Vendor()
    order = v.order()
    assert reason(v.fire(order, "tok_decline_send_then_ok")) == "card_declined"
    assert v.fire(order, "tok_decline_send_then_ok").status == 200


def test_timeout_then_ok() -> None:
    """The first send leaves no payment and is held; a later one goes through."""
    v = Vendor()
    order = v.order()
    assert v.fire(order, "tok_timeout_then_ok") == Reply(drop=True, hold_s=HELD_S)
    assert (v.payments(order), v.moves()) == ([], [])
    assert v.fire(order, "tok_timeout_then_ok").status == 200
    assert v.moves() == [("authorize", 500)]


def test_lost_response_of_the_fire_and_of_the_capture() -> None:
    """Held, and the answer lost; captured, and that answer lost too, once: a second capture is refused."""
    v = Vendor()
    order = v.order()
    assert v.fire(order, "tok_lost_response") == Reply(drop=True)
    (held,) = v.payments(order)
    assert held["status"] == "authorized"
    assert v.capture(held["id"]) == Reply(drop=True)
    assert v.payment(held["id"])["status"] == "captured"
    again = v.capture(held["id"])
    assert (again.status, doc(again)["error"]["description"]) == (400, "This payment has already been captured")
    assert v.moves() == [("authorize", 500), ("capture", 500)]


def test_500_then_ok() -> None:
    """A 500 before there is a payment."""
    v = Vendor()
    order = v.order()
    assert v.fire(order, "tok_500_then_ok").status == 500
    assert v.moves() == []
    assert v.fire(order, "tok_500_then_ok").status == 200


def test_slow_shows_a_created_payment_and_refuses_a_second_one_meanwhile() -> None:
    """While the first fire is worked on, the payment is created, nothing is booked, and the order takes no other."""
    v = Vendor()
    order = v.order()
    assert v.fire(order, "tok_slow_5s") == Reply(hold_s=SLOW_S, resume=True)
    assert [p["status"] for p in v.payments(order)] == ["created"]
    assert reason(v.fire(order)) == "duplicate_request"
    assert v.moves() == []
    v.now += int(SLOW_S * S)
    done = v.fire(order, "tok_slow_5s", resumed=True)
    assert [p["id"] for p in v.payments(order)] == [doc(done)["razorpay_payment_id"]]
    assert v.moves() == [("authorize", 500)]


def test_a_payment_whose_process_died_ends_as_it_would_have() -> None:
    """If the process died while it worked, the vendor finishes the payment: held, and a repeat of the request says so."""
    v = Vendor()
    order = v.order()
    v.fire(order, "tok_slow_5s")
    v.now += 11 * S
    (held,) = v.payments(order)
    assert (held["status"], v.moves()) == ("authorized", [("authorize", 500)])
    assert doc(v.fire(order, "tok_slow_5s", resumed=True)) == {"razorpay_payment_id": held["id"]}
    assert v.moves() == [("authorize", 500)]


@pytest.mark.parametrize(("token", "status"), [("tok_500_after_charge", 500), ("tok_garbage_response", 200)])
def test_spoilt_answers(token: str, status: int) -> None:
    """Held, and the answer is a 500 or half of one; captured, and the same again."""
    v = Vendor()
    order = v.order()
    fired = v.fire(order, token)
    captured = v.capture(v.payments(order)[0]["id"])
    assert [fired.status, captured.status] == [status] * 2
    assert not any(b"pay_" in reply.body and reply.body.endswith(b"}") for reply in (fired, captured))
    assert v.moves() == [("authorize", 500), ("capture", 500)]


def test_rate_limited() -> None:
    """429 with Retry-After twice, then it goes through."""
    v = Vendor()
    order = v.order()
    replies = [v.fire(order, "tok_rate_limited") for _ in range(3)]
    assert [(r.status, r.headers.get("retry-after")) for r in replies] == [(429, "1"), (429, "1"), (200, None)]
    assert v.moves() == [("authorize", 500)]


def test_wrong_amount() -> None:
    """100 more than asked is held; capturing what was asked is refused, so nothing is taken."""
    v = Vendor()
    held = v.held("tok_wrong_amount")
    assert v.payment(held)["amount"] == 600
    assert field(v.capture(held)) == "amount"
    assert v.moves() == [("authorize", 600)]


def test_never_resolves() -> None:
    """Created for ever; nothing is booked, and the order takes no other payment."""
    v = Vendor()
    held = v.held("tok_never_resolves")
    v.now += 100 * 24 * 3600 * S
    created = v.payment(held)
    assert created["status"] == "created"
    assert reason(v.fire(created["order_id"])) == "duplicate_request"
    assert v.moves() == []


def test_late_success_is_held_and_given_back() -> None:
    """A timeout turns into a hold ten seconds later; never captured, it is given back when its period is over."""
    v = Vendor()
    order = v.order()
    assert reason(v.fire(order, "tok_late_success")) == "payment_timed_out"
    (failed,) = v.payments(order)
    v.now += int(LATE_S * S) - 1
    assert v.payment(failed["id"])["status"] == "failed"
    v.now += 1
    late = v.payment(failed["id"])
    assert (late["status"], late["error_reason"]) == ("authorized", None)
    v.now += 3600 * S - 1
    assert v.payment(failed["id"])["status"] == "authorized"
    v.now += 1
    gone = v.payment(failed["id"])
    assert (gone["status"], gone["captured"], gone["amount_refunded"], gone["refund_status"]) == (
        "refunded",
        False,
        500,
        "full",
    )
    assert v.moves() == [("authorize", 500), ("void", 500)]
    assert doc(v.ask("GET", f"/orders/{order}"))["status"] == "attempted"
    assert v.capture(failed["id"]).status == 400


def test_what_happens_by_itself_happens_in_its_order() -> None:
    """Looked at only after all of it: the hold and its end are booked with their own times."""
    v = Vendor()
    v.held("tok_late_success")
    v.now += 100 * 24 * 3600 * S
    v.ask("GET", "/orders")
    assert [(m.kind, m.at[:19]) for m in v.ledger.movements()] == [
        ("authorize", "2027-01-15T08:00:10"),
        ("void", "2027-01-15T09:00:10"),
    ]


def test_a_captured_payment_does_not_lapse() -> None:
    """What was taken stays taken when the hold's period is over."""
    v = Vendor()
    v.capture(v.held())
    v.now += 100 * 24 * 3600 * S
    v.ask("GET", "/orders")
    assert v.moves() == [("authorize", 500), ("capture", 500)]


def test_one_captured_payment_an_order() -> None:
    """A paid order takes no more payments; of two holds one is captured, the other lapses."""
    v = Vendor()
    order = v.order()
    first, second = (doc(v.fire(order))["razorpay_payment_id"] for _ in range(2))
    assert v.capture(first).status == 200
    assert [reason(v.capture(second)), reason(v.fire(order))] == ["order_already_paid"] * 2
    v.now += 3600 * S
    assert v.payment(second)["status"] == "refunded"
    assert v.moves() == [("authorize", 500), ("authorize", 500), ("capture", 500), ("void", 500)]


@pytest.mark.parametrize("wanted", [{"payment_capture": 1}, {"payment": {"capture": "automatic"}}, {}])
def test_an_order_may_capture_by_itself(wanted: dict[str, Any]) -> None:
    """Without manual capture a payment is taken at once, as the SDK's plain orders are."""
    v = Vendor()
    body = {"amount": 500, "currency": "INR", **wanted}
    order = doc(v.ask("POST", "/orders", body))["id"]
    v.fire(order)
    assert [p["status"] for p in v.payments(order)] == ["captured"]
    assert [(m.kind, m.reference) for m in v.ledger.movements()] == [("charge", order)]


def test_a_fire_has_to_fit_its_order() -> None:
    """Another amount or currency, or an order that is not there: refused before there is a payment."""
    v = Vendor()
    order = v.order()
    assert [reason(v.fire(order, amount=501)), reason(v.fire(order, currency="EUR"))] == ["order_amount_mismatch"] * 2
    assert reason(v.fire("order_00000000000099")) == "invalid_order_id"
    assert v.payments(order) == []


def test_a_capture_has_to_fit_its_hold() -> None:
    """Amount and currency must be those of the hold; nothing is taken otherwise."""
    v = Vendor()
    held = v.held()
    assert [field(v.capture(held, 499)), field(v.capture(held, 500, "EUR"))] == ["amount", "currency"]
    assert v.capture("pay_00000000000099").status == 400
    assert v.moves() == [("authorize", 500)]


def test_refunds() -> None:
    """Partial until all is given back; shown by payment, by id and in the lists; never more than was taken."""
    v = Vendor()
    held = v.held()
    assert v.ask("POST", f"/payments/{held}/refund", {"amount": 1}).status == 400
    v.capture(held)
    first = doc(v.ask("POST", f"/payments/{held}/refund", {"amount": 300, "receipt": "r1", "speed": "normal"}))
    assert (first["status"], first["payment_id"], first["receipt"]) == ("processed", held, "r1")
    assert (v.payment(held)["refund_status"], v.payment(held)["amount_refunded"]) == ("partial", 300)
    assert field(v.ask("POST", f"/payments/{held}/refund", {"amount": 201})) == "amount"
    rest = doc(v.ask("POST", "/refunds", {"payment_id": held}))
    assert (rest["amount"], rest["receipt"]) == (200, None)
    assert (v.payment(held)["status"], v.payment(held)["captured"]) == ("refunded", True)
    assert v.ask("POST", f"/payments/{held}/refund", {"amount": 1}).status == 400
    for path in (f"/payments/{held}/refunds", "/refunds"):
        assert doc(v.ask("GET", path))["items"] == [rest, first]
    for path in (f"/refunds/{first['id']}", f"/payments/{held}/refunds/{first['id']}"):
        assert doc(v.ask("GET", path)) == first
    given = [(m.reference, m.refund_reference, m.provider_ref, m.amount) for m in v.ledger.movements() if m.kind == "refund"]
    assert given == [(RECEIPT, "r1", first["id"], 300), (RECEIPT, rest["id"], rest["id"], 200)]


def test_a_refund_under_a_key_is_made_once() -> None:
    """The same answer to the same request, byte for byte; another request under the key is refused; a bad key too."""
    v = Vendor()
    held = v.held()
    v.capture(held)

    def refund(amount: int, key: str = KEY) -> Reply:
        return v.ask("POST", f"/payments/{held}/refund", {"amount": amount, "receipt": "r"}, x_refund_idempotency=key)

    assert refund(501).status == 400  # refused, so not saved
    first = refund(200)
    assert (first.status, refund(200).body) == (200, first.body)
    other = refund(201)
    assert doc(other)["error"]["description"].startswith("Different request with the same idempotency key")
    assert [refund(1, key).status for key in ("short", "with blanks in it", "ten.points")] == [400] * 3
    assert v.moves()[2:] == [("refund", 200)]


def test_a_refund_that_is_worked_on_is_409() -> None:
    """The note of a process that is still at it makes a second request wait."""
    v = Vendor()
    held = v.held()
    v.capture(held)
    body, path = {"amount": 1}, f"/payments/{held}/refund"
    v.ask("POST", path, body, x_refund_idempotency=KEY)
    saved = v.ledger.saved("razorpay", KEY, v.now)
    assert saved is not None
    v.ledger.save("razorpay", KEY, saved.fingerprint, v.now, busy_until_us=v.now + S)
    assert v.ask("POST", path, body, x_refund_idempotency=KEY).status == 409


def test_lookups_lag() -> None:
    """A GET does not show what happened within the lag: neither objects nor what became of them."""
    v = Vendor()
    v.faults = Profile(lookup_lag_ms=5000)
    order = v.order()
    assert v.ask("GET", f"/orders/{order}").status == 400
    assert doc(v.ask("GET", f"/orders?receipt={RECEIPT}"))["items"] == []
    v.now += 5 * S
    payment = doc(v.fire(order))["razorpay_payment_id"]
    assert (doc(v.ask("GET", f"/orders/{order}"))["status"], v.payments(order)) == ("created", [])
    v.now += 5 * S
    v.capture(payment)
    v.ask("POST", f"/payments/{payment}/refund", {"amount": 500})
    assert [p["status"] for p in v.payments(order)] == ["authorized"]
    assert doc(v.ask("GET", f"/orders/{order}"))["status"] == "attempted"
    assert doc(v.ask("GET", f"/payments/{payment}/refunds"))["items"] == []
    v.now += 5 * S
    assert v.payment(payment)["status"] == "refunded"
    assert doc(v.ask("GET", f"/payments/{payment}/refunds"))["count"] == 1


def test_lists() -> None:
    """Newest first, ten at a time, by receipt and time, with their payments if asked."""
    v = Vendor()
    orders = []
    for n in range(12):
        v.now += S
        orders.append(v.order(f"r{n}"))
    payment = doc(v.fire(orders[3]))["razorpay_payment_id"]

    def ids(query: str, what: str = "orders") -> list[str]:
        return [each["id"] for each in doc(v.ask("GET", f"/{what}{query}"))["items"]]

    assert ids("") == orders[:1:-1]
    assert (ids("?count=2&skip=1"), ids("?receipt=r7"), ids("?receipt=r")) == ([orders[10], orders[9]], [orders[7]], [])
    assert ids(f"?from={NOW // S + 2}&to={NOW // S + 3}") == [orders[2], orders[1]]
    (expanded,) = doc(v.ask("GET", "/orders?receipt=r3&expand%5B%5D=payments"))["items"]
    assert [p["id"] for p in expanded["payments"]["items"]] == [payment]
    (empty,) = doc(v.ask("GET", "/orders?receipt=r4&expand%5B%5D=payments"))["items"]
    assert empty["payments"] == {"entity": "collection", "count": 0, "items": []}
    assert ids("", "payments") == [payment]


def test_what_an_older_sandbox_left_ends_as_it_would_have() -> None:
    """Objects of its ledger say less: a hold lapses by its minutes, a failed payment turns, a refund was done."""
    v = Vendor()
    fields = {"amount": 500, "currency": "INR", "captured": False, "amount_refunded": 0, "refund_status": None, "notes": {}}
    order = v.ledger.thing("razorpay", "order", int(v.order().removeprefix("order_")))
    assert order is not None
    v.ledger.change(order, {k: each for k, each in order.doc.items() if k != "hold_s"} | {"hold_min": 60})
    ids = []
    for status, due_s in (("authorized", 3600), ("failed", 10), ("captured", 0)):
        doc = {"changes": [[v.now, fields | {"status": status}]], "hold_min": 60, "spoil": "plainly"}
        thing = v.ledger.add("razorpay", "payment", RECEIPT, doc, at_us=v.now, parent=order.id)
        ids.append(f"pay_{thing.id:014d}")
        if due_s:
            v.ledger.later(thing, v.now + due_s * S)
    made = {"amount": 5, "currency": "INR", "receipt": "r", "notes": {}, "speed": "normal"}
    refund = v.ledger.add("razorpay", "refund", "r", made, at_us=v.now, parent=thing.id)
    assert doc_of(v, f"/refunds/rfnd_{refund.id:014d}")["status"] == "processed"
    v.now += 10 * S
    assert [v.payment(each)["status"] for each in ids] == ["authorized", "authorized", "captured"]
    v.now += 3600 * S
    assert [v.payment(each)["status"] for each in ids] == ["refunded", "refunded", "captured"]
    assert v.moves() == [("authorize", 500), ("void", 500), ("void", 500)]


def doc_of(v: Vendor, path: str) -> dict[str, Any]:
    return doc(v.ask("GET", path))


def test_every_token_is_tested_here() -> None:
    """A new token needs a test in this file, or in that of the customer."""
    files = [Path(__file__), Path(__file__).with_name("test_razorpay_customer.py")]
    text = "".join(each.read_text(encoding="utf-8") for each in files)
    assert [token for token in TOKENS if f'"{token}"' not in text] == []

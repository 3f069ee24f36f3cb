"""The vendor like Razorpay: what becomes of refunds, and what its webhooks tell of everything."""

import hashlib
import hmac
from typing import Any, get_args

import pytest

from payonce.sandbox.faults import REFUND_LATE_S, REFUND_S, Profile, Refunds
from payonce.sandbox.razorpay.telling import WEBHOOK_SECRET

from .razorpay_by_hand import PAYMENT, RECEIPT, S, Vendor, doc, field

KWD_MAX = 999_999_999_990


def refund_of(v: Vendor, payment: str) -> dict[str, Any]:
    (made,) = doc(v.ask("GET", f"/payments/{payment}/refunds"))["items"]
    return dict(made)


def test_a_pending_refund_is_reserved_and_then_done() -> None:
    """It counts as given back at once, is booked when it is processed, and is told both times."""
    v = Vendor()
    payment = v.captured()
    made = doc(v.refund(payment, 300, receipt="r1", notes={"forceRefund": "pending"}))
    assert (made["status"], v.payment(payment)["amount_refunded"], v.moves()[2:]) == ("pending", 300, [])
    assert field(v.refund(payment, 201)) == "amount"
    v.now += int(REFUND_S * S) - 1
    assert refund_of(v, payment)["status"] == "pending"
    v.now += 1
    assert refund_of(v, payment) == made | {"status": "processed"}
    assert v.moves()[2:] == [("refund", 300)]
    assert v.told()[3:] == ["refund.created", "refund.processed"]


def test_a_pending_refund_may_fail_and_frees_its_sum() -> None:
    """Nothing was booked, and all can be given back again."""
    v = Vendor()
    payment = v.captured()
    v.refund(payment, 500, notes={"forceRefund": "pending_fail"})
    assert (v.payment(payment)["status"], v.refund(payment, 1).status) == ("refunded", 400)
    v.now += int(REFUND_S * S)
    after = v.payment(payment)
    assert (after["status"], after["amount_refunded"], after["refund_status"]) == ("captured", 0, None)
    assert (refund_of(v, payment)["status"], v.moves()[2:]) == ("failed", [])
    assert v.told()[3:] == ["refund.created", "refund.failed"]
    assert doc(v.refund(payment, 500))["status"] == "processed"


def test_a_refund_that_was_done_may_fail_afterwards() -> None:
    """Its money comes back: that is booked, too."""
    v = Vendor()
    payment = v.captured()
    assert doc(v.refund(payment, 200, receipt="r", notes={"forceRefund": "fail_later"}))["status"] == "processed"
    v.now += int(REFUND_LATE_S * S)
    assert (refund_of(v, payment)["status"], v.payment(payment)["amount_refunded"]) == ("failed", 0)
    assert v.moves()[2:] == [("refund", 200), ("refund_failed", 200)]
    assert v.told()[3:] == ["refund.created", "refund.processed", "refund.failed"]


def test_a_refund_may_fail_at_once() -> None:
    """As of a payment that is too old: answered with the refund, which failed."""
    v = Vendor()
    payment = v.captured()
    made = doc(v.refund(payment, 200, notes={"forceRefund": "fail"}))
    assert (made["status"], v.payment(payment)["amount_refunded"], v.moves()[2:]) == ("failed", 0, [])
    assert v.told()[3:] == ["refund.created", "refund.failed"]


@pytest.mark.parametrize("fate", get_args(Refunds))
def test_the_fault_profile_decides_for_refunds_that_do_not_say(fate: Refunds) -> None:
    """Every word of it does what the note does; a note wins, and an unknown note is none."""
    first = {"pending": "pending", "pending_fail": "pending", "fail": "failed"}.get(fate, "processed")
    v = Vendor()
    payment = v.captured()
    v.faults = Profile(refunds=fate)
    assert doc(v.refund(payment, 100))["status"] == first
    assert doc(v.refund(payment, 100, notes={"forceRefund": "later perhaps"}))["status"] == first
    assert doc(v.refund(payment, 100, notes={"forceRefund": "plain"}))["status"] == "processed"


def test_several_refunds_end_each_for_itself() -> None:
    """One is done, one is under way and one failed; the sum follows."""
    v = Vendor()
    payment = v.captured()
    fates = ("plain", "pending", "pending_fail")
    names = [doc(v.refund(payment, 100, receipt=f"r{fate}", notes={"forceRefund": fate}))["id"] for fate in fates]
    assert v.payment(payment)["amount_refunded"] == 300
    v.now += int(REFUND_S * S)
    ended = {r["id"]: r["status"] for r in doc(v.ask("GET", f"/payments/{payment}/refunds"))["items"]}
    assert [ended[name] for name in names] == ["processed", "processed", "failed"]
    assert (v.payment(payment)["amount_refunded"], v.payment(payment)["refund_status"]) == (200, "partial")


def test_lookups_lag_behind_refunds_too() -> None:
    """Within the lag a refund that was processed still shows as pending."""
    v = Vendor()
    payment = v.captured()
    v.refund(payment, 100, notes={"forceRefund": "pending"})
    v.now += int(REFUND_S * S)
    assert refund_of(v, payment)["status"] == "processed"
    v.faults = Profile(lookup_lag_ms=1000)
    assert refund_of(v, payment)["status"] == "pending"


def test_sums_far_above_2_31() -> None:
    """Held, captured and given back in parts: every minor unit is kept."""
    v = Vendor()
    order = v.order(amount=KWD_MAX, currency="KWD")
    v.fire(order, amount=KWD_MAX, currency="KWD")
    (held,) = v.payments(order)
    assert v.capture(held["id"], KWD_MAX, "KWD").status == 200
    first, rest = 2_147_483_650, KWD_MAX - 2_147_483_650
    assert [doc(v.refund(held["id"], each))["amount"] for each in (first, rest)] == [first, rest]
    assert v.moves() == [("authorize", KWD_MAX), ("capture", KWD_MAX), ("refund", first), ("refund", rest)]
    assert v.payment(held["id"])["status"] == "refunded"


# --- webhooks -------------------------------------------------------------------------------------------------------------


def test_a_charge_is_told_step_by_step() -> None:
    """Authorized, captured, order paid: each with the payment as it was then, under our reference and theirs."""
    v = Vendor()
    payment = v.captured()
    authorized, captured, paid = v.events()
    assert [e["event"] for e in (authorized, captured, paid)] == ["payment.authorized", "payment.captured", "order.paid"]
    shown = [e["payload"]["payment"]["entity"] for e in (authorized, captured, paid)]
    assert [(p["id"], p["status"], p["captured"]) for p in shown] == [
        (payment, "authorized", False),
        (payment, "captured", True),
        (payment, "captured", True),
    ]
    order = paid["payload"]["order"]["entity"]
    assert (order["receipt"], order["status"], paid["contains"]) == (RECEIPT, "paid", ["payment", "order"])
    assert [e["entity"] for e in v.events()] == ["event"] * 3


def test_an_order_that_captures_by_itself_tells_the_same() -> None:
    """The payment is authorized first there, too."""
    v = Vendor()
    v.fire(v.order(payment={"capture": "automatic"}))
    assert v.told() == ["payment.authorized", "payment.captured", "order.paid"]
    assert v.events()[0]["payload"]["payment"]["entity"]["status"] == "authorized"


def test_a_decline_and_its_late_success_are_told() -> None:
    """payment.failed with the reason, payment.authorized when it turns; a hold that lapses is not told."""
    v = Vendor()
    v.fire(v.order(), "tok_late_success")
    v.now += 100 * 24 * 3600 * S
    v.ask("GET", "/orders")
    assert v.told() == ["payment.failed", "payment.authorized"]
    failed = v.events()[0]
    assert failed["payload"]["payment"]["entity"]["error_reason"] == "payment_timed_out"
    assert failed["created_at"] == v.events()[1]["created_at"] - 10


def test_a_refund_is_told_with_its_payment() -> None:
    """Both entities, the refund with our receipt, at the time at which it happened."""
    v = Vendor()
    payment = v.captured()
    v.now += S
    v.refund(payment, 100, receipt="r1")
    created, processed = v.events()[3:]
    for event in (created, processed):
        refund = event["payload"]["refund"]["entity"]
        assert (refund["receipt"], refund["payment_id"], refund["status"]) == ("r1", payment, "processed")
        assert (event["payload"]["payment"]["entity"]["amount_refunded"], event["created_at"]) == (100, v.now // S)


def test_what_is_refused_is_not_told() -> None:
    """Validation, unknown ids, a second capture and a request that left no payment announce nothing."""
    v = Vendor()
    order = v.order()
    v.fire(order, amount=501)
    v.fire(order, "tok_500_then_ok")
    v.fire(order, "tok_timeout_then_ok")
    assert v.told() == []
    payment = v.captured(receipt=PAYMENT + "0101")
    before = v.told()
    v.capture(payment)
    v.refund(payment, 501)
    assert v.told() == before


def test_a_lost_answer_is_told_all_the_same() -> None:
    """The webhook is how a lost answer is learned of."""
    v = Vendor()
    v.fire(v.order(), "tok_lost_response")
    assert v.told() == ["payment.authorized"]


def test_every_event_has_an_identity_and_a_signature() -> None:
    """The same event is signed alike each time and has one id; no two events share one."""
    v = Vendor()
    payment = v.captured()
    for receipt in ("a", "b"):
        v.refund(payment, 100, receipt=receipt)
    announced = v.ledger.deliveries.events(0, 1000)
    headers = [v.vendor.sign_webhook(each.body, v.now) for each in announced]
    assert headers == [v.vendor.sign_webhook(each.body, v.now + 10**9) for each in announced]
    assert [h["x-razorpay-event-id"] for h in headers] == [each.event_id for each in announced]
    assert len({each.event_id for each in announced}) == len(announced) == 7
    wanted = [hmac.new(WEBHOOK_SECRET.encode(), each.body, hashlib.sha256).hexdigest() for each in announced]
    assert [h["x-razorpay-signature"] for h in headers] == wanted

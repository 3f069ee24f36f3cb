"""The Cashfree of the sandbox: what every token makes of a payment, in answers, lists and books."""

import json
from pathlib import Path
from typing import Any

import pytest

from payonce.sandbox.faults import ACTS_S, HELD_S, LATE_S, SLOW_S, TOKENS
from payonce.sandbox.simulator import Reply

from .cashfree_by_hand import ORDER, PAYMENT, S, Vendor, doc


@pytest.mark.parametrize("token", ["tok_ok", ""])
def test_ok(token: str) -> None:
    """Paid at once; the answer only says that the vendor has it. No token is tok_ok."""
    v = Vendor()
    answer = doc(v.order(token))
    assert (answer["payment_amount"], answer["action"], answer["channel"], answer["payment_method"]) == (
        10.5,
        "custom",
        "link",
        "card",
    )
    assert (v.status(), v.payments(), v.taken()) == ("PAID", [("SUCCESS", "")], [("charge", 1050)])
    (moved,) = v.ledger.movements()
    assert (moved.provider, moved.reference, moved.provider_ref) == ("cashfree", ORDER, answer["cf_payment_id"])
    assert v.pay().status == 400


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        ("tok_decline_insufficient_funds", "insufficient_funds"),
        ("tok_decline_stolen_card", "card_stolen"),
        ("tok_decline_do_not_honor", "bank_rejected"),
        ("tok_decline_processing_error", "ISSUER_NOT_AVAILABLE"),
        ("tok_decline_expired_card", "card_expired"),
        ("tok_nobody_knows", "card_invalid"),
    ],
)
def test_declines(token: str, reason: str) -> None:
    """A decline shows in the list; the order can still be paid, until it is terminated."""
    v = Vendor()
    assert v.order(token).status == 200
    assert (v.status(), v.payments(), v.taken()) == ("ACTIVE", [("FAILED", reason)], [])
    assert doc(v.terminate())["order_status"] == "TERMINATED"
    assert (v.pay().status, v.terminate().status) == (400, 200)
    assert (v.status(), v.taken()) == ("TERMINATED", [])


def test_force_fail_wins_over_the_token() -> None:
    """The tag declines; only "true" does."""
    v = Vendor()
    v.order(order_tags={"forceFail": "true"})
    v.order(order="other", order_tags={"forceFail": "false"})
    assert (v.payments(), v.payments("other")) == ([("FAILED", "forced_failure")], [("SUCCESS", "")])


@pytest.mark.parametrize("token", ["tok_decline_then_ok", "tok_technical_then_ok", "tok_not_enabled_then_ok"])
def test_a_decline_at_first_counts_orders(token: str) -> None:
    """The payment's first order is declined for ever, its later ones go through."""
    v = Vendor()
    v.order(token)
    v.pay(token)
    v.order(token, PAYMENT + "0101")
    v.order(token, "06ex4k2m9p7q8r5s3t020100")
    assert [s for s, _ in v.payments()] == ["FAILED", "FAILED"]
    assert (v.status(PAYMENT + "0101"), v.status("06ex4k2m9p7q8r5s3t020100")) == ("PAID", "ACTIVE")


@pytest.mark.parametrize(("token", "second"), [("tok_late_then_ok", "SUCCESS"), ("tok_late_then_decline", "FAILED")])
def test_a_decline_that_turns_beside_a_second_order(token: str, second: str) -> None:
    """The first order is paid after all, ten seconds later, whatever the second one came to."""
    v = Vendor()
    v.order(token)
    assert [s for s, _ in v.payments()] == ["FAILED"]
    v.order(token, PAYMENT + "0101")
    assert [s for s, _ in v.payments(PAYMENT + "0101")] == [second]
    v.now += int(LATE_S * S)
    assert [s for s, _ in v.payments()] == ["SUCCESS"]


def test_a_decline_of_the_first_send_counts_sends() -> None:
    """What arrives second goes through, in the same order too."""
    v = Vendor()
    v.order("tok_decline_send_then_ok")
    assert [s for s, _ in v.payments()] == ["FAILED"]
    v.pay("tok_decline_send_then_ok")
    assert (v.status(), v.taken()) == ("PAID", [("charge", 1050)])


def test_timeout_then_ok() -> None:
    """The first send books nothing and is held; a later one goes through."""
    v = Vendor()
    first = v.order("tok_timeout_then_ok")
    assert (first.drop, first.hold_s, first.resume) == (True, HELD_S, False)
    assert (v.payments(), v.taken()) == ([], [])
    v.pay("tok_timeout_then_ok")
    assert (v.status(), v.taken()) == ("PAID", [("charge", 1050)])


def test_lost_response() -> None:
    """Charged, the connection dropped; under the key the answer is kept."""
    v = Vendor()
    v.create()
    session = doc(v.ask("GET", f"/orders/{ORDER}"))["payment_session_id"]
    body = {
        "payment_session_id": session,
        "payment_method": {"card": {"channel": "link", "instrument_id": "tok_lost_response"}},
    }
    assert v.ask("POST", "/orders/sessions", body, key="k").drop
    assert v.taken() == [("charge", 1050)]
    again = v.ask("POST", "/orders/sessions", body, key="k")
    assert (again.drop, again.status, doc(again)["payment_amount"]) == (False, 200, 10.5)
    assert v.taken() == [("charge", 1050)]


def test_500_then_ok() -> None:
    """A 500 before anything was done is not saved."""
    v = Vendor()
    v.create()
    assert [v.pay("tok_500_then_ok", key="k").status for _ in range(2)] == [500, 200]
    assert v.taken() == [("charge", 1050)]


def test_500_after_charge() -> None:
    """Charged, and 500 saved under the key for ever; the list tells."""
    v = Vendor()
    v.create()
    session = doc(v.ask("GET", f"/orders/{ORDER}"))["payment_session_id"]
    body = {
        "payment_session_id": session,
        "payment_method": {"card": {"channel": "link", "instrument_id": "tok_500_after_charge"}},
    }
    assert [v.ask("POST", "/orders/sessions", body, key="k").status for _ in range(3)] == [500] * 3
    assert (v.payments(), v.taken()) == ([("SUCCESS", "")], [("charge", 1050)])


def test_garbage_response() -> None:
    """Charged; 200 with half a body; the list tells."""
    v = Vendor()
    reply = v.order("tok_garbage_response")
    with pytest.raises(json.JSONDecodeError):
        json.loads(reply.body)
    assert (reply.status, v.payments(), v.taken()) == (200, [("SUCCESS", "")], [("charge", 1050)])


def test_slow() -> None:
    """PENDING for five seconds, then paid; a second payment meanwhile is given back."""
    v = Vendor()
    v.order("tok_slow_5s")
    v.pay("tok_slow_5s")
    assert (v.status(), v.payments(), v.taken()) == ("ACTIVE", [("PENDING", ""), ("PENDING", "")], [])
    v.now += int(SLOW_S * S) - 1
    assert v.taken() == []
    v.now += 1
    assert (v.status(), v.payments(), v.taken()) == ("PAID", [("SUCCESS", ""), ("CANCELLED", "")], [("charge", 1050)])


def test_rate_limited() -> None:
    """429 twice with the seconds to wait, then it goes through."""
    v = Vendor()
    v.create()
    replies = [v.pay("tok_rate_limited", key="k") for _ in range(3)]
    assert [(r.status, r.headers["x-ratelimit-retry"]) for r in replies] == [(429, "1"), (429, "1"), (200, "0")]
    assert (doc(replies[0])["type"], v.taken()) == ("rate_limit_error", [("charge", 1050)])


def test_wrong_amount() -> None:
    """100 more than asked is taken, and the payment says so."""
    v = Vendor()
    assert doc(v.order("tok_wrong_amount"))["payment_amount"] == 11.5
    assert v.taken() == [("charge", 1150)]


def test_never_resolves() -> None:
    """PENDING for ever; a termination is only requested, for ever."""
    v = Vendor()
    v.order("tok_never_resolves")
    assert [doc(v.terminate())["order_status"] for _ in range(2)] == ["TERMINATION_REQUESTED"] * 2
    v.now += 10 * 86_400 * S
    assert (v.status(), v.payments(), v.taken()) == ("TERMINATION_REQUESTED", [("PENDING", "")], [])
    assert v.pay().status == 400


def test_late_success() -> None:
    """FAILED, and ten seconds later SUCCESS: a termination in between is only requested and does not stick."""
    v = Vendor()
    v.order("tok_late_success")
    assert v.payments() == [("FAILED", "late_success_declined")]
    assert doc(v.terminate())["order_status"] == "TERMINATION_REQUESTED"
    v.now += int(LATE_S * S) - 1
    assert (v.status(), v.taken()) == ("TERMINATION_REQUESTED", [])
    v.now += 1
    assert (v.status(), v.payments(), v.taken()) == ("PAID", [("SUCCESS", "")], [("charge", 1050)])
    assert (v.terminate().status, v.ledger.movements()[0].at) == (400, "2027-01-15T08:00:10.000000Z")


def test_a_late_success_that_comes_too_late_is_given_back() -> None:
    """The order was closed for good before: by another payment, or by its expiry."""
    v = Vendor()
    v.order("tok_late_success")
    v.pay()
    v.create("other", order_expiry_time="2027-01-15T08:15:02Z")
    v.now += 900 * S
    v.pay("tok_late_success", "other")
    v.now += int(LATE_S * S)
    assert (v.payments(), v.payments("other")) == ([("CANCELLED", ""), ("SUCCESS", "")], [("CANCELLED", "")])
    assert (v.status("other"), v.taken()) == ("EXPIRED", [("charge", 1050)])


def test_a_slow_payment_outlives_a_termination() -> None:
    """TERMINATION_REQUESTED while it is in process, then PAID."""
    v = Vendor()
    v.order("tok_slow_5s")
    assert doc(v.terminate())["order_status"] == "TERMINATION_REQUESTED"
    v.now += int(SLOW_S * S)
    assert (v.status(), v.taken()) == ("PAID", [("charge", 1050)])


def test_upi_carries_the_token_too() -> None:
    """As the id of a collect request, which must be there; other methods are refused."""
    v = Vendor()
    session = doc(v.create())["payment_session_id"]

    def pay(**method: Any) -> Reply:
        return v.ask("POST", "/orders/sessions", {"payment_session_id": session, "payment_method": method})

    answer = pay(upi={"channel": "collect", "upi_id": "tok_decline_do_not_honor"})
    assert (doc(answer)["payment_method"], doc(answer)["action"]) == ("upi", "custom")
    assert v.payments() == [("FAILED", "bank_rejected")]
    card = {"channel": "link"}
    assert [pay(upi={"channel": "collect"}).status, pay(app=card).status, pay(card=card, upi=card).status] == [400] * 3


@pytest.mark.parametrize("session", ["", "session_1_x", "session_x_y", "session_999999999999999999999_x", "session_²_x", "1"])
def test_a_session_cannot_be_made_up(session: str) -> None:
    """Only what the vendor gave out pays."""
    v = Vendor()
    v.create()
    body = {"payment_session_id": session, "payment_method": {"card": {"channel": "link"}}}
    assert v.ask("POST", "/orders/sessions", body).status == 400


def test_a_customer_acts_on_the_page() -> None:
    """tok_action waits until somebody decides; the link is the sandbox's page."""
    v = Vendor()
    answer = doc(v.order("tok_action"))
    assert (answer["action"], answer["data"]["url"].rsplit("/", 2)[1]) == ("link", "cashfree")
    v.now += 86_400 * S
    assert (v.payments(), v.taken()) == ([("NOT_ATTEMPTED", "")], [])


@pytest.mark.parametrize(
    ("token", "status", "payment"),
    [("tok_action_ok", "PAID", ("SUCCESS", "")), ("tok_action_decline", "ACTIVE", ("FAILED", "auth_declined"))],
)
def test_a_customer_who_acts_by_himself(token: str, status: str, payment: tuple[str, str]) -> None:
    """After three seconds the token decides."""
    v = Vendor()
    v.order(token)
    v.now += int(ACTS_S * S) - 1
    assert v.payments() == [("NOT_ATTEMPTED", "")]
    v.now += 1
    assert (v.status(), v.payments()) == (status, [payment])


def test_every_token_is_tested_here() -> None:
    """A new token needs a test in this file."""
    text = Path(__file__).read_text(encoding="utf-8")
    assert [token for token in TOKENS if f'"{token}"' not in text] == []

"""The Cashfree of the sandbox: holds, what is captured and released of them, refunds that take time, and the list of
events."""

import json
from typing import Any

import pytest

from payonce.sandbox.faults import SLOW_S, Profile
from payonce.sandbox.simulator import Reply

from .cashfree_by_hand import ORDER, S, Vendor, doc

HELD = {"order_note": "preauth_transaction"}
DAY = 86_400 * S


def authorize(v: Vendor, action: str, amount: Any = None, order: str = ORDER, key: str = "") -> Reply:
    body = {"action": action} | ({} if amount is None else {"amount": amount})
    return v.ask("POST", f"/orders/{order}/authorization", body, key=key)


def shown(v: Vendor, order: str = ORDER) -> tuple[str, bool, str | None, str | None]:
    """Status, whether captured, and what was asked with its state, of the order's only payment."""
    (payment,) = json.loads(v.ask("GET", f"/orders/{order}/payments").body)
    hold = payment["authorization"] or {}
    return payment["payment_status"], payment["is_captured"], hold.get("action"), hold.get("status")


def test_a_card_is_held_where_the_order_says_so() -> None:
    """SUCCESS, not captured, nothing taken; it cannot be refunded."""
    v = Vendor()
    v.order(**HELD)
    assert (v.status(), shown(v), v.taken()) == ("PAID", ("SUCCESS", False, None, None), [("authorize", 1050)])
    assert doc(v.refund(1, "r-1"))["code"] == "order_not_paid"
    v.order(order="other")
    assert shown(v, "other") == ("SUCCESS", True, None, None)


@pytest.mark.parametrize(("amount", "taken"), [(None, 1050), (10.5, 1050), (4.2, 420)])
def test_a_hold_is_captured_once(amount: Any, taken: int) -> None:
    """All of it or less; again is refused, and so is a void; what was captured can be refunded, no more."""
    v = Vendor()
    v.order(**HELD)
    done = doc(authorize(v, "CAPTURE", amount))
    assert (done["is_captured"], done["authorization"]["captured_amount"]) == (True, taken / 100)
    assert (authorize(v, "CAPTURE").status, authorize(v, "VOID").status) == (409, 409)
    assert v.refund((taken + 1) / 100, "r-1").status == 400
    assert v.refund(taken / 100, "r-2").status == 200
    v.now += 8 * DAY
    assert shown(v) == ("SUCCESS", True, "CAPTURE", "SUCCESS")
    assert v.taken() == [("authorize", 1050), ("capture", taken), ("refund", taken)]


def test_a_hold_is_released() -> None:
    """VOID: it can neither be captured nor released again."""
    v = Vendor()
    v.order(**HELD)
    assert doc(authorize(v, "VOID"))["payment_status"] == "VOID"
    assert [doc(authorize(v, each))["code"] for each in ("CAPTURE", "VOID")] == ["order_id_voided"] * 2
    assert (shown(v), v.taken()) == (("VOID", False, "VOID", "SUCCESS"), [("authorize", 1050), ("void", 1050)])


def test_a_hold_lapses_after_seven_days() -> None:
    """Not before; then it is VOID."""
    v = Vendor()
    v.order(**HELD)
    v.now += 7 * DAY - 1
    assert shown(v)[0] == "SUCCESS"
    v.now += 1
    assert (shown(v)[0], v.taken()[-1], authorize(v, "CAPTURE").status) == ("VOID", ("void", 1050), 400)


@pytest.mark.parametrize(("action", "before", "after"), [("CAPTURE", "SUCCESS", "SUCCESS"), ("VOID", "SUCCESS", "VOID")])
def test_what_is_slow_is_slowly_captured_and_released(action: str, before: str, after: str) -> None:
    """PENDING for as long as the payment took, then done; meanwhile nothing else can be asked."""
    v = Vendor()
    v.order("tok_slow_5s", **HELD)
    v.now += int(SLOW_S * S)
    asked = doc(authorize(v, action))
    assert (asked["authorization"]["status"], shown(v)) == ("PENDING", (before, False, action, "PENDING"))
    assert authorize(v, "VOID").status == 409
    v.now += int(SLOW_S * S)
    assert shown(v) == (after, action == "CAPTURE", action, "SUCCESS")
    assert [kind for kind, _ in v.taken()] == ["authorize", action.lower()]


def test_upi_is_held_where_the_payment_says_so() -> None:
    """authorize_only, not the order's note."""
    v = Vendor()
    for order, only in ((ORDER, True), ("other", False)):
        session = doc(v.create(order, **HELD))["payment_session_id"]
        upi = {"channel": "collect", "upi_id": "tok_ok", "authorize_only": only}
        v.ask("POST", "/orders/sessions", {"payment_session_id": session, "payment_method": {"upi": upi}})
    assert (shown(v)[1], shown(v, "other")[1]) == (False, True)


@pytest.mark.parametrize("amount", [0, -1, 10.51, 0.001, "ten"])
def test_no_more_than_the_hold_is_captured(amount: Any) -> None:
    """Nothing, less than nothing, more than is held, parts of a minor unit: refused, and it is still held."""
    v = Vendor()
    v.order(**HELD)
    assert authorize(v, "CAPTURE", amount).status == 400
    assert shown(v) == ("SUCCESS", False, None, None)


def test_what_is_not_held_is_not_captured() -> None:
    """A payment that was taken at once, an order without a payment, no order."""
    v = Vendor()
    v.order()
    v.create("other")
    assert [authorize(v, "CAPTURE", order=each).status for each in (ORDER, "other", "nobody")] == [400, 400, 404]
    assert v.ask("POST", f"/orders/{ORDER}/authorization", {"action": "REFUND"}).status == 400


def test_a_capture_is_answered_again_under_its_key() -> None:
    """The same bytes under the same key move money once."""
    v = Vendor()
    v.order(**HELD)
    first, again = (authorize(v, "CAPTURE", 4.2, key="k") for _ in range(2))
    assert (first.status, again.status, again.body) == (200, 200, first.body)
    assert v.taken() == [("authorize", 1050), ("capture", 420)]


def test_a_slow_refund_ends_later() -> None:
    """PENDING, keeping its share, then done and booked."""
    v = Vendor()
    v.order("tok_slow_5s")
    v.now += int(SLOW_S * S)
    assert doc(v.refund(6, "r-1"))["refund_status"] == "PENDING"
    assert (v.refund(6, "r-2").status, v.taken()) == (400, [("charge", 1050)])
    v.now += int(SLOW_S * S)
    assert doc(v.ask("GET", f"/orders/{ORDER}/refunds/r-1"))["refund_status"] == "SUCCESS"
    assert v.taken() == [("charge", 1050), ("refund", 600)]


# --- events -------------------------------------------------------------------------------------------------------


def events(v: Vendor, limit: int = 10, cursor: str = "", first: str = "2027-01-15T08:00:00Z", last: str = "") -> Any:
    filters = {"start_date": first, "end_date": last or "2027-01-16T08:00:00Z"}
    pagination = {"limit": limit} | ({"cursor": cursor} if cursor else {})
    return doc(v.ask("POST", "/recon", {"pagination": pagination, "filters": filters}))


def test_events_are_listed_page_by_page() -> None:
    """Charges, captures and refunds of the window with our ids, once each, until nothing is left."""
    v = Vendor()
    v.order()
    v.refund(4.5, "r-1")
    v.order(order="other", **HELD)
    authorize(v, "CAPTURE", 4.2, "other")
    listed, cursor = list[Any](), ""
    for _ in range(5):
        page = events(v, 2, cursor)
        listed += page["data"]
        cursor = page["cursor"] or ""
        if not page["data"]:
            break
    told = [(e["event_type"], e["order_id"], e["event_amount"], e.get("refund_id")) for e in listed]
    assert told == [("PAYMENT", ORDER, 10.5, None), ("REFUND", ORDER, 4.5, "r-1"), ("PAYMENT", "other", 4.2, None)]
    ids = [payment["cf_payment_id"] for payment in json.loads(v.ask("GET", "/orders/other/payments").body)]
    assert (listed[2]["cf_payment_id"], cursor) == (ids[0], "")


def test_events_outside_the_window_are_not_listed() -> None:
    """Both ends count; what lookups do not show yet is not there either."""
    v = Vendor()
    v.order()
    v.now += 60 * S
    v.order(order="other")

    def orders(first: str = "2027-01-15T08:00:00Z", last: str = "") -> list[str]:
        return [e["order_id"] for e in events(v, first=first, last=last)["data"]]

    assert orders() == [ORDER, "other"]
    assert orders(last="2027-01-15T08:00:59Z") == [ORDER]
    assert orders("2027-01-15T08:00:01Z", "2027-01-15T08:01:00Z") == ["other"]
    v.faults = Profile(lookup_lag_ms=3000)
    assert orders() == [ORDER]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"pagination": {"limit": 0}, "filters": {"start_date": "2027-01-15", "end_date": "2027-01-16"}},
        {"pagination": {"limit": 1001}, "filters": {"start_date": "2027-01-15", "end_date": "2027-01-16"}},
        {"pagination": {"limit": 1}, "filters": {"start_date": "soon", "end_date": "2027-01-16"}},
        {"pagination": {"limit": 1, "cursor": "?"}, "filters": {"start_date": "2027-01-15", "end_date": "2027-01-16"}},
    ],
)
def test_an_odd_window_is_400(body: Any) -> None:
    """No window, an odd limit, no time, a cursor of nobody."""
    assert Vendor().ask("POST", "/recon", body).status == 400

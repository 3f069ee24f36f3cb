"""The Cashfree of the sandbox: customers who have to act, by card, UPI and bank, and the page on which they do."""

import json
from typing import Any

import pytest

from payonce.sandbox.pages import page_url
from payonce.sandbox.simulator import Reply

from .cashfree_by_hand import ORDER, S, Vendor, doc


def begin(v: Vendor, order: str = ORDER, **method: Any) -> Reply:
    """A payment of an order that is there already."""
    session = doc(v.ask("GET", f"/orders/{order}"))["payment_session_id"]
    return v.ask("POST", "/orders/sessions", {"payment_session_id": session, "payment_method": method})


def decide(v: Vendor, number: int, *, approve: bool) -> None:
    """What the page does when a button is pressed."""
    with v.ledger.transaction():
        v.vendor.settle(v.ledger, v.now)
        v.vendor.act(v.ledger, number, v.now, approve=approve)


def number_of(reply: Reply) -> int:
    """The ledger's number of a payment, as the page's address has it."""
    return int(doc(reply)["cf_payment_id"]) - 12_376_000_000


@pytest.mark.parametrize(
    ("approve", "status", "payment", "taken"),
    [
        (True, "PAID", ("SUCCESS", ""), [("charge", 1050)]),
        (False, "ACTIVE", ("FAILED", "auth_declined"), []),
    ],
)
def test_the_page_decides_once(approve: bool, status: str, payment: tuple[str, str], taken: list[tuple[str, int]]) -> None:
    """Approved or declined on the page; whatever is pressed afterwards changes nothing."""
    v = Vendor()
    reply = v.order("tok_action", order_meta={"return_url": "https://shop.example/back?cart=7"})
    number = number_of(reply)
    assert doc(reply)["data"]["url"] == page_url(v.ledger, "cashfree", number)
    standing = v.vendor.standing(v.ledger, number)
    assert standing is not None
    assert (standing.open, standing.says, standing.amount_minor, standing.reference) == (True, "NOT_ATTEMPTED", 1050, ORDER)
    assert standing.return_url == f"https://shop.example/back?cart=7&order_id={ORDER}"
    for _ in range(2):
        decide(v, number, approve=approve)
        decide(v, number, approve=not approve)
    assert (v.status(), v.payments(), v.taken()) == (status, [payment], taken)
    standing = v.vendor.standing(v.ledger, number)
    assert standing is not None
    assert (standing.open, standing.says) == (False, payment[0])


@pytest.mark.parametrize(
    ("told", "back"),
    [
        ("https://shop.example/back", f"https://shop.example/back?order_id={ORDER}"),
        ("https://shop.example/back/{order_id}", f"https://shop.example/back/{ORDER}"),
        (None, ""),
    ],
)
def test_the_customer_comes_back_with_the_order(told: str | None, back: str) -> None:
    """The vendor adds the order's id to the address, or puts it where it is named."""
    v = Vendor()
    meta = {"return_url": told} if told else None
    standing = v.vendor.standing(v.ledger, number_of(v.order("tok_action", order_meta=meta)))
    assert standing is not None
    assert standing.return_url == back


def test_a_page_that_is_none() -> None:
    """Payments in which nobody has to act, and numbers of nothing, have no page."""
    v = Vendor()
    number = number_of(v.order())
    assert [v.vendor.standing(v.ledger, each) for each in (number, number + 1, 0, -1)] == [None] * 4
    decide(v, number, approve=False)
    assert v.taken() == [("charge", 1050)]


def test_a_link_that_nobody_opened_dies_with_its_order() -> None:
    """It does not keep an order from being terminated, and takes no money afterwards; the same after the expiry."""
    v = Vendor()
    number = number_of(v.order("tok_action"))
    assert doc(v.terminate())["order_status"] == "TERMINATED"
    decide(v, number, approve=True)
    v.create("other", order_expiry_time="2027-01-15T08:16:00Z")
    other = number_of(v.pay("tok_action_ok", "other"))
    v.now += 2 * S
    v.create("third", order_expiry_time="2027-01-15T08:15:04Z")
    v.now += 899 * S
    v.pay("tok_action_ok", "third")
    v.now += 3600 * S
    decide(v, other, approve=True)
    assert [v.payments(each)[0][0] for each in (ORDER, "other", "third")] == ["NOT_ATTEMPTED", "SUCCESS", "NOT_ATTEMPTED"]
    assert v.taken() == [("charge", 1050)]


def test_a_upi_intent_is_opened_on_the_phone() -> None:
    """Without an id: an intent in the payload, PENDING, and the page decides."""
    v = Vendor()
    v.create()
    reply = begin(v, upi={"channel": "link"})
    data = doc(reply)["data"]
    assert (doc(reply)["action"], data["url"]) == ("custom", None)
    assert data["payload"]["default"].startswith("upi://pay?pa=payonce@sandbox&am=10.50&cu=INR&tr=12376")
    assert data["payload"]["web"] == page_url(v.ledger, "cashfree", number_of(reply))
    assert v.payments() == [("PENDING", "")]
    assert doc(v.terminate())["order_status"] == "TERMINATION_REQUESTED"
    decide(v, number_of(reply), approve=False)
    assert (v.status(), v.taken()) == ("TERMINATED", [])


@pytest.mark.parametrize(("minutes", "lives_s"), [({}, 300), ({"upi_expiry_minutes": 15}, 900)])
def test_a_collect_request_that_nobody_answers_runs_out(minutes: dict[str, int], lives_s: int) -> None:
    """USER_DROPPED after its minutes, and a termination that waited for it is done."""
    v = Vendor()
    v.create()
    reply = begin(v, upi={"channel": "collect", "upi_id": "tok_action"} | minutes)
    assert (doc(reply)["action"], doc(reply)["data"]["payload"]) == ("custom", None)
    v.terminate()
    v.now += lives_s * S - 1
    assert (v.status(), v.payments()) == ("TERMINATION_REQUESTED", [("PENDING", "")])
    v.now += 1
    assert (v.status(), v.payments(), v.taken()) == ("TERMINATED", [("USER_DROPPED", "")], [])


def test_a_collect_request_that_is_answered() -> None:
    """By the customer himself, as the token says, or on the page."""
    v = Vendor()
    for order, token in ((ORDER, "tok_action_ok"), ("other", "tok_action_decline"), ("third", "tok_action")):
        v.create(order)
        number = number_of(begin(v, order, upi={"channel": "collect", "upi_id": token}))
    decide(v, number, approve=True)
    v.now += 3 * S
    assert [v.payments(each)[0][0] for each in (ORDER, "other", "third")] == ["SUCCESS", "FAILED", "SUCCESS"]


def test_a_bank_asks_its_customer() -> None:
    """Net banking by code or name goes to the page; a token in place of the name decides as ever."""
    v = Vendor()
    v.create()
    v.create("other")
    first = begin(v, netbanking={"channel": "link", "netbanking_bank_code": 3021})
    assert (doc(first)["payment_method"], doc(first)["action"]) == ("netbanking", "link")
    begin(v, "other", netbanking={"channel": "link", "netbanking_bank_name": "tok_ok"})
    decide(v, number_of(first), approve=True)
    assert (v.status(), v.status("other"), len(v.taken())) == ("PAID", "PAID", 2)
    shown = json.loads(v.ask("GET", f"/orders/{ORDER}/payments").body)
    assert [p["payment_group"] for p in shown] == ["net_banking"]


@pytest.mark.parametrize(
    "method",
    [
        {"netbanking": {"channel": "link"}},
        {"netbanking": {"channel": "post", "netbanking_bank_code": 3021}},
        {"upi": {"channel": "collect", "upi_id": "a@upi", "upi_expiry_minutes": 4}},
        {"upi": {"channel": "collect", "upi_id": "a@upi", "upi_expiry_minutes": 16}},
        {},
    ],
)
def test_a_method_that_lacks_something_is_400(method: dict[str, Any]) -> None:
    """A bank that is not named, a request that lives too short or too long, no method."""
    v = Vendor()
    v.create()
    assert begin(v, **method).status == 400
    assert v.payments() == []

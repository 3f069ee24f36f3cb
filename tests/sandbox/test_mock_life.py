"""The mock vendor after the charge: holds, captures, voids, refunds, customers who act, webhooks and listings."""

import json
from typing import Any

import pytest

from payonce.sandbox.faults import ACTION_S, ACTS_S, HOLD_S, REFUND_LATE_S, REFUND_S, Profile
from payonce.sandbox.mock import LISTED_MAX
from payonce.sandbox.pages import serve_pages_at

from .mock_by_hand import NOW, PAYMENT, S, Vendor, doc

MANUAL = {"capture": False}


def shown(v: Vendor, *names: str) -> tuple[Any, ...]:
    charge = v.one()
    return tuple(charge.get(name) for name in names)


# --- holds ----------------------------------------------------------------------------------------------------------------


def test_a_charge_that_is_not_captured_only_holds() -> None:
    """Authorized with the time of its end; no money is taken."""
    v = Vendor()
    reply = v.charge(capture=False)
    held = doc(reply)
    assert (reply.status, held["status"], held["captured"], held["amount"]) == (200, "authorized", 0, 500)
    assert held["expires_at"] == NOW // S + HOLD_S
    assert (v.taken(), v.told()) == ([("authorize", 500)], ["charge.authorized"])


@pytest.mark.parametrize("amount", [500, 499, 1])
def test_a_hold_is_captured_whole_or_in_part_once(amount: int) -> None:
    """The movement is what was taken; nothing can be captured, voided or refunded beyond it afterwards."""
    v = Vendor()
    name = v.hold()
    first = v.capture(name, amount)
    assert (first.status, doc(first)["status"], doc(first)["captured"]) == (200, "succeeded", amount)
    assert v.capture(name, amount).body == first.body
    assert v.capture(name, amount).headers["idempotent-replayed"] == "true"
    assert [v.capture(name, 1, "other").status, v.void(name).status] == [400, 400]
    assert v.taken() == [("authorize", 500), ("capture", amount)]
    assert [v.refund(name, amount + 1).status, v.refund(name, amount, "r2").status] == [400, 200]
    v.now += HOLD_S * S
    assert shown(v, "status", "captured", "refunded") == ("succeeded", amount, amount)
    assert v.told() == ["charge.authorized", "charge.captured", "refund.succeeded"]


def test_more_than_is_held_cannot_be_captured() -> None:
    """400, nothing is saved and the hold stands; the corrected request may use the key."""
    v = Vendor()
    name = v.hold()
    assert doc(v.capture(name, 501))["error"]["code"] == "capture_exceeds_hold"
    assert v.capture(name, 500).status == 200


def test_a_void_gives_the_hold_back_for_good() -> None:
    """Saved under its key as a charge is; no capture afterwards."""
    v = Vendor()
    name = v.hold()
    first = v.void(name)
    assert (first.status, doc(first)["status"]) == (200, "voided")
    assert v.void(name).body == first.body
    assert [v.void(name, "other").status, v.capture(name, 1).status] == [400, 400]
    v.now += HOLD_S * S
    assert shown(v, "status", "captured") == ("voided", 0)
    assert (v.taken(), v.told()) == ([("authorize", 500), ("void", 500)], ["charge.authorized", "charge.voided"])


def test_a_key_of_a_capture_belongs_to_its_request() -> None:
    """Another amount, another charge or a void under the same key is refused."""
    v = Vendor()
    one, two = v.hold(), v.hold(reference=PAYMENT + "0200", key="second")
    assert v.capture(one, 100, "k").status == 200
    others = [v.capture(one, 99, "k"), v.capture(two, 100, "k"), v.void(two, "k"), v.charge(key="k")]
    assert [doc(reply)["error"]["type"] for reply in others] == ["idempotency_error"] * 4


@pytest.mark.parametrize(("wanted", "after_s"), [({}, HOLD_S), ({"hold_s": 60}, 60)])
def test_a_hold_lapses_by_itself(wanted: dict[str, Any], after_s: int) -> None:
    """After seven days, or sooner on demand: one microsecond before it can be captured, then not."""
    v = Vendor(**wanted)
    name = v.hold()
    v.now += after_s * S - 1
    assert shown(v, "status") == ("authorized",)
    v.now += 1
    assert shown(v, "status") == ("expired",)
    assert [v.capture(name, 1).status, v.void(name).status] == [400, 400]
    assert (v.taken(), v.told()[-1]) == ([("authorize", 500), ("void", 500)], "charge.expired")


def test_a_late_success_of_a_manual_charge_is_a_hold() -> None:
    """A decline that turns out to be a charge is held, and lapses in its turn even when nobody looked in between."""
    v = Vendor()
    assert v.charge("tok_late_success", capture=False).status == 402
    v.now += 10 * S
    assert shown(v, "status", "decline_code") == ("authorized", None)
    v = Vendor()
    v.charge("tok_late_success", capture=False)
    v.now += (11 + HOLD_S) * S
    assert (shown(v, "status"), v.taken()) == (("expired",), [("authorize", 500), ("void", 500)])


@pytest.mark.parametrize("path", ["ch_000000000999/capture", "x/capture", "re_000000000001/void", "/void"])
def test_what_is_no_charge_cannot_be_captured_or_voided(path: str) -> None:
    """400 with a reason, and nothing is booked."""
    v = Vendor()
    body = {"amount": 1} if path.endswith("capture") else {}
    assert v.ask("POST", f"/charges/{path}", body, key="k").status == 400
    assert v.taken() == []


@pytest.mark.parametrize("body", [b"", {}, {"amount": 0}, {"amount": "1"}, {"amount": 1, "more": 1}])
def test_a_capture_needs_its_amount(body: Any) -> None:
    """A body of another form is 400 and does nothing."""
    v = Vendor()
    assert v.ask("POST", f"/charges/{v.hold()}/capture", body, key="k").status == 400
    assert v.taken() == [("authorize", 500)]


# --- refunds --------------------------------------------------------------------------------------------------------------


def test_a_refund_under_way_keeps_its_reserve_until_it_is_done() -> None:
    """Pending for three seconds: not given back yet, but not to be given back twice either."""
    v = Vendor(refunds="pending")
    name = doc(v.charge())["id"]
    assert doc(v.refund(name, 300))["status"] == "pending"
    assert (v.one()["refunded"], v.refund(name, 201, "r2").status, v.taken()) == (0, 400, [("charge", 500)])
    v.now += int(REFUND_S * S)
    assert (v.one()["refunded"], v.one()["refunds"][0]["status"]) == (300, "succeeded")
    assert v.taken() == [("charge", 500), ("refund", 300)]
    assert v.told() == ["charge.succeeded", "refund.pending", "refund.succeeded"]


@pytest.mark.parametrize(("fate", "wait_s", "told"), [("fail", 0, []), ("pending_fail", REFUND_S, ["refund.pending"])])
def test_a_refund_that_fails_moves_nothing_and_frees_its_reserve(fate: Any, wait_s: float, told: list[str]) -> None:
    """At once, or after it was pending: the whole charge can be given back afterwards."""
    v = Vendor(refunds=fate)
    name = doc(v.charge())["id"]
    assert v.refund(name, 500).status == 200
    v.now += int(wait_s * S)
    assert (v.one()["refunded"], v.one()["refunds"][0]["status"], v.taken()) == (0, "failed", [("charge", 500)])
    v.faults = Profile()
    assert v.refund(name, 500, "r2").status == 200
    assert v.one()["refunded"] == 500
    assert v.told() == ["charge.succeeded", *told, "refund.failed", "refund.succeeded"]


def test_a_refund_may_fail_after_it_was_done() -> None:
    """Five seconds later its money comes back: the books show both movements, and the amount can be refunded again."""
    v = Vendor(refunds="fail_later")
    name = doc(v.charge())["id"]
    assert doc(v.refund(name, 200))["status"] == "succeeded"
    assert v.one()["refunded"] == 200
    v.now += int(REFUND_LATE_S * S)
    assert (v.one()["refunded"], v.one()["refunds"][0]["status"]) == (0, "failed")
    assert v.taken() == [("charge", 500), ("refund", 200), ("refund_failed", 200)]
    assert [m.refund_reference for m in v.ledger.movements()] == ["", "r1", "r1"]
    v.faults = Profile()
    assert [v.refund(name, 500, "r2").status, v.one()["refunded"]] == [200, 500]
    assert v.told()[1:] == ["refund.succeeded", "refund.failed", "refund.succeeded"]


# --- customers who act ----------------------------------------------------------------------------------------------------

BACK = "https://shop.example/back"


def test_the_customer_approves_on_the_page() -> None:
    """202 with the page's address; nothing moves until the customer approved, then the whole amount does, once."""
    v = Vendor()
    serve_pages_at(v.ledger, "http://127.0.0.1:8080")
    reply = v.charge("tok_action", return_url=BACK, action_expires_at=NOW // S + 60)
    assert (reply.status, doc(reply)["status"], doc(reply)["expires_at"]) == (202, "requires_action", NOW // S + 60)
    assert doc(reply)["action"] == {"type": "redirect", "url": "http://127.0.0.1:8080/sandbox/pay/mock/1"}
    standing = v.vendor.standing(v.ledger, 1)
    assert standing is not None
    assert (standing.amount_minor, standing.open, standing.return_url) == (500, True, BACK)
    assert (v.charge("tok_action", return_url=BACK, action_expires_at=NOW // S + 60).body, v.taken()) == (reply.body, [])
    for approve in (True, False, True):
        v.act(1, approve=approve)
    assert (shown(v, "status", "captured", "action"), v.taken()) == (("succeeded", 500, None), [("charge", 500)])
    standing = v.vendor.standing(v.ledger, 1)
    assert standing is not None
    assert (standing.open, standing.says) == (False, "succeeded")
    v.now += 61 * S
    assert v.told() == ["charge.requires_action", "charge.succeeded"]


def test_the_customer_declines() -> None:
    """Failed with authentication_failed; approving afterwards changes nothing."""
    v = Vendor()
    v.charge("tok_action")
    v.act(1, approve=False)
    v.act(1, approve=True)
    assert shown(v, "status", "decline_code") == ("failed", "authentication_failed")
    assert (v.taken(), v.told()) == ([], ["charge.requires_action", "charge.failed"])


@pytest.mark.parametrize(("sent", "until_s"), [({"action_expires_at": NOW // S + 90}, 90), ({}, ACTION_S)])
def test_a_customer_who_does_not_act_is_too_late(sent: dict[str, Any], until_s: int) -> None:
    """At the time that was sent, else after half an hour, the charge fails with action_expired for good."""
    v = Vendor()
    v.charge("tok_action", **sent)
    v.now += until_s * S - 1
    assert shown(v, "status") == ("requires_action",)
    v.now += 1
    v.act(1, approve=True)
    assert (shown(v, "status", "decline_code"), v.taken()) == (("failed", "action_expired"), [])


def test_a_charge_that_arrives_after_the_customers_time_is_declined() -> None:
    """It is an answer under the key, so that no later send of it can ask the customer."""
    v = Vendor()
    for _ in range(2):
        error = doc(v.charge("tok_action", action_expires_at=NOW // S))["error"]
        assert (error["decline_code"], error["reference"]) == ("action_expired", PAYMENT + "0100")
    assert (len(v.read()), v.taken()) == (1, [])


@pytest.mark.parametrize(
    ("token", "status", "taken"), [("tok_action_ok", "succeeded", 500), ("tok_action_decline", "failed", 0)]
)
def test_a_customer_who_acts_by_himself(token: str, status: str, taken: int) -> None:
    """After three seconds, unless the time to act is over before."""
    v = Vendor()
    assert v.charge(token).status == 202
    v.now += int(ACTS_S * S) - 1
    assert shown(v, "status") == ("requires_action",)
    v.now += 1
    assert shown(v, "status", "captured") == (status, taken)
    v = Vendor()
    v.charge(token, action_expires_at=NOW // S + 2)
    v.now += 10 * S
    assert shown(v, "status", "decline_code") == ("failed", "action_expired")


def test_what_a_customer_approves_may_be_a_hold() -> None:
    """With manual capture the approval authorizes, and the hold lasts from then on."""
    v = Vendor(hold_s=100)
    v.charge("tok_action", capture=False)
    v.now += 50 * S
    v.act(1, approve=True)
    assert shown(v, "status", "expires_at") == ("authorized", v.now // S + 100)
    assert v.capture(v.one()["id"], 200).status == 200
    assert v.taken() == [("authorize", 500), ("capture", 200)]


@pytest.mark.parametrize(
    ("method", "status"), [("upi", 202), ("netbanking", 202), ("wallet", 202), ("redirect", 202), ("card", 200), ("", 200)]
)
def test_without_a_token_some_methods_are_completed_by_the_customer(method: str, status: int) -> None:
    """UPI in an app, others on a page; a card is charged."""
    v = Vendor()
    body = {"amount": 1050, "currency": "INR", "reference": "r&x", "method": method}
    reply = v.ask("POST", "/charges", body, key="k")
    assert reply.status == status
    if method == "upi":
        action = doc(reply)["action"]
        assert action["type"] == "upi_intent"
        assert action["url"].startswith("upi://pay?pa=shop@payonce&")
        assert "&tr=r%26x&am=10.50&cu=INR&url=http%3A%2F%2Flocalhost%3A8080%2Fsandbox%2Fpay%2Fmock%2F1" in action["url"]


def test_a_token_or_a_forced_failure_decides_for_upi_too() -> None:
    """A method alone never overrules what was asked for."""
    v = Vendor()
    assert v.charge("tok_ok", method="upi").status == 200
    body = {"amount": 5, "currency": "INR", "reference": "r", "method": "upi", "metadata": {"forceFail": True}}
    assert v.ask("POST", "/charges", body, key="k").status == 402


def test_only_what_asked_the_customer_has_a_page() -> None:
    """No standing for a plain charge, a refund, or a number that is nothing; acting on it does nothing."""
    v = Vendor()
    v.refund(doc(v.charge())["id"], 5)
    assert [v.vendor.standing(v.ledger, number) for number in (0, 1, 2, 99)] == [None] * 4
    v.act(1, approve=False)
    assert shown(v, "status") == ("succeeded",)


# --- webhooks and listings ------------------------------------------------------------------------------------------------


def test_a_webhook_shows_what_the_api_shows() -> None:
    """The event carries the object as it is; a refund names its charge's reference too. No two events share an id."""
    v = Vendor()
    name = doc(v.charge())["id"]
    v.refund(name, 5)
    v.charge("tok_decline_do_not_honor", reference=PAYMENT + "0200")
    v.charge("tok_never_resolves", reference=PAYMENT + "0300")
    events = v.ledger.deliveries.events(0, 100)
    charge, refund, failed = [json.loads(event.body) for event in events]
    assert charge["data"] == {**v.one(), "refunded": 0, "refunds": []}
    assert refund["data"] == {**v.one()["refunds"][0], "charge_reference": PAYMENT + "0100"}
    assert (failed["type"], failed["data"]["decline_code"], failed["created"]) == ("charge.failed", "do_not_honor", NOW // S)
    assert len({event.event_id for event in events} | {e["id"] for e in (charge, refund, failed)}) == 3


def test_nothing_is_told_twice_when_a_request_is_repeated() -> None:
    """A saved answer announces nothing."""
    v = Vendor()
    for _ in range(3):
        v.void(v.hold())
    assert v.told() == ["charge.authorized", "charge.voided"]


def test_listings_walk_through_a_time_window_once() -> None:
    """From inclusive, before exclusive, in pages; what is too young to be looked up is not listed either."""
    v = Vendor()
    for n in range(LISTED_MAX + 5):
        v.charge("tok_decline_stolen_card" if n % 2 else "tok_ok", reference=f"r{n}")
        v.now += S
    first = doc(v.ask("GET", f"/charges?from={NOW + S}&before={NOW + (LISTED_MAX + 4) * S}"))
    rest = doc(v.ask("GET", f"/charges?from={NOW + S}&before={NOW + (LISTED_MAX + 4) * S}&cursor={first['next']}"))
    listed = [c["reference"] for c in (*first["data"], *rest["data"])]
    assert listed == [f"r{n}" for n in range(1, LISTED_MAX + 4)]
    assert (len(first["data"]), "next" in rest) == (LISTED_MAX, False)
    v.faults = Profile(lookup_lag_ms=2000)
    young = doc(v.ask("GET", f"/charges?from={v.now - 10 * S}&before={v.now + S}"))
    assert [c["reference"] for c in young["data"]] == [f"r{n}" for n in range(LISTED_MAX - 5, LISTED_MAX + 4)]


@pytest.mark.parametrize("query", ["from=1", "from=a&before=2", "from=1&before=-2", "from=1&before=2&cursor=x"])
def test_a_window_that_is_none_is_400(query: str) -> None:
    """Rather than a list of something else."""
    assert Vendor().ask("GET", f"/charges?{query}").status == 400

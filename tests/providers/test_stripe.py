"""Stripe's ambiguous cases, the adapter against the simulator: what is learned, and what the ledger says of it."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
import pytest
from msgspec.structs import replace
from tests.providers.stripe_vendor import INTENT, Vendor

from payonce.adapter import (
    Absent,
    Authorized,
    Captured,
    Closed,
    Created,
    Declined,
    Found,
    HttpRequest,
    Intent,
    Processing,
    Refunded,
    RefundFailed,
    Refunding,
    RequiresAction,
    Response,
    Succeeded,
    Unknown,
    Unreadable,
    Voided,
)
from payonce.providers.stripe import ADAPTER
from payonce.sandbox.faults import Profile
from payonce.sandbox.stripe import ROLL_FORWARD_S

SECOND_US: Final = 1_000_000
BACK: Final = "https://shop.example/back"


@pytest.fixture
def vendor() -> Vendor:
    return Vendor()


# --- a confirmation whose answer says nothing -----------------------------------------------------------------------------


def test_a_saved_500_is_looked_up_and_paid_once(vendor: Vendor) -> None:
    """The confirmation took the money and answered 500: a repeat under its key gets the same 500, the read shows the charge,
    and the vendor puts its answer right later. One charge, whatever is sent again."""
    pi = vendor.created(payment_method="tok_500_after_charge")
    assert vendor.told(vendor.fire(pi)) == (500, "Unknown")
    assert vendor.told(vendor.fire(pi)) == (500, "Unknown")
    assert vendor.last.headers["idempotent-replayed"] == "true"
    assert isinstance(vendor.tried(pi), Succeeded)
    vendor.pass_s(ROLL_FORWARD_S + 1)
    assert vendor.told(vendor.fire(pi)) == (200, "Succeeded")
    assert vendor.books() == [("charge", 1050)]


def test_a_500_that_is_saved_for_ever_ends_by_the_close(vendor: Vendor) -> None:
    """Nothing was done, and every repeat gets the saved 500: the read shows it idle, and the cancel seals it."""
    pi = vendor.created(payment_method="pm_card_saved500")
    for _ in range(3):
        assert vendor.told(vendor.fire(pi)) == (500, "Unknown")
        vendor.pass_s(ROLL_FORWARD_S + 1)
        assert vendor.read(pi) == Found(container="open", reference=pi.reference)
    assert isinstance(vendor.ask(replace(pi, kind="close")), Closed)
    assert vendor.read(pi) == Found(container="closed", reference=pi.reference)
    assert vendor.books() == []


def test_a_lost_answer_is_found_by_a_read(vendor: Vendor) -> None:
    """The answer never comes; the read shows the charge, and a copy under the same key charges nothing more."""
    pi = vendor.created(payment_method="tok_lost_response")
    assert vendor.fire(pi) is None
    assert isinstance(vendor.tried(pi), Succeeded)
    assert vendor.fire(replace(pi, kind="fire", payment_method="tok_lost_response")) is not None
    assert vendor.books() == [("charge", 1050)]


def test_a_key_in_flight_is_no_answer(vendor: Vendor) -> None:
    """While the first confirmation is worked on, a copy gets 409, a read shows nothing, and it cannot be canceled. Then it
    succeeds, and the copy gets the same answer."""
    pi = vendor.created(payment_method="tok_slow_5s")
    working = vendor.begin(pi)
    assert working.resume
    assert vendor.told(vendor.fire(pi)) == (409, "Unknown")
    assert vendor.read(pi) == Found(container="open", reference=pi.reference)
    assert vendor.told(vendor.ask(replace(pi, kind="close"))) == (429, "Unknown")
    vendor.pass_s(5)
    vendor.resume(pi)
    assert vendor.told(vendor.fire(pi)) == (200, "Succeeded")
    assert vendor.books() == [("charge", 1050)]


def test_a_declined_key_stays_declined(vendor: Vendor) -> None:
    """A decline is saved: a late copy of the confirmation gets it too, though the card would be good by now. Another key, on
    the same PaymentIntent, is another try: that one is taken."""
    pi = vendor.created(payment_method="tok_decline_send_then_ok")
    first = vendor.fire(pi)
    assert isinstance(first, Declined)
    assert (first.code, first.ref, first.reference) == ("do_not_honor", pi.container, pi.reference)
    assert vendor.fire(pi) == first
    assert vendor.tried(pi) == first
    assert vendor.books() == []
    assert isinstance(vendor.fire(replace(pi, key="another")), Succeeded)
    assert vendor.books() == [("charge", 1050)]


def test_a_canceled_one_is_never_paid(vendor: Vendor) -> None:
    """After the cancel a copy of the confirmation is refused, without an answer that says no by itself; the read proves it."""
    pi = vendor.created(payment_method="tok_timeout_then_ok")
    assert vendor.fire(pi) is None
    assert vendor.ask(replace(pi, kind="close")) == Closed(container=pi.container, reference=pi.reference)
    assert vendor.told(vendor.fire(pi)) == (400, "Unknown")
    assert vendor.read(pi) == Found(container="closed", reference=pi.reference)
    assert vendor.books() == []


def test_a_late_success_cannot_reach_a_canceled_one(vendor: Vendor) -> None:
    """Declined and canceled: what would have succeeded later does not."""
    pi = vendor.created(payment_method="tok_late_success")
    assert isinstance(vendor.fire(pi), Declined)
    vendor.ask(replace(pi, kind="close"))
    vendor.pass_s(60)
    shown = vendor.read(pi)
    assert isinstance(shown, Found)
    assert (shown.container, type(shown.tries[0])) == ("closed", Declined)
    assert vendor.books() == []


def test_it_cannot_be_closed_while_it_is_processing(vendor: Vendor) -> None:
    """The cancel is refused, which closes nothing; the read goes on saying that it is open."""
    pi = vendor.created(payment_method="tok_never_resolves")
    assert isinstance(vendor.fire(pi), Processing)
    assert vendor.told(vendor.ask(replace(pi, kind="close"))) == (400, "Unknown")
    shown = vendor.read(pi)
    assert isinstance(shown, Found)
    assert (shown.container, type(shown.tries[0])) == ("open", Processing)


def test_an_unauthenticated_copy_says_nothing_of_the_first(vendor: Vendor) -> None:
    """Charged, then a copy gets 401: refused, and the read shows the charge all the same."""
    pi = vendor.created(payment_method="tok_lost_response")
    assert vendor.fire(pi) is None
    vendor.key = "sk_live_of_somebody"
    assert vendor.told(vendor.fire(pi)) == (401, "Rejected")
    assert isinstance(vendor.read(pi), Unreadable)
    vendor.key = "sk_test_sandbox"
    assert isinstance(vendor.tried(pi), Succeeded)


# --- a creation whose answer is lost --------------------------------------------------------------------------------------


def test_a_lost_creation_is_found_among_the_newest(vendor: Vendor) -> None:
    """By our reference, and not the one of another payment."""
    pi = vendor.created()
    vendor.created(reference="06ex4k2m9p7q8r5s3t990100", key="other")
    found = vendor.read(replace(pi, container=""))
    assert found == Found(container="open", container_id=pi.container, reference=pi.reference)


def test_a_lost_creation_is_sent_again_under_its_key(vendor: Vendor) -> None:
    """Where the list lags, the lookup shows nothing; the repeat gets the same PaymentIntent, and there is only one."""
    pi = vendor.created()
    vendor.faults = Profile(lookup_lag_ms=10_000)
    assert vendor.read(replace(pi, container="")) == Absent()
    vendor.faults = Profile()
    again = vendor.ask(replace(INTENT, kind="create"))
    assert again == Created(container=pi.container, reference=pi.reference)
    assert vendor.ledger.counts()["intentObjects"] == 1


def test_a_forgotten_key_makes_a_second_one_that_shows(vendor: Vendor) -> None:
    """After a day the repeat makes another PaymentIntent. The lookup shows both, and takes the one that was tried."""
    pi = vendor.created(payment_method="tok_decline_stolen_card")
    vendor.fire(pi)
    vendor.pass_s(25 * 3600)
    second = vendor.ask(replace(INTENT, kind="create"))
    assert isinstance(second, Created)
    assert second.container != pi.container
    found = vendor.read(replace(pi, container=""))
    assert isinstance(found, Found)
    assert (found.container_id, [type(t) for t in found.tries]) == (pi.container, [Declined])


def test_older_than_300_is_not_looked_for(vendor: Vendor) -> None:
    """Three pages of others: proof of nothing. A fourth is not asked for."""
    pi = vendor.created()
    for n in range(300):
        vendor.created(reference=f"other {n}", key=f"other {n}")
    assert vendor.read(replace(pi, container="")) == Absent()
    assert vendor.asked == 3
    newest = vendor.read(replace(pi, container="", reference="other 299"))
    assert isinstance(newest, Found)
    assert vendor.asked == 1


# --- the customer acts ----------------------------------------------------------------------------------------------------


def test_the_customer_is_sent_to_the_page_and_pays(vendor: Vendor) -> None:
    """The answer names where; approved there, the read shows the money."""
    pi = vendor.created(payment_method="tok_action", return_url=BACK)
    assert vendor.fire(pi) == RequiresAction(ref=pi.container, reference=pi.reference)
    action = ADAPTER.next_action(pi, vendor.answer)
    assert action is not None
    assert (action.type, action.method) == ("redirect", "GET")
    vendor.act(action.url, approve=True)
    assert isinstance(vendor.tried(pi), Succeeded)
    assert vendor.books() == [("charge", 1050)]


def test_an_action_that_ran_out_is_closed(vendor: Vendor) -> None:
    """Canceled while the customer is away: nothing can come of it, and the page is closed to him."""
    pi = vendor.created(payment_method="tok_action", return_url=BACK)
    vendor.fire(pi)
    action = ADAPTER.next_action(pi, vendor.answer)
    assert action is not None
    assert isinstance(vendor.ask(replace(pi, kind="close")), Closed)
    vendor.act(action.url, approve=True)
    assert vendor.read(pi) == Found(container="closed", reference=pi.reference)
    assert vendor.books() == []


def test_a_customer_who_pays_during_the_close_has_paid(vendor: Vendor) -> None:
    """He was first: the cancel is refused, and the read shows the money."""
    pi = vendor.created(payment_method="tok_action_ok", return_url=BACK)
    vendor.fire(pi)
    vendor.pass_s(3)
    assert vendor.told(vendor.ask(replace(pi, kind="close"))) == (400, "Unknown")
    assert isinstance(vendor.tried(pi), Succeeded)


def test_a_redirect_needs_no_token(vendor: Vendor) -> None:
    """A type that redirects begins its flow; whoever declines there has not authenticated."""
    pi = vendor.created(payment_method="", payment_method_type="ideal", currency="EUR", return_url=BACK)
    assert isinstance(vendor.fire(pi), RequiresAction)
    action = ADAPTER.next_action(pi, vendor.answer)
    assert action is not None
    vendor.act(action.url, approve=False)
    shown = vendor.tried(pi)
    assert isinstance(shown, Declined)
    assert (shown.code, shown.scope) == ("authentication_failed", "customer_input")


# --- holds ----------------------------------------------------------------------------------------------------------------


def test_a_hold_is_taken_in_part_once(vendor: Vendor) -> None:
    """A second capture is refused without saying no; the read shows what was taken, and a void comes too late."""
    pi = vendor.created(manual=True)
    held = vendor.fire(pi)
    assert isinstance(held, Authorized)
    assert held.expires_at_us == vendor.now_us // SECOND_US * SECOND_US + 604_800 * SECOND_US
    capture = replace(pi, kind="capture", provider_ref=held.ref, capture_minor=400)
    taken = vendor.ask(capture)
    assert isinstance(taken, Captured)
    assert (taken.ref, taken.reference, taken.amount_minor) == (pi.container, pi.reference, 400)
    assert vendor.told(vendor.ask(capture)) == (400, "Unknown")
    assert vendor.told(vendor.ask(replace(pi, kind="void", provider_ref=held.ref))) == (400, "Unknown")
    shown = vendor.tried(pi)
    assert isinstance(shown, Succeeded)
    assert shown.amount_minor == 400
    assert vendor.books() == [("authorize", 1050), ("capture", 400)]


@pytest.mark.parametrize("lapses", [True, False], ids=["lapsed", "voided"])
def test_a_hold_that_is_gone_is_no_hold(vendor: Vendor, lapses: bool) -> None:
    """Given back by us or by time, it reads as gone for good, and a capture finds nothing."""
    pi = vendor.created(manual=True)
    vendor.fire(pi)
    if lapses:
        vendor.pass_s(604_801)
    else:
        assert vendor.ask(replace(pi, kind="void", provider_ref=pi.container)) == Voided(
            ref=pi.container, reference=pi.reference
        )
    assert vendor.told(vendor.ask(replace(pi, kind="capture", provider_ref=pi.container, capture_minor=1050)))[1] == "Unknown"
    shown = vendor.read(pi)
    assert isinstance(shown, Found)
    gone = shown.tries[0]
    assert isinstance(gone, Declined)
    assert (shown.container, gone.code, gone.hard, gone.flips_until_us) == ("closed", "hold_lapsed", False, None)
    assert vendor.books() == [("authorize", 1050), ("void", 1050)]


# --- refunds --------------------------------------------------------------------------------------------------------------


def test_refunds_in_parts_never_exceed_what_was_taken(vendor: Vendor) -> None:
    """Each under its own reference and key; a repeat is the same one; too much is refused."""
    pi = vendor.paid()
    refunds = [vendor.ask(vendor.refund(pi, n, 400)) for n in (2, 3)]
    assert all(isinstance(r, Refunded) for r in refunds)
    assert vendor.ask(vendor.refund(pi, 2, 400)) == refunds[0]
    assert vendor.told(vendor.ask(vendor.refund(pi, 4, 251))) == (400, "Rejected")
    shown = vendor.read(pi)
    assert isinstance(shown, Found)
    assert shown.refunds == (refunds[1], refunds[0])
    assert [t.refunded_minor for t in shown.tries if isinstance(t, Succeeded)] == [800]
    assert vendor.books() == [("charge", 1050), ("refund", 400), ("refund", 400)]


def test_a_refund_that_fails_later_gave_nothing_back(vendor: Vendor) -> None:
    """Shown as done, then as failed: nothing is counted as given back, and the whole can be given back again."""
    pi = vendor.paid("pm_card_refundFail")
    refund = vendor.refund(pi, 2, 1050)
    assert isinstance(vendor.ask(refund), Refunded)
    vendor.pass_s(11)
    shown = vendor.read(replace(pi, refund_reference=refund.refund_reference, refund_minor=1050))
    assert isinstance(shown, Found)
    assert [type(r) for r in shown.refunds] == [RefundFailed]
    assert [t.refunded_minor for t in shown.tries if isinstance(t, Succeeded)] == [0]
    assert isinstance(vendor.ask(vendor.refund(pi, 3, 1050)), Refunded)


def test_a_refund_on_its_way_is_waited_for(vendor: Vendor) -> None:
    """Pending, and done later; meanwhile it is in nobody's pocket."""
    pi = vendor.paid("pm_card_pendingRefund")
    assert isinstance(vendor.ask(vendor.refund(pi, 2, 450)), Refunding)
    shown = vendor.read(pi)
    assert isinstance(shown, Found)
    assert [t.refunded_minor for t in shown.tries if isinstance(t, Succeeded)] == [0]
    assert vendor.books() == [("charge", 1050)]
    vendor.pass_s(11)
    shown = vendor.read(pi)
    assert isinstance(shown, Found)
    assert [type(r) for r in shown.refunds] == [Refunded]
    assert vendor.books() == [("charge", 1050), ("refund", 450)]


# --- money ----------------------------------------------------------------------------------------------------------------

# ISO minor units -> the vendor's number, as its page on currencies has it
UNITS: Final[Mapping[str, tuple[int, int]]] = {
    "USD": (999_999_999_999, 999_999_999_999),
    "JPY": (3_000_000_001, 3_000_000_001),
    "ISK": (3_000_000_001, 300_000_000_100),
    "UGX": (5, 500),
    "MGA": (300_000_000_100, 3_000_000_001),
    "KWD": (3_000_000_010, 3_000_000_010),
    "HUF": (1_050, 1_050),
    "TWD": (1_050, 1_050),
    "CLP": (7, 7),
    "XAF": (7, 7),
}


@pytest.mark.parametrize("currency", UNITS)
def test_amounts_are_in_the_vendors_unit(vendor: Vendor, currency: str) -> None:
    """What is sent is its number, what is learned and what the ledger holds is ours, refund included."""
    minor, units = UNITS[currency]
    intent = replace(INTENT, amount_minor=minor, currency=currency)
    assert f"amount={units}&" in ADAPTER.build(replace(intent, kind="create")).body.decode()
    pi = vendor.created(amount_minor=minor, currency=currency)
    paid = vendor.fire(pi)
    assert isinstance(paid, Succeeded)
    assert (paid.amount_minor, paid.currency) == (minor, currency)
    refund = vendor.ask(vendor.refund(pi, 2, minor))
    assert isinstance(refund, Refunded)
    assert refund.amount_minor == minor
    assert vendor.books() == [("charge", minor), ("refund", minor)]


def test_a_part_of_a_unit_is_not_sent() -> None:
    """MGA 0.50 has no name there; the routes keep such amounts away (``multiples``), and build makes no other of them."""
    with pytest.raises(ValueError, match="MGA"):
        ADAPTER.build(replace(INTENT, kind="create", amount_minor=50, currency="MGA"))


def test_currencies_without_a_known_unit_are_not_taken() -> None:
    """What the vendor says nothing about, and has another unit than most, is in no route to it."""
    taken = ADAPTER.CAPABILITIES.currencies or frozenset()
    assert taken.isdisjoint({"IQD", "LYD", "CLF", "UYW", "UYI"})
    assert {"USD", "INR", "JPY", "KWD", "ISK", "UGX", "MGA"} <= taken


def learned(doc: Any, kind: str = "fire", **more: Any) -> Any:
    intent: Intent = msgspec.convert({**msgspec.to_builtins(INTENT), "kind": kind, "container": "pi_1", **more}, Intent)
    response = Response(status=200, headers={}, body=msgspec.json.encode(doc))
    said: Any = ADAPTER.parse_read(intent, response) if kind == "read" else ADAPTER.parse(intent, response)
    return said


def test_the_mode_is_that_of_the_object() -> None:
    """A live object under a test intent says live, so that core refuses it."""
    paid = {"id": "pi_1", "object": "payment_intent", "amount": 1050, "amount_received": 1050, "currency": "inr"}
    live = learned({**paid, "status": "succeeded", "livemode": True, "metadata": {"reference": INTENT.reference}})
    assert isinstance(live, Succeeded)
    assert live.mode == "live"


def test_a_body_that_lists_charges_as_it_used_to_is_read() -> None:
    """Before 2022-11-15 there was a list of charges in place of latest_charge: nothing of it is needed."""
    old = {"id": "pi_1", "object": "payment_intent", "amount": 1050, "currency": "inr", "livemode": False}
    assert isinstance(learned({**old, "status": "processing", "charges": {"data": []}}, "read"), Found)
    assert isinstance(learned({**old, "status": "paid_somehow", "charges": {"data": []}}), Unknown)
    assert isinstance(learned({**old, "status": "succeeded", "amount_received": 1050}, "read"), HttpRequest)

"""What the cashfree adapter hears, and what it refuses to hear; what it finds in a listing."""

import base64
import hashlib
import hmac
import json
from typing import Any

import pytest

from payonce.adapter import Listing, Response, Succeeded, Unknown, Unreadable, WebhookRefused, Window
from payonce.providers.cashfree import ADAPTER

SECRET, OLD = "cfsk_new_0123456789", "cfsk_old_9876543210"
NOW_US = 1_800_000_000_000_000
ORDER = "06ex4k2m9p7q8r5s3t010100"
PAID = {
    "data": {"order": {"order_id": ORDER}, "payment": {"cf_payment_id": "1453002795", "payment_status": "SUCCESS"}},
    "event_time": "2027-01-15T13:30:00+05:30",
    "type": "PAYMENT_SUCCESS_WEBHOOK",
}


def signed(body: bytes, secret: str = SECRET, stamp: str = "1800000000000") -> dict[str, str]:
    digest = hmac.new(secret.encode(), stamp.encode() + body, hashlib.sha256).digest()
    return {"x-webhook-timestamp": stamp, "x-webhook-signature": base64.b64encode(digest).decode()}


def refused(headers: dict[str, str], body: bytes, now_us: int = NOW_US, secrets: tuple[str, ...] = (SECRET, OLD)) -> str:
    """Why it is refused; empty when it is heard."""
    try:
        ADAPTER.verify_webhook(headers, body, secrets, now_us)
    except WebhookRefused as why:
        return str(why)
    return ""


BODY = json.dumps(PAID).encode()


def test_the_secrets_are_the_clients_newest_first() -> None:
    """The one that signs requests, and the one before it while it is rotated; no other, and none that is empty."""
    new = {"client_id": "id", "client_secret": SECRET}
    assert ADAPTER.webhook_secrets(ADAPTER.credentials_of(new)) == (SECRET,)
    both = ADAPTER.credentials_of(new | {"client_secret_old": OLD})
    assert ADAPTER.webhook_secrets(both) == (SECRET, OLD)
    assert ADAPTER.webhook_secrets(ADAPTER.credentials_of(new | {"client_secret_old": ""})) == (SECRET,)
    assert not any(secret in text for secret in (SECRET, OLD) for text in (repr(both), str(both)))
    assert OLD not in ADAPTER.authenticate(ADAPTER.build_listing(Window(from_us=0, before_us=1)), both).values()
    with pytest.raises(TypeError):
        ADAPTER.webhook_secrets("somebody")


def test_either_secret_signs() -> None:
    """While one is rotated both are good; afterwards the old one is not."""
    assert [refused(signed(BODY, secret), BODY) for secret in (SECRET, OLD)] == ["", ""]
    assert "signature" in refused(signed(BODY, OLD), BODY, secrets=(SECRET,))
    assert "signature" in refused(signed(BODY), BODY, secrets=())
    assert "signature" in refused(signed(BODY, ""), BODY, secrets=("",))


@pytest.mark.parametrize(
    "change",
    [
        {"body": BODY.replace(b"SUCCESS", b"SUCCES5")},
        {"body": BODY + b" "},
        {"body": BODY.replace(b'", "', b'","')},
        {"body": b""},
        {"headers": signed(BODY, "somebody else's")},
        {"headers": signed(BODY) | {"x-webhook-timestamp": "1800000000001"}},
        {"headers": signed(BODY) | {"x-webhook-signature": ""}},
        {"headers": signed(BODY) | {"x-webhook-signature": signed(BODY)["x-webhook-signature"].lower()}},
        {"headers": signed(BODY) | {"x-webhook-signature": "é"}},
        {"headers": {}},
        {"headers": {"x-webhook-signature": signed(BODY)["x-webhook-signature"]}},
    ],
)
def test_what_was_tampered_with_is_refused(change: dict[str, Any]) -> None:
    """Another body, another time, another signature, or none."""
    assert refused(change.get("headers", signed(BODY)), change.get("body", BODY)) != ""


@pytest.mark.parametrize(
    ("seconds", "heard"), [(0, True), (299, True), (300, True), (301, False), (-300, True), (-301, False), (86_400, False)]
)
@pytest.mark.parametrize("stamp", ["1800000000000", "1800000000"])
def test_only_what_was_signed_just_now_is_heard(stamp: str, seconds: int, heard: bool) -> None:
    """Five minutes either way, in milliseconds and in seconds."""
    assert (refused(signed(BODY, stamp=stamp), BODY, NOW_US + seconds * 1_000_000) == "") is heard


@pytest.mark.parametrize("stamp", ["", "soon", "-1800000000000", "1800000000000.5", "١٨٠٠", "9" * 17, " 1800000000000"])
def test_a_time_that_is_none_is_refused(stamp: str) -> None:
    """Though it is signed."""
    assert "timestamp" in refused(signed(BODY, stamp=stamp), BODY)


def test_an_event_names_what_it_is_about() -> None:
    """Ours and theirs; ids are texts or numbers."""
    event = ADAPTER.parse_webhook({}, BODY)
    assert (event.kind, event.references, event.refs) == ("PAYMENT_SUCCESS_WEBHOOK", (ORDER,), ("1453002795",))
    number = json.dumps(PAID).replace('"1453002795"', "1453002795").encode()
    assert ADAPTER.parse_webhook({}, number) == event
    refund = {
        "refund": {"cf_refund_id": 7, "cf_payment_id": 9, "refund_id": "r", "order_id": ORDER, "refund_status": "SUCCESS"}
    }
    event = ADAPTER.parse_webhook({}, json.dumps({"type": "REFUND_STATUS_WEBHOOK", "data": refund}).encode())
    assert (event.references, event.refs, event.id) == ((ORDER, "r"), ("9", "7"), "REFUND_STATUS_WEBHOOK 7 SUCCESS")


def test_two_deliveries_of_an_event_are_one() -> None:
    """Whatever headers they come with; another state of the payment is another event."""
    first, again = ADAPTER.parse_webhook({}, BODY), ADAPTER.parse_webhook({"x-idempotency-key": "x"}, BODY)
    other = ADAPTER.parse_webhook({}, BODY.replace(b'"SUCCESS"', b'"PENDING"'))
    assert first == again
    assert first.id != other.id


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"null", b'{"type": 1}', b'{"type": ""}', b"\xff", b"[" * 5000])
def test_what_is_no_event_is_refused(body: bytes) -> None:
    """Never anything but WebhookRefused."""
    with pytest.raises(WebhookRefused):
        ADAPTER.parse_webhook({}, body)


# --- listing ------------------------------------------------------------------------------------------------------

WINDOW = Window(from_us=NOW_US + 1, before_us=NOW_US + 60_000_000)
CHARGE = {
    "event_type": "PAYMENT",
    "event_status": "SUCCESS",
    "event_id": "1",
    "cf_payment_id": "1",
    "order_id": ORDER,
    "event_amount": 10.5,
    "event_currency": "INR",
}


def page(*entries: Any, cursor: Any = None, window: Window = WINDOW) -> Listing | Unreadable:
    body = json.dumps({"data": list(entries), "cursor": cursor}).encode()
    return ADAPTER.parse_listing(window, Response(status=200, headers={}, body=body), "live")


def test_a_window_is_asked_for_in_whole_seconds() -> None:
    """Widened, so that nothing on its edge is missed; without a key, since a saved answer would be an old one."""
    request = ADAPTER.build_listing(WINDOW)
    asked = json.loads(request.body)
    assert asked["filters"] == {"start_date": "2027-01-15T08:00:00Z", "end_date": "2027-01-15T08:01:00Z"}
    assert (
        json.loads(ADAPTER.build_listing(Window(from_us=0, before_us=1)).body)["filters"]["end_date"] == "1970-01-01T00:00:01Z"
    )
    assert "x-idempotency-key" not in dict(request.headers)


@pytest.mark.parametrize(
    ("amount", "currency", "minor"), [(10.5, "INR", 1050), (42, "JPY", 42), (9999999999.99, "INR", 999999999999)]
)
def test_a_charge_is_listed_with_its_ids(amount: Any, currency: str, minor: int) -> None:
    """In every unit, and beyond 32 bits."""
    listed = page(CHARGE | {"event_amount": amount, "event_currency": currency})
    charge = Succeeded(ref="1", reference=ORDER, amount_minor=minor, currency=currency, mode="live")
    assert listed == Listing(tries=(charge,))


@pytest.mark.parametrize(
    "change",
    [
        {"event_type": "REFUND"},
        {"event_type": "SETTLEMENT"},
        {"event_type": None},
        *({"event_status": word} for word in ("FAILED", "PENDING", "USER_DROPPED", "CANCELLED", "VOID")),
    ],
)
def test_what_is_no_charge_is_left_out(change: dict[str, Any]) -> None:
    """Refunds, settlements, payments that took nothing."""
    assert page(CHARGE | change) == Listing(tries=())


@pytest.mark.parametrize(
    "change",
    [
        {"event_status": "never_heard_of"},
        {"event_status": ["SUCCESS"]},
        {"event_status": None},
        {"order_id": None},
        {"order_id": ""},
        {"cf_payment_id": None, "event_id": None},
        {"event_amount": "ten"},
        {"event_amount": 10.505},
        {"event_amount": True},
        {"event_currency": "XYZ"},
    ],
)
def test_a_charge_that_nobody_can_read_hides_none(change: dict[str, Any]) -> None:
    """It is shown as unknown, those beside it as they are."""
    listed = page(CHARGE, CHARGE | change)
    assert isinstance(listed, Listing)
    assert [type(each) for each in listed.tries] == [Succeeded, Unknown]


def test_a_listing_ends_when_nothing_comes() -> None:
    """As long as a page has entries and a cursor it goes on; the same cursor twice goes nowhere."""
    listed = [page(CHARGE, cursor="a"), page(cursor="a"), page(CHARGE), page()]
    assert [each.next for each in listed if isinstance(each, Listing)] == ["a", "", "", ""]
    there = Window(from_us=0, before_us=1, cursor="a")
    assert isinstance(page(CHARGE, cursor="a", window=there), Unreadable)
    assert page(CHARGE, cursor="b", window=there) != page(CHARGE, window=there)

"""The cashfree adapter where somebody has to act: the customer at the bank or in an app, the merchant with a hold."""

import json
from typing import Any

import pytest

from payonce.adapter import (
    Authorized,
    Captured,
    Declined,
    Found,
    HttpRequest,
    Intent,
    NextAction,
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
from payonce.core import verdict
from payonce.core.outcome import AnyOutcome
from payonce.core.payment import Attempt, Step
from payonce.providers.cashfree import ADAPTER
from payonce.providers.cashfree.building import EXPIRY_MARGIN_S

REFERENCE = "06ex4k2m9p7q8r5s3t010100"
S = 1_000_000
UNTIL_US = 1_795_525_366 * S + 999_999  # 2026-11-24T13:02:46Z, and a little
UPI = "upi://pay?pa=merchant@bank&am=10.50&cu=INR"
BANK = "https://bank.example/1"
ORDER = {
    "order_id": REFERENCE,
    "order_status": "PAID",
    "order_amount": 10.5,
    "order_currency": "INR",
    "payment_session_id": "session_1",
    "order_expiry_time": "2026-12-24T18:02:46+05:30",
}
HELD = {
    "cf_payment_id": "12376123",
    "order_id": REFERENCE,
    "payment_status": "SUCCESS",
    "payment_amount": 10.5,
    "payment_currency": "INR",
    "is_captured": False,
}
CAPTURE = {"action": "CAPTURE", "status": "SUCCESS", "captured_amount": 4.2}
TAKEN = HELD | {"is_captured": True, "authorization": CAPTURE}


def intent(kind: Any = "fire", **more: Any) -> Intent:
    about: dict[str, Any] = {"mode": "test", "amount_minor": 1050, "currency": "INR", "reference": REFERENCE, "key": "k"}
    return Intent(kind=kind, **about | {"provider_ref": "12376123"} | more)


def ok(doc: Any) -> Response:
    return Response(status=200, headers={}, body=json.dumps(doc).encode())


def read(payment: dict[str, Any], refunds: Any = (), **order: Any) -> AnyOutcome:
    about = intent("read", key="")
    for answer in (ok(ORDER | order), ok([payment]), ok(refunds)):
        said = ADAPTER.parse_read(about, answer)
        if not isinstance(said, HttpRequest):
            return said
        about = intent("read", key="", seen=(*about.seen, answer))
    raise AssertionError("asked for a fourth answer")


def body(about: Intent) -> dict[str, Any]:
    return dict(json.loads(ADAPTER.build(about).body))


# --- the customer -------------------------------------------------------------------------------------------------


def paying(by: str, channel: str, action: str | None, **data: Any) -> Response:
    return ok({"cf_payment_id": "1", "payment_method": by, "channel": channel, "action": action, "data": data})


@pytest.mark.parametrize(
    ("answer", "action"),
    [
        (paying("card", "link", "link", url=BANK), NextAction(type="redirect", url=BANK)),
        (paying("netbanking", "link", "link", url=BANK, payload=None), NextAction(type="redirect", url=BANK)),
        (
            paying("card", "link", "form", url=BANK, payload={"PaReq": "abc", "MD": 7, "odd": [1], "no": True}, method="post"),
            NextAction(type="redirect", url=BANK, method="POST", fields={"PaReq": "abc", "MD": "7"}),
        ),
        (
            paying("card", "link", "form", url=BANK, payload={"a": "b"}, method="GET"),
            NextAction(type="redirect", url=BANK, fields={"a": "b"}),
        ),
        (paying("card", "link", "form", url=BANK), NextAction(type="redirect", url=BANK)),
        (
            paying("card", "link", "custom", url=BANK, payload={"JWT": "x"}),
            NextAction(type="redirect", url=BANK, method="POST", fields={"JWT": "x"}),
        ),
        (
            paying("card", "post", "post", url="https://otp.example", redirect_to_bank=BANK),
            NextAction(type="redirect", url=BANK),
        ),
        (paying("upi", "link", "custom", url=None, payload={"default": UPI}), NextAction(type="upi_intent", url=UPI)),
        (paying("upi", "link", "link", url=UPI), NextAction(type="upi_intent", url=UPI)),
        (paying("upi", "link", "custom", url=BANK, payload={"default": UPI}), NextAction(type="upi_intent", url=UPI)),
        (paying("upi", "collect", "custom", url=None, payload=None), NextAction(type="upi_collect")),
        (paying("upi", "collect", "custom", url=BANK, payload={}), NextAction(type="upi_collect")),
        (paying("upi", "link", "link", url=BANK), NextAction(type="redirect", url=BANK)),
    ],
)
def test_where_the_customer_goes(answer: Response, action: NextAction) -> None:
    """Every kind of action: a link, a form, the bank's page in place of a code, a UPI intent, a UPI request."""
    assert ADAPTER.next_action(intent(), answer) == action
    assert ADAPTER.parse(intent(), answer) == RequiresAction(ref="1", reference=REFERENCE)


@pytest.mark.parametrize(
    "answer",
    [
        paying("card", "link", "link", url="javascript:alert(1)"),
        paying("card", "link", "link", url=None),
        paying("card", "link", "custom", url=None),
        paying("card", "post", "post", url=BANK),
        paying("upi", "link", "custom", url=None, payload={"default": "https://not.upi.example"}),
        paying("upi", "qrcode", "custom", url=None, payload={"qrcode": "data:image/png;base64,x"}),
        paying("card", "link", None),
        paying("card", "link", "never_heard_of", url=BANK),
        ok({"cf_payment_id": "1"}),
    ],
)
def test_where_nothing_can_be_opened_they_work_on_it(answer: Response) -> None:
    """No address that a browser or a phone opens: nobody is sent anywhere, and the payment is open."""
    assert ADAPTER.next_action(intent(), answer) is None
    assert ADAPTER.parse(intent(), answer) == Processing(ref="1", reference=REFERENCE)


def test_only_the_answer_to_a_fire_sends_anybody() -> None:
    """Not a refusal, not garbage, not the answer to another step."""
    good = paying("card", "link", "link", url=BANK)
    assert ADAPTER.next_action(intent("create"), good) is None
    for odd in (Response(status=500, headers={}, body=good.body), ok([]), Response(status=200, headers={}, body=b"{")):
        assert ADAPTER.next_action(intent(), odd) is None


def test_the_address_is_shown_to_nobody() -> None:
    """Who has it may act for the customer."""
    shown = ADAPTER.expose(paying("card", "link", "link", url=BANK).body)
    assert (b"bank.example" in shown, json.loads(shown)["action"]) == (False, "link")


def test_an_order_outlives_the_time_to_act() -> None:
    """By hours, in whole seconds, so that the vendor's 15 minutes hold and the order ends by itself; none is unsaid."""
    assert body(intent("create", action_expires_us=UNTIL_US))["order_expiry_time"] == "2026-11-24T16:02:46Z"
    assert EXPIRY_MARGIN_S > 15 * 60
    assert "order_expiry_time" not in body(intent("create"))


@pytest.mark.parametrize(("length", "sent"), [(0, False), (250, True), (251, False)])
def test_the_customer_comes_back(length: int, sent: bool) -> None:
    """The merchant's address as far as the vendor takes it."""
    url = ("https://shop.example/" + "x" * length)[:length]
    assert body(intent("create", return_url=url)).get("order_meta") == ({"return_url": url} if sent else None)


def test_what_the_customer_pays_with() -> None:
    """A saved card, a UPI id, UPI without one, a bank's code or name."""

    def method(kind: str, token: str) -> dict[str, Any]:
        about = intent(container="session_1", payment_method=token, payment_method_type=kind)
        return dict(body(about)["payment_method"])

    assert method("", "inst_1") == method("card", "inst_1") == {"card": {"channel": "link", "instrument_id": "inst_1"}}
    assert method("upi", "a@upi") == {"upi": {"channel": "collect", "upi_id": "a@upi", "upi_expiry_minutes": 15}}
    assert method("upi", "") == {"upi": {"channel": "link"}}
    assert method("netbanking", "3021") == {"netbanking": {"channel": "link", "netbanking_bank_code": 3021}}
    assert method("netbanking", "HDFCR") == {"netbanking": {"channel": "link", "netbanking_bank_name": "HDFCR"}}
    assert method("netbanking", "٣٠٢١") == {"netbanking": {"channel": "link", "netbanking_bank_name": "٣٠٢١"}}
    assert ADAPTER.CAPABILITIES.methods == frozenset({"card", "upi", "netbanking"})


# --- holds --------------------------------------------------------------------------------------------------------


def test_a_hold_is_asked_for() -> None:
    """By the order's note in the vendor's test environment, by the mandate for UPI, by nothing for a live card."""
    told = {"manual": True, "description": "two lamps"}
    test, live = body(intent("create", **told)), body(intent("create", **told | {"mode": "live"}))
    assert (test["order_note"], test["order_tags"]["note"]) == ("preauth_transaction", "two lamps")
    assert (live["order_note"], live["order_tags"]) == ("two lamps", {"reference": REFERENCE})
    assert body(intent("create", description="two lamps"))["order_note"] == "two lamps"
    assert body(intent(manual=True, payment_method="i"))["payment_method"] == {
        "card": {"channel": "link", "instrument_id": "i"}
    }
    upi = intent(manual=True, payment_method="a@upi", payment_method_type="upi", action_expires_us=UNTIL_US)
    mandate = body(upi)["payment_method"]["upi"]
    assert (mandate["authorize_only"], mandate["authorization"]["approve_by"]) == (True, "2026-11-24T13:02:46Z")
    assert mandate["authorization"]["end_time"] == "2026-12-01T13:02:46Z"


def test_a_void_names_no_amount() -> None:
    """Only the action; a capture takes what it is told, else everything."""
    assert body(intent("void")) == {"action": "VOID"}
    assert ADAPTER.build(intent("capture", capture_minor=420)).body == b'{"action":"CAPTURE","amount":4.20}'
    assert ADAPTER.build(intent("capture")).body == b'{"action":"CAPTURE","amount":10.50}'
    assert ADAPTER.build(intent("void")).path == f"/orders/{REFERENCE}/authorization"


@pytest.mark.parametrize(
    ("change", "means"),
    [
        ({}, Captured),
        ({"authorization": CAPTURE | {"captured_amount": 10.5}}, Captured),
        ({"authorization": CAPTURE | {"captured_amount": 10.51}}, Unknown),
        ({"authorization": CAPTURE | {"captured_amount": None}}, Unknown),
        ({"authorization": CAPTURE | {"captured_amount": "NaN"}}, Unknown),
        ({"authorization": CAPTURE | {"status": "PENDING"}}, Processing),
        ({"authorization": CAPTURE | {"status": "FAILED"}}, Unknown),
        ({"authorization": CAPTURE | {"action": "VOID"}}, Unknown),
        ({"authorization": None}, Unknown),
        ({"is_captured": False}, Unknown),
        ({"is_captured": None}, Unknown),
        ({"payment_status": "PENDING"}, Unknown),
        ({"cf_payment_id": "999"}, Unknown),
    ],
)
def test_only_a_named_capture_takes_money(change: dict[str, Any], means: type) -> None:
    """The action, its success, its amount and its payment; anything less is looked up."""
    said = ADAPTER.parse(intent("capture", capture_minor=420), ok(TAKEN | change))
    assert isinstance(said, means), said
    if isinstance(said, Captured):
        assert said.amount_minor in (420, 1050)


@pytest.mark.parametrize(
    ("change", "means"),
    [
        ({"payment_status": "VOID"}, Voided),
        ({"authorization": {"action": "VOID", "status": "SUCCESS"}}, Voided),
        ({"authorization": {"action": "VOID", "status": "PENDING"}}, Processing),
        ({"authorization": {"action": "VOID", "status": "SUCCESS"}, "is_captured": True}, Unknown),
        ({"authorization": {"action": "VOID", "status": "FAILED"}}, Unknown),
        ({"payment_status": "never_heard_of"}, Unknown),
        ({"payment_status": "VOID", "cf_payment_id": "999"}, Unknown),
        ({}, Unknown),
    ],
)
def test_only_a_released_hold_is_voided(change: dict[str, Any], means: type) -> None:
    """VOID, or a void that succeeded; a void that began is on its way."""
    assert isinstance(ADAPTER.parse(intent("void"), ok(HELD | change)), means)


@pytest.mark.parametrize(
    ("payment", "means"),
    [
        (HELD, Authorized),
        (HELD | {"authorization": {"action": None, "status": None, "end_time": "2026-12-01T18:02:46+05:30"}}, Authorized),
        (HELD | {"authorization": {"action": "CAPTURE", "status": "PENDING"}}, Processing),
        (HELD | {"authorization": {"action": "VOID", "status": "PENDING"}}, Processing),
        (HELD | {"payment_status": "VOID"}, Declined),
        (HELD | {"authorization": {"action": "VOID", "status": "SUCCESS"}}, Declined),
        (TAKEN, Succeeded),
        (TAKEN | {"authorization": CAPTURE | {"status": "PENDING"}}, Succeeded),
        (TAKEN | {"authorization": CAPTURE | {"status": "PENDING", "captured_amount": None}}, Processing),
        (TAKEN | {"authorization": CAPTURE | {"action": "VOID", "status": "PENDING"}}, Processing),
    ],
)
def test_what_a_hold_reads_as(payment: dict[str, Any], means: type) -> None:
    """Held, on its way, gone or taken; what is gone closes its paid order."""
    found = read(payment)
    assert isinstance(found, Found)
    (shown,) = found.tries
    assert isinstance(shown, means)
    assert found.container == ("closed" if means is Declined else "open")
    if isinstance(shown, Authorized):
        assert shown.expires_at_us == (1_796_128_366 * S if payment is not HELD else None)
    if isinstance(shown, Succeeded):
        assert shown.amount_minor == 420
    if isinstance(shown, Declined):
        assert (shown.code, shown.hard, shown.flips_until_us) == ("hold_lapsed", False, None)


@pytest.mark.parametrize(
    "hold",
    [
        {"action": "CAPTURE", "status": "SUCCESS", "captured_amount": 4.2},  # and is_captured is false
        {"action": "REFUND", "status": "SUCCESS"},
        {"action": "CAPTURE", "status": "FAILED"},
    ],
)
def test_a_hold_that_nobody_understands_is_unreadable(hold: dict[str, Any]) -> None:
    """Words that are on no list, and contradictions, prove nothing."""
    assert isinstance(read(HELD | {"authorization": hold}), Unreadable)


def test_more_than_the_hold_says_nothing() -> None:
    """A capture is for the hold or less: more in a read leaves the payment's own amount to be compared."""
    found = read(TAKEN | {"authorization": CAPTURE | {"captured_amount": 100}})
    assert isinstance(found, Found)
    assert [t.amount_minor for t in found.tries if isinstance(t, Succeeded)] == [1050]


def test_a_surcharge_is_no_part_of_a_capture() -> None:
    """All of a hold with a surcharge is the payment's own amount."""
    extra = {"payment_surcharge_service_charge": 0.2, "payment_surcharge_service_tax": 0.1}
    whole = TAKEN | {"payment_amount": 10.8, "payment_surcharge": extra, "authorization": CAPTURE | {"captured_amount": 10.8}}
    said = ADAPTER.parse(intent("capture"), ok(whole))
    assert isinstance(said, Captured)
    assert said.amount_minor == 1050
    found = read(whole)
    assert isinstance(found, Found)
    assert [t.amount_minor for t in found.tries if isinstance(t, Succeeded)] == [1050]


def test_amounts_beyond_32_bits_are_captured() -> None:
    """Digits in, minor units out."""
    large = json.dumps(TAKEN | {"payment_amount": 1, "authorization": CAPTURE | {"captured_amount": 2}})
    raw = large.replace('"payment_amount": 1', '"payment_amount": 9999999999.99').replace(": 2}", ": 9999999999.98}").encode()
    said = ADAPTER.parse(intent("capture"), Response(status=200, headers={}, body=raw))
    assert isinstance(said, Captured)
    assert said.amount_minor == 999_999_999_998


@pytest.mark.parametrize(("payment", "concluded"), [(HELD, "YES"), (HELD | {"payment_status": "VOID"}, "NO"), (TAKEN, "YES")])
def test_what_a_merchants_hold_comes_to(payment: dict[str, Any], concluded: str) -> None:
    """Held is what was asked for; gone is a no, in a paid order too."""
    fired = ADAPTER.parse(intent(container="session_1"), ok({"cf_payment_id": "12376123"}))
    steps = (
        Step(seq=2, kind="fire", owner="o", at_us=1, send_by_us=5, lease_until_us=9, seen_at_us=2, outcome=fired),
        Step(seq=4, kind="read", owner="o", at_us=90, send_by_us=95, lease_until_us=99, seen_at_us=91, outcome=read(payment)),
    )
    attempt = Attempt(
        n=0, account="a", adapter="cashfree", base_url="", credential_id="", reference=REFERENCE,
        terms=ADAPTER.CAPABILITIES.terms, manual=True, steps=steps, container="session_1",
    )  # fmt: skip
    assert verdict.verdict(attempt) == concluded


# --- refunds ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "means"),
    [
        ("SUCCESS", Refunded),
        ("PENDING", Refunding),
        ("ONHOLD", Refunding),
        ("CANCELLED", RefundFailed),
        ("FAILED", RefundFailed),
    ],
)
def test_what_a_refund_comes_to(status: str, means: type) -> None:
    """The same in the answer to it and in a read; only what is done counts as given back."""
    refund = {
        "refund_id": "r", "order_id": REFERENCE, "refund_status": status, "refund_amount": 4.5, "refund_currency": "INR",
        "cf_refund_id": "1", "cf_payment_id": "12376123", "refund_type": "MERCHANT_INITIATED",
    }  # fmt: skip
    said = ADAPTER.parse(intent("refund", refund_reference="r", refund_minor=450), ok(refund))
    assert isinstance(said, means)
    found = read(HELD | {"is_captured": True}, [refund])
    assert isinstance(found, Found)
    assert found.refunds == (said,)
    assert [t.refunded_minor for t in found.tries if isinstance(t, Succeeded)] == [450 if status == "SUCCESS" else 0]


@pytest.mark.parametrize("kind", ["PAYMENT_AUTO_REFUND", "UNRECONCILED_AUTO_REFUND"])
def test_the_vendors_own_refunds_are_not_ours(kind: str) -> None:
    """They count as given back and answer no refund of ours."""
    refund = {
        "refund_id": None, "order_id": REFERENCE, "refund_status": "SUCCESS", "refund_amount": 10.5, "refund_currency": "INR",
        "cf_refund_id": "1", "cf_payment_id": "12376123", "refund_type": kind,
    }  # fmt: skip
    found = read(HELD | {"is_captured": True}, [refund])
    assert isinstance(found, Found)
    assert found.refunds == ()
    assert [t.refunded_minor for t in found.tries if isinstance(t, Succeeded)] == [1050]
    assert isinstance(ADAPTER.parse(intent("refund", refund_reference="r", refund_minor=1050), ok(refund)), Unknown)

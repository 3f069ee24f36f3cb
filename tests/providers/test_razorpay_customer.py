"""Where Razorpay's customer acts: what is asked for, what the answer means, and where he is sent."""

import json
from typing import Any

import pytest
from msgspec.structs import replace

from payonce.adapter import Declined, Found, Intent, NextAction, Processing, RequiresAction, Response, Unknown
from payonce.providers.razorpay import ADAPTER

REFERENCE = "06ex4k2m9p7q8r5s3t010100"
ORDER, PAY, AT = "order_PpQ1aZx8vM2kLt", "pay_PpQ2bYw7uN3jKs", 1_795_000_000
FIRE = Intent(kind="fire", mode="test", amount_minor=1050, currency="INR", reference=REFERENCE, container=ORDER, key="k" * 10)
UPI = replace(FIRE, payment_method_type="upi")
LINK = "upi://pay?pa=shop@razorpay&am=10.50&cu=INR"
BANK = "https://bank.example/3ds"


def fired(status: int = 200, **more: Any) -> Response:
    return Response(status=status, headers={}, body=json.dumps({"razorpay_payment_id": PAY, **more}).encode())


def steps(*pairs: tuple[str, str]) -> list[dict[str, str]]:
    return [{"action": action, "url": url} for action, url in pairs]


@pytest.mark.parametrize(
    ("token", "asked"),
    [
        ("", {"upi": {"flow": "intent"}}),
        ("ana@exampleupi", {"upi": {"flow": "collect", "vpa": "ana@exampleupi", "expiry_time": 30}}),
        ("token_1", {"token": "token_1"}),
    ],
)
def test_upi_has_three_flows(token: str, asked: dict[str, Any]) -> None:
    """No token: the customer opens a link. An address: it is asked. A token: the saved address is asked."""
    request = ADAPTER.build(replace(UPI, payment_method=token))
    body = json.loads(request.body)
    assert request.path == "/payments/create/upi"
    assert {k: v for k, v in body.items() if k in ("upi", "token", "bank", "wallet")} == asked
    assert body["method"] == "upi"


@pytest.mark.parametrize(("method", "field"), [("netbanking", "bank"), ("wallet", "wallet"), ("card", "token"), ("", "token")])
def test_the_token_stands_where_the_method_has_it(method: str, field: str) -> None:
    """The code of a bank or a wallet, or the token of a card, which is the method when none is named."""
    request = ADAPTER.build(replace(FIRE, payment_method_type=method, payment_method="X1"))
    body = json.loads(request.body)
    assert (request.path, body["method"], body[field]) == ("/payments/create/json", method or "card", "X1")
    assert {"upi", "token", "bank", "wallet"} & set(body) == {field}
    assert ADAPTER.CAPABILITIES.methods is not None
    assert (method or "card") in ADAPTER.CAPABILITIES.methods


def test_the_return_url_is_the_callback() -> None:
    """It is sent where there is one, and left out where there is none; people are not shown it."""
    back = "https://shop.example/back?secret=1"
    with_url, without = ADAPTER.build(replace(FIRE, return_url=back)), ADAPTER.build(FIRE)
    assert json.loads(with_url.body)["callback_url"] == back
    assert "callback_url" not in json.loads(without.body)
    assert b"secret=1" not in ADAPTER.expose(with_url.body)


@pytest.mark.parametrize(
    ("intent", "said", "means", "action"),
    [
        (FIRE, {}, Processing, None),
        (FIRE, {"next": []}, Processing, None),
        (FIRE, {"next": steps(("poll", "https://x.example"))}, Processing, None),
        (FIRE, {"next": steps(("redirect", BANK), ("otp_generate", "https://x.example"))}, RequiresAction, ("redirect", BANK)),
        (FIRE, {"next": steps(("otp_generate", "https://x.example"))}, RequiresAction, None),
        (FIRE, {"next": steps(("never_heard_of", BANK))}, RequiresAction, None),
        (UPI, {"link": LINK}, RequiresAction, ("upi_intent", LINK)),
        (UPI, {"next": steps(("intent", LINK), ("poll", "https://x.example"))}, RequiresAction, ("upi_intent", LINK)),
        (UPI, {}, RequiresAction, ("upi_collect", "")),
        (UPI, {"next": steps(("poll", "https://x.example"))}, RequiresAction, ("upi_collect", "")),
        (UPI, {"next": steps(("never_heard_of", BANK))}, RequiresAction, None),
    ],
)
def test_what_the_customer_has_to_do(intent: Intent, said: dict[str, Any], means: type, action: tuple[str, str] | None) -> None:
    """A redirect, a link for an app, or nothing but to approve; what we do not offer asks for an action that we cannot name."""
    outcome = ADAPTER.parse(intent, fired(**said))
    assert isinstance(outcome, Processing | RequiresAction)
    assert (type(outcome), outcome.ref, outcome.reference) == (means, PAY, REFERENCE)
    if isinstance(outcome, RequiresAction):
        told = ADAPTER.next_action(intent, fired(**said))
        assert (told and (told.type, told.url)) == action


@pytest.mark.parametrize(
    ("intent", "said"),
    [
        (FIRE, {"next": steps(("redirect", "javascript:alert(1)"))}),
        (FIRE, {"next": steps(("redirect", "//bank.example"))}),
        (UPI, {"link": "https://phish.example"}),
        (UPI, {"next": steps(("intent", "intent://pay"))}),
    ],
)
def test_nobody_is_sent_to_an_odd_address(intent: Intent, said: dict[str, Any]) -> None:
    """A redirect is http(s), an intent is upi: anything else is not released."""
    assert isinstance(ADAPTER.parse(intent, fired(**said)), RequiresAction)
    assert ADAPTER.next_action(intent, fired(**said)) is None


def test_only_a_good_answer_sends_anybody_anywhere() -> None:
    """Error pages, and answers of another shape, name no action; the first step of a kind counts."""
    assert ADAPTER.next_action(FIRE, fired(500, next=steps(("redirect", BANK)))) is None
    for body in (b"", b"[]", b"{}", b'{"razorpay_payment_id": 7}'):
        assert ADAPTER.next_action(UPI, Response(status=200, headers={}, body=body)) is None
    two = fired(next=steps(("redirect", BANK), ("redirect", "https://other.example")))
    assert ADAPTER.next_action(FIRE, two) == NextAction(type="redirect", url=BANK)


def test_secrets_of_the_customer_are_not_shown() -> None:
    """People are shown that there is a next step, but neither its address nor the link, nor a UPI address."""
    for shown in (fired(link=LINK), fired(next=steps(("intent", LINK), ("redirect", BANK)))):
        text = ADAPTER.expose(shown.body)
        assert PAY.encode() in text
        assert LINK.encode() not in text
        assert BANK.encode() not in text
    assert b"ana@" not in ADAPTER.expose(ADAPTER.build(replace(UPI, payment_method="ana@exampleupi")).body)


@pytest.mark.parametrize(
    ("reason", "code", "flips"),
    [
        ("authentication_failed", "authentication_failed", False),
        ("payment_cancelled", "authentication_failed", True),
        ("payment_collect_request_expired", "action_expired", True),
        ("payment_session_expired", "action_expired", True),
    ],
)
def test_a_customer_who_declined_or_let_it_run_out(reason: str, code: str, flips: bool) -> None:
    """Declined in a read, and his to correct; what may still turn into an authorization says until when."""
    order = {"id": ORDER, "status": "attempted", "amount": 1050, "currency": "INR", "receipt": REFERENCE, "created_at": AT}
    payment = {"id": PAY, "status": "failed", "amount": 1050, "currency": "INR", "order_id": ORDER, "error_reason": reason}
    first = Response(status=200, headers={}, body=json.dumps(order).encode())
    body = json.dumps({"items": [payment | {"created_at": AT}]}).encode()
    found = ADAPTER.parse_read(replace(FIRE, kind="read", seen=(first,)), Response(status=200, headers={}, body=body))
    assert isinstance(found, Found)
    (tried,) = found.tries
    assert isinstance(tried, Declined)
    assert (tried.code, tried.scope, tried.hard) == (code, "customer_input", False)
    assert tried.flips_until_us == ((AT + 3 * 86_400) * 1_000_000 if flips else None)


def test_an_answer_about_another_order_releases_nothing() -> None:
    """It is unknown, and so no action is asked for."""
    said = fired(razorpay_order_id="order_SomebodyElses", next=steps(("redirect", BANK)))
    assert isinstance(ADAPTER.parse(FIRE, said), Unknown)

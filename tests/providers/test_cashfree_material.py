"""What Cashfree itself publishes beside the specification that the project is checked against, as small cases: the models of
its SDK for Python, which are of the version after ours (cashfree_pg 6.0.1, API 2026-01-01), and the samples of its SDKs' pages
(cashfree-pg of 2026-05-12, cashfree-pg-sdk-nodejs of 2025-10-08, agent-skills of 2026-02-09)."""

import base64
import hashlib
import hmac
import json
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import pytest
from msgspec.structs import replace

from payonce.adapter import Declined, Found, HttpRequest, Intent, Processing, Response, Succeeded, WebhookRefused
from payonce.providers.cashfree import ADAPTER
from payonce.testing.provider_cases import Subject

pytest.importorskip("cashfree_pg", reason="the SDK is in the dev group: uv sync")
CASES: Final = Path(__file__).parents[1] / "fixtures" / "providers" / "cashfree"
# step -> module and model of its body
MODELS: Final = {
    "create": ("create_order_request", "CreateOrderRequest"),
    "fire": ("pay_order_request", "PayOrderRequest"),
    "close": ("terminate_order_request", "TerminateOrderRequest"),
    "capture": ("authorize_order_request", "AuthorizeOrderRequest"),
    "void": ("authorize_order_request", "AuthorizeOrderRequest"),
    "refund": ("order_create_refund_request", "OrderCreateRefundRequest"),
}
ORDER: Final = "order_8123"
READ: Final = Intent(kind="read", mode="test", amount_minor=1001, currency="INR", reference=ORDER, container="session_1")


def lost(sent: Any, kept: Any, at: str = "") -> list[str]:
    """What a model dropped of a body: fields that it does not know."""
    if not isinstance(sent, dict):
        return []
    known = kept if isinstance(kept, dict) else {}
    gone = [f"{at}{name}" for name in sent if name not in known]
    return gone + [each for name in sent if name in known for each in lost(sent[name], known[name], f"{at}{name}.")]


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_every_request_holds_for_the_next_version_too() -> None:
    """The models of API 2026-01-01 take each recorded body, and know every field of it: what that version dropped or renamed
    is nothing that we send."""
    seen = set()
    for case in Subject.load(ADAPTER, CASES).cases:
        if case.intent.kind == "read":
            continue
        module, name = MODELS[case.intent.kind]
        model = getattr(import_module(f"cashfree_pg.models.{module}"), name)
        body = json.loads(ADAPTER.build(case.intent).body)
        assert lost(body, json.loads(model.from_dict(body).to_json())) == [], case.name
        seen.add(case.intent.kind)
    assert seen == set(MODELS)
    assert lost({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 1}}) == ["d", "a.c"]


@pytest.mark.parametrize("body", [b'{"type":"PAYMENT_SUCCESS_WEBHOOK","data":{}}', b'{"data":{"x":170.00},"type":"T"}'])
def test_signatures_are_those_of_the_sdk(body: bytes) -> None:
    """base64 of HMAC-SHA256 under the client secret, over the timestamp and the raw body: the SDK, which signs nothing itself,
    takes what we take, and refuses what we refuse."""
    client = import_module("cashfree_pg.api_client").Cashfree
    stamp, secret = "1746427759733", "cfsk_ma_test_made_up"
    good = base64.b64encode(hmac.digest(secret.encode(), stamp.encode() + body, hashlib.sha256)).decode()
    sdk = client(client.SANDBOX, "id", secret)
    for signature, raw in ((good, body), (good, body + b" "), (good[::-1], body)):
        headers = {"x-webhook-timestamp": stamp, "x-webhook-signature": signature}
        try:
            sdk.PGVerifyWebhookSignature(signature, raw.decode(), stamp)
            theirs = True
        except Exception:  # noqa: BLE001 - it raises nothing narrower
            theirs = False
        try:
            ADAPTER.verify_webhook(headers, raw, [secret], int(stamp) * 1000)
            ours = True
        except WebhookRefused:
            ours = False
        assert ours == theirs == ((signature, raw) == (good, body))


@pytest.mark.parametrize(
    ("doc", "references", "refs"),
    [
        ({"order": {"order_id": "o_1"}, "payment": {"cf_payment_id": "1453002795", "payment_status": "SUCCESS"}}, ("o_1",), 1),
        (
            {"order": {"order_id": "o_1"}, "payment": {"cf_payment_id": 975677709, "payment_status": "USER_DROPPED"}},
            ("o_1",),
            1,
        ),
        (
            {"refund": {"order_id": "o_1", "refund_id": "r_1", "cf_refund_id": 11325632, "cf_payment_id": 789}},
            ("o_1", "r_1"),
            2,
        ),
        ({"order": {"order_id": "o_1", "order_tags": None}}, ("o_1",), 0),
        ({}, (), 0),
    ],
)
def test_webhooks_of_the_pages(doc: dict[str, Any], references: tuple[str, ...], refs: int) -> None:
    """Numbers as ids in older versions, no payment, no tags, nothing at all."""
    body = json.dumps({"type": "SOME_WEBHOOK", "event_time": "2023-08-01T11:16:10+05:30", "data": doc}).encode()
    event = ADAPTER.parse_webhook({}, body)
    assert (event.references, len(event.refs)) == (references, refs)
    assert ADAPTER.parse_webhook({}, body).id == event.id


def shown(payment: dict[str, Any], status: str) -> Any:
    """What a read makes of one payment in an order with this status."""
    order = {"order_id": ORDER, "order_status": status, "order_amount": 10.01, "order_currency": "INR"}
    docs: list[Any] = [order | {"payment_session_id": "session_1"}, [{"order_id": ORDER, **payment}], []]
    seen: tuple[Response, ...] = ()
    for doc in docs:
        answer = Response(status=200, headers={}, body=json.dumps(doc).encode())
        said = ADAPTER.parse_read(replace(READ, seen=seen), answer)
        if not isinstance(said, HttpRequest):
            return said
        seen = (*seen, answer)
    return said


MONEY: Final = {"payment_amount": 10.01, "payment_currency": "INR", "order_amount": 10.01, "order_currency": "INR"}
HOLD: Final = {"action": "CAPTURE", "status": "PENDING", "captured_amount": 100, "end_time": "2022-02-19T18:04:34+05:30"}


@pytest.mark.parametrize(
    ("payment", "status", "kind"),
    [
        ({"payment_status": "SUCCESS", "is_captured": True, "authorization": HOLD}, "PAID", Succeeded),
        ({"payment_status": "SUCCESS", "is_captured": True, "authorization": None}, "PAID", Succeeded),
        ({"payment_status": "SUCCESS"}, "PAID", Succeeded),
        (
            {"payment_status": "FAILED", "is_captured": True, "error_details": {"error_reason": "auth_declined"}},
            "ACTIVE",
            Declined,
        ),
        ({"payment_status": "PENDING", "payment_method": {"card": {}}}, "ACTIVE", Processing),
    ],
)
def test_payments_of_the_sdks_pages(payment: dict[str, Any], status: str, kind: type) -> None:
    """Their samples contradict themselves (captured 100 of 10.01; a failed one that is captured): the status decides, and never
    is more taken than was paid."""
    found = shown({"cf_payment_id": "12376123", **MONEY, **payment}, status)
    assert isinstance(found, Found), found
    (seen,) = found.tries
    assert isinstance(seen, kind)
    assert getattr(seen, "amount_minor", 1001) == 1001

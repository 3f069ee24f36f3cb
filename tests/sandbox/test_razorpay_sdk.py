"""The official SDK of Razorpay drives the sandbox over real HTTP: what it sends is understood, what it gets it takes for
Razorpay's. The SDK's own mocks say which fields an entity has."""

import asyncio
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, cast

import pytest

from payonce.bootstrap import SystemClock
from payonce.sandbox.razorpay import SIMULATOR
from payonce.sandbox.razorpay.telling import WEBHOOK_SECRET
from payonce.sandbox.server import Sandbox, sandbox_app
from payonce.testing.provider_live import over_socket

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of the SDK's own imports
    razorpay = pytest.importorskip("razorpay", reason="the SDK is in the dev group: uv sync")

KEY: Final = ("rzp_test_sandbox", "sandbox")
MOCKS: Final = Path(__file__).parents[3] / "shared" / "specs" / "razorpay" / "mocks"
MANUAL: Final = {"capture": "manual", "capture_options": {"manual_expiry_period": 60, "refund_speed": "normal"}}

TOLD: Final = {
    "payment.authorized",
    "payment.captured",
    "payment.failed",
    "order.paid",
    "refund.created",
    "refund.processed",
    "refund.failed",
}


def driven(tmp_path: Path, story: Callable[[Any, Sandbox], None], key: tuple[str, str] = KEY) -> Sandbox:
    """Run what the SDK does in a thread of its own, against a server on a free port."""

    async def main() -> Sandbox:
        sandbox = sandbox_app(tmp_path / "ledger.db", SystemClock(), {"razorpay": SIMULATOR})
        try:
            async with over_socket(sandbox) as url:
                client = razorpay.Client(auth=key, base_url=f"{url}/razorpay")
                try:
                    await asyncio.to_thread(story, client, sandbox)
                finally:
                    client.session.close()
        finally:
            sandbox.close()
        return sandbox

    return asyncio.run(main())


def fired(client: Any, order: dict[str, Any], **more: Any) -> str:
    body = {"amount": order["amount"], "currency": order["currency"], "order_id": order["id"], "method": "card", **more}
    return str(client.payment.createPaymentJson(body)["razorpay_payment_id"])


def mock(name: str) -> dict[str, Any]:
    return cast("dict[str, Any]", json.loads((MOCKS / f"{name}.json").read_text(encoding="utf-8")))


def test_orders(tmp_path: Path) -> None:
    """Created, fetched, and found by receipt, with their payments."""

    def story(client: Any, _: Sandbox) -> None:
        order = client.order.create({"amount": 500, "currency": "INR", "receipt": "12121", "notes": {"a": "b"}})
        assert (order["entity"], order["status"], order["notes"]) == ("order", "created", {"a": "b"})
        assert client.order.fetch(order["id"]) == order
        assert client.order.all({"receipt": "12121"}) == {"entity": "collection", "count": 1, "items": [order]}
        assert client.order.all({"receipt": "12122"})["items"] == []
        payment = fired(client, order)
        (expanded,) = client.order.all({"receipt": "12121", "expand[]": "payments"})["items"]
        assert [p["id"] for p in expanded["payments"]["items"]] == [payment]
        assert [p["id"] for p in client.order.payments(order["id"])["items"]] == [payment]

    driven(tmp_path, story)


def test_a_plain_order_is_captured_by_itself(tmp_path: Path) -> None:
    """Without capture settings a payment is taken at once and its order is paid."""

    def story(client: Any, sandbox: Sandbox) -> None:
        order = client.order.create({"amount": 500, "currency": "INR"})
        payment = client.payment.fetch(fired(client, order, token="tok_ok"))
        assert (payment["status"], payment["captured"], payment["order_id"]) == ("captured", True, order["id"])
        assert client.order.fetch(order["id"])["status"] == "paid"
        assert client.payment.all({"count": 1})["items"] == [payment]

    driven(tmp_path, story)


def test_held_captured_and_given_back(tmp_path: Path) -> None:
    """Manual capture, refunds with and without a key, and what is fetched of them afterwards."""

    def story(client: Any, sandbox: Sandbox) -> None:
        order = client.order.create({"amount": 500, "currency": "INR", "receipt": "r", "payment": MANUAL})
        held = client.payment.fetch(fired(client, order))
        assert held["status"] == "authorized"
        captured = client.payment.capture(held["id"], 500, {"currency": "INR"})
        assert (captured["status"], captured["id"]) == ("captured", held["id"])
        keyed = {"headers": {"X-Refund-Idempotency": "0123456789"}}
        first = client.payment.refund(held["id"], {"amount": 200, "receipt": "r1"}, **keyed)
        assert client.payment.refund(held["id"], {"amount": 200, "receipt": "r1"}, **keyed) == first
        rest = client.refund.create({"payment_id": held["id"], "amount": 300})
        assert (first["status"], first["receipt"], rest["amount"]) == ("processed", "r1", 300)
        assert client.refund.fetch(first["id"]) == first
        assert client.payment.fetch_refund_id(held["id"], first["id"]) == first
        assert client.payment.fetch_multiple_refund(held["id"])["items"] == [rest, first]
        assert client.refund.all()["count"] == 2
        assert client.payment.fetch(held["id"])["status"] == "refunded"
        moves = [(m.kind, m.amount) for m in sandbox.ledger.movements()]
        assert moves == [("authorize", 500), ("capture", 500), ("refund", 200), ("refund", 300)]

    driven(tmp_path, story)


def test_upi_and_the_customer(tmp_path: Path) -> None:
    """A link for the customer's app and a request to an address; approved and declined, and asked for afterwards."""

    def story(client: Any, sandbox: Sandbox) -> None:
        def asked(receipt: str, upi: dict[str, Any]) -> dict[str, Any]:
            order = client.order.create({"amount": 500, "currency": "INR", "receipt": receipt, "payment": MANUAL})
            body = {"amount": 500, "currency": "INR", "order_id": order["id"], "method": "upi", "upi": upi}
            return cast("dict[str, Any]", client.payment.createUpi(body))

        linked = asked("r1", {"flow": "intent"})
        assert linked["link"].startswith("upi://pay?")
        requested = asked("r2", {"flow": "collect", "vpa": "ana@exampleupi", "expiry_time": 5})
        assert list(requested) == ["razorpay_payment_id"]
        for answer, approve in ((linked, True), (requested, False)):
            payment = answer["razorpay_payment_id"]
            assert client.payment.fetch(payment)["status"] == "created"
            with sandbox.ledger.transaction():
                SIMULATOR.act(sandbox.ledger, int(payment.removeprefix("pay_")), SystemClock().now_us(), approve=approve)
        held, declined = (client.payment.fetch(a["razorpay_payment_id"]) for a in (linked, requested))
        assert (held["status"], held["method"]) == ("authorized", "upi")
        assert (declined["status"], declined["vpa"]) == ("failed", "ana@exampleupi")
        assert client.payment.capture(held["id"], 500, {"currency": "INR"})["status"] == "captured"
        assert [(m.kind, m.amount) for m in sandbox.ledger.movements()] == [("authorize", 500), ("capture", 500)]

    driven(tmp_path, story)


def test_large_sums_of_three_decimals_and_of_none(tmp_path: Path) -> None:
    """Far above 2^31 minor units, created, captured, fetched and given back in part."""

    def story(client: Any, _: Sandbox) -> None:
        for currency, amount in (("KWD", 999_999_999_990), ("JPY", 999_999_999_999)):
            order = client.order.create({"amount": amount, "currency": currency, "receipt": currency, "payment": MANUAL})
            payment = fired(client, order)
            captured = client.payment.capture(payment, amount, {"currency": currency})
            assert (captured["amount"], captured["currency"]) == (amount, currency)
            part = client.payment.refund(payment, {"amount": 2_147_483_650})
            assert (part["amount"], part["currency"]) == (2_147_483_650, currency)
            assert client.payment.fetch(payment)["amount_refunded"] == 2_147_483_650

    driven(tmp_path, story)


def test_the_sdk_verifies_the_webhooks(tmp_path: Path) -> None:
    """Every event of a charge, a decline and refunds passes the SDK's check under the secret, and under no other."""

    def story(client: Any, sandbox: Sandbox) -> None:
        orders = [client.order.create({"amount": 500, "currency": "INR", "receipt": r, "payment": MANUAL}) for r in "ab"]
        payment = fired(client, orders[0])
        client.payment.capture(payment, 500, {"currency": "INR"})
        for fate in ("plain", "fail"):
            client.payment.refund(payment, {"amount": 100, "notes": {"forceRefund": fate}})
        with pytest.raises(razorpay.errors.BadRequestError):
            fired(client, orders[1], token="tok_decline_do_not_honor")
        events = sandbox.ledger.deliveries.events(0, 100)
        assert {json.loads(each.body)["event"] for each in events} == TOLD
        for each in events:
            body = each.body.decode()
            signature = SIMULATOR.sign_webhook(each.body, SystemClock().now_us())["x-razorpay-signature"]
            assert client.utility.verify_webhook_signature(body, signature, WEBHOOK_SECRET)
            for spoilt, secret in ((body + " ", WEBHOOK_SECRET), (body, "another_secret")):
                with pytest.raises(razorpay.errors.SignatureVerificationError):
                    client.utility.verify_webhook_signature(spoilt, signature, secret)

    driven(tmp_path, story)


def test_errors_have_the_sdks_classes(tmp_path: Path) -> None:
    """Refusals are BadRequestError with the vendor's description, server errors ServerError."""

    def story(client: Any, sandbox: Sandbox) -> None:
        order = client.order.create({"amount": 500, "currency": "INR", "receipt": "r"})
        refused = razorpay.errors.BadRequestError
        for description, attempt in (
            ("receipt is used", lambda: client.order.create({"amount": 500, "currency": "INR", "receipt": "r"})),
            ("could not be completed", lambda: fired(client, order, token="tok_decline_do_not_honor")),
            ("does not exist", lambda: client.payment.fetch("pay_00000000000099")),
            ("does not exist", lambda: client.order.fetch("order_1")),
            ("not found", client.customer.all),
        ):
            with pytest.raises(refused, match=description):
                attempt()
        with pytest.raises(razorpay.errors.ServerError):
            fired(client, order, token="tok_500_then_ok")
        assert sandbox.ledger.movements() == []

    driven(tmp_path, story)


def test_a_wrong_key_is_a_bad_request(tmp_path: Path) -> None:
    """As at the vendor, 401 comes with BAD_REQUEST_ERROR."""

    def story(client: Any, _: Sandbox) -> None:
        with pytest.raises(razorpay.errors.BadRequestError, match="api key"):
            client.order.all()

    driven(tmp_path, story, ("rzp_test_sandbox", ""))


@pytest.mark.skipif(not MOCKS.is_dir(), reason="the SDK's mocks are not beside this repository")
def test_entities_are_those_of_the_sdks_mocks(tmp_path: Path) -> None:
    """Every field of the SDK's mocks is there with a value of the same type; collections, webhooks and errors too."""

    def story(client: Any, sandbox: Sandbox) -> None:
        order = client.order.create({"amount": 500, "currency": "INR", "receipt": "12121"})
        assert unlike(mock("fake_order"), order) == []
        payment = client.payment.fetch(fired(client, order))
        assert unlike(mock("fake_payment"), payment) == unlike(mock("fake_captured_payment"), payment) == []
        notes = {"notes": {"notes_key_1": "a"}, "receipt": "#126", "speed": "optimum"}
        assert unlike(mock("fake_refund"), client.payment.refund(payment["id"], {"amount": 100, **notes})) == []
        for name, listing in (
            ("order_collection", client.order.all()),
            ("payment_collection", client.payment.all()),
            ("refund_collection", client.refund.all()),
        ):
            wanted = mock(name)
            assert unlike(wanted, listing) == unlike(wanted["items"][0], listing["items"][0]) == []
        assert unlike(mock("fake_payment_authorized_webhook"), told(sandbox, "payment.authorized")) == []
        reply = client.session.post(f"{client.base_url}/v1/orders", auth=KEY, data=b'{"amount": "x", "currency": "INR"}')
        assert unlike(mock("bad_request_error")["error"], reply.json()["error"]) == []

    driven(tmp_path, story)


def told(sandbox: Sandbox, event: str) -> dict[str, Any]:
    """The first webhook of that name."""
    bodies = (json.loads(each.body) for each in sandbox.ledger.deliveries.events(0, 100))
    return next(doc for doc in bodies if doc["event"] == event)


def unlike(wanted: dict[str, Any], got: dict[str, Any]) -> list[str]:
    """Fields that are missing or have another type. ``udf`` is of an older API: today's entities do not have it. Where the
    mock has null anything may stand, and acquirer_data depends on the bank."""
    odd = [name for name in wanted if name not in got and name != "udf"]
    return odd + [
        n for n, v in wanted.items() if n in got and v is not None and got[n] is not None and type(got[n]) is not type(v)
    ]


def test_a_missing_field_and_another_type_are_seen() -> None:
    """The comparison with the mocks can fail."""
    assert unlike({"a": 1, "b": "x", "udf": {}, "c": None}, {"a": "1", "c": 7}) == ["b", "a"]

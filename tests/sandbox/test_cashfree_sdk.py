"""The vendor's own SDK from PyPI drives the sandbox over HTTP: it speaks the vendor's protocol."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from payonce.sandbox.cashfree import CashfreeVendor
from payonce.sandbox.ledger import Ledger, Movement
from payonce.sandbox.server import sandbox_app
from payonce.testing.provider_live import FakeClock, over_socket

# The SDK is written for an older pydantic and says so at import and at every call.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning"),
]


class Merchant:
    """The SDK, with its base URL pointed at the sandbox: it has no setting for that."""

    def __init__(self, url: str, patch: pytest.MonkeyPatch) -> None:
        import cashfree_pg.api_client as sdk

        class Here(sdk.Configuration):  # type: ignore[misc, name-defined]
            def __init__(self, host: str = "", **more: Any) -> None:
                super().__init__(host=f"{url}/cashfree", **more)

        patch.setattr(sdk, "Configuration", Here)
        patch.setattr(sdk.ApiClient, "_default", None)
        self.sdk: Any = sdk
        self.api: Any = sdk.Cashfree(sdk.Cashfree.SANDBOX, "id", "secret")

    def create(self, id: str, amount: float = 10.5, key: str | None = None, **more: Any) -> Any:
        customer = self.sdk.CustomerDetails(customer_id="ana", customer_phone="9999999999")
        order = self.sdk.CreateOrderRequest(
            order_id=id, order_amount=amount, order_currency="INR", customer_details=customer, order_tags={"a": "b"}, **more
        )
        return self.api.PGCreateOrder(order, x_idempotency_key=key, x_request_id="trace-1")

    def pay(self, session: str, token: str) -> Any:
        card = self.sdk.CardPaymentMethod(card=self.sdk.Card(channel="link", instrument_id=token))
        method = self.sdk.PayOrderRequestPaymentMethod(actual_instance=card)
        return self.api.PGPayOrder(self.sdk.PayOrderRequest(payment_session_id=session, payment_method=method)).data

    def refund(self, id: str, amount: float, refund_id: str) -> Any:
        wanted = self.sdk.OrderCreateRefundRequest(refund_amount=amount, refund_id=refund_id, refund_note="thanks")
        return self.api.PGOrderCreateRefund(id, wanted).data

    def authorize(self, id: str, action: str, amount: float | None = None, key: str | None = None) -> Any:
        wanted = self.sdk.AuthorizeOrderRequest(action=action, amount=amount)
        return self.api.PGAuthorizeOrder(id, wanted, x_idempotency_key=key).data

    def terminate(self, id: str) -> Any:
        return self.api.PGTerminateOrder(id, self.sdk.TerminateOrderRequest(order_status="TERMINATED")).data

    def close(self) -> None:
        self.sdk.ApiClient.get_default().rest_client.pool_manager.clear()


def drive(folder: Path, patch: pytest.MonkeyPatch, story: Callable[[Merchant, FakeClock], None]) -> list[Movement]:
    """Run a story of blocking SDK calls beside a sandbox on a free port; what the books say afterwards."""

    async def main() -> list[Movement]:
        clock = FakeClock()
        sandbox = sandbox_app(folder / "ledger.db", clock, {"cashfree": CashfreeVendor(("id", "secret"))})
        try:
            async with over_socket(sandbox) as url:
                merchant = Merchant(url, patch)
                try:
                    await asyncio.to_thread(story, merchant, clock)
                finally:
                    merchant.close()
            return sandbox.ledger.movements()
        finally:
            sandbox.close()

    return asyncio.run(main())


def test_an_order_is_created_paid_and_refunded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Create, fetch, pay, list, refund, fetch the refund: the SDK reads every answer, and the books agree."""
    seen: dict[str, Any] = {}

    def story(m: Merchant, _: FakeClock) -> None:
        made = m.create("order-1")
        assert (made.status_code, made.headers["x-request-id"], made.data.order_status) == (200, "trace-1", "ACTIVE")
        assert (made.data.order_amount, made.data.order_tags) == (10.5, {"a": "b"})
        paying = m.pay(made.data.payment_session_id, "tok_ok")
        fetched = m.api.PGFetchOrder("order-1").data
        assert (fetched.order_status, fetched.cf_order_id) == ("PAID", made.data.cf_order_id)
        (payment,) = m.api.PGOrderFetchPayments("order-1").data
        assert (payment.payment_status, payment.payment_amount, payment.is_captured) == ("SUCCESS", 10.5, True)
        assert payment.cf_payment_id == paying.cf_payment_id
        assert payment.payment_method.actual_instance.card.channel == "link"
        one = m.api.PGOrderFetchPayment("order-1", paying.cf_payment_id).data
        assert one.to_dict() == payment.to_dict()  # its models of payment methods cannot be compared
        refund = m.refund("order-1", 4.5, "refund-1")
        assert (refund.refund_status, refund.refund_amount, refund.refund_speed.accepted) == ("SUCCESS", 4.5, "STANDARD")
        assert m.api.PGOrderFetchRefund("order-1", "refund-1").data == refund
        assert m.api.PGOrderFetchRefunds("order-1").data == [refund]
        seen.update(payment=paying.cf_payment_id, refund=refund.cf_refund_id)

    moves = drive(tmp_path, monkeypatch, story)
    assert [(m.kind, m.reference, m.provider_ref, m.amount) for m in moves] == [
        ("charge", "order-1", seen["payment"], 1050),
        ("refund", "order-1", seen["refund"], 450),
    ]


def test_a_declined_order_is_terminated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK shows why a payment failed; the order is closed at once, or only on request while one is in process."""

    def story(m: Merchant, clock: FakeClock) -> None:
        m.pay(m.create("order-1").data.payment_session_id, "tok_decline_stolen_card")
        (payment,) = m.api.PGOrderFetchPayments("order-1").data
        assert (payment.payment_status, payment.error_details.error_reason) == ("FAILED", "card_stolen")
        assert m.terminate("order-1").order_status == "TERMINATED"
        m.pay(m.create("order-2").data.payment_session_id, "tok_slow_5s")
        assert m.terminate("order-2").order_status == "TERMINATION_REQUESTED"
        clock.at_us += 5_000_000
        assert [m.api.PGFetchOrder(f"order-{n}").data.order_status for n in (1, 2)] == ["TERMINATED", "PAID"]

    assert [(m.kind, m.reference) for m in drive(tmp_path, monkeypatch, story)] == [("charge", "order-2")]


def test_a_key_replays_in_the_sdk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Same key, same request: the first order again, and the header says so."""

    def story(m: Merchant, _: FakeClock) -> None:
        key = "47bf8872-46fe-11ee-be56-0242ac120002"
        first, again = m.create("order-1", key=key), m.create("order-1", key=key)
        assert first.data == again.data
        assert [r.headers["x-idempotency-replayed"] for r in (first, again)] == ["false", "true"]
        with pytest.raises(m.sdk.ApiException) as caught:
            m.create("order-1", 11, key=key)
        assert (caught.value.status, json.loads(caught.value.body)["type"]) == (422, "idempotency_error")

    assert drive(tmp_path, monkeypatch, story) == []


def test_errors_are_those_of_the_sdk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each refusal arrives as the SDK's own exception with the vendor's code."""

    def story(m: Merchant, _: FakeClock) -> None:
        from cashfree_pg import exceptions as errors

        def refused(call: Callable[[], Any], kind: type[Exception], status: int, code: str) -> None:
            with pytest.raises(kind) as caught:
                call()
            error: Any = caught.value
            assert (error.status, json.loads(error.body)["code"]) == (status, code)

        m.create("order-1")
        refused(lambda: m.api.PGFetchOrder("nobody"), errors.NotFoundException, 404, "order_not_found")
        refused(lambda: m.create("order-1"), errors.ApiException, 409, "order_already_exists")
        refused(lambda: m.refund("order-1", 1, "refund-1"), errors.BadRequestException, 400, "order_not_paid")
        m.api.XClientSecret = "another"
        refused(lambda: m.api.PGFetchOrder("order-1"), errors.UnauthorizedException, 401, "request_failed")

    assert drive(tmp_path, monkeypatch, story) == []


def test_a_payment_is_decided_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The vendor's own simulation call ends a pending payment."""

    def story(m: Merchant, _: FakeClock) -> None:
        id = m.pay(m.create("order-1").data.payment_session_id, "tok_never_resolves").cf_payment_id
        wanted = m.sdk.EntitySimulationRequest(payment_status="SUCCESS")
        said = m.api.PGSimulatePayment(m.sdk.SimulateRequest(entity="PAYMENTS", entity_id=id, entity_simulation=wanted)).data
        assert said.entity_simulation.payment_status == "SUCCESS"
        assert m.api.PGFetchSimulation(said.simulation_id).data.entity_id == id
        assert m.api.PGFetchOrder("order-1").data.order_status == "PAID"

    assert [m.kind for m in drive(tmp_path, monkeypatch, story)] == ["charge"]


def test_a_hold_is_captured_or_released(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK's authorization: less than was held is captured, another hold is voided, and both are read back."""

    def story(m: Merchant, _: FakeClock) -> None:
        for id in ("order-1", "order-2"):
            m.pay(m.create(id, order_note="preauth_transaction").data.payment_session_id, "tok_ok")
            (payment,) = m.api.PGOrderFetchPayments(id).data
            assert (payment.payment_status, payment.is_captured) == ("SUCCESS", False)
        key = "47bf8872-46fe-11ee-be56-0242ac120002"
        for _time in range(2):  # the same request under the same key
            taken = m.authorize("order-1", "CAPTURE", 4.2, key)
            assert (taken.is_captured, taken.authorization.captured_amount) == (True, 4.2)
        assert m.authorize("order-2", "VOID").payment_status == "VOID"
        assert m.refund("order-1", 1.2, "refund-1").refund_status == "SUCCESS"

    moves = drive(tmp_path, monkeypatch, story)
    assert [(m.kind, m.reference, m.amount) for m in moves] == [
        ("authorize", "order-1", 1050),
        ("authorize", "order-2", 1050),
        ("capture", "order-1", 420),
        ("void", "order-2", 1050),
        ("refund", "order-1", 120),
    ]


def test_the_customer_is_sent_to_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK gets the link, and the order is paid once the customer has acted."""

    def story(m: Merchant, clock: FakeClock) -> None:
        meta = m.sdk.OrderMeta(return_url="https://shop.example/back")
        paying = m.pay(m.create("order-1", order_meta=meta).data.payment_session_id, "tok_action_ok")
        assert (paying.action, "/sandbox/pay/cashfree/" in paying.data.url) == ("link", True)
        assert m.api.PGOrderFetchPayments("order-1").data[0].payment_status == "NOT_ATTEMPTED"
        clock.at_us += 3_000_000
        assert m.api.PGFetchOrder("order-1").data.order_status == "PAID"

    assert [m.kind for m in drive(tmp_path, monkeypatch, story)] == ["charge"]


def test_refunds_fail_and_wait_in_the_sdk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pending, on hold and cancelled ones, in the list too; nothing is booked."""

    def story(m: Merchant, _: FakeClock) -> None:
        m.pay(m.create("order-1").data.payment_session_id, "tok_ok")
        notes = ["PENDING", "ONHOLD", "CANCELLED"]
        for note in notes:
            wanted = m.sdk.OrderCreateRefundRequest(refund_amount=1, refund_id=f"r-{note}", refund_note=note)
            assert m.api.PGOrderCreateRefund("order-1", wanted).data.refund_status == note
        assert [refund.refund_status for refund in m.api.PGOrderFetchRefunds("order-1").data] == notes

    assert [m.kind for m in drive(tmp_path, monkeypatch, story)] == ["charge"]


def test_events_are_listed_in_the_sdk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK's reconciliation shows the charge with our id."""

    def story(m: Merchant, _: FakeClock) -> None:
        m.pay(m.create("order-1").data.payment_session_id, "tok_ok")
        filters = m.sdk.FetchReconRequestFilters(start_date="2027-01-15T00:00:00Z", end_date="2027-01-16T00:00:00Z")
        pages = m.sdk.FetchReconRequestPagination(limit=10)
        (event,) = m.api.PGFetchRecon(m.sdk.FetchReconRequest(pagination=pages, filters=filters)).data.data
        assert (event.event_details.event_type, event.order_details.order_id) == ("PAYMENT", "order-1")
        assert event.payment_details.payment_amount == 10.5

    assert [m.kind for m in drive(tmp_path, monkeypatch, story)] == ["charge"]


def test_the_sdk_verifies_the_webhooks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PGVerifyWebhookSignature takes every webhook that the sandbox signs, and none that was changed."""
    vendor = CashfreeVendor(("id", "secret"))

    def story(m: Merchant, clock: FakeClock) -> None:
        m.pay(m.create("order-1").data.payment_session_id, "tok_ok")
        m.refund("order-1", 1, "refund-1")
        m.pay(m.create("order-2").data.payment_session_id, "tok_decline_do_not_honor")
        ledger = Ledger(tmp_path / "ledger.db")
        bodies = [event.body for event in ledger.deliveries.events(0, 10)]
        ledger.close()
        heard = []
        for body in bodies:
            headers = vendor.sign_webhook(body, clock.at_us)
            given = (headers["x-webhook-signature"], body.decode(), headers["x-webhook-timestamp"])
            heard.append(m.api.PGVerifyWebhookSignature(*given).type)
            with pytest.raises(Exception, match="did not match"):
                m.api.PGVerifyWebhookSignature(given[0], body.decode() + " ", given[2])
        assert heard == ["PAYMENT_SUCCESS_WEBHOOK", "REFUND_STATUS_WEBHOOK", "PAYMENT_FAILED_WEBHOOK"]

    drive(tmp_path, monkeypatch, story)

"""The official SDK of Stripe drives the sandbox over real HTTP: what it sends is understood, what it gets it takes for
Stripe's. The vendor's own fixtures say which fields an object has."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, cast

import pytest

from payonce.bootstrap import SystemClock
from payonce.sandbox import outbox
from payonce.sandbox.ledger import Ledger
from payonce.sandbox.server import Sandbox, sandbox_app
from payonce.sandbox.stripe import SIMULATOR
from payonce.testing.provider_live import over_socket

stripe = pytest.importorskip("stripe", reason="the SDK is in the dev group: uv sync")

KEY: Final = "sk_test_sandbox"
FIXTURES: Final = Path(__file__).parents[3] / "shared" / "specs" / "stripe" / "fixtures3.json"
CARD: Final = {"payment_method": "tok_ok"}
NEW: Final = {"amount": 500, "currency": "inr", "payment_method_types": ["card"], "metadata": {"reference": "r1"}}


def driven(tmp_path: Path, story: Callable[[Any, Sandbox], None], key: str = KEY) -> None:
    """Run what the SDK does in a thread of its own, against a server on a free port. It repeats nothing by itself."""

    async def main() -> None:
        sandbox = sandbox_app(tmp_path / "ledger.db", SystemClock(), {"stripe": SIMULATOR})
        http = stripe.RequestsClient()
        try:
            async with over_socket(sandbox) as url:
                client = stripe.StripeClient(
                    key, base_addresses={"api": f"{url}/stripe"}, http_client=http, max_network_retries=0
                )
                try:
                    await asyncio.to_thread(story, client, sandbox)
                finally:
                    await asyncio.to_thread(http.close)
        finally:
            sandbox.close()

    asyncio.run(main())


def books(sandbox: Sandbox) -> list[tuple[str, int]]:
    return [(m.kind, m.amount) for m in sandbox.ledger.movements()]


def test_paid_and_given_back(tmp_path: Path) -> None:
    """Created, confirmed, fetched with its charge, refunded in parts, and listed."""

    def story(client: Any, sandbox: Sandbox) -> None:
        made = client.v1.payment_intents.create(NEW)
        assert (made.status, made.amount, made.metadata.reference) == ("requires_payment_method", 500, "r1")
        paid = client.v1.payment_intents.confirm(made.id, CARD)
        assert (paid.status, paid.amount_received) == ("succeeded", 500)
        seen = client.v1.payment_intents.retrieve(made.id, {"expand": ["latest_charge"]})
        assert (seen.latest_charge.captured, seen.latest_charge.payment_intent) == (True, made.id)
        first = client.v1.refunds.create({"payment_intent": made.id, "amount": 200, "metadata": {"reference": "r1-1"}})
        rest = client.v1.refunds.create({"charge": seen.latest_charge.id})
        assert (first.status, first.amount, rest.amount) == ("succeeded", 200, 300)
        assert client.v1.refunds.retrieve(first.id).metadata.reference == "r1-1"
        assert [r.id for r in client.v1.refunds.list({"payment_intent": made.id}).data] == [rest.id, first.id]
        assert [p.id for p in client.v1.payment_intents.list({"limit": 1, "created": {"gte": made.created}}).data] == [made.id]
        assert client.v1.charges.retrieve(seen.latest_charge.id).refunded is True
        kinds = [e.type for e in client.v1.events.list({"limit": 100}).auto_paging_iter()]
        assert kinds[::-1][:3] == ["payment_intent.created", "charge.succeeded", "payment_intent.succeeded"]
        assert client.v1.events.list({"type": "refund.created"}).data[0].data.object.id == rest.id
        moves = [(m.kind, m.reference, m.refund_reference, m.amount) for m in sandbox.ledger.movements()]
        assert moves == [("charge", "r1", "", 500), ("refund", "r1", "r1-1", 200), ("refund", "r1", "", 300)]

    driven(tmp_path, story)


def test_held_and_captured_in_part_or_given_up(tmp_path: Path) -> None:
    """A hold is captured in part, another one canceled; neither can be done twice."""

    def story(client: Any, sandbox: Sandbox) -> None:
        held = client.v1.payment_intents.create({**NEW, **CARD, "capture_method": "manual", "confirm": True})
        assert (held.status, held.amount_capturable) == ("requires_capture", 500)
        taken = client.v1.payment_intents.capture(held.id, {"amount_to_capture": 400})
        assert (taken.status, taken.amount_received, taken.amount_capturable) == ("succeeded", 400, 0)
        other = client.v1.payment_intents.create({**NEW, **CARD, "capture_method": "manual", "confirm": True})
        gone = client.v1.payment_intents.cancel(other.id, {"cancellation_reason": "abandoned"})
        assert (gone.status, gone.cancellation_reason) == ("canceled", "abandoned")
        for again in (client.v1.payment_intents.capture, client.v1.payment_intents.cancel):
            with pytest.raises(stripe.InvalidRequestError) as refused:
                again(held.id)
            assert refused.value.code == "payment_intent_unexpected_state"
        with pytest.raises(stripe.InvalidRequestError, match="greater"):
            client.v1.refunds.create({"payment_intent": held.id, "amount": 401})
        assert books(sandbox) == [("authorize", 500), ("capture", 400), ("authorize", 500), ("void", 500)]

    driven(tmp_path, story)


def test_errors_have_the_sdks_classes(tmp_path: Path) -> None:
    """Declines, refused parameters, misused keys, rate limits, server errors: each is raised as the SDK's own class."""

    def story(client: Any, sandbox: Sandbox) -> None:
        intents = client.v1.payment_intents
        made = intents.create(NEW)
        with pytest.raises(stripe.CardError) as declined:
            intents.confirm(made.id, {"payment_method": "tok_decline_insufficient_funds"})
        said = declined.value
        assert (said.code, said.error.decline_code, said.http_status) == ("card_declined", "insufficient_funds", 402)
        assert said.error.payment_intent.last_payment_error.decline_code == "insufficient_funds"
        assert said.request_id.startswith("req_")
        for wrong, code in (
            ({**NEW, "colour": "red"}, "parameter_unknown"),
            ({**NEW, "metadata": {"a": {"b": "c"}}}, None),
            ({"currency": "inr"}, "parameter_missing"),
            ({**NEW, "amount": "5.00"}, "parameter_invalid_integer"),
            ({**NEW, "amount": 0}, "amount_too_small"),
            ({**NEW, "currency": "kwd", "amount": 5001}, "invalid_charge_amount"),
            ({**NEW, "currency": "xxx"}, None),
        ):
            with pytest.raises(stripe.InvalidRequestError) as refused:
                intents.create(wrong)
            assert refused.value.code == code
        with pytest.raises(stripe.InvalidRequestError, match="No such payment_intent"):
            intents.retrieve("pi_300000000000000000099999")
        with pytest.raises(stripe.InvalidRequestError, match="Unrecognized request URL"):
            client.v1.customers.list()
        options = {"idempotency_key": "one"}
        first = intents.create(NEW, options)
        assert intents.create(NEW, options).id == first.id
        with pytest.raises(stripe.IdempotencyError):
            intents.create({**NEW, "amount": 501}, options)
        with pytest.raises(stripe.RateLimitError):
            intents.confirm(first.id, {"payment_method": "tok_rate_limited"})
        with pytest.raises(stripe.APIError):
            intents.confirm(intents.create(NEW).id, {"payment_method": "tok_500_then_ok"})
        assert books(sandbox) == []

    driven(tmp_path, story)


@pytest.mark.parametrize("key", ["sk_live_sandbox", "pk_test_sandbox"])
def test_a_wrong_key_is_no_account(tmp_path: Path, key: str) -> None:
    """A live or a publishable key gets 401."""

    def story(client: Any, _: Sandbox) -> None:
        with pytest.raises(stripe.AuthenticationError, match="Invalid API Key"):
            client.v1.payment_intents.list()

    driven(tmp_path, story, key)


def test_the_sdk_repeats_what_failed_under_its_own_key(tmp_path: Path) -> None:
    """Left alone, the SDK sends a rate-limited confirmation again and pays once."""

    def story(client: Any, sandbox: Sandbox) -> None:
        patient = {"max_network_retries": 2}
        paid = client.v1.payment_intents.create({**NEW, "confirm": True, "payment_method": "tok_rate_limited"}, patient)
        assert paid.status == "succeeded"
        assert books(sandbox) == [("charge", 500)]

    driven(tmp_path, story)


def test_an_action_is_taken_on_the_page(tmp_path: Path) -> None:
    """The customer is sent to the sandbox's page; what he decides there decides the payment."""

    def story(client: Any, sandbox: Sandbox) -> None:
        intents = client.v1.payment_intents
        back = {**NEW, "confirm": True, "payment_method": "tok_action", "return_url": "https://shop.example/back"}
        waiting = intents.create(back)
        assert (waiting.status, waiting.next_action.type) == ("requires_action", "redirect_to_url")
        number = int(waiting.next_action.redirect_to_url.url.rpartition("/stripe/")[2])
        standing = SIMULATOR.standing(sandbox.ledger, number)
        assert standing is not None
        assert (standing.open, standing.amount_minor, standing.reference) == (True, 500, "r1")
        assert standing.return_url == "https://shop.example/back"
        with sandbox.ledger.transaction():
            SIMULATOR.act(sandbox.ledger, number, SystemClock().now_us(), approve=False)
        refused = intents.retrieve(waiting.id)
        assert refused.status == "requires_payment_method"
        assert refused.last_payment_error.code == "payment_intent_authentication_failure"
        assert intents.confirm(waiting.id, CARD).status == "succeeded"

    driven(tmp_path, story)


def test_the_sdk_believes_the_webhooks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every announced event, signed as it would be sent, is one that ``stripe.Webhook.construct_event`` takes; changed or
    old ones it refuses."""
    told = list[bytes]()
    announce = outbox.announce

    def noted(ledger: Ledger, vendor: str, event_id: str, body: bytes, now_us: int) -> None:
        told.append(body)
        announce(ledger, vendor, event_id, body, now_us)

    monkeypatch.setattr(outbox, "announce", noted)

    def story(client: Any, sandbox: Sandbox) -> None:
        paid = client.v1.payment_intents.create({**NEW, **CARD, "confirm": True})
        now_us = SystemClock().now_us()
        events = []
        for body in told:
            signature = SIMULATOR.sign_webhook(body, now_us)["stripe-signature"]
            events.append(stripe.Webhook.construct_event(body, signature, "whsec_sandbox"))
            for wrong in (body + b" ", body.replace(b"500", b"501")):
                with pytest.raises(stripe.SignatureVerificationError):
                    stripe.Webhook.construct_event(wrong, signature, "whsec_sandbox")
            stale = SIMULATOR.sign_webhook(body, now_us - 400_000_000)["stripe-signature"]
            with pytest.raises(stripe.SignatureVerificationError, match="tolerance"):
                stripe.Webhook.construct_event(body, stale, "whsec_sandbox")
        assert [e.type for e in events] == ["payment_intent.created", "charge.succeeded", "payment_intent.succeeded"]
        assert events[-1].data.object.id == paid.id
        assert {e.id for e in events} == {e.id for e in client.v1.events.list().data}

    driven(tmp_path, story)


@pytest.mark.skipif(not FIXTURES.is_file(), reason="the vendor's fixtures are not beside this repository")
def test_objects_are_those_of_the_vendors_fixtures(tmp_path: Path) -> None:
    """Every field of the vendor's fixtures is there, with a value of the same type where both have one."""
    wanted = cast("dict[str, Any]", json.loads(FIXTURES.read_text(encoding="utf-8")))["resources"]

    def story(client: Any, _: Sandbox) -> None:
        paid = client.v1.payment_intents.create({**NEW, **CARD, "confirm": True, "expand": ["latest_charge"]})
        refund = client.v1.refunds.create({"payment_intent": paid.id})
        plain = json.loads(str(paid))
        assert unlike(wanted["payment_intent"], plain) == []
        assert unlike(wanted["charge"], plain["latest_charge"]) == []
        assert unlike(wanted["refund"], json.loads(str(refund))) == []
        assert unlike(wanted["event"], json.loads(str(client.v1.events.list().data[0]))) == []

    driven(tmp_path, story)


# Of features that the sandbox does not play (other kinds of customers, of accounts, of settlement).
UNPLAYED: Final = frozenset(
    {
        "customer_account",
        "destination_details",
        "excluded_payment_method_types",
        "managed_payments",
        "payment_method_configuration_details",
        "refunds",
    }
)


def unlike(wanted: dict[str, Any], got: dict[str, Any]) -> list[str]:
    """Fields that are missing or have another type. An expanded or empty one may be an id or an object."""
    odd = [name for name in wanted if name not in got and name not in UNPLAYED]
    both = [n for n, v in wanted.items() if n in got and v is not None and got[n] is not None]
    return odd + [n for n in both if type(got[n]) is not type(wanted[n])]


def test_a_missing_field_and_another_type_are_seen() -> None:
    """The comparison with the fixtures can fail."""
    assert unlike({"a": 1, "b": "x", "refunds": {}, "c": None}, {"a": "1", "c": 7}) == ["b", "a"]

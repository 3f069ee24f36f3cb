"""What Stripe published: the parameters that its SDK knows, and its fixtures, as answers to every step. The fixtures lie beside
the project, not in it; where they are missing those tests are skipped. The provider contract looks at its OpenAPI file."""

import json
from functools import cache
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import parse_qsl

import pytest
from tests.providers.stripe_vendor import INTENT

from payonce.adapter import Found, HttpRequest, Intent, Response, Unknown, Unreadable
from payonce.providers.stripe import ADAPTER
from payonce.providers.stripe.words import DECLINES, MULTIPLES, NOT_EXECUTED, PLACES, REASONS, STATUSES
from payonce.sandbox.stripe import forms
from payonce.testing.provider_cases import Subject

sdk = pytest.importorskip("stripe", reason="the SDK is in the dev group: uv sync")

FIXTURES: Final = Path(__file__).parents[3] / "shared" / "specs" / "stripe"
CASES: Final = Path(__file__).parents[1] / "fixtures" / "providers" / "stripe"
beside = pytest.mark.skipif(not FIXTURES.is_dir(), reason="the vendor's files are not beside the project")


@cache
def fixture(version: str, name: str) -> dict[str, Any]:
    doc = json.loads((FIXTURES / f"fixtures3{version}.json").read_text(encoding="utf-8"))
    return cast("dict[str, Any]", doc["resources"][name])


def learned(kind: str, doc: Any, **more: Any) -> Any:
    intent = Intent(
        kind=cast("Any", kind),
        mode="test",
        amount_minor=1099,
        currency="USD",
        reference=INTENT.reference,
        key="" if kind == "read" else "k",
        container=doc["id"],
        provider_ref=doc["id"],
        **more,
    )
    response = Response(status=200, headers={}, body=json.dumps(doc).encode())
    return ADAPTER.parse_read(intent, response) if kind == "read" else ADAPTER.parse(intent, response)


@beside
@pytest.mark.parametrize("version", ["", ".2022-04-12"], ids=["2026", "2022"])
@pytest.mark.parametrize("kind", ["create", "fire", "close", "capture", "void", "read"])
def test_the_vendors_payment_intent_is_understood(version: str, kind: str) -> None:
    """Its fixture, in each state that a PaymentIntent has, as the answer to each step: never a success of nothing, and what
    is learned names what the object names."""
    plain = {**fixture(version, "payment_intent"), "last_payment_error": None}
    for status in (word for word in STATUSES if word not in ("pending", "failed")):
        outcome = learned(kind, {**plain, "status": status, "metadata": {"reference": INTENT.reference}})
        good = {
            "create": {"requires_payment_method": "Created", "requires_confirmation": "Created"},
            "fire": {s: STATUSES[s] for s in ("requires_action", "processing", "requires_capture", "succeeded")},
            "close": {"canceled": "Closed"},
            "void": {"canceled": "Voided"},
            "capture": {"succeeded": "Captured"},
            "read": dict.fromkeys(STATUSES, "Found") | {"succeeded": "HttpRequest"},
        }[kind]
        assert type(outcome).__name__ == good.get(status, "Unknown"), (status, outcome)
        assert getattr(outcome, "amount_minor", 0) == 0, "the fixture says that nothing was received or is held"
        assert getattr(outcome, "reference", INTENT.reference) == INTENT.reference


@beside
@pytest.mark.parametrize("version", ["", ".2022-04-12"], ids=["2026", "2022"])
def test_the_vendors_fixtures_as_they_are(version: str) -> None:
    """Their last_payment_error has a type that is no refusal, or none; nothing of them is taken for money."""
    doc = fixture(version, "payment_intent")
    said = learned("read", doc)
    assert isinstance(said, Unreadable if doc["last_payment_error"] else Found)
    refund = fixture(version, "refund")
    assert isinstance(learned("refund", refund, refund_reference="r", refund_minor=100), Unknown)
    ours = {**refund, "payment_intent": refund["id"], "metadata": {"reference": "r"}}
    outcome = learned("refund", ours, refund_reference="r", refund_minor=100)
    assert (type(outcome).__name__, outcome.amount_minor, outcome.currency, outcome.reference) == ("Refunded", 100, "USD", "r")


@beside
@pytest.mark.parametrize("version", ["", ".2022-04-12"], ids=["2026", "2022"])
def test_the_vendors_event_is_one(version: str) -> None:
    """Its fixture of an event, with whatever object is in it, is parsed."""
    doc = fixture(version, "event")
    event = ADAPTER.parse_webhook({}, json.dumps(doc).encode())
    assert (event.id, event.kind) == (doc["id"], doc["type"])
    assert doc["data"]["object"]["id"] in event.refs


@beside
def test_every_fixture_is_survived() -> None:
    """Any object of the vendor's as the answer to any step: no exception, and no money."""
    for version in ("", ".2022-04-12"):
        resources = json.loads((FIXTURES / f"fixtures3{version}.json").read_text(encoding="utf-8"))["resources"]
        for name, doc in resources.items():
            for kind in ("create", "fire", "close", "capture", "void", "refund", "read"):
                if isinstance(doc, dict) and isinstance(doc.get("id"), str) and name not in ("payment_intent", "refund"):
                    outcome = learned(kind, doc)
                    assert isinstance(outcome, Unknown | Unreadable), (name, kind, outcome)


# step -> the SDK's type of its parameters
PARAMS: Final = {
    "create": "PaymentIntentCreateParams",
    "fire": "PaymentIntentConfirmParams",
    "capture": "PaymentIntentCaptureParams",
    "close": "PaymentIntentCancelParams",
    "void": "PaymentIntentCancelParams",
    "refund": "RefundCreateParams",
    "read": "PaymentIntentRetrieveParams",
}
# what the SDK itself takes beside them
OF_EVERY_CALL: Final = frozenset(
    {
        *("api_key", "content_type", "headers", "idempotency_key"),
        *("max_network_retries", "stripe_account", "stripe_context", "stripe_version"),
    }
)


def unknown_parameters(doc: Any, name: str) -> list[str]:
    """Parameters that the SDK's type, or that of a part of it, does not have."""
    kind = getattr(sdk.params, name, None)
    if kind is None:
        return []  # a list or a map
    odd = [f"{name}.{key}" for key in doc if key not in kind.__annotations__]
    parts = [(value, name + key.title().replace("_", "")) for key, value in doc.items() if isinstance(value, dict)]
    return odd + [each for value, part in parts for each in unknown_parameters(value, part)]


def test_every_parameter_is_one_of_the_pinned_version() -> None:
    """The SDK of the version that we pin has each parameter of each recorded request: what the vendor dropped is refused."""
    assert sdk.api_version == ADAPTER.CAPABILITIES.api_version, "read the vendor's change log, then pin the SDK's version"
    seen = set[str]()
    for case in Subject.load(ADAPTER, CASES).cases:
        request = ADAPTER.build(case.intent)
        query = dict(parse_qsl(request.path.partition("?")[2]))
        lookup = case.read and not case.intent.container
        name = "PaymentIntentListParams" if lookup else PARAMS[case.intent.kind]
        doc = forms.nested(request.body or query)
        assert unknown_parameters(doc, name) == [], case.name
        seen |= {f"{case.intent.kind}.{key}" for key in doc}
    assert {"create.automatic_payment_methods", "fire.payment_method_data", "refund.metadata", "read.expand"} <= seen
    assert unknown_parameters({"payment_method_types": ["card"]}, PARAMS["create"]) != [], "dropped in 2026-09-30.endive"
    assert unknown_parameters({"automatic_payment_methods": {"colour": "red"}}, PARAMS["create"]) != []


def test_the_sandbox_takes_every_parameter_of_the_pinned_version() -> None:
    """What the SDK's users may send is not refused as unknown."""
    for step, method in {"fire": "confirm", "close": "cancel", "read": "fetch"}.items() | {
        (s, s) for s in ("create", "capture")
    }:
        names = set(getattr(sdk.params, PARAMS[step]).__annotations__) - OF_EVERY_CALL
        assert names - set(forms.METHODS[method]) == set(), step
    assert set(sdk.params.RefundCreateParams.__annotations__) - OF_EVERY_CALL <= set(forms.METHODS["refund"])
    assert set(sdk.params.PaymentIntentListParams.__annotations__) - OF_EVERY_CALL <= set(forms.METHODS["list"])


def test_the_tables_do_not_contradict_each_other() -> None:
    """A code that refines a refusal is none that says "not executed" without one; both sides of the sandbox write money in
    the same unit, which neither learned from the other."""
    clash = NOT_EXECUTED & set(REASONS)
    assert clash == {"payment_method_unactivated", "payment_intent_incompatible_payment_method"}  # 402, and 400
    assert {word.code for word in DECLINES.values()} <= {"do_not_honor", "configuration", "processing_error"}
    assert dict(PLACES) == forms.PLACES
    taken = ADAPTER.CAPABILITIES.currencies or frozenset()
    assert taken.isdisjoint(forms.NOT_TAKEN)
    for currency, multiple in MULTIPLES.items():
        request = ADAPTER.build(Intent(kind="create", mode="test", amount_minor=7 * multiple, currency=currency, reference="r"))
        amount = int(dict(forms.nested(request.body))["amount"])
        assert forms.amount_of(amount, currency) == amount
        assert forms.to_minor(amount, currency) == 7 * multiple
    assert isinstance(request, HttpRequest)

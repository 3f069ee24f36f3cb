"""What the contract cannot say about the cashfree adapter in general."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from payonce.adapter import (
    EXPONENTS,
    Authorized,
    Declined,
    Found,
    HttpRequest,
    Intent,
    Rejected,
    Response,
    Succeeded,
    Unknown,
    Unreadable,
)
from payonce.core import verdict
from payonce.core.errors import DECLINES, ConfigError
from payonce.core.ids import reference
from payonce.core.outcome import AnyOutcome
from payonce.core.payment import Attempt, Step
from payonce.providers.cashfree import ADAPTER
from payonce.providers.cashfree.building import EXPIRY_MARGIN_S
from payonce.providers.cashfree.words import NOT_FIRED, REASONS, SOURCES
from payonce.sandbox import cashfree as simulator
from payonce.sandbox.faults import TOKENS
from payonce.testing.provider_cases import Subject

FOLDER = Path(__file__).parents[1] / "fixtures" / "providers" / "cashfree"
REFERENCE = reference("pay_06ex4k2m9p7q8r5s3t01", 1, 0)
ORDER = {
    "order_id": REFERENCE,
    "order_status": "ACTIVE",
    "order_amount": 10.5,
    "order_currency": "INR",
    "payment_session_id": "session_1",
    "order_expiry_time": "2026-12-24T18:02:46+05:30",
}
PAYMENT = {
    "cf_payment_id": "12376123",
    "order_id": REFERENCE,
    "payment_status": "SUCCESS",
    "payment_amount": 10.5,
    "payment_currency": "INR",
}
FAILED = PAYMENT | {"payment_status": "FAILED"}
REFUND = {
    "refund_id": "r",
    "order_id": REFERENCE,
    "refund_status": "SUCCESS",
    "refund_amount": 10.5,
    "refund_currency": "INR",
    "cf_refund_id": "1",
    "cf_payment_id": "12376123",
}


@pytest.fixture
def subject() -> Subject:
    return Subject.load(ADAPTER, FOLDER)


def intent(kind: Any = "create", **more: Any) -> Intent:
    about: dict[str, Any] = {"mode": "test", "amount_minor": 1050, "currency": "INR", "reference": REFERENCE, "key": "k"}
    return Intent(kind=kind, **about | more)


def ok(doc: Any) -> Response:
    return Response(status=200, headers={}, body=doc if isinstance(doc, bytes) else json.dumps(doc).encode())


def read(order: Mapping[str, Any], *payments: Mapping[str, Any], refunds: Any = ()) -> AnyOutcome:
    """What the answers of a whole read mean."""
    about = intent("read", key="")
    for answer in (ok(order), ok(payments), ok(refunds)):
        said = ADAPTER.parse_read(about, answer)
        if not isinstance(said, HttpRequest):
            return said
        about = msgspec.structs.replace(about, seen=(*about.seen, answer))
    raise AssertionError("asked for a fourth answer")


def body(about: Intent) -> dict[str, Any]:
    return dict(json.loads(ADAPTER.build(about).body))


# --- declared -----------------------------------------------------------------------------------------------------


def test_terms_are_those_of_a_closable_container() -> None:
    """Container and closable; nothing rests on the key, whose window is not published; the horizon is past the vendor's."""
    terms = ADAPTER.CAPABILITIES.terms
    assert (terms.container, terms.closable, terms.own_capture, terms.readable, terms.keyed) == (True, True, False, True, False)
    assert (terms.replay_span_s, terms.refund_replay_span_s) == (0, 0)
    assert terms.horizon_s > 86_400 + EXPIRY_MARGIN_S + 1800
    assert (terms.voidable, terms.hold_s, ADAPTER.CAPABILITIES.partial_capture) == (True, 7 * 86_400, True)


def test_only_currencies_that_two_decimals_write_exactly_are_taken() -> None:
    """Every currency with at most two places, no other."""
    taken = ADAPTER.CAPABILITIES.currencies
    assert taken is not None
    assert {"INR", "USD", "JPY", "VND"} <= taken
    assert {EXPONENTS[code] for code in taken} == {0, 2}
    assert {EXPONENTS[code] for code in set(EXPONENTS) - taken} == {3, 4}


def test_every_reason_is_normalised_and_recorded(subject: Subject) -> None:
    """Reasons refine declines: each maps to a normalised code and has a case."""
    rows = {**REASONS, **SOURCES}
    assert [word for word, row in rows.items() if row.code not in DECLINES] == []
    shown = [t for c in subject.cases if isinstance(c.outcome, Found) for t in c.outcome.tries if isinstance(t, Declined)]
    assert {word: (t.code, t.hard, t.scope) for t in shown if (word := t.vendor_code) in REASONS} == {
        word: (row.code, row.hard, row.scope) for word, row in REASONS.items()
    }


def test_the_sandbox_speaks_words_that_the_adapter_knows() -> None:
    """Every decline of the simulator comes back as the normalised code it stands for."""
    heard = {
        code: next((REASONS[word].code for word in (reason, error) if word in REASONS), "")
        for code, (error, reason, _) in simulator.DECLINES.items()
    }
    assert heard == {code: code for code in heard}
    told = {plan.code for plans in TOKENS.values() for plan in plans if plan.code}
    assert told - set(heard) == set()


# --- requests -----------------------------------------------------------------------------------------------------


def test_a_step_it_does_not_have_is_a_bug_of_the_caller() -> None:
    """``build`` refuses what CAPABILITIES do not declare."""
    assert "replay" not in ADAPTER.CAPABILITIES.steps
    with pytest.raises(ValueError, match="replay"):
        ADAPTER.build(intent("replay"))


@pytest.mark.parametrize(
    ("minor", "currency", "literal"),
    [
        (1050, "INR", b"10.50"),
        (100, "INR", b"1.00"),
        (5, "INR", b"0.05"),
        (999_999_999_999, "USD", b"9999999999.99"),
        (42, "JPY", b"42"),
    ],
)
def test_an_amount_is_written_as_the_digits_of_a_number(minor: int, currency: str, literal: bytes) -> None:
    """Exact, a JSON number and no text, for the order, the capture and the refund."""
    assert b'"order_amount":' + literal + b"," in ADAPTER.build(intent(amount_minor=minor, currency=currency)).body
    back = intent("refund", amount_minor=minor, currency=currency, refund_minor=minor, refund_reference="r00")
    assert b'"refund_amount":' + literal + b"," in ADAPTER.build(back).body
    some = intent("capture", amount_minor=999_999_999_999, currency=currency, capture_minor=minor)
    assert ADAPTER.build(some).body == b'{"action":"CAPTURE","amount":' + literal + b"}"


@pytest.mark.parametrize(
    ("told", "phone"),
    [("9908734801", "9908734801"), ("+919908734801", "9908734801"), (919908734801, "9908734801"), (9908734801, "9908734801")]
    + [(odd, "9999999999") for odd in ("", "12", "+4930123456", "99087348011", None, True, 1.5, "٩٩٠٨٧٣٤٨٠١")],
)
def test_the_phone_is_ten_digits(told: Any, phone: str) -> None:
    """A number of India in any usual spelling; anything else gives way to the placeholder that the vendor accepts."""
    assert body(intent(metadata={"customerPhone": told}))["customer_details"]["customer_phone"] == phone


def test_what_is_not_for_the_vendor_stays_here() -> None:
    """Metadata beside the customer is not sent."""
    assert b"secret plan" not in ADAPTER.build(intent(metadata={"note": "secret plan", "forceFail": "true"})).body
    assert body(intent(metadata={"forceFail": "true"}))["order_tags"] == {"reference": REFERENCE}


def test_a_close_carries_no_key() -> None:
    """A saved answer would stand in for the second close."""
    assert "x-idempotency-key" not in dict(ADAPTER.build(intent("close")).headers)
    assert dict(ADAPTER.build(intent("refund", refund_reference="r00")).headers)["x-idempotency-key"] == "k"


def test_a_reference_cannot_break_out_of_the_path() -> None:
    """The reference is escaped."""
    assert ADAPTER.build(intent("read", reference="a/b?#ü")).path == "/orders/a%2Fb%3F%23%C3%BC"


def test_credentials_of_another_adapter_are_refused() -> None:
    """``authenticate`` never sends what it does not know; an empty value is a missing one."""
    with pytest.raises(TypeError):
        ADAPTER.authenticate(ADAPTER.build(intent()), "sk_live_of_somebody_else")
    with pytest.raises(ConfigError, match="client_secret"):
        ADAPTER.credentials_of({"client_id": "x", "client_secret": ""})
    assert ADAPTER.credentials_of(ADAPTER.SANDBOX_CREDENTIALS)


# --- answers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("digits", ["10.50", "10.5", "10.500", "1.05e1", '"10.50"'])
def test_an_amount_is_read_by_its_digits(digits: str) -> None:
    """However the number is written, it is the same money."""
    raw = json.dumps(PAYMENT).replace("10.5", digits).encode()
    about = intent("read", key="", seen=(ok(ORDER), ok(b"[" + raw + b"]")))
    found = ADAPTER.parse_read(about, ok([]))
    assert isinstance(found, Found)
    assert [t.amount_minor for t in found.tries if isinstance(t, Succeeded)] == [1050]


@pytest.mark.parametrize("digits", ["10.505", "1e400", "1e-9", '"NaN"', '"sNaN"', '"Infinity"', "null", '"ten"', "-1e999999"])
def test_what_is_no_amount_is_unreadable(digits: str) -> None:
    """Half a minor unit, what is not finite and what is not there prove nothing, and nothing raises."""
    payment = json.dumps(PAYMENT).replace("10.5", digits).encode()
    assert isinstance(ADAPTER.parse_read(intent("read", seen=(ok(ORDER), ok(b"[" + payment + b"]"))), ok([])), Unreadable)
    order = json.dumps(ORDER).replace("10.5", digits).encode()
    assert isinstance(ADAPTER.parse(intent(), ok(order)), Unknown)


def test_a_read_asks_for_refunds_only_when_money_was_taken() -> None:
    """Order, payments, refunds: the last one when a payment succeeded."""
    first = ADAPTER.parse_read(intent("read"), ok(ORDER))
    assert isinstance(first, HttpRequest)
    assert first.path == f"/orders/{REFERENCE}/payments"
    assert isinstance(ADAPTER.parse_read(intent("read", seen=(ok(ORDER),)), ok([])), Found)
    last = ADAPTER.parse_read(intent("read", seen=(ok(ORDER),)), ok([PAYMENT]))
    assert isinstance(last, HttpRequest)
    assert last.path == f"/orders/{REFERENCE}/refunds"


def test_answers_that_contradict_each_other_are_unreadable() -> None:
    """A refund of more than was paid, in another currency, of another order; a paid order without its payment."""
    assert isinstance(read(ORDER, PAYMENT, refunds=[REFUND | {"refund_amount": 10.51}]), Unreadable)
    assert isinstance(read(ORDER, PAYMENT, refunds=[REFUND | {"order_id": "x"}]), Unreadable)
    assert isinstance(read(ORDER, PAYMENT, refunds=[REFUND | {"refund_currency": "USD"}]), Unreadable)
    assert isinstance(read(ORDER, PAYMENT | {"order_amount": 11}), Unreadable)
    assert isinstance(read(ORDER | {"order_status": "PAID"}), Unreadable)


@pytest.mark.parametrize(
    "odd",
    [
        {"payment_status": "never_heard_of"},
        {"payment_status": None},
        {"cf_payment_id": ""},
        {"payment_amount": None},
        {"payment_amount": "NaN"},
        {"order_id": "theirs"},
        {"order_amount": 11},
    ],
)
def test_money_is_shown_whatever_lies_beside_it(odd: dict[str, Any]) -> None:
    """A try that nobody can read hides neither a charge nor a hold; alone or beside what is no money it is unreadable."""
    taken, held = read(ORDER, PAYMENT, PAYMENT | odd), read(ORDER, PAYMENT | odd, PAYMENT | {"is_captured": False})
    assert isinstance(taken, Found)
    assert [type(t) for t in taken.tries] == [Succeeded, Unknown]
    assert isinstance(held, Found)
    assert [type(t) for t in held.tries] == [Unknown, Authorized]
    assert isinstance(read(ORDER, PAYMENT | odd), Unreadable)
    assert isinstance(read(ORDER | {"order_status": "TERMINATED"}, FAILED, PAYMENT | odd), Unreadable)


@pytest.mark.parametrize(
    "odd",
    [
        {"refund_status": "never_heard_of"},
        {"refund_status": None},
        {"cf_refund_id": None},
        {"refund_amount": "NaN"},
        {"refund_amount": -4},
    ],
)
def test_a_refund_that_cannot_be_read_hides_no_charge(odd: dict[str, Any]) -> None:
    """It counts as little as one under way; those beside it count."""
    found = read(ORDER, PAYMENT, refunds=[REFUND | odd, REFUND | {"refund_id": "r2", "refund_amount": 2}])
    assert isinstance(found, Found)
    assert [(type(t), t.refunded_minor) for t in found.tries if isinstance(t, Succeeded)] == [(Succeeded, 200)]
    assert [(r.reference, r.amount_minor) for r in found.refunds] == [("r2", 200)]


@pytest.mark.parametrize(
    ("given", "refunded"),
    [([10.5], 1050), ([10.51], 1050), ([10.739], 1050), ([6, 4.739], 1050), ([10.5, 10.5], 1050), ([4.005], 400)],
)
def test_no_more_is_given_back_than_was_taken(given: list[float], refunded: int) -> None:
    """A refund may hold the surcharge, or be made twice: at most what was taken for us counts, in whole minor units."""
    surcharge = {"payment_surcharge_service_charge": 0.2025, "payment_surcharge_service_tax": 0.0365}
    paid = PAYMENT | {"payment_amount": 10.739, "payment_surcharge": surcharge}
    found = read(ORDER, paid, refunds=[REFUND | {"refund_amount": amount} for amount in given])
    assert isinstance(found, Found)
    assert [t.refunded_minor for t in found.tries if isinstance(t, Succeeded)] == [refunded]
    assert isinstance(read(ORDER, paid, refunds=[REFUND | {"refund_amount": 10.74}]), Unreadable)


def test_refunds_of_another_payment_of_the_order_are_not_counted() -> None:
    """A refund belongs to the payment that it names."""
    found = read(ORDER, PAYMENT, refunds=[REFUND | {"cf_payment_id": 999}])
    assert isinstance(found, Found)
    assert [t.refunded_minor for t in found.tries if isinstance(t, Succeeded)] == [0]


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_a_refusal_by_something_in_between_proves_nothing(status: int) -> None:
    """Only the vendor's own words reject, each with its own status."""
    kind = {401: "authentication_error", 403: "feature_not_enabled"}.get(status, "invalid_request_error")
    own = json.dumps({"message": "", "code": "request_failed", "type": kind}).encode()
    other = json.dumps({"message": "", "code": "request_failed", "type": "api_error"}).encode()
    assert isinstance(ADAPTER.parse(intent(), Response(status=status, headers={}, body=own)), Rejected)
    for raw in (other, b"<html>denied</html>", b"{}"):
        assert isinstance(ADAPTER.parse(intent(), Response(status=status, headers={}, body=raw)), Unknown)


@pytest.mark.parametrize("code", sorted(NOT_FIRED))
def test_only_what_is_wrong_with_the_request_rejects_a_fire(code: str) -> None:
    """Its listed words as 400 alone; the same answer to a create is a refusal whatever the word."""
    for status, word, kind, means in (
        (400, code, "fire", Rejected),
        (404, code, "fire", Unknown),
        (400, f"{code}_x", "fire", Unknown),
        (400, f"{code}_x", "create", Rejected),
    ):
        raw = json.dumps({"message": "", "code": word, "type": "invalid_request_error"}).encode()
        assert isinstance(ADAPTER.parse(intent(kind), Response(status=status, headers={}, body=raw)), means)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [({"x-ratelimit-retry": "17"}, 17), ({"x-ratelimit-retry": "0", "retry-after": "3"}, 3), ({"retry-after": "4"}, 4)]
    + [({"x-ratelimit-retry": odd}, None) for odd in ("", "-1", "²", "soon")],
)
def test_the_vendor_says_how_long_to_wait(headers: dict[str, str], seconds: int | None) -> None:
    """x-ratelimit-retry where it says something, else Retry-After."""
    said = ADAPTER.parse(intent(), Response(status=429, headers=headers, body=b""))
    assert isinstance(said, Unknown)
    assert said.retry_after_s == seconds


def test_expose_shows_neither_the_customer_nor_the_session() -> None:
    """People are shown the vendor's own fields; the session id lets whoever has it pay."""
    sent = ADAPTER.build(intent(metadata={"customerName": "Ana", "customerPhone": "9908734801"})).body
    assert json.loads(ADAPTER.expose(sent)) == {"order_id": REFERENCE, "order_amount": 10.5, "order_currency": "INR"}
    assert b"session_1" not in ADAPTER.expose(json.dumps(ORDER).encode())
    failed = PAYMENT | {"error_details": {"error_reason": "bank_rejected", "error_description_raw": "Ana"}}
    assert json.loads(ADAPTER.expose(json.dumps([failed]).encode()))[0]["error_details"] == {"error_reason": "bank_rejected"}
    assert ADAPTER.expose(b'{"order_amount":10.50}') == b'{"order_amount":10.50}'


# --- what the verdict makes of it ---------------------------------------------------------------------------------


def attempt(outcome: AnyOutcome, at_us: int = 10) -> Attempt:
    """A fire that they have, then one read."""
    fire = Step(
        seq=2, kind="fire", owner="o", at_us=1, send_by_us=5, lease_until_us=9, seen_at_us=2,
        outcome=ADAPTER.parse(intent("fire", container="session_1"), ok({"cf_payment_id": "12376123"})),
    )  # fmt: skip
    seen = Step(seq=4, kind="read", owner="o", at_us=at_us, send_by_us=5, lease_until_us=9, seen_at_us=at_us, outcome=outcome)
    return Attempt(
        n=0, account="a", adapter="cashfree", base_url="", credential_id="", reference=REFERENCE,
        terms=ADAPTER.CAPABILITIES.terms, steps=(fire, seen), container="session_1",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("status", "payments", "concluded"),
    [
        ("ACTIVE", [FAILED], "UNKNOWN"),
        ("TERMINATION_REQUESTED", [FAILED], "UNKNOWN"),
        ("TERMINATED", [FAILED], "NO"),
        ("EXPIRED", [FAILED], "UNKNOWN"),
        ("TERMINATED", [], "NO"),
        ("EXPIRED", [], "UNKNOWN"),
        ("ACTIVE", [], "UNKNOWN"),
        ("TERMINATION_REQUESTED", [PAYMENT], "YES"),
        ("ACTIVE", [PAYMENT], "YES"),
        ("ACTIVE", [PAYMENT | {"payment_status": "PENDING"}], "OPEN"),
        ("EXPIRED", [PAYMENT | {"payment_status": "PENDING"}], "OPEN"),
        ("TERMINATED", [FAILED, PAYMENT | {"payment_status": "PENDING"}], "OPEN"),
        ("ACTIVE", [PAYMENT | {"payment_status": "NOT_ATTEMPTED"}], "OPEN"),
        ("TERMINATION_REQUESTED", [PAYMENT | {"payment_status": "NOT_ATTEMPTED"}], "OPEN"),
        ("EXPIRED", [PAYMENT | {"payment_status": "NOT_ATTEMPTED"}], "UNKNOWN"),
        ("TERMINATED", [PAYMENT | {"payment_status": "NOT_ATTEMPTED"}], "NO"),
        ("ACTIVE", [PAYMENT | {"is_captured": False}], "OPEN"),
    ],
)
def test_only_a_terminated_order_seals_a_decline(status: str, payments: list[dict[str, Any]], concluded: str) -> None:
    """Declined leads nowhere while the order can still be paid; a request to terminate is not enough."""
    assert verdict.verdict(attempt(read(ORDER | {"order_status": status}, *payments))) == concluded


@pytest.mark.parametrize("payments", [[FAILED], [], [PAYMENT | {"payment_status": "NOT_ATTEMPTED"}]])
def test_a_decline_of_an_expired_order_is_final_a_day_later(payments: list[dict[str, Any]]) -> None:
    """A payment begun before the expiry ends within a day: what was read after that is the last word, or its silence."""
    outcome = read(ORDER | {"order_status": "EXPIRED"}, *payments)
    assert isinstance(outcome, Found)
    (decline,) = outcome.tries
    assert isinstance(decline, Declined)
    assert decline.flips_until_us == (1_798_115_566 + 86_400) * 1_000_000
    lag_us = ADAPTER.CAPABILITIES.terms.read_lag_s * 1_000_000
    late = decline.flips_until_us + lag_us
    assert verdict.verdict(attempt(outcome, at_us=late - 1)) == "UNKNOWN"
    assert verdict.verdict(attempt(outcome, at_us=late)) == "NO"

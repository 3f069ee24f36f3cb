"""What a key stands for: which keys and requests are taken, and when a repeat is the same request."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payonce.core.errors import Refused
from payonce.core.idempotency import (
    FIELDS,
    KEY_CHARS_MAX,
    METADATA_KEY_CHARS_MAX,
    METADATA_KEYS_MAX,
    METADATA_VALUE_CHARS_MAX,
    TEXT_CHARS_MAX,
    differing,
    encode,
    normalise,
    parse_key,
)
from payonce.core.money import AMOUNT_MINOR_MAX

MINIMAL: dict[str, Any] = {"amount": 1050, "currency": "INR"}
FULL: dict[str, Any] = {
    **MINIMAL,
    "clientId": "shop",
    "provider": "mock",
    "captureMethod": "automatic",
    "paymentMethod": "tok_ok",
    "description": "Tea",
    "metadata": {"order": "A-1", "count": 2, "gift": True, "note": None},
}
SCALARS = st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.text("abc", max_size=5)


def refusal(body: dict[str, Any]) -> Refused:
    with pytest.raises(Refused) as caught:
        normalise(body)
    return caught.value


# --- keys -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "body", "key"),
    [
        ("order-1", None, "order-1"),
        ('"order-1"', None, "order-1"),
        (r'"a\"b\\c"', None, r"a\"b\c".replace(r"\"", '"')),
        (None, "order-1", "order-1"),
        ('"order-1"', "order-1", "order-1"),
        ("k" * KEY_CHARS_MAX, None, "k" * KEY_CHARS_MAX),
    ],
)
def test_a_key_comes_from_header_or_body(header: str | None, body: object, key: str) -> None:
    """Bare, quoted, in the body, or the same in both: one key."""
    assert parse_key(header, body) == key


@pytest.mark.parametrize(
    ("header", "body", "code"),
    [
        (None, None, "idempotency_key_missing"),
        ("", None, "idempotency_key_invalid"),
        ('""', None, "idempotency_key_invalid"),
        ("two words", None, "idempotency_key_invalid"),
        ("ключ", None, "idempotency_key_invalid"),
        ("a\n", None, "idempotency_key_invalid"),
        ("k" * (KEY_CHARS_MAX + 1), None, "idempotency_key_invalid"),
        (None, 7, "idempotency_key_invalid"),
        (None, "", "idempotency_key_invalid"),
        ("one", "other", "idempotency_key_invalid"),
        ("4111111111111111", None, "card_number_refused"),
    ],
)
def test_a_bad_key_is_refused(header: str | None, body: object, code: str) -> None:
    """Missing, malformed, contradicting, or a card number: each has its own code."""
    with pytest.raises(Refused) as caught:
        parse_key(header, body)
    assert caught.value.code == code


# --- requests ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "amount", [None, 0, -1, 1.0, 10.5, "1050", True, [], {}, AMOUNT_MINOR_MAX + 1, 10**30, float("nan"), float("inf")]
)
def test_only_whole_minor_units_within_the_limit_are_amounts(amount: object) -> None:
    """Floats, strings, booleans, zero, negatives and values above the limit are refused with field and rule (R10)."""
    refused = refusal({**MINIMAL, "amount": amount})
    assert refused.code == "validation_failed"
    assert [e.field for e in refused.errors] == ["amount"]
    assert "integer in minor units" in refused.errors[0].rule


@given(st.integers(1, AMOUNT_MINOR_MAX))
def test_every_amount_within_the_limit_is_taken_unchanged(amount: int) -> None:
    """What was asked is what is kept."""
    assert normalise({**MINIMAL, "amount": amount}).amount_minor == amount


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"currency": None}, "currency"),
        ({"currency": "XXX"}, "currency"),
        ({"currency": "\u0131nr"}, "currency"),
        ({"currency": 840}, "currency"),
        ({"clientId": 7}, "clientId"),
        ({"clientId": "x" * (TEXT_CHARS_MAX + 1)}, "clientId"),
        ({"provider": "a\x00b"}, "provider"),
        ({"provider": ""}, "provider"),
        ({"description": "\ud800"}, "description"),
        ({"captureMethod": "later"}, "captureMethod"),
        ({"paymentMethod": 7}, "paymentMethod"),
        ({"paymentMethod": {"token": "tok_ok"}}, "paymentMethod"),
        ({"paymentMethod": {"type": "upi", "vpa": "x"}}, "paymentMethod"),
        ({"metadata": []}, "metadata"),
        ({"metadata": {str(n): 1 for n in range(METADATA_KEYS_MAX + 1)}}, "metadata"),
        ({"metadata": {"k" * (METADATA_KEY_CHARS_MAX + 1): 1}}, "metadata"),
        ({"metadata": {"": 1}}, "metadata"),
        ({"metadata": {"a": "v" * (METADATA_VALUE_CHARS_MAX + 1)}}, "metadata.a"),
        ({"metadata": {"a": {}}}, "metadata.a"),
        ({"metadata": {"a": float("nan")}}, "metadata.a"),
        ({"metadata": {"a": 2**63}}, "metadata.a"),
        ({"amonut": 1}, "amonut"),
        ({"merchantId": "mer_other"}, "merchantId"),
    ],
)
def test_a_bad_field_is_named(changed: dict[str, Any], field: str) -> None:
    """The refusal names the field; unknown fields are refused too, a merchant in the body among them."""
    refused = refusal({**MINIMAL, **changed})
    assert refused.code == "validation_failed"
    assert [e.field for e in refused.errors] == [field]


def test_all_bad_fields_are_named_at_once() -> None:
    """Nobody has to correct a request field by field."""
    refused = refusal({"amount": "x", "currency": "?", "clientId": 1, "color": "red"})
    assert {e.field for e in refused.errors} == {"amount", "currency", "clientId", "color"}


def test_a_refusal_never_repeats_values() -> None:
    """What was sent may be private: the message names fields and rules only."""
    refused = refusal(
        {**MINIMAL, "currency": "SECRETVALUE", "description": "x\x00SECRETVALUE", "metadata": {"a": ["SECRETVALUE"]}}
    )
    assert "SECRETVALUE" not in str(refused)


def test_manual_capture_is_a_field_like_others() -> None:
    """Whether an account can hold money is for routing to say."""
    assert normalise({**MINIMAL, "captureMethod": "manual"}).capture_method == "manual"


@pytest.mark.parametrize("field", [f for f in FIELDS if f not in ("amount", "currency")])
def test_a_card_number_anywhere_is_refused(field: str) -> None:
    """In a text, in a name, deep inside: a card number is refused before anything else is looked at (R11)."""
    assert refusal({**MINIMAL, field: "4111 1111 1111 1111"}).code == "card_number_refused"
    assert refusal({**MINIMAL, field: {"x": [{"y": 4111111111111111}]}}).code == "card_number_refused"


# --- repeats ----------------------------------------------------------------------------------------------------------


def test_a_repeat_of_the_same_request_does_not_differ() -> None:
    """Each field kept as it was: nothing differs."""
    assert differing(encode(normalise(FULL)), normalise(FULL), charge=True) == ()


@given(st.permutations(sorted(FULL)), st.permutations(sorted(FULL["metadata"])))
def test_the_order_of_fields_does_not_matter(fields: list[str], inner: list[str]) -> None:
    """JSON objects have no order, and neither has a request."""
    shuffled = {f: FULL[f] for f in fields} | {"metadata": {k: FULL["metadata"][k] for k in inner}}
    assert differing(encode(normalise(FULL)), normalise(shuffled), charge=True) == ()


@pytest.mark.parametrize(
    "same",
    [
        {"clientId": None, "provider": None, "description": None, "metadata": None, "paymentMethod": None},
        {"captureMethod": None},
        {"captureMethod": "automatic"},
        {"clientId": "", "metadata": {}},
        {"currency": "inr"},
        {"idempotencyKey": "k"},
    ],
)
def test_absent_null_and_default_are_the_same(same: dict[str, Any]) -> None:
    """A client that starts to send defaults still repeats its first request."""
    assert differing(encode(normalise(MINIMAL)), normalise({**MINIMAL, **same}), charge=True) == ()


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"amount": 1051}, "amount"),
        ({"currency": "USD"}, "currency"),
        ({"clientId": "other"}, "clientId"),
        ({"provider": "other"}, "provider"),
        ({"paymentMethod": "tok_slow_5s"}, "paymentMethod"),
        ({"paymentMethod": {"type": "card", "token": "tok_ok"}}, "paymentMethod"),
        ({"description": "Coffee"}, "description"),
        ({"metadata": {**FULL["metadata"], "count": 3}}, "metadata"),
        ({"metadata": {**FULL["metadata"], "gift": 1}}, "metadata"),
        ({"metadata": {k: v for k, v in FULL["metadata"].items() if k != "note"}}, "metadata"),
    ],
)
def test_a_changed_field_is_named(changed: dict[str, Any], field: str) -> None:
    """Exactly the field that differs is named, and true is not 1."""
    assert differing(encode(normalise(FULL)), normalise({**FULL, **changed}), charge=True) == (field,)


@given(st.dictionaries(st.text("xyz", min_size=1, max_size=3), SCALARS, max_size=4))
def test_any_metadata_repeats_itself(metadata: dict[str, Any]) -> None:
    """Whatever metadata was accepted, the same metadata is the same request after being stored."""
    request = normalise({**MINIMAL, "metadata": metadata})
    assert differing(encode(request), request, charge=True) == ()

"""What the contract cannot say about the mock adapter in general."""

import json

import pytest

from payonce.adapter import Intent, Processing, Rejected, Response, Unknown
from payonce.core.errors import ConfigError
from payonce.core.ids import reference
from payonce.providers.mock import ADAPTER

REFERENCE = reference("pay_06ex4k2m9p7q8r5s3t01", 1, 0)
FIRE = Intent(kind="fire", mode="test", amount_minor=1050, currency="INR", reference=REFERENCE, key="k")


def test_terms_are_those_of_a_keyed_vendor() -> None:
    """Keyed, readable, two hours of replay out of the vendor's 24."""
    terms = ADAPTER.CAPABILITIES.terms
    assert (terms.keyed, terms.readable, terms.container, terms.own_capture) == (True, True, False, False)
    assert (terms.replay_span_s, terms.refund_replay_span_s) == (7200, 7200)


def test_a_step_it_does_not_have_is_a_bug_of_the_caller() -> None:
    """``build`` refuses what CAPABILITIES do not declare."""
    with pytest.raises(ValueError, match="capture"):
        ADAPTER.build(Intent(kind="capture", mode="test", amount_minor=1, currency="INR", reference=REFERENCE))


def test_a_replay_builds_what_the_fire_built() -> None:
    """The engine sends the stored bytes; if it built them again they would be the same."""
    replay = Intent(kind="replay", mode="test", amount_minor=1050, currency="INR", reference=REFERENCE, key="k")
    assert ADAPTER.build(replay) == ADAPTER.build(FIRE)


def test_a_reference_cannot_break_out_of_the_path() -> None:
    """The reference is escaped in the query."""
    read = Intent(kind="read", mode="test", amount_minor=1, currency="INR", reference="a&b=/?#ü")
    assert ADAPTER.build(read).path == "/charges?reference=a%26b%3D%2F%3F%23%C3%BC"


def test_empty_secret_is_refused() -> None:
    """An empty secret would be sent as no secret at all."""
    with pytest.raises(ConfigError, match="secret"):
        ADAPTER.credentials_of({"secret": ""})


def test_credentials_of_another_adapter_are_refused() -> None:
    """``authenticate`` never sends what it does not know."""
    with pytest.raises(TypeError):
        ADAPTER.authenticate(ADAPTER.build(FIRE), "sk_live_of_somebody_else")


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_by_something_in_between_proves_nothing(status: int) -> None:
    """Only the vendor's own words reject; a proxy's page does not."""
    own = json.dumps({"error": {"type": "authentication_error", "code": "invalid_secret"}}).encode()
    assert isinstance(ADAPTER.parse(FIRE, Response(status=status, headers={}, body=own)), Rejected)
    assert isinstance(ADAPTER.parse(FIRE, Response(status=status, headers={}, body=b"<html>denied</html>")), Unknown)


def test_processing_is_open_with_200_too() -> None:
    """The status word counts, not the number."""
    body = {"id": "ch_1", "status": "processing", "amount": 1050, "currency": "INR", "reference": REFERENCE, "mode": "test"}
    raw = json.dumps(body | {"refunded": 0, "refunds": []}).encode()
    outcome = ADAPTER.parse(FIRE, Response(status=200, headers={}, body=raw))
    assert outcome == Processing(ref="ch_1", reference=REFERENCE)


def test_expose_shows_no_metadata() -> None:
    """People are shown the vendor's own fields, not the merchant's free text."""
    body = ADAPTER.build(Intent(**{f: getattr(FIRE, f) for f in FIRE.__struct_fields__} | {"metadata": {"name": "Ana"}})).body
    assert b"Ana" in body
    assert json.loads(ADAPTER.expose(body)) == {"amount": 1050, "currency": "INR", "reference": REFERENCE}

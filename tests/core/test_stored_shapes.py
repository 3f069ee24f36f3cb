"""What is stored keeps its shape, or says that it is another one."""

import hashlib
from typing import Any

import msgspec
import pytest

from payonce.core.events import ENVELOPE, Envelope
from payonce.core.payment import SCHEMA, Payment, Terms

# version -> digest of the JSON schema. A changed shape needs a new version here and in the code, so that older code
# refuses what it does not know instead of dropping it.
PAYMENTS = {1: "1ca65139c2c887a2", 2: "e43e1696769e6a41", 3: "756f6e4f99ccdcbc"}
ENVELOPES = {1: "30fbc54a08dffd26", 2: "1cf4972152444d69", 3: "e273909318a93b8a"}


def shape(struct: type) -> str:
    schema = msgspec.json.encode(without_prose(msgspec.json.schema(struct)), order="deterministic")
    return hashlib.sha256(schema).hexdigest()[:16]


def without_prose(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {k: without_prose(v) for k, v in schema.items() if not (k == "description" and isinstance(v, str))}
    return [without_prose(each) for each in schema] if isinstance(schema, list) else schema


def test_a_changed_shape_has_a_new_version() -> None:
    """The stored payment and the envelope of events are those that their version stands for."""
    assert (shape(Payment), shape(Envelope)) == (PAYMENTS[SCHEMA], ENVELOPES[ENVELOPE])


def test_every_frozen_term_is_stored() -> None:
    """A default that changes later must not change the verdict on the past: nothing is left out."""
    assert set(msgspec.json.decode(msgspec.json.encode(Terms()))) == set(Terms.__struct_fields__)


def test_an_unknown_field_is_refused() -> None:
    """Older code does not read, and then write back, a row without what it did not know."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(b'{"v":1,"seq":1,"at_us":1,"actor":"","request_id":"","kind":"","prev":"","new":1}', type=Envelope)

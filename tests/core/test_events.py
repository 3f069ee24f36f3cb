"""The chain of history: exact bytes, hashed and linked, and a payment that is their fold (R12)."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from payonce.core.apply import apply, extend, fold
from payonce.core.errors import InvariantViolated
from payonce.core.events import Accepted, Asked, Entry, Event, Hinted, Judged, Resolved, digest, seal, unseal

PAYMENT = "pay_06exj8m2t0g5v7k3qd9z"
TEXT = st.text(max_size=20)
EVENTS: st.SearchStrategy[Event] = st.one_of(
    st.builds(Hinted, attempt=st.integers(0, 99), ref=TEXT),
    st.builds(
        Judged, what=st.sampled_from(["FAILED", "CANCELED", "IN_DOUBT", "left"]), reason=TEXT, attempt=st.integers(0, 99)
    ),
    st.builds(Resolved, verdict=st.sampled_from(["charged", "not-charged", "reversed"]), reason=TEXT, provider_ref=TEXT),
    st.builds(Asked, kind=st.just("reversal"), number=st.integers(2, 99), amount_minor=st.integers(1, 10**12)),
)


def accepted(**changed: Any) -> Accepted:
    given = {
        "payment_id": PAYMENT,
        "merchant_id": "mer_default",
        "mode": "test",
        "operation_id": "op_1",
        "amount_minor": 1050,
        "currency": "INR",
        "idempotency_key": "k",
        "details_sha256": "d",
        "late_success": "refund",
        "attempts_max": 3,
    }
    return Accepted(**(given | changed))


def history() -> list[Entry]:
    """Accepted, then given up: two links."""
    _, entries = extend(None, [accepted(), Judged(what="FAILED", reason="no_provider_available")], at_us=1, actor="test")
    return entries


@given(EVENTS, st.integers(1, 10**6), st.integers(0, 2**60), TEXT, TEXT)
def test_an_event_survives_storage(event: Event, seq: int, at_us: int, actor: str, prev: str) -> None:
    """What is decoded from the stored bytes is what was sealed, and the hash is that of exactly these bytes."""
    entry = seal(event, seq=seq, at_us=at_us, actor=actor, request_id="r", prev=prev)
    assert unseal(entry.raw, entry.hash) == entry
    assert entry.hash == digest(entry.raw)
    assert entry.envelope.kind == type(event).__name__


@given(st.integers(0, 10**6), st.integers(0, 7))
def test_any_changed_bit_changes_the_hash(position: int, bit: int) -> None:
    """A stored event cannot be edited without its hash telling."""
    raw = bytearray(history()[0].raw)
    raw[position % len(raw)] ^= 1 << bit
    assert digest(bytes(raw)) != history()[0].hash


@pytest.mark.parametrize("raw", [b"", b"{}", b"[]", b"x", b'{"v":1,"seq":1}'])
def test_bytes_that_are_no_event_are_refused(raw: bytes) -> None:
    """Garbage in the store is an error, never an event with defaults."""
    with pytest.raises(msgspec.DecodeError):
        unseal(raw, digest(raw))


def test_an_event_of_an_unknown_kind_is_refused() -> None:
    """An event that this version does not know is not skipped: the fold would lie."""
    raw = history()[0].raw.replace(b'"type":"Accepted"', b'"type":"Teleported"')
    with pytest.raises(msgspec.ValidationError):
        unseal(raw, digest(raw))


def test_the_payment_is_its_history() -> None:
    """Folding the stored entries gives the payment with its version and head hash."""
    entries = history()
    p = fold(entries)
    assert (p.status, p.version, p.head) == ("FAILED", 2, entries[-1].hash)
    assert fold(entries[:1]).status == "PENDING"


@pytest.mark.parametrize(
    "broken",
    [
        lambda e: e[:0],
        lambda e: e[1:],
        lambda e: [e[0], e[0]],
        lambda e: [e[0], e[1], e[1]],
        lambda e: [e[1], e[0]],
    ],
    ids=["empty", "no start", "twice", "repeated", "swapped"],
)
def test_a_broken_chain_does_not_fold(broken: Any) -> None:
    """A missing, repeated or swapped link is refused."""
    with pytest.raises(InvariantViolated):
        fold(broken(history()))


def test_a_link_to_another_history_does_not_fold() -> None:
    """The right number is not enough: the link must continue exactly this chain."""
    p = fold(history()[:1])
    other = seal(Judged(what="FAILED", reason="x"), seq=2, at_us=1, actor="test", request_id="", prev="0" * 64)
    with pytest.raises(InvariantViolated, match="chain"):
        apply(p, other)


@pytest.mark.parametrize("seq", [1, 3, 0])
def test_a_link_with_another_number_does_not_fold(seq: int) -> None:
    """The right predecessor is not enough either: the number is the fence of steps and must be the next one."""
    p = fold(history()[:1])
    odd = seal(Judged(what="FAILED", reason="x"), seq=seq, at_us=1, actor="test", request_id="", prev=p.head)
    with pytest.raises(InvariantViolated, match="chain"):
        apply(p, odd)


def test_a_second_start_is_refused() -> None:
    """A payment is accepted once."""
    p = fold(history()[:1])
    with pytest.raises(InvariantViolated, match="Accepted"):
        extend(p, [accepted()], at_us=2, actor="test")


def test_a_change_of_status_off_the_table_is_refused() -> None:
    """What core/states.py does not list cannot be folded: a FAILED payment cannot be canceled."""
    p = fold(history())
    with pytest.raises(InvariantViolated):
        extend(p, [Judged(what="CANCELED", reason="canceled")], at_us=2, actor="test")

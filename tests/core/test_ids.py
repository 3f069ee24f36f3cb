"""Ids: sortable, derived where a provider sees them, and never two for one thing."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payonce.core import ids

TIMES = st.integers(0, (1 << 48) * 1000 - 1)
BITS = st.integers(0, (1 << ids.RANDOM_BITS) - 1)
NUMBERS = st.integers(0, 99)


@given(TIMES, BITS)
def test_an_id_has_the_stated_form(at_us: int, bits: int) -> None:
    """pay_ and 20 characters of lower-case Crockford base32, for every time and all random bits."""
    made = ids.new_id("pay_", at_us, bits)
    assert len(made) == 24
    assert ids.is_payment_id(made)


@given(TIMES, TIMES, BITS, BITS)
def test_ids_sort_by_time(early: int, late: int, some: int, other: int) -> None:
    """An id made in an earlier millisecond sorts first, whatever its random bits."""
    early, late = sorted((early, late))
    if early // 1000 < late // 1000:
        assert ids.new_id("pay_", early, some) < ids.new_id("pay_", late, other)


@given(BITS, BITS)
def test_random_bits_all_count(some: int, other: int) -> None:
    """Within one millisecond two ids are equal only if all 52 bits are."""
    assert (ids.new_id("pay_", 0, some) == ids.new_id("pay_", 0, other)) == (some == other)


@given(st.integers(0, (1 << 100) - 1), st.sampled_from((20, 32, 52)))
def test_a_number_is_written_digit_by_digit(number: int, chars: int) -> None:
    """Five bits a character, the highest first; one that does not fit is refused, never cut."""
    written = ids.encode(number, chars)
    assert len(written) == chars
    assert [ids.ALPHABET.index(c) for c in written] == [number >> 5 * place & 31 for place in reversed(range(chars))]
    with pytest.raises(ValueError, match="fit"):
        ids.encode(number | 1 << 5 * chars, chars)


@given(TIMES, BITS, NUMBERS, NUMBERS)
def test_a_reference_leads_back_to_its_payment(at_us: int, bits: int, operation: int, attempt: int) -> None:
    """24 characters of [0-9a-z] from which the payment can be read, so that an early webhook always finds it."""
    payment = ids.new_id("pay_", at_us, bits)
    reference = ids.reference(payment, operation, attempt)
    assert len(reference) == ids.REFERENCE_CHARS
    assert reference.isalnum()
    assert reference == reference.lower()
    assert ids.payment_of(reference) == payment


@pytest.mark.parametrize(("operation", "attempt"), [(100, 0), (0, 100), (-1, 0), (0, -1)])
def test_a_reference_has_room_for_two_digits_each(operation: int, attempt: int) -> None:
    """A number that does not fit is refused, never cut: a cut one would be somebody else's reference."""
    with pytest.raises(ValueError, match="two digits"):
        ids.reference("pay_" + "0" * 20, operation, attempt)


@pytest.mark.parametrize("text", ["", "0" * 23, "0" * 25, "0" * 22 + "ab", "u" * 20 + "0101", "O" * 20 + "0101"])
def test_a_foreign_reference_is_nobodys(text: str) -> None:
    """What is not of our form leads to no payment."""
    assert ids.payment_of(text) is None


@pytest.mark.parametrize("text", ["", "pay_", "pay_" + "u" * 20, "pay_" + "A" * 20, "op_" + "0" * 20, "pay_" + "0" * 21])
def test_what_is_no_payment_id(text: str) -> None:
    """Other prefixes, lengths and characters are refused."""
    assert not ids.is_payment_id(text)


@given(st.tuples(NUMBERS, NUMBERS, st.sampled_from(["fire", "create", "refund"])), st.tuples(NUMBERS, NUMBERS, st.just("fire")))
def test_step_keys_are_derived_and_distinct(one: tuple[int, int, str], other: tuple[int, int, str]) -> None:
    """The key a provider sees is a UUID that depends on payment, operation, attempt and kind, and on nothing else."""
    payment = "pay_" + "7" * 20
    key = ids.step_key(payment, *one)
    assert str(uuid.UUID(key)) == key
    assert (key == ids.step_key(payment, *other)) == (one == other)
    assert key != ids.step_key("pay_" + "8" * 20, *one)


def test_derived_names_never_change() -> None:
    """The same payment gives the same names in every version: a changed rule would charge again after an upgrade."""
    payment = "pay_06exj8m2t0g5v7k3qd9z"
    assert ids.reference(payment, 1, 0) == "06exj8m2t0g5v7k3qd9z0100"
    assert ids.step_key(payment, 1, 0, "fire") == "2ed8af50-6a87-598d-a3de-899e183218fb"
    assert ids.operation_id(payment, 2, 1_700_000_000_000_000) == "op_065wzsb80218yc5yt5r9"
    assert ids.event_id(payment, 7) == "evt_06exj8m2t0g5v7k3qd9z000007"


def test_a_number_that_does_not_fit_is_refused() -> None:
    """Encoding never drops high bits."""
    with pytest.raises(ValueError, match="fit"):
        ids.encode(1 << 10, chars=2)

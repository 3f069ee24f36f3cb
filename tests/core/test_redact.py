"""Card numbers are found wherever they stand and other numbers are left alone; secrets do not come out (R11)."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payonce.core.ids import new_id
from payonce.core.money import AMOUNT_MINOR_MAX
from payonce.core.redact import MASK, has_card_number, mask, masked

# Test numbers that card schemes publish.
CARDS = (
    "4111111111111111",
    "4222222222222",
    "5555555555554444",
    "2223003122003222",
    "378282246310005",
    "6011111111111117",
    "3530111333300000",
    "30569309025904",
    "6521111111111117"[:15] + "4",
)


def luhn_complete(digits: str) -> str:
    """``digits`` with the check digit that makes them Luhn-valid."""
    total = sum(sum(divmod(int(d) * (2 - i % 2), 10)) for i, d in enumerate(reversed(digits)))
    return digits + str(-total % 10)


@pytest.mark.parametrize("card", CARDS[:-1])
@pytest.mark.parametrize("wrap", ["{}", "card {} please", "x={}&y=1", "№{}", '"{}"'])
def test_card_numbers_are_found_in_text(card: str, wrap: str) -> None:
    """Alone, in prose, in a form body, in quotes."""
    text = wrap.format(card)
    assert has_card_number(text)
    assert card not in mask(text)


@given(
    st.sampled_from(("4", "51", "2221", "34", "6011", "3528")),
    st.text("0123456789", min_size=15, max_size=15),
    st.sampled_from(" -."),
)
def test_grouped_card_numbers_are_found(prefix: str, rest: str, separator: str) -> None:
    """Every Luhn-valid number of an issuer's range and length, grouped by fours."""
    length = 15 if prefix == "34" else 16
    card = luhn_complete((prefix + rest)[: length - 1])
    grouped = separator.join(card[i : i + 4] for i in range(0, length, 4))
    assert has_card_number(grouped)
    assert MASK in mask(grouped)


@pytest.mark.parametrize(
    "text",
    [
        "4111 1111 1111 1111 12/30",
        "4111111111111111 123",
        "12 4111111111111111",
        "order 7 4111-1111-1111-1111",
        "4111  1111  1111  1111",
        "4111_1111_1111_1111",
        "4111\u00a01111\u00a01111\u00a01111",
    ],
)
def test_a_neighbour_hides_no_card_number(text: str) -> None:
    """An expiry date, a CVC or an order number beside it, or an unusual separator, changes nothing."""
    assert has_card_number(text)
    assert "1111" not in mask(text)


@given(st.uuids(version=4), st.binary(min_size=16, max_size=32))
def test_random_names_are_no_card_numbers(key: UUID, token: bytes) -> None:
    """A UUID or a long hexadecimal name is never refused, whatever digits it happens to hold."""
    assert not has_card_number({"key": str(key)})
    assert token.hex().isdecimal() or not has_card_number(token.hex())


def test_a_uuid_with_a_luhn_valid_run_is_a_uuid() -> None:
    """One UUID in three thousand has such a run: its payment must not be refused by chance."""
    assert not has_card_number("5a5d1f08-4d97-4162-8848-838788cc8f8d")
    assert has_card_number("4111 1111 1111 1111")


@pytest.mark.parametrize(
    "value",
    [
        {"a": ["4111111111111111"]},
        {"4111111111111111": 1},
        [{"x": {"y": 4111111111111111}}],
        4111111111111111,
        4111111111111111.0,
    ],
)
def test_card_numbers_are_found_in_any_json_value(value: object) -> None:
    """In texts, numbers, names and at any depth."""
    assert has_card_number(value)
    assert "4111111111111111" not in str(masked({"v": value})["v"]) or isinstance(value, float | dict)


@pytest.mark.parametrize(
    "value",
    [
        "4111111111111112",
        "1234567890123456",
        "2026-11-24T15:00:00.000000Z",
        "+91 98765 43210",
        1050,
        None,
        True,
        "",
        "tok_ok",
        10.5,
    ],
)
def test_other_values_are_no_card_numbers(value: object) -> None:
    """A wrong check digit, times, phone numbers and amounts pass."""
    assert not has_card_number(value)


@given(st.integers(0, (1 << 48) * 1000 - 1), st.integers(0, (1 << 52) - 1))
def test_our_own_ids_rarely_look_like_cards(at_us: int, bits: int) -> None:
    """An id is taken for a card only if it really holds a Luhn-valid run of 13 or more digits."""
    made = new_id("pay_", at_us, bits)
    if has_card_number(made):
        assert sum(c.isdigit() for c in made) >= 13


@given(st.integers(1, AMOUNT_MINOR_MAX))
def test_no_amount_is_a_card_number(amount: int) -> None:
    """The largest amount has fewer digits than the shortest card number."""
    assert not has_card_number(amount)


@pytest.mark.parametrize(
    "secret",
    [
        "sk_live_abcdef123456",
        "rk_test_abcdef123456",
        "whsec_abcdef123456",
        "Bearer abc.def-123456",
        "Basic dXNlcjpwYXNz",
        "rzp_live_abcdef12",
    ],
)
def test_secrets_are_masked_in_text(secret: str) -> None:
    """Keys and authorisation values of the usual forms leave their kind behind and nothing else."""
    shown = mask(f"sent {secret} to them")
    assert secret not in shown
    assert MASK in shown
    assert shown.startswith("sent ")
    assert shown.endswith(" to them")


def test_secret_fields_are_masked_by_name() -> None:
    """Whatever stands under such a name, at any depth, in any case."""
    shown = masked({"headers": [{"Authorization": "x", "ok": "y"}], "PASSWORD": 1, "cvv": "123", "n": 7})
    assert shown == {"headers": [{"Authorization": MASK, "ok": "y"}], "PASSWORD": MASK, "cvv": MASK, "n": 7}


@given(st.text())
def test_masking_twice_changes_nothing_more(text: str) -> None:
    """What was masked holds no card number, and stays as it is."""
    once = mask(text)
    assert mask(once) == once
    assert not has_card_number(once)

"""Money: integers in minor units, exact in both directions."""

import iso4217
import pytest
from hypothesis import given
from hypothesis import strategies as st

from payonce.core.money import AMOUNT_MINOR_MAX, EXPONENTS, display, from_decimal, is_currency, to_decimal

CURRENCIES = st.sampled_from(sorted(EXPONENTS))
AMOUNTS = st.integers(-AMOUNT_MINOR_MAX, AMOUNT_MINOR_MAX)


def test_exponents_are_those_of_iso_4217() -> None:
    """Every currency with a minor unit is known with the exponent of the official list, and no other is known."""
    assert {c.code: c.exponent for c in iso4217.Currency if c.exponent is not None} == EXPONENTS


@given(AMOUNTS, CURRENCIES)
def test_an_amount_survives_the_way_to_text_and_back(amount: int, currency: str) -> None:
    """No amount changes by being written as a decimal and read again."""
    assert from_decimal(to_decimal(amount, currency), currency) == amount


@given(AMOUNTS, st.integers(0, 4))
def test_a_provider_may_differ_from_iso(amount: int, exponent: int) -> None:
    """An override counts instead of the ISO exponent, in both directions."""
    text = to_decimal(amount, "JPY", exponent)
    assert len(text.partition(".")[2]) == exponent
    assert from_decimal(text, "JPY", exponent) == amount


@pytest.mark.parametrize(
    ("amount", "currency", "text"),
    [
        (1050, "INR", "10.50"),
        (5, "INR", "0.05"),
        (-5, "INR", "-0.05"),
        (0, "INR", "0.00"),
        (1050, "JPY", "1050"),
        (1050, "KWD", "1.050"),
        (1050, "CLF", "0.1050"),
    ],
)
def test_decimals_are_written_by_digits(amount: int, currency: str, text: str) -> None:
    """The decimal text has exactly the currency's places, leading zeros included."""
    assert to_decimal(amount, currency) == text
    assert display(amount, currency) == f"{text} {currency}"


@pytest.mark.parametrize(
    ("text", "currency", "amount"),
    [("10.5", "INR", 1050), ("10", "INR", 1000), ("10.500", "INR", 1050), ("7", "JPY", 7), ("0.001", "KWD", 1)],
)
def test_shorter_and_padded_decimals_are_read(text: str, currency: str, amount: int) -> None:
    """Missing and superfluous zeros change nothing."""
    assert from_decimal(text, currency) == amount


@pytest.mark.parametrize(
    "text",
    ["", ".", "1.", ".5", "1e3", "+1", " 1", "1 ", "1,5", "0x1", "\u0661", "NaN", "1.234", "--1", "1" * 16, "1\n", "1_000"],
)
def test_other_texts_are_no_amounts(text: str) -> None:
    """Anything but a plain decimal of the currency's places is refused, never rounded."""
    with pytest.raises(ValueError, match=r"decimal"):
        from_decimal(text, "INR")


@pytest.mark.parametrize("code", ["inr", "XXX", "XAU", "", "INRR", "₹", "IN"])
def test_what_is_no_currency(code: str) -> None:
    """Lower case, funds without a minor unit and made-up codes are no currencies."""
    assert not is_currency(code)


def test_the_largest_amount_is_exact_for_every_json_reader() -> None:
    """The stated limit stays below 2**53."""
    assert AMOUNT_MINOR_MAX < 2**53

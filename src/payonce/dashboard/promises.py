"""What an action on a payment will do and what it will not, in plain words, before anybody confirms it. Pure."""

from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct

from payonce.core.money import EXPONENTS, display, from_decimal, to_decimal

REASON_CHARS_MAX: Final = 200
# decision -> what it says of the world
MEANINGS: Final[Mapping[str, str]] = {
    "charged": "The provider took the money. The payment becomes succeeded.",
    "not-charged": "The provider took nothing, and cannot any more. No charge is kept.",
    "reversed": "The provider took the money and gave all of it back. No charge is kept.",
    "done": "The provider did it.",
    "not-done": "The provider did not do it, and cannot any more.",
}
_ONCE: Final = "It is done once, however often this form is sent."


class Promise(Struct, frozen=True, kw_only=True):
    """``does`` and ``does_not`` are sentences; ``danger``: it moves money or cannot be taken back."""

    title: str
    submit: str
    does: tuple[str, ...]
    does_not: tuple[str, ...]
    danger: bool = False


def promise(kind: str, p: Mapping[str, Any], most_minor: int | None) -> Promise:
    """Of capture, void, refund, check or resolve, for a payment as it is. ``most_minor``: the most that can be asked."""
    at = p["provider"] or "the provider"
    whole = display(p["amount"] if most_minor is None else most_minor, p["currency"])
    match kind:
        case "capture":
            return _capture(at, whole)
        case "void":
            return _void(p, at, whole)
        case "refund":
            return _refund(at, whole)
        case "check":
            return Promise(
                title="Check with the provider now",
                submit="Ask the provider",
                does=(
                    f"{at} is asked now what it knows about this payment, and the answer goes on the record.",
                    "What the answer proves counts at once, as with every answer.",
                ),
                does_not=("Asking moves no money.", "It sends no charge, and decides nothing that is not proven."),
            )
        case _:
            return Promise(
                title="Resolve by a person's decision",
                submit="Record the decision",
                does=(
                    "Your decision goes on the record, with your name and reason.",
                    "A payment in doubt follows it; one that had ended keeps its status.",
                    "What the provider proves later still counts: a charge that turns up after not-charged is given back.",
                ),
                does_not=("It sends nothing to any provider.", "It cannot be taken back. Look at the provider first."),
                danger=True,
            )


def _capture(at: str, whole: str) -> Promise:
    return Promise(
        title="Capture what is held",
        submit="Capture",
        does=(f"Up to {whole} that {at} holds is taken from the customer.", "The payment then succeeds.", _ONCE),
        does_not=(
            "It cannot be captured a second time: what you leave out is not taken, and the hold on it ends.",
            "It cannot be undone, only refunded.",
        ),
        danger=True,
    )


def _refund(at: str, whole: str) -> Promise:
    return Promise(
        title="Refund",
        submit="Refund",
        does=(
            f"Up to {whole} goes back to the customer through {at}, to where it came from.",
            "It is accepted at once and worked on until it is settled; the bank may take days to show it.",
            _ONCE,
        ),
        does_not=("It cannot be called back.", "It charges nothing, and changes nothing outside of this payment."),
        danger=True,
    )


def _void(p: Mapping[str, Any], at: str, whole: str) -> Promise:
    if p["status"] == "AUTHORIZED":
        return Promise(
            title="Void the hold",
            submit="Void",
            does=(f"The {whole} that {at} holds is given back in full, or left to lapse where {at} knows no void.", _ONCE),
            does_not=("Nothing is taken from the customer.", "It cannot be undone: a new payment is needed to charge."),
            danger=True,
        )
    return Promise(
        title="Void the payment",
        submit="Void",
        does=("Nothing new is sent for this payment, and what was begun is closed or read to its end.", _ONCE),
        does_not=(
            "It is no refund: if the money was taken before the void could stop it, it stays taken. Refund it then.",
            "It cannot be undone: a new payment is needed to charge.",
        ),
        danger=True,
    )


def minor(text: str, currency: str) -> int:
    """``"10.50"`` in INR -> 1050, exactly, by digits. Raises ValueError: its text says what is wrong and
    how it is written, for people."""
    places = EXPONENTS[currency]
    example = to_decimal(1050, currency)
    plain = text.strip().upper().removesuffix(currency).replace("\u00a0", " ").strip()
    if "," in plain or " " in plain:
        raise ValueError(f"Write it with a dot and without separators, such as {example}: a comma is read in two ways.")
    try:
        found = from_decimal(plain, currency)
    except ValueError as error:
        if "decimal places" in str(error):
            has = f"{places} decimal places" if places else "no decimal places"
            raise ValueError(f"{currency} has {has}: write it such as {example}.") from None
        raise ValueError(f"Write it in digits, such as {example}.") from None
    if found < 1:
        raise ValueError(f"Must be at least {to_decimal(1, currency)} {currency}.")
    return found


def places_said(currency: str) -> str:
    """How an amount of the currency is written."""
    places = EXPONENTS[currency]
    return f"In {currency}, with up to {places} decimal places." if places else f"In {currency}, which has no decimal places."

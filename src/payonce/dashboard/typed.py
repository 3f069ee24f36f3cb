"""What was typed, for a form that comes back with what is wrong in it: all of it, but no card number. Browsers keep pages, and
whoever stands by sees them."""

from typing import Final

from payonce.core.redact import has_card_number, without_cards

TAKEN_OUT: Final = "The card number in it was taken out here: payonce keeps and shows none."


def shown_again(text: str) -> str:
    """The text for the field, card numbers masked."""
    return without_cards(text)


def error_of(text: str, error: str) -> str:
    """What is said beside the field: what is wrong with the text, and that a card number of it does not come back."""
    return f"{error} {TAKEN_OUT}" if error and has_card_number(text) else error

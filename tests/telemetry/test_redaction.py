"""What was found to be plain is not looked at again; what is secret is hidden each time."""

from typing import Any

import pytest

from payonce import telemetry
from payonce.core.redact import masked

CARD = "4242 4242 4242 4242"


def redacted(**event: Any) -> dict[str, Any]:
    return dict(telemetry._redact(None, "info", event))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("password", "hunter2hunter2"),
        ("cvv", 123),
        ("cvc", "123"),
        ("note", f"paid with {CARD}"),
        ("number", 4242424242424242),
        ("amount", 4242424242424242.0),
        ("items", [CARD]),
        ("said", {"authorization": "Bearer abcdefghijkl"}),
        ("note", "sk_live_0123456789abcdefghijklmnopqrstuv"),
        ("note", "plain"),
        ("count", 7),
        ("held", True),
        ("share", 0.5),
        ("nothing", None),
    ],
)
def test_the_second_look_says_what_the_first_did(name: str, value: Any) -> None:
    """Each field is shown as the core masks it, the first time and every other, also after plain ones under the same name."""
    telemetry._seen.clear()
    expected = masked({name: value})
    for _ in range(3):
        assert redacted(**{name: value}) == expected
        redacted(**{name: "plain"})
        redacted(**{name: 1})


def test_a_name_that_was_plain_does_not_open_for_others() -> None:
    """A plain text or a small number under a name says nothing of the next value of it."""
    telemetry._seen.clear()
    assert redacted(ref="abc", n=5) == {"ref": "abc", "n": 5}
    assert CARD not in str(redacted(ref=CARD, n=4242424242424242))
    assert "4242424242424242" not in str(redacted(n=4242424242424242))


def test_what_is_remembered_is_bounded_and_plain() -> None:
    """Only short texts that are plain are remembered, and no more than so many."""
    telemetry._seen.clear()
    redacted(note=CARD, password="hunter2hunter2", long="x" * (telemetry.SEEN_CHARS + 1))
    assert telemetry._seen == set()
    for number in range(2 * telemetry.SEEN_MAX + 1):
        redacted(id=f"pay_{number}")
    assert len(telemetry._seen) <= telemetry.SEEN_MAX

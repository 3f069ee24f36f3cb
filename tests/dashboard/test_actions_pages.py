"""Capture, void, refund, check, resolve: said before, asked once, refused in words, and only for who may."""

import html
import re
from collections.abc import Iterator
from typing import Any

import pytest

from payonce.dashboard.promises import MEANINGS, minor, promise
from payonce.merchants.keys import KeyScope

from .house import House, Visitor
from .paid import People, form, now, pay

OPERATOR: tuple[KeyScope, ...] = ("payments:write", "refunds:write")
WHY = {"reason": "the customer called"}


@pytest.fixture(scope="module")
def people(served: House) -> Iterator[People]:
    """Who looks at the pages of this module."""
    who = People(served)
    yield who
    who.leave()


def sent(visitor: Visitor, path: str, **typed: str) -> Any:
    """The form of a page, filled in and sent."""
    fields = {**form(visitor, path), **WHY, **typed}
    return visitor.post(path, fields, csrf=fields["csrf"])


def page(answer: Any) -> str:
    return html.unescape(answer.text)


def test_a_refund_is_said_then_asked(house: House, people: People) -> None:
    """Its page says what happens and does not; the form leads back to the payment with a notice; the reason is on record."""
    p = pay(house, "act-refund", 2000, "KWD")
    visitor, path = people(*OPERATOR), f"/payments/{p.id}/refund"
    text = page(visitor.get(path))
    assert "Up to 2.000 KWD goes back to the customer through mock" in text
    assert "It cannot be called back." in text
    assert 'value="2.000"' in text
    answer = sent(visitor, path, amount="0.25")
    assert (answer.status_code, answer.headers["location"]) == (303, f"/dashboard/payments/{p.id}")
    after = page(visitor.get(f"/payments/{p.id}"))
    assert "Refund of 0.250 KWD accepted." in after
    assert "the customer called" in after
    assert [o.amount_minor for o in now(house, p.id).operations if o.kind == "refund"] == [250]


def test_a_form_that_is_sent_twice_is_done_once(house: House, people: People) -> None:
    """The same form again is the same refund, and the notice says so."""
    p = pay(house, "act-twice", 1000, "USD")
    visitor, path = people(*OPERATOR), f"/payments/{p.id}/refund"
    fields = {**form(visitor, path), **WHY, "amount": "2.50"}
    answers = [visitor.post(path, fields, csrf=fields["csrf"]) for _ in range(2)]
    assert [a.status_code for a in answers] == [303, 303]
    assert "had been accepted before: it is one, not two" in page(visitor.get(f"/payments/{p.id}"))
    assert [o.amount_minor for o in now(house, p.id).operations if o.kind == "refund"] == [250]


def test_a_form_that_is_sent_again_after_most_was_given_back(house: House, people: People) -> None:
    """The same form is the same refund also where less is left than it asks for; with another amount in it it is refused, and
    comes back with a key of its own."""
    p = pay(house, "act-most", 1000, "USD")
    visitor, path = people(*OPERATOR), f"/payments/{p.id}/refund"
    fields = {**form(visitor, path), **WHY, "amount": "6.00"}
    assert [visitor.post(path, fields, csrf=fields["csrf"]).status_code for _ in range(2)] == [303, 303]
    other = visitor.post(path, {**fields, "amount": "1.00"}, csrf=fields["csrf"])
    assert other.status_code == 422
    assert "that refund was accepted" in page(other)
    key = re.search(r'name="key" value="([^"]+)"', other.text)
    assert key
    assert key[1] != fields["key"]
    assert [o.amount_minor for o in now(house, p.id).operations if o.kind == "refund"] == [600]


def test_a_form_without_its_key_asks_nothing(house: House, people: People) -> None:
    """Without the key a second send could be a second operation."""
    p = pay(house, "act-keyless", 1000, "USD")
    visitor, path = people(*OPERATOR), f"/payments/{p.id}/refund"
    assert sent(visitor, path, amount="1", key="").status_code == 422
    assert len(now(house, p.id).operations) == 1


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ({"amount": "10.505"}, "USD has 2 decimal places"),
        ({"amount": "1,000"}, "a comma is read in two ways"),
        ({"amount": "ten"}, "Write it in digits"),
        ({"amount": "0"}, "Must be at least 0.01 USD"),
        ({"amount": "10.01"}, "Is more than the 10.00 USD that there are."),
        ({"amount": "1", "reason": " "}, "Say why"),
        ({"amount": "1", "reason": "x" * 201}, "At most 200 characters."),
    ],
)
def test_what_is_wrong_is_told_and_kept(house: House, people: People, typed: dict[str, str], words: str) -> None:
    """At its field, with what was typed and the same key; nothing was asked."""
    p = pay(house, "act-wrong", 1000, "USD")
    visitor, path = people(*OPERATOR), f"/payments/{p.id}/refund"
    answer = sent(visitor, path, **typed)
    assert answer.status_code == 422
    assert words in page(answer)
    assert f'value="{typed["amount"]}"' in answer.text
    assert len(now(house, p.id).operations) == 1


def test_what_the_api_refuses_is_told_on_the_form(house: House, people: People) -> None:
    """A card number in a reason: refused by the API, told with the state of the money, and not shown again."""
    p = pay(house, "act-card", 1000, "USD")
    visitor, path = people(*OPERATOR), f"/payments/{p.id}/refund"
    answer = sent(visitor, path, amount="1.25", reason="card 4242424242424242")
    assert answer.status_code == 422
    assert "Card number refused" in answer.text
    assert "4242424242424242" not in answer.text
    assert 'value="1.25"' in answer.text
    assert len(now(house, p.id).operations) == 1


def test_a_viewer_may_do_nothing(house: House, people: People) -> None:
    """Neither the page nor the form of any action; and an operator may not decide."""
    p = pay(house, "act-viewer", 1000, "USD")
    viewer, operator = people("payments:read"), people(*OPERATOR)
    for kind in ("capture", "void", "refund", "check", "resolve"):
        path = f"/payments/{p.id}/{kind}"
        assert viewer.get(path).status_code == 403
        assert viewer.post(path, {**WHY, "amount": "1", "key": "k"}).status_code == 403
    assert operator.post(f"/payments/{p.id}/resolve", WHY).status_code == 403
    assert len(now(house, p.id).operations) == 1


def test_a_capture_in_a_currency_without_decimals(house: House, people: People) -> None:
    """What is held in yen is captured in part, as whole numbers."""
    p = pay(house, "act-capture", 1500, "JPY", captureMethod="manual", provider="stripe_mock")
    visitor, path = people(*OPERATOR), f"/payments/{p.id}/capture"
    text = page(visitor.get(path))
    assert "Up to 1500 JPY that stripe_mock holds is taken" in text
    assert "JPY, which has no decimal places" in text
    assert "JPY has no decimal places" in page(sent(visitor, path, amount="900.5"))
    assert sent(visitor, path, amount="900").status_code == 303
    assert [(o.kind, o.amount_minor) for o in now(house, p.id).operations] == [("authorize", 1500), ("capture", 900)]


def test_a_void_of_a_hold(house: House, people: People) -> None:
    """Asked once, with the reason; then the page says that nothing of it is possible now, and why."""
    p = pay(house, "act-void", 1500, "JPY", captureMethod="manual", provider="stripe_mock")
    visitor, path = people(*OPERATOR), f"/payments/{p.id}/void"
    assert "Nothing is taken from the customer." in page(visitor.get(path))
    assert sent(visitor, path).status_code == 303
    assert [o.kind for o in now(house, p.id).operations] == ["authorize", "void"]
    again = page(visitor.get(f"/payments/{p.id}/capture"))
    assert "Not possible now" in again
    assert "A void of" in again
    assert '<form method="post" action="/dashboard/payments' not in again


def test_a_check_with_the_provider(house: House, people: People) -> None:
    """It asks for a look, with the reason on record, and moves nothing."""
    p = pay(house, "act-check", 5158, "USD", "tok_wrong_amount")
    visitor, path = people(*OPERATOR), f"/payments/{p.id}/check"
    assert "Asking moves no money." in page(visitor.get(path))
    assert sent(visitor, path).status_code == 303
    after = page(visitor.get(f"/payments/{p.id}"))
    assert "mock is being asked." in after
    assert "the customer called" in after
    assert len(now(house, p.id).operations) == 1


def test_a_decision_of_a_person(house: House, people: People) -> None:
    """Each decision that can be, what it means, what it needs; recorded once, and the payment follows."""
    p = pay(house, "act-resolve", 5158, "USD", "tok_wrong_amount")
    visitor, path = people("admin"), f"/payments/{p.id}/resolve"
    text = page(visitor.get(path))
    assert all(MEANINGS[each] in text for each in ("charged", "not-charged", "reversed"))
    assert "It cannot be taken back." in text
    incomplete = page(sent(visitor, path, decision="charged:", amount="52.58"))
    assert "the provider's id of the charge" in incomplete
    assert "Confirm that you have looked at the provider." in incomplete
    assert 'value="52.58"' in incomplete
    assert "Choose what you found" in page(sent(visitor, path, sure="yes"))
    assert now(house, p.id).status == "IN_DOUBT"
    other = sent(visitor, path, decision="charged:", amount="52.58", providerRef="ch_9", sure="yes")
    assert other.status_code == 422
    assert "Nothing was recorded" in page(other)
    assert sent(visitor, path, decision="reversed:", sure="yes").status_code == 303
    assert "Recorded: reversed. The payment is FAILED now." in page(visitor.get(f"/payments/{p.id}"))
    assert now(house, p.id).status == "FAILED"


@pytest.mark.parametrize(
    ("text", "currency", "wanted"),
    [
        ("10.5", "INR", 1050),
        (" 10.50 inr ", "INR", 1050),
        ("1500", "JPY", 1500),
        ("0.001", "KWD", 1),
        ("9999999999.99", "USD", 999_999_999_999),
        ("0.1", "USD", 10),
    ],
)
def test_amounts_are_read_exactly(text: str, currency: str, wanted: int) -> None:
    """By digits, in the decimals of the currency."""
    assert minor(text, currency) == wanted


@pytest.mark.parametrize(
    "text", ["", "-1", "+1", "1e3", "1.2.3", "\u0661\u0662", "\uff11", "0x10", "1.005", "NaN", "1'000", "1_000", "0.00"]
)
def test_what_is_no_amount_is_refused(text: str) -> None:
    """Nothing is guessed, rounded or read in another script."""
    with pytest.raises(ValueError, match=r"Write it|USD has|Must be"):
        minor(text, "USD")


def test_a_promise_names_the_amount_and_the_account() -> None:
    """In plain words, for each kind; what moves money or cannot be undone is marked."""
    p = {"provider": None, "amount": 1050, "currency": "INR", "status": "PENDING"}
    for kind in ("capture", "void", "refund", "check", "resolve"):
        said = promise(kind, p, None)
        assert said.does
        assert said.does_not
        assert said.danger == (kind != "check")
    assert "it stays taken" in promise("void", p, None).does_not[0]

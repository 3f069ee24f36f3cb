"""The part of the provider contract for what an adapter may do besides: send the customer somewhere, list what the provider
has, and put a signature into the body. Each is demanded where the adapter has the methods."""

from collections.abc import Iterable, Iterator
from typing import Any, Final
from urllib.parse import parse_qsl

import pytest
from msgspec import UNSET

from payonce.adapter import Absent, Authorized, HttpRequest, Listing, NextAction, Response, Succeeded, Unknown, Unreadable

from .provider_cases import ENCODER, ListingCase, Subject, acts, decoded, texts_in
from .provider_spoiling import (
    HTML,
    NOT_UTF8,
    OTHER_MINOR,
    OTHER_REFERENCE,
    SHAPES,
    STRANGE,
    least_step,
    other_money,
    swap,
    swapped_leaves,
)

SECRET_URL_CHARS: Final = 24  # what is shorter may stand in an outcome by chance


class AbilityContract:
    """See the module docstring."""

    # --- next_action ------------------------------------------------------------------------------------------------

    def test_the_customer_is_sent_where_it_is_recorded(self, subject: Subject) -> None:
        """Each case with an "action" has exactly this one; where nothing has to be done, nothing is to be done."""
        where = _ability(subject, "next_action")
        for c in subject.cases:
            said = where(c.intent, c.answers()[-1])
            assert c.action is UNSET or said == c.action, f"{c.name}: {said}, not {c.action}"
            assert said is None or acts(c), f"{c.name}: {said}, and the outcome is no RequiresAction"

    def test_actions_can_be_opened(self, subject: Subject) -> None:
        """A redirect has an http(s) address, a UPI intent one of an app, and only a POST has fields."""
        where = _ability(subject, "next_action")
        for c in (c for c in subject.cases if acts(c)):
            action: NextAction | None = where(c.intent, c.answers()[-1])
            if action is not None:
                opens = {"redirect": ("https://", "http://"), "upi_intent": ("upi:",), "upi_collect": ("",)}[action.type]
                assert action.url.startswith(opens), f"{c.name}: {action.type} to {action.url[:40]!r}"
                assert action.method == "POST" or not action.fields, f"{c.name}: fields are those of a POST"

    def test_where_the_customer_goes_is_a_secret(self, subject: Subject) -> None:
        """It stands in no outcome, which is kept for ever, and in nothing that people are shown."""
        _ability(subject, "next_action")
        for c in (c for c in subject.cases if isinstance(c.action, NextAction)):
            action = c.action
            assert isinstance(action, NextAction)
            hidden = [t for t in (action.url, *action.fields.values()) if len(t) >= SECRET_URL_CHARS]
            shown = [repr(c.outcome), *(subject.adapter.expose(each.body).decode("utf-8", "replace") for each in c.answers())]
            _none(f"{c.name}: {text[:60]} shows {h[:60]}" for text in shown for h in hidden if h in text or h in _plain(text))

    def test_nothing_makes_an_action_raise(self, subject: Subject) -> None:
        """Whatever the answer is, ``next_action`` gives None or an action."""
        where = _ability(subject, "next_action")
        for c in (c for c in subject.cases if acts(c)):
            for body in (*SHAPES.values(), NOT_UTF8, b"[" * 5000, *swapped_leaves(c.answers()[-1].body)):
                for status in (200, 201, 400, 404, 500):
                    said = where(c.intent, Response(status=status, headers={}, body=body))
                    assert said is None or isinstance(said, NextAction)

    # --- authenticate_body ------------------------------------------------------------------------------------------

    def test_the_body_is_sent_as_recorded(self, subject: Subject) -> None:
        """ "The body as it is sent, from the stored one": the recorded one, the same each time, with all that is stored in
        it."""
        sign = _ability(subject, "authenticate_body")
        credentials = subject.adapter.credentials_of(subject.credentials)
        for c in subject.cases:
            request = subject.adapter.build(c.intent)
            body = sign(request, credentials)
            assert body == sign(request, credentials), f"{c.name}: another body each time"
            assert c.sent is None or body == c.sent.content(), f"{c.name}: {body!r}, not {c.sent.content()!r}"
            lost = [each for each in _pairs(request.body) if each not in _pairs(body)]
            assert not lost, f"{c.name}: {lost} is stored and not sent"

    def test_another_account_signs_differently(self, subject: Subject) -> None:
        """What is added comes from the credentials: with other ones it is another."""
        sign = _ability(subject, "authenticate_body")
        mine = subject.adapter.credentials_of(subject.credentials)
        other = subject.adapter.credentials_of({k: v + "9" for k, v in subject.credentials.items()})
        for c in (c for c in subject.cases if c.sent is not None):
            request = subject.adapter.build(c.intent)
            assert sign(request, mine) != sign(request, other), f"{c.name}: credentials make no difference"

    # --- listings ---------------------------------------------------------------------------------------------------

    def test_a_listing_asks_as_recorded(self, subject: Subject) -> None:
        """Each window and cursor builds the recorded request."""
        for c in _listings(subject):
            built: HttpRequest = subject.able("build_listing")(c.listing)
            assert built == c.request.wanted(), f"{c.name}: {built}, not {c.request.wanted()}"

    def test_a_listing_shows_what_is_recorded(self, subject: Subject) -> None:
        """Each recorded page has exactly the recorded tries and cursor; one that cannot be read is Unreadable."""
        for c in _listings(subject):
            said = _page(subject, c, c.response.answer())
            good = isinstance(said, Unreadable) if c.unreadable else said == c.page
            assert good, f"{c.name}: {said}, not {c.page or 'Unreadable'}"

    def test_a_spoilt_listing_is_unreadable(self, subject: Subject) -> None:
        """Server errors, rate limits, cut and misshapen pages are no pages: what they do not show would count as missing."""
        for c in _listings(subject):
            whole = c.response.answer()
            for status in (401, 429, 500, 502, 503):
                said = _page(subject, c, Response(status=status, headers={}, body=whole.body))
                assert isinstance(said, Unreadable), f"{c.name}, status {status}: {said}"
            size = len(whole.body)
            for body in (
                b"",
                HTML,
                NOT_UTF8,
                b"{}",
                b"null",
                b'"ok"',
                *(whole.body[: size * n // 4] for n in (1, 2, 3)),
                whole.body[:-1],
            ):
                said = _page(subject, c, Response(status=200, headers={}, body=body))
                assert isinstance(said, Unreadable), f"{c.name}, {body[:40]!r}: {said}"

    def test_an_unmapped_word_in_a_listing_is_not_guessed(self, subject: Subject) -> None:
        """A status word that nobody mapped is an Unknown try, or the page is Unreadable."""
        words = {*subject.adapter.STATUSES, *subject.adapter.DECLINES}
        for c in (c for c in _listings(subject) if c.page is not None and c.page.tries):
            doc = decoded(c.response.answer().body)
            for word in sorted(words & set(texts_in(doc))):
                said = _page(subject, c, _json(swap(doc, word, STRANGE)))
                assert isinstance(said, Unreadable) or _claims_less(said, c.page), f"{c.name}, {word} -> {STRANGE}: {said}"

    def test_a_listing_about_something_else_says_so(self, subject: Subject) -> None:
        """Another amount, currency or reference in a page is in its tries too, or nothing is claimed."""
        adapter = subject.adapter
        for c in (c for c in _listings(subject) if c.page is not None):
            doc = decoded(c.response.answer().body)
            for each in (t for t in (c.page.tries if c.page else ()) if isinstance(t, Succeeded | Authorized)):
                other_minor = OTHER_MINOR * least_step(adapter, each.currency)
                spoilt = {"reference": swap(doc, each.reference, OTHER_REFERENCE), "currency": swap(doc, each.currency, "XAF")}
                spoilt["amount"] = other_money(doc, adapter, each.currency, {each.amount_minor: other_minor})
                for says, other in spoilt.items():
                    said = _page(subject, c, _json(other)) if other != doc else Unreadable(reason="not in it")
                    assert isinstance(said, Unreadable) or each not in said.tries, f"{c.name}, another {says}: {said}"

    def test_nothing_makes_a_listing_raise(self, subject: Subject) -> None:
        """Whatever the answer is, there is a page or it is Unreadable."""
        for c in _listings(subject):
            for body in (*SHAPES.values(), b"[" * 5000, *swapped_leaves(c.response.answer().body)):
                for status in (200, 204, 302, 400, 404, 599):
                    _page(subject, c, Response(status=status, headers={"retry-after": "²"}, body=body))


def _ability(subject: Subject, method: str) -> Any:
    able = subject.able(method)
    if able is None:
        pytest.skip(f"this adapter has no {method}")
    return able


def _listings(subject: Subject) -> Iterator[ListingCase]:
    _ability(subject, "parse_listing")
    assert subject.listings, "there is no listing case: the contract cannot look at what this adapter lists"
    return iter(subject.listings)


def _page(subject: Subject, case: ListingCase, response: Response) -> Listing | Unreadable:
    said: object = subject.able("parse_listing")(case.listing, response, case.mode)
    assert isinstance(said, Listing | Unreadable), f"{case.name}: {said}"
    return said


def _claims_less(said: Listing, recorded: Listing | None) -> bool:
    known = recorded.tries if recorded else ()
    return all(isinstance(each, Unknown | Absent) or each in known for each in said.tries) and said.tries != known


def _json(doc: object) -> Response:
    return Response(status=200, headers={}, body=ENCODER.encode(doc))


def _pairs(body: bytes) -> list[tuple[str, str]]:
    """What a body says, field by field; empty fields too."""
    doc = decoded(body)
    if isinstance(doc, dict):
        return [(name, repr(value)) for name, value in doc.items()]
    return parse_qsl(body.decode("latin-1"), keep_blank_values=True)


def _plain(text: str) -> str:
    """Without the escapes of JSON, so that an address is found in it."""
    return text.replace("\\/", "/").replace("\\u0026", "&")


def _none(problems: Iterable[str]) -> None:
    found = list(problems)
    assert not found, "\n".join(found)

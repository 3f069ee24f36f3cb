"""The payments list: filters in the address, chips, pages, and a search box for any id."""

import html
import re
from collections.abc import Iterator

import pytest

from payonce.core.payment import Payment
from payonce.dashboard.filtering import chips, filters_of, local

from .house import House
from .paid import HOSTILE, People, pay


@pytest.fixture(scope="module")
def people(served: House) -> Iterator[People]:
    """Who looks at the pages of this module."""
    who = People(served)
    yield who
    who.leave()


@pytest.fixture(scope="module")
def paid(served: House) -> dict[str, Payment]:
    """One payment of some kinds."""
    return {
        "yen": pay(served, "key-yen", 1500, "JPY", clientId="<b>shop", metadata=HOSTILE),
        "dinar": pay(served, "key-dinar", 1_234_567, "KWD", metadata={"orderId": "1001"}),
        "declined": pay(served, "key-declined", 2500, "USD", "tok_decline_stolen_card"),
        "doubt": pay(served, "key-doubt", 5158, "USD", "tok_wrong_amount"),
    }


def test_the_list_says_what_each_is(people: People, paid: dict[str, Payment]) -> None:
    """Amounts in the currency's own decimals, status in words with the reason, newest first, each a link to its page."""
    text = html.unescape(people("payments:read").get("/payments").text)
    assert "1\u202f500\u00a0JPY" in text
    assert "1\u202f234.567\u00a0KWD" in text
    assert "The card is reported stolen" in text
    assert "In doubt" in text
    places = [text.index(f"/dashboard/payments/{paid[name].id}") for name in ("doubt", "declined", "dinar", "yen")]
    assert places == sorted(places)


def test_what_customers_wrote_is_escaped(people: People, paid: dict[str, Payment]) -> None:
    """No tag of theirs is one on the list, nor on a search for it."""
    visitor = people("payments:read")
    for path in ("/payments", "/payments?clientId=%3Cb%3Eshop", "/payments?q=%3Cscript%3Ealert(2)%3C/script%3E"):
        text = visitor.get(path).text
        assert "<b>shop" not in text
        assert "<script>alert" not in text
    assert "&lt;b&gt;shop" in visitor.get("/payments?clientId=%3Cb%3Eshop").text


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("status=FAILED", {"declined"}),
        ("currency=kwd", {"dinar"}),
        ("metadata=1001", {"yen", "dinar"}),
        ("declineCode=stolen_card", {"declined"}),
        ("attention=true", {"doubt"}),
        ("provider=mock&currency=USD", {"declined", "doubt"}),
        ("createdBefore=2020-01-01", set()),
        ("createdFrom=2020-01-01T10:30", {"yen", "dinar", "declined", "doubt"}),
    ],
)
def test_filters(people: People, paid: dict[str, Payment], query: str, names: set[str]) -> None:
    """Each filter of the address holds, and stands as a chip that takes it away."""
    text = people("payments:read").get(f"/payments?{query}").text
    assert {name for name, p in paid.items() if f"/payments/{p.id}" in text} == names
    assert text.count('class="chip"') == query.count("=")
    if not names:
        assert "No payment is like that" in text


def test_a_wrong_filter_is_told_at_its_field(people: People) -> None:
    """The rule of the API stands at the field; nothing is listed, and the answer is no success."""
    answer = people("payments:read").get("/payments?currency=XX&createdFrom=yesterday")
    assert answer.status_code == 422
    assert "must be an ISO 4217 code" in answer.text
    assert "must be an RFC 3339 time" in answer.text
    assert "<tbody" not in answer.text


def test_pages_go_on_by_cursor_and_back(people: People, paid: dict[str, Payment], monkeypatch: pytest.MonkeyPatch) -> None:
    """The next page has the rest under the same filters; only the first one keeps itself up to date."""
    monkeypatch.setattr("payonce.dashboard.pages.payments.ROWS", 1)
    visitor = people("payments:read")
    first = visitor.get("/payments?currency=USD").text
    assert "data-live" in first
    following = re.search(r'href="/dashboard(/payments\?[^"]*cursor=[^"]*)"', first)
    assert following
    second = visitor.get(html.unescape(following[1])).text
    assert paid["doubt"].id in first
    assert paid["declined"].id not in first
    assert paid["declined"].id in second
    assert "data-live" not in second
    assert "Back to the newest" in second


def test_a_part_of_the_page_has_no_frame(people: People, paid: dict[str, Payment]) -> None:
    """What a live region asks for is the region, and an unchanged one costs a 304."""
    visitor = people("payments:read")
    part = visitor.get("/payments", hx_request="true", hx_target="div#list")
    assert part.text.strip().startswith("<div")
    assert 'id="list"' in part.text
    assert visitor.get("/payments", hx_request="true", if_none_match=part.headers["etag"]).status_code == 304


def test_any_id_leads_to_the_payment(people: People, paid: dict[str, Payment]) -> None:
    """Ours, the provider's, the reference, the key, an operation: one hit is where you are sent."""
    visitor, p = people("payments:read"), paid["dinar"]
    names = (p.id, p.provider_ref, p.attempts[0].reference, p.idempotency_key, p.operations[0].id, f"  {p.id} ")
    for name in names:
        answer = visitor.http.get("/dashboard/payments", params={"q": name})
        assert answer.status_code == 303, name
        assert answer.headers["location"] == f"/dashboard/payments/{p.id}"


def test_several_hits_are_listed_with_why(people: People, paid: dict[str, Payment]) -> None:
    """A metadata value that two have: both, and what it is of them."""
    text = people("payments:read").get("/payments?q=1001").text
    assert "2 payments are known under" in text
    assert text.count("a value of its metadata") == 2


@pytest.mark.parametrize("q", ["nothing-of-that", "x" * 2000, "0"])
def test_no_hit_says_what_can_be_found(people: People, q: str) -> None:
    """No dead end: what is looked for, and a way on."""
    answer = people("payments:read").http.get("/dashboard/payments", params={"q": q})
    assert answer.status_code == 200
    assert "its idempotency key" in answer.text
    assert "a value of its metadata" in answer.text


def test_filters_of_an_address() -> None:
    """Times without a zone are UTC, what is empty is left out, what is wrong stays for the API to say so."""
    given = {"status": "", "createdFrom": "2026-11-24", "createdBefore": "2026-11-24T09:30", "currency": "inr", "x": "1"}
    assert filters_of(given) == {
        "createdFrom": "2026-11-24T00:00:00Z",
        "createdBefore": "2026-11-24T09:30:00Z",
        "currency": "INR",
    }
    assert filters_of({"createdFrom": "soon", "attention": "on"}) == {"createdFrom": "soon", "attention": "true"}
    assert filters_of({"attention": "false"}) == {}
    assert local("2026-11-24T09:30:00.123456Z") == "2026-11-24T09:30:00"
    assert local("2026-11-24T09:30:00+05:30") == ""


def test_a_chip_takes_only_itself_away() -> None:
    """The others stay in the address."""
    (status, currency) = chips({"status": "FAILED", "currency": "INR"})
    assert (status.without, currency.without) == ({"currency": "INR"}, {"status": "FAILED"})

"""The page of a payment: its money in a sentence, what can be done, and everything that happened, from one story."""

import html
from collections.abc import Iterator

import pytest

from payonce.core.payment import Payment
from payonce.dashboard.pages import payment
from payonce.dashboard.pages.payment import EDGE, LINES_MAX, grouped

from .canned import page, words
from .house import House
from .paid import HOSTILE, People, advanced, ask, pay


@pytest.fixture(scope="module")
def people(served: House) -> Iterator[People]:
    """Who looks at the pages of this module."""
    who = People(served)
    yield who
    who.leave()


@pytest.fixture(scope="module")
def paid(served: House) -> dict[str, Payment]:
    """One payment of some kinds."""
    refunded = pay(served, "page-refunded", 2000, "KWD")
    return {
        "held": pay(served, "page-held", 1500, "JPY", captureMethod="manual", provider="stripe_mock", metadata=HOSTILE),
        "refunded": ask(served, "refund", refunded, "page-refund", 250),
        "declined": pay(served, "page-declined", 2500, "USD", "tok_decline_stolen_card"),
        "doubt": pay(served, "page-doubt", 5158, "USD", "tok_wrong_amount"),
    }


def test_the_money_and_the_next_step_come_first(people: People, paid: dict[str, Payment]) -> None:
    """One plain sentence, what to do, and the TEST mark."""
    text = html.unescape(people("payments:read").get(f"/payments/{paid['doubt'].id}").text)
    assert "not 51.58 USD as asked" in text
    assert "What to do" in text
    assert "payonce resolve" in text
    admin = html.unescape(people("admin").get(f"/payments/{paid['doubt'].id}").text)
    assert "record with Resolve what you found there" in admin
    assert ">TEST<" in text
    assert text.index("was taken (") < text.index("Questions") < text.index("Waterfall") < text.index("What happened")


def test_the_questions_are_answered(people: People, paid: dict[str, Payment]) -> None:
    """Charged, twice, settled, why, given back: with the facts of this payment."""
    p = paid["refunded"]
    text = html.unescape(people("payments:read").get(f"/payments/{p.id}").text)
    assert f"2.000 KWD was taken at mock ({p.provider_ref})" in text
    assert "0.250 KWD of it was given back, 1.750 KWD is kept." in text
    assert f"One charge is kept, 1.750 KWD of 2.000 KWD at mock ({p.provider_ref})." in text
    assert "the charge is sent to mock (first of the route)" in text


def test_every_call_can_be_opened(house: House, people: People, paid: dict[str, Payment]) -> None:
    """Its request and answer, masked, in a <details> with an id that keeps it open over updates; each line is told."""
    p = paid["refunded"]
    visitor = people("payments:read")
    text = html.unescape(visitor.get(f"/payments/{p.id}").text)
    story = visitor.http.get(
        f"/payments/{p.id}/story", headers={"authorization": f"Bearer {house.key('payments:read')[1]}"}
    ).json()
    calls = [line for line in story["lines"] if line["call"]]
    assert len(calls) >= 2
    for line in calls:
        assert f'<details id="call-{line["seq"]}"' in text
    assert all(line["text"] in text for line in story["lines"])
    assert '"type": "Succeeded"' in text


def test_the_waterfall_has_its_twin(people: People, paid: dict[str, Payment]) -> None:
    """Each bar of the drawing is a row of the table, which leads to its line."""
    text = people("payments:read").get(f"/payments/{paid['refunded'].id}").text
    assert 'class="wf-pair fits"' in text
    assert text.count('<a href="#line-') >= 3
    assert 'id="line-1"' in text


def test_hostile_metadata_is_text(people: People, paid: dict[str, Payment]) -> None:
    """What a customer wrote is shown to the letter and is never markup."""
    text = people("payments:read").get(f"/payments/{paid['held'].id}").text
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "=cmd()|calc" in text


def test_a_resting_payment_is_not_asked_for_again(people: People, paid: dict[str, Payment]) -> None:
    """What is open keeps itself up to date, what is over does not."""
    visitor = people("payments:read")
    assert "data-live" not in visitor.get(f"/payments/{paid['declined'].id}").text
    assert 'hx-select="#payment"' in visitor.get(f"/payments/{paid['held'].id}").text
    part = visitor.get(f"/payments/{paid['declined'].id}", hx_request="true", hx_target="div#payment").text
    assert 'id="payment"' in part
    assert "hx-get" not in part
    assert "<html" not in part


def test_actions_are_those_of_the_state_and_of_the_caller(people: People, paid: dict[str, Payment]) -> None:
    """A viewer sees none as a link, an operator those that are possible; the others stand there with why."""
    path = f"/payments/{paid['held'].id}"
    viewer = html.unescape(people("payments:read").get(path).text)
    assert f'href="/dashboard{path}/' not in viewer
    assert "You are signed in without the right for it (payments:write)." in viewer
    operator = html.unescape(people("payments:write", "refunds:write").get(path).text)
    for each in ("capture", "void", "check"):
        assert f'href="/dashboard{path}/{each}"' in operator
    for each in ("refund", "resolve"):
        assert f'href="/dashboard{path}/{each}"' not in operator
    assert "there is nothing to refund" in operator


def test_the_same_in_the_terminal(house: House, people: People, paid: dict[str, Payment]) -> None:
    """The command and the request that tell the same, to copy."""
    p = paid["held"]
    text = html.unescape(people("payments:read").get(f"/payments/{p.id}").text)
    assert f"payonce show {p.id}" in text
    assert f"{house.url}/payments/{p.id}/story" in text


def test_another_payment_is_not_there(house: House, people: People) -> None:
    """Unknown ids, and those of other merchants, are the same 404."""
    assert people("payments:read").get("/payments/pay_06h1eyxrby9b6bkqpbe2").status_code == 404
    elsewhere = pay(house, "page-other", 100, "USD")
    other = house.signed_in("payments:read", merchant="mer_0123456789abcdefghjk")
    assert other.get(f"/payments/{elsewhere.id}").status_code == 404


def test_an_update_shows_what_came(house: House, people: People) -> None:
    """The region asked for again is another one after something happened."""
    p = pay(house, "page-update", 900, "JPY", captureMethod="manual", provider="stripe_mock")
    visitor = people("payments:read")
    before = visitor.get(f"/payments/{p.id}", hx_request="true")
    ask(house, "capture", p, "page-update-capture", 900)
    assert advanced(house, p.id).status == "SUCCESS"
    after = visitor.get(f"/payments/{p.id}", hx_request="true", if_none_match=before.headers["etag"])
    assert after.status_code == 200
    assert "900 JPY was taken, once" in after.text


def test_a_long_story_is_folded_in_the_middle() -> None:
    """The first and the last lines are shown, all of them are there, in order."""
    assert grouped(range(LINES_MAX)) == (range(LINES_MAX), (), ())
    first, between, last = grouped(list(range(100)))
    assert [*first, *between, *last] == list(range(100))
    assert (len(first), len(last)) == (EDGE, EDGE)


def test_a_final_payment_that_is_watched_says_so(house: House, paid: dict[str, Payment]) -> None:
    """It does not update by itself any more, and says when it is looked at next."""
    path = f"/payments/{paid['refunded'].id}"
    _, key = house.key("payments:read")
    answer = house.visitor().http.get(f"{path}/story", headers={"authorization": f"Bearer {key}"})
    assert answer.status_code == 200, answer.text
    story = answer.json()
    assert "data-live" not in page(payment.show, {f"{path}/story": story}, path={"id": paid["refunded"].id})
    watched = {"due": "look at it again, in 3 d; a final payment is still watched for late surprises"}
    story |= watched | {"dueAt": "2026-11-29T10:00:00.000000Z"}
    text = words(page(payment.show, {f"{path}/story": story}, path={"id": paid["refunded"].id}))
    assert "Still watched look at it again, in 3 d" in text
    assert "Next look: 29 Nov 2026 10:00:00 UTC" in text
    assert "this page does not update by itself" in text
